"""An open index: its state, how it is opened, refreshed and closed, and what it says of itself."""

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self, cast

import numpy as np

from everygram import arguments
from everygram.encoding import Encoding, Query, Reading
from everygram.engine.engine import Engine
from everygram.engine.queries import Ids
from everygram.errors import QueryError
from everygram.search.text import TextSearch
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage.prepared import is_prepared
from everygram.storage.segment import PRELOADABLE, Segment
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import load_tokenizer


class State(NamedTuple):
    """An index as it was at one moment. Every query takes it once."""

    engine: Engine
    encoding: Encoding
    reading: Reading
    manifest: fmt.Manifest
    texts: TextSearch


class _Closed:
    """What a closed index has for a state: whatever is wanted of it, it raises."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __iter__(self) -> NoReturn:
        raise QueryError(f"index '{self._path}' is closed")

    def __getattr__(self, name: str) -> NoReturn:
        raise QueryError(f"index '{self._path}' is closed")


class OpenIndex:
    """An index that is open. Its queries are in the modules beside this one, by family."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        preload: str | Sequence[str] = (),
        verify: bool = False,
        tokenizer: str | None = None,
        before: "OpenIndex | None" = None,
    ) -> None:
        """As `open`; segments that are as they were in the index `before` are not opened again."""
        self.path = arguments.path("index", path)
        self._preload, self._verify = _parts(preload), arguments.flag("verify", verify)
        given = None
        if tokenizer is not None:
            tokenizer = arguments.place("tokenizer", tokenizer, "a path or a name")
            given = load_tokenizer(tokenizer)
        self._tokenizer = tokenizer
        manifest, engine, tokenizer_json = self._opened(before, given)
        # (Results keep the reading, which leads back to no file and no segment.)
        reading = Reading(
            self.path.absolute(),
            fmt.TOKEN_DTYPES[manifest.dtype],
            manifest.separator,
            manifest.vocab_size,
            manifest.tokenizer,
            tokenizer_json,
            self.missing_segments,
        )
        self._state = State(
            engine,
            Encoding(engine.vocabulary, reading),
            reading,
            manifest,
            TextSearch(engine, lambda: reading.token_bytes),
        )
        # Held to change the state: of two that refresh at once the later must not bring back what
        # the earlier read.
        self._changing = threading.Lock()

    def _read(
        self, opened: Sequence[Segment], tokenizer: Tokenizer | None
    ) -> tuple[fmt.Manifest, list[Segment], bytes | None]:
        """As `directory.open_index`."""
        return directory.open_index(self.path, opened, self._verify, tokenizer)

    def _opened(
        self, before: "OpenIndex | None", tokenizer: Tokenizer | None
    ) -> tuple[fmt.Manifest, Engine, bytes | None]:
        """The manifest, an engine over its segments, and the tokenizer's file, if it has one."""
        opened = () if before is None else before.engine.segments
        manifest, segments, tokenizer_json = self._read(opened, tokenizer)
        engine = Engine(
            segments,
            manifest.vocab_size,
            manifest.separator,
            manifest.next_document,
            self._preloaded(),
        )
        engine.path = self.path
        return manifest, engine, tokenizer_json

    def _preloaded(self) -> tuple[str, ...]:
        """The parts to read into memory, each by its name."""
        return PRELOADABLE if "all" in self._preload else self._preload

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files. Results already given stay good; further queries raise."""
        # (Not looked for in every query, which would take longer than a part of some.)
        with self._changing:
            self._state = cast(State, _Closed(self.path))

    @property
    def manifest(self) -> fmt.Manifest:
        """What the index says of itself."""
        return self._state.manifest

    @property
    def version(self) -> str:
        """16 hex digits that name this state of the index: others in it after any change."""
        return self.manifest.digest

    @property
    def engine(self) -> Engine:
        """Its queries over checked ids."""
        return self._state.engine

    @property
    def missing_segments(self) -> tuple[str, ...]:
        """The names of segments that could not be reached, whose documents no answer counts.

        None but of an index that is open with `ray` and `partial`. Only `refresh` changes it: a
        segment that is lost later is an error in queries until then, never a lower count.
        """
        return ()

    def warm_up(self) -> None:
        """Compile what queries of this index run, or load it from the disk cache."""
        self._state.engine.warm_up()

    def changed(self) -> bool:
        """Whether `latest` would open another one. Raises FormatError, DamagedIndexError."""
        return directory.changed(self.path, self.manifest)

    def latest(self) -> Self:
        """This index as it is on disk now: itself if nothing has changed, else a new one.

        An index goes on answering from what it was when it was opened, whatever writers do. The
        new one opens only what is new. Raises as `open`.
        """
        if not self.changed():
            return self
        options = self.__getstate__() | {"path": self.path}
        return type(self)(**options, before=self)

    def disturbed(self) -> str | None:
        """A file that changed since the index was opened though its manifest did not, or None.

        Files of an index never change: queries may answer wrongly, or end the process, if one does.
        A few system calls per segment.
        """
        for segment in self.engine.segments:
            name = segment.disturbed()
            if name is not None:
                return f"{segment.folder.name}/{name}"
        return None

    def refresh(self) -> bool:
        """Become `latest`; returns whether anything had changed.

        Queries that other threads are at are answered from before. Raises as `open`.
        """
        with self._changing:
            latest = self.latest()
            if latest is self:
                return False
            self._state = latest._state
            return True

    def __getstate__(self) -> dict[str, Any]:
        # Another process opens the index itself.
        path = self.path.absolute()
        options = {"preload": self._preload, "verify": self._verify}
        return {"path": path, **options, "tokenizer": self._tokenizer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        OpenIndex.__init__(self, **state)

    def __repr__(self) -> str:
        state = self._state
        if not isinstance(state, State):
            return f"<everygram.Index '{self.path}': closed>"
        manifest = state.manifest
        return (
            f"<everygram.Index '{self.path}': {manifest.num_tokens:,} tokens, "
            f"{manifest.num_documents:,} documents, {len(manifest.segments)} segments, "
            f"{manifest.dtype}, tokenizer {manifest.tokenizer.source!r}>"
        )

    @property
    def num_tokens(self) -> int:
        """Tokens in all documents, separators and deleted documents not counted."""
        return self.manifest.num_tokens

    @property
    def num_documents(self) -> int:
        """Documents, deleted ones not counted."""
        return self.manifest.num_documents

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size)."""
        return self.manifest.vocab_size

    @property
    def separator(self) -> int:
        """The id that stands for a document's start and end."""
        return self.manifest.separator

    @property
    def tokenizer(self) -> Tokenizer | None:
        """The tokenizer the index was built with, or None. Loaded when first needed."""
        return self._state.reading.tokenizer

    def info(self) -> dict[str, Any]:
        """What the index is, as JSON values.

        `format`: "everygram", or "infini-gram" for its files, which have no versions: 0 and "".
        `document_counts`: whether every segment has them, so that documents are counted at once.
        `prepared`: whether modified Kneser-Ney can be asked, as far as the folder says now.
        `kind`, `sample_every`: those that `compact` makes. `segments`: of each what it is.
        """
        manifest = self.manifest
        counts = [fmt.DOCUMENT_COUNTS in segment.files for segment in manifest.segments]
        return {
            "path": str(self.path),
            "num_documents": manifest.num_documents,
            "num_tokens": manifest.num_tokens,
            "num_segments": len(manifest.segments),
            "bytes": manifest.bytes,
            "dtype": manifest.dtype,
            "separator": manifest.separator,
            "vocab_size": manifest.vocab_size,
            "tokenizer": "none" if manifest.tokenizer.kind == "none" else manifest.tokenizer.source,
            "tokenizer_sha256": manifest.tokenizer.sha256,
            "query_prefix": manifest.tokenizer.query_prefix,
            "document_counts": all(counts) if counts else manifest.document_counts,
            "prepared": is_prepared(self.path, manifest),
            "kind": manifest.kind,
            "sample_every": manifest.sample_every,
            "bytes_per_token": _rounded(manifest.bytes, manifest.num_tokens),
            "segments": [
                {
                    "kind": segment.kind,
                    "sample_every": segment.sample_every,
                    "sign": segment.sign,
                    "num_documents": segment.num_documents,
                    "num_tokens": segment.num_tokens,
                    "bytes": sum(file.bytes for file in segment.files.values()),
                }
                for segment in manifest.segments
            ],
            "format": "infini-gram" if manifest.foreign else "everygram",
            "format_version": manifest.format_version,
            "everygram_version": manifest.everygram_version,
        }

    def encode(self, query: Query, *, raw: bool = False) -> np.ndarray:
        """The ids a query becomes: int64, shape (m,)."""
        return self._state.encoding.encode(query, raw)

    def encode_prob(
        self, query: Query, continuation: str | int | None = None, *, raw: bool = False
    ) -> np.ndarray:
        """The ids of a prompt and of its continuation, as `prob_batch` takes them: int64."""
        engine, encoding, _, _, _ = self._state
        prompt, token = encoding.prompt(query, continuation, raw)
        return engine.vocabulary.check([*prompt, token])

    def decode(self, ids: Ids) -> str:
        """The text of ids, separators left out."""
        engine, _, reading, manifest, _ = self._state
        checked = engine.vocabulary.check(ids, "ids")
        return reading.decode(checked[checked != manifest.separator])


def _parts(preload: Any) -> tuple[str, ...]:
    """The parts to preload, by name."""
    parts = (preload,) if isinstance(preload, str) else preload
    listed = isinstance(parts, list | tuple | set | frozenset)
    if not listed or not all(isinstance(part, str) for part in parts):
        raise QueryError(f"preload: expected names of parts, found {arguments.short(preload)}")
    return tuple(parts)


def _rounded(size: int, tokens: int) -> float | None:
    """Bytes per token, to four digits after the point; None without tokens."""
    return round(size / tokens, 4) if tokens else None
