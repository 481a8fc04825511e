"""λ against a fine grid, mixtures against the oracle, intervals, and what a forest may look at."""

import json
import math
import random
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import everygram
from conftest import write_index, write_jsonl
from everygram.analysis import ScoredDocument, interpolate, read_log_probs, write_log_probs
from everygram.analysis.forest import SUFFIXES, TREES, Forest, features_of
from everygram.analysis.mixing import Tokens, best_lambdas, mixed, ratios, shares
from everygram.analysis.scores import tokens_of
from everygram.errors import CorpusError, MissingExtraError, OptionError, QueryError
from everygram.results.interpolation import delta
from naive import NaiveIndex
from test_errors import check

NAN, INF = float("nan"), float("inf")
GRID = np.linspace(0, 1, 2_001)
VOCABULARY = 6


def tokens(neural, infgram, sparse=None, document=None):
    count = len(neural)
    document = np.zeros(count, np.int64) if document is None else np.array(document)
    return Tokens(
        np.array(neural, float),
        np.array(infgram, float),
        np.zeros(count, bool) if sparse is None else np.array(sparse),
        document,
        int(document.max(initial=0)) + 1,
    )


def log_likelihood(ratio, lam, weight):
    """Up to what λ does not change: Σ w·ln(λ + (1−λ)·ratio), and Σ w·ln(1−λ) where P∞ is 0."""
    total = 0.0
    for each, times in zip(ratio, weight, strict=True):
        value = 1 - lam if each == INF else lam + (1 - lam) * each
        total += times * (math.log(value) if value > 0 else -INF)
    return total


# λ of a group


RATIO = st.one_of(
    st.sampled_from([0.0, 1.0, INF, 1e-300, 1e-9, 1e9, 0.5, 2.0]), st.floats(1e-6, 1e6)
)


@given(
    st.lists(st.tuples(RATIO, st.integers(0, 3), st.sampled_from([1.0, 2.0, 0.25])), max_size=25)
)
@example([(INF, 0, 1.0), (0.0, 0, 1.0), (INF, 1, 1.0), (0.5, 2, 1.0)])
def test_no_lambda_of_a_grid_is_better(rows):
    ratio, group, weight = (np.array(column) for column in zip(*rows, strict=True)) if rows else (
        np.empty(0), np.empty(0, np.int64), np.empty(0)
    )  # fmt: skip
    found = best_lambdas(ratio, group.astype(np.int64), 4, weight)
    assert ((found >= 0) & (found <= 1)).all()
    for number, lam in enumerate(found):
        here = group == number
        best = max(log_likelihood(ratio[here], each, weight[here]) for each in GRID)
        assert log_likelihood(ratio[here], lam, weight[here]) >= best - 1e-9


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        ([], 0),
        ([INF, INF], 0),  # P∞ is 0 everywhere
        ([3.0, INF], 0),  # the neural model is better everywhere
        ([1.0, 1.0], 0),  # λ changes nothing
        ([0.5, 0.1, 0.0], 1),  # the ∞-gram is better everywhere
        ([0.0, INF], 0.5),
        ([0.0, 0.0, 0.0, INF], 0.75),
        ([0.0] * 9_999 + [INF], 0.9999),
        ([0.0] + [INF] * 9_999, 0.0001),
        ([0.5, INF], 0),  # slope 1 − 1 at λ = 0
        ([0.25, INF], 1 / 3),
        ([0.5, 2.0], 0.5),
    ],
)
def test_lambda_of_named_cases(ratio, expected):
    group = np.zeros(len(ratio), np.int64)
    assert best_lambdas(np.array(ratio), group, 1)[0] == pytest.approx(expected, abs=1e-12)


def test_a_weight_is_so_many_tokens():
    ratio = np.array([0.2, 5.0, INF, 0.0])
    times = np.array([3, 2, 4, 1])
    group = np.zeros(4, np.int64)
    repeated = best_lambdas(np.repeat(ratio, times), np.repeat(group, times), 1)
    assert best_lambdas(ratio, group, 1, times) == pytest.approx(repeated, abs=1e-12)
    assert not np.isclose(best_lambdas(ratio, group, 1), repeated)


