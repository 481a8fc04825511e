"""Several indexes asked as one, and others taken away from them."""

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from everygram import arguments
from everygram.encoding import Encoding
from everygram.engine.copies import copies_of
from everygram.engine.engine import Engine
from everygram.engine.members import Members
from everygram.errors import OptionError
from everygram.index import Index
from everygram.index.base import State
from everygram.search.text import TextSearch
from everygram.storage import format as fmt
from everygram.storage.segment import Segment
from everygram.storage.views import Part, Renumbered, Subtracted

PathLike = str | os.PathLike[str]
# Documents that a message names.
NAMED = 10


class _UnionState(State):
    """The state of a union: what queries take of any index, and which indexes it is made of.

    missing: for each of `minus` the numbers of its documents that no index has.
    """

    indexes: tuple[Index, ...]
    minus: tuple[Index, ...]
    missing: tuple[tuple[int, ...], ...]


class UnionIndex(Index):
    """Several indexes as one: what `everygram.open` returns for a list.

    Every query is answered as by one index of all their documents, without those of `minus`. A
    document is known by its index, as a place in the list, and its number there: results that name
    documents have `index` and `index_name`, too.
    """

    def __init__(
        self,
        paths: PathLike | Sequence[PathLike],
        *,
        preload: str | Sequence[str] = (),
        verify: bool = False,
        minus: PathLike | Sequence[PathLike] = (),
        missing_ok: bool = False,
        tokenizer: str | None = None,
    ) -> None:
        """As `everygram.open`."""
        missing_ok = arguments.flag("missing_ok", missing_ok)
        given, without = _paths("index", paths), _paths("minus", minus)
        if not given:
            raise OptionError("index: expected a path, or a list of them, found an empty list")
        _check_places(given, without)
        indexes, minus_indexes = (
            [Index(each, preload=preload, verify=verify, tokenizer=tokenizer) for each in paths]
            for paths in (given, without)
        )
        self._set(indexes, minus_indexes, missing_ok)

    @classmethod
    def of(
        cls,
        indexes: Sequence[Index],
        minus: Sequence[Index] = (),
        names: Sequence[str] | None = None,
        missing_ok: bool = False,
    ) -> Self:
        """The union of indexes that are open already; it opens nothing.

        names: what its answers call the indexes (default: as their folders).
        """
        union = cls.__new__(cls)
        union._set(indexes, minus, missing_ok, None if names is None else tuple(names))
        return union

    def _set(
        self,
        indexes: Sequence[Index],
        minus: Sequence[Index],
        missing_ok: bool,
        names: tuple[str, ...] | None = None,
    ) -> None:
        first = indexes[0]
        self._names = names
        self._preload, self._verify, self._missing_ok = first._preload, first._verify, missing_ok
        self._tokenizer = first._tokenizer
        self._paths = [index.path for index in indexes], [index.path for index in minus]
        self._state = _united(indexes, minus, missing_ok, names or _names(indexes))
        # What messages call it: there is no such folder.
        self.path = Path(cast(Members, self.engine.members).label)
        self._changing = threading.Lock()

    def changed(self) -> bool:
        """Whether any of its indexes has changed."""
        state = cast(_UnionState, self._state)
        return any(index.changed() for index in (*state.indexes, *state.minus))

    def disturbed(self) -> str | None:
        """As `Index.disturbed`, of every index in the union."""
        state = cast(_UnionState, self._state)
        found = (index.disturbed() for index in (*state.indexes, *state.minus))
        return next((name for name in found if name is not None), None)

    def latest(self) -> Self:
        """As `Index.latest`, of every index in the union."""
        state = cast(_UnionState, self._state)
        indexes, minus = (
            [index.latest() for index in each] for each in (state.indexes, state.minus)
        )
        return self.renewed(indexes, minus)

    def renewed(self, indexes: Sequence[Index], minus: Sequence[Index] = ()) -> Self:
        """The union of these indexes, which are its own or later ones: itself if nothing is new."""
        state = cast(_UnionState, self._state)
        before, after = (*state.indexes, *state.minus), (*indexes, *minus)
        if all(new is old for new, old in zip(after, before, strict=True)):
            return self
        union = type(self).__new__(type(self))
        union._set(indexes, minus, self._missing_ok, self._names)
        return union

    def __getstate__(self) -> dict[str, Any]:
        paths, minus = ([path.absolute() for path in each] for each in self._paths)
        options = {"preload": self._preload, "verify": self._verify, "tokenizer": self._tokenizer}
        return options | {"paths": paths, "minus": minus, "missing_ok": self._missing_ok}

    def __setstate__(self, state: dict[str, Any]) -> None:
        UnionIndex.__init__(self, **state)

    def __repr__(self) -> str:
        state = self._state
        if not isinstance(state, _UnionState):
            return f"<everygram.Index '{self.path}': closed>"
        minus = "".join(f" minus '{index.path}'" for index in state.minus)
        manifest = state.manifest
        return (
            f"<everygram.Index '{self.path}'{minus}: {manifest.num_tokens:,} tokens, "
            f"{manifest.num_documents:,} documents, union of {len(state.indexes)}, "
            f"{manifest.dtype}, tokenizer {manifest.tokenizer.source!r}>"
        )

    def info(self) -> dict[str, Any]:
        """What the union is, as JSON values: its indexes, what is taken away, and the sums."""
        state = cast(_UnionState, self._state)
        manifest = state.manifest
        names = cast(Members, state.engine.members).names
        each = [index.info() for index in state.indexes]
        reading = state.reading.entry
        minus = [index.info() for index in state.minus]
        return {
            "indexes": [{"name": name, **said} for name, said in zip(names, each, strict=True)],
            "minus": [
                {**said, "num_missing": len(missing)}
                for said, missing in zip(minus, state.missing, strict=True)
            ],
            "num_documents": manifest.num_documents,
            "num_tokens": manifest.num_tokens,
            "num_segments": len(manifest.segments),
            "bytes": sum(said["bytes"] for said in (*each, *minus)),
            "dtype": manifest.dtype,
            "separator": manifest.separator,
            "vocab_size": manifest.vocab_size,
            "tokenizer": "none" if reading.kind == "none" else reading.source,
            "tokenizer_sha256": reading.sha256,
            "query_prefix": reading.query_prefix,
            "document_counts": not state.engine.looks_at,
        }


