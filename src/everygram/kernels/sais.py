"""Suffix sorting by induction over integers (SA-IS: Nong, Zhang & Chan 2009/2011), step by step.

A suffix is S-type if it is below the suffix one position on, L-type if above; LMS suffixes are
the S-type ones directly after an L-type one: at most every second suffix. The steps, in the order
in which `building/induction.py` runs them:

1. `lms_positions` finds the LMS suffixes and counts tokens.
2. `place`, `induce_l`, `induce_s`, `collect`: put them at the ends of their buckets in any order,
   and two passes over the array sort them by their LMS substrings (up to the next LMS position).
3. `name_substrings`: equal substrings form a group, which is named by the rank of its first member.
4. `text_order`, `choose`, `renumber`, `reduce`: if names repeat, the names in text order form a
   shorter text, which is sorted recursively. A name that occurs once is already the rank of its
   suffix. In a run of such names only the first is kept in the shorter text: comparisons of the
   suffixes before it end there.
5. `lms_again`, `restore`: from the order of the shorter text to the LMS suffixes in order.
6. `place`, `induce_l`, `induce_s` again, now from sorted LMS suffixes: the suffix array.
   `append_empty_documents` completes it.

Everything is linear. Steps 2 and 6 take most of the time: each entry costs a read of the text and a
write to its bucket, both at random addresses. Both are prefetched AHEAD entries before.

*Separators.* Suffixes are compared only up to the next separator, ties by position. This is the
same as if each separator were a different token, above all others, later ones above earlier ones.
Their bucket is then known from the start (positions ascending) and is never sorted. `separator` is
−1 in a text without separators. In the result, suffixes that start with a separator are in the
order of the text after it, the order in which the last `induce_l` meets them. The end of the text
counts as one more separator.

*Entries.* While inducing, 0 is an empty slot; a positive entry has yet to induce the suffix before
it in this pass; a complement (~position) waits for the next pass.

Preconditions shared by all: `text` has n ≥ 1 entries in [0, number of buckets) or `separator`;
`sa`: int32 or int64, shape (n,); `ends` and `counts`: dtype of `sa`, one entry per bucket.
"""

import numpy as np
from numpy import uint64

from everygram.kernels import kernel, prefetch

# Entries between a prefetch and its use: enough to cover a cache miss, few enough to be in flight.
AHEAD = 32


@kernel
def largest_token(text: np.ndarray, separator: int) -> int:
    """The largest token that is not the separator; −1 if there is none."""
    largest = np.int64(-1)
    for i in range(text.shape[0]):
        token = np.int64(text[uint64(i)])
        if token > largest and token != separator:
            largest = token
    return largest


@kernel
def lms_positions(text: np.ndarray, separator: int, counts: np.ndarray, out: np.ndarray) -> int:
    """Write LMS positions to the end of `out`, in text order, and count tokens in `counts`.

    Returns the number of LMS positions.
    """
    n = text.shape[0]
    k = out.shape[0]
    after = np.int64(text[n - 1])
    after_is_s = True
    if after != separator:
        counts[uint64(after)] += 1
    for i in range(n - 2, -1, -1):
        token = np.int64(text[uint64(i)])
        if token == separator:
            is_s = after == separator
        else:
            counts[uint64(token)] += 1
            is_s = (token < after) | ((token == after) & after_is_s)
        # Always written, kept only if LMS: this avoids a branch that would be mispredicted.
        out[uint64(k - 1)] = i + 1
        k -= np.int64(after_is_s & (not is_s))
        after = token
        after_is_s = is_s
    return out.shape[0] - k


@kernel
def place(text: np.ndarray, positions: np.ndarray, ends: np.ndarray, sa: np.ndarray) -> None:
    """Put positions at the ends of their tokens' buckets, in the given order; `ends` moves down.

    Precondition: `sa` is all 0.
    """
    for i in range(positions.shape[0] - 1, -1, -1):
        if i >= 2 * AHEAD:
            prefetch(text, np.int64(positions[uint64(i - 2 * AHEAD)]))
            prefetch(sa, np.int64(ends[uint64(text[uint64(positions[uint64(i - AHEAD)])])]) - 1)
        position = positions[uint64(i)]
        bucket = uint64(text[uint64(position)])
        slot = ends[bucket] - 1
        ends[bucket] = slot
        sa[uint64(slot)] = position