def test_mixtures_are_exact_at_all_ends():
    of = tokens([-1.0, -INF, -2.0, -INF, -800.0], [0.5, 0.25, 0.0, 0.0, 0.0])
    assert mixed(of, 0.0) == pytest.approx([-1, -INF, -2, -INF, -800])
    assert mixed(of, 1.0) == pytest.approx([math.log(0.5), math.log(0.25), -INF, -INF, -INF])
    half = [math.log(0.5 * 0.5 + 0.5 * math.exp(-1)), math.log(0.125)]
    expected = [*half, -2 + math.log(0.5), -INF, -800 + math.log(0.5)]
    assert mixed(of, np.full(5, 0.5)) == pytest.approx(expected)
    assert ratios(of) == pytest.approx([math.exp(-1) / 0.5, 0, INF, 1, INF])
    # Where both models say 0, λ changes nothing, and so does the token.
    assert best_lambdas(ratios(of)[[0, 3]], np.zeros(2, int), 1) == best_lambdas(
        ratios(of)[:1], np.zeros(1, int), 1
    )
    share = [0.25 / (0.25 + 0.5 * math.exp(-1)), 1, 0]
    assert shares(ratios(of)[:3], np.full(3, 0.5)) == pytest.approx(share)
    assert shares(np.array([0.0, 2.0, INF]), np.zeros(3)).tolist() == [0, 0, 0]


def test_delta_is_the_papers():
    assert delta(22.86, 13.58) == pytest.approx(42, abs=0.5)
    assert delta(5.83, 5.06) == pytest.approx(16, abs=0.5)
    assert delta(2.0, 3.0) == -100
    assert delta(INF, 5.0) == 100
    assert math.isnan(delta(1.0, 1.0)) and math.isnan(delta(INF, INF))


# Both models together


def some_documents(seed, count, length):
    """Documents with repeats between them, of ids below VOCABULARY."""
    chance = random.Random(seed)
    phrases = [[chance.randrange(VOCABULARY) for _ in range(5)] for _ in range(4)]
    return [
        [
            token
            for _ in range(length)
            for token in (
                chance.choice(phrases)
                if chance.random() < 0.5
                else [chance.randrange(VOCABULARY) for _ in range(2)]
            )
        ]
        for _ in range(count)
    ]


def with_log_probs(documents, seed):
    """What a model might say of documents: most tokens are scored, the first of most is not."""
    chance = random.Random(seed)
    return [
        ScoredDocument(
            document,
            [
                None if place == 0 or chance.random() < 0.1 else math.log(chance.uniform(0.02, 0.9))
                for place, _ in enumerate(document)
            ],
        )
        for document in documents
    ]


@pytest.fixture(scope="module")
def corpus():
    return some_documents(1, 12, 6)


@pytest.fixture(scope="module")
def index(tmp_path_factory, corpus):
    path = tmp_path_factory.mktemp("interpolation") / "index"
    write_index(path, corpus, "u8", segments=2, vocab_size=VOCABULARY)
    with everygram.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def tuning():
    # (The same phrases, other documents.)
    return with_log_probs(some_documents(1, 20, 6)[12:], 3)


@pytest.fixture(scope="module")
def testing():
    return with_log_probs(some_documents(1, 26, 6)[20:], 4)


def by_hand(index, corpus, documents):
    """(neural probability, P∞, sparse, document) of every scored token, by the oracle."""
    oracle = NaiveIndex(corpus, index.separator)
    rows = []
    for number, document in enumerate(documents):
        scores = oracle.score([index.separator, *document.token_ids.tolist()])[1:]
        for value, (_, total, seen, sparse) in zip(document.log_probs, scores, strict=True):
            if not math.isnan(value):
                rows.append((math.exp(value), seen / total, sparse, number))
    return rows


def perplexity_by_hand(rows, lambdas):
    values = [
        math.log(lambdas[sparse] * infgram + (1 - lambdas[sparse]) * neural)
        for neural, infgram, sparse, _ in rows
    ]
    return math.exp(-sum(values) / len(values))


