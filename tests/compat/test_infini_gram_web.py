"""infini-gram's web API: shapes of its documentation, and answers of infini-gram 2.6.0."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.compat import infini_gram_web as web
from everygram.compat.infini_gram_queries import QUERY_TYPES

RECORDED = json.loads(
    (Path(__file__).parents[1] / "data" / "infini_gram" / "recorded.json").read_text()
)
# The end of a document as it was recorded, and here.
THEIR_END, OUR_END = "12", "65535"
TEXTS = [
    "on natural language processing and deep learning",
    "on natural language processing",
    "on machine learning of a natural language",
    "as deep learning is not natural language processing",
]
# (Each answer has these beside its own.)
ALWAYS = {"latency", "token_ids", "tokens"}


def asked(served, **body):
    status, answer = web.answer({"index": "i", **body}, {"i": served}.get)
    # (As it is sent.)
    return status, json.loads(json.dumps(answer, allow_nan=False))


def good(index, **body):
    status, answer = asked(index, **body)
    assert status == 200
    assert "error" not in answer, answer
    return answer


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    """An index of the recorded corpus."""
    folder = tmp_path_factory.mktemp("recorded")
    stream = [token for document in RECORDED["documents"] for token in [65_535, *document]]
    np.array(stream, "<u2").tofile(folder / "ids.bin")
    everygram.build(
        folder / "ids.bin", folder / "ids", pretokenized="u16", separator_id=65_535, vocab_size=300
    )
    with everygram.open(folder / "ids") as index:
        yield index


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("texts")
    records = [{"text": text, "number": i} for i, text in enumerate(TEXTS)]
    everygram.build(write_jsonl(folder / "c.jsonl", records), folder / "text", "train:300")
    with everygram.open(folder / "text") as index:
        yield index


def recorded(kind, clauses=False):
    found = [
        each
        for each in RECORDED["answers"]
        if each["request"]["query_type"] == kind
        and clauses
        == (
            each["request"]["query_ids"][:1] != []
            and isinstance(each["request"]["query_ids"][0], list)
        )
    ]
    assert found
    return found


@pytest.mark.parametrize("kind", ["count", "prob", "infgram_prob", "find"])
def test_recorded_values(ids, kind):
    for each in recorded(kind):
        answer = good(ids, **each["request"])
        assert {*answer} - ALWAYS - {"longest_suffix"} == {*each["answer"]}
        theirs = dict(each["answer"])
        if kind == "find":
            # (The end of a shard stands elsewhere among the ranks.)
            (low, high), (begin, end) = answer["segment_by_shard"][0], theirs["segment_by_shard"][0]
            assert high - low == end - begin
            theirs.pop("segment_by_shard")
        for name, value in theirs.items():
            assert answer[name] == pytest.approx(value), (each, name)


@pytest.mark.parametrize("kind", ["ntd", "infgram_ntd"])
def test_recorded_distributions(ids, kind):
    for each in recorded(kind):
        answer, theirs = good(ids, **each["request"]), each["answer"]
        known = {
            OUR_END if token == THEIR_END else token: value
            for token, value in theirs["result_by_token_id"].items()
        }
        assert (answer["prompt_cnt"], answer["approx"]) == (theirs["prompt_cnt"], False), each
        used = each["request"]["query_ids"]
        used = used[len(used) - answer.get("suffix_len", len(used)) :]
        found = answer["result_by_token_id"]
        counted = {token: value["cont_cnt"] for token, value in found.items()}
        assert counted == following(used), each
        if ends_documents(used) > 1 and ends_the_last(used):
            # Theirs is wrong: such a prompt is followed by ends of documents alone.
            assert known == {OUR_END: {"cont_cnt": answer["prompt_cnt"], "prob": 1.0}}
            continue
        assert counted == {token: value["cont_cnt"] for token, value in known.items()}, each
        for token, value in known.items():
            assert found[token]["prob"] == pytest.approx(value["prob"])


def following(prompt):
    """What follows a prompt in the recorded corpus, and how often."""
    counted = Counter()
    for document in RECORDED["documents"]:
        for at in range(len(document) - len(prompt) + 1):
            if document[at : at + len(prompt)] == prompt:
                after = document[at + len(prompt) :]
                counted[str(after[0]) if after else OUR_END] += 1
    return counted


def ends_documents(prompt):
    return sum(each[len(each) - len(prompt) :] == prompt for each in RECORDED["documents"])


def ends_the_last(prompt):
    last = RECORDED["documents"][-1]
    return last[len(last) - len(prompt) :] == prompt


def test_recorded_clauses_of_one(ids):
    """Of terms joined by OR, the occurrences of each count."""
    for each in recorded("count", clauses=True):
        cnf = each["request"]["query_ids"]
        if len(cnf) == 1 and cnf[0][0] != cnf[0][1]:
            assert good(ids, **each["request"])["count"] == each["answer"]["count"], each


def test_clauses_in_any_order(ids):
    """There, another order gives another count."""
    for each in recorded("count", clauses=True):
        cnf = each["request"]["query_ids"]
        if len(cnf) == 2:
            one, other = (
                good(ids, query_type="count", query_ids=some, max_diff_tokens=5)["count"]
                for some in (cnf, cnf[::-1])
            )
            assert one == other


def test_documents_by_rank(ids):
    """The same fields. (Suffixes that are equal up to a document's end stand in another order.)"""
    for rank, theirs in zip(range(0, 200, 7), RECORDED["by_rank"], strict=True):
        answer = good(
            ids, query_type="get_doc_by_rank", query_ids=[1], s=0, rank=rank, max_disp_len=10
        )
        assert {*answer} - ALWAYS - {"spans"} == {*theirs} - {"token_ids"}
        document = RECORDED["documents"][answer["doc_ix"]]
        assert answer["doc_len"] == len(document)
        assert "".join(text for text, _ in answer["spans"]) == ""  # there is no tokenizer
        assert 0 <= answer["needle_offset"] <= answer["disp_len"] <= 10
        assert answer["blocked"] is theirs["blocked"] is False


def test_an_empty_query_counts_everything(ids):
    tokens = sum(len(document) + 1 for document in RECORDED["documents"])
    assert good(ids, query_type="count", query_ids=[])["count"] == tokens


def test_answers_have_the_documented_fields(text):
    phrase = "natural language processing"
    for kind, fields in {
        "count": {"count", "approx"},
        "prob": {"prompt_cnt", "cont_cnt", "prob"},
        "ntd": {"prompt_cnt", "result_by_token_id", "approx"},
        "infgram_prob": {"prompt_cnt", "cont_cnt", "prob", "suffix_len", "longest_suffix"},
        "infgram_ntd": {
            "prompt_cnt",
            "result_by_token_id",
            "approx",
            "suffix_len",
            "longest_suffix",
        },
        "find": {"cnt", "segment_by_shard"},
        "search_docs": {"cnt", "approx", "idxs", "documents", "message"},
    }.items():
        answer = good(text, query_type=kind, query=phrase)
        assert {*answer} == fields | ALWAYS, kind
        assert answer["latency"] > 0
        assert answer["token_ids"] == text.encode(phrase).tolist()
        assert "".join(answer["tokens"]) == f" {phrase}"
    # The old name of the field, and what only a server's log needs.
    old = web.answer(
        {"corpus": "i", "query_type": "count", "query": phrase, "source": "x", "timestamp": 1},
        {"i": text}.get,
    )
    assert old[1]["count"] == int(text.count(phrase)) == 3


def test_distributions_have_tokens(text):
    answer = good(text, query_type="infgram_ntd", query="of the natural language")
    assert answer["longest_suffix"] == " natural language"
    for token, said in answer["result_by_token_id"].items():
        if int(token) < text.vocab_size:
            assert said["token"] == text.ntd([int(token)]).tokens[0]
    assert sum(each["prob"] for each in answer["result_by_token_id"].values()) == pytest.approx(1)


def test_a_prompt_that_does_not_occur(text):
    answer = good(text, query_type="prob", query="zebra natural")
    assert (answer["prompt_cnt"], answer["prob"]) == (0, -1.0)
    assert good(text, query_type="ntd", query="zebra")["result_by_token_id"] == {}


def test_clauses_of_texts(text):
    query = "natural language processing OR machine learning AND deep learning"
    answer = good(text, query_type="find_cnf", query=query)
    expected = [
        [text.encode(term).tolist() for term in clause.split(" OR ")]
        for clause in query.split(" AND ")
    ]
    assert answer["token_ids"] == expected
    assert answer["cnt"] == 2 == sum(map(len, answer["ptrs_by_shard"]))
    assert good(text, query_type="count", query=query)["count"] == 2
    numbers = []
    for pointer in answer["ptrs_by_shard"][0]:
        shown = good(text, query_type="get_doc_by_ptr", query=query, s=0, ptr=pointer)
        numbers.append(shown["doc_ix"])
        assert "".join(piece for piece, _ in shown["spans"]) == text.document(numbers[-1]).text
        assert {name for _, name in shown["spans"]} == {"0", "1", None}
    assert numbers == [0, 3]


def test_from_an_occurrence_to_its_document(text):
    found = good(text, query_type="find", query="natural language")
    numbers = set()
    for shard, (low, high) in enumerate(found["segment_by_shard"]):
        for rank in range(low, high):
            shown = good(
                text, query_type="get_doc_by_rank", query="natural language", s=shard, rank=rank
            )
            numbers.add(shown["doc_ix"])
            marked = [piece for piece, name in shown["spans"] if name == "0"]
            assert [each.strip() for each in marked] == ["natural language"]
            assert json.loads(shown["metadata"])["number"] == shown["doc_ix"]
    assert found["cnt"] == 4
    assert numbers == {0, 1, 2, 3}


def test_search_docs(text):
    found = good(text, query_type="search_docs", query="natural language", maxnum=3)
    assert found["cnt"] == 4
    assert len({each["doc_ix"] for each in found["documents"]}) == 3
    assert found["message"].startswith("4 occurrences found. Displaying the documents of")
    assert found == {
        **good(text, query_type="search_docs", query="natural language", maxnum=3),
        "latency": found["latency"],
    }
    both = good(
        text, query_type="search_docs", query="deep learning AND natural language", maxnum=9
    )
    assert [each["doc_ix"] for each in both["documents"]] == [0, 3]
    none = good(text, query_type="search_docs", query="zebra")
    assert (none["documents"], none["message"]) == ([], "0 occurrences found")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """An index of bytes: one document has nearly all of what is looked for."""
    folder = tmp_path_factory.mktemp("uneven")
    texts = ["ab" * 300, *["xx ab yy ab"] * 5, "nothing"]
    everygram.build(write_jsonl(folder / "c.jsonl", [{"text": t} for t in texts]), folder / "i")
    with everygram.open(folder / "i") as index:
        yield index


@pytest.mark.parametrize("clauses", [False, True])
def test_search_docs_finds_as_many_documents_as_there_are(uneven, clauses):
    query = [[list(b"ab")], [list(b"b")]] if clauses else list(b"ab")
    for most, documents in ((1, 1), (4, 4), (6, 6), (10, 6)):
        found = good(uneven, query_type="search_docs", query_ids=query, maxnum=most)
        assert len({each["doc_ix"] for each in found["documents"]}) == documents
        assert len(found["documents"]) == len({*found["idxs"]}) == documents


def test_search_docs_numbers_occurrences(uneven):
    """As the documentation of `idxs` has it: from 0, among all `cnt`, and in the document shown."""
    query = list(b"ab")
    found = good(uneven, query_type="search_docs", query_ids=query, maxnum=10)
    occurrences = uneven.find(query, limit=None).occurrences
    assert found["cnt"] == len(occurrences) == 310
    for at, document in zip(found["idxs"], found["documents"], strict=True):
        assert occurrences[at].document == document["doc_ix"]
        shown = "".join(text for text, _ in document["spans"])
        assert shown[document["needle_offset"] :].startswith("ab")
    cnf = [[query], [list(b"b")]]
    found = good(uneven, query_type="search_docs", query_ids=cnf, maxnum=10)
    listed = good(uneven, query_type="find_cnf", query_ids=cnf)
    (pointers,) = listed["ptrs_by_shard"]
    assert len(pointers) == found["cnt"]
    for at, document in zip(found["idxs"], found["documents"], strict=True):
        shown = good(uneven, query_type="get_doc_by_ptr", query_ids=cnf, s=0, ptr=pointers[at])
        assert shown["doc_ix"] == document["doc_ix"]
        assert shown["needle_offset"] == document["needle_offset"]


def test_documents_are_drawn_from_all_ranks(tmp_path):
    """Not from the first continuations alone."""
    texts = [f"ab{n % 100:02}" for n in range(1000)]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", [{"text": t} for t in texts]), tmp_path / "i")
    with everygram.open(tmp_path / "i") as index:
        found = good(index, query_type="search_docs", query_ids=list(b"ab"), maxnum=10)
    assert min(found["idxs"]) < 300
    assert max(found["idxs"]) > 700


def test_a_document_is_shown_at_any_length(uneven):
    """Half of the tokens before the match; of an odd number, the rest has one more."""
    low, _ = good(uneven, query_type="find", query_ids=list(b"yy"))["segment_by_shard"][0]
    for most, text in ((1, "y"), (2, " y"), (3, " yy"), (4, "b yy"), (50, "xx ab yy ab")):
        shown = good(
            uneven,
            query_type="get_doc_by_rank",
            query_ids=list(b"yy"),
            s=0,
            rank=low,
            max_disp_len=most,
        )
        assert "".join(piece for piece, _ in shown["spans"]) == text
        assert shown["disp_len"] == len(text)
        assert text[shown["needle_offset"]] == "y"


def test_equal_terms_count_once(uneven):
    once = good(uneven, query_type="count", query_ids=[[[97]]])["count"]
    assert good(uneven, query_type="count", query_ids=[[[97], [97]]])["count"] == once == 310


def test_deleted_documents(tmp_path):
    records = [{"text": text, "number": i} for i, text in enumerate(TEXTS)]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records), tmp_path / "i", "train:300")
    everygram.delete(tmp_path / "i", documents=[1])
    with everygram.open(tmp_path / "i") as index:
        found = good(index, query_type="find", query="natural language")
        assert found["cnt"] == 3
        low, high = found["segment_by_shard"][0]
        shown = [
            good(index, query_type="get_doc_by_rank", query="natural language", s=0, rank=rank)
            for rank in range(low, high)
        ]
        assert [each["doc_ix"] for each in shown if each["blocked"]] == [1]
        assert all(each["token_ids"] == index.encode("natural language").tolist() for each in shown)
        cnf = good(index, query_type="find_cnf", query="natural language AND processing")
        assert cnf["cnt"] == sum(map(len, cnf["ptrs_by_shard"])) == 2


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"query": "a"}, 400, "Missing required field: 'query_type'"),
        ({"query_type": "count"}, 400, "Exactly one of query and query_ids"),
        ({"query_type": "count", "query": "a", "query_ids": [1]}, 400, "Exactly one of query"),
        ({"query_type": "nope", "query": "a"}, 400, "Invalid query_type: nope"),
        ({"query_type": ["count"], "query": "a"}, 400, "Invalid query_type"),
        ({"query_type": "count", "query": "a", "index": "j"}, 400, "Invalid index: j"),
        ({"query_type": "count", "query": "a", "index": 7}, 400, "Invalid index"),
        ({"query_type": "count", "query": "a", "extra": 1}, 400, "Unknown field: extra"),
        ({"query_type": "prob", "query": "a", "max_support": 1}, 400, "Unknown field"),
        ({"query_type": "get_doc_by_rank", "query": "a", "s": 0}, 400, "field: 'rank'"),
        ({"query_type": "count", "query": 7}, 200, "query must be a string!"),
        ({"query_type": "count", "query": "a" * 1001}, 200, "<= 1000 characters!"),
        ({"query_type": "count", "query_ids": [0] * 501}, 200, "<= 500 tokens!"),
        ({"query_type": "count", "query_ids": [[[0]]] * 5}, 200, "at most 4 disjunctive clauses!"),
        ({"query_type": "count", "query_ids": [[[0]] * 5]}, 200, "at most 4 terms in each"),
        ({"query_type": "count", "query_ids": [300]}, 200, "out-of-range!"),
        ({"query_type": "count", "query_ids": [-1]}, 200, "out-of-range!"),
        ({"query_type": "count", "query_ids": [True]}, 200, "must be a list of integers"),
        ({"query_type": "count", "query_ids": [1.0]}, 200, "must be a list of integers"),
        ({"query_type": "count", "query_ids": [[1]]}, 200, "triply-nested"),
        ({"query_type": "count", "query_ids": [[]]}, 200, "non-empty clauses"),
        ({"query_type": "prob", "query_ids": []}, 200, "Please provide a non-empty query!"),
        ({"query_type": "prob", "query_ids": [[[1]]]}, 200, "must be a list of integers!"),
        ({"query_type": "find_cnf", "query": "a"}, 200, "triply-nested"),
        ({"query_type": "ntd", "query": "a", "max_support": 1001}, 200, "integer in [1, 1000]!"),
        ({"query_type": "ntd", "query": "a", "max_support": True}, 200, "integer in [1, 1000]!"),
        ({"query_type": "search_docs", "query": "a", "maxnum": 11}, 200, "integer in [1, 10]!"),
        ({"query_type": "get_doc_by_rank", "query": "a", "s": 1, "rank": 0}, 200, "s must be in"),
        ({"query_type": "get_doc_by_rank", "query": "a", "s": 0, "rank": -1}, 200, "rank must be"),
        ({"query_type": "get_doc_by_ptr", "query": "a", "s": 0, "ptr": 1}, 200, "ptr must be"),
        ({"query_type": "get_doc_by_ptr", "query": "a", "s": 0, "ptr": 1 << 70}, 200, "ptr must"),
    ],
)
def test_errors(text, body, status, error):
    found, answer = asked(text, **body)
    assert (found, {*answer}) == (status, {"error"})
    assert error in answer["error"]


