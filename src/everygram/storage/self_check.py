"""Checks a self-index whole, without writing its tokens and its suffix array.

Three things prove that its ranks are the order of its suffixes. Its text, read from every sample to
the next and from the start of each document to its end, meets every rank once, and the samples and
documents where they should be. Entries ascend with rank, each with the first token that the
unigrams say: of two suffixes with one first token, that of lower rank goes on with the suffix of
lower rank, or ends in an earlier document. And the blocks are those that the entries make, bit for
bit.
"""

from collections.abc import Iterator

import numpy as np

from everygram.storage import format as fmt
from everygram.storage.disk import positions_in
from everygram.storage.fences import fence_tree
from everygram.storage.self_index import PIECE, SelfIndex

# Blocks that are decoded at a time.
BLOCKS = 1 << 12


def wrong_self_index(segment: SelfIndex) -> Iterator[str]:
    """What is wrong with the files of a self-index but its metadata and its document counts.

    Takes a bit of memory per token, and four or eight bytes per sample.
    """
    width, count = segment.entry.position_bytes, -(-segment.stream_len // segment.sample_every)
    samples = segment.samples.reshape(-1, width)
    if width == fmt.POSITION.itemsize:
        samples = segment.samples.view(fmt.POSITION)
    numbers, ranks = samples[:count], positions_in(samples[count : 2 * count])
    sampled = np.sort(ranks)
    for begin in range(0, count, PIECE):
        some = positions_in(numbers[begin : begin + PIECE])
        if some.max() >= count or (ranks[some] != sampled[begin : begin + PIECE]).any():
            yield f"{fmt.SAMPLES}: its numbers are not in the order of its ranks"
            return
    unigrams = _wrong_unigrams(segment)
    if unigrams:
        yield unigrams
        return
    found = [*_wrong_blocks(segment, sampled)]
    yield from found or _wrong_text(segment, samples[2 * count :])


def _wrong_unigrams(segment: SelfIndex) -> str | None:
    """What is wrong with the unigrams, as far as entries are compared with them."""
    firsts = np.append(segment.unigram_ranks.astype(np.int64), segment.stream_len)
    ids = segment.unigram_ids.astype(np.int64)
    if firsts[0] != 0 or (np.diff(firsts) <= 0).any() or (np.diff(ids) <= 0).any():
        return f"{fmt.UNIGRAMS}: not ascending ids and ranks from 0"
    if ids[-1] != segment.separator or firsts[-1] - firsts[-2] != segment.num_documents:
        return f"{fmt.UNIGRAMS}: not as many separators as documents"
    return None


def _wrong_blocks(segment: SelfIndex, sampled: np.ndarray) -> Iterator[str]:
    """Whether entries ascend, have the tokens of the unigrams, and are coded as they should be.

    sampled: the ranks of samples, ascending.
    """
    from everygram.kernels import coding, psi

    row, n, block = segment.searched(), segment.stream_len, segment.fence_spacing
    firsts = np.append(segment.unigram_ranks.astype(np.int64), n)
    last, at, counts = -1, 0, []
    for begin in range(0, n, BLOCKS * block):
        ranks = np.arange(begin, min(n, begin + BLOCKS * block))
        entries = np.empty(ranks.shape[0], np.int64)
        coding.entries_at(row, ranks, entries)
        if int(entries[0]) <= last or (entries[1:] <= entries[:-1]).any():
            yield f"{fmt.PSI}: entries that do not ascend, from rank {begin:,} on"
            return
        last = int(entries[-1])
        places = entries >> segment.entry.key_bits
        inside = bool(places[-1] < firsts.shape[0] - 1)
        if not inside or (firsts[places] > ranks).any() or (firsts[places + 1] <= ranks).any():
            yield f"{fmt.PSI}: other tokens than the unigrams, from rank {begin:,} on"
            return
        marks = np.zeros(ranks.shape[0], np.bool_)
        lo, hi = np.searchsorted(sampled, [begin, begin + ranks.shape[0]])
        marks[sampled[lo:hi] - begin] = True
        number = -(-ranks.shape[0] // block)
        words = np.zeros(number * psi.MOST_WORDS, np.uint64)
        pointers, keys = np.empty(number, np.uint64), np.empty(number, np.uint64)
        shift = block.bit_length() - 1
        used = coding.code_blocks(entries, marks, shift, words, pointers, keys)
        of_blocks = slice(begin // block, begin // block + number)
        for name, made, there in (
            (fmt.PSI, words[:used], segment.psi[at : at + used]),
            (fmt.PSI_BLOCKS, pointers + np.uint64(at), segment.psi_blocks[of_blocks]),
            (fmt.FENCES, keys, segment.fences[of_blocks]),
        ):
            if not np.array_equal(made, there):
                yield f"{name}: not what its entries make, from rank {begin:,} on"
                return
        counts.append(pointers >> np.uint64(psi.OFFSET_BITS + psi.LOW_BITS + psi.HIGH_BITS))
        at += used
    if segment.psi.shape[0] != at + psi.MOST_WORDS or segment.psi[at:].any():
        yield f"{fmt.PSI}: expected {psi.MOST_WORDS} words of zeros behind its blocks, and no more"
    samples = np.concatenate(counts).astype(np.int64)
    before = (np.cumsum(samples) - samples)[:: fmt.FENCE_FANOUT]
    blocks = samples.shape[0]
    if not np.array_equal(before, segment.psi_blocks[blocks:].astype(np.int64)):
        yield f"{fmt.PSI_BLOCKS}: not how many samples there are before blocks"
    tree = np.concatenate([*fence_tree([segment.fences[:blocks]])])
    if not np.array_equal(tree, segment.fences):
        yield f"{fmt.FENCES}: not the tree of the first entries of blocks"


def _wrong_text(segment: SelfIndex, separators: np.ndarray) -> Iterator[str]:
    """Whether the text that is read meets every rank once, and all samples and documents.

    separators: the ranks of documents' separators, as entries of a suffix array.
    """
    from everygram.kernels import coding

    row, n, every = segment.searched(), segment.stream_len, segment.sample_every
    offsets = segment.document_offsets.astype(np.int64)
    if offsets[0] != 0 or (np.diff(offsets) <= 0).any() or offsets[-1] >= n:
        yield f"{fmt.DOCUMENT_OFFSETS}: not ascending from 0"
        return
    # The last positions of documents.
    lasts = np.append(offsets[1:], n) - 1
    seen = np.zeros(-(-n // 64), np.uint64)
    step = -(-PIECE // every) * every
    for begin in range(0, n, step):
        end = min(n, begin + step)
        # (And the rank behind, to which the last of these leads.)
        ranks = np.empty(min(n, end + 1) - begin, np.int64)
        text = segment.read(begin, begin + ranks.shape[0], ranks, False)
        again = coding.first_again(ranks[: end - begin], seen)
        if again >= 0:
            yield f"{fmt.PSI}: a rank that two positions have, one of them {begin + again:,}"
            return
        lo, hi = np.searchsorted(offsets, [begin, end])
        places = np.flatnonzero(text[: end - begin] == segment.separator)
        if not np.array_equal(places + begin, offsets[lo:hi]):
            yield f"{fmt.DOCUMENT_OFFSETS}: not where {fmt.PSI} has separators"
            return
        if not np.array_equal(positions_in(separators[lo:hi]), ranks[places]):
            yield f"{fmt.SAMPLES}: not the ranks of the documents' separators"
            return
        # What the positions before samples lead to, and those that end documents.
        lo, hi = np.searchsorted(lasts, [begin, end])
        before = np.arange(begin + every - 1, min(end, n - 1), every)
        before = before[~np.isin(before, lasts[lo:hi])]
        expected = np.append(ranks[before + 1 - begin], n + np.arange(lo, hi))
        entries = np.empty(expected.shape[0], np.int64)
        coding.entries_at(row, ranks[np.append(before, lasts[lo:hi]) - begin], entries)
        if (entries & ((1 << segment.entry.key_bits) - 1) != expected).any():
            yield f"{fmt.SAMPLES}: not the ranks that the text leads to, from {begin:,} on"
            return
