"""Files that were damaged and are not checked: answers that may be wrong, or typed errors.

An index above 16 MiB is not read when it is opened. Here a small one is not either.
"""

import contextlib
import itertools
import math
import random
import signal

import numpy as np
import pytest
from fastapi.testclient import TestClient
from test_text_tokenizers import byte_fallback

import everygram
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.errors import DamagedIndexError, EverygramError
from everygram.kernels import INTERPRETED
from everygram.search.evaluate import Evaluation
from everygram.server.app import create_app
from everygram.server.settings import Settings
from everygram.storage import directory
from everygram.storage import format as fmt

QUERIES = {
    "count": lambda index, ids: index.count(ids),
    "count_batch": lambda index, ids: index.count_batch([ids, ids]),
    "document_count": lambda index, ids: index.document_count(ids),
    "document_count_batch": lambda index, ids: index.document_count_batch([ids, ids]),
    "prob": lambda index, ids: index.prob(ids, ids[-1]),
    "prob_batch": lambda index, ids: index.prob_batch([[*ids, ids[-1]]] * 2),
    "infgram_prob": lambda index, ids: index.infgram_prob(ids, ids[-1]),
    "infgram_prob_batch": lambda index, ids: index.infgram_prob_batch([[*ids, ids[-1]]] * 2),
    "ntd": lambda index, ids: index.ntd(ids),
    "ntd_batch": lambda index, ids: index.ntd_batch([ids, ids]),
    "infgram_ntd": lambda index, ids: index.infgram_ntd(ids),
    "infgram_ntd_batch": lambda index, ids: index.infgram_ntd_batch([ids, ids]),
    "ntd, sampled": lambda index, ids: index.ntd(ids, max_support=2),
    "score": lambda index, ids: index.score([*ids, *ids]),
    "score by 2-grams": lambda index, ids: index.score([*ids, *ids], order=2),
    "longest_matches": lambda index, ids: index.longest_matches([*ids, *ids]),
    "attribute": lambda index, ids: index.attribute([*ids, *ids], density=None),
    "attribute, partial words": lambda index, ids: index.attribute(
        [*ids, *ids], density=None, whole_words=False, documents=100, context=(3, 2, 1)
    ),
    "novelty": lambda index, ids: index.novelty([*ids, *ids]),
    "find": lambda index, ids: index.find(ids, limit=100),
    "find, sampled": lambda index, ids: index.find(ids, sample=3),
    "document": lambda index, ids: index.document(query=ids),
}


# Interpreted kernels take seconds for a text: one round is enough there, and short ones.
ROUNDS = 1 if INTERPRETED else None
REPEATED = 8 if INTERPRETED else 40


@pytest.fixture(autouse=True)
def not_checked(monkeypatch):
    """No index is so small that it is checked; and what hangs is killed."""
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    signal.alarm(300)
    yield
    signal.alarm(0)


@pytest.fixture
def below_zero(tmp_path):
    """An index that counts −99 of id 97: of 100 tokens that were deleted it says they are these."""
    path = write_index(tmp_path / "index", [[97, 98], [98] * 100, [97, 99]], "u8", deleted=[[1]])
    unigrams = path / fmt.segment_name(2) / fmt.UNIGRAMS
    content = bytearray(unigrams.read_bytes())
    assert np.frombuffer(content[16:], "<u4").tolist() == [98, 255]
    content[16:20] = (97).to_bytes(4, "little")
    unigrams.write_bytes(content)
    return path


@pytest.mark.parametrize("name", QUERIES)
def test_a_count_below_zero_is_damage(below_zero, name):
    with (
        everygram.open(below_zero) as index,
        pytest.raises(DamagedIndexError, match=r"index '.*': .*'everygram verify'"),
    ):
        QUERIES[name](index, [97])


def test_the_command_line_ends_with_1(below_zero, run):
    for command in ("count", "ntd", "score", "longest-matches", "find", "document"):
        code, out, err = run(command, below_zero, "--ids", "97")
        assert (code, out) == (1, ""), (command, err)
        assert err.startswith("error: "), command
        assert "damaged" in err, command
    code, out, _ = run("count", below_zero, "--ids", "-", stdin="97\n99\n")
    assert code == 1
    assert "damaged" in out.splitlines()[0]
    assert '"count": 1' in out.splitlines()[1]


