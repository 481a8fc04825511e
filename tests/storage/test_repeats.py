"""`document_counts.bin`: the repeats of its definition, whatever sorts, divides or interprets."""

import itertools
import random
import tracemalloc
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from campaign import CAMPAIGN
from everygram.building.suffix_array import suffix_array
from everygram.errors import DamagedIndexError
from everygram.storage import disk, document_counts, lcps
from everygram.storage import format as fmt
from naive import NaiveIndex, suffix_order

SEPARATOR = 255


def stream_of(documents, dtype=np.uint8):
    separator = int(np.iinfo(dtype).max)
    return np.array([t for document in documents for t in (separator, *document)], dtype)


def naive_repeats(documents):
    """The repeats that belong to each rank, word for word as the format says."""
    stream = [t for document in documents for t in (SEPARATOR, *document)]
    order = suffix_order(stream, SEPARATOR)

    def tokens(position):
        suffix = [*stream[position:], SEPARATOR]
        return suffix[: suffix.index(SEPARATOR, 1) + 1]

    def lcp(rank):
        if rank == 0:
            return 0
        pairs = zip(tokens(order[rank - 1]), tokens(order[rank]), strict=False)
        return len(list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)))

    lcps = [lcp(rank) for rank in range(len(order))]
    repeats, last = [0] * len(order), {}
    for rank, position in enumerate(order):
        document = stream[: position + 1].count(SEPARATOR)
        if document in last:
            between = range(last[document] + 1, rank + 1)
            repeats[max(between, key=lambda i: (-lcps[i], i))] += 1
        last[document] = rank
    return repeats


def decoded(words, length):
    """The repeats that the bits have."""
    bits = "".join(f"{word:064b}"[::-1] for word in words.tolist())
    return [len(zeros) for zeros in bits.split("1")[:length]]


def made(tokens, sa, *, short=0, memory=0, threads=1, folder=None, step=1 << 16, linked=1 << 16):
    """The file's content; small numbers divide the work into small pieces."""
    offsets = np.flatnonzero(tokens == np.iinfo(tokens.dtype).max).astype("<u8")
    with (
        mock.patch.object(document_counts, "SHORT", short),
        mock.patch.object(document_counts, "STEP", step),
        mock.patch.object(document_counts, "WRITE", step),
        mock.patch.object(lcps, "WRITE", step),
        mock.patch.object(lcps, "LEAST_LINKED", linked),
    ):
        pieces = document_counts.document_counts(tokens, sa, offsets, memory, threads, folder)
        return np.concatenate(list(pieces))


def check(documents):
    """What is made of the documents, in every way, is what the definition says."""
    tokens = stream_of(documents)
    sa = suffix_array(tokens)
    expected = naive_repeats(documents)
    content = made(tokens, sa, short=10**6)
    assert decoded(content, len(tokens)) == expected
    assert content.nbytes == fmt.document_counts_bytes(len(tokens), len(documents))
    assert np.array_equal(made(tokens, sa), content)
    assert np.array_equal(made(tokens, sa, step=7, linked=64, threads=3), content)
    with mock.patch.object(lcps, "NARROW_BELOW", 0):
        wide = disk.position_entries(sa, fmt.WIDE_POSITION_BYTES)
        assert np.array_equal(made(tokens, wide, step=3, linked=64, threads=2), content)
        assert np.array_equal(made(tokens, wide, short=10**6), content)
    return content


def test_every_corpus_of_a_few_letters():
    words = [w for length in range(4) for w in itertools.product((0, 1), repeat=length)]
    for documents in [*itertools.product(words, repeat=1), *itertools.product(words[:7], repeat=3)]:
        check(documents)


@given(
    st.lists(
        st.lists(st.integers(0, 2), max_size=40) | st.integers(1, 60).map(lambda k: [1] * k),
        min_size=1,
        max_size=7,
    )
)
def test_any_corpus(documents):
    check(documents)


@pytest.mark.parametrize("seed", range(20 if CAMPAIGN else 3))
def test_many_small_documents_and_repeats(seed):
    chosen = random.Random(seed)
    few = [[chosen.randrange(3) for _ in range(chosen.randrange(30))] for _ in range(4)]
    check([chosen.choice(few) for _ in range(40)])


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32])
def test_wider_tokens(dtype):
    chosen = random.Random(1)
    top = int(np.iinfo(dtype).max) - 1
    letters = [0, 1, 254, 255, 256, top]
    documents = [[chosen.choice(letters) for _ in range(50)] for _ in range(9)]
    tokens = stream_of(documents, dtype)
    sa = suffix_array(tokens)
    ranks = {letter: number for number, letter in enumerate(letters)}
    same = [[ranks[t] for t in document] for document in documents]
    for content in (made(tokens, sa), made(tokens, sa, short=10**6)):
        assert decoded(content, len(tokens)) == naive_repeats(same)


