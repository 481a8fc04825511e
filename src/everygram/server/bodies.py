"""JSON of bodies: read as it must be, written whatever is in it."""

import json
from typing import Any

import jiter
import orjson

from everygram.server import limits, problems
from everygram.server.problems import Refusal


def read(content: bytes, depth: int) -> Any:
    """What a body says. Raises Refusal for what is no JSON, repeats a name, or is deeper."""
    try:
        value = jiter.from_json(content, catch_duplicate_keys=True, allow_inf_nan=False)
    except ValueError as error:
        raise problems.not_json(str(error)) from None
    limits.check_depth(content, value, depth)
    return value


def written(value: dict[str, Any]) -> bytes:
    """JSON."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # Metadata is what the corpus had: integers of any size, deeper than orjson goes, and
        # surrogates without their other half, which only escapes can be.
        return json.dumps(value, separators=(",", ":")).encode()


def answer_too_large(most: int) -> Refusal:
    """The refusal of an answer that has more bytes."""
    return Refusal(
        "answer-too-large",
        f"the answer has more than {most:,} bytes; ask for fewer results, less context or fewer "
        "queries at a time",
    )