def test_everything_is_as_by_hand(index, corpus, tuning, testing):
    found = interpolate(index, tuning, testing)
    tune, test = (by_hand(index, corpus, documents) for documents in (tuning, testing))
    two = found.other_lambda, found.sparse_lambda
    one = found.one_lambda, found.one_lambda
    for rows, of, documents in ((tune, found.tune, 8), (test, found.test, 6)):
        assert of.documents == documents
        assert of.all.tokens == len(rows)
        assert of.all.zeros == sum(row[1] == 0 for row in rows)
        assert of.all.neural_perplexity == pytest.approx(perplexity_by_hand(rows, (0, 0)))
        assert of.all.perplexity == pytest.approx(perplexity_by_hand(rows, two))
        assert of.two_lambda_perplexity == pytest.approx(of.all.perplexity)
        assert of.one_lambda_perplexity == pytest.approx(perplexity_by_hand(rows, one))
        assert of.all.delta == pytest.approx(delta(of.all.neural_perplexity, of.all.perplexity))
        for number, part in enumerate((of.other, of.sparse)):
            those = [row for row in rows if row[2] == number]
            assert (part.tokens, part.zeros) == (len(those), sum(row[1] == 0 for row in those))
            assert part.mean_lambda == pytest.approx(two[number])
            assert part.neural_perplexity == pytest.approx(perplexity_by_hand(those, (0, 0)))
            assert part.perplexity == pytest.approx(perplexity_by_hand(those, two))
        assert of.sparse_share == of.sparse.tokens / len(rows)
    # Both classes are there, and no λ of a grid is better, for either or for all.
    assert 0 < found.sparse_lambda < 1 and 0 < found.other_lambda < 1
    assert found.sparse_lambda != found.other_lambda
    for lam in GRID[1:-1]:
        for other in ((two[0], lam), (lam, two[1])):
            assert perplexity_by_hand(tune, other) >= found.tune.all.perplexity - 1e-12
        assert perplexity_by_hand(tune, (lam, lam)) >= found.tune.one_lambda_perplexity - 1e-12


def test_files_and_lists_are_the_same(index, tuning, testing, tmp_path):
    write_log_probs(tmp_path / "tune.jsonl", tuning)
    write_log_probs(tmp_path / "test.npz", testing)
    from_files = interpolate(index, tmp_path / "tune.jsonl", str(tmp_path / "test.npz"))
    assert from_files == interpolate(index, iter(tuning), tuple(testing))


def test_documents_without_scores_do_not_count(index, tuning, testing):
    silent = [ScoredDocument([1, 2], [None, None]), ScoredDocument([], [])]
    for weights in ("two", "forest"):
        expected = interpolate(index, tuning, testing, weights=weights)
        found = interpolate(index, [*silent, *tuning], [*testing, *silent], weights=weights)
        assert found == expected


def test_a_class_without_tuning_tokens_takes_the_lambda_of_all(index, corpus, testing):
    # Before the first token stands the document's start, which many tokens follow.
    tuning = [
        ScoredDocument([one[0]], [-9.0 if number % 2 else -0.01])
        for number, one in enumerate(corpus)
    ]
    found = interpolate(index, tuning, testing)
    assert found.tune.sparse.tokens == 0 and found.test.sparse.tokens > 0
    assert found.sparse_lambda == found.one_lambda == found.other_lambda
    assert 0 < found.one_lambda < 1
    json.dumps(found.as_dict(), allow_nan=False)


