"""The most frequent n-grams, from the suffixes in order: each n-gram is a run of ranks.

A run of n-grams ends where a suffix shares fewer than n tokens with the one before it. Documents
are divided into *sources*, each counted by itself: of one source, two suffixes share n tokens if no
suffix from the one to the other shares fewer with the one before it.
"""

import numpy as np

from everygram.kernels import inlined, kernel, position_at, prefetch, token_at

# Positions per sample of documents, as a power of two, and ranks whose text is requested ahead.
SAMPLED_SHIFT, AHEAD = 8, 24
# What is known of a source: the rank of its last suffix, the token before that, the last rank whose
# token before is another than that before, the last rank that begins a document, and its suffixes.
RANK, LEFT, OTHER, BEGINS, SUFFIXES, SOURCE_COLUMNS = 0, 1, 2, 3, 4, 5
# Of a run: its first rank, the source's suffixes before that (−1: it has no n tokens), how many of
# its suffixes are in a document of an earlier one (of which longer runs in it have theirs), and the
# last rank that shares n tokens, and no more, with the one before.
FIRST, BEFORE, REPEATS, EXACT, RUN_COLUMNS = 0, 1, 2, 3, 4
# Of a run that is kept: what it is compared by, its first rank, occurrences and documents.
KEY, KEPT_RANK, OCCURRENCES, DOCUMENTS, KEPT_COLUMNS = 0, 1, 2, 3, 4


@kernel
def neighbours(
    tokens: np.ndarray,
    separator: int,
    sa: np.ndarray,
    first: int,
    cap: int,
    offsets: np.ndarray,
    sampled: np.ndarray,
    shared: np.ndarray,
    lengths: np.ndarray,
    lefts: np.ndarray,
    documents: np.ndarray,
) -> bool:
    """What `collect` needs of the ranks first + i, for all entries of `shared`.

    shared: u8, how many tokens, up to `cap`, are those of the rank before. lengths: u8, how many,
    up to `cap`, there are before a separator. lefts: u32, the token before. documents: int64.
    offsets: int64, where documents begin; sampled: int64, the document of every 256th position.
    Returns whether all positions are in the stream.
    """
    n, number = tokens.shape[0], shared.shape[0]
    before = position_at(sa, first - 1) if first else np.int64(-1)
    for i in range(number):
        if i + AHEAD < number:
            prefetch(tokens, position_at(sa, first + i + AHEAD))
        p = position_at(sa, first + i)
        if p >= n or before >= n:
            return False
        lefts[i] = tokens[p - 1] if p else separator
        length = np.int64(0)
        while length < cap and token_at(tokens, p + length, separator) != separator:
            length += 1
        same = np.int64(0)
        if before >= 0:
            while same < length and token_at(tokens, before + same, separator) == np.int64(
                tokens[p + same]
            ):
                same += 1
        shared[i], lengths[i] = same, length
        document = sampled[p >> SAMPLED_SHIFT]
        while document + 1 < offsets.shape[0] and offsets[document + 1] <= p:
            document += 1
        documents[i] = document
        before = p
    return True


@inlined
def _worse(kept: np.ndarray, a: int, b: int) -> bool:
    """Whether entry a is to leave before entry b: its key is less, or as large and its rank later.

    (Later in the order of n-grams.)
    """
    if kept[a, KEY] != kept[b, KEY]:
        return kept[a, KEY] < kept[b, KEY]
    return kept[a, KEPT_RANK] > kept[b, KEPT_RANK]


@inlined
def _swap(kept: np.ndarray, a: int, b: int) -> None:
    for column in range(KEPT_COLUMNS):
        value = kept[a, column]
        kept[a, column] = kept[b, column]
        kept[b, column] = value


@kernel
def _keep(kept: np.ndarray, size: int, key: int, rank: int, count: int, documents: int) -> int:
    """Put a run into a heap whose worst entry is first, if there is room or it is better than that.

    Returns the heap's size.
    """
    if size == kept.shape[0]:
        # (Of equal keys those stay that were there first.)
        if key <= kept[0, KEY]:
            return size
        at = np.int64(0)
    else:
        at = np.int64(size)
        size += 1
    kept[at, KEY], kept[at, KEPT_RANK] = key, rank
    kept[at, OCCURRENCES], kept[at, DOCUMENTS] = count, documents
    while at > 0 and _worse(kept, at, (at - 1) >> 1):
        _swap(kept, at, (at - 1) >> 1)
        at = (at - 1) >> 1
    while True:
        least, child = at, 2 * at + 1
        if child < size and _worse(kept, child, least):
            least = child
        if child + 1 < size and _worse(kept, child + 1, least):
            least = child + 1
        if least == at:
            return size
        _swap(kept, at, least)
        at = least


