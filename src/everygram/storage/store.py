"""The files of an index at an address: an object store, or whatever else fsspec reads and writes.

Knows files by their names below the address; knows nothing of what is in them. Every error of the
libraries becomes one of ours that says what went wrong.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from everygram.addresses import is_address, missing_extra, reason
from everygram.errors import FormatError, OptionError

# What systems are told: of S3's, which reads through ten connections if it is told nothing, how
# many.
CONNECTIONS = 64
TOLD = {"config_kwargs": {"max_pool_connections": CONNECTIONS}}
TOLD_TO = ("s3", "s3a")
# Schemes of stores that have objects in buckets, no folders.
OBJECTS = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss"}


class Store:
    """A folder at an address. Methods may be called from several threads; all raise FormatError for
    what cannot be reached, read or written; FileNotFoundError for a file or a bucket that is not
    there."""

    def __init__(self, address: str) -> None:
        """Raises OptionError for what is no address, MissingExtraError without its library."""
        if not is_address(address):
            raise OptionError(
                f"expected an address such as s3://bucket/index, found {address!r}; a folder here "
                "needs no copying"
            )
        self.address = address.rstrip("/")
        if not address.partition("://")[2].strip("/"):
            raise OptionError(f"expected an address such as s3://bucket/index, found {address!r}")
        try:
            fsspec = import_module("fsspec")
            scheme = address.partition("://")[0].lower()
            # (What fsspec's own configuration says is left alone.)
            said = scheme not in TOLD_TO or "config_kwargs" in fsspec.config.conf.get("s3", {})
            told = {} if said else TOLD
            self._system, self._root = fsspec.core.url_to_fs(self.address, **told)
        except ImportError as error:
            raise missing_extra(address, error) from None
        except ValueError as error:
            raise OptionError(f"{address}: not an address that fsspec knows: {error}") from None
        named = self._system.protocol
        self._protocols = {named} if isinstance(named, str) else set(named)

    def sizes(self) -> dict[str, int]:
        """The names of all files, and their sizes in bytes."""
        with self._reached(""):
            self._system.invalidate_cache()
            try:
                found = self._system.find(self._root, detail=True)
            except FileNotFoundError:
                return {}
        return {
            name.removeprefix(self._root).lstrip("/"): int(about["size"] or 0)
            for name, about in found.items()
            if about["type"] == "file"
        }

    def read(self, name: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes [start, end) of a file; without `end`, all of it."""
        with self._reached(name):
            limits = {} if end is None else {"start": start, "end": end}
            data: bytes = self._system.cat_file(self._path(name), **limits)
        return data

    def write(self, name: str, data: bytes) -> None:
        """Make a file of these bytes, in one step where the store can."""
        with self._reached(name):
            self._in_folder(name, lambda path: self._system.pipe_file(path, data))

    def put(self, path: Path, name: str) -> None:
        """Copy a file from here."""
        with self._reached(name):
            self._in_folder(name, lambda there: self._system.put_file(str(path), there))

    def remove(self, names: list[str]) -> None:
        """Remove files that are there."""
        if names:
            with self._reached(names[0]):
                self._system.rm([self._path(name) for name in names])

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _in_folder(self, name: str, write: Callable[[str], None]) -> None:
        """Write a file. (Stores of objects have no folders: there it would make a bucket.)"""
        path = self._path(name)
        try:
            write(path)
        except FileNotFoundError:
            if not OBJECTS.isdisjoint(self._protocols):
                raise FormatError(f"{self.address}: no such bucket, or none to write to") from None
            self._system.makedirs(path.rpartition("/")[0], exist_ok=True)
            write(path)

    @contextmanager
    def _reached(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, FormatError):
            raise
        except Exception as error:  # each system has its own
            place = f"{self.address}/{name}".rstrip("/")
            raise FormatError(f"{place}: {reason(error)}") from None
