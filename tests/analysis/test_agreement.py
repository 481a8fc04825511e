"""Agreement of n-gram models with documents, against brute force; its table and its figure."""

import csv
import io
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from campaign import sized
from conftest import write_index
from everygram import analysis
from everygram.analysis import figures
from everygram.errors import (
    CorpusError,
    EverygramError,
    MissingExtraError,
    OptionError,
    QueryError,
    TokenizerError,
)
from everygram.results.analysis import ByEffectiveN
from naive import NaiveIndex
from naive_agreement import agreement, by_n

SEP = 255
TOKENS = st.sampled_from([1, 2, 3])
DOCUMENTS = st.lists(st.lists(TOKENS, max_size=14), max_size=6)
# A token that no document has, and separators.
TEXT = st.lists(st.sampled_from([1, 2, 3, 1, 2, 3, 9, SEP]), max_size=16)
LONG = [1, 2, 3, 1, 1, 2, 2, 3, 3, 1, 2, 1, 3, 2, 1, 1, 1, 2, 3, 3, 2, 2, 1, 3, 1]


def whole(texts):
    return [(text, 0) for text in texts]


@settings(max_examples=sized(60, 2000), deadline=None)
@given(
    DOCUMENTS,
    st.integers(1, 3),
    st.lists(TEXT, max_size=4),
    st.integers(1, 7),
    st.none() | st.integers(1, 12),
)
def test_agreement_is_what_every_token_says(
    tmp_path_factory, documents, segments, texts, order, most
):
    path = tmp_path_factory.mktemp("agreement") / "index"
    with everygram.open(write_index(path, documents, "u8", segments)) as index:
        found = analysis.agreement(index, texts, order=order, max_tokens=most)
    total = agreement(NaiveIndex(documents, SEP), whole(text[:most] for text in texts), order)
    assert found.as_dict() == {"order": order, "total": total, "groups": {}}


@settings(max_examples=sized(20, 1000), deadline=None)
@given(DOCUMENTS, st.data(), st.lists(TEXT, max_size=3), st.integers(2, 5))
def test_of_deleted_documents_nothing_is_known(tmp_path_factory, documents, data, texts, order):
    numbers = st.sets(st.sampled_from(range(len(documents)))) if documents else st.just(set())
    gone = data.draw(numbers)
    path = tmp_path_factory.mktemp("agreement") / "index"
    write_index(path, documents, "u8", 2, deleted=[sorted(gone)])
    left = [each for number, each in enumerate(documents) if number not in gone]
    with everygram.open(path) as index:
        found = analysis.agreement(index, texts, order=order).total
    assert found.as_dict() == agreement(NaiveIndex(left, SEP), whole(texts), order)


@pytest.fixture(scope="module")
def long_index(tmp_path_factory):
    """An index of long repeats: prompts of more than 16 tokens are found."""
    documents = [LONG, [*LONG[3:], 2], LONG[::-1], [4, 4, 4, 5]]
    path = write_index(tmp_path_factory.mktemp("long") / "index", documents, "u8", 2)
    with everygram.open(path) as index:
        yield index, NaiveIndex(documents, SEP)


def test_long_prompts(long_index):
    index, naive = long_index
    texts = [[9, *LONG[:22], 7, *LONG[2:]], LONG[5:], [4, 4, 4, 5, 4], []]
    found = analysis.agreement(index, texts).total
    assert found.as_dict() == agreement(naive, whole(texts), 5)
    assert found.infgram.agreement_from(16) is not None
    assert found.infgram.tokens.shape[0] > 20


def test_a_union_knows_the_documents_of_all(tmp_path):
    one, two = [[1, 2, 3], [1, 2, 1]], [[2, 3, 3], [1, 2, 3, 3]]
    paths = [write_index(tmp_path / name, some, "u8") for name, some in (("a", one), ("b", two))]
    texts = [[1, 2, 3, 3, 1], [3, 3, 2]]
    with everygram.open(paths) as union:
        found = analysis.agreement(union, texts, order=3).total
    assert found.as_dict() == agreement(NaiveIndex(one + two, SEP), whole(texts), 3)


def test_documents_are_divided_by_a_field(long_index):
    index, naive = long_index
    records = [
        {"token_ids": LONG[:9], "meta": {"source": "a"}},
        {"token_ids": np.array([4, 4]), "meta": {"source": 3}, "prompt_ids": [1, 2, 3]},
        {"token_ids": [1, 2], "meta": {"source": "a"}},
    ]
    found = analysis.agreement(index, records, by="meta.source", order=3)
    one, two = whole([LONG[:9], [1, 2]]), whole([[4, 4]])
    assert found.as_dict() == {
        "order": 3,
        "total": agreement(naive, one + two, 3),
        "groups": {"a": agreement(naive, one, 3), "3": agreement(naive, two, 3)},
    }
    assert analysis.agreement(index, iter(records)).groups == {}


