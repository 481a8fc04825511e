"""What a corpus gives: documents of text or of token ids, each with its metadata."""

import json
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

OnError = Literal["raise", "skip"]
# Messages kept of what `on_error="skip"` left out; the rest is only counted.
SKIPS_LISTED = 20


@dataclass(frozen=True)
class TextDocument:
    """A document's text and its metadata (UTF-8 JSON)."""

    text: str
    metadata: bytes


@dataclass(frozen=True)
class TokenDocument:
    """A document's ids (u8, u16 or u32, shape (len,)) and its metadata (UTF-8 JSON)."""

    ids: np.ndarray
    metadata: bytes


def encode_metadata(record: dict[str, Any]) -> bytes:
    """A record as the index stores it: compact UTF-8 JSON."""
    return ENCODER.encode(record).encode()


ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
