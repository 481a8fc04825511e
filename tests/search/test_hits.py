"""Hits of a search: spans, snippets, pages, samples and ranks, against plain Python."""

import itertools
import json
import math
import random
import re
import subprocess
import sys

import numpy as np
import pytest

import everygram
from conftest import write_index, write_jsonl
from everygram.encoding import Reading
from everygram.errors import ExpressionError, QueryError

WORDS = ["alpha", "beta", "gamma", "Delta", "naïve", "日本", "x"]


def texts_of(seed, number=40):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(0, 60))) for _ in range(number)]


@pytest.fixture(scope="module", params=["bytes", "train:300"])
def made(request, tmp_path_factory):
    """An index of three segments with some documents deleted, and its texts by number."""
    folder = tmp_path_factory.mktemp("hits")
    texts = texts_of(1)
    records = [{"text": text, "kind": "ab"[i % 2], "n": i} for i, text in enumerate(texts)]
    everygram.build(write_jsonl(folder / "a.jsonl", records[:20]), folder / "index", request.param)
    for part in (records[20:30], records[30:]):
        everygram.add(folder / "index", write_jsonl(folder / "b.jsonl", part))
    everygram.delete(folder / "index", documents=[3, 21, 22, 39])
    with everygram.open(folder / "index") as index:
        yield index, {i: t for i, t in enumerate(texts) if i not in (3, 21, 22, 39)}


def word_spans(text, word):
    return [m.span() for m in re.finditer(rf"(?i)(?<!\w){re.escape(word)}(?!\w)", text)]


def expected(texts, *words):
    """The documents that have all of these words, and the spans of all of them in each."""
    return {
        number: sorted(
            (*span, term) for term, w in enumerate(words) for span in word_spans(text, w)
        )
        for number, text in texts.items()
        if all(word_spans(text, word) for word in words)
    }


def spans_of(hit):
    return sorted((span.start, span.end, span.term) for span in hit.spans)


@pytest.mark.parametrize("words", [("alpha",), ("delta", "日本"), ("naïve", "x", "beta")])
def test_documents_and_spans(made, words):
    index, texts = made
    wanted = expected(texts, *words)
    for order in itertools.permutations(range(len(words))):
        found = index.search(" AND ".join(words[i] for i in order), limit=None)
        assert found.exact and found.error_bound == 0 and found.unit == "occurrences"
        assert [hit.document for hit in found] == sorted(wanted)
        assert found.document_count == len(wanted)
        assert found.occurrence_count == sum(map(len, wanted.values()))
        assert [each.term for each in found.terms] == [words[i] for i in order]
        for hit in found:
            spans = [(a, b, order[term]) for a, b, term in spans_of(hit)]
            assert sorted(spans) == wanted[hit.document]
            assert hit.occurrence_count == len(spans)
            document = index.document(hit.document)
            assert hit.metadata == document.metadata
            assert hit.length == document.length
            assert document.text == texts[hit.document]
            for span in hit.spans:
                inside = document.token_ids[span.token_start : span.token_end]
                assert texts[hit.document][span.start : span.end] in index.decode(inside)
        json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.parametrize("context", [0, 1, 4, 1000])
def test_snippets_are_parts_of_the_text_with_its_spans_marked(made, context):
    index, texts = made
    for expression in ("beta", "naïve OR 日本", "beta NEAR/2 x", "NOT alpha", "text:a"):
        found = index.search(expression, limit=None, context=context)
        for hit in found:
            text = texts[hit.document]
            pieces = [piece for piece in re.split(r" ?… ?", hit.snippet) if piece]
            assert all(piece in text for piece in pieces)
            for begin, end in hit.marks:
                assert any(
                    hit.snippet[begin:end] == text[span.start : span.end] for span in hit.spans
                )
            if hit.spans:
                assert hit.marks
            if context == 1000:
                assert hit.snippet == text
                assert [tuple(mark) for mark in hit.marks] == [
                    (span.start, span.end) for span in hit.spans
                ]


def test_tokens_and_ids_have_places_in_the_text(made):
    index, texts = made
    draw = random.Random(2)
    for _ in range(20):
        number = draw.choice([n for n in texts if texts[n]])
        ids = index.document(number).token_ids.tolist()
        start = draw.randrange(len(ids))
        query = ids[start : start + draw.randint(1, 4)]
        found = index.search("ids:" + ",".join(map(str, query)), limit=None)
        assert found.occurrence_count == index.count(query)
        hit = next(hit for hit in found if hit.document == number)
        for span in hit.spans:
            shown = texts[number][span.start : span.end]
            inside = index.document(number).token_ids[span.token_start : span.token_end]
            assert inside.tolist() == query
            plain = index.decode(query).strip("\ufffd")
            assert plain in shown  # (with the whole of a character that it has a part of)
            assert len(shown) <= len(plain) + 2


