"""The tokens that follow a prompt: their distribution, and whether there is only one.

Inside a prompt's interval, suffixes are sorted by the next token. `next_tokens` counts next tokens,
`ntd` also finds the interval, `one_follows` reads only its two ends. Arguments are those of
`search`.
"""

import numpy as np

from everygram.kernels import (
    INTERPRETED,
    array_at,
    borrowed,
    called,
    ids_of,
    kernel,
    will_need,
    words,
)
from everygram.kernels.psi import read_after
from everygram.kernels.reads import foreign_position, position_in, token_after
from everygram.kernels.rows import (
    BY_BYTES,
    END,
    FENCES,
    FIELDS,
    FOREIGN,
    KEY_BITS,
    LO,
    NUM_FENCES,
    PLACE,
    POSITIONS,
    SELF,
    SEPARATOR,
    SPACING,
    START,
    TOKENS,
    VOCAB_SIZE,
    WIDTH,
    WORDS_A_PAGE,
    N,
    ask_for,
    check,
    token_of,
)
from everygram.kernels.search import find_group

# Next tokens that are read together, and the number of fences skipped at once if their keys agree.
READS = 64
SKIP = 8
# For prompts with at most this many occurrences, the next token is read at every occurrence.
FEW_OCCURRENCES, AND_THE_END = 64, 65


@called
def read_tokens(
    row: np.ndarray,
    tokens: np.ndarray,
    sa: np.ndarray,
    offset: int,
    points: np.ndarray,
    count: int,
    cold: bool,
) -> None:
    """If points[i, 1] is −1, set it to the token `offset` after the suffix of rank points[i, 0]."""
    if row[SELF]:
        read_after(row, points, count, offset, cold)
        return
    width, separator = row[WIDTH], row[SEPARATOR]
    for begin in range(0, count, READS):
        end = min(count, begin + READS)
        for i in range(begin, end):
            if points[i, 1] < 0:
                ask_for(sa, points[i, 0] * width, cold)
        for i in range(begin, end):
            if points[i, 1] < 0:
                ask_for(tokens, position_in(row, sa, points[i, 0]) + offset, cold)
        for i in range(begin, end):
            if points[i, 1] < 0:
                place = position_in(row, sa, points[i, 0]) + offset
                points[i, 1] = separator
                if place < tokens.shape[0]:
                    points[i, 1] = np.int64(tokens[place])


@called
def grown(points: np.ndarray, count: int) -> np.ndarray:
    """The points, with room for two more."""
    if count + 2 <= points.shape[0]:
        return points
    larger = np.empty((2 * points.shape[0] + 2, 2), np.int64)
    for i in range(count):  # (copying slices would take three seconds to compile)
        larger[i, 0], larger[i, 1] = points[i, 0], points[i, 1]
    return larger


