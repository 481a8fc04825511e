"""The parts of a text that an index has, and where tokens stand among a document's characters.

Knows token bytes as `blob` and `starts` (token t is blob[starts[t]:starts[t + 1]]); knows no text.
"""

import numpy as np

from everygram.kernels import inlined, kernel

ROUNDS = 6
# 2⁶⁴ over the golden ratio: keys of rounds are that far apart.
GOLDEN = 0x9E3779B97F4A7C15


@kernel
def maximal(
    lengths: np.ndarray,
    stops: np.ndarray,
    bounds: np.ndarray,
    least: int,
    starts: np.ndarray,
    ends: np.ndarray,
) -> int:
    """Set `starts` and `ends` to spans of a text that end further right than all before them.

    lengths: int64, shape (n,): of the longest match at each token. stops: bool, shape (n,): tokens
    that are the last of any span with them. bounds: bool, shape (n + 1,): where spans may begin and
    end. A span is the longest match at its start, cut behind the first stop, then back to the last
    bound; spans of fewer than `least` tokens are left out (least ≥ 1). Returns how many there are,
    at most n. O(n).
    """
    n = lengths.shape[0]
    # The end behind the first stop at or after each token; n if there is none.
    stop = np.empty(n + 1, np.int64)
    stop[n] = n
    for i in range(n - 1, -1, -1):
        stop[i] = i + 1 if stops[i] else stop[i + 1]
    # The last bound up to each place.
    bound = np.empty(n + 1, np.int64)
    last = np.int64(-1)
    for i in range(n + 1):
        if bounds[i]:
            last = i
        bound[i] = last
    count, reached = 0, np.int64(0)
    for i in range(n):
        if not bounds[i]:
            continue
        end = bound[min(i + lengths[i], stop[i])]
        if end - i >= least and end > reached:
            starts[count], ends[count] = i, end
            reached = end
            count += 1
    return count


@kernel
def sums(values: np.ndarray, starts: np.ndarray, ends: np.ndarray, found: np.ndarray) -> None:
    """Add values[starts[i]:ends[i]], one after another, to found[i]; float64."""
    for i in range(starts.shape[0]):
        for place in range(starts[i], ends[i]):
            found[i] += values[place]


@inlined
def mixed(value: np.uint64) -> np.uint64:
    """A 64-bit number of which every bit depends on every bit of the value (SplitMix64's last
    step, Steele et al. 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@kernel
def draw(
    counts: np.ndarray, firsts: np.ndarray, bounds: np.ndarray, seed: int, found: np.ndarray
) -> None:
    """Draw from the numbers below counts[i], one by one and none twice, by the seed.

    Sets found[bounds[i]:bounds[i + 1]] to the draws from number firsts[i] on; firsts and bounds:
    int64, ascending within `counts`. All numbers below counts[i] come in an order that a Feistel
    network of ROUNDS rounds makes of them; what is not below is passed on through it (Black &
    Rogaway 2002).
    """
    for i in range(counts.shape[0]):
        half = 1
        while np.int64(1) << 2 * half < counts[i]:
            half += 1
        mask = (np.uint64(1) << np.uint64(half)) - np.uint64(1)
        for place in range(bounds[i], bounds[i + 1]):
            number = np.uint64(firsts[i] + place - bounds[i])
            while True:
                left, right = number >> np.uint64(half), number & mask
                for round in range(ROUNDS):
                    key = mixed(np.uint64(seed) + np.uint64(round) * np.uint64(GOLDEN))
                    left, right = right, left ^ (mixed(key ^ right) & mask)
                number = left << np.uint64(half) | right
                if number < np.uint64(counts[i]):
                    break
            found[place] = np.int64(number)


@kernel
def placed(
    ids: np.ndarray,
    places: np.ndarray,
    blob: np.ndarray,
    starts: np.ndarray,
    characters: np.ndarray,
    whole: np.ndarray,
    found: np.ndarray,
) -> bool:
    """Where places between the tokens of a document are among its bytes and characters.

    places: int64, shape (k,), ascending, from 0 to the number of ids. characters: int32, shape
    (V,): how many characters begin in each token. whole: bool, shape (V,): whether a token is whole
    characters. Sets found (int64, shape (k, 3)) to the bytes before a place, the characters that
    begin before it, and whether it divides one. Returns False, and sets nothing of use, if the
    bytes before the last place are not UTF-8, or an id is not below V.
    """
    byte, character = np.int64(0), np.int64(0)
    # How many bytes a character that has begun still needs, and between which the next one is.
    needed, low, high = 0, 0x80, 0xBF
    at = 0
    for place in range(places.shape[0]):
        for i in range(at, places[place]):
            token = np.int64(ids[i])
            if token >= whole.shape[0]:
                return False
            byte += starts[token + 1] - starts[token]
            if needed == 0 and whole[token]:
                character += characters[token]
                continue
            for j in range(starts[token], starts[token + 1]):
                value = np.int64(blob[j])
                if needed:
                    if value < low or value > high:
                        return False
                    needed, low, high = needed - 1, 0x80, 0xBF
                    continue
                character += 1
                if value < 0x80:
                    continue
                if value < 0xC2 or value > 0xF4:
                    return False
                needed = 1 if value < 0xE0 else 2 if value < 0xF0 else 3
                # (Others are longer forms of shorter characters, surrogates, or no code points.)
                low = 0xA0 if value == 0xE0 else 0x90 if value == 0xF0 else 0x80
                high = 0x9F if value == 0xED else 0x8F if value == 0xF4 else 0xBF
        at = places[place]
        found[place, 0], found[place, 1], found[place, 2] = byte, character, np.int64(needed > 0)
    return True


@kernel
def spell(ids: np.ndarray, blob: np.ndarray, starts: np.ndarray, data: np.ndarray) -> None:
    """Write the bytes of ids, one after another, to data (uint8), which has room for them."""
    at = 0
    for i in range(ids.shape[0]):
        token = np.int64(ids[i])
        for j in range(starts[token], starts[token + 1]):
            data[at] = blob[j]
            at += 1
