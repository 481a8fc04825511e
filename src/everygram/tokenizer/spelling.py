"""What the tokens of a `tokenizer.json` spell, by its decoder. Knows tokens, no ids."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from everygram.tokenizer.tiktoken import byte_level_chars

BYTE_TOKEN = re.compile("<0x[0-9A-Fa-f]{2}>")
BYTE_OF = {char: byte for byte, char in byte_level_chars()}


@dataclass(frozen=True)
class Spelling:
    """How tokens spell bytes, each the same wherever it stands but at a text's start.

    byte_level: a character of a token is a byte; else `space` is the character that stands for a
    space, and with `byte_tokens` <0x0A> is a byte. At the start of a text `drops_space` leaves out
    its first space, `drops_spaces` those of its first token.
    """

    byte_level: bool = False
    space: str = ""
    byte_tokens: bool = False
    drops_space: bool = False
    drops_spaces: bool = False

    def of(self, token: str) -> bytes:
        """The bytes that a token spells inside a text."""
        if self.byte_level:
            spelled = [BYTE_OF.get(char, -1) for char in token]
            return token.encode() if -1 in spelled else bytes(spelled)
        if self.byte_tokens and BYTE_TOKEN.fullmatch(token):
            return bytes.fromhex(token[3:5])
        return token.replace(self.space, " ").encode()


def spelling_of(steps: Sequence[dict[str, Any]]) -> Spelling | None:
    """How tokens spell by these steps of a decoder; None if it makes text in another way.

    The library's own text of ids is the same, where they are those of a text.
    """
    steps = [step for step in steps if step["type"] != "Sequence"]
    kinds = [step["type"] for step in steps]
    if kinds == ["ByteLevel"]:
        return Spelling(byte_level=True)
    if kinds == ["Metaspace"]:
        never = steps[0].get("prepend_scheme", "always") == "never"
        return Spelling(space=steps[0]["replacement"], drops_spaces=not never)
    if kinds[:3] == ["Replace", "ByteFallback", "Fuse"]:
        space = steps[0]["pattern"].get("String")
        strip = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
        if space and steps[0]["content"] == " " and steps[3:] in ([], [strip]):
            return Spelling(space=space, byte_tokens=True, drops_space=len(steps) == 4)
    return None
