"""Indexes in, another one out: of infini-gram's folders, or of everygram's with another kind.

For infini-gram's folders it is the index that a build of the same ids makes: suffixes are sorted
anew (see `storage.infini_gram` for how the two orders differ), documents come from
`corpus.infini_gram`, and all else is as in a build. For everygram's, see `kinds`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from everygram import arguments
from everygram.arguments import Size
from everygram.building.indexer import build_of
from everygram.building.kinds import remake
from everygram.building.source import Estimate, Source, check_vocabulary
from everygram.building.stages import Stages, kind_given, resources
from everygram.corpus.documents import TokenDocument
from everygram.corpus.infini_gram import ShardCorpus
from everygram.corpus.source import absolute
from everygram.errors import CorpusError, OptionError
from everygram.progress import BuildReport, Progress
from everygram.storage import attached
from everygram.storage import format as fmt
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import load_tokenizer, tokenizer_hash

PathLike = str | os.PathLike[str]


class ShardSource(Source):
    """The token ids of infini-gram's index folders."""

    operation = "conversion"
    beside = 0

    def __init__(
        self, folders: list[Path], tokenizer_name: str | None, tokenizer: Tokenizer | None
    ) -> None:
        given = {"corpus": [absolute(folder) for folder in folders], "tokenizer": tokenizer_name}
        super().__init__(given, False, tokenizer_name, tokenizer)
        self.corpus: ShardCorpus = ShardCorpus(folders)
        # Without a tokenizer, every id of the width but the separator is in the vocabulary.
        self._vocab_size = fmt.separator_of(self.corpus.dtype)
        if tokenizer is not None:
            self._vocab_size = self.corpus.vocab_size = tokenizer.vocab_size
            self.corpus.whose = f"the vocabulary of tokenizer '{tokenizer.source}'"

    def limit(self, memory: int) -> None:
        pass

    def estimate(self) -> Estimate:
        return Estimate(self.corpus.total_tokens, self._vocab_size, ())

    def prepare(self, stages: Stages) -> int:
        return self._vocab_size

    def documents(self, threads: int) -> Iterator[TokenDocument]:
        return iter(self.corpus)

    def least_bytes(self, dtype: str) -> int:
        return self.corpus.total_tokens * fmt.TOKEN_DTYPES[dtype].itemsize


