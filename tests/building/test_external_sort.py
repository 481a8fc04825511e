"""Blocks, spills and merges: always the bytes of the naive sort, whatever the cuts and threads."""

import itertools
import random

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from everygram.building import external_sort, merging, pace
from everygram.building.external_sort import BlockSorter, write_suffix_array
from everygram.building.suffix_array import suffix_array
from everygram.kernels import merge as kernels
from everygram.storage import format as fmt
from everygram.storage.build_state import Block, Cut
from everygram.storage.segment_writer import SegmentWriter
from naive import NaiveIndex, suffix_order


def sort_in_blocks(folder, documents, dtype, block, threads):
    """The bytes of suffix_array.bin, written with blocks of at most that many tokens."""
    folder.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort, "MIN_BLOCK", block * threads)
        patch.setattr(external_sort, "WRITE", 7)
        writer = SegmentWriter(folder / "segment-000001", dtype)
        sorter = BlockSorter(writer.folder, dtype, memory=0, threads=threads)
        for document in documents:
            start = writer.stream_len
            writer.add(np.array(document, fmt.TOKEN_DTYPES[dtype]), b"{}")
            sorter.advance(start, writer.stream_len, writer.flush)
        writer.close()
        sorter.end()
        blocks = list(sorter.sorted_blocks())
        assert all(cut.end - cut.start <= block for cut in sorter.cuts)
        assert all(a.end == b.start for a, b in itertools.pairwise(blocks))
        done = []
        write_suffix_array(
            writer.folder, dtype, writer.stream_len, blocks, 0, threads, lambda *p: done.append(p)
        )
        external_sort.remove_runs(writer.folder)
        assert sorted(path.name for path in writer.folder.iterdir()) == sorted(
            [
                fmt.TOKENS,
                fmt.SUFFIX_ARRAY,
                fmt.DOCUMENT_OFFSETS,
                fmt.METADATA,
                fmt.METADATA_OFFSETS,
            ]
        )
        return (writer.folder / fmt.SUFFIX_ARRAY).read_bytes(), len(blocks)


def check(folder, documents, dtype, block, threads):
    found, _ = sort_in_blocks(folder, documents, dtype, block, threads)
    expected = NaiveIndex(documents, fmt.separator_of(dtype)).suffix_array()
    if fmt.position_bytes(len(expected)) == 4:
        assert found == np.array(expected, "<u4").tobytes()
    else:
        assert found == b"".join(position.to_bytes(5, "little") for position in expected)


rng = random.Random(3)
BOOK = [rng.randrange(9) for _ in range(40)]
FAMILIES = {
    "short documents": [[rng.randrange(3) for _ in range(rng.randrange(9))] for _ in range(30)],
    "one token, one document": [[7] * 120],
    "one period, one document": [[1, 2, 3] * 40],
    "the same book": [BOOK] * 6,
    "the same book in one document": [BOOK * 5],
    "books that end alike": [BOOK[i:] for i in range(0, 40, 4)],
    "empty documents": [[]] * 60,
    "long and short": [[1], [0, 1] * 50, [], [1, 0], [2] * 30, [1]],
    "long repeats across documents": [BOOK * 3, [9], BOOK * 3, BOOK * 2],
}


@pytest.mark.parametrize("block", [1, 2, 3, 7, 13, 50])
@pytest.mark.parametrize("name", FAMILIES)
def test_blocks_of_any_size(tmp_path, name, block):
    """Documents longer than a block are cut; their pieces still merge into the one order."""
    check(tmp_path, FAMILIES[name], "u16", block, threads=1)


@pytest.mark.parametrize("block", [7, 13, 50])
@pytest.mark.parametrize("most", [0, 5])
@pytest.mark.parametrize("name", FAMILIES)
def test_documents_that_are_nothing_but_repeats_are_not_cut(
    tmp_path, monkeypatch, name, most, block
):
    monkeypatch.setattr(merging, "MAX_LEFTOVER", most)
    check(tmp_path, FAMILIES[name], "u16", block, threads=2)


