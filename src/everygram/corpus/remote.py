"""Addresses in, remote files out, through fsspec: `s3://…`, `gs://…`, `https://…`, `hf://…`.

Every error of the libraries becomes a CorpusError that says what went wrong and what to do.
"""

import glob
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any, BinaryIO, NamedTuple

from everygram.addresses import CONNECT, SILENCE, missing_extra, reason
from everygram.errors import CorpusError
from everygram.hub import hub_missing

# Bytes of a remote file that are buffered, in addition to fsspec's own buffers.
BUFFER = 1 << 18
# First bytes of an answer that are looked at.
HEAD = 512
# What of an address's description changes when the file does.
VERSIONS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "mtime", "last_commit")


class Found(NamedTuple):
    """A remote file, with the fields of `files.File`. `open` takes `in_any_order`.

    `again` returns the file as it is now, or None if it is gone.
    """

    name: str
    relative: str
    size: int
    version: str
    named: bool
    open: Callable[[bool], BinaryIO]
    again: Callable[[], "Found | None"]


def find(given: str) -> Iterator[Found]:
    """The files at an address, in sorted order. Raises CorpusError and MissingExtraError."""
    web = given.startswith(("http://", "https://"))
    named = False
    try:
        fsspec = import_module("fsspec")
        if given.startswith("hf://") and (missing := hub_missing()):
            raise CorpusError(f"{given}: {missing}")
        system, path = fsspec.core.url_to_fs(given, **(_web_options(fsspec, given) if web else {}))
        if not web and glob.has_magic(path):
            found = system.glob(path, detail=True)
            root = "/".join(until(path.split("/"), glob.has_magic))
        elif not web and system.isdir(path):
            found, root = system.find(path, detail=True), path
        else:
            found, root = {path: system.info(path)}, path.rpartition("/")[0]
            named = True
    except CorpusError:
        raise
    except ImportError as error:
        raise missing_extra(given, error) from None
    except ValueError as error:
        raise CorpusError(f"{given}: not an address that fsspec knows: {error}") from None
    except Exception as error:  # each system has its own
        raise CorpusError(f"{given}: {reason(error)}") from None
    some = False
    for name, about in sorted(found.items()):
        relative = name.removeprefix(root).lstrip("/")
        dotted = any(part.startswith(".") for part in relative.split("/"))
        if about.get("type") == "file" and (not dotted or len(found) == 1):
            some = True
            relative = relative or PurePosixPath(name).name
            yield _found(system, name, relative, about, web, named)
    if not some:
        raise CorpusError(f"{given}: no files to read there")


def until(parts: Sequence[str], stops: Callable[[str], bool]) -> list[str]:
    """The parts in front of the first that stops."""
    kept = []
    for part in parts:
        if stops(part):
            break
        kept.append(part)
    return kept


def _web_options(fsspec: Any, given: str) -> dict[str, Any]:
    """The options of fsspec for the web: proxies of the environment, and no limit of total time."""
    aiohttp = import_module("aiohttp")
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT, sock_read=SILENCE)
    own: dict[str, Any] = {}
    for scheme in ("http", "https"):
        own |= fsspec.config.conf.get(scheme, {}).get("client_kwargs", {})
    # An address that is encoded already is sent unchanged: its signature covers every letter.
    encoded = given.isascii() and given.isprintable() and " " not in given
    return {"client_kwargs": {"trust_env": True, "timeout": timeout} | own, "encoded": encoded}