def test_texts_are_encoded_as_documents_are(text_index, texts):
    naive = NaiveIndex([text.encode() for text in texts], 256 * 256 - 1)
    asked = ["the natural fox", "日本", ""]
    found = analysis.agreement(text_index, asked, max_tokens=12).total
    expected = agreement(naive, whole([list(text.encode()[:12]) for text in asked]), 5)
    assert found.as_dict() == expected
    assert (
        found == analysis.agreement(text_index, [{"text": t} for t in asked], max_tokens=12).total
    )
    # Where a query has a space before it, a document has not.
    assert text_index.encode("fox", raw=True).tolist() == list(b"fox")


def test_the_numbers_of_many():
    pairs = [(n, n % 3 == 0) for n in [1, 2, 2, 5, 5, 6, 17, 18, 18, 21]]
    for size in range(len(pairs) + 1):
        some = pairs[:size]
        tokens = np.bincount([n for n, _ in some] or [0], minlength=1) if some else np.zeros(1, int)
        agreed = np.bincount([n for n, yes in some if yes], minlength=tokens.shape[0])
        found = ByEffectiveN(tokens, agreed)
        assert found.as_dict() == by_n(some)
        assert found.share_from(2) == (sum(n >= 2 for n, _ in some) / size if size else None)
        # Added in any order, as of all together.
        rest = ByEffectiveN(np.array([0, 2, 1]), np.array([0, 0, 1]))
        both = by_n([*some, (1, False), (1, False), (2, True)])
        assert (found + rest).as_dict() == (rest + found).as_dict() == both


def test_a_result_is_a_value(long_index):
    index, _ = long_index
    found = analysis.agreement(index, [LONG, LONG[2:]], order=4)
    again = analysis.agreement(index, [LONG, LONG[2:]], order=4)
    assert found == again == pickle.loads(pickle.dumps(found))
    assert found != analysis.agreement(index, [LONG], order=4)
    assert "2 texts" in repr(found) and "4-gram" in repr(found)
    assert "4-gram" in found._repr_html_()
    with pytest.raises(QueryError, match="order: expected the same of all"):
        found.total + analysis.agreement(index, [LONG]).total


def test_the_table_has_every_count(long_index):
    index, _ = long_index
    records = [{"token_ids": LONG, "of": "a, b"}, {"token_ids": [9, 1, 2], "of": "∞"}]
    for by in (None, "of"):
        found = analysis.agreement(index, records, by=by)
        rows = list(csv.DictReader(io.StringIO(found.csv())))
        expected = [
            {
                "group": name,
                "model": model,
                **{key: str(value) for key, value in row.items()},
            }
            for name, each in (found.groups or {"": found.total}).items()
            for model, panel in zip(
                ("5-gram", "∞-gram", "sparse"), (each.ngram, each.infgram, each.sparse), strict=True
            )
            for row in panel.as_dict()["by_effective_n"]
        ]
        assert rows == expected
        assert len({row["group"] for row in rows}) == (1 if by is None else 2)


def test_of_no_texts(long_index):
    index, naive = long_index
    found = analysis.agreement(index, [])
    assert found.as_dict()["total"] == agreement(naive, [], 5)
    # The table has its columns even so.
    heads = analysis.agreement(index, [LONG]).csv().partition("\n")[0]
    assert found.csv() == f"{heads}\n" and "–" in found._repr_html_()
    assert len(analysis.figure(found).axes) == 6


def test_the_figure_shows_the_counts(long_index):
    index, _ = long_index
    text = [9, *LONG[:22], 7, *LONG[2:]] * 3
    found = analysis.agreement(index, [text, LONG])
    made = analysis.figure(found, "$ of _all")
    panels = [found.total.ngram, found.total.infgram, found.total.sparse]
    for axis, beside, panel in zip(made.axes[:3], made.axes[3:], panels, strict=True):
        bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axis.patches}
        assert {n: height for n, height in bars.items() if height} == {
            n: int(panel.tokens[n]) for n in np.flatnonzero(panel.tokens).tolist()
        }
        dots = {n: y for line in beside.lines for n, y in zip(*line.get_data(), strict=True)}
        assert dots == {row["effective_n"]: row["agreement"] for row in panel.rows()}
        # Those of few tokens are pale.
        strong, pale = ({*line.get_xdata()} for line in beside.lines)
        assert {n for n in pale if panel.tokens[n] >= 20} == set()
        assert {n for n in strong if panel.tokens[n] < 20} == set()
    assert made.get_suptitle() == "$ of _all"
    assert "∞-gram" in made.axes[1].get_title()


