"""What `prepare` makes, against its definition: counts of left tokens, nodes, levels."""

import itertools
import random
import shutil
from collections import Counter, defaultdict
from unittest import mock

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.building import preparation
from everygram.errors import BuildError, DamagedIndexError, QueryError
from everygram.kernels import INTERPRETED
from everygram.kernels.documents import BLOCK_BITS, document_counts
from everygram.kernels.rows import COUNTS, DOCUMENTS
from everygram.storage import format as fmt
from everygram.storage import lcps, prepared
from everygram.storage.directory import read_manifest
from everygram.storage.disk import address_of
from everygram.storage.verify import verify

SEPARATOR = 255
CORPORA = [
    [[]],
    [[], []],
    [[0]],
    [[0, 0, 0, 0, 0, 0]],
    [[0, 1, 0, 1, 0], [1, 0, 1, 0, 1], []],
    [[0, 1, 2, 3]] * 5,
    [[2] * 30, [2] * 29, [1] + [2] * 30],
]
for seed in range(12):
    rng = random.Random(seed)
    letters = rng.choice([1, 2, 3, 6])
    some = [
        [rng.randrange(letters) for _ in range(rng.choice([0, 1, 4, 20]))]
        for _ in range(rng.randrange(1, 9))
    ]
    CORPORA.append(some + some[: seed % 3])
if INTERPRETED:  # which takes a second per corpus
    CORPORA = CORPORA[:9]


def ngrams_of(documents):
    """Of every n-gram: how often it occurs, and the set of tokens before it.

    An n-gram is a tuple of ids; a separator begins or ends a document.
    """
    occurs, lefts = Counter(), defaultdict(set)
    for document in documents:
        stream = [SEPARATOR, *document, SEPARATOR]
        for start, end in itertools.combinations(range(len(stream) + 1), 2):
            ngram = tuple(stream[start:end])
            if ngram == (SEPARATOR,) and start == 0:
                continue  # counted as an end
            occurs[ngram] += 1
            # (What begins a document is counted as it occurs.)
            left = (start, id(document), len(occurs)) if start == 0 else stream[start - 1]
            lefts[ngram].add(left)
    return occurs, lefts


def count_of(ngram, occurs, lefts):
    starts = ngram[0] == SEPARATOR and len(ngram) > 1
    return occurs[ngram] if starts else len(lefts[ngram])


def expected_levels(documents, most):
    occurs, lefts = ngrams_of(documents)
    levels = np.zeros((2, 4, most), np.int64)
    for ngram, often in occurs.items():
        for which, number in enumerate((count_of(ngram, occurs, lefts), often)):
            if number <= 4 and len(ngram) <= most:
                levels[which, number - 1, len(ngram) - 1] += 1
    return levels


def expected_nodes(index, documents, least):
    """The rows of nodes.bin, from the intervals of all n-grams that two tokens or more follow."""
    occurs, lefts = ngrams_of(documents)
    after = defaultdict(set)
    for ngram in occurs:
        after[ngram[:-1]].add(ngram[-1])
    rows = []
    for ngram in {*occurs, (SEPARATOR,)}:
        ended = ngram[-1] == SEPARATOR and len(ngram) > 1
        (lo, hi) = index.find(list(ngram)).intervals[0]
        if ended or len(after[ngram]) < 2 or hi - lo < least:
            continue
        children = [(*ngram, token) for token in after[ngram]]
        counts = [count_of(child, occurs, lefts) for child in children]
        often = [occurs[child] for child in children]
        ones = [counts.count(1), counts.count(2), often.count(1), often.count(2)]
        rows.append([hi, hi - lo, len(ngram), sum(counts), len(children), *ones])
    return sorted(rows)


def opened(path):
    return prepared.open_prepared(path, read_manifest(path).segments[0], True)


