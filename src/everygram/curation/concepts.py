"""Lists of concepts, and scores of concepts: what users give of them, checked, or read from files.

A concept is a name and texts, its aliases; the name is the first of them.
"""

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from everygram import arguments
from everygram.arguments import short
from everygram.errors import CorpusError, OptionError

# Concepts by name, each with the texts that are looked for, none twice.
Concepts = dict[str, tuple[str, ...]]
# Between aliases in a cell, and how columns of names may be called.
BETWEEN, NAMES, ALIASES = "|", ("concept", "name"), "aliases"
# Endings of files that have no concept a line.
OTHERS = (".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".gz", ".zst")
# The largest score: sums and squares of many are numbers still.
LARGEST = 1e100
Given = str | os.PathLike[str] | Mapping[str, Sequence[str]] | Sequence[str]


def concepts_of(given: Given) -> Concepts:
    """What was given: names, names with their aliases, or the path of a file of them.

    Raises OptionError for what is none of these, and for no concept at all; CorpusError of a file.
    """
    if isinstance(given, str | os.PathLike):
        return read_concepts(arguments.path("concepts", given))
    pairs: list[tuple[Any, Any]]
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Sequence) and not isinstance(given, bytes | bytearray | memoryview):
        pairs = [(name, ()) for name in given]
    else:
        raise OptionError(
            "concepts: expected names, names with their aliases, or the path of a file of them, "
            f"found {short(given)}"
        )
    for name, aliases in pairs:
        if isinstance(aliases, str) or not isinstance(aliases, list | tuple):
            raise OptionError(f"concepts: expected a list of aliases, found {short(aliases)}")
        for text in (name, *aliases):
            if not isinstance(text, str) or not text:
                raise OptionError(
                    f"concepts: expected strings of at least one character, found {short(text)}"
                )
    return _joined(pairs, OptionError("concepts: expected at least one concept, found none"))


def read_concepts(path: Path) -> Concepts:
    """The concepts of a file: one a line; or of a .csv, with the columns `concept` (or `name`) and,
    if there are any, `aliases`, between which | stands. Raises CorpusError."""
    if path.suffix.lower() in OTHERS:
        raise CorpusError(
            f"{path}: expected a .csv with a column concept, or a text file with a concept a line"
        )
    content = _content(path)
    if path.suffix.lower() == ".csv":
        rows = _rows_of_csv(path, content)
        pairs = [(_named(path, row, number), _aliases(row)) for number, row in rows]
    else:
        pairs = [(line.strip(), []) for line in _lines(content) if line.strip()]
    return _joined(pairs, CorpusError(f"{path}: expected concepts, found none"))


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Pairs of concepts of a .csv file with the columns `first` and `second`."""
    pairs = []
    for number, row in _rows_of_csv(path, _content(path)):
        pair = tuple((row.get(name) or "").strip() for name in ("first", "second"))
        if not all(pair):
            raise CorpusError(
                f"{path}: line {number}: expected two concepts in the columns first and second, "
                f"found {short(row)}"
            )
        pairs.append((pair[0], pair[1]))
    return pairs


def scores_of(given: Any, score_field: str) -> list[tuple[str, float]]:
    """Concepts and scores: (concept, score) pairs, or the path of a file of them.

    A file is .csv or .jsonl; of its rows `concept` (or `name`) and `score_field` are read. Raises
    OptionError, of a file CorpusError.
    """
    if isinstance(given, str | os.PathLike):
        path = arguments.path("results", given)
        content = _content(path)
        read = _rows_of_csv if path.suffix.lower() == ".csv" else _rows_of_json
        found = [
            (_named(path, row, number), _score(path, row, number, score_field))
            for number, row in read(path, content)
        ]
        if not found:
            raise CorpusError(f"{path}: expected results of an evaluation, found none")
        return found
    if not isinstance(given, list | tuple) or not given:
        raise OptionError(
            "results: expected pairs of a concept and a score, or the path of a file of them, "
            f"found {short(given)}"
        )
    pairs = []
    for each in given:
        pair = each if isinstance(each, list | tuple) and len(each) == 2 else (None, None)
        if not isinstance(pair[0], str):
            raise OptionError(f"results: expected (concept, score), found {short(each)}")
        score = _number(pair[1])
        if score is None:
            raise OptionError(f"results: expected (concept, score), found {short(each)}")
        pairs.append((pair[0], score))
    return pairs


def _joined(pairs: Iterable[tuple[str, Sequence[str]]], none: Exception) -> Concepts:
    """Concepts of one name are one, with the texts of all. Raises `none` for none."""
    joined: dict[str, dict[str, None]] = {}
    for name, aliases in pairs:
        texts = joined.setdefault(name, {name: None})
        texts.update(dict.fromkeys(aliases))
    if not joined:
        raise none
    return {name: tuple(texts) for name, texts in joined.items()}


def _content(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"{path}: expected UTF-8, found byte 0x{error.object[error.start]:02x} at byte "
            f"{error.start + 1:,}"
        ) from None


def _lines(content: str) -> Iterator[str]:
    """The lines of a file, which end with \\n, \\r\\n or \\r (`splitlines` ends them at more)."""
    return iter(io.StringIO(content, newline=None))


def _rows_of_csv(path: Path, content: str) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(io.StringIO(content, newline=""), restval="")
    try:
        for row in reader:
            row.pop(None, None)
            yield reader.line_num, row
    except csv.Error as error:
        raise CorpusError(f"{path}: line {reader.line_num}: not CSV: {error}") from None


def _rows_of_json(path: Path, content: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(_lines(content), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path}: line {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise CorpusError(f"{path}: line {number}: expected an object, found {short(row)}")
        yield number, row


def _named(path: Path, row: Mapping[str, Any], number: int) -> str:
    for name in NAMES:
        found = row.get(name)
        if isinstance(found, str) and found.strip():
            return found.strip()
    raise CorpusError(
        f"{path}: line {number}: expected a concept in the column {' or '.join(NAMES)}, found "
        f"{short(dict(row))}"
    )


def _aliases(row: Mapping[str, str]) -> list[str]:
    return [text.strip() for text in row.get(ALIASES, "").split(BETWEEN) if text.strip()]


def _score(path: Path, row: Mapping[str, Any], number: int, field: str) -> float:
    if field not in row:
        raise CorpusError(
            f"{path}: line {number}: no field {field!r}; there are {', '.join(map(repr, row))}; "
            "name that of the scores with --score-field"
        )
    found = _number(row[field])
    if found is None:
        raise CorpusError(
            f"{path}: line {number}: expected a number, true or false in {field!r}, found "
            f"{short(row[field])}"
        )
    return found


def _number(value: Any) -> float | None:
    """A score: a number, or true or false; None for what is none."""
    if isinstance(value, str):
        words = {"true": 1.0, "false": 0.0}
        if value.strip().lower() in words:
            return words[value.strip().lower()]
    elif not isinstance(value, Real | np.bool_):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= LARGEST else None