@called
def by_id(ids: np.ndarray, counts: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of so many bits, which are in the order of their bytes, and counts, by ids.

    They are sorted by their lowest byte already: a stable sort by each other byte is left.
    """
    k = ids.shape[0]
    places = words(1, 256)[0]
    for shift in range(8, bits, 8):
        for byte in range(256):
            places[byte] = 0
        for i in range(k):
            places[ids[i] >> shift & 255] += 1
        place = np.int64(0)
        for byte in range(256):
            place, places[byte] = place + places[byte], place
        sorted_ids, sorted_counts = np.empty(k, np.int64), np.empty(k, np.int64)
        for i in range(k):
            byte = ids[i] >> shift & 255
            sorted_ids[places[byte]], sorted_counts[places[byte]] = ids[i], counts[i]
            places[byte] += 1
        ids, counts = sorted_ids, sorted_counts
    return ids, counts


@kernel
def next_tokens(
    row: np.ndarray, prompt: np.ndarray, start: int, lo: int, hi: int, stride: int, cold: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The distinct next tokens, ascending, and the count of each: int64, shape (k,) twice.

    Preconditions: [lo, hi) is the interval of prompt[start:] and is not empty. prompt[start:] is
    not empty, and does not end in a separator unless it is the separator alone.

    Inside the interval, suffixes are sorted by the next token. At first it is known at some ranks:
    those of the fences, if their keys reach that far. Between two known ranks with different tokens
    the middle rank is read, all middles together, until such ranks are neighbours: O(k log(n / k))
    reads. With a `stride`, only every stride-th rank is read, and the error of a count is less than
    `stride`.
    """
    n, width, separator = row[N], row[WIDTH], row[SEPARATOR]
    tokens = array_at(row[TOKENS], n, prompt.dtype)
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    fences = array_at(row[FENCES], row[NUM_FENCES], np.uint64)
    spacing, bits = row[SPACING], row[KEY_BITS]
    offset = prompt.shape[0] - start
    points = np.empty((READS, 2), np.int64)
    points[0, 0], points[0, 1] = lo, -1
    count = np.int64(1)
    unknown = stride == 0
    # (The fences of a self-index are no keys.)
    if stride == 0 and not row[SELF] and (offset + 1) * bits <= 64 and hi - lo > 2 * spacing:
        shift = np.uint64(64 - (offset + 1) * bits)
        top = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
        fence, last = lo // spacing + 1, (hi - 1) // spacing
        if cold:
            for ahead in range(fence, last + 1, WORDS_A_PAGE // 2):
                will_need(fences, ahead)
        while fence <= last:
            # The first and the last of the fences with the same token.
            begins = fences[fence] >> shift
            token = np.int64(begins & top)
            if token == np.int64(top):
                token = separator
            else:
                token = token_of(token, bits if row[BY_BYTES] else 0)
            points = grown(points, count)
            points[count, 0], points[count, 1] = fence * spacing, token
            count += 1
            while fence + SKIP <= last and fences[fence + SKIP] >> shift == begins:
                fence += SKIP
            while fence + 1 <= last and fences[fence + 1] >> shift == begins:
                fence += 1
            if points[count - 1, 0] < fence * spacing:
                points[count, 0], points[count, 1] = fence * spacing, token
                count += 1
            fence += 1
    else:
        step = stride if stride else (hi - lo + READS // 2 - 1) // (READS // 2)
        unknown = stride == 0 and step > 1
        for rank in range(lo + step, hi, step):
            points = grown(points, count)
            points[count, 0], points[count, 1] = rank, -1
            count += 1
    if points[count - 1, 0] < hi - 1:
        points = grown(points, count)
        points[count, 0], points[count, 1] = hi - 1, -1
        count += 1
    read_tokens(row, tokens, sa, offset, points, count, cold)
    while unknown:
        unknown = False
        more = np.empty((2 * count, 2), np.int64)
        kept = 0
        for i in range(count):
            rank, token = points[i, 0], points[i, 1]
            inside = i > 0 and i + 1 < count
            if inside and points[i - 1, 1] == token and points[i + 1, 1] == token:
                continue
            more[kept, 0], more[kept, 1] = rank, token
            kept += 1
            if i + 1 < count and points[i + 1, 1] != token and points[i + 1, 0] > rank + 1:
                more[kept, 0], more[kept, 1] = (rank + points[i + 1, 0]) >> 1, -1
                kept += 1
                unknown = True
        points, count = more, kept
        read_tokens(row, tokens, sa, offset, points, count, cold)
    ids = np.empty(count, np.int64)
    counts = np.empty(count, np.int64)
    k = 0
    first = lo
    for i in range(count):
        if i + 1 == count or points[i + 1, 1] != points[i, 1]:
            end = hi if i + 1 == count else points[i + 1, 0]
            ids[k], counts[k] = points[i, 1], end - first
            first = end
            k += 1
    return by_id(ids[:k], counts[:k], row[BY_BYTES])


def _next_tokens(
    row: np.ndarray, prompt: np.ndarray, start: int, lo: int, hi: int, stride: int, cold: bool
) -> tuple[np.ndarray, np.ndarray]:
    """`next_tokens` with numpy, one round at a time: loops would take seconds when interpreted."""
    n, width = int(row[N]), int(row[WIDTH])
    tokens = array_at(row[TOKENS], n, prompt.dtype)
    sa = array_at(row[POSITIONS], n * width, np.uint8)
    entries = sa.reshape(n, width)
    offset = prompt.shape[0] - start

    def read(ranks: np.ndarray) -> np.ndarray:
        if row[SELF]:
            points = np.column_stack([ranks, np.full_like(ranks, -1)])
            read_after(row, points, ranks.shape[0], offset, cold)
            return points[:, 1]
        if row[FOREIGN]:
            places = np.array([foreign_position(row, sa, int(rank)) for rank in ranks]) + offset
        else:
            places = entries[ranks].astype(np.int64) @ 256 ** np.arange(width) + offset
        found = np.full(ranks.shape, row[SEPARATOR])
        inside = places < n
        found[inside] = tokens[places[inside]]
        return found

    step = stride or max(1, (hi - lo) // READS)
    ranks = np.unique(np.append(np.arange(lo, hi, step), hi - 1))
    after = read(ranks)
    while not stride:
        changes = after[1:] != after[:-1]
        unknown = changes & (ranks[1:] > ranks[:-1] + 1)
        if not unknown.any():
            break
        # Ranks between two equal tokens have that token too.
        edges = np.append(True, changes) | np.append(changes, True)
        middles = (ranks[:-1][unknown] + ranks[1:][unknown]) >> 1
        ranks, after = ranks[edges], after[edges]
        places = np.searchsorted(ranks, middles)
        after = np.insert(after, places, read(middles))
        ranks = np.insert(ranks, places, middles)
    firsts = np.flatnonzero(np.append(True, after[1:] != after[:-1]))
    return by_id(after[firsts], np.diff(ranks[firsts], append=hi), int(row[BY_BYTES]))


if INTERPRETED:
    next_tokens = _next_tokens


@kernel
def tabled(ids: np.ndarray, counts: np.ndarray, prompt_count: int) -> np.ndarray:
    """Ids, counts, and the bits of counts / prompt_count (float64): int64, shape (3, k).

    Making one array takes half the time of making two, and a division in numpy takes as long as a
    search.
    """
    table = np.empty((3, ids.shape[0]), np.int64)
    probs = table.view(np.float64)
    for i in range(ids.shape[0]):
        table[0, i], table[1, i] = ids[i], counts[i]
        probs[2, i] = counts[i] / prompt_count
    return table


@called
def tokens_after(
    row: np.ndarray, prompt: np.ndarray, length: int, lo: int, hi: int, cold: bool
) -> np.ndarray:
    """As `next_tokens` and `tabled`, for an interval of up to FEW_OCCURRENCES ranks."""
    # Each distinct token, and the first rank that has it.
    points = words(AND_THE_END, 2)
    for rank in range(lo, hi):
        points[rank - lo, 0], points[rank - lo, 1] = rank, -1
    tokens = array_at(row[TOKENS], row[N], prompt.dtype)
    sa = array_at(row[POSITIONS], row[N] * row[WIDTH], np.uint8)
    read_tokens(row, tokens, sa, length, points, hi - lo, cold)
    memory = words(2, AND_THE_END)
    found, begins = memory[0], memory[1]
    k, last = 0, np.int64(-1)
    for rank in range(lo, hi):
        token = points[rank - lo, 1]
        if token != last:
            found[k], begins[k] = token, rank
            last = token
            k += 1
    begins[k] = hi
    for i in range(k):
        begins[i] = begins[i + 1] - begins[i]
    ids, counts = by_id(found[:k], begins[:k], row[BY_BYTES])
    return tabled(ids, counts, hi - lo)


@kernel
def ntd(
    segments: np.ndarray, packed: bytes, separator: int, start: int, max_support: int, cold: bool
) -> tuple[int, np.ndarray, int]:
    """A whole distribution in one call, for an index of one segment.

    The prompt is the query from `start` on. Returns the prompt's count (−1 for an unknown id), the
    table of next tokens (see `tabled`), and the largest error of a count. For an empty prompt the
    table is empty: its next tokens are the unigrams.
    """
    rows, query = borrowed(segments), ids_of(packed, separator)
    nothing = np.empty((3, 0), np.int64)
    row = rows[0]
    end = query.shape[0]
    fits = check(query, start, end, row[VOCAB_SIZE], row[SEPARATOR])
    # After a document's end nothing follows.
    if fits < 1 or (end - start > 1 and np.int64(query[end - 1]) == row[SEPARATOR]):
        return min(fits, 0), nothing, 0
    lanes = words(2, FIELDS)
    lanes[0, START], lanes[0, END], lanes[0, PLACE] = start, end, 0
    find_group(row, query, lanes, cold)
    lo, hi = lanes[0, LO], lanes[1, LO]
    if start == end or lo == hi:
        return hi - lo, nothing, 0
    if hi - lo <= min(FEW_OCCURRENCES, max_support):
        return hi - lo, tokens_after(row, query, end - start, lo, hi, cold), 0
    stride = np.int64(0)
    if hi - lo > max_support:
        stride = (hi - lo + max_support - 1) // max_support
    ids, counts = next_tokens(row, query, start, lo, hi, stride, cold)
    return hi - lo, tabled(ids, counts, hi - lo), max(0, stride - 1)


@kernel
def one_follows(
    segments: np.ndarray,
    ids: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    intervals: np.ndarray,
    cold: bool,
    sparse: np.ndarray,
) -> None:
    """Set sparse[i] to whether only one distinct token ever follows prompt i.

    intervals: int64, shape (k, s, 2), as `find_many` gives. Inside an interval, suffixes are sorted
    by the next token, so comparing those of the first and the last suffix is enough.
    """
    only = np.empty(READS, np.int64)
    for begin in range(0, starts.shape[0], READS):
        count = min(READS, starts.shape[0] - begin)
        only[:count] = -1
        for s in range(segments.shape[0]):
            row = segments[s]
            n, width = row[N], row[WIDTH]
            tokens = array_at(row[TOKENS], n, ids.dtype)
            sa = array_at(row[POSITIONS], n * width, np.uint8)
            if not row[SELF]:
                for i in range(begin, begin + count):
                    if intervals[i, s, 0] < intervals[i, s, 1]:
                        ask_for(sa, intervals[i, s, 0] * width, cold)
                        ask_for(sa, intervals[i, s, 1] * width - 1, cold)
                for i in range(begin, begin + count):
                    if intervals[i, s, 0] < intervals[i, s, 1]:
                        for rank in (intervals[i, s, 0], intervals[i, s, 1] - 1):
                            place = position_in(row, sa, rank) + ends[i] - starts[i]
                            ask_for(tokens, place, cold)
            for i in range(begin, begin + count):
                if intervals[i, s, 0] < intervals[i, s, 1]:
                    for rank in (intervals[i, s, 0], intervals[i, s, 1] - 1):
                        token = token_after(row, tokens, sa, rank, ends[i] - starts[i])
                        if only[i - begin] == -1:
                            only[i - begin] = token
                        elif only[i - begin] != token:
                            only[i - begin] = -2
        for i in range(count):
            sparse[begin + i] = only[i] >= 0
