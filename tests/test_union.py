"""Several indexes as one answer as one index of all their documents, without those taken away."""

import inspect
import itertools
import json
import pickle
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest import mock

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everygram
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.engine import copies
from everygram.errors import EverygramError, OptionError, QueryError
from everygram.index.union import UnionIndex
from everygram.results.documents import UnionOccurrence
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage.views import Part

pytestmark = pytest.mark.usefixtures("kinds")

# Few letters, so that documents repeat and share n-grams; of é only half in a document, too.
LETTERS = [*b"aAb ", *"é".encode()]
DOCUMENT = st.lists(st.sampled_from(LETTERS), max_size=8)
QUERY = st.lists(st.sampled_from([*LETTERS, 255, 99]), max_size=5)
TEXT = st.text("aAb é", min_size=1, max_size=3)

# What a union is asked: a name, and a call with a query (ids) and a text. Answers name no document.
ASKED = [
    ("encode", lambda index, query, text: index.encode(text)),
    ("encode_prob", lambda index, query, text: index.encode_prob([*query, 97])),
    ("decode", lambda index, query, text: index.decode(query)),
    ("count", lambda index, query, text: index.count(query)),
    ("count", lambda index, query, text: index.count(text)),
    ("count_batch", lambda index, query, text: index.count_batch([query, text, []])),
    ("document_count", lambda index, query, text: index.document_count(query).as_dict()),
    (
        "document_count_batch",
        lambda index, query, text: index.document_count_batch([query, text, []]),
    ),
    ("prob", lambda index, query, text: index.prob(query, 97)),
    ("prob_batch", lambda index, query, text: index.prob_batch([query, text], [97, 255])),
    ("infgram_prob", lambda index, query, text: index.infgram_prob(query, 97)),
    ("infgram_prob_batch", lambda index, query, text: index.infgram_prob_batch([[*query, 97]])),
    ("ntd", lambda index, query, text: index.ntd(query)),
    ("ntd_batch", lambda index, query, text: index.ntd_batch([query, text, []])),
    ("infgram_ntd", lambda index, query, text: index.infgram_ntd(query)),
    ("infgram_ntd_batch", lambda index, query, text: index.infgram_ntd_batch([query, text])),
    ("score", lambda index, query, text: index.score(query)),
    ("score", lambda index, query, text: index.score(query, order=2)),
    ("score_batch", lambda index, query, text: index.score_batch([query, text], order=2)),
    ("longest_matches", lambda index, query, text: index.longest_matches(query)),
    ("novelty", lambda index, query, text: index.novelty(query, max_n=4)),
    ("novelty_batch", lambda index, query, text: index.novelty_batch([query, text], max_n=4)),
    ("draft", lambda index, query, text: index.draft(query, min_token_prob=0, max_factor=3)),
    ("count_text", lambda index, query, text: index.count_text(text)),
    ("count_text", lambda index, query, text: index.count_text(text, ignore_case=True)),
    ("count_text_batch", lambda index, query, text: index.count_text_batch([text, "a"])),
    ("document_count_text", lambda index, query, text: index.document_count_text(text)),
    ("tokenizations", lambda index, query, text: index.tokenizations(text, ignore_case=True)),
]
for smoothing in ("infgram", "infgram-floor", "stupid-backoff"):
    ASKED += [
        (
            "language_model",
            lambda index, query, text, smoothing=smoothing: index.language_model(
                smoothing
            ).distribution(query),
        ),
        (
            "language_model",
            lambda index, query, text, smoothing=smoothing: index.language_model(
                smoothing
            ).log_probs([*query, 255, *query]),
        ),
    ]
# As these, answers that name documents: as a list of a document each, with what is said of it.
LISTED = [
    (
        "find",
        lambda index, query, text: [
            (each, each.offset, each.parts)
            for each in index.find(query, limit=None, context=2).occurrences
        ],
    ),
    (
        "find_text",
        lambda index, query, text: [
            (each, each.start, each.byte_end, each.token_start, each.token_end, each.parts)
            for each in index.find_text(text, limit=None, whole_words=True, context=1)
        ],
    ),
    (
        "document",
        lambda index, query, text: [
            (found, found.match, found.token_ids.tolist())
            for number in range(index.count(query))
            for found in [index.document(query=query, occurrence=number)]
        ],
    ),
    (
        "document",
        lambda index, query, text: [
            (found, found.match, found.parts)
            for number in range(index.count_text(text))
            for found in [index.document(text=text, occurrence=number, context=2)]
        ],
    ),
]
# As these, of spans. (Numbers are added up in another order.)
for options in ({"whole_words": False, "density": None}, {"min_length": 2}):
    LISTED.append(
        (
            "attribute",
            lambda index, query, text, options=options: [
                (
                    each,
                    *(number, span.start, span.end, span.count, span.document_count),
                    round(span.unigram_log_prob, 9),
                    *(each.token_start, each.byte_end, round(each.score, 9), each.surroundings),
                )
                for number, span in enumerate(
                    index.attribute([*query, 97, *query], prompt=text, documents=99, **options)
                )
                for each in span.documents
            ],
        )
    )
