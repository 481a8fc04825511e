"""How often concepts occur, against brute force over what the documents spell."""

import csv
import itertools
import json
import math
import pickle
import random
import re

import numpy as np
import pyarrow.parquet
import pytest

import everygram
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.curation import frequency as module
from everygram.curation import scanning
from everygram.curation.occurrences import Finder
from everygram.curation.performance import _edges
from everygram.curation.together import pairs_of
from everygram.errors import CorpusError, OptionError, QueryError
from everygram.kernels import INTERPRETED
from everygram.search.text import TextSearch
from everygram.tokenizer.vocabulary import TokenBytes
from naive_text import random_spelling, text_spans

pytestmark = pytest.mark.usefixtures("kinds")

LETTERS = ["a", "b", "A", " ", "é", "É", "s", "ſ", "k", "\u212a", "日", "😀", "_", "\u0301", "."]


def spans_of(data, texts, ignore_case, whole_words):
    """The spans in bytes of any of the texts that lie in no other of them."""
    found = {span for text in texts for span in text_spans(data, text, ignore_case, whole_words)}
    return sorted(
        (begin, end)
        for begin, end in found
        if not any(b <= begin and end <= e and (b, e) != (begin, end) for b, e in found)
    )


def in_tokens(spelled, spans):
    """Spans of bytes as the tokens in which they begin and (one further) end."""
    owner = [number for number, data in enumerate(spelled) for _ in data]
    return [(owner[begin], owner[end - 1] + 1) for begin, end in spans]


def together(spans, others, within):
    """Pairs of spans, one of each list, that so many tokens have (None: in any case)."""
    return sum(
        within is None or max(a[1], b[1]) - min(a[0], b[0]) <= within
        for a, b in itertools.product(spans, others)
    )


@pytest.mark.parametrize("seed", range(1 if INTERPRETED else sized(8, 200)))
def test_any_vocabulary_any_concept(tmp_path, monkeypatch, seed):
    rng = random.Random(seed)
    for number in range(5):
        monkeypatch.setattr(scanning, "TOGETHER", rng.choice([1, 20, 1 << 20]))
        monkeypatch.setattr(scanning, "MOST", rng.choice([1, 60, 1 << 25]))
        letters = rng.sample(LETTERS, rng.randint(2, 5))
        spelling = random_spelling(rng, letters)
        size = len(spelling.bytes_of)
        documents = [rng.choices(range(size), k=rng.randint(0, 14)) for _ in range(11)]
        gone = sorted(rng.sample(range(len(documents)), rng.choice([0, 0, 3])))
        path = write_index(tmp_path / str(number), documents, "u8", rng.randint(1, 3), size, [gone])
        live = {n: ids for n, ids in enumerate(documents) if n not in set(gone)}
        concepts = []
        for _ in range(8):
            texts = ["".join(rng.choices(letters, k=rng.randint(1, 3))) for _ in range(3)]
            texts.append(texts[0] + texts[1])
            concepts.append(list(dict.fromkeys(texts[-rng.randint(1, 4) :])))
        ignore_case, whole_words = rng.random() < 0.5, rng.random() < 0.4
        spans = [
            {
                n: in_tokens(
                    spelling.tokens_of(ids),
                    spans_of(spelling.spelled(ids), texts, ignore_case, whole_words),
                )
                for n, ids in live.items()
            }
            for texts in concepts
        ]
        with everygram.open(path) as index:
            of = TokenBytes(spelling)
            texts = TextSearch(index.engine, lambda of=of: of)
            finder = Finder(index.engine, texts, ignore_case, whole_words)
            different = [finder.different(tuple(each)) for each in concepts]
            for within in (None, rng.randint(1, 9)):
                found = [finder.find(each, within) for each in different]
                for each, expected in zip(found, spans, strict=True):
                    counts = {n: len(some) for n, some in expected.items() if some}
                    assert (
                        dict(
                            zip(*map(np.ndarray.tolist, (each.documents, each.counts)), strict=True)
                        )
                        == counts
                    )
                check_pairs(rng, found, spans, within)
            alone = [each[:1] for each in different]
            asked = [(text, owner) for owner, some in enumerate(alone) for text in some]
            given = index.engine, of, asked, len(alone), ignore_case, whole_words
            counts, document_counts = scanning.counted(*given, lambda done, total: None)
        for owner, (text,) in enumerate(alone):
            each = [
                len(text_spans(spelling.spelled(ids), text, ignore_case, whole_words))
                for ids in live.values()
            ]
            assert (counts[owner], document_counts[owner]) == (sum(each), sum(map(bool, each)))


