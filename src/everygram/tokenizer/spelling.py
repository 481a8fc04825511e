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

    space: str = ""
    byte_tokens: bool = False
    byte_level: bool = False
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
    byte_tokens, fuses = "ByteFallback" in kinds, "Fuse" in kinds
    spacing = [step for step in steps if step["type"] not in ("ByteFallback", "Fuse")]
    kinds = [step["type"] for step in spacing]
    if kinds == ["ByteLevel"] and not byte_tokens:
        return Spelling(byte_level=True)
    if kinds == ["Metaspace"] and not fuses:
        never = spacing[0].get("prepend_scheme", "always") == "never"
        return Spelling(spacing[0]["replacement"], byte_tokens, drops_spaces=not never)
    if kinds[:1] == ["Replace"] and spacing[0]["content"] == " ":
        space = spacing[0]["pattern"].get("String")
        strips = spacing[1:] == [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
        if space and (len(spacing) == 1 or (strips and steps[-2]["type"] == "Fuse")):
            return Spelling(space, byte_tokens, drops_space=strips)
    return None
