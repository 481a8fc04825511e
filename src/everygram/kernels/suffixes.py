"""The longest suffix of a prompt that occurs, and ∞-gram probabilities."""

import numpy as np

from everygram.kernels import borrowed, called, ids_of, inlined, kernel, words
from everygram.kernels.backward import find_left, infgram_left
from everygram.kernels.lanes import LANES
from everygram.kernels.rows import (
    BEST,
    END,
    FIELDS,
    LO,
    NUM_UNIGRAMS,
    PLACE,
    SELF,
    SEPARATOR,
    SIGN,
    START,
    VOCAB_SIZE,
    check,
    unigram_interval,
)
from everygram.kernels.search import find_group, match_group

# Suffix lengths of one prompt that are tried at a time. From the length ONE_BY_ONE on, lengths are
# skipped between trials.
TRIALS, ONE_BY_ONE = 4, 8
# Lanes for the trials of one prompt.
TRIAL_LANES = 2 * TRIALS


@inlined
def beginning(row: np.ndarray, ids: np.ndarray, start: int, end: int) -> int:
    """Where the longest suffix of ids[start:end] can begin: at its last separator; −1 for an
    unknown id."""
    greatest, begin = np.int64(0), start
    for i in range(start, end):
        greatest = max(greatest, np.int64(ids[np.uint64(i)]))
    if greatest >= row[VOCAB_SIZE]:  # only then check ids one by one, which takes longer
        for i in range(start, end):
            token = np.int64(ids[np.uint64(i)])
            if token == row[SEPARATOR]:
                begin = i
            elif token >= row[VOCAB_SIZE]:
                return np.int64(-1)
    return begin


@called
def suffix_group(
    segments: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    limits: np.ndarray,
    cold: bool,
    lanes: np.ndarray,
    notes: np.ndarray,
    lengths: np.ndarray,
) -> int:
    """`longest_suffixes` for a group of k prompts, which fits in the scratch memory given.

    limits[i] is ends[i] or ends[i] + 1. If it is ends[i] + 1, the token after the prompt is
    searched too, and with one segment notes[3, i] becomes whether it ever follows prompt i's
    suffix.

    lanes: int64, shape (2 k TRIALS, FIELDS); notes: int64, shape (4, k TRIALS). Returns the first
    prompt with an unknown id, or −1.
    """
    count = starts.shape[0]
    begins, absent, prompts, followed = notes[0], notes[1], notes[2], notes[3]
    for p in range(count):
        begins[p], lengths[p], followed[p] = starts[p], 0, 1
    for s in range(segments.shape[0]):
        row = segments[s]
        for p in range(count):
            if s == 0:
                begins[p] = beginning(row, ids, starts[p], ends[p])
                if begins[p] < 0:
                    return p
            absent[p] = ends[p] - begins[p] + 1
        if row[SELF]:
            # (There the tokens are walked to the left, with the interval of each suffix.)
            for p in range(count):
                lanes[2 * p, START], lanes[2 * p, END] = begins[p], ends[p]
            find_left(row, ids, lanes[: 2 * count], np.int64(1), cold)
            for p in range(count):
                lengths[p] = max(lengths[p], lanes[2 * p, BEST])
            continue
        while True:
            trials = 0
            for p in range(count):
                end = ends[p]
                known, longest = lengths[p], end - begins[p]
                gap = absent[p] - known
                if known == 0 and gap == 2 and row[NUM_UNIGRAMS]:
                    # For a single token the unigrams have the answer.
                    token = np.int64(ids[end - 1])
                    lo, hi = unigram_interval(row, token, cold)
                    lengths[p] = 1 if lo < hi else 0
                    absent[p] = lengths[p] + 1
                    continue
                last = known
                # (The last token alone nearly always occurs: it is looked up only if the last two
                # do not.)
                first = 2 if known == 0 and gap > 2 else 1
                for trial in range(first, first + TRIALS):
                    if absent[p] > longest:
                        step = known >> 1 if known >= ONE_BY_ONE else 1
                        length = min(known + trial * step, longest)
                    else:
                        length = known + gap * trial // (TRIALS + 1)
                    if length > last:
                        last = length
                        lanes[2 * trials, START], lanes[2 * trials, END] = end - length, limits[p]
                        prompts[trials] = p
                        trials += 1
            if trials == 0:
                break
            match_group(row, ids, lanes[: 2 * trials], cold)
            for trial in range(trials):
                p = prompts[trial]
                length = ends[p] - lanes[2 * trial, START]
                if lanes[2 * trial, BEST] < length:
                    absent[p] = min(absent[p], length)
                elif length > lengths[p]:
                    lengths[p], followed[p] = length, lanes[2 * trial, BEST] - length
    return -1


