"""Places, passages and documents in words, from their JSON values."""

import shutil
import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

from everygram.cli.show import counted, show_count

# Lines of a concordance are not wider than the terminal, but at least so wide.
NARROWEST = 40
# The bidirectional classes of characters that embed, override and isolate.
REORDERS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")


def show_text_count(answer: dict[str, Any]) -> str:
    """How often a text occurs, and in what tokens if that was asked."""
    documents = answer["document_count"]
    lines = [
        f"count     {answer['count']:,}, in {counted(documents, 'document')}",
        f"text      {answer['text']!r}",
    ]
    listed = answer.get("tokenizations") or []
    if listed:
        lines.append(f"{'count':>12}  {'from byte':>9}  tokens")
    for each in listed:
        tokens = " ".join(map(repr, each["tokens"]))
        ids = " ".join(map(str, each["token_ids"]))
        lines.append(f"{each['count']:>12,}  {each['offset']:>9}  {tokens}   ids {ids}")
    left = answer.get("tokenization_count", 0) - len(listed)
    if left:
        lines.append(f"{answer['other_count']:>12,}  in {left:,} other sequences")
    return "\n".join(lines)


def show_matches(answer: dict[str, Any]) -> str:
    """Occurrences, one line per occurrence: where it is, or what stands around it."""
    head = show_text_count(answer) if "text" in answer else show_count(answer)
    listed = answer["occurrences"]
    if not listed:
        return head
    if listed[0]["parts"] is not None:
        return "\n".join([head, *concordance((each["document"], each["parts"]) for each in listed)])
    if "text" in answer:
        columns = {"document": 10, "start": 12, "end": 12, "token_start": 12, "token_end": 12}
    else:
        columns = {"document": 10, "offset": 9, "segment": 7, "rank": 12, "position": 12}
    lines = [head, "  ".join(f"{name:>{width}}" for name, width in columns.items())]
    lines += [
        "  ".join(f"{each[name]:>{width}}" for name, width in columns.items()) for each in listed
    ]
    return "\n".join(lines)


def show_hits(answer: dict[str, Any]) -> str:
    """Documents that match an expression, each with the text around its matches."""
    windows = answer["unit"] == "windows"
    found = counted(answer["occurrence_count"], "window" if windows else "occurrence")
    if windows:
        found += f" of at most {counted(answer['within'], 'token')}"
    lines = [
        f"found     {counted(answer['document_count'], 'document')}, {found}",
        f"search    {answer['expression']}",
    ]
    if not answer["exact"]:
        what = counted(answer["error_bound"], "window" if windows else "document")
        lines.append(f"exact     no: estimated from a sample, off by at most {what} (95 %)")
    if len(answer["terms"]) > 1:
        lines += [f"{each['count']:>8,}  {each['term']}" for each in answer["terms"]]
    for hit in answer["hits"]:
        unit = "window" if windows else "match"
        number = hit["occurrence_count"]
        many = unit if number == 1 else f"{unit}es" if unit == "match" else f"{unit}s"
        score = "" if hit["score"] is None else f"   score {hit['score']:.3f}"
        lines += ["", f"document  {hit['document']}   {number:,} {many}{score}"]
        lines += [f"{name}: {value}" for name, value in hit["metadata"].items()]
        if hit["snippet"] is not None:
            shown = in_a_line(_marked(hit["snippet"], hit["marks"]))
            lines.append("  " + " ".join(shown.split()))
    if answer["cursor"] is not None:
        lines += ["", f"more      --cursor {answer['cursor']}"]
    return "\n".join(lines)


def _marked(text: str, marks: list[list[int]]) -> str:
    """A text with its marks between » and «; overlapping ones are one."""
    merged: list[list[int]] = []
    for begin, end in sorted(marks):
        if merged and begin < merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([begin, end])
    pieces, at = [], 0
    for begin, end in merged:
        pieces.append(f"{text[at:begin]}»{text[begin:end]}«")
        at = end
    return "".join([*pieces, text[at:]])


def concordance(passages: Iterable[tuple[int, tuple[str, str, str]]]) -> list[str]:
    """Lines of documents and passages, the matches one below another (keyword in context).

    On a terminal the text on both sides is cut to fit.
    """
    rows = [(f"{document:>10}", *map(in_a_line, parts)) for document, parts in passages]
    left = max((_width(before) for _, before, _, _ in rows), default=0)
    right = None
    if sys.stdout is not None and sys.stdout.isatty():
        columns = max(NARROWEST, shutil.get_terminal_size().columns)
        middle = max((_width(match) for _, _, match, _ in rows), default=0)
        side = max(8, (columns - 12 - 4 - middle) // 2)
        left, right = min(left, side), side
    lines = []
    for document, before, match, after in rows:
        kept = _last(before, left)
        shown = after if right is None else _first(after, right)
        line = f"{document}  {' ' * (left - _width(kept))}{kept}»{match}«{shown}"
        lines.append(line.rstrip())
    return lines


def show_document(answer: dict[str, Any]) -> str:
    """A document or the part around a match, the match between » and «."""
    shown = len(answer["token_ids"])
    head = f"document  {answer['number']}   {counted(answer['length'], 'token')}"
    if shown < answer["length"]:
        head += f", {tokens_between(answer['start'], answer['start'] + shown)} shown"
    if answer["match"] is not None:
        head += (
            f"   occurrence {answer['occurrence']} of {answer['count']:,}, at "
            f"{tokens_between(*answer['match'])}"
        )
    lines = [head, *(f"{name}: {value}" for name, value in answer["metadata"].items()), ""]
    if answer["parts"] is not None:
        before, match, after = answer["parts"]
        lines.append(f"{before}»{match}«{after}")
    elif answer["text"] is not None:
        lines.append(answer["text"])
    else:
        lines.append(" ".join(map(str, answer["token_ids"])))
    return "\n".join(lines)


def tokens_between(start: int, end: int) -> str:
    """Tokens [start, end) of a document, in words: the first and the last."""
    if end - start < 2:
        return f"token {start:,}" if start < end else "no tokens"
    return f"tokens {start:,}–{end - 1:,}"


def in_a_line(text: str) -> str:
    """A text without line ends, control characters, and what reorders the line that it is in; each
    of these becomes a space."""
    return "".join(
        " "
        if char.isspace()
        or unicodedata.category(char) == "Cc"
        or unicodedata.bidirectional(char) in REORDERS
        else char
        for char in text
    )


def _width(text: str) -> int:
    """Columns that a text takes on a terminal."""
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _last(text: str, columns: int) -> str:
    """The end of a text that takes at most so many columns."""
    start = len(text)
    while start and columns >= _columns(text[start - 1]):
        start -= 1
        columns -= _columns(text[start])
    return text[start:]


def _first(text: str, columns: int) -> str:
    """The beginning of a text that takes at most so many columns."""
    end = 0
    while end < len(text) and columns >= _columns(text[end]):
        columns -= _columns(text[end])
        end += 1
    return text[:end]