# As these, of expressions.
for within, order in (("document", "document"), (4, "matches"), ("document", "bm25")):
    LISTED.append(
        (
            "search",
            lambda index, query, text, within=within, order=order: [
                (hit, hit.spans, hit.windows, hit.snippet, hit.score)
                for hit in index.search(
                    f'text:"{text}" OR (a AND NOT text:"b") OR "a b"',
                    within=within,
                    order=order,
                    limit=None,
                )
            ],
        )
    )
# Asked elsewhere here.
OTHERS = {"warm_up", "documents", "info", "close", "refresh", "latest", "changed", "disturbed"}


def test_all_methods_are_asked():
    methods = {
        name
        for name in dir(everygram.Index)
        if name[0] != "_" and inspect.isfunction(getattr(everygram.Index, name))
    }
    assert methods == {name for name, _ in (*ASKED, *LISTED)} | OTHERS


def make(path, documents, segments=1, deleted=()):
    """An index of bytes of these documents (lists of ids), some of them deleted."""
    write_index(path, documents, "u8", segments, 255, [deleted] if deleted else [])
    tokenizer = fmt.TokenizerEntry("bytes", "bytes", None, "")
    directory.publish(path, replace(directory.read_manifest(path), tokenizer=tokenizer), None)
    return path


def plain(answer):
    if hasattr(answer, "as_dict"):
        return json.dumps(answer.as_dict())
    if isinstance(answer, np.ndarray):
        return answer.tolist()
    if isinstance(answer, str) or not hasattr(answer, "__getitem__"):
        return repr(answer)
    return [plain(each) for each in answer]


def answered(ask, *given):
    try:
        return ask(*given)
    except QueryError as error:
        return str(error)


def number_of(found):
    return found.number if hasattr(found, "number") else found.document


def check(union, one, numbers, query, text):
    """A union answers as one index; numbers: {(index, number): number in the one}."""
    for name, ask in ASKED:
        expected = plain(answered(ask, one, query, text))
        assert plain(answered(ask, union, query, text)) == expected, name
    for name, ask in LISTED:
        expected = sorted((number_of(found), *said) for found, *said in ask(one, query, text))
        given = [
            (numbers[found.index, number_of(found)], *said)
            for found, *said in ask(union, query, text)
        ]
        assert sorted(given) == expected, name
    assert union.num_documents == one.num_documents
    assert union.num_tokens == one.num_tokens
    assert [record["text"] for record in everygram.export(union)] == [
        record["text"] for record in everygram.export(one)
    ]
    for (index, number), other in numbers.items():
        found = union.document(number, index=index)
        assert (found.index, found.number) == (index, number)
        assert found.token_ids.tolist() == one.document(other).token_ids.tolist()


@st.composite
def corpora(draw, least=1, most=3):
    """Of each of some indexes: documents, segments, numbers of deleted ones."""
    given = []
    for _ in range(draw(st.integers(least, most))):
        documents = draw(st.lists(DOCUMENT, max_size=6))
        deleted = sorted(draw(st.sets(st.sampled_from(range(len(documents)))))) if documents else []
        given.append((documents, draw(st.integers(1, 3)), deleted))
    return given


def live_of(given):
    """(index, number) of every document that is not deleted, and its ids."""
    return [
        ((index, number), document)
        for index, (documents, _, deleted) in enumerate(given)
        for number, document in enumerate(documents)
        if number not in deleted
    ]


def made(folder, given, name="i"):
    return [make(folder / f"{name}{i}", *each) for i, each in enumerate(given)]


