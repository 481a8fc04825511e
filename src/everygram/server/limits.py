"""What a query may ask for: the limits that settings set, each with its own problem.

In: bodies as values, checked queries. Raises `Refusal`. Knows nothing of indexes.
"""

from functools import cache
from typing import Any

from everygram.server.models.base import Limited, Request
from everygram.server.problems import Refusal
from everygram.server.settings import Settings

# No token has more characters, nearly: a text with more of them per token is not even encoded.
TOKEN_CHARACTERS = 256
# What limits texts alone, in fields that take something else, too.
CHARACTERS = "max_text_characters"
# All brackets of JSON, and what is none of them.
_BRACKETS = b"[]{}"
_OTHERS = bytes(set(range(256)) - set(_BRACKETS))


def check_depth(body: bytes, value: Any, most: int) -> None:
    """Refuse JSON that is nested more than `most` deep; value: what the body says."""
    if body.count(b"[") + body.count(b"{") <= most:
        return
    # Brackets that close at once go, again and again: what is not nested too deeply goes whole
    # (unless strings have brackets, too). That takes a fraction of a walk through the value.
    brackets = body.translate(None, _OTHERS)
    for _ in range(most // 2):
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
        if not brackets:
            return
    inside, depth = [value], 0
    while inside := [each for each in inside if isinstance(each, list | dict)]:
        depth += 1
        if depth > most:
            raise Refusal(
                "json-too-deep",
                f"the body's JSON is nested too deeply: expected at most {most} levels",
            )
        inside = [
            each
            for outer in inside
            for each in (outer.values() if isinstance(outer, dict) else outer)
        ]


def check_batch(value: Any, most: int) -> None:
    """Refuse a batch of more than `most` queries, before they are looked at."""
    batch = value.get("batch") if isinstance(value, dict) else None
    if isinstance(batch, list) and len(batch) > most:
        raise Refusal.of_field(
            "batch-too-long",
            "batch",
            f"expected at most {most:,} queries, found {len(batch):,}; send several batches, or "
            "one query per line as application/x-ndjson",
        )


def check_query(query: Request, settings: Settings) -> None:
    """Refuse a query with a number, or a text, over a limit; defaults over it are lowered."""
    for name, setting in limits_of(type(query)):
        value, most = getattr(query, name), getattr(settings, setting)
        # (A continuation that is a token id has no characters to be limited.)
        if value is None or (setting == CHARACTERS and not isinstance(value, str)):
            continue
        if name in query.model_fields_set:
            check_value(name, value, setting, most)
        elif isinstance(value, int) and value > most:
            setattr(query, name, most)
        elif isinstance(value, list):
            setattr(query, name, [min(each, most) for each in value])


def check_passages(query: Any, listed: int, settings: Settings) -> None:
    """Refuse passages that are together longer than any answer; query: one with a `context`.

    (They are held in memory, all of them, before they are written. Few tokens have less than two
    bytes.)
    """
    asked, most = 2 * (query.context or 0) * listed, settings.max_answer_bytes // 2
    if asked > most:
        raise Refusal.of_field(
            "too-many-results",
            "context",
            f"expected at most {most:,} tokens beside all that is listed, found 2 · "
            f"{query.context:,} · {listed:,}; ask for fewer results or less context",
        )


def check_value(name: str, value: Any, setting: str, most: int) -> None:
    if isinstance(value, str):
        if len(value) > most:
            raise Refusal.of_field(
                "text-too-long",
                name,
                f"expected at most {most:,} characters, found {len(value):,}",
            )
    elif isinstance(value, int):
        if value > most:
            found = f"{value:,}" if value < 1 << 64 else "more"
            raise Refusal.of_field(
                "too-many-results", name, f"expected at most {most:,}, found {found}"
            )
    elif name == "context":  # of several
        for place, each in enumerate(value):
            check_value(f"context/{place}", each, setting, most)


def check_tokens(name: str, found: int, most: int) -> None:
    """Refuse a query of more than `most` tokens."""
    if found > most:
        raise Refusal.of_field(
            "query-too-long", name, f"expected at most {most:,} tokens, found {found:,}"
        )


def check_characters(name: str, text: str, most: int) -> None:
    """Refuse a text that has more than `most` tokens for sure, before it is encoded."""
    if len(text) > most * TOKEN_CHARACTERS:
        raise Refusal.of_field(
            "query-too-long",
            name,
            f"expected at most {most:,} tokens, found a text of {len(text):,} characters",
        )


@cache
def limits_of(model: type[Request]) -> tuple[tuple[str, str], ...]:
    """The fields of a query that a setting limits, each with the setting."""
    return tuple(
        (name, limited.setting)
        for name, field in model.model_fields.items()
        for limited in field.metadata
        if isinstance(limited, Limited)
    )
