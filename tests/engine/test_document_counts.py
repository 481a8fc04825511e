"""In how many documents: as brute force, over segments and deletions, and with any files."""

import itertools
import random
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from campaign import CAMPAIGN
from conftest import write_index
from everygram.engine import document_counts
from everygram.errors import DamagedIndexError, QueryError
from everygram.storage import directory
from everygram.storage import format as fmt
from naive import NaiveIndex

pytestmark = pytest.mark.usefixtures("kinds")

SEPARATOR = 255


def every_query(letters, longest):
    letters = [*letters, SEPARATOR]
    return [list(q) for k in range(longest + 1) for q in itertools.product(letters, repeat=k)]


def check(path, documents, queries):
    """Every road to a document count gives that of brute force."""
    naive = NaiveIndex(documents, SEPARATOR)
    counts = [naive.count(query) for query in queries]
    expected = [naive.document_count(query) for query in queries]
    with everygram.open(path) as index:
        many = index.document_count_batch(queries)
        assert many.document_counts.tolist() == expected
        assert many.counts.tolist() == counts
        assert [(int(one), one.count) for one in many] == list(zip(expected, counts, strict=True))
        single = [index.document_count(query) for query in queries]
        assert single == expected
        assert [one.count for one in single] == counts
        engine = index.engine
        intervals = engine.find_batch(engine.vocabulary.queries(queries))
        assert engine.documents_in(intervals).tolist() == expected


@pytest.mark.parametrize("counts", [True, False])
def test_every_corpus_of_two_letters(tmp_path, counts):
    words = [w for length in range(3) for w in itertools.product((0, 1), repeat=length)]
    queries = every_query((0, 1), 3)
    chosen = random.Random(0)
    corpora = list(itertools.product(words, repeat=3))
    for number, documents in enumerate(chosen.sample(corpora, 60 if CAMPAIGN else 25)):
        path = write_index(tmp_path / str(number), documents, "u8", counts=counts)
        check(path, documents, queries)


@settings(deadline=None, max_examples=200 if CAMPAIGN else 30)
@given(data=st.data())
def test_any_corpus_in_segments_without_what_is_deleted(tmp_path_factory, data):
    draw = data.draw
    documents = draw(st.lists(st.lists(st.integers(0, 2), max_size=12), min_size=1, max_size=12))
    segments = draw(st.integers(1, 5))
    gone = draw(st.sets(st.integers(0, len(documents) - 1), max_size=len(documents) - 1))
    deleted = [sorted(n for n in gone if n % 2), sorted(n for n in gone if n % 2 == 0)]
    made = sum(
        len(documents) * i // segments < len(documents) * (i + 1) // segments
        for i in range(segments)
    )
    counts = draw(st.lists(st.booleans(), min_size=made + 2, max_size=made + 2))
    path = tmp_path_factory.mktemp("i") / "i"
    wide = draw(st.booleans())
    with mock.patch.object(fmt, "WIDE_POSITIONS_FROM", 0 if wide else 2**32):
        write_index(path, documents, "u8", segments, deleted=deleted, counts=counts)
    live = [document for number, document in enumerate(documents) if number not in gone]
    with mock.patch.object(document_counts, "LOOKED_AT", draw(st.sampled_from([1, 3, 1 << 16]))):
        check(path, live, every_query((0, 1, 2), 3))


def test_larger_intervals(tmp_path):
    """Over many blocks and guides; both ends of an interval in one, and far from each other."""
    chosen = random.Random(4)
    documents = [[chosen.randrange(4) for _ in range(chosen.randrange(120))] for _ in range(300)]
    documents += [[]] * 3000 + [[3]] * 3000
    path = write_index(tmp_path / "i", documents, "u8", segments=2)
    queries = every_query((0, 1, 2, 3), 4)
    check(path, documents, [queries[0], *chosen.sample(queries, 60), [3], [SEPARATOR, SEPARATOR]])


