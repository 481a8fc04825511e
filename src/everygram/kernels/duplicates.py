"""Exact repeats of a sorted stream: which tokens stand in an n-gram that occurs twice.

Every position has a *gram*: the tokens from it on, up to the first with which they weigh `least`
(each weighs 1, or what `weights` has for it), or none if the document ends before. So positions
have the same gram or neither begins with the other, and the positions of one gram are next to each
other in the order of ranks: its *run*.
"""

import numpy as np

from everygram.kernels import inlined, kernel, position_at, prefetch, token_at

# Ranks for which the text is requested ahead of time.
AHEAD = 16
# What `same` has for a rank: another gram than the rank before; the same; the same, of a run that
# is not wanted.
OTHER, SAME, UNWANTED = 0, 1, 2
# What `flags` has for a position: a gram to report; one with which a range begins.
FLAGGED, FIRST = 1, 2


@inlined
def weight_of(weights: np.ndarray, token: int) -> int:
    """What a token weighs; without weights 1."""
    if weights.shape[0] == 0:
        return 1
    return np.int64(weights[token]) if token < weights.shape[0] else 0


@kernel
def compare(
    tokens: np.ndarray,
    sa: np.ndarray,
    separator: int,
    weights: np.ndarray,
    least: int,
    first: int,
    last: int,
    same: np.ndarray,
) -> bool:
    """Set same[first:last] to SAME where a rank has the gram of the rank before, else to OTHER.

    weights: int32, shape (V,), or empty. same: u8, shape (n,). Returns whether all positions are
    in the stream.
    """
    n = tokens.shape[0]
    before = position_at(sa, first - 1) if first else np.int64(-1)
    if before >= n:
        return False
    for i in range(first, last):
        if i + AHEAD < last:
            prefetch(tokens, position_at(sa, i + AHEAD))
        position = position_at(sa, i)
        if position >= n:
            return False
        same[i] = OTHER
        if before >= 0:
            length, total = np.int64(0), np.int64(0)
            while total < least:
                token = token_at(tokens, position + length, separator)
                other = token_at(tokens, before + length, separator)
                if token != other or token == separator:
                    break
                total += weight_of(weights, token)
                length += 1
            if total >= least:
                same[i] = SAME
        before = position
    return True


@kernel
def compare_documents(
    tokens: np.ndarray, sa: np.ndarray, separator: int, first: int, last: int, same: np.ndarray
) -> bool:
    """Set same[i] (u8) to whether the documents at ranks i and i − 1 of `sa` are identical.

    sa: the ranks of the documents' separators. Returns whether all positions are in the stream.
    """
    n = tokens.shape[0]
    for i in range(first, last):
        same[i] = OTHER
        position = position_at(sa, i)
        if position >= n:
            return False
        if i == 0:
            continue
        before = position_at(sa, i - 1)
        if before >= n:
            return False
        length = np.int64(1)
        while True:
            token = token_at(tokens, position + length, separator)
            if token != token_at(tokens, before + length, separator):
                break
            if token == separator:
                same[i] = SAME
                break
            length += 1
    return True


@inlined
def run_end(same: np.ndarray, rank: int) -> int:
    """The rank after the run that begins at `rank`."""
    end = rank + 1
    while end < same.shape[0] and same[end] != OTHER:
        end += 1
    return end


@kernel
def flag(
    sa: np.ndarray,
    same: np.ndarray,
    bounds: np.ndarray,
    across: bool,
    keep_first: bool,
    first: int,
    last: int,
    flags: np.ndarray,
) -> None:
    """Set flags (u8, shape (n,)) to FLAGGED at the positions of runs that begin in [first, last).

    bounds: int64: where each index of a union begins in the stream. across: runs within one index
    are unwanted. keep_first: the least position of a run is not flagged.
    """
    rank = first
    while rank < last and same[rank] != OTHER:
        rank += 1
    while rank < last:
        end = run_end(same, rank)
        if end > rank + 1:
            lowest = highest = position_at(sa, rank)
            for i in range(rank + 1, end):
                lowest = min(lowest, position_at(sa, i))
                highest = max(highest, position_at(sa, i))
            wanted = True
            if across:
                left = np.searchsorted(bounds, lowest, side="right")
                wanted = left != np.searchsorted(bounds, highest, side="right")
            if not wanted:
                for i in range(rank + 1, end):
                    same[i] = UNWANTED
            else:
                for i in range(rank, end):
                    flags[position_at(sa, i)] = FLAGGED
                if keep_first:
                    flags[lowest] = 0
        rank = end


