"""Self-indexes against their specification: the files of small ones, decoded by plain Python."""

import itertools
import random

import numba
import numpy as np
import pytest

from conftest import write_index
from everygram.engine.engine import Engine
from everygram.storage import format as fmt
from everygram.storage import psi_writer, self_check, self_index
from everygram.storage.directory import open_segments, read_manifest
from everygram.storage.psi_writer import write_self_index
from everygram.storage.self_check import wrong_self_index
from naive import NaiveIndex

SELF = [fmt.SELF_INDEX_KIND]
# Interpreted kernels are some hundred times slower.
SLOW = bool(numba.config.DISABLE_JIT)


def opened(path, documents, dtype, monkeypatch, block=128, every=32):
    """The only segment of an index of that many ranks per block and positions per sample."""
    monkeypatch.setattr(fmt, "PSI_BLOCK", block)
    monkeypatch.setattr("conftest.SAMPLE_EVERY", every)
    write_index(path, documents, dtype, kinds=SELF)
    (segment,) = open_segments(path, read_manifest(path))
    return segment


def stream_of(documents, separator):
    return [token for document in documents for token in [separator, *document]]


def numbers(folder, name, width):
    data = (folder / name).read_bytes()
    return [int.from_bytes(data[i : i + width], "little") for i in range(0, len(data), width)]


