"""Makes once what searches of an infini-gram index start from (see `storage.attached`)."""

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from everygram import arguments
from everygram.arguments import Size
from everygram.building.stages import disk, resources
from everygram.durable import sync_directory
from everygram.errors import BuildError, DamagedIndexError, FormatError
from everygram.progress import Clock, PeakMemory, Progress
from everygram.storage import attached as at
from everygram.storage import format as fmt
from everygram.storage.disk import (
    CHUNK,
    HashedFile,
    Written,
    map_file,
    map_positions,
    position_entries,
    write_array,
    write_synced,
)
from everygram.storage.document_counts import document_counts as counts_of_documents
from everygram.storage.fences import counted, fence_tree, table_of
from everygram.storage.infini_gram import ShardFiles, is_infini_gram, shards_of
from everygram.storage.shard import Shard, stretches_of
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import load_tokenizer

# Ranks whose keys, or positions, are read at a time.
RANKS = 1 << 21


@dataclass(frozen=True)
class Attachment:
    """What `attach` made, at `path`, for the index in `folder`.

    bytes: of what it made. seconds: the time of each stage. peak_bytes: as in `BuildReport`.
    """

    path: Path
    folder: Path
    num_shards: int
    num_documents: int
    num_tokens: int
    dtype: str
    tokenizer: str
    document_counts: bool
    bytes: int
    seconds: dict[str, float]
    peak_bytes: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"path": str(self.path), "folder": str(self.folder)}


