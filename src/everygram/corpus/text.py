"""Corpus files in, documents out, one at a time and in a fixed order.

`TextCorpus` reads text: JSON lines, CSV and TSV, Parquet, Arrow, plain files, data sets of the hub.
It knows neither tokenizers nor indexes. A document's metadata is what becomes its entry in the
index: the rest of its record, or the path of its file, as UTF-8 JSON.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from everygram.corpus.arrow import HUB, arrow, hub, parquet
from everygram.corpus.choosing import nothing_left, text_files
from everygram.corpus.decoding import HEAD, NO_LIMITS, Limits, opened, sniffed, suffixes
from everygram.corpus.dividing import Part, divide, taken
from everygram.corpus.documents import MOST_NESTED, Corpus, OnError, TextDocument, encode_metadata
from everygram.corpus.files import STANDARD_INPUT, File, Lister, each_once, list_files
from everygram.corpus.json_files import json_file
from everygram.corpus.memory import Held, held
from everygram.corpus.not_text import stand_in
from everygram.corpus.plain import parts, whole
from everygram.corpus.records import TABLES, Records, json_lines, json_record, json_type, table
from everygram.corpus.values import NotText
from everygram.errors import CorpusError, OptionError

# Text is so many times larger than a compressed file of it.
EXPANDS = {".gz": 3, ".zst": 3, ".xz": 4, ".bz2": 4, ".parquet": 2}


class TextCorpus(Corpus[TextDocument]):
    """The documents of files, folders, patterns, addresses (see `files`) and `datasets:NAME`.

    A line of JSON, a row of a CSV, Parquet or Arrow table is a document: `text_field` is its text,
    the rest of the record its metadata. A field `a.b` is b inside a, unless one has that very
    name. `id_field` becomes the metadata's "id"; of the rest only `metadata_fields` are kept, if
    given. Any other file is one document whose metadata is `{"path": …}`, relative to the folder
    that was named; a byte order mark at its start is not text. With `split`, each of its lines, its
    paragraphs or of the parts between separators is one, whose metadata also has the `line` it
    begins in. Blank lines between records are no documents. What is compressed with gzip, zstd, xz
    or bzip2 is read through, whatever its name; `-` is standard input, by its first bytes JSON
    lines, Parquet, Arrow, or else one text. A record larger than `limits` allow is not held, but
    refused.

    Iterating reads the files from the start each time, and counts what is skipped anew.
    """

    def __init__(
        self,
        given: Sequence[str | os.PathLike[str] | Held],
        text_field: str = "text",
        on_error: OnError = "raise",
        id_field: str | None = None,
        metadata_fields: Sequence[str] | None = None,
        lister: Lister = list_files,
        limits: Limits = NO_LIMITS,
        *,
        split: str | None = None,
        quoting: str | None = None,
    ) -> None:
        """Raises CorpusError, and OptionError for an option that goes with none of the files."""
        super().__init__(on_error)
        self.limits = limits
        self.text_field = text_field
        self.id_field = id_field
        self.metadata_fields = metadata_fields
        # What is no metadata, each field once.
        self._taken = [*dict.fromkeys([text_field, *([] if id_field is None else [id_field])])]
        # Of the metadata's fields, those that no record had so far; and the fields of the first.
        self._unseen = dict.fromkeys(metadata_fields or ())
        self._first: list[str] | None = None
        self.split = split
        self._readers = READERS | {
            kind: partial(table, delimiter, usual, quoting)
            for kind, (delimiter, usual) in TABLES.items()
        }
        seen: dict[str, str] = {}
        for name in given:
            if isinstance(name, Held):
                self.files.append(name)
            elif isinstance(name, str) and name.startswith("datasets:"):
                if HUB.match(name) is None:
                    raise CorpusError(
                        f"{name}: expected datasets:NAME, with ,CONFIG and ,split=SPLIT if needed"
                    )
                self.files.append(File(name, name))
            else:
                listed = lister(os.fspath(name))
                chosen, passed = text_files(listed, file_format, self._has_text)
                self.passed_over |= passed
                if not chosen:
                    raise nothing_left(name, passed)
                for file in each_once(chosen, seen, self._skip):
                    self.files.append(file)
                    if file.named and split is None and not _is_known(file):
                        raise _unknown(file)
        for option, value, kinds in (
            ("split", split, ["text"]),
            ("quoting", quoting, [*TABLES]),
        ):
            if value is not None and not any(file_format(file) in kinds for file in self.files):
                raise OptionError(
                    f"{option} goes with {' and '.join(kinds)} files, found only "
                    f"{', '.join(self.formats)}; leave it out"
                )
        self._found_twice = list(self.skips)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Which of the fields to keep no record had, once there was one."""
        if self._first is None or not self._unseen:
            return ()
        missing = ", ".join(map(repr, self._unseen))
        has = ", ".join(map(repr, self._first)) or "no fields"
        return (f"no record has the metadata field {missing}; the first has {has}",)

    @property
    def total_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size for file in self.files)

    @property
    def formats(self) -> dict[str, int]:
        """How many files there are of each format."""
        return dict(Counter(file_format(file) for file in self.files))

    @property
    def estimated_text_bytes(self) -> int:
        """Size of all text, compressed files taken as a third of what they hold."""
        if any(isinstance(file, Held) for file in self.files):
            return sum(len(document.text) for document in self)
        return sum(file.size * max(map(_expands, suffixes(file.name))) for file in self.files)

    @property
    def once(self) -> bool:
        """Whether it can be iterated over only once."""
        return any(isinstance(file, Held) and file.once for file in self.files)

    @property
    def num_records(self) -> int | None:
        """How many records there are, where that can be told without reading."""
        return next((file.num_records for file in self.files if isinstance(file, Held)), None)

    @property
    def compressed(self) -> bool:
        """Whether files may hold more text than they have bytes."""
        return any(
            file_format(file) in ("Parquet", "Arrow", "hub") or suffixes(file.name)[1] != ""
            for file in self.files
        )

    def divide(self, number: int) -> tuple[Part, ...]:
        if any(isinstance(file, Held) for file in self.files):
            raise OptionError("parts: documents in memory are not divided: save them to files")
        return divide(self.files, number, _is_lines)

    def take(self, part: Part) -> None:
        self.files = taken(self.files, part)
        # (Those who divided it have them.)
        self._found_twice = []

    def __iter__(self) -> Iterator[TextDocument]:
        self.skips, self.bytes_read = list(self._found_twice), 0
        self.skipped = len(self.skips)
        self._unseen, self._first = dict.fromkeys(self.metadata_fields or ()), None
        for file in self.files:
            before = self.bytes_read
            try:
                yield from self._documents(file, before)
            except CorpusError as error:
                file.check_unchanged()
                known = file_format(file) not in ("text", "hub")
                self._skip(_explained(file, error) if known else error)
            except OSError as error:
                file.check_unchanged()
                self._skip(CorpusError(f"{file.name}: cannot be read: {error.strerror or error}"))
            else:
                file.check_unchanged()
            self.bytes_read = before + file.size

    def _documents(self, file: File, before: int) -> Iterator[TextDocument]:
        def tell(done: int) -> None:
            self.bytes_read = before + min(done, file.size)

        kind = file_format(file)
        finish: Callable[[Any, str], TextDocument] = self._document
        found: Iterator[tuple[str, Callable[[], Any]]]
        if kind != "text":
            found = self._readers[kind](file, self._columns(), tell, self.limits)
        else:
            finish = _as_it_is
            found = iter([(file.name, partial(whole, file, tell, self.limits))])
            if self.split is not None:
                found = parts(file, self.split, tell, self.limits)
        for place, make in found:
            try:
                document = finish(make(), place)
            except CorpusError as error:
                self._skip(error)
            else:
                del make  # (It holds the record.)
                self.place = place
                yield document
                del document

    def _has_text(self, record: dict[str, Any]) -> bool:
        return _holder(record, self.text_field)[0] is not None

    def _columns(self) -> list[str] | None:
        """The fields that are needed of a record, or None for all."""
        if self.metadata_fields is None:
            return None
        return [*self._taken, *self.metadata_fields]

    def _document(self, record: dict[str, Any], place: str) -> TextDocument:
        if self._first is None:
            self._first = list(record)
        text = text_in(record, self.text_field, place)
        metadata = record
        identity = None
        if self.id_field is not None:
            holder, name = _found(record, self.id_field, place, "name it with --id-field")
            identity = holder[name]
            if isinstance(identity, bool) or not isinstance(identity, str | int):
                raise CorpusError(
                    f"{place}: field '{self.id_field}': expected a string or an integer as id, "
                    f"found {json_type(identity)}"
                )
        for field in self._taken:
            holder, name = _found(record, field, place, "")
            del holder[name]
        if self.metadata_fields is not None:
            metadata = {}
            for field in self.metadata_fields:
                if _keep(record, field, metadata):
                    self._unseen.pop(field, None)
        if self.id_field is not None:
            metadata = {"id": identity} | {k: v for k, v in metadata.items() if k != "id"}
        try:
            text.encode()
            return TextDocument(text, encode_metadata(metadata))
        except UnicodeEncodeError as error:
            raise CorpusError(
                f"{place}: a lone surrogate ({error.object[error.start]!r}) is no Unicode character"
            ) from None
        except RecursionError:
            raise CorpusError(
                f"{place}: expected metadata nested at most {MOST_NESTED} deep, found more; leave "
                "fields out with --metadata-fields"
            ) from None


