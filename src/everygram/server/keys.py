"""API keys: a file of their hashes, names, scopes and rates; the service reads it, people keep it.

In: a file, and tokens that clients send. Out: the `Key` of a token. A token is `eg_` and 256 random
bits; the file has its SHA-256 alone (a slow hash protects guessable secrets, and these are not), so
that who reads the file cannot ask the service. Knows nothing of HTTP.
"""

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
import stat
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

import jiter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from everygram import arguments
from everygram.durable import flush
from everygram.errors import OptionError
from everygram.server.setting_types import Rate, checked_name, first_problem

logger = logging.getLogger("everygram")

PREFIX = "eg_"
# Bytes of randomness in a token, and characters of a token's hash that are its id.
SECRET_BYTES, ID_CHARACTERS = 32, 8
EVERY = "*"
# More bytes than this are no file of keys: some 20,000 of them.
LARGEST_FILE = 8 << 20
Scope = Literal["read", "write"]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
]


class Key(BaseModel):
    """A key as the file has it.

    id: the first characters of its hash. scopes: what it may do, by the name of an index, or "*".
    rate: its own, else the service's. created: a time of UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    id: Annotated[str, StringConstraints(min_length=ID_CHARACTERS, max_length=ID_CHARACTERS)]
    name: Name
    sha256: Annotated[str, StringConstraints(min_length=64, max_length=64)]
    scopes: dict[str, Annotated[list[Scope], Field(max_length=2)]]
    rate: Rate | None = None
    created: datetime

    def allows(self, index: str, scope: Scope) -> bool:
        """Whether it may do that with the index. "*": with every one; "": with any one."""
        if scope in self.scopes.get(EVERY, ()):
            return True
        if index == "":
            return any(scope in each for each in self.scopes.values())
        return scope in self.scopes.get(index, ())


_FILE = TypeAdapter(list[Key])
# What identifies the content of a file: inode, size, time of change.
_Stamp = tuple[int, int, int]


class Keys:
    """The keys of a file as it was when it was read; `latest` reads it again if it has changed."""

    def __init__(self, path: Path, keys: Sequence[Key], stamp: _Stamp | None = None) -> None:
        self.path, self._stamp = path, stamp
        self._keys = tuple(keys)
        self._trouble = ""
        self._by_id = {key.id: key for key in keys}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file. Raises OptionError for one that cannot be read or is no file of keys."""
        try:
            with path.open("rb") as file:
                stamp = _stamp(os.fstat(file.fileno()))
                content = file.read(LARGEST_FILE + 1)
        except FileNotFoundError:
            raise OptionError(
                f"keys: '{path}' is not there; make it: everygram keys add NAME --keys '{path}'"
            ) from None
        except OSError as error:
            raise OptionError(f"keys: '{path}' cannot be read: {error.strerror}") from None
        return cls(path, _parsed(path, content), stamp)

    def find(self, token: str) -> Key | None:
        """The key of a token, or None. (The comparison takes equally long wherever they differ.)"""
        digest = _digest(token)
        key = self._by_id.get(digest[:ID_CHARACTERS])
        return key if key is not None and hmac.compare_digest(key.sha256, digest) else None

    def latest(self) -> "Keys":
        """These, or those of the file if it has changed.

        If it is gone or broken, these: a mistake in the file opens nothing. The log says so, once.
        """
        try:
            if _stamp(self.path.stat()) == self._stamp:
                return self
            return Keys.load(self.path)
        except (OptionError, OSError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                logger.error("the keys stay as they were: %s", error)
        return self

    def exposed(self) -> str | None:
        """What is wrong with who may read or change the file, or None."""
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if not mode & (stat.S_IROTH | stat.S_IWGRP | stat.S_IWOTH):
            return None
        return (
            f"keys: expected '{self.path}' to be readable by its owner alone, found mode "
            f"{mode:04o}: chmod 600 '{self.path}'"
        )

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def token_of(authorization: str | None) -> str | None:
    """The token of an Authorization header, `Bearer TOKEN`; None for any other."""
    scheme, _, token = (authorization or "").strip().partition(" ")
    token = token.strip()
    return token if scheme.lower() == "bearer" and token.startswith(PREFIX) else None


def add(
    path: Path, name: str, scopes: Mapping[str, Sequence[Scope]], rate: str | None = None
) -> tuple[Key, str]:
    """Add a key to the file, which is made if it is not there; return it and its token.

    The token cannot be had again. Others may add and revoke at the same time. Raises OptionError
    for a name that is taken or is none, and as `load`.
    """
    for index in scopes:
        if index != EVERY:
            checked_name("index", index)
    with _locked(path):
        keys = list(Keys.load(path)) if path.exists() else []
        if any(name in (key.name, key.id) for key in keys):
            raise OptionError(
                f"name: there is a key {arguments.short(name)} in '{path}'; choose another name, "
                "or revoke that one first"
            )
        token, taken = "", {key.id for key in keys}
        while not token or _digest(token)[:ID_CHARACTERS] in taken:
            token = PREFIX + secrets.token_urlsafe(SECRET_BYTES)
        fields = {
            "id": _digest(token)[:ID_CHARACTERS],
            "name": name,
            "sha256": _digest(token),
            "scopes": scopes,
            "rate": rate,
            "created": datetime.now(UTC).replace(microsecond=0),
        }
        try:
            key = Key.model_validate(fields)
        except ValidationError as error:
            raise OptionError(first_problem(error)) from None
        _write(path, [*keys, key])
    return key, token


def revoke(path: Path, which: str) -> Key:
    """Take a key, by its id or name, out of the file, and return it.

    Raises OptionError if it is not there, and as `load`.
    """
    with _locked(path):
        keys = list(Keys.load(path))
        found = next((key for key in keys if which in (key.id, key.name)), None)
        if found is None:
            raise OptionError(
                f"key: expected the id or name of a key in '{path}', found "
                f"{arguments.short(which)}; see: everygram keys list"
            )
        _write(path, [key for key in keys if key is not found])
    return found


def _digest(token: str) -> str:
    """(A header may hold any characters, those of no text included.)"""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def _stamp(found: os.stat_result) -> _Stamp:
    return found.st_ino, found.st_size, found.st_mtime_ns


def _parsed(path: Path, content: bytes) -> list[Key]:
    """The keys in a file's content, or OptionError."""
    if len(content) > LARGEST_FILE:
        raise OptionError(f"keys: expected a file of keys, found '{path}', which is too large")
    try:
        keys = _FILE.validate_python(jiter.from_json(content, catch_duplicate_keys=True))
    except ValidationError as error:
        raise OptionError(f"keys: '{path}' is no file of keys: {first_problem(error)}") from None
    except ValueError as error:
        raise OptionError(f"keys: expected JSON in '{path}': {error}") from None
    for values in ([key.id for key in keys], [key.name for key in keys]):
        twice, number = Counter(values).most_common(1)[0] if keys else ("", 0)
        if number > 1:
            raise OptionError(f"keys: '{path}' has two keys {arguments.short(twice)}")
    for key in keys:
        if not key.sha256.startswith(key.id):
            raise OptionError(
                f"keys: '{path}': expected an id that begins the hash, found '{key.id}'"
            )
    return keys


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file's folder: the file itself is replaced by each change."""
    try:
        folder = os.open(path.resolve().parent, os.O_RDONLY)
    except OSError as error:
        raise OptionError(
            f"keys: the folder of '{path}' cannot be opened: {error.strerror}"
        ) from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, keys: Sequence[Key]) -> None:
    """Replace the file at once: who reads it finds all of it, or all of what was there before."""
    path = path.resolve()  # a link stays one
    content = _FILE.dump_json([*keys], indent=2) + b"\n"
    try:
        descriptor, new = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    except OSError as error:
        raise OptionError(f"keys: '{path}' cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            flush(file)
            with suppress(OSError):  # of a service's user or group, changed by root
                before = path.stat()
                os.fchown(file.fileno(), before.st_uid, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o640)
        Path(new).replace(path)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