@pytest.mark.parametrize("order", ["document", "matches", "bm25"])
@pytest.mark.parametrize("limit", [1, 3, 7])
def test_pages_join_to_all(made, order, limit):
    index, _ = made
    for expression in ("alpha", "alpha OR 日本", "alpha AND NOT x"):
        whole = index.search(expression, limit=None, order=order)
        assert whole.cursor is None
        pages, cursor = [], None
        while True:
            page = index.search(expression, limit=limit, order=order, cursor=cursor)
            assert page.document_count == whole.document_count
            assert len(page) <= limit
            pages += page.hits
            cursor = page.cursor
            if cursor is None:
                break
        assert pages == whole.hits
    with pytest.raises(QueryError, match="cursor: it was given for another search"):
        index.search("x", order=order, cursor=index.search("alpha", limit=1, order=order).cursor)


def test_a_cursor_is_good_in_another_process(made):
    index, _ = made
    page = index.search("alpha", limit=2)
    program = (
        "import everygram, sys; i = everygram.open(sys.argv[1]); "
        "print([h.document for h in i.search('alpha', limit=2, cursor=sys.argv[2])])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(index.path), page.cursor],
        capture_output=True,
        text=True,
        env=None,
    )
    following = index.search("alpha", limit=2, cursor=page.cursor)
    assert done.stdout.strip() == str([hit.document for hit in following]), done.stderr


def test_a_cursor_takes_numbers_of_any_library(made):
    first = made[0].search("alpha", within=9, limit=2)
    more = made[0].search("alpha", within=np.int64(9), limit=2, cursor=first.cursor)
    assert more.within == 9 and more[0].document > first[-1].document
    json.dumps(more.as_dict())
    last = made[0].search("alpha", limit=3, cursor=made[0].search("alpha", limit=1).cursor)
    same = made[0].search("alpha", within=np.str_("document"), limit=1)
    assert last.hits == made[0].search("alpha", limit=3, cursor=same.cursor).hits


def test_a_message_shows_the_beginning_of_a_long_term(made):
    for wrong in ([[[10**400]]], [[[9] * 10_000 + [1 << 50]]]):
        with pytest.raises(QueryError) as raised:
            made[0].search(wrong)
        assert str(raised.value).startswith(f"ids:{wrong[0][0][0]}"[:60])
        assert len(str(raised.value)) < 300


# Bytes of which few are characters; and a decoder that puts spaces between tokens.
@pytest.mark.parametrize("kind", ["not UTF-8", "WordPiece"])
def test_places_of_many_matches_are_found_together(tmp_path, monkeypatch, kind):
    rng = random.Random(4)
    if kind == "WordPiece":
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        words = {"[UNK]": 0, "a": 1, "b": 2, "##s": 3, ".": 4, "'": 5}
        tokenizer = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        texts = [" ".join(rng.choices(["a", "bs", "as.", "' b", "zz"], k=40)) for _ in range(5)]
        texts += ["", "a"]
        records = write_jsonl(tmp_path / "a.jsonl", [{"text": text} for text in texts])
        everygram.build(records, tmp_path / "index", tmp_path / "tokenizer.json")
        tokens = range(5)
    else:
        tokens = [*"aé日😀\ufffd".encode(), 0x80, 0xC3, 0xE0, 0xED, 0xF0, 0xF4, 0x90, 0xFE]
        ids = [token for _ in range(40) for token in [*rng.choices(tokens, k=rng.randint(0, 9)), 0]]
        np.array(ids, np.uint8).tofile(tmp_path / "ids.bin")
        everygram.build(
            tmp_path / "ids.bin", tmp_path / "index", "bytes", pretokenized="u8", separator_id=0
        )
    with everygram.open(tmp_path / "index") as index:
        cut = Reading.cut
        # (It reads the whole document for one match.)
        monkeypatch.setattr(Reading, "cut", None)
        found = [index.search([[[token]]], limit=None, context=1) for token in sorted({*tokens})]
        reading = index._state.reading
        assert sum(hits.occurrence_count for hits in found) > 100
        for hit in itertools.chain(*found):
            document = index.document(hit.document)
            for span in hit.spans:
                before, match, _ = cut(
                    reading, document.token_ids, span.token_start, span.token_end
                )
                assert (span.start, span.end) == (len(before), len(before) + len(match))
            for begin, end in hit.marks:
                assert any(
                    hit.snippet[begin:end] == document.text[span.start : span.end]
                    for span in hit.spans
                )