def test_what_is_infinite_is_null(index, corpus):
    tuning = [ScoredDocument(one[:3], [None, -9.0, -9.0]) for one in corpus]
    testing = [ScoredDocument([0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0], [None] + [-1.0] * 11)]
    found = interpolate(
        index, tuning, [*testing, ScoredDocument(corpus[0], [-1.0] * len(corpus[0]))]
    )
    assert found.sparse_lambda == 1 and found.test.sparse.zeros > 0
    assert found.test.all.perplexity == INF and found.test.all.delta == -INF
    answer = found.as_dict()
    assert answer["test"]["perplexity"] is None and answer["test"]["delta"] is None
    # (Some samples do not have the document with the zero.)
    assert answer["test"]["interval"][0] > 1 and answer["test"]["interval"][1] is None
    json.dumps(answer, allow_nan=False)
    neural = [ScoredDocument(one, [-INF] * len(one)) for one in corpus]
    found = interpolate(index, neural, neural)
    assert found.test.all.neural_perplexity == INF and found.one_lambda == 1
    assert found.test.all.delta == 100 and found.test.delta_interval == (100, 100)
    json.dumps(found.as_dict(), allow_nan=False)


# Intervals


def test_intervals_of_two_documents_are_their_own_perplexities(index, tuning, testing):
    """Of two documents a quarter of the samples is twice the one, a quarter twice the other."""
    pair = testing[:2]
    found = interpolate(index, tuning, pair).test
    each = [interpolate(index, tuning, [one]).test for one in pair]
    for name, interval in (
        ("neural_perplexity", found.neural_interval),
        ("perplexity", found.interval),
        ("delta", found.delta_interval),
    ):
        assert interval == pytest.approx(sorted(getattr(one.all, name) for one in each))
    for one in each:
        assert one.interval == pytest.approx((one.all.perplexity,) * 2)


def test_intervals_are_those_of_samples(index, corpus, tuning, testing):
    found = interpolate(index, tuning, testing, bootstrap=4_000)
    rows = by_hand(index, corpus, testing)
    parts = [[row for row in rows if row[3] == number] for number in range(6)]
    chance = random.Random(0)
    two = found.other_lambda, found.sparse_lambda
    drawn = sorted(
        perplexity_by_hand([row for _ in parts for row in chance.choice(parts)], two)
        for _ in range(4_000)
    )
    width = drawn[3_899] - drawn[100]
    assert found.test.interval == pytest.approx((drawn[100], drawn[3_899]), abs=width / 10)
    assert found.test.interval[0] < found.test.all.perplexity < found.test.interval[1]


def test_a_seed_gives_the_same_result(index, tuning, testing):
    for weights in ("two", "forest"):
        found = interpolate(index, tuning, testing, weights=weights, seed=7)
        assert found == interpolate(index, tuning, testing, weights=weights, seed=7)
        other = interpolate(index, tuning, testing, weights=weights, seed=8)
        assert found.test.interval != other.test.interval
        assert (found.test.all == other.test.all) == (weights == "two")
    told = []
    assert interpolate(
        index, tuning, testing, weights="forest", progress=told.append
    ) == interpolate(index, tuning, testing, weights="forest")
    assert {each.stage for each in told} == {"grow"} and len(told) == 1 + TREES
    assert told[-1].done == told[-1].total == TREES * found.tune.all.tokens
    none = interpolate(index, tuning, testing, bootstrap=0)
    assert none.test.interval is None and none.as_dict()["test"]["delta_interval"] is None


# Forests


@pytest.fixture(scope="module")
def long_suffixes(tmp_path_factory):
    """An index, and documents of which it knows the more the longer their suffix is.

    Where a long stretch of the corpus is repeated, its next token follows; where a short one is,
    another does.
    """
    chance = random.Random(5)
    stretches = [[chance.randrange(200) for _ in range(30)] for _ in range(60)]
    path = tmp_path_factory.mktemp("forest") / "index"
    write_index(path, stretches, "u16", vocab_size=200)

    def document():
        ids = []
        for _ in range(12):
            start = chance.randrange(20)
            ids += chance.choice(stretches)[start : start + chance.choice((2, 3, 10))]
            ids.append(chance.randrange(200))
        return ScoredDocument(ids, [math.log(chance.uniform(0.02, 0.2)) for _ in ids])

    with everygram.open(path) as opened:
        yield opened, [document() for _ in range(30)], [document() for _ in range(30)]


