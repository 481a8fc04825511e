"""The perplexity of documents is what its definition says, however they are batched."""

import itertools
import math
import pickle
import threading

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.errors import EverygramError, QueryError, TokenizerError
from everygram.lm import perplexity as lm
from everygram.lm.ordered import in_order
from everygram.lm.perplexity import encoded, perplexities, perplexity_of
from everygram.results.perplexity import Perplexity
from everygram.tokenizer.base import ByteTokenizer, RefusedTextError

pytestmark = pytest.mark.usefixtures("kinds")

END = 255
TEXTS = ["natural language", "", "the  lazy\ndog ", "é 日本", "zebra", " "]


def log_probs_of(ids):
    """A model of its own: a probability that depends on the token and its place; 9 has none."""
    places = np.arange(len(ids))
    with np.errstate(divide="ignore"):
        return np.log(np.where(ids == 9, 0.0, 1 / (2 + ids % 7 + places % 3)))


def batch(ids, offsets):
    assert ids.dtype.kind in "iu" and offsets[0] == 0 and offsets[-1] == len(ids)
    return [log_probs_of(ids[a:b]) for a, b in itertools.pairwise(offsets)]


def by_hand(documents, end):
    """(tokens, log-likelihood without zeros, zeros), one event after another."""
    tokens, total, zeros = 0, 0.0, 0
    for ids in documents:
        events = [*ids, *([] if end is None else [end])]
        for log_prob in log_probs_of(np.array(events, np.int64)):
            tokens += 1
            if log_prob == -math.inf:
                zeros += 1
            else:
                total += log_prob
    return tokens, total, zeros


@pytest.fixture(params=[(1, 1), (7, 100), (1 << 15, 3), (1 << 15, 1 << 10)])
def batches(request, monkeypatch):
    monkeypatch.setattr(lm, "BATCH_TOKENS", request.param[0])
    monkeypatch.setattr(lm, "BATCH_DOCUMENTS", request.param[1])


@pytest.mark.parametrize("end", [None, END])
@pytest.mark.parametrize("threads", [1, 3, None])
def test_documents_in_any_batches(batches, end, threads):
    rng = np.random.default_rng(4)
    documents = [rng.integers(0, 12, rng.integers(0, 30), np.uint16) for _ in range(50)]
    given = [(ids, None) for ids in documents]
    found = list(perplexities(iter(given), batch, end, threads))
    assert len(found) == 50
    for one, ids in zip(found, documents, strict=True):
        tokens, total, zeros = by_hand([ids], end)
        assert (one.documents, one.tokens, one.zeros) == (1, tokens, zeros)
        assert one.log_likelihood_without_zeros == pytest.approx(total)
        assert one.log_likelihood == (-math.inf if zeros else pytest.approx(total))
    whole = perplexity_of(given, batch, end, threads)
    tokens, total, zeros = by_hand(documents, end)
    assert (whole.documents, whole.tokens, whole.zeros) == (50, tokens, zeros)
    assert whole.log_likelihood_without_zeros == pytest.approx(total)
    assert whole == sum(found) and whole.log_likelihood == -math.inf


def test_per_token_per_word_and_per_byte():
    documents = encoded(iter(TEXTS), ByteTokenizer().encode_batch)
    found = perplexity_of(documents, batch)
    words, sizes = sum(len(t.split()) for t in TEXTS), sum(len(t.encode()) for t in TEXTS)
    assert (found.words, found.bytes, found.tokens) == (words, sizes, sizes) == (8, 45, 45)
    total = found.log_likelihood
    assert total == pytest.approx(by_hand([list(t.encode()) for t in TEXTS], None)[1])
    assert found.perplexity == pytest.approx(math.exp(-total / found.tokens))
    assert found.perplexity == found.perplexity_without_zeros
    assert found.word_perplexity == pytest.approx(math.exp(-total / words))
    assert found.byte_perplexity == pytest.approx(2**found.bits_per_byte)
    assert found.bits_per_byte == pytest.approx(-total / math.log(2) / sizes)
    assert found.as_dict() == {
        "documents": 6,
        "tokens": 45,
        "words": 8,
        "bytes": 45,
        "log_likelihood": total,
        "perplexity": found.perplexity,
        "word_perplexity": found.word_perplexity,
        "byte_perplexity": found.byte_perplexity,
        "bits_per_byte": found.bits_per_byte,
        "zeros": 0,
        "log_likelihood_without_zeros": total,
        "perplexity_without_zeros": found.perplexity,
    }
    assert pickle.loads(pickle.dumps(found)) == found
    assert repr(found) == f"Perplexity({found.perplexity:.6g} per token, 45 tokens)"


