"""Files of token ids in, documents out. Knows neither tokenizers nor indexes."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from everygram.corpus.choosing import id_files, nothing_left
from everygram.corpus.dividing import Part, divide
from everygram.corpus.documents import Corpus, OnError, TokenDocument, encode_metadata
from everygram.corpus.files import File, Lister, each_once, list_files, local_file
from everygram.corpus.marks import Stream, settled, streams_of
from everygram.corpus.megatron import MAGICS
from everygram.corpus.token_file import LARGEST_ID, NO_ID, Given, TokenFile, reading
from everygram.corpus.token_formats import COMPANIONS, _format, _raw, owner_of, token_file
from everygram.errors import CorpusError, OptionError
from everygram.storage.format import TOKEN_DTYPES

# Names of the files that are read in a folder; the rest is passed over.
TOKEN_NAMES = re.compile(r".*\.(bin|idx|ds|npy)|tokenized\.\d+", re.DOTALL)


class TokenCorpus(Corpus[TokenDocument]):
    """The documents of files of token ids, of folders and patterns of them (see `files`).

    What a file is, it says itself; `dtype` ("u8", "u16", "u32") and `separator_id` say what it
    does not:

    - raw: little-endian ids; needs both (infini-gram's `tokenized.N`, nanoGPT's `.bin`).
    - llm.c, modded-nanogpt: an id starts each document, 50256, in Llama 3's files 128000, unless
      `separator_id` says which.
    - Megatron-LM: `X.bin` and `X.idx`, named by either or as `X`. fairseq's, of which each sequence
      is a document, a line of the text that was preprocessed.
    - datatrove: `X.ds` and `X.ds.index`. `chunk_shuffled` files hold documents in fragments, which
      come out as documents: what belonged together is not recorded.
    - Dolma, OLMo: `X.npy` without a header, needs `dtype`, and `X.csv.gz`, whose id, src and loc
      are part of a document's metadata; without the latter, documents are marked as in a raw file.
    - NumPy's `.npy`: of two dimensions, a row is a document; of one, they are marked as in a raw
      file.

    If only separators mark documents, the ids are looked at (see `marks`). In a file that starts
    with a separator, each one starts a document; otherwise each one ends a document, and so does
    the end of the file. If every bound has two separators, two are one bound. Files in one folder
    whose names have consecutive numbers are read in that order, and a document goes on in the next
    file if the separators show it, with llm.c always. `formats` says what was found.

    If documents are recorded, a `separator_id` at a document's start or end is dropped (two, if
    every document of the file has two there); elsewhere it is an ordinary id.

    A document's metadata is `{"path": …}`: the file that it starts in, relative to the folder that
    was named. In a folder, `.bin`, `.ds`, `.npy` and `tokenized.N` are read, in sorted order.

    Memory is that of CHUNK ids or of the longest document. With `on_error="skip"` files that
    cannot be read are left out as a whole, counted in `skipped`, and the first of them listed in
    `skips`; what is wrong with their ids is known after `max_id` or the first document.

    Raises OptionError for what must be said to read a file, CorpusError for what cannot be read.
    """

    # Ids read at a time.
    CHUNK = 1 << 22

    def __init__(
        self,
        paths: list[Path],
        dtype: str | None = None,
        separator_id: int | None = None,
        on_error: OnError = "raise",
        lister: Lister = list_files,
    ) -> None:
        super().__init__(on_error)
        if dtype is not None and dtype not in TOKEN_DTYPES:
            raise OptionError(f"dtype: expected u8, u16 or u32, found {dtype!r}")
        if separator_id is not None and not 0 <= separator_id <= LARGEST_ID:
            raise OptionError(f"separator_id: expected 0 to {LARGEST_ID}, found {separator_id}")
        self._largest: dict[Path, int] = {}
        self._known: dict[tuple[Path, ...], list[Stream]] = {}
        self._listed: dict[Path, list[File]] = {}
        self._taken: list[Stream] = []
        seen: dict[str, Path] = {}
        series: dict[str, list[TokenFile]] = {}
        for path, name in _token_files(paths, lister, self.passed_over):
            first = seen.setdefault(os.path.realpath(path), path)
            if first is not path:
                raise CorpusError(
                    f"{path}: the same file as '{first}', which is read already; name it once"
                )
            # Each file of ids, then the files that go with it.
            self._listed[path] = [local_file(each, name) for each in (path, *_companions(path))]
            self.files += self._listed[path]
            try:
                with reading(path):
                    file = token_file(Given(path, name, dtype, separator_id))
                series.setdefault(file.series or str(path), []).append(file)
            except CorpusError as error:
                self._skip(error)
        self._files = [
            file for each in series.values() for file in sorted(each, key=lambda file: file.shard)
        ]

    @staticmethod
    def is_token_file(path: Path, lister: Lister = list_files) -> bool:
        """Whether a file says itself, by its name or first bytes, that it holds token ids.

        So do a Megatron prefix, and a folder or pattern all of whose files do or go with one.
        Raw ids do not.
        """
        path = _unprefixed(path)
        if path.is_file():
            return _says_itself(path)
        try:
            listed = lister(os.fspath(path))
        except CorpusError:
            return False
        files = {Path(file.name) for file in id_files(listed, lambda _: True)[0]}
        alone = (file for file in files if owner_of(file) not in files and ".ds." not in file.name)
        first = next(alone, None)
        return first is not None and _says_itself(first) and all(map(_says_itself, alone))

    @property
    def width(self) -> str:
        """The widest of what the files' ids come out as: "u8", "u16" or "u32"."""
        return max((file.width for file in self._files), key=list(TOKEN_DTYPES).index, default="u8")

    @property
    def formats(self) -> dict[str, int]:
        """How many files there are of each format, in the order met.

        A format says with it how separators were found to be used, if not one per document.
        """
        named = ((stream.format, len(stream.files)) for stream in self._streams())
        counted: Counter[str] = Counter()
        for name, number in named:
            counted[name] += number
        return dict(counted)

    @property
    def total_bytes(self) -> int:
        """Size of all ids."""
        return sum(file.count * file.dtype.itemsize for file in self._files)

    @property
    def total_tokens(self) -> int:
        """Number of all ids, separators among them."""
        return sum(file.count for file in self._files)

    def max_id(self) -> int:
        """The largest id that is no separator; -1 if there is none. Reads every file, once."""
        for file in list(self._files):
            if file.path in self._largest:
                continue
            try:
                pieces = (ids for _, ids in self._pieces(file))
                if file.mark != NO_ID:
                    pieces = (ids[ids != file.mark] for ids in pieces)
                largest = (int(ids.max()) for ids in pieces if ids.size)
                self._largest[file.path] = max(largest, default=-1)
            except CorpusError as error:
                self._check_unchanged([file])
                self._skip(error)
                self._files.remove(file)
        return max(self._largest.values(), default=-1)

    def check_ids(self, vocab_size: int, whose: str) -> None:
        """Refuse files with ids outside a vocabulary, and say `whose` it is."""
        self.max_id()
        for file in list(self._files):
            if self._largest[file.path] < vocab_size:
                continue
            place, token = next(
                (start + int(bad[0]), int(ids[bad[0]]))
                for start, ids in self._pieces(file)
                if (bad := np.flatnonzero((ids >= vocab_size) & (ids != file.mark))).size
            )
            self._skip(
                CorpusError(
                    f"{file.path}: token {place:,} is {token}, which is outside {whose} (0 to "
                    f"{vocab_size - 1}): another tokenizer, width or separator id?"
                )
            )
            self._files.remove(file)
            del self._largest[file.path]

    def divide(self, number: int) -> tuple[Part, ...]:
        """Files whose documents go on from one to the next are in one part."""
        units = [
            File("", "", sum(file.count * file.dtype.itemsize for file in stream.files))
            for stream in self._units()
        ]
        return divide(units, number, lambda _: False)

    def take(self, part: Part) -> None:
        units = self._units()
        self._taken = [units[piece.file] for piece in part]
        self._files = [file for stream in self._taken for file in stream.files]
        self.files = [listed for file in self._files for listed in self._listed[file.path]]
        self.skipped, self.skips = 0, []

    def __iter__(self) -> Iterator[TokenDocument]:
        if self.on_error == "skip":
            self.max_id()  # A file is to be left out before any of its documents is given.
        self.bytes_read = 0
        for stream in self._streams():
            yield from self._unchanged(stream)

    def _unchanged(self, stream: Stream) -> Iterator[TokenDocument]:
        """The documents of files; raises CorpusError if these have changed meanwhile."""
        try:
            yield from self._documents(stream)
        except CorpusError:
            self._check_unchanged(stream.files)
            raise
        self._check_unchanged(stream.files)

    def _documents(self, stream: Stream) -> Iterator[TokenDocument]:
        before, first = self.bytes_read, stream.files[0]
        if first.bounds is None:
            for read, document in stream.documents(self.CHUNK):
                self.bytes_read = before + read
                yield document
        else:
            plain = first.metadata
            for start, ids, more in first.documents(self.CHUNK):
                self.bytes_read = before + (start + ids.size) * first.dtype.itemsize
                record = {"path": first.given.name} | more if more else None
                yield TokenDocument(ids, encode_metadata(record) if record else plain)
        self.bytes_read = before + sum(file.count * file.dtype.itemsize for file in stream.files)

    def _streams(self) -> list[Stream]:
        """The files, those together whose documents go on from one to the next."""
        # (What one shows of others is known of a part, too.)
        if self._taken and [*self._files] == [file for each in self._taken for file in each.files]:
            return self._taken
        streams: list[Stream] = []
        together: list[TokenFile] = []
        for file in [*self._files, None]:
            if together and (file is None or not file.follows(together[-1])):
                names = tuple(each.path for each in together)
                if names not in self._known:
                    self._known[names] = streams_of(together)
                streams += self._known[names]
                together = []
            if file is not None:
                together.append(file)
        return settled(streams)

    def _units(self) -> list[Stream]:
        """What is never divided."""
        return [unit for stream in self._streams() for unit in stream.apart()]

    def _check_unchanged(self, files: Sequence[TokenFile]) -> None:
        """Raise CorpusError if files, or those that go with them, have changed since."""
        for file in files:
            for listed in self._listed[file.path]:
                listed.check_unchanged()

    def _pieces(self, file: TokenFile) -> Iterator[tuple[int, np.ndarray]]:
        """The ids, `file.mark` among them, piece by piece, and the number of each one's first."""
        if file.bounds is None:
            yield from file.chunks(self.CHUNK)
        else:
            for start, ids, _ in file.documents(self.CHUNK):
                yield start, ids


