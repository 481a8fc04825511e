"""What users name as a corpus, and what they say of it, checked: `NamedCorpus`."""

import functools
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from everygram import arguments
from everygram.arguments import Size, short
from everygram.corpus.documents import OnError
from everygram.corpus.files import STANDARD_INPUT, STDIN, Lister, is_address, list_files
from everygram.corpus.text import TextCorpus
from everygram.corpus.tokens import TokenCorpus
from everygram.errors import CorpusError, OptionError
from everygram.storage import format as fmt

Name = str | os.PathLike[str]


class CorpusKeywords(TypedDict, total=False):
    """The fields of `CorpusOptions`, as functions take them by keyword."""

    text_field: str
    id_field: str | None
    metadata_fields: Sequence[str] | None
    on_error: OnError
    pretokenized: str | None
    separator_id: int | None
    max_record: Size | None


@dataclass(frozen=True)
class CorpusOptions:
    """How a corpus is to be read.

    text_field, id_field, metadata_fields: of a record, what is its text, its "id", and all else
        that is kept (default: everything); `a.b` is b inside a.
    on_error: "skip" leaves out, counts and lists what cannot be read, instead of raising.
    pretokenized: "u8", "u16" or "u32": the corpus is token ids of this width, little-endian, in
        files that do not say so themselves.
    separator_id: the id that marks documents in files of token ids that do not say where they are;
        where they do, one at a document's start or end is left out.
    max_record: the largest record, or text file, that is read, in bytes or as a size like "1GiB"
        (default: a quarter of the build's memory). A larger one raises or is skipped before it is
        held in memory.

    Raises OptionError for a value that makes no sense.
    """

    text_field: str = "text"
    id_field: str | None = None
    metadata_fields: Sequence[str] | None = None
    on_error: OnError = "raise"
    pretokenized: str | None = None
    separator_id: int | None = None
    max_record: Size | None = None

    def __post_init__(self) -> None:
        for name in ("text_field", "id_field", "on_error", "pretokenized"):
            value = getattr(self, name)
            if value is not None or name in ("text_field", "on_error"):
                arguments.string(name, value)
        if self.separator_id is not None:
            arguments.integer("separator_id", self.separator_id)
        if self.on_error not in ("raise", "skip"):
            raise OptionError(f"on_error: expected 'raise' or 'skip', found {self.on_error!r}")
        fields = () if self.metadata_fields is None else self.metadata_fields
        listed = isinstance(fields, Sequence) and not isinstance(fields, str)
        if not listed or not all(isinstance(field, str) for field in fields):
            raise OptionError(f"metadata_fields: expected a list of fields, found {short(fields)}")
        # (The one way to set a field of a frozen dataclass.)
        object.__setattr__(self, "max_record", arguments.size("max_record", self.max_record))

    def check(self, are_ids: bool) -> None:
        """Raise OptionError for what makes no sense beside text, or beside token ids."""
        if not are_ids:
            if self.separator_id is not None:
                raise OptionError("separator_id goes with pretokenized: text has no ids of its own")
            return
        if (self.text_field, self.id_field, self.metadata_fields) != ("text", None, None):
            raise OptionError(
                "text_field, id_field and metadata_fields go with text, not token ids"
            )
        if self.max_record is not None:
            raise OptionError("max_record goes with text: token ids have no records")
        if self.pretokenized is not None and self.pretokenized not in fmt.TOKEN_DTYPES:
            raise OptionError(f"pretokenized: expected u8, u16 or u32, found {self.pretokenized!r}")
        largest = fmt.separator_of(self.pretokenized or "u32")
        if self.separator_id is not None and not 0 <= self.separator_id <= largest:
            raise OptionError(
                f"separator_id: expected 0 to {largest} for {self.pretokenized or 'token ids'}, "
                f"found {self.separator_id}"
            )


class NamedCorpus:
    """What a user names as a corpus, with the options that go with it.

    `are_ids`: it is token ids, by the option `pretokenized` or by what its files say themselves;
    `text` or `ids` reads it accordingly. Each name's files are listed once.
    """

    def __init__(self, corpus: Name | Sequence[Name], options: CorpusOptions) -> None:
        """corpus: a path, pattern, folder, address, `datasets:NAME`, `-`, or a list of them.

        Raises OptionError for options that do not go with it or for files of both kinds together,
        CorpusError for no names.
        """
        given = [corpus] if isinstance(corpus, str | os.PathLike) else corpus
        if not isinstance(given, list | tuple):
            raise OptionError(f"corpus: expected a path, or a list of paths, found {short(corpus)}")
        for name in given:
            if not arguments.place("corpus", name, "a path"):
                raise OptionError("corpus: expected a path, found an empty name")
        self.names = list(given)
        if not self.names:
            raise CorpusError("no corpus given: expected at least one file or directory")
        self.options = options
        self._lister: Lister = functools.cache(list_files)
        self.are_ids = options.pretokenized is not None or self._say_they_are_ids()
        options.check(self.are_ids)

    @property
    def arguments(self) -> dict[str, Any]:
        """The names, absolute, and the options, as JSON values."""
        options = asdict(self.options)
        if self.options.metadata_fields is not None:
            options["metadata_fields"] = list(self.options.metadata_fields)
        return {"corpus": [absolute(name) for name in self.names], **options}

    def text(self) -> TextCorpus:
        """The corpus, of text. Raises CorpusError."""
        options = self.options
        return TextCorpus(
            self.names,
            options.text_field,
            options.on_error,
            options.id_field,
            options.metadata_fields,
            self._lister,
        )

    def ids(self) -> TokenCorpus:
        """The corpus, of token ids, which are read where they lie. Raises CorpusError."""
        for name in self.names:
            if is_address(name) or name == STDIN:
                raise CorpusError(f"{name}: token ids are read from files here; copy it first")
        options = self.options
        return TokenCorpus(
            [Path(name) for name in self.names],
            options.pretokenized,
            options.separator_id,
            options.on_error,
            self._lister,
        )

    def _say_they_are_ids(self) -> bool:
        """Whether the files themselves say that they are token ids; all of them or none."""
        paths = [Path(name) for name in self.names if not (is_address(name) or name == STDIN)]
        ids = [name for name in paths if TokenCorpus.is_token_file(name, self._lister)]
        if ids and len(ids) < len(self.names):
            raise OptionError(
                f"{ids[0]} is a file of token ids and others are text: build an index from the one "
                "and add nothing of the other kind"
            )
        return bool(ids)


def absolute(name: Name) -> str:
    """What names the same from any folder."""
    named = isinstance(name, str) and (
        is_address(name) or name.startswith("datasets:") or name in (STDIN, STANDARD_INPUT)
    )
    return str(name) if named else str(Path(name).absolute())