def _paths(name: str, given: Any) -> list[Path]:
    """The paths that a caller gives as a list, or as one."""
    if not isinstance(given, list | tuple):
        given = [given]
        return [arguments.path(name, path) for path in given]
    return [arguments.path(f"{name}[{place}]", path) for place, path in enumerate(given)]


def _check_places(indexes: Sequence[Path], minus: Sequence[Path]) -> None:
    """Raise OptionError if a folder is given twice."""
    seen: set[str] = set()
    # (`resolve` raises for links in a circle.)
    for path in indexes:
        if os.path.realpath(path) in seen:
            raise OptionError(
                f"index '{path}': given twice, so that its documents would count twice; give each "
                "index once"
            )
        seen.add(os.path.realpath(path))
    for path in minus:
        if os.path.realpath(path) in seen:
            raise OptionError(
                f"minus: index '{path}': given already; expected one of the documents to take away"
            )
        seen.add(os.path.realpath(path))


def _names(indexes: Sequence[Index]) -> tuple[str, ...]:
    """What indexes are called: as their folders or, if two have the same name, as their paths."""
    names = tuple(index.path.resolve().name for index in indexes)
    return names if len(set(names)) == len(names) else tuple(str(index.path) for index in indexes)


def _united(
    indexes: Sequence[Index], minus: Sequence[Index], missing_ok: bool, names: tuple[str, ...]
) -> _UnionState:
    """The state of a union."""
    states = [index._state for index in indexes]
    every = (*indexes, *minus)
    # (infini-gram's files do not say which tokenizer made their ids: then another index does.)
    first = next((each for each in every if not _is_unnamed(each)), indexes[0])
    for other in every:
        _check_same(first, other)
    manifest, reading = first._state.manifest, first._state.reading
    members = Members(names, tuple(state.manifest.next_document for state in states))

    def engine_of(segments: list[Segment]) -> Engine:
        return Engine(
            segments,
            manifest.vocab_size,
            manifest.separator,
            sum(members.sizes),
            members=members,
        )

    segments: list[Segment] = [
        Renumbered(segment, base)
        for state, base in zip(states, members.bases.tolist(), strict=True)
        for segment in state.engine.segments
    ]
    engine = engine_of(segments)
    missing: list[tuple[int, ...]] = []
    if minus:
        taken, missing = _taken(engine, minus)
        if not missing_ok:
            _refuse_missing(minus, missing, members)
        segments += taken
        engine = engine_of(segments)
    state = _UnionState(
        engine,
        Encoding(engine.vocabulary, reading),
        reading,
        replace(
            manifest,
            segments=tuple(segment.entry for segment in segments),
            next_document=engine.next_document,
            # (Two unions that differ in any index have different manifests.)
            build={"union": [index.manifest.digest for index in (*indexes, *minus)]},
        ),
        TextSearch(engine, lambda: reading.token_bytes),
    )
    state.indexes, state.minus, state.missing = tuple(indexes), tuple(minus), tuple(missing)
    return state


