"""The parts of a text that an index has, and where tokens stand among a document's characters.

Knows token bytes as `blob` and `starts` (token t is blob[starts[t]:starts[t + 1]]); knows no text.
"""

import numpy as np

from everygram.kernels import inlined, kernel

# Of `draw`; and the lower 32 bits.
ROUNDS, LOW = 6, 0xFFFFFFFF


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
    """A number of 32 bits of which every bit depends on every bit of the value, also of 32 (by
    xor, shift and multiplication, as MurmurHash3 does it; no product has more than 64 bits)."""
    value = (value ^ (value >> np.uint64(16))) * np.uint64(0x7FEB352D) & np.uint64(LOW)
    value = (value ^ (value >> np.uint64(15))) * np.uint64(0x846CA68B) & np.uint64(LOW)
    return value ^ (value >> np.uint64(16))


@kernel
def draw(
    counts: np.ndarray, firsts: np.ndarray, bounds: np.ndarray, seed: np.uint64, found: np.ndarray
) -> None:
    """Draw from the numbers below counts[i], one by one and none twice, by the seed.

    counts, firsts: int64, shape (k,); bounds: int64, shape (k + 1,). Sets
    found[bounds[i]:bounds[i + 1]] to the draws from number firsts[i] on, of at most counts[i].
    A Feistel network of ROUNDS rounds orders the numbers up to a power of 4;
    those that are not below counts[i] are passed through it again (Black & Rogaway 2002).
    """
    keys = np.empty(ROUNDS, np.uint64)
    for turn in range(ROUNDS):
        keys[turn] = mixed(seed & np.uint64(LOW) ^ np.uint64(turn))
        keys[turn] = mixed(keys[turn] ^ seed >> np.uint64(32))
    for i in range(counts.shape[0]):
        half = 1
        while np.int64(1) << 2 * half < counts[i]:
            half += 1
        mask = np.uint64((1 << half) - 1)
        for place in range(bounds[i], bounds[i + 1]):
            number = np.uint64(firsts[i] + place - bounds[i])
            again = True
            while again:
                left, right = number >> np.uint64(half), number & mask
                for turn in range(ROUNDS):
                    left, right = right, left ^ mixed(keys[turn] ^ right) & mask
                number = left << np.uint64(half) | right
                again = number >= np.uint64(counts[i])
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