def check_pairs(rng, found, spans, within):
    names = tuple(map(str, range(len(found))))
    expected = {}
    for a, b in itertools.product(range(len(found)), repeat=2):
        counts = [together(some, spans[b][n], within) for n, some in spans[a].items()]
        expected[a, b] = sum(counts), sum(map(bool, counts))
    every = pairs_of(names, found, None, within, lambda done: None)
    rows = zip(every.firsts, every.seconds, every.counts, every.document_counts, strict=True)
    assert {(a, b): (count, documents) for a, b, count, documents in rows} == {
        (a, b): counts for (a, b), counts in expected.items() if a < b and counts[0]
    }
    named = [(rng.randrange(len(found)), rng.randrange(len(found))) for _ in range(6)]
    some = pairs_of(names, found, named, within, lambda done: None)
    assert list(zip(some.firsts, some.seconds, strict=True)) == named
    assert list(zip(some.counts, some.document_counts, strict=True)) == [
        expected[pair] for pair in named
    ]


WORDS = ["New", "York", "new", "yorker", "NYC", "Paris", "paris,", "Ångström", "ångström", "city"]


@pytest.fixture(scope="module")
def corpora(tmp_path_factory, kinds):
    """Two indexes, the first of three segments with deletions, and the documents of both."""
    rng = random.Random(7)
    folder = tmp_path_factory.mktemp("frequency")
    texts = [" ".join(rng.choices(WORDS, k=rng.randint(0, 30))) for _ in range(60)]
    for number, part in enumerate((texts[:20], texts[20:30], texts[30:45], texts[45:])):
        corpus = write_jsonl(folder / f"{number}.jsonl", [{"text": text} for text in part])
        if number in (0, 3):
            everygram.build(corpus, folder / ("one" if number == 0 else "two"), "train:280")
        else:
            everygram.add(folder / "one", corpus)
    gone = [3, 21, 22, 40]
    everygram.delete(folder / "one", documents=gone)
    return folder, [text for n, text in enumerate(texts[:45]) if n not in gone], texts[45:]


CONCEPTS = {
    "New York": ["York", "NYC", "new york"],
    "Paris": [],
    "ångström": ["Ångström"],
    "city": [],
    "Atlantis": [],
}


def expected_rows(documents, ignore_case, whole_words):
    rows = []
    for name, aliases in CONCEPTS.items():
        each = [
            len(spans_of(text.encode(), [name, *aliases], ignore_case, whole_words))
            for text in documents
        ]
        rows.append({"concept": name, "count": sum(each), "document_count": sum(map(bool, each))})
    return rows


@pytest.mark.parametrize("look_up", [0, 1 << 40])
@pytest.mark.parametrize("ignore_case", [False, True])
@pytest.mark.parametrize("whole_words", [False, True])
def test_an_index_and_a_union(corpora, monkeypatch, look_up, ignore_case, whole_words):
    """Looked up one by one, and read for."""
    monkeypatch.setattr(module, "LOOK_UP", look_up)
    folder, one, two = corpora
    options = {"ignore_case": ignore_case, "whole_words": whole_words}
    told = []
    found = everygram.frequency(
        folder / "one", CONCEPTS, **options, progress=lambda *at: told.append(at)
    )
    assert found.as_dict()["rows"] == expected_rows(one, *options.values())
    assert (found.num_documents, found.num_tokens) == (
        len(one),
        everygram.open(folder / "one").num_tokens,
    )
    assert told
    assert all(done <= total for done, total in told)
    with everygram.open(folder / "two") as index:
        found = everygram.frequency(index, CONCEPTS, compare=folder / "one", **options)
        assert index.count("a") >= 0  # still open
    other = expected_rows(one, *options.values())
    assert found.as_dict()["rows"] == [
        row | {"other_count": there["count"], "other_document_count": there["document_count"]}
        for row, there in zip(expected_rows(two, *options.values()), other, strict=True)
    ]
    made = found.comparison.as_dict()
    assert sum(made[name] for name in ("both", "first_only", "second_only", "neither")) == 5
    assert (made["neither"], made["num_documents"], made["name"]) == (1, len(one), "one")