def test_what_is_no_object(text):
    for body in ([], None, 7, "count"):
        assert web.answer(body, {"i": text}.get)[0] == 400


def test_indexes_without_a_tokenizer(ids):
    status, answer = asked(ids, query_type="count", query="a")
    assert status == 200
    assert "tokenizer" in answer["error"]
    assert good(ids, query_type="infgram_prob", query_ids=[1, 2])["longest_suffix"] == ""
    assert good(ids, query_type="count", query_ids=[1])["tokens"] is None


def test_unions(text, ids, tmp_path):
    with everygram.open([text.path]) as union:
        for kind in QUERY_TYPES:
            body = {"query_type": kind, "query": "natural language"}
            if kind == "find_cnf":
                body["query"] += " AND processing"
            if kind.startswith("get_doc"):
                body |= {"s": 0, "rank" if kind.endswith("rank") else "ptr": 4}
            one, other = good(union, **body), good(text, **body)
            assert {**one, "latency": 0} == {**other, "latency": 0}


def test_unions_and_differences(tmp_path):
    """Shards of several indexes: what is found leads to the documents of each, and only to them."""
    texts = ["abab x", "ba ab", "xx", "ab", "b ab ab a"]
    for name, some in (("a", texts[:3]), ("b", texts[3:]), ("c", texts[:1])):
        records = [{"text": text, "name": f"{name}{i}"} for i, text in enumerate(some)]
        everygram.build(write_jsonl(tmp_path / f"{name}.jsonl", records), tmp_path / name)
    paths = [tmp_path / "a", tmp_path / "b"]
    everywhere = {"a0": 2, "a1": 1, "b0": 1, "b1": 2}
    for minus, expected in (
        ((), everywhere),
        (tmp_path / "c", {name: count for name, count in everywhere.items() if name != "a0"}),
    ):
        with everygram.open(paths, minus=minus) as union:
            query, cnf = list(b"ab"), [[list(b"ab")], [list(b"b")]]
            found = good(union, query_type="find", query_ids=query)
            shown = [
                good(union, query_type="get_doc_by_rank", query_ids=query, s=shard, rank=rank)
                for shard, (low, high) in enumerate(found["segment_by_shard"])
                for rank in range(low, high)
            ]
            alive = [json.loads(each["metadata"]) for each in shown if not each["blocked"]]
            assert Counter(each["name"] for each in alive) == expected
            assert found["cnt"] == sum(expected.values())
            listed = good(union, query_type="find_cnf", query_ids=cnf)
            assert listed["cnt"] == sum(map(len, listed["ptrs_by_shard"]))
            pointed = [
                good(union, query_type="get_doc_by_ptr", query_ids=cnf, s=shard, ptr=pointer)
                for shard, pointers in enumerate(listed["ptrs_by_shard"])
                for pointer in pointers
            ]
            assert {json.loads(each["metadata"])["name"] for each in pointed} == {*expected}
            for some in (query, cnf):
                searched = good(union, query_type="search_docs", query_ids=some, maxnum=10)
                names = [json.loads(each["metadata"])["name"] for each in searched["documents"]]
                assert sorted(names) == sorted(expected)
                assert all(0 <= at < searched["cnt"] for at in searched["idxs"])