def attach(
    folder: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    tokenizer: str | None = None,
    document_counts: bool = False,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Attachment:
    """Make once, for an index folder of infini-gram's, what searches of it start from.

    Fences, unigrams, document offsets, and the tokenizer: about a tenth of the index. Without them
    the folder can be opened, too, but every search takes longer. The whole table and all tokens are
    read, in bounded memory, and what contradicts itself is refused. What was attached before is
    replaced; readers that are open go on.

    out: where to put it: a folder that does not exist, or an attachment. It can be opened as an
        index (default: the folder `everygram` in the index's; then that is opened).
    tokenizer: the tokenizer that made the ids, as in `build` (default: that of an attachment which
        is there already, or none; then only ids can be asked).
    document_counts: also make the counts from which `document_count` answers at once (0.26 bytes
        per token; meanwhile, on disk, up to 7 more). Attaching again without a tokenizer keeps
        them.
    memory: for document counts, as in `build`; threads: as there.

    Raises FormatError for what is no such index or contradicts itself, OptionError, TokenizerError,
    BuildError.
    """
    source = arguments.path("folder", folder)
    target = source / at.FOLDER if out is None else arguments.path("out", out)
    memory, threads = resources(memory, threads)
    arguments.flag("document_counts", document_counts)
    named: Tokenizer | None = None
    if tokenizer is not None:
        named = load_tokenizer(arguments.place("tokenizer", tokenizer, "a path or a name"))
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    if not is_infini_gram(source):
        raise FormatError(
            f"'{source}': expected an index folder of infini-gram's, with tokenized.0, table.0 and "
            "offset.0, or tokenized, table and offset; found none"
        )
    files = shards_of(source)
    _refuse_taken(target)
    if tokenizer is None:
        named, counted_before = _kept(target)
        document_counts = document_counts or counted_before
    with disk(target), PeakMemory() as peak:
        made = _Made(target, clock, memory, threads, document_counts)
        shards, first = [], 0
        try:
            for each in files:
                shard = Shard(each, first)
                shards.append((shard, made.shard(shard, each)))
                first += shard.num_documents
            vocab_size = fmt.separator_of(files[0].dtype)
            if named is not None:
                at.check_vocabulary(named, [shard for shard, _ in shards])
                vocab_size = named.vocab_size
            said = at.Attached(
                ".." if out is None else str(source.resolve()),
                vocab_size,
                at.entry_of(named, at.family(source, [shard for shard, _ in shards])),
                tuple(entry for _, entry in shards),
            )
            clock.enter("publish")
            made.publish(said, named)
        except BaseException:
            shutil.rmtree(made.folder, ignore_errors=True)
            raise
        clock.leave()
    return Attachment(
        path=target,
        folder=source,
        num_shards=len(shards),
        num_documents=first,
        num_tokens=sum(shard.stream_len for shard, _ in shards) - first,
        dtype=files[0].dtype,
        tokenizer="none" if named is None else named.source,
        document_counts=document_counts,
        bytes=sum(file.bytes for _, entry in shards for file in entry.files.values()),
        seconds=clock.seconds,
        peak_bytes=peak.bytes,
    )


def _refuse_taken(target: Path) -> None:
    """Raise BuildError if a folder is there that is no attachment."""
    if target.is_symlink() or (target.exists() and not (target / at.INFO).is_file()):
        raise BuildError(
            f"'{target}' exists, and is not what 'everygram attach' makes; choose another folder "
            "with --out, or remove it"
        )
    parent = target.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise BuildError(
            f"cannot write in '{parent}'; choose another folder with --out, which can be opened in "
            "place of the index's"
        )


def _kept(target: Path) -> tuple[Tokenizer | None, bool]:
    """The tokenizer of an attachment that is there already, and whether it has document counts."""
    try:
        made = at.read(target)
        has = made is not None and all(fmt.DOCUMENT_COUNTS in each.files for each in made.shards)
        return at.kept_tokenizer(target), has
    except (DamagedIndexError, FormatError) as error:
        raise BuildError(
            f"cannot keep the tokenizer of what was attached before ({error}): name the tokenizer, "
            f"or remove '{target}'"
        ) from None


class _Made:
    """An attachment that is being made, under another name than its own."""

    def __init__(
        self, target: Path, clock: Clock, memory: int, threads: int, documents: bool
    ) -> None:
        self.target, self.folder = target, target.with_name(target.name + ".tmp")
        self._clock, self._memory, self._threads = clock, memory, threads
        self._documents = documents
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()

    def shard(self, shard: Shard, files: ShardFiles) -> at.AttachedShard:
        """Make a shard's files, and complete it with them."""
        folder = self.folder / shard.entry.name
        folder.mkdir()
        self._clock.enter("check")
        fingerprint = at.fingerprint(files)
        shard.stretches = stretches_of(shard)
        ids, counts = counted(shard.tokens)
        _check_separators(shard, int(counts[ids == shard.separator].sum()), self._clock)
        bits = fmt.key_bits(int(ids[ids != shard.separator].max(initial=0)))
        table = table_of(ids, counts, 8 * shard.tokens.itemsize if shard.by_bytes else 0)
        written = {
            fmt.UNIGRAMS: write_array(folder / fmt.UNIGRAMS, table),
            at.STRETCHES: write_array(folder / at.STRETCHES, shard.stretches.ravel()),
        }
        if shard.shift:
            offsets = shard.document_offsets
            written[fmt.DOCUMENT_OFFSETS] = write_array(folder / fmt.DOCUMENT_OFFSETS, offsets)
        self._clock.enter("write")
        fences = HashedFile(folder / fmt.FENCES)
        for piece in fence_tree(_level(shard, bits, self._threads, self._clock)):
            fences.write(piece.data)
        written[fmt.FENCES] = fences.close()
        tree = map_file(folder / fmt.FENCES, fmt.KEY)
        shard.complete(shard.stretches, tree, fmt.FENCE_SPACING, bits, table)
        shard.check_unigrams()
        if self._documents:
            self._clock.enter("count")
            written[fmt.DOCUMENT_COUNTS] = self._counted(shard, folder)
        sync_directory(folder)
        return at.AttachedShard(
            name=shard.entry.name,
            fingerprint=fingerprint,
            key_bits=bits,
            fence_spacing=fmt.FENCE_SPACING,
            files={name: each.entry for name, each in written.items()},
        )

    def _counted(self, shard: Shard, folder: Path) -> Written:
        """The document counts of a shard, from its positions as an index of ours has them."""
        width = fmt.position_bytes(shard.stream_len)
        needed = shard.stream_len * (width + 1.5)
        if (free := shutil.disk_usage(folder).free) < needed:
            raise BuildError(
                f"no space left at '{self.target}': counting documents needs {needed / 1e6:,.1f} "
                f"MB, {free / 1e6:,.1f} MB are free; free some, then run the same command again"
            )
        path = folder / fmt.SUFFIX_ARRAY
        with path.open("wb") as file:
            for start in range(0, shard.stream_len, RANKS):
                ranks = np.arange(start, min(shard.stream_len, start + RANKS))
                file.write(position_entries(shard.positions_of(ranks), width).data)
        counts = HashedFile(folder / fmt.DOCUMENT_COUNTS)
        try:
            for piece in counts_of_documents(
                shard.tokens,
                map_positions(folder, width),
                shard.document_offsets,
                self._memory,
                self._threads,
                folder,
                self._clock.report,
            ):
                counts.write(piece.data)
        except DamagedIndexError:
            raise shard.unsorted("a pointer that is there twice, or missing") from None
        path.unlink()
        return counts.close()

    def publish(self, said: at.Attached, tokenizer: Tokenizer | None) -> None:
        """Give the attachment its name, in place of an older one."""
        if tokenizer is not None and tokenizer.json is not None:
            write_synced(self.folder / fmt.TOKENIZER, tokenizer.json)
        at.write_info(self.folder, said)
        sync_directory(self.folder)
        if self.target.exists():
            old = self.target.with_name(self.target.name + ".old")
            shutil.rmtree(old, ignore_errors=True)
            self.target.rename(old)
            self.folder.rename(self.target)
            shutil.rmtree(old)
        else:
            self.folder.rename(self.target)
        sync_directory(self.target.parent)


def _check_separators(shard: Shard, separators: int, clock: Clock) -> None:
    """Raise FormatError unless documents begin at the all-ones tokens, all of them."""
    offsets, n = shard.document_offsets, shard.stream_len
    before = -1
    sound = separators == shard.num_documents
    for start in range(0, offsets.shape[0], CHUNK):
        some = offsets[start : start + CHUNK].astype(np.int64)
        if not sound or some[0] <= before or (np.diff(some) <= 0).any() or some[-1] >= n:
            sound = False
            break
        sound = bool((shard.tokens[some] == shard.separator).all())
        before = int(some[-1])
        clock.report(start + some.shape[0], offsets.shape[0])
    if not sound:
        raise FormatError(
            f"{shard.folder / shard.name_of(fmt.DOCUMENT_OFFSETS)}: {shard.num_documents:,} "
            f"documents do not begin at the {separators:,} all-ones tokens of "
            f"{shard.name_of(fmt.TOKENS)}: get the folder again, or build it again"
        )


def _level(shard: Shard, bits: int, threads: int, clock: Clock) -> Iterator[np.ndarray]:
    """Level 0 of a shard's fence tree, in pieces. Raises FormatError if keys do not ascend."""
    before, n = np.uint64(0), shard.stream_len

    def keys_from(start: int) -> np.ndarray:
        ranks = np.arange(start, min(n, start + RANKS), fmt.FENCE_SPACING)
        return shard.keys_at(ranks, bits)

    starts = range(0, n, RANKS)
    with ThreadPoolExecutor(threads) as pool:
        # (As few pieces as keep all threads busy are held.)
        for begin in range(0, len(starts), 2 * threads):
            some = starts[begin : begin + 2 * threads]
            for start, keys in zip(some, pool.map(keys_from, some), strict=True):
                if keys[0] < before:
                    raise shard.unsorted(f"the suffix of rank {start:,} is out of order")
                before = keys[-1]
                clock.report(min(n, start + RANKS), n)
                yield keys