def _found(
    system: Any, path: str, relative: str, about: dict[str, Any], web: bool, named: bool
) -> Found:
    name = str(system.unstrip_protocol(path))
    size = int(about.get("size") or 0)

    # A login or error page with status 200, in place of the file.
    page = about.get("mimetype") == "text/html" and not name.endswith((".html", ".htm", "/"))

    def opened(in_any_order: bool) -> BinaryIO:
        file = sent(in_any_order)
        if page and file.peek(HEAD)[:HEAD].lstrip().startswith(b"<"):
            file.close()
            raise CorpusError(
                f"{name}: the server sent a web page and no file: is the address that of the file, "
                "and is a login needed?"
            )
        return _copied(name, file) if in_any_order and not file.seekable() else file

    def sent(in_any_order: bool) -> io.BufferedReader:
        try:
            if not web:
                return _buffered(name, system.open(path, "rb"), size)
            if in_any_order and size:
                file = system.open(path, "rb")
                if _has_ranges(file, size):
                    return _buffered(name, file, size)
                file.close()
            # One request for the whole file. (Given a size, fsspec does not ask for it again.)
            stream = system.open(path, "rb", block_size=0, size=size or 1)
            return _buffered(name, stream, size, in_any_order=False)
        except Exception as error:  # each system has its own
            raise CorpusError(f"{name}: {reason(error)}") from None

    version = " ".join(str(about[key]) for key in VERSIONS if key in about)

    def again() -> Found | None:
        now = about
        try:
            system.invalidate_cache()
            now = system.info(path)
        except FileNotFoundError:
            if not web:  # Of the web fsspec says so whatever goes wrong.
                return None
        except Exception:  # each system has its own: nobody knows that it has changed
            pass
        return _found(system, path, relative, now, web, named)

    return Found(name, relative, size, version, named, opened, again)


def _has_ranges(file: Any, size: int) -> bool:
    """Whether a server sends ranges of a file."""
    try:
        file.seek(size - 1)
        return len(file.read(1)) == 1
    except ValueError:
        return False
    finally:
        file.seek(0)


def _buffered(name: str, file: Any, size: int, in_any_order: bool = True) -> io.BufferedReader:
    return io.BufferedReader(_Elsewhere(name, file, size, in_any_order), BUFFER)


def _copied(name: str, stream: io.BufferedReader) -> BinaryIO:
    """A copy of a stream in a temporary file, which can be read in any order."""
    copy = tempfile.TemporaryFile(dir=folder_for_copies())  # noqa: SIM115
    try:
        with stream:
            shutil.copyfileobj(stream, copy, BUFFER)
        copy.seek(0)
    except OSError as error:
        copy.close()
        raise CorpusError(
            f"{name}: the server sends no ranges of files, and a copy does not fit in "
            f"'{folder_for_copies()}' ({error.strerror}): free some, or name another folder in "
            "TMPDIR"
        ) from None
    except BaseException:
        copy.close()
        raise
    return copy


def folder_for_copies() -> str:
    """The folder for copies of what can be read only once. (/tmp may be in memory.)"""
    on_disk = "/var/tmp" if os.access("/var/tmp", os.W_OK) else tempfile.gettempdir()
    return os.environ.get("TMPDIR") or on_disk


class _Elsewhere(io.RawIOBase):
    """A file of fsspec as a raw file of Python. Its errors name the file and the place."""

    def __init__(self, name: str, file: Any, size: int, in_any_order: bool) -> None:
        self._name, self._file, self._size = name, file, size
        self._in_any_order = in_any_order
        self._at = 0
        self._error: Exception | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._in_any_order

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = int(self._file.seek(offset, whence))
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        # (Fills the buffer: `peek` reads only once.)
        filled = 0
        while filled < len(buffer) and self._error is None:
            try:
                data = self._file.read(len(buffer) - filled)
                if not data:
                    break
            except Exception as error:  # each system has its own
                self._error = error
                break
            buffer[filled : filled + len(data)] = data
            filled += len(data)
            self._at += len(data)
        if filled or not len(buffer):
            return filled
        if self._error is not None:
            raise CorpusError(
                f"{self._name}: the connection broke after {self._at:,} bytes: "
                f"{reason(self._error)}; run the same command again, or copy the file first"
            ) from None
        if self._at < self._size:
            raise CorpusError(
                f"{self._name}: cut off: {self._size:,} bytes were announced, {self._at:,} came; "
                "run the same command again, or copy the file first"
            )
        return 0

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