@settings(max_examples=sized(60, 1000), deadline=None)
@given(given=corpora(), query=QUERY, text=TEXT)
def test_a_union_answers_as_one_index(tmp_path_factory, given, query, text):
    folder = tmp_path_factory.mktemp("union")
    paths, live = made(folder, given), live_of(given)
    numbers = {place: number for number, (place, _) in enumerate(live)}
    with (
        everygram.open(paths) as union,
        everygram.open(make(folder / "one", [ids for _, ids in live])) as one,
    ):
        check(union, one, numbers, query, text)
        for index, (documents, _, deleted) in enumerate(given):
            for number in deleted:
                with pytest.raises(QueryError, match=f"document {number} of index 'i{index}'.*del"):
                    union.document(number, index=index)
            with pytest.raises(QueryError, match=f"document {len(documents)}: index {index}, 'i"):
                union.document(len(documents), index=index)
    shutil.rmtree(folder)


@settings(max_examples=sized(60, 1000), deadline=None)
@given(data=st.data(), given=corpora(), query=QUERY, text=TEXT)
def test_documents_of_minus_are_no_documents_of_a_union(tmp_path_factory, data, given, query, text):
    folder = tmp_path_factory.mktemp("minus")
    live = live_of(given)
    # Some that are there, copies among them, and deleted ones of any kind.
    chosen = data.draw(st.sets(st.sampled_from(range(len(live))))) if live else ()
    taken = [live[i][1] for i in chosen]
    foreign = [(ids, False) for ids in data.draw(st.lists(DOCUMENT, max_size=3))]
    minus = data.draw(st.permutations([*((ids, True) for ids in taken), *foreign]))
    cut = data.draw(st.integers(0, len(minus)))
    left = list(live)
    for ids in taken:
        left.pop(next(i for i, (_, other) in enumerate(left) if other == ids))
    numbers = {place: number for number, (place, _) in enumerate(left)}
    without = []
    for part in (minus[:cut], minus[cut:]):
        deleted = [number for number, (_, there) in enumerate(part) if not there]
        segments = data.draw(st.integers(1, 2))
        name = folder / f"minus{len(without)}"
        without.append(make(name, [ids for ids, _ in part], segments, deleted))
    with (
        mock.patch.object(copies, "LOOKED_FOR", data.draw(st.sampled_from([1, 7, 1 << 22]))),
        everygram.open(made(folder, given), minus=without) as union,
        everygram.open(make(folder / "one", [ids for _, ids in left])) as one,
    ):
        check(union, one, numbers, query, text)
        assert [each["num_missing"] for each in union.info()["minus"]] == [0, 0]
        for (index, number), _ in live:
            if (index, number) not in numbers:
                with pytest.raises(QueryError, match=f"document {number} of index 'i{index}'"):
                    union.document(number, index=index)
    shutil.rmtree(folder)


@settings(max_examples=sized(25, 400), deadline=None)
@given(data=st.data(), given=corpora(), query=QUERY, text=TEXT)
def test_what_is_not_there_is_said_or_ignored(tmp_path_factory, data, given, query, text):
    folder = tmp_path_factory.mktemp("missing")
    live = live_of(given)
    minus = data.draw(st.lists(DOCUMENT, min_size=1, max_size=5))
    left, missing = list(live), []
    for number, ids in enumerate(minus):
        copy = next((i for i, (_, other) in enumerate(left) if other == ids), None)
        if copy is None:
            missing.append(number)
        else:
            left.pop(copy)
    paths = made(folder, given)
    without = make(folder / "minus", minus, data.draw(st.integers(1, 2)))
    if missing:
        said = f"{len(missing)} of its {len(minus)} .*: {', '.join(map(str, missing))};.*missing_ok"
        with pytest.raises(OptionError, match=said):
            everygram.open(paths, minus=without)
    with (
        everygram.open(paths, minus=without, missing_ok=True) as union,
        everygram.open(make(folder / "one", [ids for _, ids in left])) as one,
    ):
        numbers = {place: number for number, (place, _) in enumerate(left)}
        check(union, one, numbers, query, text)
        assert [each["num_missing"] for each in union.info()["minus"]] == [len(missing)]
    shutil.rmtree(folder)


