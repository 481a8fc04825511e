"""The kernels on rows of segments; `make test` runs this file again with the JIT off."""

import itertools
import random

import numba
import numpy as np
import pytest

from conftest import write_index
from everygram import kernels
from everygram.building.suffix_array import suffix_array
from everygram.kernels import compiled, following, lanes, reads, search, suffixes
from everygram.kernels import rows as layout
from everygram.kernels.sort import first_disorder, invert
from everygram.storage import format as fmt
from everygram.storage.directory import open_segments, read_manifest
from everygram.storage.disk import position_entries
from everygram.storage.fences import fence_tree
from everygram.storage.segment import PRELOADABLE
from naive import NaiveIndex, suffix_order

DTYPES = ["u8", "u16", "u32"]
# Interpreted kernels are some hundred times slower: fewer of the random queries are asked.
SLOW = bool(numba.config.DISABLE_JIT)


class Rows:
    """The segments of a new index as kernels take them, and the oracle of their documents."""

    def __init__(self, path, documents, dtype="u8", segments=1, vocab_size=None, preload=()):
        manifest = read_manifest(write_index(path, documents, dtype, segments, vocab_size))
        self.dtype = fmt.TOKEN_DTYPES[dtype]
        self.separator = manifest.separator
        self.segments = open_segments(path, manifest)
        self.rows = np.empty((len(self.segments), layout.COLUMNS), np.int64)
        for row, segment in zip(self.rows, self.segments, strict=True):
            row[:] = segment.prepare(manifest.vocab_size, preload)
        self.documents = documents
        self.naive = NaiveIndex(documents, self.separator)
        self.orders = []
        for segment in self.segments:
            stream = segment.tokens.tolist()
            self.orders.append((stream, suffix_order(stream, self.separator)))

    def ids(self, query):
        return np.frombuffer(np.array(query, self.dtype).tobytes(), self.dtype)

    def one(self, query):
        """What kernels of one query are given."""
        return self.rows, self.ids(query).tobytes(), self.dtype.type(self.separator)

    def batch(self, queries):
        ends = np.cumsum([len(query) for query in queries], dtype=np.int64)
        starts = ends - [len(query) for query in queries]
        return self.ids([token for query in queries for token in query]), starts, ends

    def positions(self, number, query):
        """Where the query occurs in a segment, in the order of its suffixes."""
        stream, order = self.orders[number]
        if self.separator in query[1:-1]:
            return []
        events = [*stream, self.separator]
        return [at for at in order if events[at : at + len(query)] == query]


def some_queries(rows, number, seed, longest=12, unknown=()):
    """Pieces of documents, separators at either end or inside, other tokens at either end."""
    rng = random.Random(seed)
    separator = rows.separator
    alphabet = sorted({token for document in rows.documents for token in document})
    others = [*alphabet[:2], *alphabet[-2:], separator, separator - 1, *unknown]
    queries = []
    for _ in range(number):
        events = [separator, *rng.choice(rows.documents or [[]]), separator]
        start = rng.randrange(len(events))
        query = events[start : start + rng.randrange(longest + 1)]
        change = rng.randrange(6)
        if change == 0:
            query = [rng.choice(others), *query]
        elif change == 1:
            query = [*query, rng.choice(others)]
        elif change == 2 and query:
            query[-1] = rng.choice(others)
        elif change == 3 and query:
            query[rng.randrange(len(query))] = rng.choice(others)
        queries.append(query)
    return queries


def check_finds(rows, queries, cold):
    """`count` and `find_many`."""
    ids, starts, ends = rows.batch(queries)
    intervals = np.full((len(queries), len(rows.segments), 2), -7)
    assert search.find_many(rows.rows, ids, starts, ends, cold, intervals) == -1
    for query, found in zip(queries, intervals, strict=True):
        for number, (lo, hi) in enumerate(found.tolist()):
            positions = rows.segments[number].positions_of(np.arange(lo, hi))
            assert positions.tolist() == rows.positions(number, query)
            if len(query) == 0:
                assert (lo, hi) == (0, rows.segments[number].stream_len)
        total = int((found[:, 1] - found[:, 0]).sum())
        assert search.count(*rows.one(query), cold) == total == rows.naive.count(query)