def names_in(folder):
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("documents", CORPORA)
def test_what_is_made_is_what_its_definition_says(tmp_path, monkeypatch, documents):
    monkeypatch.setattr(prepared, "LEAST", 2)
    path = write_index(tmp_path / "index", documents, "u8", vocab_size=7)
    made = everygram.prepare(path)
    files = opened(path)
    assert np.array_equal(files.levels, expected_levels(documents, files.levels.shape[2]))
    # The longest repeat is the longest n-gram that occurs twice; one level more is counted.
    repeats = [len(ngram) for ngram, often in ngrams_of(documents)[0].items() if often > 1]
    assert made.longest_repeat == max(repeats, default=0)
    assert files.levels.shape[2] == made.longest_repeat + 1
    assert made.bytes == sum(
        (path / fmt.LANGUAGE_MODEL / name).stat().st_size for name in prepared.FILES
    )
    ends = {(SEPARATOR, *document)[-1] for document in documents}
    assert files.info.ends == len(ends)
    occurs, lefts = ngrams_of(documents)
    with everygram.open(path) as index:
        # (A node whose n-grams end their documents is never looked up.)
        nodes = [
            row
            for row in files.nodes.tolist()
            if row[2] <= max(map(len, documents)) + 1 and row in expected_nodes(index, documents, 2)
        ]
        assert sorted(nodes) == expected_nodes(index, documents, 2)
        ends_first = [(row[0], row[1]) for row in files.nodes.tolist()]
        assert ends_first == sorted(ends_first)
        # The different tokens before every n-gram, read as documents are.
        row = index.engine.segments[0].prepare(7, ()).copy()
        row[COUNTS], row[DOCUMENTS] = address_of(files.lefts), files.info.lefts
        words = [ngram for ngram in occurs if ngram[0] != SEPARATOR]
        intervals = np.array([[index.find(list(ngram)).intervals[0]] for ngram in words])
        found = np.empty(len(words), np.int64)
        if words:
            assert document_counts(row[None], intervals, False, found) == -1
            assert found.tolist() == [len(lefts[ngram]) for ngram in words]
    assert verify(path, lambda done, total: None) == []


@pytest.mark.parametrize("documents", CORPORA[3:])
def test_any_budget_and_any_number_of_threads_give_the_same_bytes(tmp_path, monkeypatch, documents):
    monkeypatch.setattr(prepared, "LEAST", 3)
    path = write_index(tmp_path / "index", documents * 3, "u8")
    everygram.prepare(path)
    folder = path / fmt.LANGUAGE_MODEL
    expected = {name: (folder / name).read_bytes() for name in prepared.FILES}
    monkeypatch.setattr(lcps, "LEAST_LINKED", 64)
    for step, threads, narrow in ((5, 1, 2**32), (3, 3, 0), (64, 2, 0)):
        shutil.rmtree(folder)
        seen = []
        with (
            mock.patch.object(preparation, "STEP", step),
            mock.patch.object(lcps, "WRITE", step),
            mock.patch.object(lcps, "NARROW_BELOW", narrow),
        ):
            made = everygram.prepare(path, memory=1, threads=threads, progress=seen.append)
        assert {name: (folder / name).read_bytes() for name in prepared.FILES} == expected
        assert names_in(folder) == sorted([*prepared.FILES, prepared.INFO])
        assert list(made.seconds) == ["check", "prepare", "publish"]
        assert seen[-1].stage == "publish"
        prepared_so_far = [each.done for each in seen if each.stage == "prepare"]
        assert prepared_so_far == sorted(prepared_so_far)
        assert prepared_so_far[-1] == read_manifest(path).segments[0].stream_len