def test_a_forest_finds_which_tokens_are_known(long_suffixes):
    found = interpolate(*long_suffixes, weights="forest")
    two = interpolate(*long_suffixes)
    for of in (found.tune, found.test):
        assert of.all.perplexity < of.two_lambda_perplexity * 0.97
    assert found.test.two_lambda_perplexity == two.test.all.perplexity
    assert (found.sparse_lambda, found.other_lambda) == (two.sparse_lambda, two.other_lambda)
    # Trees that have not seen a document know no more of it than of those of the test.
    gains = [of.all.perplexity / of.two_lambda_perplexity for of in (found.tune, found.test)]
    assert gains[0] == pytest.approx(gains[1], rel=0.08)


def test_features_do_not_know_the_token_nor_what_follows(long_suffixes):
    index, documents, _ = long_suffixes
    ids = documents[0].token_ids
    features = features_of(index, documents[:1])
    assert features.shape == (len(ids), 3 + 2 * len(SUFFIXES))
    assert np.isfinite(features).all()
    for place in (0, 1, 7, len(ids) - 1):
        changed = ids.copy()
        changed[place:] = (changed[place:] + 1) % 200
        other = features_of(index, [ScoredDocument(changed, documents[0].log_probs)])
        assert (other[: place + 1] == features[: place + 1]).all()
        if place + 1 < len(ids):
            assert (other[place + 1 :] != features[place + 1 :]).any()


def test_features_are_what_the_index_counts(index, corpus):
    oracle = NaiveIndex(corpus, index.separator)
    ids = [*corpus[3][:7], 0, 5, 5, *corpus[2]]
    features = features_of(index, [ScoredDocument(ids, [-1.0] * len(ids))])
    for place, row in enumerate(features.tolist()):
        before = [index.separator, *ids[:place]]
        longest = oracle.longest_suffix(before)
        following = oracle.following(longest)
        total = sum(following.values())
        assert row[:3] == pytest.approx([len(longest), math.log(total), float(len(following) == 1)])
        for number, suffix in enumerate(SUFFIXES):
            pair = row[3 + 2 * number : 5 + 2 * number]
            if suffix > len(before):
                assert pair == [-1, -1]
                continue
            following = oracle.following(before[-suffix:])
            total = sum(following.values())
            assert pair == pytest.approx([math.log1p(total), float(len(following) == 1)])


def test_a_tuning_document_is_mixed_by_trees_that_have_not_seen_it(long_suffixes):
    index, documents, _ = long_suffixes
    of, features = tokens_of(index, documents), features_of(index, documents)
    two = np.array([0.1, 0.5])
    first = of.document == 0
    neural = np.where(first, of.neural - 3, of.neural)
    changed = Tokens(neural, of.infgram, of.sparse, of.document, of.documents)
    one, other = (Forest(features, each, two, 0) for each in (of, changed))
    assert (one.tuned[first] == other.tuned[first]).all()
    assert (one.tuned[~first] != other.tuned[~first]).any()
    # What is not held back is learnt: the forest as a whole is another.
    assert (one.lambdas(features) != other.lambdas(features)).any()


def test_no_lambda_of_a_forest_is_at_an_end(index, corpus):
    """However sure the few tuning tokens are: a test token of P∞ = 0 has a finite perplexity."""
    tuning = [ScoredDocument(one, [-9.0] * len(one)) for one in corpus]
    testing = [ScoredDocument([0, 1, 2, 3, 4, 5, 5, 4, 3, 2, 1, 0], [-1.0] * 12)]
    two = interpolate(index, tuning, testing)
    assert two.sparse_lambda == 1 and two.test.all.perplexity == INF
    forest = interpolate(index, tuning, testing, weights="forest")
    assert forest.test.sparse.zeros > 0
    assert 0.9 < forest.test.sparse.mean_lambda < 1
    assert math.isfinite(forest.test.all.perplexity)