@pytest.mark.parametrize("bits", [32, 40])
@pytest.mark.parametrize("dtype", ["u16", "u32"])
def test_a_part_of_a_segment_is_taken_away(tmp_path, monkeypatch, dtype, bits):
    """Longer documents, whose fences have levels, in wider tokens and positions."""
    if bits == 40:
        monkeypatch.setattr(fmt, "WIDE_POSITIONS_FROM", 1)
    rng = np.random.default_rng(1)
    documents = [rng.integers(0, 300, size).tolist() for size in rng.integers(0, 400, 60)]
    a = write_index(tmp_path / "a", documents, dtype, segments=2)
    minus = write_index(tmp_path / "m", [*documents[::3], [9] * 20], dtype, 1, None, [[2, 5]])
    gone = {*range(0, 60, 3)} - {6, 15}
    left = [ids for number, ids in enumerate(documents) if number not in gone]
    with (
        everygram.open([a], minus=[minus], missing_ok=True) as union,
        everygram.open(write_index(tmp_path / "one", left, dtype)) as one,
    ):
        assert union.info()["minus"][0]["num_missing"] == 1
        assert union.ntd([]).as_dict() == one.ntd([]).as_dict()
        for ids in documents:
            for size in (1, 2, 3):
                queries = [ids[i : i + size] for i in range(len(ids))]
                assert union.count_batch(queries).counts.tolist() == (
                    one.count_batch(queries).counts.tolist()
                )
            assert union.longest_matches(ids).as_dict() == one.longest_matches(ids).as_dict()


@pytest.fixture
def folder(tmp_path):
    """Indexes `wiki` and `books`, of which one document each is the same, and `takedown`."""
    for name, texts in (
        ("wiki", ["the cat", "a dog", "the bird"]),
        ("books", ["the cat", "the mouse", ""]),
        ("takedown", ["the cat", "the cat", "the bird"]),
    ):
        records = [{"text": text, "n": i} for i, text in enumerate(texts)]
        everygram.build(write_jsonl(tmp_path / f"{name}.jsonl", records), tmp_path / name)
    return tmp_path


def test_documents_are_named_by_index_and_number(folder):
    with everygram.open([folder / "wiki", folder / "books"]) as union:
        found = union.find("the", limit=None)
        assert [(each.index, each.index_name, each.document) for each in found] == [
            *((0, "wiki", number) for number in (2, 0)),
            *((1, "books", number) for number in (0, 1)),
        ]
        assert found.indexes.tolist() == [0, 0, 1, 1] and found.index_names == ("wiki", "books")
        assert [each.segment for each in found] == [0, 0, 1, 1]
        assert found.as_dict()["occurrences"][3] == vars(found.occurrences[3])
        assert isinstance(found.occurrences[0], UnionOccurrence)
        document = union.document(1, index=1)
        assert (document.text, document.metadata, document.index) == ("the mouse", {"n": 1}, 1)
        assert document.as_dict()["index_name"] == "books" and "index=1" in repr(document)
        assert "of books" in document._repr_html_() and "books" in found._repr_html_()
        assert union.document(query="mouse").index_name == "books"
        assert union.documents([1, 0], index=[1, 0]) == [document, union.document(0, index=0)]
        assert union.documents([1], index=np.int64(1), context=2)[0].text == "th"
        for whose in ([1], "ab", None, {1, 0}, 1.5, [1, 2]):
            with pytest.raises(QueryError, match="index"):
                union.documents([1, 0], index=whose)
        (hit,) = union.search("mouse")
        assert (hit.index, hit.index_name, hit.document) == (1, "books", 1)
        assert hit.as_dict()["index_name"] == "books"
        assert "of books" in union.search("mouse")._repr_html_()
        first = union.search("the", limit=1)
        following = pickle.loads(pickle.dumps(union)).search("the", limit=3, cursor=first.cursor)
        found = [(each.index, each.document) for each in (*first, *following)]
        assert found == [(0, 0), (0, 2), (1, 0), (1, 1)]
        (text,) = union.find_text("OUS", ignore_case=True)
        assert (text.index, text.index_name, text.document, text.start) == (1, "books", 1, 5)
        for result in (found, document, union.find_text("the")):
            assert pickle.loads(pickle.dumps(result)) == result


def test_the_export_of_a_union_names_a_document_by_its_index(folder):
    with everygram.open([folder / "wiki", folder / "books"]) as union:
        records = list(everygram.export(union))
        assert [(each["text"], each["n"]) for each in records[2:5]] == [
            ("the bird", 2),
            ("the cat", 0),
            ("the mouse", 1),
        ]
        with pytest.raises(OptionError, match="document 0 of index 'wiki': its metadata"):
            list(everygram.export(union, text_field="n"))


