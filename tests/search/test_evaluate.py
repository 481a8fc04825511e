"""Search expressions evaluated, against brute force over the documents."""

import contextlib
import itertools
import random

import numpy as np
import pytest

import everygram
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.engine import covers
from everygram.errors import EverygramError, QueryError, TokenizerError
from everygram.kernels import INTERPRETED
from everygram.search import candidates, parts, terms
from everygram.search.evaluate import ExpressionSearch
from everygram.search.expression import from_cnf, parse
from everygram.search.nodes import And, Near, Not, Or, Term, Where, has_word
from everygram.search.text import TextSearch
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage.segment import Segment
from everygram.tokenizer.vocabulary import TokenBytes
from naive_search import Document
from naive_text import random_spelling

pytestmark = pytest.mark.usefixtures("kinds")

LETTERS = ["a", "b", "A", " ", "é", "É", "日", "_", "."]
WITHIN = ["document", 1, 2, 3, 5, 8, 100]


def random_term(rng, size, data):
    kind = rng.choice(["ids", "ids", "tokens", "words", "text", "text"])
    if kind == "ids":
        return Term("ids", tuple(rng.choices(range(size), k=rng.choice([1, 1, 1, 2]))))
    text = ""
    while not text or (kind == "words" and not has_word(text)):
        begin = rng.randrange(len(data) + 1)
        text = data[begin : begin + rng.randint(1, 4)].decode(errors="ignore")
        if rng.random() < 0.3:
            text = "".join(rng.choices(LETTERS, k=rng.randint(1, 2)))
    return Term(kind, text)


def random_operand(rng, leaf, depth):
    """What NEAR takes."""
    drawn = rng.random()
    if depth and drawn < 0.2:
        return Or(tuple(random_operand(rng, leaf, depth - 1) for _ in range(2)))
    if depth and drawn < 0.5:
        sides = random_operand(rng, leaf, depth - 1), random_operand(rng, leaf, depth - 1)
        return Near(*sides, rng.choice([0, 1, 2, 5, 50]), rng.random() < 0.5)
    return leaf()