def test_what_a_document_count_says(tmp_path):
    import copy
    import pickle

    everygram.build([{"text": "ab ab"}, {"text": "b"}, {"text": "ab"}], tmp_path / "i")
    with everygram.open(tmp_path / "i") as index:
        found = index.document_count("ab")
        for each in (found, pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
            assert each == 2
            assert (each.document_count, each.count, each.tokens) == (2, 3, ["a", "b"])
        assert found.as_dict() == {
            "token_ids": [97, 98],
            "tokens": ["a", "b"],
            "count": 3,
            "document_count": 2,
        }
        assert index.document_count("") == 3
        assert index.document_count([SEPARATOR, 97]) == 2
        many = index.document_count_batch([97, 98, 98], [0, 2, 3])
        assert np.asarray(many).tolist() == [2, 3]
        assert index.info()["document_counts"] is True
        for query in ([300], [-1], [1.5], [2**70], [True]):
            with pytest.raises(QueryError):
                index.document_count(query)


def test_an_empty_index(tmp_path):
    (tmp_path / "c.jsonl").write_text("")
    everygram.build(tmp_path / "c.jsonl", tmp_path / "i")
    with everygram.open(tmp_path / "i") as index:
        assert index.document_count([]) == index.document_count([97]) == 0
        assert index.document_count_batch([[], [97]]).document_counts.tolist() == [0, 0]
        assert index.info()["document_counts"] is True


@pytest.mark.parametrize("seed", range(200 if CAMPAIGN else 20))
def test_a_file_of_any_content_does_no_harm(tmp_path, monkeypatch, seed):
    """Answers or DamagedIndexError, and nothing read that is not the file's."""
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    chosen = random.Random(seed)
    documents = [[chosen.randrange(3) for _ in range(60)] for _ in range(99)]
    path = write_index(tmp_path / "i", documents, "u8", deleted=[[3, 5]])
    file = path / "segment-000001" / fmt.DOCUMENT_COUNTS
    words = np.frombuffer(file.read_bytes(), "<u8").copy()
    if seed % 3 == 0:
        words[:] = np.random.default_rng(seed).integers(0, 2**64, len(words), np.uint64)
    elif seed % 3 == 1:
        words[:] = chosen.choice([0, 2**64 - 1])
    else:
        for _ in range(4):
            words[chosen.randrange(len(words) - 9, len(words))] = chosen.choice(
                [2**63, 2**64 - 1, 2**40, 1, chosen.randrange(len(words))]
            )
    file.write_bytes(words.tobytes())
    queries = every_query((0, 1, 2), 3)
    refused = 0
    with everygram.open(path) as index:
        for query in queries:
            try:
                assert 0 <= index.document_count(query) <= index.num_documents + 2
            except DamagedIndexError as error:
                assert "verify" in str(error)
                refused += 1
        try:
            index.document_count_batch(queries)
        except DamagedIndexError:
            refused += 1
    assert refused or seed % 3 == 2


def test_no_more_documents_than_there_are(tmp_path, monkeypatch):
    """Bits that say that no two occurrences are in one document."""
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    path = write_index(tmp_path / "i", [[1] * 40, [1] * 40], "u8")
    file = path / "segment-000001" / fmt.DOCUMENT_COUNTS
    content = bytearray(file.read_bytes())
    content[:20] = b"\xff" * 20
    file.write_bytes(content)
    with everygram.open(path) as index:
        for ask in (index.document_count, lambda query: index.document_count_batch([query])):
            with pytest.raises(DamagedIndexError, match="documents that contradict"):
                ask([1])


def test_files_that_do_not_fit_their_counts(tmp_path):
    documents = [[1, 2], [1]]
    path = write_index(tmp_path / "i", documents, "u8")
    file = path / "segment-000001" / fmt.DOCUMENT_COUNTS
    file.write_bytes(file.read_bytes()[:-8])
    with pytest.raises(DamagedIndexError, match=r"document_counts\.bin: cut off"):
        everygram.open(path)


def test_looking_at_occurrences_that_lead_nowhere(tmp_path, monkeypatch):
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    path = write_index(tmp_path / "i", [[1, 2], [1]], "u8", counts=False)
    file = path / "segment-000001" / fmt.DOCUMENT_OFFSETS
    file.write_bytes(np.array([9, 9], "<u8").tobytes())
    with everygram.open(path) as index, pytest.raises(DamagedIndexError, match="do not ascend"):
        index.document_count([1])