def entries_in(segment):
    """The entry of every rank and the places in blocks that are sampled, as the format has them."""
    folder, n, size = segment.folder, segment.stream_len, segment.fence_spacing
    words = numbers(folder, fmt.PSI, 8)
    assert words[-192:] == [0] * 192
    blocks = -(-n // size)
    described = numbers(folder, fmt.PSI_BLOCKS, 8)
    fences = numbers(folder, fmt.FENCES, 8)
    entries, sampled, end = [], [], 0
    for block in range(blocks):
        said = described[block]
        at, width = said & (2**40 - 1), said >> 40 & 63
        unary, marks = said >> 46 & 511, said >> 55
        assert at == end
        if block % 16 == 0:
            assert described[blocks + block // 16] == len(sampled)
        bits = sum(word << 64 * i for i, word in enumerate(words[at : at + 160]))
        begins = [i for i in range(size) if bits >> i & 1]
        bits >>= 64 * -(-size // 64)
        highs = [place - i for i, place in enumerate(k for k in range(unary) if bits >> k & 1)]
        assert len(highs) == len(begins)
        bits >>= unary
        runs = [high << width | bits >> i * width & 2**width - 1 for i, high in enumerate(highs)]
        least = (runs[-1] // len(runs)).bit_length() - 1
        assert width == max(least, 0)
        bits >>= width * len(runs)
        count = min(size, n - block * size)
        for i, begin in enumerate(begins):
            stop = begins[i + 1] if i + 1 < len(begins) else count
            entries += [fences[block] + runs[i] + k for k in range(stop - begin)]
        sampled += [block * size + (bits >> 8 * i & 255) for i in range(marks)]
        used = 64 * -(-size // 64) + unary + width * len(runs) + 8 * marks
        end = at + -(-used // 64)
    assert len(words) == end + 192
    return entries, sampled


def check_files(segment, documents):
    """Tokens, suffix array and samples are what the specification makes of the files."""
    entry, folder = segment.entry, segment.folder
    assert not (folder / fmt.TOKENS).exists() and not (folder / fmt.SUFFIX_ARRAY).exists()
    n, separator = segment.stream_len, segment.separator
    stream = stream_of(documents, separator)
    order = NaiveIndex(documents, separator).suffix_array()
    ranks = {position: rank for rank, position in enumerate(order)}
    ids = sorted(set(stream))
    starts = [i for i, token in enumerate(stream) if token == separator]
    assert entry.key_bits == (n + len(documents)).bit_length()
    expected = []
    for position in order:
        after = position + 1
        if after == n or stream[after] == separator:
            following = n + sum(start <= position for start in starts) - 1
        else:
            following = ranks[after]
        expected.append(ids.index(stream[position]) << entry.key_bits | following)
    entries, sampled = entries_in(segment)
    assert entries == expected == sorted(set(expected))
    every, width = entry.sample_every, entry.position_bytes
    samples = numbers(folder, fmt.SAMPLES, width)
    at = [ranks[position] for position in range(0, n, every)]
    assert sampled == sorted(at)
    assert samples == [
        *(order[rank] // every for rank in sampled),
        *at,
        *(ranks[start] for start in starts),
    ]
    assert segment.text(0, n).tolist() == stream
    assert segment.positions_of(np.arange(n)).tolist() == list(order)
    assert list(wrong_self_index(segment)) == []


def test_the_worked_example(tmp_path, monkeypatch):
    segment = opened(tmp_path / "index", [list(b"ab"), list(b"ba")], "u8", monkeypatch)
    folder = segment.folder
    assert numbers(folder, fmt.PSI, 8) == [0x3F, 0, 0x9BC18A5, *[0] * 192]
    assert numbers(folder, fmt.PSI_BLOCKS, 8) == [0x83420000000000, 0]
    assert numbers(folder, fmt.FENCES, 8) == [3, *[2**64 - 1] * 15]
    assert numbers(folder, fmt.SAMPLES, 4) == [0, 4, 4, 5]
    assert segment.entry.key_bits == 4
    check_files(segment, [list(b"ab"), list(b"ba")])


def shapes(dtype):
    """Corpora of all sorts, of ids that the dtype can have."""
    rng = random.Random(5)
    top = fmt.separator_of(dtype) - 1
    yield [[]]
    yield [[], [], []]
    yield [[top]]
    yield [[0] * 300]
    yield [[top, 0] * 100, [0, top] * 100]
    yield [[1, 2, 3]] * 20
    yield [[0], [0, 0], [0, 0, 0], [], [0]]
    yield [list(range(200))]
    yield [[rng.choice([0, 1, top]) for _ in range(rng.randrange(40))] for _ in range(12)]
    for length in (126, 127, 128, 255, 2047):
        yield [[rng.randrange(3) for _ in range(length)]]


@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
@pytest.mark.parametrize(("block", "every"), [(1, 1), (2, 7), (16, 32), (64, 2), (128, 1000)])
def test_files_are_as_specified(tmp_path, monkeypatch, dtype, block, every):
    for number, documents in enumerate(shapes(dtype)):
        if SLOW and number % 3:
            continue
        path = tmp_path / f"{number}"
        check_files(opened(path, documents, dtype, monkeypatch, block, every), documents)


@pytest.mark.parametrize("wide_from", [0, 30])
def test_samples_of_five_bytes(tmp_path, monkeypatch, wide_from):
    monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", wide_from)
    documents = [[1, 2, 1] * 9, [], [2, 2]]
    segment = opened(tmp_path / "index", documents, "u16", monkeypatch, 16, 5)
    assert segment.entry.position_bytes == 5
    check_files(segment, documents)


@pytest.mark.parametrize("places", [0, 1 << 24])
def test_large_ids_have_no_table_of_places(tmp_path, monkeypatch, places):
    monkeypatch.setattr(self_index, "MOST_PLACES", places)
    monkeypatch.setattr(psi_writer, "MOST_PLACES", places)
    documents = [[7, 5, 2**32 - 2, 5], [2**31, 7], []]
    segment = opened(tmp_path / "index", documents, "u32", monkeypatch, 2, 2)
    check_files(segment, documents)
    engine = Engine([segment], 2**32 - 1, 2**32 - 1, 3)
    naive = NaiveIndex(documents, 2**32 - 1)
    for query in itertools.product([5, 7, 6, 2**31, 2**32 - 2], repeat=2):
        assert engine.count(list(query))[1] == len(naive.occurrences(list(query)))


@pytest.mark.parametrize("size", [1, 2])
def test_every_corpus_of_few_tokens(tmp_path, monkeypatch, size):
    """Every string over a tiny alphabet, as one document and as two: all counts."""
    separator, number = 255, 0
    strings = [
        list(s) for k in range(3 if SLOW else 6) for s in itertools.product(range(size), repeat=k)
    ]
    queries = [
        list(q) for k in range(1, 4) for q in itertools.product([*range(size), separator], repeat=k)
    ]
    for one in strings:
        for documents in ([one], [one, one[::-1]], [one[:2], one]):
            number += 1
            path = tmp_path / f"{number}"
            segment = opened(path, documents, "u8", monkeypatch, 2 + 14 * (number % 2), 2)
            engine = Engine([segment], separator, separator, len(documents))
            naive = NaiveIndex(documents, separator)
            for query in queries:
                assert engine.count(query)[1] == len(naive.occurrences(query)), (documents, query)
            assert segment.text(0, segment.stream_len).tolist() == stream_of(documents, separator)


def test_the_same_bytes_whatever_the_memory_and_the_threads(tmp_path, monkeypatch):
    rng = random.Random(1)
    documents = [[rng.randrange(9) for _ in range(rng.randrange(300))] for _ in range(20)]
    monkeypatch.setattr(fmt, "PSI_BLOCK", 16)
    monkeypatch.setattr(psi_writer, "BLOCKS", 3)
    monkeypatch.setattr(psi_writer, "PIECE", 100)
    monkeypatch.setattr(self_index, "PIECE", 70)
    monkeypatch.setattr(self_check, "PIECE", 50)
    monkeypatch.setattr(self_check, "BLOCKS", 2)
    path = write_index(tmp_path / "index", documents, "u16")
    (segment,) = open_segments(path, read_manifest(path))
    counts = segment.stream_len, segment.num_documents
    made = [
        {
            name: file.entry
            for name, file in write_self_index(
                segment.folder, "u16", *counts, 4, memory, threads, lambda done, total: None
            ).items()
        }
        for memory, threads in ((0, 1), (1 << 12, 2), (1 << 14, 3), (1 << 30, 1))
    ]
    assert made[1:] == made[:-1]
    other = opened(tmp_path / "other", documents, "u16", monkeypatch, 16, 4)
    assert all(other.entry.files[name] == entry for name, entry in made[0].items())
    check_files(other, documents)
    plain = tmp_path / "plain"
    for memory in (0, 1 << 30):
        plain.mkdir(exist_ok=True)
        tokens, array = self_index.write_plain(other, plain, memory, 2, lambda done, total: None)
        assert tokens.tolist() == segment.tokens.tolist()
        assert array.tolist() == segment.suffix_array.tolist()