def test_the_service_answers_a_problem(below_zero):
    settings = Settings(indexes={"index": below_zero}, access_log=False)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        for path, name in (
            ("count", "query"),
            ("ntd", "prompt"),
            ("infgram_ntd", "prompt"),
            ("score", "text"),
            ("longest_matches", "text"),
            ("novelty", "text"),
            ("find", "query"),
            ("document", "query"),
        ):
            answer = client.post(f"/v1/indexes/index/{path}", json={name: [97]})
            assert answer.status_code == 503, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
            assert "the service's log says why" in answer.json()["detail"], answer.text
        # The service goes on.
        assert client.post("/v1/indexes/index/count", json={"query": [99]}).json()["count"] == 1


def test_more_with_a_token_behind_than_without(tmp_path):
    path = write_index(tmp_path / "index", [[1, 2]] * 20 + [[3, 2]] * 5, "u8")
    unigrams = path / fmt.segment_name(1) / fmt.UNIGRAMS
    content = np.frombuffer(unigrams.read_bytes(), "<u8", 4).copy()
    assert content.tolist() == [0, 20, 45, 50]
    # Of id 1 there are 2, it says; its 20 neighbours say otherwise.
    content[1] = 2
    unigrams.write_bytes(content.tobytes() + unigrams.read_bytes()[32:])
    with everygram.open(path) as index:
        for ask in (
            lambda: index.prob([1], 2),
            lambda: index.infgram_prob([1], 2),
            lambda: index.prob_batch([[1, 2]]),
            lambda: index.infgram_prob_batch([[1, 2]]),
            lambda: index.score([1, 2]),
        ):
            with pytest.raises(DamagedIndexError):
                ask()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (
            fmt.UNIGRAMS,
            np.array([0, 9, 4], "<u8").tobytes() + np.array([1, 2, 255], "<u4").tobytes(),
        ),
        (
            fmt.UNIGRAMS,
            np.array([1, 2, 4], "<u8").tobytes() + np.array([1, 2, 255], "<u4").tobytes(),
        ),
        (
            fmt.UNIGRAMS,
            np.array([0, 2, 9], "<u8").tobytes() + np.array([1, 2, 255], "<u4").tobytes(),
        ),
        (
            fmt.UNIGRAMS,
            np.array([0, 2, 4], "<u8").tobytes() + np.array([2, 1, 255], "<u4").tobytes(),
        ),
        (fmt.SUFFIX_ARRAY, np.full(6, 2**32 - 1, "<u4").tobytes()),
        (fmt.DOCUMENT_OFFSETS, np.array([3, 0], "<u8").tobytes()),
        (fmt.DOCUMENT_OFFSETS, np.array([2**63, 2**64 - 1], "<u8").tobytes()),
    ],
)
def test_what_cannot_be_is_said_of_the_file(tmp_path, name, content):
    """The documents [1, 2] and [2, 1]."""
    path = write_index(tmp_path / "index", [[1, 2], [2, 1]], "u8")
    file = path / fmt.segment_name(1) / name
    assert file.stat().st_size == len(content)
    file.write_bytes(content)
    ask = (lambda index: index.ntd([])) if name == fmt.UNIGRAMS else whole
    with everygram.open(path) as index, pytest.raises(DamagedIndexError, match=name):
        ask(index)


@pytest.mark.parametrize("offsets", [[2**64 - 1] * 3, [2**63 + 4] * 3, [4, 5, 6]])
def test_places_that_are_in_no_document(tmp_path, offsets):
    """The documents [1, 2], of two segments; the second segment says that they begin elsewhere."""
    path = write_index(tmp_path / "index", [[1, 2]] * 6, "u8", 2)
    file = path / fmt.segment_name(2) / fmt.DOCUMENT_OFFSETS
    file.write_bytes(np.array(offsets, "<u8").tobytes())
    with everygram.open(path) as index:
        for ask in (
            lambda: index.attribute([1, 2], density=None),
            lambda: index.find([1, 2]),
            lambda: [index.document(query=[1, 2], occurrence=number) for number in range(6)],
        ):
            with pytest.raises(DamagedIndexError, match=fmt.DOCUMENT_OFFSETS):
                ask()


def test_a_span_that_reaches_beyond_its_document(tmp_path):
    path = write_index(tmp_path / "index", [[1, 2]] * 20, "u8")
    file = path / fmt.segment_name(1) / fmt.SUFFIX_ARRAY
    suffixes = np.frombuffer(file.read_bytes(), "<u4").copy()
    assert (suffixes[:20] % 3 == 1).all(), "they start with [1, 2]"
    # The last token of a document instead of its first, where no search looks.
    suffixes[6] += 1
    file.write_bytes(suffixes.tobytes())
    with everygram.open(path) as index:
        assert index.count([1, 2]) == 20
        with pytest.raises(DamagedIndexError, match="beyond its document"):
            index.attribute([1, 2], density=None, documents=100)