def random_node(rng, leaf, depth, windows):
    drawn = rng.random()
    if not depth or drawn < 0.2:
        return leaf()
    if drawn < 0.45:
        return random_operand(rng, leaf, 2)
    if drawn < 0.6:
        nodes = [random_node(rng, leaf, depth - 1, windows) for _ in range(rng.randint(2, 3))]
        return Or(tuple(nodes))
    if not windows and drawn < 0.7:
        return Not(random_node(rng, leaf, depth - 1, windows))
    children = [random_node(rng, leaf, depth - 1, windows) for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.4:
        children.append(Not(random_node(rng, leaf, depth - 1, windows)))
    if rng.random() < 0.3:
        field = Where("source.name", rng.choice(["x", "y", "1", "null"]))
        children.append(rng.choice([field, Not(field), Or((field, Where("n", "0")))]))
    if len(children) == 1:
        return children[0]
    return And(tuple(children))


def shuffled(rng, node):
    """The same expression with its clauses in another order."""
    if isinstance(node, And | Or):
        children = [shuffled(rng, child) for child in node.children]
        rng.shuffle(children)
        return type(node)(tuple(children))
    if isinstance(node, Not):
        return Not(shuffled(rng, node.child))
    if isinstance(node, Near):
        left, right = shuffled(rng, node.left), shuffled(rng, node.right)
        if not node.ordered and rng.random() < 0.5:
            left, right = right, left
        return Near(left, right, node.distance, node.ordered)
    return node


def expected_of(documents, node, within):
    """{number: (what takes part, windows)} of the matching documents."""
    found = {}
    for number, document in documents.items():
        if within == "document":
            if document.holds(node):
                found[number] = document.taking_part(node), set()
        elif windows := document.windows(node, within):
            found[number] = document.in_windows(node, within), windows
    return found


def check(search, documents, node, within):
    found = search.evaluate(node, within)
    expected = expected_of(documents, node, within)
    assert found.documents.tolist() == sorted(expected)
    assert (found.document_count, found.exact, found.error_bound) == (len(expected), True, 0)
    counts = [
        [sum(each[0] == term for each in expected[number][0]) for number in sorted(expected)]
        for term in found.terms
    ]
    assert found.counts.tolist() == (counts or [])
    assert found.term_counts == tuple(map(sum, counts))
    windows = [len(expected[number][1]) for number in sorted(expected)]
    if within == "document":
        assert found.windows is None
        assert found.occurrence_count == sum(map(sum, counts))
    else:
        assert found.windows.tolist() == windows
        assert found.occurrence_count == sum(windows)
    check_rows(search, documents, expected, found)
    return found


def check_rows(search, documents, expected, found):
    shown = found.documents[:: 1 + len(found.documents) // 5]
    rows = found.rows(shown)
    seen = []
    for document, term, (first, last), (begin, end) in zip(
        rows.documents.tolist(),
        rows.terms.tolist(),
        rows.tokens.tolist(),
        rows.bytes.tolist(),
        strict=True,
    ):
        of = documents[document]
        if begin >= 0:
            place = of.place(begin, False), of.place(end, True)
            assert (first, last) == (place[0][0], place[1][0] + (place[1][1] > 0))
        else:
            place = (first, 0), (last, 0)
        seen.append((document, (found.terms[term], *place)))
    wanted = [(number, each) for number in shown.tolist() for each in expected[number][0]]
    assert sorted(seen, key=repr) == sorted(wanted, key=repr)
    keys = list(zip(rows.documents.tolist(), rows.tokens[:, 0].tolist(), strict=True))
    assert keys == sorted(keys)
    assert rows.windows.tolist() == [
        [number, *window] for number in shown.tolist() for window in sorted(expected[number][1])
    ]
    for number, (start, end), (begin, stop) in zip(
        rows.documents.tolist(), rows.chars.tolist(), rows.bytes.tolist(), strict=True
    ):
        if start >= 0:
            data = documents[number].data
            assert len(data[:begin].decode(errors="replace")) == start
            assert data.decode(errors="replace")[start:end] == data[begin:stop].decode()


@pytest.mark.parametrize("seed", range(2 if INTERPRETED else sized(30, 1000)))
def test_any_expression_any_vocabulary(tmp_path, monkeypatch, seed):
    """Characters split over tokens, deletions, segments, clauses in any order, small blocks."""
    rng = random.Random(seed)
    for index in range(3):
        monkeypatch.setattr(candidates, "BLOCK", rng.choice([1, 10, 1 << 20]))
        for name in ("LOOK_UP_ONE", "LOOK_UP_MORE", "LOOK_UP_TEXT"):
            monkeypatch.setattr(terms, name, rng.choice([0, 1, 3, 1 << 20]))
        monkeypatch.setattr(terms, "LOOK_UP_WALKED", 1 << 20)
        monkeypatch.setattr(terms, "FAR", rng.choice([0, 1, 32]))
        spelling = random_spelling(rng, rng.sample(LETTERS, rng.randint(2, 5)))
        size = len(spelling.bytes_of)
        ids = [rng.choices(range(size), k=rng.randint(0, 14)) for _ in range(12)]
        ids.append([rng.randrange(size)] * 20)
        metadata = [
            rng.choice([{}, {"source": {"name": rng.choice(["x", 1, None])}, "n": i % 2}])
            for i in range(len(ids))
        ]
        gone = sorted(rng.sample(range(len(ids)), rng.choice([0, 0, 3])))
        path = write_index(
            tmp_path / str(index), ids, "u8", rng.randint(1, 5), size, [gone], metadata
        )

        def encode(text, size=size):
            return [sum(text.encode()) % size, len(text) % size][: 1 + len(text) % 2]

        documents = {
            number: Document(of, spelling.tokens_of(of), metadata[number], encode)
            for number, of in enumerate(ids)
            if number not in gone
        }
        with everygram.open(path) as opened:
            texts = TextSearch(opened.engine, lambda of=spelling: TokenBytes(of))
            search = ExpressionSearch(opened.engine, texts, encode)
            for _ in range(25):
                within = rng.choice(WITHIN)
                data = rng.choice(list(documents.values())).data
                node = random_node(
                    rng,
                    lambda data=data, size=size: random_term(rng, size, data),
                    3,
                    within != "document",
                )
                found = check(search, documents, node, within)
                again = search.evaluate(shuffled(rng, node), within)
                assert again.documents.tolist() == found.documents.tolist()
                assert again.occurrence_count == found.occurrence_count
                assert dict(zip(again.terms, again.term_counts, strict=True)) == dict(
                    zip(found.terms, found.term_counts, strict=True)
                )
                assert parse(str(node)) == node


def opened_search(index):
    """The search of an open index, whose tokenizer also makes the ids of `tokens:`."""
    encoding = index._state.encoding
    return ExpressionSearch(
        index.engine, index._state.texts, lambda text: encoding.ids(text, False)
    )


def of_ids(path, documents, **options):
    """A search over lists of small ids, and the open index."""
    index = everygram.open(write_index(path, documents, "u8", **options))
    return index, ExpressionSearch(index.engine, index._state.texts, lambda text: [])


def test_a_count_is_not_divided_by_what_is_skipped(tmp_path):
    """infini-gram reports 1,000 of 1,500, and calls it exact, if a clause passes its bound."""
    index, search = of_ids(tmp_path / "index", [[1, 2, 3]] * 1500 + [[1]] * 500)
    with index:
        node = from_cnf([[[1]], [[2]]])
        for within in ("document", 100):
            found = search.evaluate(node, within)
            assert (found.document_count, found.exact, found.error_bound) == (1500, True, 0)
            sampled = search.evaluate(node, within, max_clause_freq=1000)
            assert not sampled.exact
            assert abs(sampled.document_count - 1500) <= 2 * sampled.error_bound
            enough = search.evaluate(node, within, max_clause_freq=1500)
            assert (enough.document_count, enough.exact) == (1500, True)


def test_the_order_of_clauses_changes_nothing(tmp_path):
    """infini-gram finds 1, 1, 0, 1 for four orders: a range over a document's end is dropped."""
    documents = [[1, 9, 9], [2, 9, 3, 9, 1], [2, 3], [3, 1, 9, 9, 9, 2], [9]]
    index, search = of_ids(tmp_path / "index", documents)
    with index:
        for within, expected in (("document", [1, 3]), (100, [1, 3]), (5, [1]), (6, [1, 3])):
            for clauses in itertools.permutations([[[1]], [[2]], [[3]]]):
                found = search.evaluate(from_cnf(list(clauses)), within)
                assert found.documents.tolist() == expected
                assert found.exact


def test_no_document_twice_and_samples_by_their_seed(tmp_path):
    """infini-gram's search_docs gives documents twice, others each time."""
    rng = random.Random(5)
    documents = [rng.choices([1, 2, 3, 4], k=20) for _ in range(300)]
    index, search = of_ids(tmp_path / "index", documents, segments=3)
    with index:
        node = parse("ids:1 AND ids:2,3")
        everything = search.evaluate(node)
        assert len(set(everything.documents.tolist())) == everything.document_count
        one, again, another = (
            search.evaluate(node, max_clause_freq=100, seed=seed).documents.tolist()
            for seed in (1, 1, 2)
        )
        assert one == again != another
        assert set(one) <= set(everything.documents.tolist())


def test_samples_are_unbiased_and_their_bounds_hold(tmp_path):
    rng = random.Random(6)
    documents = [rng.choices([1, 2, 3, 4, 5], k=rng.randint(1, 30)) for _ in range(400)]
    index, search = of_ids(tmp_path / "index", documents, segments=2, deleted=[[3, 200]])
    with index:
        for text, within in (
            ("ids:1 AND ids:2", "document"),
            ("ids:1 AND ids:2", 3),
            ("NOT ids:5", "document"),
        ):
            true = search.evaluate(parse(text), within)
            kept, of_documents = 0, []
            totals = np.zeros(2)
            seeds = 10 if INTERPRETED else 300
            for seed in range(seeds):
                found = search.evaluate(parse(text), within, max_clause_freq=150, seed=seed)
                assert not found.exact
                unit = "document_count" if within == "document" else "occurrence_count"
                kept += abs(getattr(found, unit) - getattr(true, unit)) <= found.error_bound
                totals += found.document_count, found.occurrence_count
                of_documents.append(found.document_count)
            assert kept >= 0.9 * seeds
            mean = totals / seeds
            assert abs(mean[0] - true.document_count) < 0.05 * true.document_count * (
                1 + 30 / seeds
            )
            if true.occurrence_count:
                assert abs(mean[1] / true.occurrence_count - 1) < 0.05 * (1 + 30 / seeds)


def test_a_document_that_is_one_long_repeat(tmp_path):
    size = 300 if INTERPRETED else 20_000
    index, search = of_ids(tmp_path / "index", [[1] * size, [1, 2]])
    with index:
        for text, within, expected in (
            ("ids:1", "document", (2, size + 1)),
            ("ids:1 NEAR/3 ids:1", "document", (1, size)),
            ("ids:1,1 NEAR/1000 ids:1,1,1", "document", (1, (size - 1) + (size - 2))),
            ("ids:1 AND ids:1,1", 50, (1, size - 1)),
            ("(ids:1 NEAR/1 ids:1) BEFORE/5 ids:2", "document", (0, 0)),
            ("ids:1 AND NOT ids:2", 50, (1, size)),
            ("ids:1 AND NOT ids:1", 50, (0, 0)),
        ):
            found = search.evaluate(parse(text), within)
            assert (found.document_count, found.occurrence_count) == expected


def test_a_rare_clause_beside_a_common_one_reads_only_its_documents(tmp_path, monkeypatch):
    """Whatever the order, the common clause is neither listed nor looked for elsewhere."""
    number = 40 if INTERPRETED else 1000
    documents = [[1] * number for _ in range(number)]
    for place in (5, 17, 30):
        documents[place] = [*[1] * (number - 2), 2, 3]
    index, search = of_ids(tmp_path / "index", documents)
    read = []
    with index:
        for name in ("sequences_in", "texts_in", "places_in"):
            monkeypatch.setattr(type(index.engine), name, counting(type(index.engine), name, read))
        looked_up = terms.FoundIds._everywhere

        def everywhere(self, number):
            begins, length = looked_up(self, number)
            read.append(begins.shape[0])
            return begins, length

        monkeypatch.setattr(terms.FoundIds, "_everywhere", everywhere)
        for text in (
            "ids:1 AND ids:2",
            "ids:2 AND ids:1",
            "ids:1 NEAR/2 ids:2",
            "ids:2 AND NOT ids:1,3",
        ):
            for within in ("document", 10):
                read.clear()
                found = search.evaluate(parse(text), within)
                assert found.documents.tolist() == [5, 17, 30]
                assert sum(read) <= 3 + 2 * 3 * number
                read.clear()
                found.rows(found.documents[:1])
                assert sum(read) <= 2 * number


def counting(of, name, read):
    """A method that reads tokens of documents, and notes how many."""
    method = getattr(of, name)

    def counted(self, *given):
        starts, ends = next(pair for pair in itertools.pairwise(given) if are_bounds(*pair))
        read.append(int((ends - starts).sum()))
        return method(self, *given)

    return counted


def are_bounds(a, b):
    both = isinstance(a, np.ndarray) and isinstance(b, np.ndarray)
    return both and a.dtype == b.dtype == np.int64 and a.shape == b.shape


def test_metadata_is_read_only_of_what_else_matches(tmp_path, monkeypatch):
    documents = [[1, 2] if number % 10 == 0 else [1] for number in range(200)]
    metadata = [{"n": number % 20, "of": {"x": number % 3}} for number in range(200)]
    index, search = of_ids(tmp_path / "index", documents, metadata=metadata)
    read, method = [], Segment.metadata
    monkeypatch.setattr(Segment, "metadata", lambda self, n: read.append(n) or method(self, n))
    with index:
        for text in ("n:0 AND ids:2", "ids:2 AND n:0", "NOT n:10 AND ids:2", "ids:2 AND NOT n:10"):
            for within in ("document", 5):
                read.clear()
                assert search.evaluate(parse(text), within).documents.tolist() == [
                    *range(0, 200, 20)
                ]
                assert len(read) == 20
        assert search.evaluate(parse("n:0 AND of.x:1")).documents.tolist() == [40, 100, 160]
        assert search.evaluate(parse("n:x OR of:x OR missing:null")).document_count == 0


def test_fields_are_compared_as_delete_does(tmp_path):
    values = ["x", "1", 1, 1.5, True, None, [1], {"a": "ü"}, ""]
    records = [{"text": "a", "field": value} for value in values] + [{"text": "a"}]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    everygram.build(corpus, tmp_path / "index", "bytes")
    with everygram.open(tmp_path / "index") as index:
        search = opened_search(index)
        for value in ["x", "1", "1.5", "true", "null", "[1]", '{"a": "ü"}', "", "y"]:
            deletion = everygram.delete(tmp_path / "index", where=("field", value), dry_run=True)
            found = search.evaluate(Where("field", value)).documents.tolist()
            assert found == list(deletion.documents)


@pytest.mark.parametrize("tokenizer", ["bytes", "train:300"])
def test_real_texts_after_deletions_and_a_compaction(tmp_path, tokenizer):
    texts = [
        "The quick brown fox, the lazy dog. THE END; theory and bathe",
        "Ελληνικά και ελληνικά: ΣΊΣΥΦΟΣ, Σίσυφος",
        "हिन्दी में नमस्ते नमस्तेजी the",
        "👩\u200d👩\u200d👧\u200d👦 family 👍🏽 👍 \ufffd the quick the quick",
    ] * 3
    records = [{"text": text, "n": number} for number, text in enumerate(texts)]
    everygram.build(write_jsonl(tmp_path / "a.jsonl", records[:7]), tmp_path / "index", tokenizer)
    everygram.add(tmp_path / "index", write_jsonl(tmp_path / "b.jsonl", records[7:]))
    everygram.delete(tmp_path / "index", documents=[0, 9])
    for _ in range(2):
        with everygram.open(tmp_path / "index") as index:
            search = opened_search(index)
            documents = {}
            for number, ids, metadata in index.engine.documents():
                of = index._state.reading.token_bytes
                spelled = [of.blob[of.starts[i] : of.starts[i + 1]].tobytes() for i in ids.tolist()]
                spelled[0] = spelled[0][of.dropped[ids[0]] :]
                documents[number] = Document(ids.tolist(), spelled, metadata, search._encode)
            for text in (
                "the AND quick",
                '"the quick" NEAR/3 text:"he"',
                "the NEAR/20 (fox OR theory OR ελληνικά)",
                'text:"👩" OR tokens:"the"',
                "σίσυφος AND NOT fox",
                "the AND NOT n:3",
                'text:"t" BEFORE/1 text:"t"',
            ):
                for within in ("document", 2, 12):
                    check(search, documents, parse(text), within)
        everygram.compact(tmp_path / "index", full=True)


@pytest.mark.parametrize(
    "text",
    [
        "NOT ids:1",
        "n:1",
        "ids:1 OR n:1",
        "NOT ids:1 AND NOT ids:2",
        "n:1 AND NOT ids:2",
        "ids:1 AND NOT (NOT ids:2)",
        "(ids:1 OR NOT ids:2) AND ids:3",
    ],
)
def test_what_has_no_windows(tmp_path, text):
    index, search = of_ids(tmp_path / "index", [[1, 2], [3]])
    with index:
        search.evaluate(parse(text))
        with pytest.raises(QueryError, match=r"^within: "):
            search.evaluate(parse(text), 5)


@pytest.mark.parametrize(
    ("text", "options", "says"),
    [
        ("ids:200", {}, r"ids:200\[0\]: token id 200 is outside the vocabulary"),
        ("ids:1,255", {}, r"^'ids:1,255': 255 separates documents; expected ids that are inside"),
        ("tokens:x", {}, r"tokens:\"x\"': expected at least one token, found none"),
        ("ids:1", {"within": 0}, "^within: expected 1 or more, found 0"),
        ("ids:1", {"within": "window"}, "^within: expected 'document', or the most tokens"),
        ("ids:1", {"within": None}, "^within: expected 1 or more"),
        ("ids:1", {"within": 1.5}, "^within: "),
        ("ids:1", {"max_clause_freq": 0}, "^max_clause_freq: "),
    ],
)
def test_what_cannot_be_evaluated(tmp_path, text, options, says):
    index, search = of_ids(tmp_path / "index", [[1, 2]], vocab_size=100)
    with index, pytest.raises(QueryError, match=says):
        search.evaluate(parse(text), **options)


def test_words_without_a_tokenizer(tmp_path):
    index, search = of_ids(tmp_path / "index", [[1, 2]])
    with index, pytest.raises(TokenizerError):
        search.evaluate(parse("ids:1 AND the"))


def test_the_bound_of_windows_holds_where_few_documents_have_any(tmp_path):
    """Two common tokens that seldom meet: most samples have no window."""
    documents = [[1, 3, 3, 3, 2]] * 300
    for place in (7, 90, 180, 299):
        documents[place] = [1, 2, 1, 2]
    index, search = of_ids(tmp_path / "index", documents)
    with index:
        asked = parse("ids:1 AND ids:2")
        true = search.evaluate(asked, 2).occurrence_count
        seeds = 10 if INTERPRETED else 200
        found = [search.evaluate(asked, 2, max_clause_freq=30, seed=seed) for seed in range(seeds)]
        assert true == 12 and not any(each.exact for each in found)
        kept = sum(abs(each.occurrence_count - true) <= each.error_bound for each in found)
        assert kept >= 0.9 * seeds


def test_windows_of_near_where_terms_are_inside_others(tmp_path):
    """The smallest window has a pair of which none is the nearest to the other."""
    index, search = of_ids(tmp_path / "index", [[1, 2, 3, 4, 5, 6]])
    with index:
        sides = "(ids:1,2,3 OR ids:2)", "(ids:4,5,6 OR ids:5)"
        for text in (
            " NEAR/5 ".join(sides),
            " NEAR/5 ".join(sides[::-1]),
            " BEFORE/2 ".join(sides),
        ):
            for within in (4, 5, 9):
                found = search.evaluate(parse(text), within)
                assert found.rows(found.documents).windows.tolist() == [[0, 1, 5]]
        # (The pair of the smallest window is too far apart.)
        found = search.evaluate(parse(" BEFORE/1 ".join(sides)), 9)
        assert found.rows(found.documents).windows.tolist() == [[0, 0, 5], [0, 1, 6]]


def test_an_index_without_documents(tmp_path):
    index, search = of_ids(tmp_path / "index", [])
    with index:
        for within in ("document", 5):
            found = search.evaluate(parse("ids:1 AND ids:2"), within)
            assert (found.document_count, found.occurrence_count, found.term_counts) == (
                0,
                0,
                (0, 0),
            )
            assert found.rows(found.documents).tokens.tolist() == []


def test_a_damaged_index_answers_or_says_so(tmp_path, monkeypatch):
    """Bytes of every file at random: nothing foreign is read."""
    monkeypatch.setattr(directory, "CHECKED_AT_ONCE", 0)
    rng = random.Random(7)
    texts = ["the cat", "a hat the", "", "cat and the rest"] * 5
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": text, "n": 1} for text in texts])
    path = tmp_path / "index"
    everygram.build(corpus, path, "train:300")
    everygram.delete(path, documents=[1, 5])
    for file in sorted(path.glob("segment-*/*.bin")) * (1 if INTERPRETED else 8):
        content = file.read_bytes()
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 20, 400])):
            damaged[rng.randrange(len(damaged))] = rng.choice([0, 254, rng.randrange(256)])
        file.write_bytes(damaged)
        for text in ("the AND cat", "the NEAR/3 tokens:a", "cat AND NOT n:1", 'text:"t"'):
            for within, cost in itertools.product(("document", 4), (0, 1 << 20)):
                monkeypatch.setattr(terms, "LOOK_UP_TEXT", cost)
                monkeypatch.setattr(terms, "LOOK_UP_WALKED", 1 << 20)
                with contextlib.suppress(EverygramError), everygram.open(path) as index:
                    found = opened_search(index).evaluate(parse(text), within)
                    assert found.document_count >= 0
                    found.rows(found.documents)
        file.write_bytes(content)