def test_a_union(corpora, monkeypatch, tmp_path):
    folder, one, _ = corpora
    everygram.build(
        write_jsonl(tmp_path / "c.jsonl", [{"text": "Paris"}, {"text": one[0]}]),
        tmp_path / "other",
        str(folder / "one" / "tokenizer.json"),
    )
    union = [folder / "one", tmp_path / "other"]
    for look_up in (0, 1 << 40):
        monkeypatch.setattr(module, "LOOK_UP", look_up)
        found = everygram.frequency(union, CONCEPTS)
        assert found.as_dict()["rows"] == expected_rows([*one, "Paris", one[0]], False, False)
        with everygram.open(folder / "one", minus=tmp_path / "other", missing_ok=True) as index:
            found = everygram.frequency(index, CONCEPTS)
            assert found.as_dict()["rows"] == expected_rows(one[1:], False, False)


@pytest.mark.parametrize("look_up", [0, 1 << 40])
def test_segments_of_deleted_documents(tmp_path, monkeypatch, look_up):
    monkeypatch.setattr(module, "LOOK_UP", look_up)
    one = write_jsonl(tmp_path / "one.jsonl", [{"text": "Paris, Paris"}, {"text": ""}])
    two = write_jsonl(tmp_path / "two.jsonl", [{"text": "Paris"}])
    everygram.build(one, tmp_path / "index")
    everygram.add(tmp_path / "index", two)
    for gone, count in (([2], 2), ([0], 0), ([1], 0)):
        everygram.delete(tmp_path / "index", documents=gone)
        (found,) = everygram.frequency(tmp_path / "index", ["Paris"])
        assert (found.count, found.document_count) == (count, int(count > 0))


def test_tables_and_rows(corpora):
    folder, one, _ = corpora
    found = everygram.frequency(folder / "one", CONCEPTS, pairs=True, within=7)
    rows = expected_rows(one, False, False)
    assert [each.as_dict() for each in found] == rows
    assert found[1].as_dict() == found[-4].as_dict() == rows[1]
    assert [each.concept for each in found[1:3]] == ["Paris", "ångström"]
    assert found.to_arrow().to_pylist() == rows
    assert found.to_pandas().to_dict("records") == rows
    assert found.pairs.to_arrow().to_pylist() == found.as_dict()["pairs"]["rows"]
    assert len(found.pairs) > 2
    again = everygram.frequency(folder / "one", CONCEPTS, pairs=True, within=7)
    assert found == again == pickle.loads(pickle.dumps(found))
    assert found != everygram.frequency(folder / "one", CONCEPTS, pairs=True, within=8)
    named = [("Paris", "city"), ("city", "Atlantis")]
    some = everygram.frequency(folder / "one", CONCEPTS, pairs=named, within=7).pairs.as_dict()
    known = {(row["first"], row["second"]): row for row in found.pairs.as_dict()["rows"]}
    assert some["rows"][0] == known[named[0]]
    assert some["rows"][1]["count"] == 0
    # A window longer than any document is one document.
    wide = everygram.frequency(folder / "one", CONCEPTS, pairs=True, within=10**9).pairs.as_dict()
    whole = everygram.frequency(folder / "one", CONCEPTS, pairs=True).pairs.as_dict()
    assert wide == whole | {"within": 10**9}


def ranks(values):
    """The mean rank of each value, by brute force."""
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