def test_zeros_make_it_infinite():
    found = perplexity_of([(np.array([1, 9, 2, 9]), None)], batch)
    assert (found.zeros, found.log_likelihood, found.perplexity) == (2, -math.inf, math.inf)
    without = log_probs_of(np.array([1, 9, 2, 9]))[[0, 2]].sum()
    assert found.log_likelihood_without_zeros == pytest.approx(without)
    assert found.perplexity_without_zeros == pytest.approx(math.exp(-without / 2))
    told = found.as_dict()
    assert (told["log_likelihood"], told["perplexity"], told["zeros"]) == (None, None, 2)
    assert repr(found) == "Perplexity(inf per token, 4 tokens, 2 of probability 0)"


def test_words_are_unknown_if_a_document_is_ids():
    given = [np.array([1, 2]), "a b"]
    one, two = perplexities(encoded(given, ByteTokenizer().encode_batch), batch)
    assert (one.words, one.bytes, two.words, two.bytes) == (None, None, 2, 3)
    assert (one + two).words is None and math.isnan((one + two).bits_per_byte)
    assert math.isnan((one + two).word_perplexity) and not math.isnan((one + two).perplexity)


def test_of_nothing_there_is_no_perplexity():
    none = perplexity_of([], batch)
    assert (none.documents, none.tokens, none.log_likelihood) == (0, 0, 0)
    assert math.isnan(none.perplexity) and none.as_dict()["perplexity"] is None
    empty = perplexity_of([(np.empty(0, np.uint8), "")], batch)
    assert (empty.documents, empty.tokens) == (1, 0) and math.isnan(empty.perplexity)
    with_end = perplexity_of([(np.empty(0, np.uint8), "")], batch, END)
    assert with_end.tokens == 1 and with_end.perplexity == pytest.approx(2 + END % 7)


def test_what_is_past_all_floats_is_infinite():
    assert Perplexity(1, 1, 1, 1, -1e9, 0, -1e9).perplexity == math.inf


def test_only_perplexities_are_added():
    with pytest.raises(TypeError):
        Perplexity(1, 1, 1, 1, -1.0, 0, -1.0) + 1
    with pytest.raises(TypeError):
        1 + Perplexity(1, 1, 1, 1, -1.0, 0, -1.0)


class Choosy(ByteTokenizer):
    """Refuses texts with an x, and a batch that has one; notes what it was asked."""

    def __init__(self):
        self.asked = []

    def encode_batch(self, texts):
        self.asked.append(len(texts))
        if any("x" in text for text in texts):
            raise RefusedTextError("an x")
        return super().encode_batch(texts)


@pytest.mark.parametrize(("chars", "texts"), [(1, 1), (5, 100), (1000, 2), (1000, 1000)])
def test_texts_are_encoded_in_batches(monkeypatch, chars, texts):
    monkeypatch.setattr(lm, "ENCODED_CHARS", chars)
    monkeypatch.setattr(lm, "ENCODED_TEXTS", texts)
    tokenizer = Choosy()
    given = [*TEXTS, np.array([3, 4]), "end"]
    found = list(encoded(iter(given), tokenizer.encode_batch))
    assert [text for _, text in found] == [*TEXTS, None, "end"]
    assert [ids.tolist() for ids, _ in found] == [
        *([*text.encode()] for text in TEXTS),
        [3, 4],
        [*b"end"],
    ]
    assert sum(tokenizer.asked) == len(TEXTS) + 1
    assert max(tokenizer.asked) <= texts
    with pytest.raises(TokenizerError, match=r"^document 3: an x"):
        list(encoded(["a", "b", "cx", "d", "x"], tokenizer.encode_batch))
    refused = []
    found = encoded(
        ["x", np.array([1]), "b", "cx", "d"],
        tokenizer.encode_batch,
        lambda number, error: refused.append((number, str(error))),
    )
    assert [text for _, text in found] == [None, "b", "d"]
    assert refused == [(0, "document 1: an x"), (3, "document 4: an x")]


