"""What users name as a corpus, and what they say of it, checked."""

import os
from collections.abc import Sequence
from pathlib import Path

from everygram.corpus.files import is_address
from everygram.corpus.tokens import TokenCorpus
from everygram.errors import CorpusError, OptionError
from everygram.storage import format as fmt


def listed(
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> list[str | os.PathLike[str]]:
    given = [corpus] if isinstance(corpus, str | os.PathLike) else list(corpus)
    if not given:
        raise CorpusError("no corpus given: expected at least one file or directory")
    return given


def absolute(name: str | os.PathLike[str]) -> str:
    named = isinstance(name, str) and (is_address(name) or name.startswith("datasets:"))
    return str(name) if named else str(Path(name).absolute())


def local(given: Sequence[str | os.PathLike[str]]) -> list[Path]:
    """The paths of files of token ids, which are read where they lie."""
    for name in given:
        if is_address(name):
            raise CorpusError(f"{name}: token ids are read from files here; copy it first")
    return [Path(name) for name in given]


def say_they_are_ids(given: Sequence[str | os.PathLike[str]]) -> bool:
    """Whether the files themselves say that they are token ids; all of them or none.

    Raises OptionError for both kinds together.
    """
    paths = [Path(name) for name in given if not is_address(name)]
    ids = [name for name in paths if TokenCorpus.is_token_file(name)]
    if ids and len(ids) < len(given):
        raise OptionError(
            f"{ids[0]} is a file of token ids and others are text: build an index from the one "
            "and add nothing of the other kind"
        )
    return bool(ids)


def size_and_time(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def check_options(
    ids: bool,
    text_field: str,
    id_field: str | None,
    metadata_fields: Sequence[str] | None,
    on_error: str,
    pretokenized: str | None,
    separator_id: int | None,
) -> None:
    """Raise OptionError for options that make no sense, alone or together."""
    if on_error not in ("raise", "skip"):
        raise OptionError(f"on_error: expected 'raise' or 'skip', found {on_error!r}")
    if isinstance(metadata_fields, str):
        raise OptionError(f"metadata_fields: expected a list of fields, found {metadata_fields!r}")
    if not ids:
        if separator_id is not None:
            raise OptionError("separator_id goes with pretokenized: text has no ids of its own")
        return
    if text_field != "text" or id_field is not None or metadata_fields is not None:
        raise OptionError("text_field, id_field and metadata_fields go with text, not token ids")
    if pretokenized is not None and pretokenized not in fmt.TOKEN_DTYPES:
        raise OptionError(f"pretokenized: expected u8, u16 or u32, found {pretokenized!r}")
    largest = fmt.separator_of(pretokenized or "u32")
    if separator_id is not None and not 0 <= separator_id <= largest:
        raise OptionError(
            f"separator_id: expected 0 to {largest} for {pretokenized or 'token ids'}, found "
            f"{separator_id}"
        )