def _as_it_is(document: TextDocument, place: str) -> TextDocument:
    return document


def records_of(file: File, as_lines: bool = False) -> Records | None:
    """The records of a file that has records by its name; None of one that is a text.

    as_lines: what is no file of records by its name has JSON lines.
    """
    kind = file_format(file)
    if kind == "text":
        if not as_lines:
            return None
        kind = "JSON lines"
    if kind in TABLES:
        return table(*TABLES[kind], None, file, None, lambda done: None, NO_LIMITS)
    return READERS[kind](file, None, lambda done: None, NO_LIMITS)


def text_of_line(line: str, field: str, place: str) -> str:
    """The text in a line that is a JSON record, as that of a corpus. Raises CorpusError."""
    return text_in(record_of_line(line, place), field, place)


def record_of_line(line: str, place: str) -> dict[str, Any]:
    """The JSON record that a line is, as one of a corpus. Raises CorpusError."""
    return json_record(line.encode(errors="surrogateescape"), place)


def text_in(
    record: dict[str, Any], field: str, place: str, hint: str = "name the text with --text-field"
) -> str:
    """The text in a field of a record. Raises CorpusError, with the hint if there is no such
    field."""
    holder, name = _found(record, field, place, hint)
    text = holder[name]
    if not isinstance(text, str):
        raise CorpusError(f"{place}: field '{field}': expected a string, found {json_type(text)}")
    if isinstance(text, NotText):
        raise CorpusError(f"{place}: field '{field}': not UTF-8: {text[:60]!r}")
    return text