@kernel
def induce_l(
    text: np.ndarray, sa: np.ndarray, starts: np.ndarray, separator: int, last: int, final: bool
) -> int:
    """Left to right: each suffix puts the L-type one before it at the start of its bucket.

    `starts` moves up; `last` is where the separators' bucket starts. Of the entries it has passed,
    the first round keeps only L-type suffixes with an S-type suffix before them. The `final` round
    keeps all. It also writes each document's separator into the separators' bucket, in the order
    in which it meets the documents' first tokens. Returns the number of non-empty documents.
    """
    documents = last
    for i in range(last):
        if i + 2 * AHEAD < last:
            ahead = np.int64(sa[uint64(i + 2 * AHEAD)])
            if ahead > 0:
                prefetch(text, ahead - 1)
            ahead = np.int64(sa[uint64(i + AHEAD)])
            if ahead > 0:
                bucket = uint64(text[uint64(ahead - 1)])
                if bucket < uint64(starts.shape[0]):
                    prefetch(sa, np.int64(starts[bucket]))
        position = np.int64(sa[uint64(i)])
        if final or position < 0:
            sa[uint64(i)] = ~position
        else:
            sa[uint64(i)] = 0
        if position > 0:
            before = position - 1
            token = np.int64(text[uint64(before)])
            if token != separator:
                slot = starts[uint64(token)]
                starts[uint64(token)] = slot + 1
                if before > 0 and np.int64(text[uint64(before - 1)]) < token:
                    sa[uint64(slot)] = ~before
                else:
                    sa[uint64(slot)] = before
            elif final:
                sa[uint64(documents)] = before
                documents += 1
    return documents - last


@kernel
def push_s(text: np.ndarray, sa: np.ndarray, ends: np.ndarray, position: int, final: bool) -> None:
    """Put an S-type suffix at the end of its bucket; as a complement if an L-type one precedes it.

    (In the `final` round, the first suffix of the text is a complement too.)
    """
    token = np.int64(text[uint64(position)])
    slot = ends[uint64(token)] - 1
    ends[uint64(token)] = slot
    done = final
    if position > 0:
        done = np.int64(text[uint64(position - 1)]) > token
    sa[uint64(slot)] = ~position if done else position


@kernel
def induce_s(
    text: np.ndarray, sa: np.ndarray, ends: np.ndarray, separator: int, last: int, final: bool
) -> None:
    """Right to left: each suffix puts the S-type one before it at the end of its bucket.

    `ends` moves down. The separators come first, from the end of the text. The first round leaves
    only the complements of the sorted LMS positions. The `final` round leaves the suffix array.
    """
    n = text.shape[0]
    if np.int64(text[n - 1]) != separator:
        push_s(text, sa, ends, n - 1, final)
    if separator >= 0:
        for i in range(n - 1, 0, -1):
            after, token = np.int64(text[uint64(i)]), np.int64(text[uint64(i - 1)])
            if after == separator and token != separator:
                push_s(text, sa, ends, i - 1, final)
    for i in range(last - 1, -1, -1):
        if i >= 2 * AHEAD:
            ahead = np.int64(sa[uint64(i - 2 * AHEAD)])
            if ahead > 0:
                prefetch(text, ahead - 1)
            ahead = np.int64(sa[uint64(i - AHEAD)])
            if ahead > 0:
                prefetch(sa, np.int64(ends[uint64(text[uint64(ahead - 1)])]) - 1)
        position = np.int64(sa[uint64(i)])
        if position > 0:
            if not final:
                sa[uint64(i)] = 0
            # push_s, written out: with a call, this pass takes twice as long.
            before = position - 1
            token = np.int64(text[uint64(before)])
            slot = ends[uint64(token)] - 1
            ends[uint64(token)] = slot
            done = final
            if before > 0:
                done = np.int64(text[uint64(before - 1)]) > token
            sa[uint64(slot)] = ~before if done else before
        elif final:
            sa[uint64(i)] = ~position


@kernel
def collect(sa: np.ndarray, last: int) -> None:
    """Move the sorted LMS positions to the front; everything else becomes 0."""
    m = 0
    for i in range(last):
        position = np.int64(sa[uint64(i)])
        sa[uint64(i)] = 0
        if position < 0:
            sa[uint64(m)] = ~position
            m += 1
    for i in range(last, sa.shape[0]):
        sa[uint64(i)] = 0


@kernel
def name_substrings(text: np.ndarray, separator: int, sa: np.ndarray, lms: np.ndarray) -> None:
    """Group equal LMS substrings.

    lms: shape (m,), LMS positions in text order; sa[:m] holds them sorted. Afterwards sa[i] is the
    size of the group that starts at rank i, or 0 inside a group. sa[m + position // 2] is
    ~(first rank of the position's group); this is unique because LMS positions are never adjacent.
    A substring that contains a separator (or the end of the text) is a group of its own.
    """
    m = lms.shape[0]
    for i in range(m - 1):
        sa[uint64(m + (lms[i] >> 1))] = lms[i + 1] - lms[i] + 1
    previous, previous_length = np.int64(0), np.int64(0)
    start = np.int64(0)
    for i in range(m):
        if i + AHEAD < m:
            ahead = np.int64(sa[uint64(i + AHEAD)])
            prefetch(sa, m + (ahead >> 1))
            prefetch(text, ahead)
        position = np.int64(sa[uint64(i)])
        length = np.int64(sa[uint64(m + (position >> 1))])
        # The length of the last substring was never written: it is 0, which equals no other length.
        same = length == previous_length and length > 0
        if same:
            for offset in range(length):
                token = np.int64(text[uint64(position + offset)])
                if token == separator or token != np.int64(text[uint64(previous + offset)]):
                    same = False
                    break
        sa[uint64(i)] = 0
        if not same:
            start = i
        sa[uint64(start)] += 1
        sa[uint64(m + (position >> 1))] = ~start
        previous, previous_length = position, length


