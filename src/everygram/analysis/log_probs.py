"""Files of a neural model's log-probabilities in, documents of ids and log-probabilities out.

Any framework writes such files. JSON lines, also compressed (.gz, .zst, …), a document a line:
`{"token_ids": [11, 12, …], "logprobs": [null, -1.2, …]}`. Or a NumPy archive, .npz, with the arrays
`token_ids`, `log_probs` and `offsets`. Log-probabilities are natural logarithms, one for each
token: that of the token after those before it. Knows nothing of indexes and vocabularies.
"""

import gzip
import io
import json
import sys
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from numbers import Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from everygram import arguments
from everygram.arguments import LARGEST, short
from everygram.corpus.decoding import opened, suffixes
from everygram.corpus.files import File, list_files
from everygram.corpus.records import DECODER, json_type
from everygram.errors import CorpusError, OptionError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# The fields of a record; the second has two names.
IDS, LOG_PROBS = "token_ids", ("logprobs", "log_probs")
# The arrays of an archive; the last is there if documents have further fields.
ARRAYS, RECORDS = ("token_ids", "log_probs", "offsets"), "records"
# A model's probability may exceed 1 by what it rounds: its logarithm is 0 then.
ROUNDING = 1e-6
# What a damaged archive makes NumPy raise, or Python.
DAMAGED = (
    *(ValueError, KeyError, OSError, EOFError, MemoryError, RuntimeError, SyntaxError, TypeError),
    *(zipfile.BadZipFile, zlib.error),
)
# JSON with NaN and infinities, as Python and NumPy's users write it.
NUMBERS = json.JSONDecoder(object_pairs_hook=DECODER.object_pairs_hook)


@dataclass(eq=False)
class ScoredDocument:
    """A document and what a model says of it.

    token_ids: int64, shape (n,). log_probs: float64, shape (n,), in nats: of each token after those
    before it; nan where the model says nothing, as of the first. record: the other fields of the
    document in its file; place: where it is in that, for messages.

    Raises OptionError for what is no id, no logarithm of a probability, or not one for each.
    """

    token_ids: np.ndarray
    log_probs: np.ndarray
    record: dict[str, Any] = field(default_factory=dict)
    place: str = ""

    def __post_init__(self) -> None:
        self.token_ids = _ids(self.token_ids)
        self.log_probs = _log_probs(self.log_probs)
        ids, log_probs = self.token_ids.shape[0], self.log_probs.shape[0]
        if ids != log_probs:
            raise OptionError(
                f"expected a log-probability for each of {ids:,} token ids (null where there is "
                f"none), found {log_probs:,}"
            )

    def __len__(self) -> int:
        """How many tokens it has."""
        return int(self.token_ids.shape[0])


def _ids(given: Any) -> np.ndarray:
    """Token ids, as int64. Raises OptionError."""
    expected = f"{IDS}: expected natural numbers"
    if isinstance(given, np.ndarray):
        if given.ndim != 1 or given.dtype.kind not in "iu":
            raise OptionError(
                f"{expected} in one dimension, found {given.dtype} in {given.ndim} dimensions"
            )
        numbers = given
    elif not isinstance(given, list | tuple):
        raise OptionError(f"{expected} in a list, found {short(given)}")
    else:
        for place, each in enumerate(given):
            number = each if type(each) is int else arguments.as_integer(each)
            if number is None or not 0 <= number < LARGEST:
                raise OptionError(f"{expected}, found {short(each)} at place {place:,}")
        numbers = np.array(given, np.int64)
    wrong = np.flatnonzero((numbers < 0) | (numbers > LARGEST))
    if wrong.size:
        raise OptionError(f"{expected}, found {numbers[wrong[0]]} at place {wrong[0]:,}")
    return numbers.astype(np.int64)


