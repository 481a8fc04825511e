"""What users name as a corpus, and what they say of it, checked: `NamedCorpus`."""

import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

from everygram import arguments
from everygram.addresses import is_address
from everygram.arguments import Size, short
from everygram.corpus.documents import OnError
from everygram.corpus.files import (
    STANDARD_INPUT,
    STDIN,
    File,
    Lister,
    list_files,
    names_a_file,
)
from everygram.corpus.memory import Given, Held, Name, names_or_held
from everygram.corpus.text import TextCorpus
from everygram.corpus.tokens import TokenCorpus
from everygram.errors import CorpusError, OptionError
from everygram.storage import format as fmt


class CorpusKeywords(TypedDict, total=False):
    """The fields of `CorpusOptions`, as functions take them by keyword."""

    text_field: str
    id_field: str | None
    metadata_fields: Sequence[str] | None
    on_error: OnError
    split: str | None
    quoting: str | None
    pretokenized: str | None
    separator_id: int | None
    max_record: Size | None


@dataclass(frozen=True)
class CorpusOptions:
    """How a corpus is to be read.

    text_field, id_field, metadata_fields: of a record, what is its text, its "id", and all else
        that is kept (default: everything); `a.b` is b inside a.
    on_error: "skip" leaves out, counts and lists what cannot be read, instead of raising.
    split: what the documents of a text file are: its "lines", "blank-lines" for its paragraphs, or
        any other text for the parts between occurrences of it (default: the file is one).
    quoting: "double" if cells of CSV and TSV files may stand in double quotes, with line ends in
        them and a quote written twice; "none" if quotes are characters like others (default:
        "double" for CSV, "none" for TSV).
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
    split: str | None = None
    quoting: str | None = None
    pretokenized: str | None = None
    separator_id: int | None = None
    max_record: Size | None = None

    def __post_init__(self) -> None:
        for name in ("text_field", "id_field", "on_error", "pretokenized", "split", "quoting"):
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
        if self.split == "":
            raise OptionError("split: expected 'lines', 'blank-lines' or a separator, found ''")
        if self.quoting not in (None, "double", "none"):
            raise OptionError(f"quoting: expected 'double' or 'none', found {self.quoting!r}")
        # (The one way to set a field of a frozen dataclass.)
        object.__setattr__(self, "max_record", arguments.size("max_record", self.max_record))

    def check(self, are_ids: bool) -> None:
        """Raise OptionError for what makes no sense beside text, or beside token ids."""
        if not are_ids:
            if self.separator_id is not None:
                raise OptionError("separator_id goes with pretokenized: text has no ids of its own")
            return
        of_text = (self.text_field, self.id_field, self.metadata_fields, self.split, self.quoting)
        if of_text != ("text", None, None, None, None):
            raise OptionError(
                "text_field, id_field, metadata_fields, split and quoting go with text, not token "
                "ids"
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

    def __init__(self, corpus: Given, options: CorpusOptions) -> None:
        """corpus: a path, pattern, folder, address, `datasets:NAME`, `-`, or a list of them; or
        documents in memory (see `memory`).

        Raises OptionError for what is none of these, for options that do not go with it or for
        files of both kinds together, CorpusError for no names.
        """
        given = names_or_held(corpus, options.text_field)
        self.held = given if isinstance(given, Held) else None
        self.names = given if isinstance(given, list) else []
        for name in self.names:
            if not arguments.place("corpus", name, "a path"):
                raise OptionError("corpus: expected a path, found an empty name")
        if not self.names and self.held is None:
            raise CorpusError("no corpus given: expected at least one file or directory")
        self.options = options
        # (A tuple is the command line's: there is no way to mean texts there.)
        self._may_be_texts = isinstance(corpus, list)
        self._lister: Lister = functools.cache(self._listed)
        self.are_ids = options.pretokenized is not None or self._say_they_are_ids()
        options.check(self.are_ids)

    @property
    def arguments(self) -> dict[str, Any]:
        """The names, absolute, and the options, as JSON values; of what is held, no names."""
        options = asdict(self.options)
        if self.options.metadata_fields is not None:
            options["metadata_fields"] = list(self.options.metadata_fields)
        return {"corpus": [absolute(name) for name in self.names], **options}

    def text(self) -> TextCorpus:
        """The corpus, of text. Raises CorpusError."""
        options = self.options
        return TextCorpus(
            self.names if self.held is None else [self.held],
            options.text_field,
            options.on_error,
            options.id_field,
            options.metadata_fields,
            self._lister,
            split=options.split,
            quoting=options.quoting,
        )

    def ids(self) -> TokenCorpus:
        """The corpus, of token ids, which are read where they lie.

        Raises CorpusError, and OptionError for what is not in files.
        """
        if self.held is not None:
            raise OptionError(
                "token ids are read from files: save them with numpy.save, then pass its name"
            )
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

    def _listed(self, name: str) -> list[File]:
        """The files of a name, as `list_files`."""
        try:
            return list_files(name)
        except CorpusError as error:
            if not self._may_be_texts or is_address(name) or names_a_file(name):
                raise
            raise CorpusError(
                f"{error} (strings in a list are names of files; for texts pass iter([...]))"
            ) from None

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