def test_a_match_of_a_search_that_reaches_beyond_its_document(tmp_path, monkeypatch):
    everygram.build([{"text": "ab"}] * 20, tmp_path / "index")
    sound = Evaluation.rows

    def moved(self, documents):
        rows = sound(self, documents)
        rows.tokens[:] += 1
        return rows

    with everygram.open(tmp_path / "index") as index:
        assert len(index.search("ids:97,98").hits) == 10
        monkeypatch.setattr(Evaluation, "rows", moved)
        with pytest.raises(DamagedIndexError, match="beyond its document"):
            index.search("ids:97,98")


def test_an_occurrence_in_a_document_that_there_is_not(tmp_path):
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in "xab"]), path)
    everygram.delete(path, documents=[0])
    everygram.compact(path)
    [numbers] = path.glob(f"segment-*/{fmt.DOCUMENT_NUMBERS}")
    assert np.frombuffer(numbers.read_bytes(), "<u8").tolist() == [1, 2]
    numbers.write_bytes(np.array([1, 9], "<u8").tobytes())
    with everygram.open(path) as index:
        for ask in (
            lambda: index.attribute("b", density=None),
            lambda: index.find("b", context=1),
            lambda: index.document(query="b"),
            lambda: index.document(text="b"),
            lambda: index.find_text("b", context=1),
            lambda: index.search("b"),
        ):
            with pytest.raises(DamagedIndexError, match="in a document that is not there"):
                ask()


def test_a_token_outside_the_vocabulary_behind_a_match(tmp_path):
    """Of a tokenizer that drops a space before a document, the bytes before a match are counted."""
    (tmp_path / "tokenizer.json").write_bytes(byte_fallback())
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "the quick brown fox " * 9}] * 2)
    path = tmp_path / "index"
    everygram.build(corpus, path, str(tmp_path / "tokenizer.json"))
    tokens = path / fmt.segment_name(1) / fmt.TOKENS
    # (The last token of each document.)
    ids = np.frombuffer(tokens.read_bytes(), "<u2").copy()
    ids[[ids.shape[0] // 2 - 1, -1]] = 60000
    tokens.write_bytes(ids.tobytes())
    with (
        everygram.open(path) as index,
        pytest.raises(DamagedIndexError, match="it holds token id 60000"),
    ):
        index.attribute("the quick brown", density=None, context=(1, 1, 1), raw=True)


def whole(index):
    """All occurrences and documents."""
    index.find([1], limit=10)
    for number in range(2):
        index.document(number)


def test_fewer_occurrences_than_are_counted(tmp_path):
    path = tmp_path / "index"
    texts = ["ab", "ab", "b"]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts]), path)
    everygram.delete(path, documents=[2])
    # It says now that document 0 was deleted, but its counts are those of document 2.
    numbers = path / fmt.segment_name(2) / fmt.DOCUMENT_NUMBERS
    numbers.write_bytes(bytes(8))
    with everygram.open(path) as index:
        assert index.count("ab") == 2
        assert index.document(query="ab").number == 1
        for ask in (
            lambda: index.find("ab"),
            lambda: index.find("ab", sample=2),
            lambda: index.document(query="ab", occurrence=1),
        ):
            with pytest.raises(DamagedIndexError, match="fewer occurrences than are counted"):
                ask()


def checked(index, ids):
    """Ask everything; whatever answers, counts are counts."""
    for name, query in QUERIES.items():
        try:
            found = query(index, ids)
        except EverygramError:
            continue
        if name == "count":
            assert found >= 0
        elif name == "document_count":
            assert 0 <= found <= found.count
        elif name in ("prob", "infgram_prob"):
            assert 0 <= found.continuation_count <= found.prompt_count
            assert math.isnan(found.prob) or 0 <= found.prob <= 1
        elif name in ("ntd", "infgram_ntd"):
            assert found.counts.sum() == found.prompt_count >= 0
            assert len(found) == 0 or found.counts.min() > 0
        elif name.startswith("score"):
            assert (found.continuation_counts >= 0).all()
            assert (found.continuation_counts <= found.prompt_counts).all()
        elif name == "longest_matches":
            assert ((found.counts > 0) == (found.lengths > 0)).all()
        elif name == "novelty":
            assert ((found.new_ngrams >= 0) & (found.new_ngrams <= found.num_ngrams)).all()
            assert found.covered_tokens.max() <= found.num_tokens
        elif name == "find":
            assert len(found) == min(100, found.count)
        as_shown(found)