def _log_probs(given: Any) -> np.ndarray:
    """Log-probabilities, as float64. Raises OptionError."""
    expected = "log-probabilities: expected natural logarithms"
    if isinstance(given, np.ndarray):
        if given.ndim != 1 or given.dtype.kind not in "fiu":
            raise OptionError(
                f"{expected} in one dimension, found {given.dtype} in {given.ndim} dimensions"
            )
        numbers = given.astype(np.float64)
    elif not isinstance(given, list | tuple):
        raise OptionError(f"{expected} in a list, found {short(given)}")
    else:
        for place, each in enumerate(given):
            if not (each is None or isinstance(each, Real)) or isinstance(each, bool):
                raise OptionError(f"{expected}, found {short(each)} at place {place:,}")
        try:
            numbers = np.array(given, np.float64)
        except OverflowError:
            raise OptionError(f"{expected}, found a number too large for one") from None
    wrong = np.flatnonzero(numbers > ROUNDING)
    if wrong.size:
        raise OptionError(
            f"{expected} of probabilities, 0 or less, found {numbers[wrong[0]]:g} at place "
            f"{wrong[0]:,}: are these probabilities, or losses? Take their logarithms, or their "
            "negatives"
        )
    return np.minimum(numbers, 0.0)


def read_log_probs(path: str | PathLike[str]) -> list[ScoredDocument]:
    """The documents of a file of log-probabilities: JSON lines, or NumPy's .npz.

    Raises CorpusError, with file and line, for a file that is not one; OptionError for a path that
    is none.
    """
    name = arguments.place("path", path, "a path or an address")
    if not name:
        raise OptionError("path: expected a path, found an empty string")
    files = list_files(name)
    if len(files) != 1:
        raise CorpusError(f"{name}: expected one file, found {len(files):,}; name one of them")
    read = _archive if suffixes(files[0].name) == (".npz", "") else _lines
    try:
        documents = list(read(files[0]))
    except OSError as error:
        raise CorpusError(f"{files[0].name}: cannot be read: {error.strerror or error}") from None
    if not documents:
        raise CorpusError(f"{files[0].name}: expected documents, found none")
    return documents


def _lines(file: File) -> Iterator[ScoredDocument]:
    """The documents of JSON lines."""
    with opened(file) as (_, lines):
        for number, line in enumerate(lines, 1):
            place = f"{file.name}:{number}"
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line and not line.isspace():
                yield _document(_record(line, place), place)


