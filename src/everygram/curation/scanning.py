"""Counts of many texts at once: all documents are read, once for as many texts as a table holds.

To look a text up takes some milliseconds, whatever the size of the index; to read takes as long as
the index is large, for however many texts.
"""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from operator import itemgetter
from threading import Lock

import numpy as np

from everygram.engine.engine import Engine
from everygram.engine.pace import spread
from everygram.kernels import dictionary
from everygram.search.pattern import folded, word_table
from everygram.storage import format as fmt
from everygram.storage.segment import Segment
from everygram.tokenizer.vocabulary import TokenBytes

# Entries of a table, and tokens of documents that are read together, about.
MOST, TOGETHER = 1 << 25, 1 << 20


class Trie:
    """Texts as `kernels.dictionary` reads them, each with its owner, a number."""

    def __init__(self, texts: list[tuple[bytes, int]]) -> None:
        used = np.unique(np.frombuffer(b"".join(text for text, _ in texts), np.uint8))
        self.classes = np.full(256, -1, np.int16)
        self.classes[used] = np.arange(used.shape[0])
        self.width = used.shape[0]
        children: dict[tuple[int, int], int] = {}
        ended = []
        for text, owner in texts:
            node = 0
            for byte in text:
                node = children.setdefault((node, byte), len(children) + 1)
            ended.append((node, owner))
        nodes = len(children) + 1
        self.table = np.zeros(nodes * self.width, np.int32)
        keys = np.array(list(children), np.int64).reshape(-1, 2)
        places = keys[:, 0] * self.width + self.classes[keys[:, 1]]
        self.table[places] = np.arange(1, nodes)
        ends = np.array(sorted(ended), np.int64).reshape(-1, 2)
        self.owners_from = np.searchsorted(ends[:, 0], np.arange(nodes + 1))
        self.owners = np.ascontiguousarray(ends[:, 1])


def counted(
    engine: Engine,
    of: TokenBytes,
    texts: list[tuple[str, int]],
    owners: int,
    ignore_case: bool,
    whole_words: bool,
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:
    """Occurrences of each owner's texts, and documents that have any: int64, shape (k,), twice.

    texts: with their owners, none twice with one, those of an owner one after another; folded
    already if case is ignored. Calls `progress(tokens read, tokens to be read in all)`.
    """
    totals = np.zeros((2, owners), np.int64)
    folds = _folds() if ignore_case else np.empty(0, np.int32)
    words = word_table() if whole_words else np.empty(0, np.uint8)
    tries = [Trie(some) for some in _divided([(text.encode(), owner) for text, owner in texts])]
    parts = list(_parts(engine))
    total = sum(size for _, _, _, size in parts) * len(tries)
    lock, done = Lock(), 0

    def read(first: int, last: int) -> None:
        nonlocal done
        for number in range(first, last):
            trie = tries[number // len(parts)]
            segment, begins, ends, size = parts[number % len(parts)]
            made = np.zeros_like(totals)
            start = int(begins[0])
            dictionary.count(
                np.array(segment.text(start, int(ends[-1]))),
                begins - start,
                ends - start,
                of.blob,
                of.starts,
                of.dropped,
                of.vanishes,
                folds,
                words,
                trie.classes,
                trie.width,
                trie.table,
                trie.owners_from,
                trie.owners,
                *made,
            )
            with lock:
                totals[:] += made
                done += size
                progress(done, total)

    spread(read, len(tries) * len(parts), 1)
    return totals[0], totals[1]


def _divided(texts: list[tuple[bytes, int]]) -> Iterator[list[tuple[bytes, int]]]:
    """Texts by as many as one table has room for; all of one owner are together."""
    width = len(set(b"".join(text for text, _ in texts)))
    some: list[tuple[bytes, int]] = []
    size = 0
    for _, of_owner in groupby(texts, key=itemgetter(1)):
        more = list(of_owner)
        room = sum(len(text) for text, _ in more) * width
        if some and size + room > MOST:
            yield some
            some, size = [], 0
        some.extend(more)
        size += room
    if some:
        yield some


def _parts(engine: Engine) -> Iterator[tuple[Segment, np.ndarray, np.ndarray, int]]:
    """Documents that are not deleted, some of a segment at a time: where the tokens of each begin
    and end (int64), and how many these are."""
    for segment in engine.segments:
        if segment.entry.sign < 0:
            continue
        begins = segment.document_offsets.astype(np.int64) + 1
        ends = np.append(begins[1:] - 1, segment.stream_len)
        local = np.arange(segment.num_documents)
        live = ~engine.deleted(segment.numbers_of(local))
        if not live.any():
            continue
        begins, ends = begins[live], ends[live]
        if (ends < begins).any() or (begins[1:] < begins[:-1]).any():
            raise segment.damaged(fmt.DOCUMENT_OFFSETS, "offsets that do not ascend")
        which = np.cumsum(ends - begins) // TOGETHER
        cuts = np.flatnonzero(np.diff(which, prepend=-1))
        for first, last in zip(cuts, np.append(cuts[1:], which.shape[0]), strict=True):
            size = int((ends[first:last] - begins[first:last]).sum())
            yield segment, begins[first:last], ends[first:last], size


@cache
def _folds() -> np.ndarray:
    """The simple case folding of the code points that can have another: int32."""
    return np.array([ord(folded(chr(code))) for code in range(0x1E944)], np.int32)
