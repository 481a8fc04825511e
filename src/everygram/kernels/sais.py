"""Suffix sorting by induction over integers (SA-IS: Nong, Zhang & Chan 2009/2011), step by step.

A suffix is S-type if it is below the suffix one position on, L-type if above; LMS suffixes are
the S-type ones with an L-type before them, at most every second. The steps, as `suffix_array.py`
runs them:

1. `lms_positions` finds the LMS suffixes and counts tokens.
2. `place`, `induce_l`, `induce_s`, `collect`: put them at the ends of their buckets in any order,
   and two passes over the array sort them by their LMS substrings (up to the next LMS position).
3. `name_substrings`: equal substrings are one group, named by the rank its first member has.
4. `text_order`, `choose`, `renumber`, `reduce`: where names repeat, the names in text order are a
   shorter text, which is sorted in turn. A name that occurs once is its suffix's rank already, so
   of a run of those only the first stays in that text, to end the comparison of what precedes it.
5. `lms_again`, `restore`: from the order of the shorter text to the LMS suffixes in order.
6. `place`, `induce_l`, `induce_s` again, now from sorted LMS suffixes: the suffix array.
   `append_empty_documents` ends it.

Everything is linear. The time goes into steps 2 and 6, where each entry costs a read of the text
and a write to its bucket, both at random; they are requested AHEAD entries before.

*Separators* order a suffix only up to the next one, ties by position: as if each were a token of
its own, above all others, later ones above earlier ones. Their bucket is then known from the start
(positions ascending) and is never sorted. `separator` is −1 in a text without them. At the end,
suffixes that start with a separator stand in the order of what follows, which the last `induce_l`
meets anyway. The end of the text is one more separator.

*Entries.* While inducing, 0 is an empty slot, a positive entry has yet to induce the suffix before
it in this pass, and a complement (~position) waits for the next pass.

Preconditions shared by all: `text` has n ≥ 1 entries in [0, number of buckets) or `separator`;
`sa`: int32 or int64, shape (n,); `ends` and `counts`: as `sa`, one entry a bucket.
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
    """LMS positions in text order to the end of `out`, tokens counted; returns how many."""
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
        # Written always, kept if LMS: no branch to mispredict.
        out[uint64(k - 1)] = i + 1
        k -= np.int64(after_is_s & (not is_s))
        after = token
        after_is_s = is_s
    return out.shape[0] - k


@kernel
def place(text: np.ndarray, positions: np.ndarray, ends: np.ndarray, sa: np.ndarray) -> None:
    """Put positions at the ends of their tokens' buckets, in their order; `ends` moves down.

    Precondition: `sa` is 0.
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

    `starts` moves up; `last` is where the separators' bucket starts. Of what it has passed,
    the first round keeps only the L-type suffixes with an S-type one before them; the `final`
    one keeps all, and puts the documents in the order it meets their first tokens into the
    separators' bucket. Returns how many documents that are not empty.
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
    """Put an S-type suffix at the end of its bucket, as done if an L-type one is before it."""
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

    `ends` moves down. The separators come first, from the end of the text. The first round
    leaves the complements of the sorted LMS positions and nothing else, the `final` one the
    suffix array.
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
            # push_s written out: as a call it makes this pass take twice as long.
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
    """The sorted LMS positions to the front, 0 everywhere else."""
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
    size of the group that starts at rank i, or 0 inside a group; and ~(group's first rank) is at
    sa[m + position // 2], two LMS positions never being neighbours. A substring that holds a
    separator (or the end) is a group of its own.
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
        # The last one's length was never written: it is 0, and equals none.
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
    """The names that `name_substrings` left, in text order, to the last m entries."""
    n = sa.shape[0]
    k = n
    for i in range(min(n - 1, m + (n >> 1)), m - 1, -1):
        name = np.int64(sa[uint64(i)])
        if name < 0:
            k -= 1
            sa[uint64(k)] = ~name


@kernel
def choose(sa: np.ndarray, chosen: np.ndarray) -> int:
    """Which names, in text order, go into the shorter text; returns how many.

    chosen: bool, shape (m,), set here. Left out is a name that occurs once and follows another
    such or nothing. The size 1 of a chosen group becomes −1.
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
    """Chosen groups take consecutive names, in order, at their first rank; returns how many."""
    names = 0
    for i in range(m):
        size = np.int64(sa[uint64(i)])
        if size > 1 or size == -1:
            sa[uint64(i)] = names
            names += 1
    return names


@kernel
def reduce(sa: np.ndarray, chosen: np.ndarray, num_chosen: int) -> np.ndarray:
    """The shorter text of new names to the last `num_chosen` entries; returns the others' ranks.

    Both in text order; the ranks, shape (m − num_chosen,), are those among all LMS suffixes.
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
    """LMS positions in text order to `out`, shape (m,)."""
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
    """LMS positions in sorted order to `out`, shape (m,).

    order: the shorter text's suffix array; ranks: of those left out of it; lms: all in text
    order, of which the chosen are moved to the front.
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
    """The separators that another or the end follows, by position, from `rank` on."""
    n = text.shape[0]
    for i in range(n):
        ends_here = i + 1 == n or np.int64(text[uint64(i + 1)]) == separator
        if ends_here and np.int64(text[uint64(i)]) == separator:
            sa[uint64(rank)] = i
            rank += 1