def _record(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = NUMBERS.decode(line.decode())
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{place}: not a JSON record: {error}") from None
    if not isinstance(record, dict):
        raise CorpusError(f"{place}: expected a JSON object, found {json_type(record)}")
    return record


def _document(record: dict[str, Any], place: str) -> ScoredDocument:
    has = ", ".join(map(repr, record)) or "no fields"
    if IDS not in record:
        raise CorpusError(f"{place}: expected a field '{IDS}'; the record has {has}")
    names = [name for name in LOG_PROBS if name in record]
    if len(names) != 1:
        raise CorpusError(
            f"{place}: expected one of the fields {' and '.join(map(repr, LOG_PROBS))}; the record "
            f"has {has}"
        )
    ids, log_probs = record.pop(IDS), record.pop(names[0])
    try:
        return ScoredDocument(ids, log_probs, record, place)
    except OptionError as error:
        raise CorpusError(f"{place}: {error}") from None


def _archive(file: File) -> Iterator[ScoredDocument]:
    """The documents of a NumPy archive."""
    with file.open(in_any_order=True) as raw:
        try:
            # (It may be remote: an archive is read from its end.)
            held = io.BytesIO(raw.read())
            # (Of what is none, NumPy says how to load pickled objects, which is no advice.)
            if not zipfile.is_zipfile(held):
                raise ValueError("it is not a ZIP file, or is cut off")
            held.seek(0)
            with np.load(held, allow_pickle=False) as archive:
                names = [name for name in (*ARRAYS, RECORDS) if name in archive.files]
                arrays = {name: archive[name] for name in names}
        except DAMAGED as error:
            raise CorpusError(
                f"{file.name}: not a NumPy archive of {', '.join(ARRAYS)}: {error}"
            ) from None
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise CorpusError(
            f"{file.name}: expected the arrays {', '.join(ARRAYS)}, found no {missing[0]}"
        )
    try:
        whole = ScoredDocument(arrays["token_ids"], arrays["log_probs"])
        offsets = _offsets(arrays["offsets"], len(whole))
    except OptionError as error:
        raise CorpusError(f"{file.name}: {error}") from None
    records = _records(arrays.get(RECORDS), offsets.shape[0] - 1, file.name)
    for number, (start, end) in enumerate(pairwise(offsets.tolist())):
        yield ScoredDocument(
            whole.token_ids[start:end],
            whole.log_probs[start:end],
            records[number],
            f"{file.name}: document {number:,}",
        )


def _offsets(given: np.ndarray, tokens: int) -> np.ndarray:
    """Where documents start and end: int64, shape (k + 1,). Raises OptionError."""
    expected = f"offsets: expected natural numbers that rise from 0 to {tokens:,}, the tokens"
    if given.ndim != 1 or given.dtype.kind not in "iu" or given.shape[0] == 0:
        raise OptionError(f"{expected}, found {given.dtype} of shape {given.shape}")
    numbers = given.astype(np.int64)
    if numbers[0] != 0 or numbers[-1] != tokens or (np.diff(numbers) < 0).any():
        raise OptionError(f"{expected}, found {short(numbers.tolist())}")
    return numbers


def _records(given: np.ndarray | None, documents: int, name: str) -> list[dict[str, Any]]:
    """The further fields of each document of an archive."""
    if given is None:
        return [{} for _ in range(documents)]
    if given.shape != (documents,) or given.dtype.kind != "U":
        raise CorpusError(
            f"{name}: {RECORDS}: expected a string for each of {documents:,} documents, found "
            f"{given.dtype} of shape {given.shape}"
        )
    return [
        _record(text.encode(errors="surrogatepass"), f"{name}: document {number:,}: {RECORDS}")
        for number, text in enumerate(given.tolist())
    ]


def write_log_probs(path: str | PathLike[str], documents: Iterable[ScoredDocument]) -> None:
    """Write documents as `read_log_probs` reads them: the name ends in .jsonl (.gz, .zst) or .npz.

    Lines are written one by one, an archive when the last document is there. Raises OptionError
    for another name and for what is no document, and OSError.
    """
    target = arguments.path("path", path)
    given = checked("documents", documents)
    suffix, packed = suffixes(target.name)
    if (suffix, packed) == (".npz", ""):
        _write_archive(target, list(given))
        return
    openers: dict[str, Any] = {"": open, ".gz": gzip.open, ".zst": zstd.open}
    if suffix != ".jsonl" or packed not in openers:
        raise OptionError(
            "path: expected a name that ends in .jsonl, .jsonl.gz, .jsonl.zst or .npz, found "
            f"{short(str(path))}"
        )
    with openers[packed](target, "wt", encoding="utf-8", newline="\n") as file:
        for document in given:
            values = document.log_probs.tolist()
            line = {IDS: document.token_ids.tolist()} | {
                LOG_PROBS[0]: [None if value != value else value for value in values]
            }
            file.write(json.dumps(line | _further(document)) + "\n")


def checked(name: str, documents: Any) -> Iterator[ScoredDocument]:
    """The documents of an argument of that name. Raises OptionError for what is none."""
    try:
        given = iter(documents)
    except TypeError:
        raise OptionError(
            f"{name}: expected a list of ScoredDocument, found {short(documents)}"
        ) from None
    return _each_checked(name, given)


def _each_checked(name: str, documents: Iterator[Any]) -> Iterator[ScoredDocument]:
    for number, document in enumerate(documents):
        if not isinstance(document, ScoredDocument):
            raise OptionError(
                f"{name}[{number}]: expected a ScoredDocument, found {short(document)}"
            )
        yield document


def _further(document: ScoredDocument) -> dict[str, Any]:
    return {name: of for name, of in document.record.items() if name not in (IDS, *LOG_PROBS)}


def _write_archive(target: Path, given: list[ScoredDocument]) -> None:
    arrays = {
        "token_ids": np.concatenate([np.empty(0, np.int64), *(one.token_ids for one in given)]),
        "log_probs": np.concatenate([np.empty(0), *(one.log_probs for one in given)]),
        "offsets": np.cumsum([0, *map(len, given)]),
    }
    if any(_further(document) for document in given):
        arrays[RECORDS] = np.array([json.dumps(_further(one)) for one in given])
    with target.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