def open_folders(
    folders: PathLike | Sequence[PathLike], tokenizer: PathLike | None = None
) -> ShardSource:
    """Open index folders of infini-gram's for a new index; raises the errors of `convert`.

    The result can be given to `plan_of` and then to `build_of`.
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else folders
    if not isinstance(given, Sequence):
        raise OptionError(
            f"folders: expected a path, or a list of paths, found {arguments.short(given)}"
        )
    paths = [arguments.path("folders", folder) for folder in given]
    if not paths:
        raise CorpusError("folders: expected at least one index folder of infini-gram's")
    places = [
        attached.place_of(path) if attached.is_foreign(path) else (path, path) for path in paths
    ]
    paths = [folder for folder, _ in places]
    if tokenizer is None:
        kept = _attached(place for _, place in places)
        return ShardSource(paths, None if kept is None else kept.source, kept)
    name = arguments.place("tokenizer", tokenizer, "a path or a name")
    check_vocabulary(None, None, name)
    return ShardSource(paths, name, load_tokenizer(name))


def _attached(places: Iterable[Path]) -> Tokenizer | None:
    """The tokenizer that folders were attached with, of their attachments, which need not be there.

    Raises OptionError if some have different ones.
    """
    kept = [each for place in places if (each := attached.kept_tokenizer(place)) is not None]
    if len({(each.kind, tokenizer_hash(each)) for each in kept}) > 1:
        raise OptionError(
            "folders: attached with different tokenizers; name the one that made all ids with "
            "tokenizer"
        )
    return kept[0] if kept else None


def convert(
    folders: PathLike | Sequence[PathLike],
    out: PathLike,
    tokenizer: PathLike | None = None,
    *,
    kind: str | None = None,
    sample_every: int | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    document_counts: bool = True,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> BuildReport:
    """Make an index of an everygram index with another kind of segments, or of infini-gram's.

    An everygram index: one, and the kind that the new index is to have, "suffix-array" or
    "self-index". Each segment is made anew by itself, from its files, which are checked as they are
    read; documents, their numbers, metadata, document counts and the tokenizer stay, and so do all
    answers. Segments that are of that kind already, and those of deleted documents, are linked, or
    copied where a file system has no links. A suffix-array index that is converted to a self-index
    and back is the same to the byte. An interrupted conversion, run again, continues after the last
    segment that it finished. `tokenizer` and `document_counts` are not for this.

    infini-gram's folders, of its version 4 or 6: one or several. Documents are numbered in the
    order of folders, then of their shards. Each one's metadata is what infini-gram has of it, an
    object with `path`, `linenum` and `metadata`; `{}` where it has none.

    kind, sample_every: as in `build` (infini-gram's folders become a "suffix-array" by default).
    tokenizer: the one that made the ids, as in `build` (default: the one that they were attached
        with, or none; an index without one takes ids alone). (In folders of version 5, and in
        reversed ones of 6, each document's tokens are backwards: they stay so.)

    The other arguments, the report and interruptions are those of `build`, and so is the result, to
    the byte: suffixes are sorted anew, the folders' tables are not read.

    Raises FormatError for what is no such folder or damaged (of infini-gram's every separator is
    compared with the documents' offsets), DamagedIndexError for a file of an everygram index that
    does not match its checksum, CorpusError for ids that are not the tokenizer's and for metadata
    that is no JSON, and the errors of `build`.
    """
    index = everygram_index(folders)
    if index is not None:
        return convert_index(
            index,
            out,
            tokenizer,
            kind=kind,
            sample_every=sample_every,
            memory=memory,
            threads=threads,
            document_counts=document_counts,
            restart=restart,
            progress=progress,
        )
    return build_of(
        open_folders(folders, tokenizer),
        out,
        kind=kind,
        sample_every=sample_every,
        memory=memory,
        threads=threads,
        document_counts=document_counts,
        restart=restart,
        progress=progress,
    )


def everygram_index(folders: PathLike | Sequence[PathLike]) -> Path | None:
    """The everygram index that is to be converted, if one of the folders is one.

    Raises OptionError if there are several folders.
    """
    given = [folders] if isinstance(folders, str | os.PathLike) else folders
    if not isinstance(given, Sequence):
        return None
    paths = [arguments.path("folders", folder) for folder in given]
    ours = [path for path in paths if (path / fmt.MANIFEST).exists()]
    if ours and len(paths) > 1:
        raise OptionError(
            f"folders: '{ours[0]}' is an everygram index: expected it alone, found "
            f"{len(paths)} folders; convert one at a time"
        )
    return ours[0] if ours else None


def convert_index(
    index: Path,
    out: PathLike,
    tokenizer: PathLike | None = None,
    *,
    kind: str | None,
    sample_every: int | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    document_counts: bool = True,
    restart: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> BuildReport:
    """As `convert`, for one everygram index."""
    if kind is None:
        raise OptionError(
            f"kind: expected the kind that everygram's index '{index}' is to have, "
            f"{' or '.join(fmt.KINDS)}; found none"
        )
    if tokenizer is not None or not arguments.flag("document_counts", document_counts):
        what = "document_counts" if tokenizer is None else "tokenizer"
        raise OptionError(
            f"{what}: index '{index}' is everygram's, whose own are kept; leave it out"
        )
    every = kind_given(kind, sample_every)
    limits = resources(memory, threads)
    restart, out = arguments.flag("restart", restart), arguments.path("out", out)
    return remake(index, out, every, *limits, restart, progress)