@pytest.mark.parametrize("seed", range(20))
def test_scores_beside_counts(corpora, seed):
    rng = random.Random(seed)
    folder, *_ = corpora
    names = rng.choices(list(CONCEPTS), k=rng.randint(1, 40))
    results = [(name, rng.choice([0, 1, rng.random()])) for name in names]
    by = rng.choice(["count", "document_count"])
    found = everygram.frequency(
        folder / "one", CONCEPTS, results=results, by=by, bins_per_decade=3, resamples=50, seed=seed
    )
    of = {each.concept: getattr(each, by) for each in found}
    made = found.performance
    pairs = [(of[name], score) for name, score in results]
    zero = [score for count, score in pairs if not count]
    assert (made.zero is None) == (not zero)
    if zero:
        assert (made.zero.items, made.zero.low) == (len(zero), 0)
        assert made.zero.mean == pytest.approx(np.mean(zero))
    pairs = [pair for pair in pairs if pair[0]]
    assert sum(each.items for each in made.bins) == len(pairs)
    for each in made.bins:
        inside = [score for count, score in pairs if each.low <= count < each.high]
        assert each.items == len(inside)
        assert each.mean == pytest.approx(np.mean(inside))
        assert each.interval[0] - 1e-9 <= each.interval[1]
    x, y = [math.log10(count) for count, _ in pairs], [score for _, score in pairs]
    if len(set(x)) < 2:
        assert made.slope is made.correlation is None
        return
    assert (made.slope, made.intercept) == pytest.approx(tuple(np.polyfit(x, y, 1)), abs=1e-8)
    assert made.slope_interval[0] <= made.slope_interval[1]
    if len(set(y)) < 2:
        assert made.correlation is made.rank_correlation is None
        return
    assert made.correlation == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert made.rank_correlation == pytest.approx(np.corrcoef(ranks(x), ranks(y))[0, 1])


@pytest.mark.parametrize(("scale", "base"), [(1e-9, 0), (0.01, 1e6), (1e12, -3e14)])
def test_scores_of_any_size(corpora, scale, base):
    """What a score is measured in changes no correlation."""
    names = ["New York", "Paris", "city", "Paris", "ångström"]
    plain = [0.5, 1, 0, 0.25, 0.75]
    scores = [base + scale * each for each in plain]
    made, other = (
        everygram.frequency(
            corpora[0] / "one", CONCEPTS, results=list(zip(names, given, strict=True))
        ).performance
        for given in (plain, scores)
    )
    assert other.correlation == pytest.approx(made.correlation)
    assert other.rank_correlation == made.rank_correlation
    assert other.slope == pytest.approx(scale * made.slope, rel=1e-6)
    assert other.intercept == pytest.approx(base + scale * made.intercept, rel=1e-6)


def test_scores_are_numbers_of_any_kind(corpora):
    for one in (1, True, 1.0, np.float32(1), np.int8(1), np.bool_(True), "1", "true"):
        given = [("Paris", one), ("Paris", 0)]
        made = everygram.frequency(corpora[0] / "one", CONCEPTS, results=given).performance
        assert made.bins[0].mean == 0.5
    for none in (float("nan"), float("inf"), 1e308, None, "x", [1]):
        with pytest.raises(OptionError, match="concept, score"):
            everygram.frequency(corpora[0] / "one", CONCEPTS, results=[("Paris", none)])


def test_intervals_are_of_samples_of_concepts(tmp_path):
    """Of scores that grow with the logarithm of counts and noise, the interval has the truth."""
    rng = np.random.default_rng(6)
    texts, results = [], []
    for number in range(60):
        count = int(2 ** (number / 8))
        texts.append(f" w{number}x " * count)
        results += [
            (f"w{number}x", 0.3 * math.log10(count) + 0.1 + rng.normal(0, 0.05)) for _ in range(4)
        ]
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    everygram.build(corpus, tmp_path / "index")
    concepts = [name for name, _ in results]
    made = everygram.frequency(tmp_path / "index", concepts, results=results).performance
    assert made.slope == pytest.approx(0.3, abs=0.03)
    assert made.slope_interval[0] < 0.3 < made.slope_interval[1]
    assert made.slope_interval[1] - made.slope_interval[0] < 0.06
    assert made.rank_correlation > 0.9
    assert made.rank_correlation_interval[0] < made.rank_correlation
    again = everygram.frequency(tmp_path / "index", concepts, results=results)
    assert again.performance.as_dict() == made.as_dict()
    other = everygram.frequency(tmp_path / "index", concepts, results=results, seed=1).performance
    assert other.slope == made.slope
    assert other.slope_interval != made.slope_interval