@kernel
def text_order(sa: np.ndarray, m: int) -> None:
    """Move the names that `name_substrings` left to the last m entries, in text order."""
    n = sa.shape[0]
    k = n
    for i in range(min(n - 1, m + (n >> 1)), m - 1, -1):
        name = np.int64(sa[uint64(i)])
        if name < 0:
            k -= 1
            sa[uint64(k)] = ~name


@kernel
def choose(sa: np.ndarray, chosen: np.ndarray) -> int:
    """Choose the names that go into the shorter text, in text order; returns how many.

    chosen: bool, shape (m,), set here. A name is left out if it occurs once and either is the first
    name or follows another name that occurs once. If the group of a chosen name has size 1, that
    size becomes −1.
    """
    n, m = sa.shape[0], chosen.shape[0]
    before_is_unique = True
    k = 0
    for i in range(m):
        if i + AHEAD < m:
            prefetch(sa, np.int64(sa[uint64(n - m + i + AHEAD)]))
        name = uint64(sa[uint64(n - m + i)])
        unique = sa[name] == 1
        take = not (unique and before_is_unique)
        if take and unique:
            sa[name] = -1
        chosen[i] = take
        k += np.int64(take)
        before_is_unique = unique
    return k


@kernel
def renumber(sa: np.ndarray, m: int) -> int:
    """Give chosen groups consecutive new names, stored at their first rank; returns how many."""
    names = 0
    for i in range(m):
        size = np.int64(sa[uint64(i)])
        if size > 1 or size == -1:
            sa[uint64(i)] = names
            names += 1
    return names


@kernel
def reduce(sa: np.ndarray, chosen: np.ndarray, num_chosen: int) -> np.ndarray:
    """Write the shorter text (new names) to the last `num_chosen` entries.

    Returns the ranks, among all LMS suffixes, of those left out: shape (m − num_chosen,). Both are
    in text order.
    """
    n, m = sa.shape[0], chosen.shape[0]
    ranks = np.empty(m - num_chosen, sa.dtype)
    k, left_out = n, m - num_chosen
    for i in range(m - 1, -1, -1):
        if i >= AHEAD:
            prefetch(sa, np.int64(sa[uint64(n - m + i - AHEAD)]))
        name = sa[uint64(n - m + i)]
        if chosen[i]:
            k -= 1
            sa[uint64(k)] = sa[uint64(name)]
        else:
            left_out -= 1
            ranks[uint64(left_out)] = name
    return ranks


@kernel
def lms_again(text: np.ndarray, separator: int, out: np.ndarray) -> None:
    """Write LMS positions to `out`, shape (m,), in text order."""
    after = np.int64(text[text.shape[0] - 1])
    after_is_s = True
    k = out.shape[0]
    for i in range(text.shape[0] - 2, -1, -1):
        token = np.int64(text[uint64(i)])
        if token == separator:
            is_s = after == separator
        else:
            is_s = (token < after) | ((token == after) & after_is_s)
        if after_is_s and not is_s:
            k -= 1
            out[uint64(k)] = i + 1
        after = token
        after_is_s = is_s


@kernel
def restore(
    order: np.ndarray, chosen: np.ndarray, ranks: np.ndarray, lms: np.ndarray, out: np.ndarray
) -> None:
    """Write LMS positions to `out`, shape (m,), in sorted order.

    order: the suffix array of the shorter text. ranks: of the suffixes left out of that text. lms:
    all LMS positions in text order; the chosen ones are moved to the front.
    """
    m = out.shape[0]
    out[:] = -1
    k, left_out = 0, 0
    for i in range(m):
        position = lms[uint64(i)]
        if chosen[i]:
            lms[uint64(k)] = position
            k += 1
        else:
            out[uint64(ranks[uint64(left_out)])] = position
            left_out += 1
    k = 0
    for i in range(m):
        if k + AHEAD < order.shape[0]:
            prefetch(lms, np.int64(order[uint64(k + AHEAD)]))
        if out[uint64(i)] < 0:
            out[uint64(i)] = lms[uint64(order[uint64(k)])]
            k += 1


@kernel
def append_empty_documents(text: np.ndarray, separator: int, sa: np.ndarray, rank: int) -> None:
    """Write the separators of empty documents to `sa` from `rank` on, by position."""
    n = text.shape[0]
    for i in range(n):
        ends_here = i + 1 == n or np.int64(text[uint64(i + 1)]) == separator
        if ends_here and np.int64(text[uint64(i)]) == separator:
            sa[uint64(rank)] = i
            rank += 1