def test_the_figure_of_few_tokens_and_of_none(long_index):
    index, _ = long_index
    records = [{"token_ids": [9, 8], "of": "two"}, {"token_ids": [], "of": "none"}]
    made = analysis.figure(analysis.agreement(index, records, by="of"))
    figures.drawn(made, "png")
    for axis in made.axes[:6]:
        # (No number of tokens stands twice, and none is below 0.)
        shown = [text.get_text() for text in axis.get_yticklabels()]
        low, high = axis.get_ylim()
        assert low == 0 and high >= 1 and len({*shown}) == len(shown), shown


def test_the_longest_have_one_bar(tmp_path):
    document = (np.random.default_rng(0).integers(1, 9, 90)).tolist()
    with everygram.open(write_index(tmp_path / "index", [document], "u8")) as index:
        found = analysis.agreement(index, [document])
    axis = analysis.figure(found).axes[1]
    bars = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in axis.patches}
    assert max(bars) == 40 and bars[40] == found.total.infgram.tokens[40:].sum() > 40
    assert [tick.get_text() for tick in axis.get_xticklabels()][-1] == "40+"


def test_names_of_groups_are_shown_as_they_can_be(long_index):
    index, _ = long_index
    names = ["$x^2$", "a\x00b\nc", "_under", "日本", "x" * 80, ""]
    records = [{"token_ids": LONG, "of": name} for name in names]
    made = analysis.figure(analysis.agreement(index, records, by="of"))
    shown = [axis.get_title().partition("\n")[0] for axis in made.axes[: 3 * len(names) : 3]]
    assert shown[:5] == ["$x^2$", "a�b�c", "_under", "日本", "…" + "x" * 35]
    assert b"<svg" in figures.drawn(made, "svg")
    many = [{"token_ids": [1], "of": number} for number in range(101)]
    with pytest.raises(OptionError, match="at most 100 groups, found 101"):
        analysis.figure(analysis.agreement(index, many, by="of"))


def test_a_figure_needs_an_analysis_and_matplotlib(long_index, monkeypatch):
    with pytest.raises(OptionError, match="title: expected a string, found 5"):
        analysis.figure(analysis.agreement(long_index[0], []), 5)
    for wrong in (None, 3, {"order": 5}):
        with pytest.raises(OptionError, match="result: expected one of an analysis, found"):
            analysis.figure(wrong)
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'everygram\[plot\]'"):
        analysis.figure(analysis.agreement(long_index[0], []))


WRONG = [
    ({"documents": "abc"}, OptionError, "documents: expected a list, or another iterable"),
    ({"documents": b"abc"}, OptionError, "found b'abc'"),
    ({"documents": {"text": "a"}}, OptionError, "documents: expected a list"),
    ({"documents": 3}, OptionError, "found 3"),
    ({"documents": None}, OptionError, "found None"),
    ({"documents": [[1], 3]}, QueryError, "document 1: "),
    ({"documents": [[1, 300]]}, QueryError, "document 0: .*300"),
    ({"documents": [[[1], [2]]]}, QueryError, "document 0: "),
    ({"documents": [None]}, QueryError, "document 0: .*None"),
    ({"documents": ["abc"]}, TokenizerError, "document 0: .* has no tokenizer"),
    ({"documents": [{"body": "a"}]}, CorpusError, "document 0: no field 'text'; the record has"),
    ({"documents": [{"token_ids": [1.5]}]}, QueryError, "document 0: "),
    ({"documents": [[1]], "by": "x"}, OptionError, "document 0: by: expected a record"),
    ({"documents": [{"token_ids": [1]}], "by": "x"}, CorpusError, "document 0: no field 'x'"),
    ({"by": 3}, OptionError, "by: expected a string"),
    ({"order": 0}, OptionError, "order: expected 1 or more, found 0"),
    ({"order": "x"}, OptionError, "order: expected 1 or more"),
    ({"max_tokens": 0}, OptionError, "max_tokens: expected 1 or more, found 0"),
    ({"index": "path"}, OptionError, "index: expected an open index"),
]


@pytest.mark.parametrize(("given", "kind", "says"), WRONG)
def test_what_is_wrong_is_said(long_index, given, kind, says):
    arguments = {"index": long_index[0], "documents": [[1]]} | given
    with pytest.raises(EverygramError, match=says) as told:
        analysis.agreement(arguments.pop("index"), **arguments)
    assert type(told.value) is kind