def test_one_index_says_no_more_than_before(folder):
    with everygram.open(folder / "wiki") as index:
        assert "index" not in index.document(0).as_dict()
        assert "index" not in index.search("the").as_dict()["hits"][0]
        assert index.document(0).index is None
        assert "index" not in index.find("the").as_dict()["occurrences"][0]
        assert "index" not in index.find_text("the").as_dict()["occurrences"][0]
        with pytest.raises(QueryError, match="index: goes with a union"):
            index.document(0, index=0)


def test_indexes_of_one_name_are_called_by_their_paths(folder):
    shutil.copytree(folder / "books", folder / "more" / "wiki")
    paths = [folder / "wiki", folder / "more" / "wiki"]
    with everygram.open(paths) as union:
        assert [each["name"] for each in union.info()["indexes"]] == [*map(str, paths)]
        assert union.document(1, index=1).index_name == str(paths[1])


def test_a_list_of_one_is_a_union_and_minus_makes_one(folder):
    with everygram.open((str(folder / "wiki"),)) as union:
        assert union.document(0, index=0).index_name == "wiki"
    with everygram.open(folder / "wiki", minus=[]) as union:
        assert union.document(0, index=0).index_name == "wiki"
        assert union.document(2) == union.document(2, index=0)


def test_info_lists_the_members_and_the_sums(folder):
    with everygram.open(
        [folder / "wiki", folder / "books"], minus=str(folder / "takedown")
    ) as union:
        info = union.info()
        assert json.loads(json.dumps(info)) == info
        assert (info["num_documents"], info["num_tokens"]) == (3, len("a dog" + "the mouse"))
        assert [each["num_documents"] for each in info["indexes"]] == [3, 3]
        assert info["minus"][0]["path"] == str(folder / "takedown")
        parts = [*info["indexes"], *info["minus"]]
        assert info["bytes"] == sum(each["bytes"] for each in parts)
        assert repr(union) == (
            f"<everygram.Index 'wiki + books' minus '{folder / 'takedown'}': 14 tokens, "
            "3 documents, union of 2, u8, tokenizer 'bytes'>"
        )
    assert repr(union) == "<everygram.Index 'wiki + books': closed>"
    for ask in (union.info, union.refresh, union.latest, lambda: union.count("a")):
        with pytest.raises(QueryError, match=r"index 'wiki \+ books' is closed"):
            ask()