def test_a_cursor_of_an_index_that_changed(tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", [{"text": "a b"}] * 4)
    everygram.build(corpus, tmp_path / "index", "bytes")
    with everygram.open(tmp_path / "index") as index:
        cursor = index.search("a", limit=1).cursor
        everygram.delete(tmp_path / "index", documents=[0])
        assert index.search("a", limit=9, cursor=cursor).document_count == 4
        index.refresh()
        with pytest.raises(QueryError, match="the index has changed since"):
            index.search("a", cursor=cursor)
    for wrong in ("", "abc", "é", cursor[:-3], 3, b"a", "W10"):
        with everygram.open(tmp_path / "index") as index, pytest.raises(QueryError, match="cursor"):
            index.search("a", cursor=wrong)


def test_samples(made):
    index, _ = made
    everything = [hit.document for hit in index.search("alpha", limit=None)]
    drawn = index.search("alpha", sample=5, seed=3)
    documents = [hit.document for hit in drawn]
    assert len(set(documents)) == 5
    assert set(documents) <= set(everything) and documents == sorted(documents)
    assert drawn == index.search("alpha", sample=5, seed=3)
    assert drawn.cursor is None and drawn.document_count == len(everything)
    others = [tuple(h.document for h in index.search("alpha", sample=5, seed=s)) for s in range(9)]
    assert len(set(others)) > 1
    everyone = index.search("alpha", sample=10**6)
    assert [hit.document for hit in everyone] == everything
    with pytest.raises(QueryError, match="not with a sample"):
        index.search("alpha", sample=5, cursor=index.search("alpha", limit=1).cursor)


def test_ranks_by_matches_and_by_bm25(made):
    index, texts = made
    wanted = expected(texts, "alpha", "日本")
    by_matches = index.search("alpha AND 日本", order="matches", limit=None)
    assert [hit.document for hit in by_matches] == sorted(
        wanted, key=lambda number: (-len(wanted[number]), number)
    )
    total, k1, b = len(texts), 0.9, 0.4
    lengths = {number: index.document(number).length for number in texts}
    mean = sum(lengths.values()) / total
    assert index.num_tokens == sum(lengths.values())
    scores = {}
    for number, text in texts.items():
        score = 0.0
        for word in ("alpha", "日本"):
            n = sum(bool(word_spans(each, word)) for each in texts.values())
            f = len(word_spans(text, word))
            weight = math.log(1 + (total - n + 0.5) / (n + 0.5))
            norm = k1 * (1 - b + b * lengths[number] / mean)
            score += weight * f * (k1 + 1) / (f + norm)
        if score:
            scores[number] = score
    found = index.search("alpha OR 日本", order="bm25", k1=k1, b=b, limit=None)
    assert {hit.document: pytest.approx(hit.score) for hit in found} == scores
    ranked = [hit.score for hit in found]
    assert ranked == sorted(ranked, reverse=True)
    assert index.search("alpha")[0].score is None


def test_fields_of_the_metadata(made):
    index, texts = made
    odd = [number for number in expected(texts, "alpha") if number % 2]
    found = index.search("alpha AND kind:b", limit=None)
    assert [hit.document for hit in found] == odd
    other = index.search("alpha", where=("kind", "b"), limit=None)
    assert other == found
    one = index.search("alpha OR NOT alpha", where=("n", 7), limit=None)
    assert [hit.document for hit in one] == [7]
    for wrong in ("kind=b", ("kind",), (1, "b"), {"kind": "b"}, ("kind", [1])):
        with pytest.raises(QueryError, match="where: expected a field and its value"):
            index.search("alpha", where=wrong)


def test_clauses_as_lists(made):
    index, texts = made
    for cnf in ([["alpha", "beta"], ["x"]], [["x"], ["beta", "alpha"]]):
        found = index.search(cnf, limit=None)
        counted = {
            number
            for number in texts
            if any(index_count(index, number, w) for w in ("alpha", "beta"))
            and index_count(index, number, "x")
        }
        assert {hit.document for hit in found} == counted
        ids = [[index.encode(term).tolist() for term in clause] for clause in cnf]
        assert [hit.document for hit in index.search(ids, limit=None)] == sorted(counted)


def index_count(index, number, word):
    """How often the ids that a word becomes occur in a document."""
    ids, text = index.encode(word).tolist(), index.document(number).token_ids.tolist()
    return sum(text[i : i + len(ids)] == ids for i in range(len(text)))


def test_windows(made):
    index, _ = made
    found = index.search("alpha AND 日本", within=12, limit=None)
    assert (found.unit, found.within) == ("windows", 12)
    assert found.occurrence_count == sum(hit.occurrence_count for hit in found)
    for hit in found:
        assert hit.occurrence_count == len(hit.windows) > 0
        for begin, end in hit.windows:
            assert end - begin <= 12
            inside = [s.term for s in hit.spans if begin <= s.token_start and s.token_end <= end]
            assert set(inside) == {0, 1}


def test_an_index_without_a_tokenizer(tmp_path):
    write_index(tmp_path / "index", [[1, 2, 3], [2, 3], [], [1, 3]], "u8")
    with everygram.open(tmp_path / "index") as index:
        found = index.search("ids:1 AND NOT ids:2,3")
        (hit,) = found
        assert (hit.document, hit.snippet, hit.marks) == (3, None, [])
        assert [vars(span) for span in hit.spans] == [
            {"start": None, "end": None, "token_start": 0, "token_end": 1, "term": 0}
        ]
        assert json.dumps(found.as_dict())
        with pytest.raises(everygram.EverygramError, match="tokenizer"):
            index.search("word")


def test_many_documents_by_number(made):
    index, _ = made
    numbers = [5, 0, 5]
    assert index.documents(numbers) == [index.document(number) for number in numbers]
    assert index.documents([2], context=3)[0].token_ids.shape[0] <= 3
    assert index.documents([]) == []
    with pytest.raises(QueryError, match="document 3: it was deleted"):
        index.documents([0, 3])
    for wrong in ("12", 3, None, {1, 2}, b"a"):
        with pytest.raises(QueryError, match="documents: expected a list of numbers"):
            index.documents(wrong)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"within": "paragraph"}, "within: expected 'document'"),
        ({"within": 0}, "within: expected 1 or more"),
        ({"limit": -1}, "limit: expected 0 or more"),
        ({"sample": "2"}, "sample: expected 0 or more"),
        ({"seed": 1.5}, "seed: expected an integer"),
        ({"order": "rank"}, "order: expected document, matches, bm25, found 'rank'"),
        ({"context": None}, "context: expected 0 or more"),
        ({"max_clause_freq": 0}, "max_clause_freq: expected 1 or more"),
        ({"max_clause_freq": "a", "cursor": ""}, "max_clause_freq: expected 1 or more"),
        ({"where": ("", 1)}, "where: expected the name of a field"),
        ({"where": ("n", "\ud800")}, "where: expected a text, found the lone surrogate"),
        ({"where": ("\ud800", 1)}, "where: expected a text, found the lone surrogate"),
        ({"k1": -1}, "k1: expected 0 or more, found -1"),
        ({"k1": "1"}, "k1: expected a number"),
        ({"k1": math.inf}, "k1: expected"),
        ({"b": 1.5}, "b: expected 0 to 1, found 1.5"),
        ({"b": math.nan}, "b: expected a number"),
        ({"b": True}, "b: expected a number"),
    ],
)
def test_options_that_are_none(made, options, says):
    with pytest.raises(QueryError, match=says):
        made[0].search("alpha", **options)


