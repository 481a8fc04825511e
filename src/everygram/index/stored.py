"""An index at an address, asked from here: what `everygram.open` returns for s3://bucket/index.

`StoredIndex` reads it by blocks, which only interpreted kernels can (see `everygram.distant`).
Where kernels are compiled, `ApartIndex` has another process with one: it passes calls on to it, and
gives back the results, or the errors.
"""

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn, Self, cast

from everygram import arguments
from everygram.encoding import Reading
from everygram.errors import OptionError, QueryError
from everygram.index import Index
from everygram.index.apart import Apart
from everygram.index.base import State
from everygram.kernels import INTERPRETED
from everygram.storage import caching
from everygram.storage import format as fmt
from everygram.storage.segment import Segment
from everygram.tokenizer.base import Tokenizer

# Bytes of blocks that are kept, if nothing else is said.
CACHE_BYTES = 8 << 30
# A block, and some of them: what a search reads must not drive itself out.
LEAST_BYTES = 1 << 20


def open_stored(
    address: str, cache: Any, cache_bytes: Any, preload: Any, verify: Any
) -> "StoredIndex | ApartIndex":
    """As `everygram.open`, of an address."""
    if cache is None:
        raise OptionError(
            f"cache: expected a folder here, for what is read of {address}; name one, such as "
            "cache='everygram-cache', or copy the index with 'everygram pull'"
        )
    if preload not in ((), []):
        raise OptionError(f"preload: goes with folders: copy {address} with 'everygram pull'")
    folder = arguments.path("cache", cache).absolute()
    most = arguments.size("cache_bytes", cache_bytes)
    most = CACHE_BYTES if most is None else most
    if most < LEAST_BYTES:
        raise OptionError(f"cache_bytes: expected 1MiB or more, found {most:,} bytes")
    kind = StoredIndex if INTERPRETED else ApartIndex
    return kind(address, folder, most, arguments.flag("verify", verify))


class _FarIndex(Index):
    """What both kinds have: the address, and how they are opened again."""

    def _remember(self, address: str, cache: Path, cache_bytes: int, verify: bool) -> None:
        self.address, self._verify = address, verify
        self._given = address, cache, cache_bytes, verify

    def language_model(self, smoothing: str = "modified-kneser-ney", **options: Any) -> NoReturn:
        """Raises OptionError: models read an index that is here."""
        raise self._needs_files("a language model")

    def warm_up(self) -> None:
        """As `Index.warm_up`; nothing needs to be compiled."""

    def _needs_files(self, what: str) -> OptionError:
        return OptionError(
            f"{self.address}: {what} needs the index's files here: copy them with 'everygram pull "
            f"{self.address} --out FOLDER' and open that"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {"given": self._given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        type(self).__init__(self, *state["given"])

    def __repr__(self) -> str:
        try:
            manifest = self.manifest
        except QueryError:
            return f"<everygram.Index '{self.address}': closed>"
        return (
            f"<everygram.Index '{self.address}': {manifest.num_tokens:,} tokens, "
            f"{manifest.num_documents:,} documents, {len(manifest.segments)} segments, "
            f"{manifest.dtype}, tokenizer {manifest.tokenizer.source!r}>"
        )


class StoredIndex(_FarIndex):
    """An index at an address, read by blocks. Only where kernels are interpreted."""

    def __init__(
        self,
        address: str,
        cache: Path,
        cache_bytes: int,
        verify: bool,
        before: "StoredIndex | None" = None,
    ) -> None:
        """As `open_stored`; what is open in the index `before` is not opened again."""
        self._remember(address, cache, cache_bytes, verify)
        self._stored: caching.StoredIndex = (
            caching.StoredIndex(address, cache, cache_bytes) if before is None else before._stored
        )
        super().__init__(self._stored.path, verify=verify, before=before)

    def _read(
        self, opened: Sequence[Segment], tokenizer: Tokenizer | None
    ) -> tuple[fmt.Manifest, list[Segment], bytes | None]:
        return self._stored.open(opened, self._verify)

    def changed(self) -> bool:
        """As `Index.changed`, of what is at the address now."""
        return self._stored.manifest() != self.manifest

    def latest(self) -> Self:
        """As `Index.latest`, of what is at the address now."""
        return type(self)(*self._given, before=self) if self.changed() else self

    def info(self) -> dict[str, Any]:
        """As `Index.info`."""
        return super().info() | {"path": self.address}

    def close(self) -> None:
        """As `Index.close`."""
        super().close()
        self._stored.close()


class _NoState:
    """What an index in another process has for a state: whatever is wanted of it, it raises."""

    def __init__(self, error: Callable[[str], OptionError]) -> None:
        self._error = error

    def __iter__(self) -> NoReturn:
        raise self._error("this")

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error("this")


class ApartIndex(_FarIndex):
    """An index at an address, which another process reads by blocks. That ends with this object."""

    def __init__(self, address: str, cache: Path, cache_bytes: int, verify: bool) -> None:
        """As `open_stored`."""
        self._remember(address, cache, cache_bytes, verify)
        self._state = cast(State, _NoState(self._needs_files))
        self._changing = threading.Lock()
        self._closed = False
        self._apart = Apart(self._given)
        self._ending = weakref.finalize(self, Apart.close, self._apart)
        self._learn()

    def _learn(self) -> None:
        """Ask what the other process has open."""
        described: tuple[fmt.Manifest, Reading, Path] = self._ask("described")
        self._manifest, self._reading, self.path = described
        self._apart.learn(self._manifest)

    def _ask(self, name: str, *args: Any, **options: Any) -> Any:
        if self._closed:
            raise QueryError(f"index '{self.address}' is closed")
        if self._apart.of != os.getpid():  # a forked process has none
            with self._changing:
                if self._apart.of != os.getpid():
                    self._apart = Apart(self._given)
                    self._apart.expects = self._manifest
        return self._apart.ask(name, args, options)

    @property
    def manifest(self) -> fmt.Manifest:
        """As `Index.manifest`."""
        if self._closed:
            raise QueryError(f"index '{self.address}' is closed")
        return self._manifest

    @property
    def tokenizer(self) -> Tokenizer | None:
        """As `Index.tokenizer`."""
        return self._reading.tokenizer

    def refresh(self) -> bool:
        """As `Index.refresh`."""
        before = self._manifest
        self._ask("refresh")
        self._learn()
        return self._manifest != before

    def latest(self) -> Self:
        """As `Index.latest`."""
        return type(self)(*self._given) if self.changed() else self

    def close(self) -> None:
        """As `Index.close`."""
        self._closed = True
        self._ending()
        self._apart.close()


def _passed_on(name: str) -> Callable[..., Any]:
    @wraps(getattr(Index, name))
    def call(self: ApartIndex, *args: Any, **options: Any) -> Any:
        return self._ask(name, *args, **options)

    return call


for _name in dir(Index):
    # (All methods that it has not itself, of which most are queries.)
    _method = getattr(Index, _name)
    if not _name.startswith("_") and callable(_method) and getattr(ApartIndex, _name) is _method:
        setattr(ApartIndex, _name, _passed_on(_name))