@pytest.mark.parametrize("per_decade", [1, 2, 3, 7, 100])
def test_bins_divide_powers_of_ten(per_decade):
    bins = _edges(10**6, per_decade)
    assert bins[0][0] == 1
    assert [high for _, high in bins[:-1]] == [low for low, _ in bins[1:]]
    assert {10**power for power in range(7)} <= {low for low, _ in bins}
    for low, high in bins:
        place = math.log10(low) * per_decade
        assert math.log10(high - 1) * per_decade < math.floor(place + 1e-9) + 1


def test_the_command(corpora, tmp_path, run):
    folder, one, _ = corpora
    path = tmp_path / "concepts.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "note", "aliases"])
        writer.writerows([name, "x", "|".join(aliases)] for name, aliases in CONCEPTS.items())
    scores = tmp_path / "scores.jsonl"
    scores.write_text("".join(f'{{"concept": "{name}", "ok": true}}\n' for name in CONCEPTS))
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("first,second\nParis,city\n")
    code, out, _ = run("frequency", folder / "one", path, "--ignore-case", "--json")
    assert code == 0
    assert json.loads(out)["rows"] == expected_rows(one, True, False)
    table, image, second = tmp_path / "t.parquet", tmp_path / "i.svg", tmp_path / "p.csv"
    code, out, _ = run(
        *("frequency", folder / "one", path, "--whole-words", "--out", table, "--plot", image),
        *("--results", scores, "--score-field", "ok", "--compare", folder / "two"),
        *("--pairs-of", pairs, "--within", 9, "--pairs-out", second),
    )
    assert code == 0
    assert re.search(r"^ +\d+ +\d+  New York$", out, re.MULTILINE)
    assert "Paris + city" in out
    assert "rank correlation  undefined" in out  # every score is 1
    assert "1 in neither" in out
    rows = pyarrow.parquet.read_table(table).select(["concept", "count", "document_count"])
    assert rows.to_pylist() == expected_rows(one, False, True)
    assert second.read_text().startswith("first,second,count,document_count\nParis,city,")
    assert "rank of the concept" in image.read_text()
    lines = tmp_path / "concepts.txt"
    lines.write_text("Paris\n\n city \nParis\n")
    code, out, _ = run("frequency", folder / "one", lines, "--json")
    assert [row["concept"] for row in json.loads(out)["rows"]] == ["Paris", "city"]


WRONG = [
    ({"concepts": []}, OptionError, "expected at least one concept, found none"),
    ({"concepts": [""]}, OptionError, "strings of at least one character"),
    ({"concepts": {"a": "b"}}, OptionError, "expected a list of aliases, found 'b'"),
    ({"concepts": 3}, OptionError, "found 3"),
    ({"concepts": ["\ud800"]}, QueryError, "lone surrogate"),
    ({"within": 3}, OptionError, "goes with pairs"),
    ({"pairs": [("Paris", "Rome")]}, OptionError, r"two concepts of the list, found \('Paris'"),
    ({"results": [("Rome", 1)]}, OptionError, "concepts of the list, found 'Rome'"),
    ({"results": [("Paris", "x")]}, OptionError, r"expected \(concept, score\)"),
    ({"by": "x"}, OptionError, "'count' or 'document_count', found 'x'"),
]


