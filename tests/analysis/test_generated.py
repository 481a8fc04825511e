"""Agreement with generated texts and by neural probability, against brute force."""

import bisect
import csv
import io
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from campaign import sized
from conftest import write_index
from everygram import analysis
from everygram.analysis import ScoredDocument
from everygram.errors import CorpusError, EverygramError, OptionError, QueryError
from naive import NaiveIndex
from naive_agreement import agreement, tokens_of

SEP = 255
TOKENS = st.sampled_from([1, 2, 3])
DOCUMENTS = st.lists(st.lists(TOKENS, max_size=14), max_size=6)
TEXT = st.lists(st.sampled_from([1, 2, 3, 1, 2, 3, 9]), max_size=12)
# Probabilities at the bounds of bins, too.
PROBS = st.sampled_from([0.0, 1e-30, 0.1, 0.25, 0.3, 0.5, 0.75, 0.999, 1.0]) | st.floats(0, 1)


@settings(max_examples=sized(40, 2000), deadline=None)
@given(
    DOCUMENTS,
    st.lists(st.tuples(TEXT, TEXT, st.sampled_from(["greedy", "t", 0.5, None])), max_size=5),
    st.integers(0, 6),
    st.integers(1, 5),
)
def test_prompts_are_context_alone(tmp_path_factory, documents, records, skip, order):
    path = tmp_path_factory.mktemp("generated") / "index"
    given = [
        {"prompt_ids": prompt, "token_ids": text, "decoding": group}
        for prompt, text, group in records
    ]
    with everygram.open(write_index(path, documents, "u8", 2)) as index:
        found = analysis.generated(index, given, skip=skip, order=order)
    naive = NaiveIndex(documents, SEP)
    names = {"greedy": "greedy", "t": "t", 0.5: "0.5", None: "null"}
    groups = {}
    for prompt, text, group in records:
        asked = (prompt + text, max(len(prompt), skip))
        groups.setdefault(names[group], []).append(asked)
    every = [(prompt + text, max(len(prompt), skip)) for prompt, text, _ in records]
    assert found.as_dict() == {
        "order": order,
        "total": agreement(naive, every, order),
        "groups": {name: agreement(naive, some, order) for name, some in groups.items()},
    }


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    documents = [[1, 2, 3, 1, 2], [2, 3, 3]]
    path = write_index(tmp_path_factory.mktemp("some") / "index", documents, "u8")
    with everygram.open(path) as index:
        yield index


def test_the_beginning_of_a_text_may_be_its_prompt(index):
    apart = [{"prompt_ids": [1, 2], "token_ids": [3, 1, 2], "model": "a"}]
    together = [{"token_ids": [1, 2, 3, 1, 2], "model": "a"}]
    one = analysis.generated(index, apart, by="model")
    assert one == analysis.generated(index, together, by="model", skip=2)
    assert one.groups["a"].num_tokens == 3
    # The prompt's own tokens are never counted.
    assert one == analysis.generated(index, apart, by="model", skip=1)
    assert analysis.generated(index, together, by=None).groups == {}
    assert analysis.generated(index, together, by="model", skip=9).total.num_tokens == 0


def test_texts_and_prompts_may_be_strings(text_index):
    records = [{"prompt": "the qu", "text": "ick fox", "decoding": "greedy"}]
    ids = [{"prompt_ids": [*b"the qu"], "token_ids": [*b"ick fox"], "decoding": "greedy"}]
    found = analysis.generated(text_index, records)
    assert found == analysis.generated(text_index, ids)
    assert found.total.num_tokens == len("ick fox")


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        (
            {"records": [{"token_ids": [1]}]},
            CorpusError,
            r"record 0: no field 'decoding'.*by \(--by\)",
        ),
        (
            {"records": [{"decoding": "a"}]},
            CorpusError,
            "record 0: no field 'text'.*'token_ids' or 'text'",
        ),
        ({"records": [[1]]}, OptionError, "record 0: by: expected a record with this field"),
        (
            {"records": [{"decoding": "a", "token_ids": [1], "prompt_ids": [300]}]},
            QueryError,
            r"record 0: prompt_ids\[0\]: .*300",
        ),
        (
            {"records": [{"decoding": "a", "text": None}]},
            QueryError,
            "record 0: text: expected a text or token ids, found None",
        ),
        ({"records": 3}, OptionError, "records: expected a list"),
        ({"skip": -1}, OptionError, "skip: expected 0 or more, found -1"),
        ({"order": 0}, OptionError, "order: expected 1 or more"),
        ({"index": None}, OptionError, "index: expected an open index"),
    ],
)
def test_what_is_wrong_with_records_is_said(index, given, kind, says):
    arguments = {"index": index, "records": []} | given
    with pytest.raises(EverygramError, match=says) as told:
        analysis.generated(arguments.pop("index"), **arguments)
    assert type(told.value) is kind


