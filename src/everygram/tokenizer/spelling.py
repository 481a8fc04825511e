"""Which bytes the tokens of a `tokenizer.json` stand for, told from its decoder."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from everygram.tokenizer.tiktoken import byte_level_chars

BYTE_TOKEN = re.compile("<0x[0-9A-Fa-f]{2}>")


class _Bytes(dict[int, str]):
    """For `str.translate`: the Latin-1 character of the byte that a character stands for, and one
    that Latin-1 has not for any other."""

    def __missing__(self, char: int) -> str:
        return "\ufffd"


BYTE_OF = _Bytes({ord(char): chr(byte) for byte, char in byte_level_chars()})


@dataclass(frozen=True)
class Spelling:
    """How a token becomes bytes: the same bytes everywhere but at the start of a text.

    byte_level: each character of a token stands for a byte. Otherwise `space` is the character that
    stands for a space, and with `byte_tokens` a token such as <0x0A> is a byte. At the start of a
    text, `drops_space` drops its first space, `drops_spaces` all spaces of its first token.
    """

    space: str = ""
    byte_tokens: bool = False
    byte_level: bool = False
    drops_space: bool = False
    drops_spaces: bool = False

    def of(self, token: str) -> bytes:
        """The bytes that a token stands for inside a text."""
        if self.byte_level:
            try:
                return token.translate(BYTE_OF).encode("latin-1")
            except UnicodeEncodeError:
                return token.encode()
        if self.byte_tokens and BYTE_TOKEN.fullmatch(token):
            return bytes.fromhex(token[3:5])
        return token.replace(self.space, " ").encode()


def spelling_of(steps: Sequence[dict[str, Any]]) -> Spelling | None:
    """The spelling that a decoder with these steps has; None if it works in another way.

    For the ids of a text, the bytes are the text that the library's decoder gives.
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