@kernel
def find_ranges(
    tokens: np.ndarray,
    separator: int,
    weights: np.ndarray,
    least: int,
    bridge: int,
    flags: np.ndarray,
    first: int,
    last: int,
    out: np.ndarray,
) -> int:
    """Positions [start, end) of the ranges in tokens[first:last], which are whole documents.

    A range is what flagged grams cover, with up to `bridge` tokens between them. out: int64, shape
    (k, 2): set to the first k of them. Returns how many there are.
    """
    number = np.int64(0)
    start, end = np.int64(-1), np.int64(-1)  # of the range that may go on
    until, total = np.int64(first), np.int64(0)  # total: what tokens [p, until) weigh
    for p in range(first, last):
        if np.int64(tokens[p]) == separator:
            if start >= 0:
                if number < out.shape[0]:
                    out[number, 0], out[number, 1] = start, end
                number += 1
            start = end = np.int64(-1)
            until, total = np.int64(p + 1), np.int64(0)
            continue
        if until < p:
            until, total = np.int64(p), np.int64(0)
        if flags[p]:
            while total < least and until < last:
                total += weight_of(weights, np.int64(tokens[until]))
                until += 1
            if start >= 0 and p > end + bridge:
                if number < out.shape[0]:
                    out[number, 0], out[number, 1] = start, end
                number += 1
                start = np.int64(-1)
            if start < 0:
                start = np.int64(p)
            end = max(end, until)
        if until > p:
            total -= weight_of(weights, np.int64(tokens[p]))
    if start >= 0:
        if number < out.shape[0]:
            out[number, 0], out[number, 1] = start, end
        number += 1
    return number


@kernel
def identify(
    sa: np.ndarray,
    same: np.ndarray,
    flags: np.ndarray,
    starts: np.ndarray,
    first: int,
    last: int,
    groups: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Set the group (the first rank of the run) and the count of ranges whose grams are in runs
    that begin in [first, last).

    starts: int64, ascending: where ranges begin; `flags` is FIRST there.
    """
    rank = first
    while rank < last and same[rank] != OTHER:
        rank += 1
    while rank < last:
        end = run_end(same, rank)
        if end > rank + 1 and same[rank + 1] == SAME:
            for i in range(rank, end):
                position = position_at(sa, i)
                if flags[position] == FIRST:
                    place = np.searchsorted(starts, position)
                    groups[place], counts[place] = rank, end - rank
        rank = end


@inlined
def continued(left: int, byte: int) -> int:
    """How a character of UTF-8 goes on: its bytes that are left, after one more; −1: it does not.

    left: 0 between characters; else their number, plus 4 times a code for what the next may be:
    1: from A0 on, 2: up to 9F, 3: from 90 on, 4: up to 8F.
    """
    if left == 0:
        if byte < 0x80:
            return 0
        if byte < 0xC2 or byte > 0xF4:
            return -1
        if byte < 0xE0:
            return 1
        if byte < 0xF0:
            return 2 + 4 * (1 if byte == 0xE0 else 2 if byte == 0xED else 0)
        return 3 + 4 * (3 if byte == 0xF0 else 4 if byte == 0xF4 else 0)
    code = left >> 2
    least = 0xA0 if code == 1 else 0x90 if code == 3 else 0x80
    most = 0x9F if code == 2 else 0x8F if code == 4 else 0xBF
    return (left & 3) - 1 if least <= byte <= most else -1


@kernel
def place(
    tokens: np.ndarray,
    ranges: np.ndarray,
    begins: np.ndarray,
    blob: np.ndarray,
    starts: np.ndarray,
    characters: np.ndarray,
    whole: np.ndarray,
    dropped: np.ndarray,
    vanishes: np.ndarray,
    first: int,
    last: int,
    out: np.ndarray,
) -> bool:
    """Set out[i] (int64: start, end in characters; start, end in bytes) of ranges[first:last].

    begins: int64: where the documents of ranges begin, of each its first token. blob, starts,
    characters, whole, dropped, vanishes: of tokens, as `TokenBytes` has them. The end in characters
    is −1 where the text up to there is not UTF-8. Returns whether all tokens are known.
    """
    at, letters, octets, lost, left = (
        np.int64(-1),
        np.int64(0),
        np.int64(0),
        np.int64(0),
        np.int64(0),
    )
    for i in range(first, last):
        if i == first or begins[i] != begins[i - 1]:
            at = begins[i]
            letters, octets, lost, left = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
            for p in range(at, ranges[i, 1]):
                if tokens[p] >= whole.shape[0]:
                    return False
                lost += np.int64(dropped[tokens[p]])
                if not vanishes[tokens[p]]:
                    break
        for side in range(2):
            while at < ranges[i, side]:
                token = np.int64(tokens[at])
                if token >= whole.shape[0]:
                    return False
                if left > 0 or not whole[token]:
                    for byte in range(starts[token], starts[token + 1]):
                        if left >= 0:
                            left = np.int64(continued(left, np.int64(blob[byte])))
                letters += np.int64(characters[token])
                octets += starts[token + 1] - starts[token]
                at += 1
            # (Nothing but spaces is lost: each is a character and a byte.)
            out[i, side] = max(letters - lost, 0)
            out[i, 2 + side] = max(octets - lost, 0)
            if left > 0 and side == 0:
                out[i, side] -= 1  # the character that the range begins within
            if left < 0:
                out[i, side] = -1
    return True