def naive_bins(naive, documents, bins):
    """The rows of `neural_agreement`, token by token."""
    edges = [number / bins for number in range(bins + 1)]
    found = [[] for _ in range(bins)]
    for ids, probs in documents:
        for (_, agrees, sparse, *_), prob in zip(tokens_of(naive, ids, 1), probs, strict=True):
            if prob is not None:
                found[min(bisect.bisect_right(edges, prob), bins) - 1].append((agrees, sparse))

    def share(part, whole):
        return part / whole if whole else None

    rows = []
    for number, some in enumerate(found):
        agreed = sum(agrees for agrees, _ in some)
        sparse = [agrees for agrees, sparse in some if sparse]
        rows.append(
            {
                "from": edges[number],
                "to": edges[number + 1],
                "tokens": len(some),
                "agreed": agreed,
                "agreement": share(agreed, len(some)),
                "sparse_tokens": len(sparse),
                "sparse_agreed": sum(sparse),
                "sparse_agreement": share(sum(sparse), len(sparse)),
            }
        )
    return rows


def scored(ids, probs):
    """A scored document; and what its probabilities are once their logarithms were taken."""
    logs = [
        math.nan if prob is None else -math.inf if prob == 0 else math.log(prob) for prob in probs
    ]
    after = [None if math.isnan(each) else float(np.exp(each)) for each in logs]
    return ScoredDocument(np.array(ids, np.int64), np.array(logs, np.float64)), after


@settings(max_examples=sized(50, 2000), deadline=None)
@given(DOCUMENTS, st.lists(st.lists(st.tuples(TOKENS, st.none() | PROBS), max_size=10), max_size=4),
       st.integers(1, 12))  # fmt: skip
def test_bins_are_what_every_token_says(tmp_path_factory, documents, texts, bins):
    path = tmp_path_factory.mktemp("bins") / "index"
    given = [scored([token for token, _ in text], [prob for _, prob in text]) for text in texts]
    with everygram.open(write_index(path, documents, "u8", 2)) as index:
        found = analysis.neural_agreement(index, [document for document, _ in given], bins=bins)
    naive = NaiveIndex(documents, SEP)
    pairs = [(document.token_ids.tolist(), after) for document, after in given]
    rows = naive_bins(naive, pairs, bins)
    totals = {
        name: sum(row[name] for row in rows)
        for name in ("tokens", "agreed", "sparse_tokens", "sparse_agreed")
    }

    def share(part, whole):
        return totals[part] / totals[whole] if totals[whole] else None

    assert found.as_dict() == {
        "num_texts": len(texts),
        "num_tokens": totals["tokens"],
        "agreement": share("agreed", "tokens"),
        "share_sparse": share("sparse_tokens", "tokens"),
        "sparse_agreement": share("sparse_agreed", "sparse_tokens"),
        "bins": rows,
    }
    table = list(csv.DictReader(io.StringIO(found.csv())))
    assert table == [
        {name: "" if value is None else str(value) for name, value in row.items()} for row in rows
    ]


def test_the_figure_shows_the_bins(index):
    document, _ = scored([1, 2, 3, 1, 2], [None, 0.05, 0.55, 0.55, 1.0])
    found = analysis.neural_agreement(index, [document], bins=10)
    made = analysis.figure(found)
    assert [round(bar.get_height()) for bar in made.axes[0].patches] == found.tokens.tolist()
    assert [round(bar.get_height()) for bar in made.axes[1].patches] == found.sparse_tokens.tolist()
    assert found.num_tokens == 4 and found.tokens[[0, 5, 9]].tolist() == [1, 2, 1]
    centers = [bar.get_x() + bar.get_width() / 2 for bar in made.axes[0].patches]
    assert centers == pytest.approx([0.05 + 0.1 * number for number in range(10)])
    assert "neural" in made.axes[0].get_xlabel()
    assert "4 tokens" in repr(found) and "0.50" in found._repr_html_()


@pytest.mark.parametrize(
    ("given", "kind", "says"),
    [
        ({"documents": [[1]]}, OptionError, r"documents\[0\]: expected a ScoredDocument"),
        ({"documents": 3}, OptionError, "documents: expected a list of ScoredDocument, found 3"),
        ({"documents": "x"}, OptionError, r"documents\[0\]: expected a ScoredDocument, found 'x'"),
        (
            {"documents": [scored([300], [0.5])[0]]},
            QueryError,
            "document 0: token id 300 .* another tokenizer",
        ),
        ({"bins": 0}, OptionError, "bins: expected 1 or more"),
        ({"bins": 10_001}, OptionError, "bins: expected 10,000 or fewer"),
        ({"index": 3}, OptionError, "index: expected an open index"),
    ],
)
def test_what_is_wrong_with_scores_is_said(index, given, kind, says):
    arguments = {"index": index, "documents": []} | given
    with pytest.raises(EverygramError, match=says) as told:
        analysis.neural_agreement(arguments.pop("index"), **arguments)
    assert type(told.value) is kind