def value_in(record: dict[str, Any], field: str, place: str, hint: str) -> Any:
    """What a field of a record has. Raises CorpusError, with the hint if there is no such field."""
    holder, name = _found(record, field, place, hint)
    return holder[name]


def _found(record: dict[str, Any], field: str, place: str, hint: str) -> tuple[dict[str, Any], str]:
    """The object that has a field, and its name there. Raises CorpusError if there is none."""
    holder, name = _holder(record, field)
    if holder is None:
        raise CorpusError(
            f"{place}: no field '{field}'; the record has "
            f"{', '.join(map(repr, record)) or 'no fields'}; {hint}"
        )
    return holder, name


def _holder(record: dict[str, Any], field: str) -> tuple[dict[str, Any] | None, str]:
    """The object that has a field, and its name there; None if there is none."""
    if field in record:
        return record, field
    *outer, name = field.split(".")
    inside: Any = record
    for part in outer:
        inside = inside.get(part) if isinstance(inside, dict) else None
    return (inside, name) if isinstance(inside, dict) and name in inside else (None, name)


def _keep(record: dict[str, Any], field: str, kept: dict[str, Any]) -> bool:
    """Copy a field, where it stands, if the record has it; says whether it has."""
    holder, name = _holder(record, field)
    if holder is None:
        return False
    if holder is not record:
        for part in field.split(".")[:-1]:
            kept = kept.setdefault(part, {})
    kept[name] = holder[name]
    return True


def file_format(file: File) -> str:
    """The format of a file, by its name."""
    if isinstance(file, Held):
        return "in memory"
    if file.name.startswith("datasets:"):
        return "hub"
    suffix = sniffed(file) if file.name == STANDARD_INPUT else suffixes(file.name)[0]
    return FORMATS.get(suffix, "text")


def _is_lines(file: File) -> bool:
    """Whether each line of a file is a document whatever stands before it."""
    if file_format(file) != "JSON lines":
        return False
    try:
        with opened(file) as (raw, inside):
            own: object = raw
            return inside is own  # not decompressed
    except (CorpusError, OSError):  # (Whoever reads it says why.)
        return False


def _is_known(file: File) -> bool:
    """Whether a file that was named itself is one of text."""
    named = file.name == STANDARD_INPUT or suffixes(file.name)[0] in TEXTS
    return named or file_format(file) != "text"


def _expands(suffix: str) -> int:
    return EXPANDS.get(suffix, 1)


def _explained(file: File, error: CorpusError) -> CorpusError:
    """What is wrong with a file of records as a whole, if that is why a record of it is."""
    if str(error).startswith(f"{file.name}: expected text"):
        return error
    try:
        with file.open() as raw:
            what = stand_in(raw.read(HEAD))
    except (CorpusError, OSError):
        return error
    return error if what is None else CorpusError(f"{file.name}: expected records, found {what}")


def _unknown(file: File) -> CorpusError:
    """What to say of a file that was named and whose name does not say what it is."""
    try:
        with opened(file):
            pass
    except (CorpusError, OSError) as error:
        if isinstance(error, CorpusError):
            return error
    return CorpusError(
        f"{file.name}: not a kind of file that is known by its name: expected .jsonl, .json, .csv, "
        ".tsv, .parquet, .arrow, .txt or .md (.gz, .zst, .xz and .bz2 of them), or a directory of "
        "such files; for raw token ids pass --pretokenized"
    )


FORMATS = {
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON",
    ".csv": "CSV",
    ".tsv": "TSV",
    ".parquet": "Parquet",
    ".arrow": "Arrow",
}
TEXTS = (".txt", ".md", ".markdown", ".rst", ".text")
READERS: dict[str, Callable[[File, list[str] | None, Callable[[int], None], Limits], Records]] = {
    "JSON lines": json_lines,
    "JSON": json_file,
    "Parquet": parquet,
    "Arrow": arrow,
    "hub": hub,
    "in memory": held,
}