def test_results_come_in_order_and_little_is_taken_ahead():
    taken, done = [], threading.Event()

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    def work(number):
        if number == 0:
            done.wait(5)
        else:
            done.set()
        return number * 2

    results = in_order(work, items(), 3)
    assert next(results) == 0
    assert len(taken) <= 4
    assert list(results) == [2 * number for number in range(1, 20)]
    assert list(in_order(work, [], 3)) == []


def test_what_work_raises_is_raised_in_its_turn():
    begun = []

    def work(number):
        begun.append(number)
        if number == 2:
            raise QueryError("two")
        return number

    results = in_order(work, iter(range(1000)), 2)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(QueryError, match="two"):
        next(results)
    assert len(begun) < 10


@pytest.fixture(scope="module")
def index(tmp_path_factory, kinds):
    rng = np.random.default_rng(8)
    documents = [rng.integers(0, 5, rng.integers(0, 12)).tolist() for _ in range(40)]
    path = write_index(
        tmp_path_factory.mktemp("perplexity") / "index", documents, "u8", vocab_size=6
    )
    everygram.prepare(path)
    with everygram.open(path) as opened:
        yield opened


MODELS = [
    ("infgram", {}),
    ("infgram", {"order": 2}),
    ("stupid-backoff", {"order": 3}),
    ("infgram-floor", {}),
    ("infgram-floor", {"order": 2}),
    ("modified-kneser-ney", {}),
    ("modified-kneser-ney", {"order": 3}),
]


@pytest.mark.parametrize(("smoothing", "given"), MODELS)
def test_a_model_measures_documents_from_their_start(index, smoothing, given):
    model = index.language_model(smoothing, **given)
    rng = np.random.default_rng(9)
    texts = [rng.integers(0, 6, rng.integers(0, 9)).tolist() for _ in range(30)]
    for document_end in (False, True):
        found = model.perplexity(iter(texts), document_end=document_end)
        total, tokens, zeros = 0.0, 0, 0
        for text in texts:
            before = [index.separator]
            for token in [*text, index.separator] if document_end else text:
                event = index.vocab_size if token == index.separator else token
                prob = model.distribution(before)[event]
                tokens, zeros = tokens + 1, zeros + (prob == 0)
                total += math.log(prob) if prob else 0
                before.append(token)
        assert (found.documents, found.tokens, found.zeros) == (30, tokens, zeros)
        assert found.log_likelihood_without_zeros == pytest.approx(total)
    assert (found.zeros > 0) == (smoothing in ("infgram", "stupid-backoff"))


def test_texts_are_encoded_as_documents(tmp_path, texts):
    """Without the prefix that queries have."""
    from conftest import write_jsonl

    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in texts])
    everygram.build(corpus, tmp_path / "index", "train:270")
    with everygram.open(tmp_path / "index") as index:
        model = index.language_model("infgram")
        found = model.perplexity(texts)
        # Each text is in the index: nothing has probability 0, however documents are read.
        assert found.zeros == 0
        ids = [index.document(number).token_ids.tolist() for number in range(len(texts))]
        assert found.log_likelihood == pytest.approx(model.perplexity(ids).log_likelihood)
        assert (found.words, model.perplexity(ids).words) == (len(" ".join(texts).split()), None)


def test_what_is_no_document_is_refused(index):
    model = index.language_model("infgram")
    for texts in ("a text", b"ab", {"a": 1}, 3, None, [[9]], ["a"], [None], [[1], [0.5]]):
        with pytest.raises(EverygramError):
            model.perplexity(texts)
    with pytest.raises(QueryError, match=r"found one text, 'a text'; give \[text\]"):
        model.perplexity("a text")
    for ids in ([1, 2], np.array([1, 2], np.uint16)):
        with pytest.raises(QueryError, match=r"texts\[0\]: .*found the number .*give \[ids\]"):
            model.perplexity(ids)
    with pytest.raises(QueryError, match=r"texts\[1\]\[0\]: token id 9 is outside"):
        model.perplexity([[1], [9]])
    with pytest.raises(EverygramError, match="document_end: expected True or False"):
        model.perplexity([[1]], document_end=1)
