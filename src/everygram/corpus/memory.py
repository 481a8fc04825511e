"""Documents that a program holds: tables, data sets, and iterables of strings or mappings.

A table is whatever gives an Arrow stream (`__arrow_c_stream__`), as those of pyarrow, pandas and
polars do. Its rows are records, as are mappings; a string is a text without metadata. Strings in a
list or a tuple are names of files: texts come from any other iterable, or in mappings.
"""

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, Protocol, cast

from everygram.corpus.arrow import data_set, stream
from everygram.corpus.decoding import Limits
from everygram.corpus.files import File, names_a_file
from everygram.corpus.records import Records, raised
from everygram.corpus.values import of_object
from everygram.errors import CorpusError, OptionError

Name = str | os.PathLike[str]


class Tabular(Protocol):
    """A table that gives its rows as an Arrow stream."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """A PyCapsule of an ArrowArrayStream."""


# What `build` and `add` take as a corpus.
Given = Name | Iterable[Name] | Iterable[Mapping[str, Any]] | Tabular
# What a system can have as the name of a file; lines are seldom in it.
NAME = re.compile(r"[^\n\0]{1,4096}")
STREAMS = ("__arrow_c_stream__", "__arrow_c_array__")


@dataclass(frozen=True)
class Held(File):
    """What a program holds, in the place of a file.

    `text_field` is what a record of a mere string calls it. `once`: it can be read only once.
    """

    data: Any = None
    text_field: str = "text"
    once: bool = False

    @property
    def num_records(self) -> int | None:
        """How many records there are, where that can be told."""
        try:
            return len(self.data)
        except TypeError:
            return None


def names_or_held(corpus: Any, text_field: str) -> list[Name] | Held:
    """What is given as a corpus: names, or what is held itself. Raises OptionError for neither."""
    if isinstance(corpus, str | os.PathLike):
        return [corpus]
    kind = type(corpus)
    hold = partial(Held, "corpus", "", text_field=text_field)
    if _is_table(corpus) or _is_data_set(corpus):
        return hold(data=corpus, once=isinstance(corpus, Iterator))
    if isinstance(corpus, Mapping):
        hint = "for one document pass [mapping]; for a split of a data set pass corpus['train']"
        raise _unexpected(kind.__name__, hint)
    if isinstance(corpus, set | frozenset):
        raise _unexpected(kind.__name__, "a set has no order: pass sorted(corpus), or mappings")
    if isinstance(corpus, bytes | bytearray):
        raise _unexpected(kind.__name__, "pass a str")
    if isinstance(corpus, io.IOBase):
        raise _unexpected("an open file", "pass its name")
    if any(hasattr(kind, name) for name in ("columns", "column_names")):
        raise _unexpected(
            f"a {kind.__name__} without __arrow_c_stream__",
            "collect() it, update its library, or convert it with pyarrow.Table.from_pandas",
        )
    try:
        items = iter(corpus)
    except TypeError:
        raise _unexpected(kind.__name__) from None
    begun = list(zip(range(1), items, strict=False))
    first = begun[0][1] if begun else None
    once = items is corpus
    if isinstance(first, os.PathLike) or (
        isinstance(corpus, list | tuple) and (not begun or isinstance(first, str))
    ):
        return _names([first, *items] if begun else [])
    if not begun and once:
        raise CorpusError("corpus: the iterator has nothing left: it was used up before, or empty")
    if isinstance(first, str) and names_a_file(first):
        raise OptionError(
            f"corpus: '{first}' is a text here, and the name of a file: pass a list of names to "
            'read files, or mappings like {"text": …} to index texts'
        )
    return hold(data=_Once(chain([first], items)) if once else corpus, once=once)


def held(
    file: File, columns: list[str] | None, tell: Callable[[int], None], limits: Limits
) -> Records:
    """What is held, as records (a reader as in `records`)."""
    file = cast(Held, file)
    if _is_table(file.data):
        yield from stream(file.data, file.text_field, file, columns, tell, limits)
        return
    if _is_data_set(file.data):
        yield from data_set(file.data, file, columns, tell, limits)
        return
    for number, item in enumerate(file.data, 1):
        place = f"{file.name}: record {number:,}"
        if isinstance(item, str):
            yield place, partial(dict, [(file.text_field, str(item))])
        elif isinstance(item, Mapping):
            yield place, partial(_record, item, place)
        else:
            found = type(item).__name__
            wrong = CorpusError(f"{place}: expected a string or a mapping, found {found}")
            yield place, partial(raised, wrong)


class _Once:
    """An iterator that says so when it is to be read a second time, in place of giving nothing."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items: Iterator[Any] | None = items

    def __iter__(self) -> Iterator[Any]:
        items, self._items = self._items, None
        if items is None:
            raise CorpusError("corpus: the iterator is used up: pass a new one, or a list")
        return items


def _record(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    record: dict[str, Any] = {}
    for name, value in item.items():
        try:
            record |= of_object({name: value})
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{place}: field {name!r}: {error}") from None
    return record


def _names(items: list[Any]) -> list[Name]:
    for number, item in enumerate(items, 1):
        if not isinstance(item, str | os.PathLike):
            raise _unexpected(
                f"{type(item).__name__} as number {number} of a list of names",
                'texts and records do not stand beside names: pass each text as {"text": …}',
            )
        if item and isinstance(item, str) and not NAME.fullmatch(item) and not names_a_file(item):
            raise _unexpected(
                f"a text as number {number} of a list, which is one of names",
                "pass texts as iter(corpus)",
            )
    return items


def _unexpected(found: str, hint: str = "") -> OptionError:
    return OptionError(
        "corpus: expected a path, or a list of paths, a table, or an iterable of texts or "
        f"mappings, found {found}{hint and '; '}{hint}"
    )


def _is_table(corpus: Any) -> bool:
    return any(hasattr(type(corpus), name) for name in STREAMS)


def _is_data_set(corpus: Any) -> bool:
    """Whether that is a data set of the library `datasets`, in memory or streamed."""
    return type(corpus).__module__.partition(".")[0] == "datasets" and hasattr(corpus, "iter")
