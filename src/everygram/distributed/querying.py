"""`RayIndex`: an index whose segments are held by actors of a Ray cluster."""

import os
import weakref
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from everygram import arguments
from everygram.distributed.actors import Actors, Group, Held, shared
from everygram.distributed.cluster import hold, let_go
from everygram.distributed.engine import FarEngine
from everygram.engine.engine import Engine
from everygram.errors import OptionError, UnreachableSegmentError
from everygram.index import Index
from everygram.index.base import OpenIndex
from everygram.storage import format as fmt
from everygram.storage.attached import is_foreign
from everygram.storage.directory import CHECKED_AT_ONCE, read_manifest, read_tokenizer_json
from everygram.tokenizer.base import Tokenizer


class RayIndex(Index):
    """An index that is asked on the machines of a cluster: see `everygram.open`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ray: str,
        actors: int | None = None,
        replicas: int = 1,
        partial: bool = False,
        preload: str | Sequence[str] = (),
        verify: bool = False,
        tokenizer: str | None = None,
        before: OpenIndex | None = None,
    ) -> None:
        """As `open`; actors of the index `before` that hold what is wanted are asked on."""
        self._ray = arguments.string("ray", ray)
        self._actors = None if actors is None else arguments.natural("actors", actors, 1)
        self._replicas = arguments.natural("replicas", replicas, 1)
        self._partial = arguments.flag("partial", partial)
        self._missing: tuple[str, ...] = ()
        self._cluster = hold(self._ray)
        # (Ray ends actors that nobody can ask any more.)
        self._let_go = weakref.finalize(self, let_go)
        try:
            super().__init__(
                path, preload=preload, verify=verify, tokenizer=tokenizer, before=before
            )
        except BaseException:
            self._let_go()
            raise

    def _opened(
        self, before: OpenIndex | None, tokenizer: Tokenizer | None
    ) -> tuple[fmt.Manifest, Engine, bytes | None]:
        if is_foreign(self.path):
            raise OptionError(
                f"ray: index '{self.path}' is infini-gram's; 'everygram convert' makes one of ours"
            )
        if tokenizer is not None:
            raise OptionError(f"tokenizer: index '{self.path}' has been built with its own")
        manifest = whole = read_manifest(self.path)
        engine = None if before is None else before.engine
        known = engine.actors.groups if isinstance(engine, FarEngine) else []
        while True:
            actors = self._held(manifest, known)
            try:
                actors.ask_all("check")
                break
            except UnreachableSegmentError as error:
                latest = read_manifest(self.path)
                if latest != whole:
                    # (A compaction may just have removed them.)
                    manifest = whole = latest
                    self._missing = ()
                    continue
                if not self._partial:
                    raise
                known = actors.groups
                manifest = self._without(manifest, error)
        far = FarEngine(actors, manifest, self._missing)
        far.path = self.path
        return manifest, far, read_tokenizer_json(self.path, manifest.tokenizer)

    def _held(self, manifest: fmt.Manifest, known: Sequence[Group]) -> Actors:
        """Actors that hold the segments; of those that are known, such as hold the same."""
        ray = self._cluster
        nodes = sum(node["Alive"] for node in ray.nodes())
        verify = self._verify or manifest.bytes <= CHECKED_AT_ONCE
        groups = []
        for entries in shared(manifest.segments, self._actors or max(1, nodes)):
            held = Held(
                self.path.absolute(),
                tuple(entries),
                manifest.dtype,
                manifest.vocab_size,
                manifest.separator,
                manifest.next_document,
                self._preloaded(),
                verify,
            )
            same = next((group for group in known if _same(group.held, held)), None)
            groups.append(same or Group(ray, held, self._replicas))
        return Actors(ray, groups)

    def _without(self, manifest: fmt.Manifest, error: UnreachableSegmentError) -> fmt.Manifest:
        """The manifest without segments that cannot be reached. Raises the error if counts would
        be wrong: documents that are deleted may be in these."""
        if any(segment.sign < 0 for segment in manifest.segments):
            raise UnreachableSegmentError(
                f"{error} (not of this index: it has deleted documents, which are subtracted; "
                "'everygram compact' removes them)",
                error.segments,
            ) from error
        self._missing = tuple(sorted({*self._missing, *error.segments}))
        left = tuple(each for each in manifest.segments if each.name not in error.segments)
        return replace(manifest, segments=left)

    @property
    def missing_segments(self) -> tuple[str, ...]:
        """As of any index."""
        return self._missing

    def changed(self) -> bool:
        """As of any index. (One that lacks or has lost segments is looked at again.)"""
        engine = self.engine
        lost = isinstance(engine, FarEngine) and engine.actors.lost
        return lost or bool(self._missing) or super().changed()

    def refresh(self) -> bool:
        """As of any index."""
        with self._changing:
            latest = self.latest()
            if latest is self:
                return False
            before = self._missing, self.manifest
            self._state, self._missing = latest._state, latest._missing
            return (self._missing, self.manifest) != before

    def close(self) -> None:
        """As of any index; the actors end."""
        super().close()
        self._let_go()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {
            "ray": self._ray,
            "actors": self._actors,
            "replicas": self._replicas,
            "partial": self._partial,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        RayIndex.__init__(self, **state)


def _same(one: Held, other: Held) -> bool:
    """Whether an actor that holds the one answers as one that would hold the other."""
    # (The numbers of documents that are not here yet mean nothing to it.)
    return one._replace(next_document=0, verify=False) == other._replace(
        next_document=0, verify=False
    )