def test_a_forest_needs_scikit_learn_and_two_documents(index, tuning, testing, monkeypatch):
    with pytest.raises(QueryError, match=r"tune: a forest needs two documents or more .* found 1"):
        interpolate(index, tuning[:1], testing, weights="forest")
    monkeypatch.setitem(sys.modules, "sklearn.tree", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'everygram\[forest\]'"):
        interpolate(index, tuning, testing, weights="forest")
    # Before any work.
    with pytest.raises(MissingExtraError):
        interpolate(index, "none.jsonl", "none.jsonl", weights="forest")


# What is refused


def test_ids_of_another_tokenizer_are_refused(index, tuning, tmp_path):
    wrong = [ScoredDocument([1, 2, VOCABULARY], [-1.0] * 3)]
    for arguments in ((tuning, wrong), (wrong, tuning)):
        with pytest.raises(
            QueryError, match=r"document 0: token id 6 at place 2 is outside .* of 6"
        ):
            interpolate(index, *arguments)
    separator = [ScoredDocument([index.separator], [-1.0])]
    with pytest.raises(QueryError, match="token id 255 at place 0 is outside"):
        interpolate(index, tuning, separator)
    path = write_jsonl(tmp_path / "x.jsonl", [{}, {"token_ids": [1, 99], "logprobs": [0, 0]}])
    with pytest.raises(CorpusError, match=r"x\.jsonl:1: expected a field 'token_ids'"):
        interpolate(index, path, tuning)
    write_jsonl(path, [{"token_ids": [1, 99], "logprobs": [None, None]}] * 2)
    with pytest.raises(QueryError, match=r"tune: expected documents with log-prob.* none in 2"):
        interpolate(index, path, tuning)
    write_jsonl(path, [{"token_ids": [1, 99], "logprobs": [None, -1]}])
    with pytest.raises(
        QueryError, match=r"x\.jsonl:1: token id 99 at place 1 .* another tokenizer"
    ):
        interpolate(index, path, tuning)


def test_other_arguments_that_do_not_fit(index, tuning, testing, tmp_path):
    for options, says in (
        ({"weights": "three"}, "weights: expected two or forest, found 'three'"),
        ({"bootstrap": -1}, "bootstrap: expected 0 or more, found -1"),
        ({"bootstrap": 1_000_001}, "bootstrap: expected at most 1,000,000"),
        ({"seed": 1.5}, "seed: expected 0 or more, found 1.5"),
    ):
        with pytest.raises(OptionError, match=says):
            interpolate(index, tuning, testing, **options)
    with pytest.raises(OptionError, match="index: expected an open index, found 'index'"):
        interpolate("index", tuning, testing)
    with pytest.raises(OptionError, match=r"tune\[1\]: expected a ScoredDocument, found 3"):
        interpolate(index, [tuning[0], 3], testing)
    with pytest.raises(OptionError, match="test: expected a path, found an empty string"):
        interpolate(index, tuning, "")
    with pytest.raises(QueryError, match=r"test: expected documents .* none in 0"):
        interpolate(index, tuning, [])
    write_index(tmp_path / "empty", [], "u8", vocab_size=VOCABULARY)
    with (
        everygram.open(tmp_path / "empty") as empty,
        pytest.raises(QueryError, match="found an empty one"),
    ):
        interpolate(empty, tuning, testing)


@pytest.mark.parametrize("function", [interpolate, read_log_probs, write_log_probs])
def test_functions_take_or_refuse_anything(index, tuning, testing, tmp_path, monkeypatch, function):
    monkeypatch.chdir(tmp_path)
    good = {"index": index, "tune": tuning, "test": testing, "documents": tuning}
    good["path"] = tmp_path / "x.jsonl"
    write_log_probs(good["path"], testing)
    check(function, good.__getitem__)


def test_a_result_says_what_it_is(index, tuning, testing):
    found = interpolate(index, tuning, testing)
    of = found.test.all
    assert repr(found) == (
        f"Interpolation(two, test: {of.neural_perplexity:.2f} → {of.perplexity:.2f}, "
        f"Δ {of.delta:.1f} %)"
    )
    assert f">{of.perplexity:.2f}</td>" in found._repr_html_()
    forest = interpolate(index, tuning, testing, weights="forest")._repr_html_()
    assert ">forest</th>" in forest