def as_shown(found):
    """A result shown in every way there is."""
    with contextlib.suppress(EverygramError):
        repr(found)
        if hasattr(found, "as_dict"):
            found.as_dict()
        if hasattr(found, "_repr_html_"):
            found._repr_html_()


def damage(content, rng):
    """Some bytes of a file changed, or all of them in a stretch."""
    damaged = bytearray(content)
    way = rng.randrange(3)
    for _ in range(rng.choice([1, 3, 20])):
        place = rng.randrange(len(damaged))
        damaged[place] = rng.choice([0, 255, damaged[place] ^ (1 << rng.randrange(8))])
    if way == 1:
        start = rng.randrange(len(damaged))
        end = min(len(damaged), start + rng.choice([8, 64, 4096]))
        damaged[start:end] = rng.randbytes(end - start)
    elif way == 2:
        return bytes(len(damaged)) if rng.random() < 0.5 else b"\xff" * len(damaged)
    return bytes(damaged)


@pytest.mark.parametrize(
    ("tokenizer", "kind"),
    [("bytes", "suffix-array"), ("bytes", "self-index"), ("train:300", "self-index")],
)
def test_whatever_is_damaged_answers_or_says_so(tmp_path, tokenizer, kind):
    """Of an index with deletions, each file of each segment damaged at random."""
    rng = random.Random(tokenizer + kind)
    texts = ["".join(rng.choices("ab c", k=rng.randrange(60))) for _ in range(60)]
    texts[7] = "ab " * (4 * REPEATED)
    corpus = write_jsonl(tmp_path / "0.jsonl", [{"text": text} for text in texts])
    more = write_jsonl(tmp_path / "1.jsonl", [{"text": text} for text in texts[:9]])
    path = tmp_path / "index"
    everygram.build(corpus, path, tokenizer, kind=kind)
    everygram.add(path, more)
    everygram.delete(path, documents=[3, 7, 8, 64])
    with everygram.open(path) as index:
        asked = [index.encode(text) for text in ("a", "ab", "b c a", "ab " * REPEATED, "zzz")]
        asked = [ids.tolist() for ids in asked]
        asked += [[index.separator], [index.separator, *asked[0]], [*asked[0], index.separator]]
    files = sorted(file for file in path.glob("segment-*/*.bin") if file.name != fmt.CHECKSUMS)
    for _, file in itertools.product(range(ROUNDS or sized(3, 40)), files):
        content = file.read_bytes()
        file.write_bytes(damage(content, rng))
        with contextlib.suppress(EverygramError), everygram.open(path) as index:
            for ids in rng.sample(asked, 1 if INTERPRETED else 3):
                checked(index, ids)
            for number in range(0, 69, 7):
                with contextlib.suppress(EverygramError):
                    as_shown(index.document(number))
        file.write_bytes(content)


def test_files_overwritten_while_a_text_is_matched(tmp_path):
    """What matched a moment ago no longer does: that must not be looked for for ever."""
    path = write_index(tmp_path / "index", [[1, 2, 3] * 100], "u8")
    tokens = path / fmt.segment_name(1) / fmt.TOKENS
    with everygram.open(path) as index:
        engine = index.engine
        fill = engine._fill

        def fill_and_overwrite(*arguments):
            fill(*arguments)
            with tokens.open("r+b") as file:
                file.write(b"\x07" * 301)

        engine._fill = fill_and_overwrite
        with pytest.raises(DamagedIndexError, match="shorter than a part of it"):
            index.longest_matches([1, 2, 3] * 50)


def test_a_vocabulary_of_one_id_and_long_matches(tmp_path):
    """A key holds 64 tokens of it: a search for more takes another way, and may find less."""
    path = write_index(tmp_path / "index", [[0] * (25 * REPEATED), [0] * 200], "u8", 1, 1, [[1]])
    rng = random.Random(2)
    files = sorted(path.glob("segment-*/*.bin"))
    for _, file in itertools.product(range(ROUNDS or sized(4, 40)), files):
        content = file.read_bytes()
        file.write_bytes(damage(content, rng))
        with everygram.open(path) as index:
            for query in (QUERIES["longest_matches"], QUERIES["score"]):
                with contextlib.suppress(EverygramError):
                    query(index, [0] * 100)
        file.write_bytes(content)