# What is refused, and what is said.
REFUSED = [
    (lambda f: everygram.open([]), "expected a path, or a list of them, found an empty list"),
    (lambda f: everygram.open([3]), r"index\[0\]: expected a path, found 3"),
    (lambda f: everygram.open([[f / "wiki"], f / "books"]), r"index\[0\]: expected a path"),
    (lambda f: everygram.open([f / "wiki", f / "wiki"]), "wiki': given twice"),
    (lambda f: everygram.open([f / "wiki", f / "link"]), "link': given twice"),
    (lambda f: everygram.open(f / "wiki", minus=f / "wiki"), "minus: index .*wiki': given already"),
    (lambda f: everygram.open(f / "wiki", minus=[f / "link"]), "link': given already"),
    (lambda f: everygram.open(f / "wiki", minus=3), "minus: expected a path, found 3"),
    (lambda f: everygram.open(f / "wiki", missing_ok=True), "missing_ok: goes with minus"),
    (lambda f: everygram.open([f / "wiki", f / "absent"]), "absent': no such folder"),
    (
        lambda f: everygram.open([f / "wiki", f / "u16"]),
        r"u16' cannot be asked as one with .*wiki': it has dtype u16, not u8; a vocabulary of 256 "
        r"ids, not 255; tokenizer 'none', not 'bytes'; build",
    ),
    (
        lambda f: everygram.open(f / "wiki", minus=f / "u16"),
        "u16' cannot be asked as one with .*wiki'",
    ),
    (
        lambda f: everygram.open([f / "trained", f / "other"]),
        r"it has tokenizer 'train:260' \(SHA-256 [0-9a-f]{12}…\), not 'train:260",
    ),
    (
        lambda f: everygram.open([f / "trained", f / "prefixed"]),
        "it has query prefix '', not ' '",
    ),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_cannot_be_one_is_refused(folder, number):
    (folder / "link").symlink_to(folder / "wiki")
    write_index(folder / "u16", [[1, 2]], "u16", vocab_size=256)
    if "trained" in REFUSED[number][0].__code__.co_consts:
        everygram.build(folder / "wiki.jsonl", folder / "trained", "train:260")
        everygram.build(folder / "takedown.jsonl", folder / "other", "train:260")
        shutil.copytree(folder / "trained", folder / "prefixed")
        manifest = directory.read_manifest(folder / "trained")
        tokenizer = replace(manifest.tokenizer, query_prefix="")
        directory.publish(folder / "prefixed", replace(manifest, tokenizer=tokenizer), None)
    ask, said = REFUSED[number]
    with pytest.raises(EverygramError, match=said) as caught:
        ask(folder)
    if "no such" not in said:
        assert isinstance(caught.value, OptionError)


def test_indexes_of_one_tokenizer_by_other_names_are_one(folder):
    everygram.build(folder / "wiki.jsonl", folder / "a", "train:260")
    shutil.copy(folder / "a" / "tokenizer.json", folder / "saved.json")
    everygram.build(folder / "books.jsonl", folder / "b", folder / "saved.json")
    with everygram.open([folder / "a", folder / "b"]) as union:
        assert union.count_text("the") == 4


@pytest.mark.parametrize("number", [True, "0", 1.5, -1, 10**30])
def test_a_document_of_a_union_needs_a_number_and_an_index(folder, number):
    with everygram.open([folder / "wiki", folder / "books"]) as union:
        with pytest.raises(QueryError):
            union.document(number, index=0)
        with pytest.raises(QueryError, match="document 0: expected its index, too, 0 to 1"):
            union.document(0)
        with pytest.raises(QueryError, match="index 2: expected 0 to 1"):
            union.document(0, index=2)
        with pytest.raises(QueryError, match="index: "):
            union.document(0, index="books")
        with pytest.raises(QueryError, match="index: goes with a document's number"):
            union.document(query="the", index=1)
        assert union.document(np.int64(1), index=np.uint8(1)).text == "the mouse"


def test_a_union_shows_what_writers_change_in_any_member(folder):
    wiki, books, takedown = (folder / name for name in ("wiki", "books", "takedown"))
    with everygram.open([wiki, books], minus=takedown) as union:
        assert union.latest() is union and not union.refresh()
        before = {segment.folder: segment.unigrams for segment in union.engine.segments}
        assert union.count("the") == 1
        everygram.add(books, [{"text": "the end"}])
        later = union.latest()
        assert (union.count("the"), later.count("the")) == (1, 2)
        # Only what is new has been opened.
        after = {segment.folder: segment.unigrams for segment in later.engine.segments}
        assert len(after) == len(before) + 1
        assert all(after[segment] is array for segment, array in before.items())
        assert union.refresh() and not union.refresh()
        assert union.document(3, index=1).text == "the end"
        # Numbers of later members stay what they were.
        everygram.add(wiki, [{"text": "an owl"}])
        assert union.refresh()
        assert union.document(3, index=0).text == "an owl"
        assert union.document(3, index=1).text == "the end"
        everygram.add(takedown, [{"text": "the end"}])
        assert union.refresh() and union.count("the end") == 0
        everygram.compact(books, full=True)
        assert union.refresh() and union.count("the end") == 0
        # A document of the same length is another one.
        manifests = [union.manifest]
        for text in ("the owl", "the fox"):
            everygram.add(takedown, [{"text": text}])
            everygram.delete(takedown, matching=text)
            assert union.refresh()
            manifests.append(union.manifest)
        assert len({json.dumps(each.build) for each in manifests}) == 3
        # What is to be taken away is deleted.
        everygram.delete(wiki, matching="bird")
        with pytest.raises(OptionError, match="1 of its 4 documents have no copy"):
            union.refresh()
        assert union.count("the end") == 0
        everygram.delete(takedown, matching="bird")
        assert union.refresh() and union.num_documents == 4


def test_a_union_of_open_indexes_opens_nothing(folder):
    indexes = [everygram.open(folder / name, preload="all") for name in ("wiki", "books")]
    union = UnionIndex.of(indexes)
    segments = [segment for index in indexes for segment in index.engine.segments]
    for one, view in zip(segments, union.engine.segments, strict=True):
        assert view.unigrams is one.unigrams and view.fences is one.fences
    assert union.renewed(indexes) is union
    everygram.add(folder / "books", [{"text": "the end"}])
    indexes[1] = indexes[1].latest()
    later = union.renewed(indexes)
    assert (union.count("the"), later.count("the")) == (4, 5)
    assert later.engine.segments[2].unigrams is indexes[1].engine.segments[1].unigrams


def test_a_union_is_opened_again_where_it_arrives(folder, monkeypatch):
    monkeypatch.chdir(folder)
    with everygram.open(
        ["wiki", "books"], minus="takedown", missing_ok=True, preload="all"
    ) as union:
        everygram.delete("wiki", matching="bird")
        data = pickle.dumps(union)
        monkeypatch.chdir(folder.parent)
        with pickle.loads(data) as again:
            assert again.info()["minus"][0]["num_missing"] == 1
            assert again.document(1, index=1).text == "the mouse"
            assert (again.num_documents, again._preload) == (3, ("all",))


def test_members_are_read_into_memory_and_checked(folder):
    paths = [folder / "wiki", folder / "books"]
    with everygram.open(paths, preload=["tokens"]) as union:
        for segment in (each.own for each in union.engine.segments):
            (name,) = segment.parts["tokens"]
            assert not isinstance(getattr(segment, name).base, np.memmap)
        assert union.count("the") == 4
    with pytest.raises(QueryError, match="preload: expected some of"):
        everygram.open(paths, preload="metadata")
    # (Either kind has one of these.)
    segment = folder / "books" / "segment-000001"
    (file,) = (segment / name for name in (fmt.TOKENS, fmt.PSI) if (segment / name).exists())
    file.write_bytes(bytes(byte ^ 1 for byte in file.read_bytes()))
    with pytest.raises(everygram.DamagedIndexError, match=rf"books.*{file.name}"):
        everygram.open(paths, verify=True)
    with pytest.raises(everygram.DamagedIndexError, match=rf"books.*{file.name}"):
        everygram.open(folder / "wiki", minus=folder / "books")


def test_damage_of_what_is_taken_away_is_damage(folder):
    """A part of it is made: of arrays that contradict one another none is."""
    wiki, takedown = folder / "wiki", folder / "plain"
    everygram.build(folder / "takedown.jsonl", takedown, kind="suffix-array")
    everygram.delete(takedown, documents=0)
    with everygram.open(takedown) as index:
        (segment,) = (each for each in index.engine.segments if each.entry.sign > 0)
    for name, values in (
        ("suffix_array", np.full_like(segment.suffix_array, 1)),
        ("suffix_array", segment.suffix_array + 1),
        ("document_offsets", segment.document_offsets[::-1]),
        ("document_offsets", segment.document_offsets + 1),
    ):
        damaged = object.__new__(type(segment))
        changed = {name: values}
        if name == "document_offsets":
            changed = {"_offsets": lambda values=values: values}
        damaged.__dict__.update(segment.__dict__ | changed)
        with pytest.raises(everygram.DamagedIndexError, match=name):
            Part(damaged, np.array([1, 2]))
    with everygram.open(wiki, minus=takedown) as union:
        assert union.num_documents == 1


def test_every_query_races_with_refresh(folder):
    """Every answer is of one state of the union, none of two."""
    paths = [folder / "wiki", folder / "books"]
    calls = [
        *(ask for name, ask in (*ASKED, *LISTED) if name != "document"),  # (it asks twice)
        lambda index, query, text: index.document(query=query),
        lambda index, query, text: index.document(text=text),
    ]
    given = ([*b"the"], "a")

    def answer(index, ask):
        found = ask(index, *given)
        return repr(found) if isinstance(found, list) else plain(found)

    union = everygram.open(paths, minus=folder / "takedown")
    union.warm_up()
    manifests = [directory.read_manifest(paths[1])]
    everygram.add(paths[1], [{"text": "the end"}])
    manifests.append(directory.read_manifest(paths[1]))
    states = []
    for manifest in manifests:
        directory.publish(paths[1], manifest, None)
        states.append(everygram.open(paths, minus=folder / "takedown"))
    expected = [[answer(state, ask) for state in states] for ask in calls]
    until = time.monotonic() + 2

    def ask(start):
        asked = 0
        while time.monotonic() < until:
            number = (start + asked) % len(calls)
            assert answer(union, calls[number]) in expected[number], number
            asked += 1
        return asked

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(3) as pool:
            asking = [pool.submit(ask, start) for start in (0, 7, 15)]
            changes = 0
            for manifest in itertools.cycle(manifests):
                directory.publish(paths[1], manifest, None)
                changes += union.refresh()
                if time.monotonic() > until:
                    break
            assert all(each.result() for each in asking)
    finally:
        sys.setswitchinterval(interval)
    assert changes > 4


@pytest.fixture
def service(folder):
    """A real process that serves `wiki`, `books` and both as `all`, as a client."""
    everygram_ = Path(sys.executable).with_name("everygram")
    command = [everygram_, "serve", folder / "wiki", folder / "books"]
    process = subprocess.Popen(
        [*command, "--union", "all", "--port", "0"], stderr=subprocess.PIPE, text=True
    )
    said = next((line for line in process.stderr if "the manual is at" in line), "")
    assert "serving 'wiki', 'books', 'all'; the page is at " in said
    address = said.strip().rpartition(" ")[2].removesuffix("/docs")
    with httpx2.Client(base_url=address) as client:
        yield client
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 0


def test_a_union_is_served_beside_its_members(folder, service):
    def ask(operation, of="all", **body):
        return service.post(f"/v1/indexes/{of}/{operation}", json=body)

    with everygram.open([folder / "wiki", folder / "books"]) as union:
        for operation, body, answer in (
            ("count", {"query": "the"}, union.count("the")),
            ("find", {"query": "the"}, union.find("the")),
            ("document", {"number": 1, "index": 1}, union.document(1, index=1)),
            ("document", {"query": "mouse"}, union.document(query="mouse")),
            ("document", {"text": "ous"}, union.document(text="ous")),
            ("find_text", {"text": "he", "context": 1}, union.find_text("he", context=1)),
            ("search", {"expression": "the"}, union.search("the")),
            ("ntd", {"prompt": "the"}, union.ntd("the")),
        ):
            expected = answer.as_dict() | {"index_version": union.version}
            found = ask(operation, **body).json()
            assert {**expected, **found} == found, operation
            batch = ask(operation, batch=[body]).json()["results"]
            assert {**answer.as_dict(), **batch[0]} == batch[0], operation
    found = ask("find", query="mouse").json()["occurrences"]
    assert [(each["index"], each["index_name"]) for each in found] == [(1, "books")]
    # As they are without a union.
    (occurrence,) = ask("find", "wiki", query="bird").json()["occurrences"]
    assert "index" not in occurrence
    assert "index" not in ask("document", "wiki", number=0).json()
    wiki, books, both = service.get("/v1/indexes").json()["indexes"]
    assert service.get("/v1/indexes/all").json() == both
    assert both["indexes"] == ["wiki", "books"] and both["name"] == "all"
    assert both["num_documents"] == wiki["num_documents"] + books["num_documents"]
    assert "format_version" in wiki and "indexes" not in wiki and str(folder) not in str(both)
    for body, said in (
        ({"number": 7, "index": 1}, "document 7: index 1, 'books', has 0 to 2"),
        ({"number": 0}, "expected its index, too"),
    ):
        refused = ask("document", **body)
        assert (refused.status_code, said in refused.json()["detail"]) == (422, True)
    assert "goes with a union" in ask("document", "wiki", number=0, index=0).json()["detail"]
    # What is added to a member is in the union.
    everygram.add(folder / "books", [{"text": "the end"}])
    until = time.monotonic() + 10
    while ask("count", query="the end").json()["count"] == 0 and time.monotonic() < until:
        time.sleep(0.1)
    assert ask("document", number=3, index=1).json()["text"] == "the end"
    assert ask("count", "books", query="the end").json()["count"] == 1


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("books", "unions: an index is served as 'books'; choose another name (from --union)"),
        ("", "unions: expected a name of 1 to 200 characters"),
        ("a/b", "found 'a/b', which has '/' (from --union)"),
    ],
)
def test_a_union_is_served_under_a_name_of_its_own(run, folder, name, said):
    code, _, err = run("serve", folder / "wiki", folder / "books", "--union", name, "--port", "0")
    assert code == 2 and said in err, err


def test_what_cannot_be_one_is_not_served_as_one(run, folder):
    write_index(folder / "u16", [[1, 2]], "u16")
    code, _, err = run("serve", folder / "wiki", folder / "u16", "--union", "all", "--port", "0")
    assert code == 2 and "cannot be asked as one" in err and "dtype u16, not u8" in err