def check_matches(rows, queries, cold):
    """`match_many`, `longest_suffixes`, `longest_suffix`."""
    ids, starts, ends = rows.batch(queries)
    lengths = np.full(len(queries), -7)
    assert suffixes.longest_suffixes(rows.rows, ids, starts, ends, cold, lengths) == -1
    expected = [rows.naive.suffix_len(query) for query in queries]
    assert lengths.tolist() == expected
    for query, length in zip(queries[:10], expected, strict=False):
        assert suffixes.longest_suffix(*rows.one(query), cold) == length
    whole = [query for query in queries if rows.separator not in query[1:-1]]
    ids, starts, ends = rows.batch(whole)
    lengths = np.full(len(whole), -7)
    nothing = np.empty((0, len(rows.segments), 2), np.int64)
    search.match_many(rows.rows, ids, starts, ends, cold, lengths, nothing)
    assert lengths.tolist() == [rows.naive.beginning_len(query) for query in whole]
    again, intervals = np.full(len(whole), -7), np.full((len(whole), len(rows.segments), 2), -7)
    search.match_many(rows.rows, ids, starts, ends, cold, again, intervals)
    assert again.tolist() == lengths.tolist()
    expected = np.empty_like(intervals)
    search.find_many(rows.rows, ids, starts, starts + lengths, cold, expected)
    assert intervals.tolist() == expected.tolist()