def test_expressions_that_are_none(made):
    for expression, position in [("alpha AND", 9), ("(alpha", 6), ("alpha beta", 6), ("", 0)]:
        with pytest.raises(ExpressionError) as caught:
            made[0].search(expression)
        assert caught.value.position == position
    for wrong in (None, 3, b"alpha", [], [[]], ["alpha"], [[[]]], {"a": 1}):
        with pytest.raises(QueryError):
            made[0].search(wrong)


def test_a_bounded_search_says_how_far_it_may_be_off(made):
    index, texts = made
    true = len(expected(texts, "x"))
    totals = []
    for seed in range(40):
        found = index.search("x", max_clause_freq=10, seed=seed, limit=2)
        assert not found.exact and found.error_bound > 0
        assert len(found) <= 2
        totals.append(found.document_count)
    assert abs(sum(totals) / len(totals) - true) < 0.25 * true
    assert sum(abs(total - true) <= found.error_bound for total in totals) >= 36
    exact = index.search("x", max_clause_freq=10**6)
    assert exact.exact and exact.document_count == true


def test_notebooks_show_hits(made):
    index, _ = made
    shown = index.search("日本 AND kind:a", limit=2, context=3)._repr_html_()
    assert "<mark" in shown and "日本</mark>" in shown
    assert "<script" not in shown
