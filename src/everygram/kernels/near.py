"""Spans beside and inside one another: sorted arrays of places in, int64 (see `search.spans`)."""

import numpy as np

from everygram.kernels import kernel


@kernel
def smallest(begins: np.ndarray, ends: np.ndarray, keep: np.ndarray) -> None:
    """Which spans have no other inside them, of equal ones the first; keep: bool, shape (k,).

    The spans are sorted by begin, then end.
    """
    least = np.int64(1) << 62  # of those that begin later, where the first ends
    for i in range(begins.shape[0] - 1, -1, -1):
        keep[i] = False
        if i == 0 or begins[i - 1] != begins[i]:
            keep[i] = ends[i] < least
            least = min(least, ends[i])


@kernel
def largest(
    values: np.ndarray, lows: np.ndarray, highs: np.ndarray, queue: np.ndarray, found: np.ndarray
) -> None:
    """The place of the largest of values[lows[i]:highs[i]], of equal ones the last; −1 for none.

    lows, highs: ascending. queue: int64, as long as values, for work. found: int64, shape of lows.
    """
    head, tail, at = 0, 0, 0  # the queue: places whose values descend
    for i in range(lows.shape[0]):
        while at < highs[i]:
            while tail > head and values[queue[tail - 1]] <= values[at]:
                tail -= 1
            queue[tail] = at
            tail += 1
            at += 1
        while head < tail and queue[head] < lows[i]:
            head += 1
        found[i] = queue[head] if head < tail else -1


@kernel
def joined(
    begins: np.ndarray,
    ends: np.ndarray,
    documents: np.ndarray,
    other_begins: np.ndarray,
    other_ends: np.ndarray,
    other_documents: np.ndarray,
    most: int,
    found: np.ndarray,
) -> int:
    """The smallest spans that have one of each list inside them, in one document.

    In both lists begins and ends ascend. Spans are at most `most` long. found: int64, shape
    (3, k + m): receives begins, ends, documents. Returns how many.
    """
    i, j, number = 0, 0, 0
    last = np.int64(-1)
    while i < begins.shape[0] or j < other_begins.shape[0]:
        # The next end of either list, up to which i and j are behind the last one of each.
        if j == other_begins.shape[0] or (i < begins.shape[0] and ends[i] <= other_ends[j]):
            end = ends[i]
            if j < other_begins.shape[0] and other_ends[j] == end:
                j += 1
            i += 1
        else:
            end = other_ends[j]
            j += 1
        if i == 0 or j == 0:
            continue
        begin = min(begins[i - 1], other_begins[j - 1])
        if begin == last:  # the one before is inside it
            continue
        last = begin
        if end - begin <= most and documents[i - 1] == other_documents[j - 1]:
            found[0, number], found[1, number] = begin, end
            found[2, number] = documents[i - 1]
            number += 1
    return number


@kernel
def inside(
    begins: np.ndarray,
    ends: np.ndarray,
    windows_begin: np.ndarray,
    windows_end: np.ndarray,
    keep: np.ndarray,
) -> None:
    """Which spans, sorted by begin, lie inside a window; keep: bool, shape (k,).

    Begins and ends of windows ascend.
    """
    j = 0
    for i in range(begins.shape[0]):
        # The last window that begins no later also ends last of these.
        while j < windows_begin.shape[0] and windows_begin[j] <= begins[i]:
            j += 1
        keep[i] = j > 0 and ends[i] <= windows_end[j - 1]


@kernel
def counted(documents: np.ndarray, of: np.ndarray, which: np.ndarray, counts: np.ndarray) -> None:
    """Add up in counts, int64, shape (d,), how many of `of` are each of documents.

    Both int64, ascending, the second with repetitions. which: bool, shape of `of`: those that
    count, all of which are in documents.
    """
    j = 0
    for i in range(of.shape[0]):
        if which[i]:
            while j < documents.shape[0] and documents[j] < of[i]:
                j += 1
            if j == documents.shape[0]:  # (in a damaged index)
                break
            counts[j] += 1