def check_probs(rows, queries, cold):
    """`prob` and `infgram_prob`, of all of a query and of its end."""
    for query in queries:
        if not query:
            continue
        for start in {0, len(query) - 1, len(query) // 2}:
            expected = rows.naive.prob(query[start:-1], query[-1])[:2]
            assert search.prob(*rows.one(query[start:]), cold) == expected
        suffix = rows.naive.longest_suffix(query[:-1])
        expected = (*rows.naive.prob(suffix, query[-1])[:2], len(suffix))
        assert suffixes.infgram_prob(*rows.one(query), cold) == expected


def check_following(rows, prompts, cold):
    """`next_tokens` with and without a stride, `ntd`, `one_follows`."""
    every = np.zeros((len(prompts), len(rows.segments), 2), np.int64)
    for prompt, intervals in zip(prompts, every, strict=True):
        ids = rows.ids([5, *prompt]) if len(prompt) % 2 else rows.ids(prompt)
        start = len(ids) - len(prompt)
        asked = rows.batch([prompt])
        if len(prompt) < 2 or prompt[-1] != rows.separator:  # a document that has ended
            assert search.find_many(rows.rows, *asked, cold, intervals[None]) == -1
        expected = rows.naive.following(prompt)
        assert (intervals[:, 1] - intervals[:, 0]).sum() == sum(expected.values())
        if not prompt:
            continue
        total = {}
        for row, (lo, hi) in zip(rows.rows, intervals, strict=True):
            if lo == hi:
                continue
            next_ids, counts = following.next_tokens(row, ids, start, lo, hi, 0, cold)
            assert (np.diff(next_ids) > 0).all()
            exact = dict(zip(next_ids.tolist(), counts.tolist(), strict=True))
            for token, count in exact.items():
                total[token] = total.get(token, 0) + count
            for stride in (1, 2, 3, 7, 1000):
                next_ids, counts = following.next_tokens(row, ids, start, lo, hi, stride, cold)
                about = dict(zip(next_ids.tolist(), counts.tolist(), strict=True))
                assert (np.diff(next_ids) > 0).all()
                assert counts.sum() == hi - lo
                assert about.keys() <= exact.keys()
                assert all(abs(about.get(t, 0) - exact[t]) < stride for t in exact)
        assert total == expected
        if len(rows.segments) == 1:
            check_ntd(rows, prompt, expected, cold)
    sparse = np.full(len(prompts), SLOW)
    ids, starts, ends = rows.batch(prompts)
    following.one_follows(rows.rows, ids, starts, ends, every, cold, sparse)
    assert sparse.tolist() == [len(rows.naive.following(prompt)) == 1 for prompt in prompts]


def check_ntd(rows, prompt, expected, cold):
    """`ntd` of a prompt, and of a longer one's suffix; with and without a stride."""
    suffix = rows.naive.longest_suffix([5, *prompt])
    for longest, asked, follows, length in [
        (False, prompt, expected, len(prompt)),
        (True, [5, *prompt], rows.naive.following(suffix), len(suffix)),
    ]:
        if not length:
            continue
        for most in (1 << 62, 3):
            if longest:
                assert suffixes.longest_suffix(*rows.one(asked), cold) == length
            first = len(asked) - length
            count, table, error = following.ntd(*rows.one(asked), first, most, cold)
            assert count == sum(follows.values())
            if error == 0:
                assert dict(zip(*table[:2].tolist(), strict=True)) == follows
            assert (error == 0) == (count <= most)
            assert table[1].sum() == count
            probs = table.view(np.float64)[2]
            assert probs.tolist() == [n / count for n in table[1].tolist()]


def check_kernels(rows, queries, colds=(False, True)):
    for cold in colds:
        check_finds(rows, queries, cold)
        check_matches(rows, queries, cold)
        check_probs(rows, queries, cold)
        check_following(rows, queries, cold)


def random_documents(seed, alphabet=(0, 1, 2), number=6, longest=30):
    rng = random.Random(seed)
    alphabet = list(alphabet)
    documents = [rng.choices(alphabet, k=rng.randrange(longest + 1)) for _ in range(number)]
    # One that is another's beginning, one that is its end: suffixes that differ late.
    return [*documents, documents[0][: longest // 2], documents[0][3:], []]


@pytest.mark.parametrize("spacing", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_short_queries(tmp_path, monkeypatch, dtype, spacing):
    monkeypatch.setattr(fmt, "FENCE_SPACING", spacing)
    rows = Rows(tmp_path / "index", random_documents(5, [0, 1]), dtype, segments=1 + spacing % 2)
    alphabet = [0, 1, 2, rows.separator]
    longest = 2 if SLOW else 4
    queries = [list(q) for k in range(longest) for q in itertools.product(alphabet, repeat=k)]
    check_kernels(rows, queries, [spacing % 2 == 0])


@pytest.mark.parametrize("number", [0, 1, 2, 15, 16, 17, 31, 32, 33, 64, 65, 100])
def test_any_number_of_lanes(tmp_path, monkeypatch, number):
    """Lanes go in groups of 32 queries, and of 8 prompts: the last group is seldom full."""
    monkeypatch.setattr(fmt, "FENCE_SPACING", 4)
    rows = Rows(tmp_path / "index", random_documents(number), "u16", segments=2)
    queries = some_queries(rows, number, number, unknown=[7, 65_000])
    for cold in (False, True):
        check_finds(rows, queries, cold)
        check_matches(rows, queries, cold)


@pytest.mark.parametrize("segments", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dtype", DTYPES)
def test_segments(tmp_path, dtype, segments):
    top = fmt.separator_of(dtype)
    documents = random_documents(segments, [0, 1, top - 2], number=10)
    rows = Rows(tmp_path / "index", documents, dtype, segments)
    check_kernels(rows, some_queries(rows, 20 if SLOW else 100, segments, unknown=[top - 1]))


@pytest.mark.parametrize("bits", range(1, 33))
def test_key_bits(tmp_path, monkeypatch, bits):
    """Ids up to the largest that the bits hold, and those above, which no segment has.

    Queries are shorter than, as long as, and longer than a key, whose last token is cut to its
    high bits unless the bits divide 64. Alike but for the low bits of a token, many keys are equal.
    """
    monkeypatch.setattr(fmt, "FENCE_SPACING", 1 + bits % 5)
    largest = 2**bits - 2
    ids = sorted({0, min(1, largest), largest // 2, max(0, largest - 1), largest})
    in_key = -(-64 // bits)
    rng = random.Random(bits)
    common = rng.choices([0, largest], k=in_key)
    documents = [
        [*common, *rng.choices(ids, k=2)],
        [*common[: in_key - 1], *rng.choices(ids, k=3)],
        [*common[: in_key - 1], largest, *rng.choices(ids, k=2)],
        rng.choices(ids, k=in_key + 2),
        [largest] * 5,
    ]
    widest = [dtype for dtype in DTYPES if fmt.separator_of(dtype) > largest]
    for dtype in {widest[0], widest[-1]}:
        rows = Rows(tmp_path / dtype, documents, dtype, segments=1)
        assert rows.segments[0].entry.key_bits == bits
        top = fmt.separator_of(dtype)
        above = sorted({min(largest + 1, top - 1), min(largest + 2, top - 1), top - 1})
        queries = some_queries(rows, 10 if SLOW else 60, bits, in_key + 2, above)
        # The places around the end of a key.
        for place, token in itertools.product([0, 1, in_key - 2, in_key - 1, in_key], [*above, 0]):
            query = [*common, *documents[0][in_key:]]
            query[max(0, place)] = token
            queries += [query] if SLOW else [query, query[: place + 1], query[: place + 2]]
        colds = [bits % 2 == 0] if SLOW else (False, True)
        for cold in colds:
            check_finds(rows, queries, cold)
            check_matches(rows, queries, cold)
            if not SLOW or bits % 8 == 1:
                check_probs(rows, queries, cold)
                check_following(rows, queries, cold)


@pytest.mark.parametrize("dtype", DTYPES)
def test_segments_with_keys_of_other_widths(tmp_path, dtype):
    """An id that one segment has may be above all of another's."""
    top = fmt.separator_of(dtype)
    documents = [[0, 0, 0, 0], [0, 1, 2, 3, 0, 1], [3, 100, 3, 100, 7], [top - 1, 0, 100, 0], []]
    rows = Rows(tmp_path / "index", documents, dtype, segments=5)
    assert len({segment.entry.key_bits for segment in rows.segments}) > 3
    check_kernels(rows, some_queries(rows, 20 if SLOW else 100, 1, unknown=[2, 7, 100, top - 2]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("spacing", [1, 3, 16])
def test_equal_keys_across_many_fences(tmp_path, monkeypatch, dtype, spacing):
    """A run longer than a key, copies of a document: next to no fence tells two suffixes apart."""
    monkeypatch.setattr(fmt, "FENCE_SPACING", spacing)
    copy = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    rows = Rows(tmp_path / "index", [[0] * 90, *[copy] * 20, [0] * 30], dtype, segments=1)
    queries = [[0] * k for k in (1, 2, 7, 8, 9, 21, 22, 40, 89, 90, 91)]
    queries += [[*query[1:], token] for query in queries for token in (1, rows.separator)]
    queries += [copy, copy[2:], [*copy, 0], [rows.separator, *copy, rows.separator], [7, *copy]]
    check_kernels(rows, queries, [spacing != 3] if SLOW else (False, True))


def test_more_equal_keys_than_a_round_cuts(tmp_path):
    """Of a disk, so many ranks are cut into more parts."""
    beginning = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    documents = [[*beginning, i // 50, i % 50] for i in range(lanes.LARGE + 100)]
    rows = Rows(tmp_path / "index", documents, "u16")
    assert len(beginning) * rows.segments[0].entry.key_bits > 64
    queries = [beginning, beginning[1:]]
    queries += [[*beginning, first] for first in (0, 7, 22, 45)]
    queries += [[*beginning, *last] for last in ([0, 0], [10, 49], [22, 23], [22, 24], [7, 8, 9])]
    for cold in (False, True):
        check_finds(rows, queries, cold)
        check_matches(rows, queries[2:], cold)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_tree_of_several_levels(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(fmt, "FENCE_SPACING", 1)
    rng = random.Random(8)
    length = 300 if SLOW else 4200
    documents = [rng.choices(range(9), k=length), rng.choices([0, 250], k=40), []]
    rows = Rows(tmp_path / "index", documents, dtype)
    assert rows.rows[0, layout.NUM_LEVELS] == (3 if SLOW else 4)
    check_kernels(rows, some_queries(rows, 12 if SLOW else 50, 1, unknown=[100]), [False])


@pytest.mark.parametrize("wide_from", [0, 100])
@pytest.mark.parametrize("dtype", DTYPES)
def test_five_byte_positions(tmp_path, monkeypatch, dtype, wide_from):
    monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", wide_from)
    documents = [*random_documents(1), [1, 2] * 60]
    rows = Rows(tmp_path / "index", documents, dtype, segments=2)
    assert rows.rows[:, layout.WIDTH].tolist() == ([5, 5] if wide_from == 0 else [4, 5])
    check_kernels(rows, some_queries(rows, 15 if SLOW else 100, 2), [wide_from == 0])


@pytest.mark.parametrize("preload", [(), *[(part,) for part in PRELOADABLE], PRELOADABLE])
@pytest.mark.parametrize("wide_from", [0, 2**32])
def test_preloaded_parts(tmp_path, monkeypatch, preload, wide_from):
    monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", wide_from)
    documents = random_documents(2)
    rows = Rows(tmp_path / "index", documents, "u16", segments=2, preload=preload)
    for segment in rows.segments:
        for part in PRELOADABLE:
            assert not getattr(segment, part).flags.writeable
    check_kernels(rows, some_queries(rows, 10 if SLOW else 60, 2))


def test_no_segments():
    rows = np.empty((0, layout.COLUMNS), np.int64)
    ids = np.frombuffer(bytes([1, 2]), np.uint8)
    one = np.array([0]), np.array([2])
    lengths = np.full(1, -7)
    single = rows, ids.tobytes(), np.uint8(255), False
    assert search.count(*single) == 0
    assert search.prob(*single) == (0, 0)
    assert suffixes.infgram_prob(*single) == (0, 0, 0)
    assert suffixes.longest_suffixes(rows, ids, *one, False, lengths) == -1
    assert lengths.tolist() == [0]
    search.match_many(rows, ids, *one, False, lengths, np.empty((1, 0, 2), np.int64))
    assert lengths.tolist() == [0]
    sparse = np.ones(1, np.bool_)
    following.one_follows(rows, ids, *one, np.empty((1, 0, 2), np.int64), False, sparse)
    assert sparse.tolist() == [False]


@pytest.mark.parametrize("place", [0, 1, 40, 63])
def test_an_id_outside_the_vocabulary_is_told(tmp_path, place):
    rows = Rows(tmp_path / "index", [[1, 2, 3], [3, 2]], "u8", segments=2, vocab_size=10)
    queries = [[1, 2], [3, 255], [9, 1], []] * 16
    for bad in ([10], [1, 254, 1], [255, 200, 255]):
        queries[place] = bad
        ids, starts, ends = rows.batch(queries)
        intervals = np.empty((64, 2, 2), np.int64)
        assert search.find_many(rows.rows, ids, starts, ends, False, intervals) == place
        lengths = np.empty(64, np.int64)
        assert suffixes.longest_suffixes(rows.rows, ids, starts, ends, False, lengths) == place
        single = *rows.one(bad), False
        assert search.count(*single) == -1
        assert suffixes.longest_suffix(*single) == -1
        assert search.prob(*single) == (-1, -1)
        assert suffixes.infgram_prob(*single)[:2] == (-1, -1)


@pytest.mark.parametrize("tokens", [2, 30, 200])
def test_next_tokens_with_and_without_fences(tmp_path, monkeypatch, tokens):
    """Keys of 7-bit ids hold 9 tokens: after 8 of them the fences tell the next, after 9 not."""
    monkeypatch.setattr(fmt, "FENCE_SPACING", 2)
    rng = random.Random(tokens)
    prompt = [0] * 9
    follow = rng.choices(range(1, tokens), k=100 if SLOW else 500) + list(range(1, tokens))
    documents = [[*prompt, token] for token in follow] + [prompt] * 20
    rows = Rows(tmp_path / "index", documents, "u8")
    check_following(rows, [prompt[:k] for k in (1, 5, 7, 8, 9)], cold=False)
    check_following(rows, [[rows.separator, *prompt[:k]] for k in (0, 6, 7, 8, 9)], cold=True)


def test_positions_of_five_bytes():
    position_in = getattr(reads.position_in, "py_func", reads.position_in)
    positions = np.array([0, 1, 2**32 - 1, 2**32, 2**40 - 1])
    entries = wide(positions).ravel()
    row = np.zeros(layout.COLUMNS, np.int64)
    row[layout.WIDTH] = 5
    found = [position_in(row, entries, rank) for rank in range(5)]
    assert found == positions.tolist()
    assert [kernels.position_at(wide(positions), rank) for rank in range(5)] == positions.tolist()
    entries = positions[:3].astype("<u4").view(np.uint8)
    row[layout.WIDTH] = 4
    assert [position_in(row, entries, rank) for rank in range(3)] == positions[:3].tolist()


@pytest.mark.parametrize("bits", [0, 1, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 32])
def test_the_order_of_ids_by_their_bytes(bits):
    plain = [getattr(f, "py_func", f) for f in (layout.ordered, layout.token_of)]
    ordered, token_of = plain
    most = 2 ** (bits or 32) - 1
    draw = random.Random(bits)
    ids = sorted({0, most, *(draw.randint(0, most) for _ in range(500)), *range(min(most, 600))})
    places = [ordered(token, bits) for token in ids]
    assert [token_of(place, bits) for place in places] == ids
    assert all(0 <= place <= most for place in places) and places[-1] == most
    if bits:
        by_bytes = sorted(ids, key=lambda token: token.to_bytes(4, "little"))
        assert sorted(ids, key=dict(zip(ids, places, strict=True)).get) == by_bytes
        assert fmt.ordered(np.array(ids), bits).tolist() == places
    else:
        assert places == ids


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 255, 256, 257, 4097])
@pytest.mark.parametrize("piece", [1, 5, 16, 4097])
def test_every_key_of_a_level_above_leads_a_node_below(size, piece):
    level = np.arange(size, dtype=np.uint64)
    pieces = (level[start : start + piece] for start in range(0, size, piece))
    tree = np.concatenate(list(fence_tree(pieces)))
    levels = fmt.fence_levels(size, 1)
    assert fmt.fence_levels(3 * size - 2, 3) == fmt.fence_levels(3 * size, 3) == levels
    assert len(tree) % fmt.FENCE_FANOUT == 0
    for start, length in levels:
        assert tree[start : start + length].tolist() == level.tolist()
        assert start % fmt.FENCE_FANOUT == 0
        padding = tree[start + length : start + length + -length % fmt.FENCE_FANOUT]
        assert (padding == np.iinfo(np.uint64).max).all()
        level = level[:: fmt.FENCE_FANOUT]
    assert levels[-1][1] <= fmt.FENCE_FANOUT


def stream_of(documents, dtype):
    separator = int(np.iinfo(dtype).max)
    flat = [token for document in documents for token in (separator, *document)]
    return np.array(flat, dtype), separator


def wide(positions):
    return position_entries(np.asarray(positions), 5)


def rank_of(sa, n):
    inverse = np.full(n, n, np.uint32)
    assert invert(sa, inverse) == -1
    return inverse


def test_compiled_code_is_kept_by_the_sources_of_all_kernels(monkeypatch, tmp_path):
    """A changed helper must not leave the kernels that call it as they were compiled."""
    folder = compiled._cache_folder()
    (tmp_path / "kernels.py").write_text("changed")
    monkeypatch.setattr(compiled, "__file__", str(tmp_path / "compiled.py"))
    assert compiled._cache_folder() != folder


def test_without_a_place_for_compiled_code_there_is_none(monkeypatch):
    def mkdir(*_, **__):
        raise PermissionError

    monkeypatch.setattr(compiled.Path, "mkdir", mkdir)
    assert compiled._cache_folder() is None


def test_invert_refuses_what_is_no_permutation():
    assert invert(np.array([0, 3, 1], np.uint32), np.full(3, 3, np.uint32)) == 1
    assert invert(np.array([0, 1, 1], np.uint32), np.full(3, 3, np.uint32)) == 2


def test_every_swap_is_a_disorder_unless_the_suffixes_tie():
    documents = [[0, 1, 0, 1], [1, 0, 1], [0, 1]]
    tokens, separator = stream_of(documents, np.uint8)
    sa = suffix_array(tokens)

    def until_separator(position):
        suffix = [*tokens[position:].tolist(), separator]
        return suffix[: suffix.index(separator, 1) + 1]

    for i, j in itertools.combinations(range(len(sa)), 2):
        swapped = sa.copy()
        swapped[[i, j]] = swapped[[j, i]]
        keys = [until_separator(position) for position in swapped.tolist()]
        wrong = first_disorder(tokens, swapped, rank_of(swapped, len(tokens)), separator)
        assert (wrong == -1) == (keys == sorted(keys))