@pytest.mark.parametrize("look_up", [0, 1 << 40])
@pytest.mark.parametrize(("given", "error", "says"), WRONG)
def test_what_is_refused(corpora, monkeypatch, given, error, says, look_up):
    monkeypatch.setattr(module, "LOOK_UP", look_up)
    with pytest.raises(error, match=says):
        everygram.frequency(corpora[0] / "one", **{"concepts": ["Paris"]} | given)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("c.txt", b"\n \n", "expected concepts, found none"),
        ("c.csv", b"text\nx\n", "line 2: expected a concept in the column concept or name"),
        ("c.jsonl", b'{"concept": "x"}\n', "expected a .csv with a column concept, or a text"),
        ("c.txt", b"a\xff\n", "expected UTF-8, found byte 0xff at byte 2"),
    ],
)
def test_files_that_are_refused(corpora, tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match=says):
        everygram.frequency(corpora[0] / "one", tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (
            "r.csv",
            "concept,score\nParis,high\n",
            "line 2: expected a number.*'score', found 'high'",
        ),
        ("r.jsonl", '{"concept": "Paris"}\n', "line 1: no field 'score'; there are 'concept'"),
        ("r.csv", "concept,em\nParis,1\n", "line 2: no field 'score'.*'em'; .*--score-field"),
        ("r.jsonl", '{"concept": "Paris", "score": null}\n', "line 1: expected a number"),
        ("r.jsonl", "[1]\n", "line 1: expected an object"),
        ("r.jsonl", "{\n", "line 1: not JSON"),
        ("r.csv", "concept,score\n", "expected results of an evaluation, found none"),
    ],
)
def test_results_that_are_refused(corpora, tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(CorpusError, match=says):
        everygram.frequency(corpora[0] / "one", ["Paris"], results=tmp_path / name)


def test_characters_that_end_lines_elsewhere_are_in_json(corpora, tmp_path):
    (tmp_path / "r.jsonl").write_text('{"concept": "Paris", "note": "a\u2028b", "score": 1}\r\n')
    found = everygram.frequency(corpora[0] / "one", ["Paris"], results=tmp_path / "r.jsonl")
    assert found.performance.items == 1


@pytest.mark.parametrize("option", ["--out", "--pairs-out"])
@pytest.mark.parametrize("name", ["concepts.csv", "pairs.csv", "results.csv"])
def test_what_is_read_is_not_written_over(corpora, tmp_path, run, option, name):
    contents = {
        "concepts.csv": "concept\nParis\nRome\n",
        "pairs.csv": "first,second\nParis,Rome\n",
        "results.csv": "concept,score\nParis,1\n",
    }
    paths = {each: tmp_path / each for each in contents}
    for each, path in paths.items():
        path.write_text(contents[each])
    more = ("--pairs-of", paths["pairs.csv"], "--results", paths["results.csv"])
    asked = ("frequency", corpora[0] / "one", paths["concepts.csv"], *more)
    code, _, error = run(*asked, option, paths[name])
    assert code == 2
    assert f"{option}: expected another file than those that are read" in error
    assert paths[name].read_text() == contents[name]
    assert run(*asked, option, tmp_path / "new.csv")[0] == 0


def test_lines_of_files(corpora, tmp_path):
    """Only ends of lines divide lines: JSON and names may have other separators within."""
    name = "Pa\u2028ris\x85\x0c"
    (tmp_path / "c.txt").write_bytes(f"{name}.\r\n\rcity\n".encode())
    result = json.dumps({"concept": f"{name}.", "score": 1}, ensure_ascii=False)
    (tmp_path / "r.jsonl").write_text(f"{result}\n", encoding="utf-8")
    found = everygram.frequency(
        corpora[0] / "one", tmp_path / "c.txt", results=tmp_path / "r.jsonl"
    )
    assert found.concepts == (f"{name}.", "city")
    assert found.performance.items == 1


def test_usage(corpora, tmp_path, run):
    path = tmp_path / "c.txt"
    path.write_text("Paris\n")
    for more in (
        ["--within", 3],
        ["--pairs", "--pairs-of", path],
        ["--pairs-out", tmp_path / "x.csv"],
        ["--out", tmp_path / "x.txt"],
        ["--plot", tmp_path / "x.gif"],
        ["--pairs", "--out", tmp_path / "x.csv", "--pairs-out", tmp_path / "x.csv"],
    ):
        assert run("frequency", corpora[0] / "one", path, *more)[0] == 2
