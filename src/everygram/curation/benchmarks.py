"""Benchmarks, and other files of records, as items: the texts in some fields of each record.

In: what a user names or holds. Out: items, one at a time, with their records as they were read.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everygram.arguments import short
from everygram.corpus.arrow import HUB
from everygram.corpus.choosing import nothing_left, text_files
from everygram.corpus.decoding import NO_LIMITS, read_whole
from everygram.corpus.files import File, list_files
from everygram.corpus.memory import Held, names_or_held
from everygram.corpus.not_text import text_of
from everygram.corpus.records import json_type
from everygram.corpus.source import CorpusOptions, NamedCorpus
from everygram.corpus.text import file_format, records_of, value_in
from everygram.errors import CorpusError, OptionError

FIELD = "text"
HINT = "name the fields of an item with --fields"


@dataclass(frozen=True)
class Item:
    """A record as it was read, and what of it is looked for: its texts, or its ids."""

    record: Any
    texts: tuple[str, ...] = ()
    ids: np.ndarray | None = None


@dataclass
class Benchmark:
    """A file, folder, pattern or data set, or what a program holds.

    name: as it was named. are_ids: its items are token ids, all below vocab_size. sha256: of its
    file's bytes, where it is one file. num_items: those that were read so far. texts_sha256: of the
    texts of these, a zero byte behind each.
    """

    name: str
    files: list[File]
    fields: tuple[str, ...]
    are_ids: bool = False
    vocab_size: int = 1 << 32
    num_items: int = 0

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()

    @property
    def texts_sha256(self) -> str:
        return self._digest.hexdigest()

    @property
    def total_bytes(self) -> int:
        """Of its files, as far as that is known."""
        return sum(file.size for file in self.files)

    def items(self, tell: Callable[[int], None] = lambda done: None) -> Iterator[Item]:
        """The items, from the first on. tell: takes how many bytes of the files are read.

        Raises CorpusError where one cannot be read, or has ids outside the vocabulary.
        """
        before = 0
        for item, done in self._all():
            self.num_items += 1
            for text in item.texts:
                self._digest.update(text.encode() + b"\0")
            if item.ids is not None:
                if (most := int(item.ids.max(initial=0))) >= self.vocab_size:
                    raise CorpusError(
                        f"{self.name}: item {self.num_items - 1}: token id {most} is outside the "
                        f"vocabulary of the index: expected 0 to {self.vocab_size - 1}"
                    )
                self._digest.update(item.ids.astype("<u4").tobytes())
            yield item
            tell(max(before, done))

    def _all(self) -> Iterator[tuple[Item, int]]:
        done = 0
        if self.are_ids:
            corpus = NamedCorpus((self.name,), CorpusOptions()).ids()
            for document in corpus:
                yield Item({"ids": document.ids}, ids=document.ids), corpus.bytes_read
            return
        for file in self.files:
            records = records_of(file)
            read = 0
            if records is None:
                text = text_of(read_whole(file, NO_LIMITS), file.name)
                yield Item({FIELD: text, "path": file.relative}, (text,)), done
            else:
                for place, make in records:
                    record = make()
                    texts = _texts(record, self.fields, place)
                    read += sum(map(len, texts))
                    yield Item(record, texts), done + min(read, file.size)
            file.check_unchanged()
            done += file.size

    def sha256(self) -> str | None:
        """Of its file's bytes, if it is one file here."""
        if len(self.files) != 1 or not self.files[0].readable:
            return None
        if not Path(self.files[0].name).is_file():
            return None
        digest = hashlib.sha256()
        with self.files[0].open() as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def benchmarks_of(given: Any, fields: Sequence[str] | None) -> list[Benchmark]:
    """The benchmarks that are named or held.

    given: a name (file, folder, pattern, address, `datasets:NAME`), or a list of paths; or items: a
    table, or an iterable of texts or of mappings. Raises CorpusError, OptionError.
    """
    listed = fields is None or isinstance(fields, list | tuple)
    if not listed or not all(isinstance(each, str) and each for each in fields or ()):
        raise OptionError(f"fields: expected a list of names of fields, found {short(fields)}")
    wanted = tuple(dict.fromkeys(fields or (FIELD,)))
    if isinstance(given, str | os.PathLike):
        given = [os.fspath(given)]
    elif isinstance(given, tuple) and given and all(isinstance(each, str) for each in given):
        given = list(given)
    elif isinstance(given, list) and given and all(isinstance(each, str) for each in given):
        # (Here texts in a list are items.)
        given = [{FIELD: text} for text in given]
    held = names_or_held(given, FIELD)
    if isinstance(held, Held):
        return [Benchmark("items", [held], wanted)]
    if not held:
        raise CorpusError("no items given: expected a file, or texts or records, found none")
    return [_named(os.fspath(name), wanted) for name in held]


def _named(name: str, fields: tuple[str, ...]) -> Benchmark:
    """What is named, as a benchmark."""
    if not name:
        raise OptionError("benchmark: expected a path, found an empty one")
    if name.startswith("datasets:"):
        if HUB.match(name) is None:
            raise CorpusError(
                f"{name}: expected datasets:NAME, with ,CONFIG and ,split=SPLIT if needed"
            )
        return Benchmark(name, [File(name, name)], fields)
    if NamedCorpus((name,), CorpusOptions()).are_ids:
        return Benchmark(name, list_files(name), fields, are_ids=True)

    def has_text(record: dict[str, Any]) -> bool:
        return all(field.partition(".")[0] in record for field in fields)

    listed = list_files(name)
    files, passed = text_files(listed, file_format, has_text)
    if not files:
        raise nothing_left(name, passed)
    return Benchmark(name, files, fields)


def _texts(record: Mapping[str, Any], fields: Sequence[str], place: str) -> tuple[str, ...]:
    """The texts in the fields of a record: strings, or lists of them; null is none."""
    texts: list[str] = []
    for field in fields:
        value = value_in(dict(record), field, place, HINT)
        values = value if isinstance(value, list | tuple) else [value]
        for each in values:
            if isinstance(each, str):
                try:
                    each.encode()
                except UnicodeEncodeError:
                    raise CorpusError(
                        f"{place}: field '{field}': a lone surrogate is no Unicode character"
                    ) from None
                texts.append(each)
            elif each is not None:
                raise CorpusError(
                    f"{place}: field '{field}': expected a string or a list of strings, found "
                    f"{json_type(each)}"
                )
    return tuple(texts)