@kernel
def longest_suffixes(
    segments: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    cold: bool,
    lengths: np.ndarray,
) -> int:
    """Set lengths[i] (int64) to the length of prompt i's longest suffix that occurs.

    No match crosses a separator, so tokens before a prompt's last separator are ignored. If a
    suffix occurs, so does every shorter one. So longer and longer suffixes are tried, TRIALS at a
    time, until one does not occur; then the gap between the longest that occurs and the shortest
    that does not is divided. Returns the first prompt with an unknown id, or −1.
    """
    k = starts.shape[0]
    group = max(1, min(k, LANES // 2 // TRIALS))
    lanes = np.empty((2 * group * TRIALS, FIELDS), np.int64)
    notes = np.empty((4, group * TRIALS), np.int64)
    for begin in range(0, k, group):
        end = min(k, begin + group)
        part = slice(begin, end)
        unknown = suffix_group(
            segments, ids, starts[part], ends[part], ends[part], cold, lanes, notes, lengths[part]
        )
        if unknown >= 0:
            return begin + unknown
    return -1


@kernel
def longest_ends(
    segments: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    cold: bool,
    lengths: np.ndarray,
) -> None:
    """Set lengths[i] (int64) to the length of the longest suffix of query i that occurs.

    Of self-indexes alone, which find it in one walk to the left. Preconditions: all ids are known;
    separators are only the first or last token of a query.
    """
    k = starts.shape[0]
    group = max(1, min(k, LANES // 2))
    lanes = np.empty((2 * group, FIELDS), np.int64)
    for begin in range(0, k, group):
        count = min(group, k - begin)
        for i in range(count):
            lengths[begin + i] = 0
        for s in range(segments.shape[0]):
            for i in range(count):
                lanes[2 * i, START], lanes[2 * i, END] = starts[begin + i], ends[begin + i]
            find_left(segments[s], ids, lanes[: 2 * count], np.int64(1), cold)
            for i in range(count):
                lengths[begin + i] = max(lengths[begin + i], lanes[2 * i, BEST])


@called
def suffix_of(rows: np.ndarray, query: np.ndarray, end: int, cold: bool) -> tuple[int, int]:
    """Length of the longest suffix of query[:end] that occurs, or −1 for an unknown id.

    `end` is the length of the query or one less. If one less, the second result is 0 if the query's
    last token never follows the suffix, and 1 if it does or if this is not known.
    """
    lanes = words(TRIAL_LANES, FIELDS)
    notes = words(4, TRIALS)
    one = words(4, 1)
    one[0, 0], one[1, 0], one[2, 0] = 0, end, query.shape[0]
    unknown = suffix_group(rows, query, one[0], one[1], one[2], cold, lanes, notes, one[3])
    if unknown >= 0:
        return -1, 0
    return one[3, 0], notes[3, 0] if one[3, 0] and rows.shape[0] == 1 else 1


@kernel
def longest_suffix(segments: np.ndarray, packed: bytes, separator: int, cold: bool) -> int:
    """Length of the longest suffix of one prompt that occurs, or −1 for an unknown id."""
    prompt = ids_of(packed, separator)
    return suffix_of(borrowed(segments), prompt, prompt.shape[0], cold)[0]


@kernel
def infgram_prob(
    segments: np.ndarray, packed: bytes, separator: int, cold: bool
) -> tuple[int, int, int]:
    """As `prob` for the longest suffix of the prompt that occurs; its length comes third.

    −1 for counts that no sound index gives, as for an unknown id.
    """
    rows, query = borrowed(segments), ids_of(packed, separator)
    end = query.shape[0] - 1
    if rows.shape[0] and check(query, end, end + 1, rows[0, VOCAB_SIZE], rows[0, SEPARATOR]) < 0:
        return -1, -1, -1
    lanes = words(4, FIELDS)
    if rows.shape[0] == 1 and rows[0, SELF]:
        begin = beginning(rows[0], query, 0, end)
        if begin < 0:
            return -1, -1, -1
        length = infgram_left(rows[0], query[begin:], end - begin, lanes, cold)
        prompts, total = lanes[1, LO] - lanes[0, LO], lanes[3, LO] - lanes[2, LO]
        if total < 0 or prompts < total or (length and prompts < 1):
            return -1, -1, -1
        return prompts, total, length
    length, followed = suffix_of(rows, query, end, cold)
    if length < 0:
        return -1, -1, -1
    prompts, total = np.int64(0), np.int64(0)
    for s in range(rows.shape[0]):
        row = rows[s]
        lanes[0, START], lanes[0, END] = end - length, end
        lanes[2, START], lanes[2, END] = end - length, end + 1
        lanes[0, PLACE] = lanes[2, PLACE] = 0
        find_group(row, query, lanes[: 2 + 2 * followed], cold)
        prompts += row[SIGN] * (lanes[1, LO] - lanes[0, LO])
        if followed:
            total += row[SIGN] * (lanes[3, LO] - lanes[2, LO])
    if total < 0 or prompts < total or (length and prompts < 1):
        return -1, -1, -1
    return prompts, total, length