def _token_files(
    paths: list[Path], lister: Lister, passed_over: dict[str, str]
) -> Iterator[tuple[Path, str]]:
    """The files of ids, and how metadata names them; a Megatron pair is its `.bin`."""

    def refuse(error: CorpusError) -> None:
        raise error

    for given in map(_unprefixed, paths):
        found = {}
        listed = lister(os.fspath(given))
        names, folder = {file.name for file in listed}, given.is_dir()

        def wanted(file: File, folder: bool = folder, names: set[str] = names) -> bool:
            if not folder or not file.readable or TOKEN_NAMES.fullmatch(Path(file.name).name):
                return True
            return str(owner_of(Path(file.name))) in names

        chosen, passed = id_files(listed, wanted)
        passed_over |= passed
        for file in each_once(chosen, {}, refuse):
            path, name = Path(file.name), file.relative
            if path.suffix == ".idx":
                path, name = path.with_suffix(".bin"), name.removesuffix(".idx") + ".bin"
            if file.named or owner_of(path) is None:
                found[path] = name
        if not found:
            raise nothing_left(given, passed, " of token ids")
        yield from found.items()


def _unprefixed(path: Path) -> Path:
    """Of the prefix of a Megatron pair, its index."""
    if path.exists() or not path.name:
        return path
    index = path.with_name(path.name + ".idx")
    return index if index.is_file() else path


def _companions(path: Path) -> list[Path]:
    """The files that go with a file of ids."""
    names = [path.with_suffix(suffix) for suffix in COMPANIONS]
    return [name for name in names if owner_of(name) == path and name.is_file()]


def _says_itself(path: Path) -> bool:
    try:
        if path.suffix == ".idx":
            with path.open("rb") as file:
                return file.read(max(map(len, MAGICS))).startswith(MAGICS)
        return _format(path) is not _raw
    except (OSError, CorpusError):
        return False