def test_wide_numbers(tmp_path, monkeypatch):
    path = write_index(tmp_path / "index", CORPORA[5], "u8")
    monkeypatch.setattr(prepared, "LEAST", 2)
    everygram.prepare(path)
    narrow = opened(path).nodes
    assert narrow.dtype == np.uint32
    shutil.rmtree(path / fmt.LANGUAGE_MODEL)
    monkeypatch.setattr(prepared, "WIDE_FROM", 1)
    everygram.prepare(path)
    wide = opened(path).nodes
    assert wide.dtype == np.uint64
    assert wide.tolist() == narrow.tolist()
    with everygram.open(path) as index:
        assert index.language_model(order=3).distribution([1, 2]).sum() == pytest.approx(1)


def test_the_bytes_of_a_tiny_index(tmp_path, monkeypatch):
    """The documents "ab" and "ba", as in the example of `format`."""
    monkeypatch.setattr(prepared, "LEAST", 2)
    path = write_index(tmp_path / "index", [[97, 98], [98, 97]], "u8", vocab_size=256 - 1)
    everygram.prepare(path)
    folder = path / fmt.LANGUAGE_MODEL
    # Ranks: ab| a| ba| b| |ab| |ba|, left tokens | b | a | b; two pairs of neighbours are alike.
    files = opened(path)
    assert files.info.lefts == 3
    bits = np.unpackbits(files.lefts[: BLOCK_BITS // 64].view(np.uint8), bitorder="little")
    # Each rank a one, before it a zero per repeat: the pairs (0, 2), (1, 5) and (2, 4) are those of
    # ranks 2, 4 and 4, where the first token changes.
    assert bits[:9].tolist() == [1, 1, 0, 1, 1, 0, 0, 1, 1]
    assert files.nodes.tolist() == [
        [2, 2, 1, 2, 2, 2, 0, 2, 0],
        [4, 2, 1, 2, 2, 2, 0, 2, 0],
        [6, 2, 1, 2, 2, 2, 0, 2, 0],
    ]
    assert files.guides.tolist() == [0]
    # a and b have two tokens before them each, and so has the end; all else occurs once.
    assert files.levels.tolist() == [
        [[0, 6], [3, 0], [0, 0], [0, 0]],
        [[0, 6], [3, 0], [0, 0], [0, 0]],
    ]
    assert names_in(folder) == sorted([*prepared.FILES, prepared.INFO])


def test_what_is_there_is_not_made_again(tmp_path):
    path = write_index(tmp_path / "index", CORPORA[4], "u8")
    first = everygram.prepare(path)
    assert first.seconds
    before = (path / fmt.LANGUAGE_MODEL / prepared.LEFTS).stat().st_ino
    again = everygram.prepare(path)
    assert again.seconds == {}
    assert (again.bytes, again.nodes) == (first.bytes, first.nodes)
    assert (path / fmt.LANGUAGE_MODEL / prepared.LEFTS).stat().st_ino == before


def test_an_index_without_documents(tmp_path):
    path = write_index(tmp_path / "index", [], "u8", vocab_size=9)
    made = everygram.prepare(path)
    assert (made.bytes, made.nodes, made.longest_repeat, made.seconds) == (0, 0, 0, {})
    with everygram.open(path) as index:
        for order in (1, 3, None):
            model = index.language_model(order=order)
            assert model.distribution([3]).tolist() == [0.1] * 10
            assert np.allclose(model.log_probs([1, 255]), np.log(0.1))


@pytest.mark.parametrize("name", [*prepared.FILES, prepared.INFO])
def test_damaged_files_are_refused(tmp_path, name):
    path = write_index(tmp_path / "index", [[0, 1, 2] * 40, [1, 2] * 9], "u8")
    with mock.patch.object(prepared, "LEAST", 2):
        everygram.prepare(path)
    file = path / fmt.LANGUAGE_MODEL / name
    whole = file.read_bytes()
    for damaged in (whole[:-3], whole + b"\0", bytes([whole[0] ^ 1]) + whole[1:], b"", None):
        if damaged is None:
            file.unlink()
        else:
            file.write_bytes(damaged)
        with everygram.open(path) as index:
            if damaged is None and name == prepared.INFO:
                with pytest.raises(QueryError, match="not prepared"):
                    index.language_model()
                continue
            with pytest.raises(DamagedIndexError, match="run 'everygram prepare' again"):
                index.language_model()
            assert verify(path, lambda done, total: None) != []
            assert index.count([0, 1]) == 40
    shutil.rmtree(path / fmt.LANGUAGE_MODEL)
    everygram.prepare(path)
    assert file.read_bytes() == whole or name in (prepared.NODES, prepared.GUIDES, prepared.INFO)


def test_a_damaged_preparation_is_made_anew(tmp_path, monkeypatch):
    path = write_index(tmp_path / "index", [[0, 1, 2] * 40, [1, 2] * 9], "u8")
    monkeypatch.setattr(prepared, "LEAST", 2)
    everygram.prepare(path)
    folder = path / fmt.LANGUAGE_MODEL
    for name in (*prepared.FILES, prepared.INFO):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-9])
        assert everygram.prepare(path).seconds
        assert (folder / name).read_bytes() == whole