def test_several_indexes_as_one(tmp_path):
    """By the numbers of the union, and without what is taken away."""
    texts = ["the cat", "a hat the cat", "cat", "the hat"]
    for name, some in (("a", texts[:2]), ("b", texts[2:]), ("c", texts[:1])):
        records = [{"text": text, "n": name} for text in some]
        everygram.build(write_jsonl(tmp_path / f"{name}.jsonl", records), tmp_path / name, "bytes")
    paths = [tmp_path / "a", tmp_path / "b"]
    with everygram.open(paths) as index, everygram.open(paths, minus=tmp_path / "c") as less:
        for opened, expected in ((index, [[0, 1], [0, 1, 2], [3]]), (less, [[1], [1, 2], [3]])):
            search = opened_search(opened)
            asked = "the AND cat", "cat OR (hat AND n:a)", "hat AND NOT n:a"
            found = [search.evaluate(parse(text)).documents.tolist() for text in asked]
            assert found == expected


def test_samples_are_of_the_same_documents_whatever_the_kind(tmp_path, monkeypatch):
    """How long a text takes to look up differs; what is drawn, and so what is found, does not."""
    monkeypatch.setattr(covers, "BACK", 1000)
    monkeypatch.setattr(parts, "FEW", 1)
    rng = random.Random(8)
    words = ["contribute", "trib", "con", "tribute", "kernel", "in", "a"]
    texts = [" ".join(rng.choices(words, k=20)) for _ in range(80)]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in texts])
    for kind in fmt.KINDS:
        everygram.build(corpus, tmp_path / kind, "train:300", kind=kind)
    for text in ('text:"ontrib" OR kernel', 'text:"ontrib" AND text:"n a"', 'text:"rib"'):
        for most in (1, 20, 60):
            shown = []
            for kind in fmt.KINDS:
                with everygram.open(tmp_path / kind) as index:
                    found = index.search(text, max_clause_freq=most, seed=most)
                    shown.append(found.as_dict() | {"cursor": None})
            assert shown[0] == shown[1]