@kernel
def end_runs(
    shared: int,
    shortest: int,
    source: np.ndarray,
    runs: np.ndarray,
    kept: np.ndarray,
    sizes: np.ndarray,
    by_documents: bool,
    maximal: bool,
    least: int,
) -> None:
    """End a source's runs of more than `shared` tokens, and keep those that are frequent enough.

    runs, kept, sizes: of the source, as in `collect`. maximal: only an n-gram that occurs twice,
    and not always with one token before or one behind it.
    """
    for place in range(runs.shape[0] - 1, max(shared + 1 - shortest, 0) - 1, -1):
        run = runs[place]
        repeats = run[REPEATS]
        if place:
            # (What is of a longer run is of the shorter one that it is in.)
            runs[place - 1, REPEATS] += repeats
        if run[BEFORE] < 0:
            continue
        count = source[SUFFIXES] - run[BEFORE]
        key = count - repeats if by_documents else count
        if key < least or (maximal and count < 2):
            continue
        left = source[OTHER] > run[FIRST] or source[BEGINS] >= run[FIRST]
        if maximal and not (left and run[EXACT] > run[FIRST]):
            continue
        sizes[place] = _keep(kept[place], sizes[place], key, run[FIRST], count, count - repeats)


@kernel
def collect(
    first: int,
    shortest: int,
    separator: int,
    shared: np.ndarray,
    lengths: np.ndarray,
    lefts: np.ndarray,
    documents: np.ndarray,
    source_of: np.ndarray,
    last_of: np.ndarray,
    bounds: np.ndarray,
    sources: np.ndarray,
    runs: np.ndarray,
    kept: np.ndarray,
    sizes: np.ndarray,
    by_documents: bool,
    maximal: bool,
    least: int,
) -> None:
    """Count the n-grams, of `shortest` tokens on, that begin at ranks first + i.

    shared, lengths, lefts, documents: of `neighbours`. All others are kept from call to call:
    source_of: int64, of each document. last_of: int64, the last rank in each document, −1 at first.
    bounds: int64, shape (longest + 2,), for each n the last rank that shares fewer tokens with the
    one before. sources: int64, shape (S, 5), and runs: int64, shape (S, N, 4), for each source and
    n, both of −1 (but SUFFIXES and REPEATS: 0). kept: int64, shape (S, N, top, 4), a heap for each,
    with `sizes` entries. The last runs end with `end_runs`. least: 1 or more.
    """
    longest = shortest + runs.shape[1] - 1
    several = sources.shape[0] > 1
    for i in range(shared.shape[0]):
        rank, document, same = first + i, documents[i], np.int64(shared[i])
        x = source_of[document]
        source, own = sources[x], runs[x]
        if several:
            for n in range(same + 1, longest + 2):
                bounds[n] = rank
            while same > 0 and bounds[same] > source[RANK]:
                same -= 1
        if same < longest:
            given = by_documents, maximal, least
            end_runs(same, shortest, source, own, kept[x], sizes[x], *given)
            for n in range(shortest, longest + 1):
                if n <= same:
                    continue
                run = own[n - shortest]
                run[FIRST], run[REPEATS], run[EXACT] = rank, 0, -1
                run[BEFORE] = source[SUFFIXES] if lengths[i] >= n else -1
        if shortest <= same <= longest:
            own[same - shortest, EXACT] = rank
        # The longest run in which the document has been.
        last, place = last_of[document], -1
        while place + 1 < own.shape[0] and own[place + 1, FIRST] <= last:
            place += 1
        if place >= 0:
            own[place, REPEATS] += 1
        left = np.int64(lefts[i])
        if left == separator:
            source[BEGINS] = rank
        if left != source[LEFT]:
            source[OTHER] = rank
        source[RANK], source[LEFT] = rank, left
        source[SUFFIXES] += 1
        last_of[document] = rank