def _is_unnamed(index: Index) -> bool:
    """Whether nothing says which tokenizer made an index's ids, and so which ids there are."""
    return index.manifest.foreign and index.manifest.tokenizer.kind == "none"


def _check_same(first: Index, other: Index) -> None:
    """Raise OptionError unless the ids of two indexes mean the same, as far as they say."""
    one, two = first.manifest, other.manifest
    a, b = one.tokenizer, two.tokenizer
    different = []
    if one.dtype != two.dtype:
        different.append(f"dtype {two.dtype}, not {one.dtype}")
    if one.vocab_size != two.vocab_size and not _is_unnamed(other):
        different.append(f"a vocabulary of {two.vocab_size:,} ids, not {one.vocab_size:,}")
    # (Where a tokenizer came from is not what it is.)
    if (a.kind, a.sha256) != (b.kind, b.sha256) and not _is_unnamed(other):
        different.append(f"tokenizer {_tokenizer(b)}, not {_tokenizer(a)}")
    elif a.query_prefix != b.query_prefix and not _is_unnamed(other):
        different.append(f"query prefix {b.query_prefix!r}, not {a.query_prefix!r}")
    if different:
        raise OptionError(
            f"index '{other.path}' cannot be asked as one with '{first.path}': it has "
            f"{'; '.join(different)}; build one of them anew with the tokenizer of the other"
        )


def _tokenizer(entry: fmt.TokenizerEntry) -> str:
    """A tokenizer, for messages."""
    digest = "" if entry.sha256 is None else f" (SHA-256 {entry.sha256[:12]}…)"
    return f"'{entry.source}'{digest}"


def _taken(engine: Engine, minus: Sequence[Index]) -> tuple[list[Segment], list[tuple[int, ...]]]:
    """Segments that take away the documents of indexes, and of each those that are not there.

    The documents are those of the engine with the same tokens; of copies as many are taken away,
    the lowest numbers first.
    """
    given, whose = [], []
    for place, index in enumerate(minus):
        for segment in index.engine.segments:
            numbers = segment.numbers_of(np.arange(segment.num_documents))
            live = np.flatnonzero(~index.engine.deleted(numbers))
            if segment.entry.sign > 0 and live.size:
                given.append((segment, live))
                whose.append(place)
    missing: list[list[int]] = [[] for _ in minus]
    taken: list[Segment] = []
    for place, (segment, local), numbers in zip(
        whose, given, copies_of(engine, given), strict=True
    ):
        there = numbers >= 0
        missing[place] += segment.numbers_of(local[~there]).tolist()
        if there.any():
            whole = int(there.sum()) == segment.num_documents
            part = segment if whole else Part(segment, local[there])
            taken.append(Subtracted(part, numbers[there]))
    return taken, [tuple(numbers) for numbers in missing]


def _refuse_missing(
    minus: Sequence[Index], missing: Sequence[tuple[int, ...]], members: Members
) -> None:
    """Raise OptionError if a document that is to be taken away is not there."""
    for index, numbers in zip(minus, missing, strict=True):
        if numbers:
            named = ", ".join(map(str, numbers[:NAMED])) + ", …" * (len(numbers) > NAMED)
            raise OptionError(
                f"minus: index '{index.path}': {len(numbers):,} of its {index.num_documents:,} "
                f"documents have no copy (left) in '{members.label}': {named}; expected the same "
                "tokens from start to end; pass missing_ok to ignore such ones"
            )