def test_a_preparation_that_was_killed_leaves_nothing(tmp_path):
    path = write_index(tmp_path / "index", CORPORA[4], "u8")
    before = names_in(path)

    def stop(progress):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.prepare(path, progress=stop)
    assert names_in(path) == before
    # One that could not clean up: the next one does.
    left = path / (fmt.LANGUAGE_MODEL + ".tmp")
    left.mkdir()
    (left / prepared.NODES).write_bytes(b"cut off")
    everygram.prepare(path)
    assert names_in(path) == sorted([*before, fmt.LANGUAGE_MODEL])


@pytest.mark.parametrize("name", [fmt.TOKENS, fmt.SUFFIX_ARRAY, fmt.DOCUMENT_OFFSETS])
def test_damaged_data_is_not_counted(tmp_path, name):
    path = write_index(tmp_path / "index", CORPORA[4], "u8")
    file = path / fmt.segment_name(1) / name
    whole = file.read_bytes()
    file.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    before = names_in(path)
    with pytest.raises(DamagedIndexError, match=rf"{name}: content does not match its checksum"):
        everygram.prepare(path)
    assert names_in(path) == before
    file.write_bytes(whole)
    assert everygram.prepare(path).seconds


def test_a_disk_that_is_full(tmp_path):
    path = write_index(tmp_path / "index", CORPORA[4], "u8")
    with (
        mock.patch.object(shutil, "disk_usage", lambda path: mock.Mock(free=3)),
        pytest.raises(BuildError, match=r"no space left at .*: preparing it needs"),
    ):
        everygram.prepare(path)


@pytest.mark.parametrize("documents", CORPORA[2:9])
def test_ids_too_many_to_have_a_place_each(tmp_path, monkeypatch, documents):
    path = write_index(tmp_path / "index", documents, "u8")
    everygram.prepare(path)
    folder = path / fmt.LANGUAGE_MODEL
    expected = {name: (folder / name).read_bytes() for name in prepared.FILES}
    shutil.rmtree(folder)
    monkeypatch.setattr(preparation, "DENSE", 0)
    everygram.prepare(path)
    assert {name: (folder / name).read_bytes() for name in prepared.FILES} == expected


def test_a_vocabulary_too_large_for_distributions(tmp_path):
    path = write_index(tmp_path / "index", [[4_000_000_000, 1, 4_000_000_000]], "u32")
    everygram.prepare(path)
    with everygram.open(path) as index:
        model = index.language_model("infgram")
        assert model.prob([1], 4_000_000_000) == 1
        for ask in (
            index.language_model,
            lambda: index.language_model("infgram-floor"),
            lambda: model.distribution([1]),
            lambda: index.language_model("stupid-backoff").distribution([1]),
        ):
            with pytest.raises(QueryError, match="vocabulary of 4,294,967,295 ids: expected"):
                ask()