@pytest.mark.parametrize("word", [[1], [1, 2, 3, 4, 5]])
def test_a_long_document_of_one_repeated_word_is_sorted_in_seconds(tmp_path, word):
    """If it were cut, all suffixes of a block would be compared to the document's end."""
    most = merging.MAX_LEFTOVER
    block = 1000 if numba.config.DISABLE_JIT else most // 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "MAX_LEFTOVER", min(most, 2 * block))
        document = word * (10 * block // len(word))
        found, blocks = sort_in_blocks(tmp_path, [document, [7]], "u8", block, threads=2)
    assert blocks <= 2
    expected = suffix_array(np.array([255, *document, 255, 7], np.uint8))
    assert found == expected.astype("<u4").tobytes()


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
def test_threads_and_widths(tmp_path, dtype, threads):
    documents = [document for name in FAMILIES for document in FAMILIES[name]]
    check(tmp_path, documents, dtype, 37, threads)


@pytest.mark.parametrize("block", [5, 10_000])
def test_five_byte_positions(tmp_path, monkeypatch, block):
    monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", 10)
    check(tmp_path, FAMILIES["short documents"], "u16", block, threads=2)


@settings(max_examples=80, deadline=None)
@given(
    documents=st.lists(st.lists(st.integers(0, 2), max_size=25), min_size=1, max_size=10),
    block=st.integers(1, 30),
    threads=st.integers(1, 3),
)
def test_random_documents(tmp_path_factory, documents, block, threads):
    check(tmp_path_factory.mktemp("d"), documents, "u16", block, threads)


@pytest.mark.parametrize("cut", [0, 1])
def test_repeats_longer_than_a_stretch_of_a_diagonal(tmp_path, monkeypatch, cut):
    """Copies that are equal for longer than is compared before the table is asked."""
    length = 3 << kernels.STRETCH
    if numba.config.DISABLE_JIT:  # compiled code has its constants for good
        monkeypatch.setattr(kernels, "STRETCH", 6)
        length = 600
    rng = random.Random(cut)
    book = [rng.randrange(50) for _ in range(length)]
    half = length // 2
    documents = [book, book[7:], [5, *book], [*book[:half], 51, *book[half + 1 :]], book]
    if cut:
        documents = [[token for document in documents for token in document]]
    whole, blocks = sort_in_blocks(tmp_path / "a", documents, "u16", 10**6, 1)
    assert blocks == 0
    for number, block in enumerate([length // 3, length + 100, 2 * length]):
        found, blocks = sort_in_blocks(tmp_path / str(number), documents, "u16", block, 2)
        assert blocks > 1
        assert found == whole


def test_comparisons_against_the_text():
    rng = random.Random(1)
    tokens = [rng.randrange(2) for _ in range(700)] * 2 + [65535] + [0] * 700 + [65535] + [0] * 650
    text = np.array([65535, *tokens], np.uint16)
    order = suffix_order(text.tolist(), 65535)
    rank = {position: i for i, position in enumerate(order)}
    diagonals = np.zeros((64, 4), np.int64)  # few, so that they push each other out
    for _ in range(4000):
        a, b = rng.sample(range(len(text)), 2)
        if rng.random() < 0.5:
            b = (a + 700 * rng.randrange(1, 3)) % len(text)
        if a != b:
            before = kernels.comes_before(text, 65535, a, b, diagonals)
            assert before == (rank[a] < rank[b])


def test_blocks_that_are_sorted_already_are_not_sorted_again(tmp_path):
    documents = FAMILIES["short documents"]
    sort_in_blocks(tmp_path, documents, "u16", 20, 1)
    sorter = BlockSorter(tmp_path / "segment-000001", "u16", 1, 1)
    sorter.resume([Cut(0, 10, False), Cut(10, 20, False)], [Block(0, 10, 0)])
    # Had block 0 been sorted again, it would have been written again.
    assert list(sorter.sorted_blocks()) == [Block(0, 10, 0), Block(10, 20, 0)]
    runs = np.fromfile(tmp_path / "segment-000001" / fmt.RUNS, "<u4")
    assert runs[:10].tolist() == [0] * 10
    assert sorted(runs[10:20].tolist()) == list(range(10))


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_an_index_is_the_same_whatever_the_memory_and_threads(tmp_path, monkeypatch, threads):
    rng = random.Random(0)
    text = "".join(
        f'{{"text": "{" ".join(rng.choices(["natural", "language", "model", "a"], k=20))}"}}\n'
        for _ in range(60)
    )
    (tmp_path / "c.jsonl").write_text(text)
    everygram.build(tmp_path / "c.jsonl", tmp_path / "whole", "train:300")
    for block in (50, 400):
        monkeypatch.setattr(external_sort, "MIN_BLOCK", block)
        out = tmp_path / f"blocks-{block}"
        everygram.build(tmp_path / "c.jsonl", out, "train:300", memory=1, threads=threads)
        for path in (tmp_path / "whole").rglob("*.bin"):
            assert (out / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


def build_on(folder, corpus, threads):
    """The bytes of an index's files, and the stages of its build, in memory for one block."""
    report = everygram.build(corpus, folder, "train:300", memory="1GiB", threads=threads)
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.bin")
    }, report.seconds.keys()


@pytest.mark.parametrize("threads", [3, 4, 8])
def test_blocks_where_one_would_fit_in_memory(tmp_path, monkeypatch, threads):
    """If that is faster, with so many threads: the same bytes."""
    rng = random.Random(0)
    words = ["natural", "language", "model", "a"]
    corpus = tmp_path / "c.jsonl"
    with corpus.open("w") as file:
        for _ in range(120):
            file.write(f'{{"text": "{" ".join(rng.choices(words, k=rng.randrange(90)))}"}}\n')
    expected, stages = build_on(tmp_path / "whole", corpus, threads)
    assert "merge" not in stages
    monkeypatch.setattr(pace, "SHORTEST", 500)
    monkeypatch.setattr(pace, "MERGE_NS", 1.0)
    for block in (70, 1000):
        monkeypatch.setattr(pace, "BLOCK", block)
        found, stages = build_on(tmp_path / f"blocks-{block}", corpus, threads)
        assert "merge" in stages
        assert found == expected
    found, stages = build_on(tmp_path / "few", corpus, 2)
    assert "merge" not in stages
    assert found == expected


@pytest.mark.parametrize("threads", [3, 8])
def test_short_blocks_first_and_longer_ones_beyond_memory(tmp_path, monkeypatch, threads):
    """There are few blocks of a stream that is much longer than memory."""
    monkeypatch.setattr(pace, "BLOCK", 10)
    monkeypatch.setattr(pace, "longest_at_once", lambda *_: 50)
    documents = [[rng.randrange(5) for _ in range(rng.randrange(12))] for _ in range(300)]
    monkeypatch.setattr(external_sort, "MIN_BLOCK", 40 * threads)
    writer = SegmentWriter(tmp_path / "segment-000001", "u16")
    sorter = BlockSorter(writer.folder, "u16", memory=0, threads=threads)
    for document in documents:
        start = writer.stream_len
        writer.add(np.array(document, np.uint16), b"{}")
        sorter.advance(start, writer.stream_len, writer.flush)
    writer.close()
    sorter.end()
    blocks = list(sorter.sorted_blocks())
    in_memory = [block for block in blocks if block.end <= 40 * threads]
    beyond = [block.end - block.start for block in blocks if block.start > 40 * threads]
    assert in_memory and max(block.end - block.start for block in in_memory) == 10
    assert beyond and max(beyond) <= 40 and sum(beyond) / len(beyond) > 25
    write_suffix_array(writer.folder, "u16", writer.stream_len, blocks, 0, threads, lambda *_: None)
    expected = NaiveIndex(documents, fmt.separator_of("u16")).suffix_array()
    assert np.fromfile(writer.folder / fmt.SUFFIX_ARRAY, "<u4").tolist() == expected