@pytest.mark.parametrize(
    "documents",
    [
        [[1] * 30_000],  # one long repeat: the stack is as deep
        [[1, 2, 3] * 5_000, [1, 2] * 5_000],
        [list(range(200)) * 20] * 9,
        [[1] * k for k in range(150)],
        [[]] * 9_000,  # more zeros behind one rank than a block has bits
        [[7]] * 9_000,
    ],
)
def test_long_repeats_and_many_documents(documents):
    tokens = stream_of(documents)
    sa = suffix_array(tokens)
    content = made(tokens, sa)
    assert np.array_equal(made(tokens, sa, short=10**6), content)
    assert np.array_equal(made(tokens, sa, step=1000, linked=1024, threads=2), content)
    assert sum(decoded(content, len(tokens))) == len(tokens) - len(documents)


def test_blocks_and_guides():
    """As the format says: the ones before each block, the block of every 4096th rank."""
    chosen = random.Random(2)
    documents = [[chosen.randrange(9) for _ in range(20)] for _ in range(700)]
    tokens = stream_of(documents)
    content = made(tokens, suffix_array(tokens), step=999)
    n = len(tokens)
    blocks = -(-(2 * n - len(documents)) // fmt.COUNT_BLOCK)
    bits = np.unpackbits(content[: blocks * 32].view(np.uint8), bitorder="little")
    ones = np.flatnonzero(bits)
    assert ones.shape[0] == n
    before = [int(bits[: block * fmt.COUNT_BLOCK].sum()) for block in range(blocks)]
    assert content[blocks * 32 : blocks * 33].tolist() == before
    guides = (ones[:: fmt.COUNT_GUIDED] // fmt.COUNT_BLOCK).tolist()
    assert content[blocks * 33 :].tolist() == guides


def test_at_most_a_quarter_byte_and_a_little(tmp_path):
    for tokens, documents in [(10**9, 1), (10**9, 10**6), (10**6, 10**6)]:
        assert fmt.document_counts_bytes(tokens, documents) <= 0.26 * tokens + 300


def test_files_without_names_leave_nothing(tmp_path):
    tokens = stream_of([[1, 2, 3] * 400])
    sa = suffix_array(tokens)
    assert np.array_equal(made(tokens, sa, folder=tmp_path), made(tokens, sa))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("short", [0, 10**6])
@pytest.mark.parametrize("step", [5, 1 << 16])
def test_arrays_that_contradict_one_another_are_refused(short, step):
    """Nothing foreign is read or written: such a file may come from anybody."""
    chosen = random.Random(3)
    tokens = stream_of([[chosen.randrange(3) for _ in range(20)] for _ in range(10)])
    sound = suffix_array(tokens)
    for _ in range(100):
        sa = sound.copy()
        for _ in range(chosen.randrange(1, 4)):
            wrong = chosen.choice([0, len(tokens), 2**32 - 1, chosen.randrange(len(tokens))])
            sa[chosen.randrange(len(sa))] = wrong
        try:
            content = made(tokens, sa, short=short, step=step)
        except DamagedIndexError as error:
            assert "the sorted suffixes do not fit their tokens" in str(error)
        else:
            assert content.dtype == np.uint64
    with pytest.raises(DamagedIndexError):
        made(tokens, np.full_like(sound, len(tokens)), short=short)


def test_the_documents_of_every_interval_follow():
    """The formula of the format, for every n-gram."""
    documents = [[0, 1, 0], [], [1, 1, 0], [0], [0, 1, 0]]
    naive = NaiveIndex(documents, SEPARATOR)
    tokens = stream_of(documents)
    content = made(tokens, suffix_array(tokens))
    one = np.flatnonzero(np.unpackbits(content[:32].view(np.uint8), bitorder="little"))
    order = naive.suffix_array()
    for length in range(5):
        for query in itertools.product((0, 1, SEPARATOR), repeat=length):
            places = [(d, o) for d, o in naive.occurrences(query)]
            if not places:
                continue
            starts = np.flatnonzero(tokens == SEPARATOR)
            ranks = sorted(order.index(starts[d] + 1 + o) for d, o in places)
            lo, hi = ranks[0], ranks[-1] + 1
            found = 2 * (hi - lo) - 1 - (one[hi - 1] - one[lo])
            assert found == len({d for d, _ in places})


@pytest.mark.parametrize("shape", ["a repeat as long as the corpus", "nothing but documents"])
def test_memory_does_not_grow_with_the_longest_repeat_or_the_documents(tmp_path, shape):
    """Each would take tens of bytes per token if it were held in memory."""
    n = 2_000_000
    tokens = np.full(n, 1 if "repeat" in shape else SEPARATOR, np.uint8)
    tokens[0] = SEPARATOR
    tokens[-1] = 0 if "repeat" in shape else SEPARATOR
    sa = np.arange(n, dtype="<u4")
    if "repeat" in shape:  # 0, then 1 0, 1 1 0, …: ever more tokens in common
        sa = sa[::-1].copy()
    made(tokens[:1], sa[-1:] if sa[0] else sa[:1])  # loads the kernels
    offsets = np.flatnonzero(tokens == SEPARATOR).astype("<u8")
    tracemalloc.start()
    try:
        pieces = list(document_counts.document_counts(tokens, sa, offsets, 0, 1, tmp_path))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # One repeat per rank but the first; or none.
    assert decoded(np.concatenate(pieces), n) == [0, *[int("repeat" in shape)] * (n - 1)]
    assert peak < 12 << 20, f"{peak:,}"
