"""Contamination against brute force, and planted contamination with known truth."""

import errno
import gzip
import itertools
import json
import os
import pickle
import random
import re
import sys
import tempfile

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import everygram
from conftest import write_index, write_jsonl
from everygram.curation import haystack
from everygram.curation.haystack import Grams
from everygram.curation.matching import measure
from everygram.curation.sequences import Part
from everygram.curation.variants import documents_with
from everygram.curation.words import Words, normal, places
from everygram.errors import BuildError, CorpusError, OptionError, TokenizerError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

pytestmark = pytest.mark.usefixtures("kinds")


def as_text(ids):
    """Ids as characters: Python looks for texts quickly."""
    return "".join(chr(each + 1) for each in ids)


def occurrences(documents, gram):
    """The document of every occurrence."""
    found = []
    for number, document in documents.items():
        place = document.find(gram)
        while place >= 0:
            found.append(number)
            place = document.find(gram, place + 1)
    return found


def naive(documents, texts, n, least, most=None):
    """An item's numbers by brute force. texts: (ids, other spelling or None) of each.

    documents: lists of ids, by number.
    """
    documents = {number: as_text(ids) for number, ids in documents.items()}
    together = chr(0).join(documents.values())
    texts = [(as_text(ids), None if other is None else as_text(other)) for ids, other in texts]
    longest_text = max((len(ids) for ids, _ in texts), default=0)
    units = ngrams = 0
    covered, found, grams, matches = set(), set(), {}, []
    for number, (ids, other) in enumerate(texts):
        size = n if longest_text >= n else len(ids)
        if len(ids) < size or size < least:
            continue
        units += len(ids)
        ngrams += len(ids) - size + 1
        for spelling in (ids,) if other is None else (ids, other):
            shift = len(ids) - len(spelling)
            of_size = min(size, len(spelling))
            kept = []
            for start in range(len(spelling) - of_size + 1):
                gram = spelling[start : start + of_size]
                where = occurrences(documents, gram) if gram in together else []
                if not where or (most is not None and len(set(where)) > most):
                    continue
                kept.append(start)
                grams[gram] = set(where)
                begin = max(0, start + shift) if start else 0
                covered |= {(number, i) for i in range(begin, start + of_size + shift)}
                last = min(max(0, start + shift), len(ids) - size)
                found |= {(number, i) for i in range(min(begin, last), last + 1)}
            for start in range(len(spelling)):
                end = start
                while end < len(spelling) and spelling[start : end + 1] in together:
                    end += 1
                if any(start <= k and k + of_size <= end for k in kept):
                    matches.append(spelling[start:end])
    longest = max(map(len, matches), default=0)
    where = [occurrences(documents, each) for each in matches if len(each) == longest]
    return {
        "units": units,
        "places": ngrams,
        "covered": len(covered),
        "found": len(found),
        "distinct": len(grams),
        "longest": longest,
        "documents": set().union(*grams.values()),
        "counts": {(len(each), len(set(each))) for each in where} or {(0, 0)},
    }


OPENING = {".gz": gzip.open, ".zst": zstd.open}


def lines_of(path):
    with OPENING.get(path.suffix, open)(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def words_of(text):
    return re.findall("[a-z0-9]+", text.lower())


@pytest.mark.parametrize("seed", range(6))
def test_random_ids(tmp_path, seed):
    draw = random.Random(seed)
    documents = [
        [draw.randrange(4) for _ in range(draw.choice([0, 3, 20, 200]))] for _ in range(12)
    ]
    deleted = [[1, 7]] if seed % 2 else []
    path = write_index(
        tmp_path / "index", documents, "u16", 1 + seed % 3, vocab_size=10, deleted=deleted
    )
    live = {i: each for i, each in enumerate(documents) if not (deleted and i in deleted[0])}
    items = []
    for _ in range(25):
        texts = []
        for _ in range(draw.choice([0, 1, 1, 2])):
            ids = [draw.randrange(5) for _ in range(draw.choice([0, 2, 4, 6, 12, 30]))]
            other = None
            if draw.random() < 0.5 and ids:
                head = [draw.randrange(5) for _ in range(draw.randrange(1, 3))]
                other = head + ids[draw.randrange(1, 3) :]
            texts.append((ids, other))
        items.append(texts)
    given = [
        [Part(np.array(a, np.int64), None if b is None else np.array(b)) for a, b in texts]
        for texts in items
    ]
    with everygram.open(path) as index:
        for n, least, most in ((5, 3, None), (4, 4, None), (4, 1, 2), (1, 1, 3), (70, 2, None)):
            found = measure(index.engine, given, n, least, most, grams=True)
            for row, texts in enumerate(items):
                wanted = naive(live, texts, n, least, most)
                for name in ("units", "places", "covered", "found", "distinct", "longest"):
                    assert getattr(found, name)[row] == wanted[name], (name, texts, n)
                assert (found.counts[row], found.document_counts[row]) in wanted["counts"]
                of_item = found.gram_intervals[found.gram_items == row]
                drop = documents_with(index.engine, of_item)
                assert set(drop.tolist()) == wanted["documents"]


def test_long_texts_are_followed_to_their_ends(tmp_path):
    text = random.Random(0).choices(range(20), k=300)
    path = write_index(tmp_path / "index", [text[20:260], text[250:]], "u8", vocab_size=20)
    with everygram.open(path) as index:
        found = measure(index.engine, [[Part(np.array(text))]], 13, 5)
        assert found.longest[0] == 240
        assert found.covered[0] == 280


@pytest.mark.parametrize("n", [1, 3, 8])
def test_grams(n):
    draw = random.Random(n)
    known = [[draw.randrange(3) + 1 for _ in range(draw.randrange(9, 20))] for _ in range(4)]
    sequences = [[draw.randrange(4) for _ in range(draw.choice([0, 5, 60]))] for _ in range(40)]
    for some in sequences[::2]:
        some[3:30] = known[0]
    sizes = [n] * 4
    grams = Grams([np.array(each, np.uint32) for each in known], sizes, 0)
    offsets = np.cumsum([0, *map(len, sequences)])
    units = np.concatenate([np.array(each, np.uint32) for each in sequences])
    have = {tuple(a[i : i + n]) for a in known for i in range(len(a) - n + 1)}
    wanted = np.zeros(units.shape[0], np.uint8)
    for begin, end in itertools.pairwise(offsets.tolist()):
        for start in range(begin, end - n + 1):
            if tuple(units[start : start + n].tolist()) in have:
                wanted[start : start + n] = 1
    assert np.array_equal(grams.covered(units, offsets), wanted)
    assert 0 < wanted.sum() < wanted.shape[0]


def test_words():
    words = Words()
    same = [
        "Straße, ÄPFEL — 1st!",
        "strasse\täpfel 1ST",
        "STRASSE A\u0308pfel_1st",
        "strasse ÄPFEL ¹st",
    ]
    ids = [words.of(each).tolist() for each in same]
    assert ids[0] == ids[1] == ids[2]
    assert len(ids[0]) == 3
    assert ids[3][:2] == ids[0][:2]
    assert len(words.of("日本語、テキスト")) == 7
    assert words.of("…—!_ \n").shape == (0,)
    # Words of other vowel signs are others, and signs divide no word.
    assert [len(words.of(each)) for each in ("हिन्दी की", "كَتَبَ", "ที่กิน", "𑄇𑄧𑄟𑄴")] == [2, 1, 3, 1]
    assert words.of("की").tolist() != words.of("का").tolist()
    assert words.of("葛\U000e0100城").tolist() == words.of("葛城").tolist()
    text = "Ein  schöner-Tag."
    assert [text[a:b] for a, b in places(text)] == ["Ein", "schöner", "Tag"]
    words.fix()
    assert words.of("unseen strasse").tolist() == [0, ids[0][0]]


@pytest.mark.parametrize("seed", range(3))
def test_words_of_long_texts(seed):
    draw = random.Random(seed)
    pieces = [
        "one",
        "Two",
        "THREE",
        "3rd",
        "é",
        "e\u0301",
        "ß",
        "日本",
        "½",
        "_",
        " ",
        "-",
        "\n",
        "’",
        "की",
        "ǅ",
        "K",
    ]
    text = "".join(draw.choices(pieces, k=900))
    words, naive = Words(), {}
    words.of("".join(draw.choices(pieces, k=60)) + " one two threethree ss")
    words.fix()
    for begin, end in places(text):
        word = text[begin:end]
        naive.setdefault(word, words.known.get(normal(word), 0))
    wanted = [naive[text[begin:end]] for begin, end in places(text)]
    assert words.of(text).tolist() == wanted
    assert 0 in wanted
    assert max(wanted) > 0


@pytest.fixture(scope="module")
def planted(tmp_path_factory, kinds):
    """An index of random words with what was planted into its documents, and the items.

    Every item has 40 words that no other text has. The truth: by kind, which items, in which
    documents.
    """
    folder = tmp_path_factory.mktemp("planted")
    draw = random.Random(5)

    def text(size, alphabet="bcdfghjklmnpqrstvwxz"):
        return ["".join(draw.choices(alphabet, k=draw.randrange(2, 7))) for _ in range(size)]

    items = [text(40) for _ in range(36)]
    documents = [text(draw.randrange(5, 300)) for _ in range(40)]
    truth = {}
    ways = ("verbatim", "case", "spaces", "tokens", "partial", "short", "gone", "clean", "clean")
    for number, item in enumerate(items):
        way = ways[number % len(ways)]
        copy = [*item]
        if way == "case":
            copy = [word.upper() if i % 3 else word.title() for i, word in enumerate(item)]
        elif way == "spaces":
            copy = [word + draw.choice(["", "\n", " -- ", ",", "  "]) for word in item]
        elif way == "tokens":  # (A quote before the first word: another token.)
            copy[0] = f'"{copy[0]}'
            copy[-1] += "xyz"
        elif way == "partial":
            copy = item[10:30]
        elif way == "short":
            copy = item[10:16]
        if way != "clean":
            place = 39 if way == "gone" else number
            at = draw.randrange(len(documents[place]))
            documents[place][at:at] = copy
            documents[place].insert(at + len(copy), "stop")
        truth[number] = way
    records = [{"text": " ".join(each), "n": i} for i, each in enumerate(documents)]
    write_jsonl(folder / "a.jsonl", records[:20])
    write_jsonl(folder / "b.jsonl", records[20:])
    everygram.build(folder / "a.jsonl", folder / "index", tokenizer="train:400")
    everygram.add(folder / "index", folder / "b.jsonl")
    everygram.delete(folder / "index", documents=[39])
    write_jsonl(
        folder / "items.jsonl", [{"q": " ".join(each), "id": i} for i, each in enumerate(items)]
    )
    return folder, truth, records


def test_planted_words(planted):
    folder, truth, _ = planted
    found = everygram.contamination(
        folder / "index", str(folder / "items.jsonl"), 13, fields=["q"], normalize=True, drop=True
    )
    whole = ("verbatim", "case", "spaces")
    hit = {number for number, way in truth.items() if way in (*whole, "tokens", "partial")}
    assert {each.item for each in found.items if each.hit} == hit
    assert found.drop.tolist() == sorted(hit)
    for each in found.items:
        way = truth[each.item]
        wanted = {"tokens": 39, "partial": 20}.get(way, 40 if way in whole else 0)
        assert (each.tokens, each.ngrams, each.longest) == (40, 28, wanted)
        assert each.coverage == wanted / 40
        assert each.share == max(0, wanted - 12) / 28
        assert (each.count, each.document_count) == ((1, 1) if wanted else (0, 0))
        assert [one.document for one in each.documents] == ([each.item] if wanted else [])
        for one in each.documents:
            assert len(re.findall(r"[^\W_]+", one.match)) == wanted
            assert one.metadata == {"n": each.item}
    (summary,) = found.benchmarks
    assert summary.num_items == 36
    assert summary.num_hit == len(hit)
    assert summary.by_coverage == tuple([20] * 6 + [16] * 4 + [12])


def test_planted_tokens(planted):
    folder, truth, _ = planted
    with everygram.open(folder / "index") as index:
        documents = {number: ids.tolist() for number, ids, _ in index.engine.documents()}
        items = [each["q"] for each in lines_of(folder / "items.jsonl")]
        found = everygram.contamination(index, items, 13, drop=True)
        dropped = set()
        for each, text in zip(found.items, items, strict=True):
            spelled = index.encode(text, raw=True).tolist(), index.encode(text).tolist()
            wanted = naive(documents, [spelled], 13, 5)
            assert each.hits == wanted["distinct"]
            assert each.hit == (wanted["distinct"] > 0)
            assert each.coverage == wanted["covered"] / wanted["units"]
            assert each.longest == wanted["longest"]
            dropped |= wanted["documents"]
            if truth[each.item] == "verbatim":
                assert each.coverage == each.share == 1.0
            for one in each.documents:
                assert one.match.strip() in text or text in one.match
        assert found.drop.tolist() == sorted(dropped)
        # What is in a document that was deleted is not in the corpus.
        assert not any(each.hit for each in found.items if truth[each.item] in ("gone", "clean"))


def test_the_rule(planted):
    folder, truth, _ = planted
    given = folder / "index", str(folder / "items.jsonl")
    options = {"fields": ["q"], "normalize": True}

    def hit(**rule):
        found = everygram.contamination(*given, **options, **rule)
        return {truth[each.item] for each in found.items if each.hit}

    assert hit(min_coverage=1.0) == {"verbatim", "case", "spaces"}
    assert hit(min_share=0.9) == {"verbatim", "case", "spaces", "tokens"}
    assert hit(preset="palm") == {"verbatim", "case", "spaces", "tokens"}
    assert hit(preset="50-token") == {"verbatim", "case", "spaces"}  # items as a whole
    assert hit(preset="50-token", min_length=41) == set()
    assert hit(n=6) == {"verbatim", "case", "spaces", "tokens", "partial", "short"}


def test_pandas(planted):
    folder, _, _ = planted
    found = everygram.contamination(folder / "index", str(folder / "items.jsonl"), 13, fields=["q"])
    table = found.to_pandas()
    assert found.to_arrow().num_rows == len(table) == 36
    assert [*table.columns] == [
        *("benchmark", "item", "hit", "tokens", "ngrams", "coverage", "share", "longest", "hits"),
        *("count", "document_count", "text", "documents"),
    ]
    assert table["documents"].map(list).tolist() == [
        [one.document for one in each.documents] for each in found.items
    ]
    del table["documents"]
    assert table.to_dict("records") == [
        {name: getattr(each, name) for name in table.columns} for each in found.items
    ]
    assert table["hit"].dtype == bool
    assert 0 < table["hit"].sum() < 36
    none = everygram.contamination(folder / "index", ["new text"], 13, documents=True)
    assert none.to_pandas().shape == (0, 13)


def test_stop_ngrams(tmp_path):
    common = "the same old words again "
    records = [{"text": f"{common * 2}{i} and a rare end of document {i}"} for i in range(5)]
    everygram.build(iter(records), tmp_path / "index")
    items = [common * 2, "a rare end of document 3", common + "quite new text here"]
    found = everygram.contamination(tmp_path / "index", items, 20, max_documents=4)
    assert [each.hit for each in found.items] == [False, True, False]
    assert [each.longest for each in found.items] == [0, 24, 0]
    assert all(each.hit for each in everygram.contamination(tmp_path / "index", items, 20).items)


def test_fields_are_looked_for_by_themselves(tmp_path):
    everygram.build(iter([{"text": "one two three four five six"}]), tmp_path / "index")
    items = [
        {"a": "one two three", "b": ["four five", "six"], "c": None},
        {"a": "three four", "b": [], "c": "nine"},
        {"a": "two", "b": ["x"], "c": None},
    ]

    def shares(**options):
        found = everygram.contamination(
            tmp_path / "index", iter(items), fields=["a", "b", "c"], normalize=True, **options
        )
        return [(each.tokens, each.coverage, each.hit) for each in found.items]

    assert shares(n=2) == [(5, 1.0, True), (2, 1.0, True), (0, 0.0, False)]
    assert shares(n=3) == [(3, 1.0, True), (0, 0.0, False), (0, 0.0, False)]
    assert shares(n=3, min_length=1)[1:] == [(3, 2 / 3, True), (2, 0.5, True)]


def test_documents_against_benchmarks(planted, tmp_path):
    folder, truth, records = planted
    benchmark = tmp_path / "benchmark"
    everygram.build(
        folder / "items.jsonl", benchmark, text_field="q", tokenizer=folder / "index/tokenizer.json"
    )
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    for normalize in (False, True):
        kept = []
        found = everygram.contamination(
            benchmark,
            str(corpus),
            13,
            documents=True,
            normalize=normalize,
            each=lambda record, hit, kept=kept: kept.append((record, hit)),
        )
        with everygram.open(benchmark) as index:
            numbered = {}

            def ids_of(text, numbered=numbered):
                return [numbered.setdefault(each, len(numbered)) for each in words_of(text)]

            if normalize:
                known = {i: ids_of(index.decode(ids)) for i, ids, _ in index.engine.documents()}
            else:
                known = {i: ids.tolist() for i, ids, _ in index.engine.documents()}
            hits = {}
            for number, record in enumerate(records):
                text = record["text"]
                ids = ids_of(text) if normalize else index.encode(text, raw=True).tolist()
                wanted = naive(known, [(ids, None)], 13, 13)
                if wanted["distinct"]:
                    hits[number] = wanted
        assert {each.item for each in found.items} == set(hits)
        assert found.num_items == 40
        for each in found.items:
            wanted = hits[each.item]
            assert (each.hits, each.longest) == (wanted["distinct"], wanted["longest"])
            assert each.coverage == wanted["covered"] / wanted["units"]
            assert {one.document for one in each.documents} <= wanted["documents"]
        assert kept == [(record, number in hits) for number, record in enumerate(records)]
    assert set(hits) == {39} | {
        number for number, way in truth.items() if way not in ("short", "gone", "clean")
    }


def test_token_ids_against_benchmarks(tmp_path):
    draw = np.random.default_rng(3)
    items = [draw.integers(0, 500, 30).tolist() for _ in range(5)]
    path = write_index(tmp_path / "index", items, "u16", vocab_size=500)
    documents = [draw.integers(0, 500, 200) for _ in range(8)]
    documents[4][50:70] = items[2][5:25]
    np.save(tmp_path / "ids.npy", np.stack(documents).astype(np.uint16))
    (each,) = everygram.contamination(path, str(tmp_path / "ids.npy"), documents=True).items
    assert (each.item, each.longest, each.hits) == (4, 20, 8)
    assert each.documents[0].document == 2
    assert each.documents[0].match is None
    with pytest.raises(TokenizerError, match="no tokenizer"):
        everygram.contamination(path, ["a text"])


@pytest.mark.parametrize("documents", [False, True])
def test_token_ids_of_another_vocabulary(tmp_path, documents):
    """An id that is none of the index's is not taken for the one that its last bytes are."""
    path = write_index(tmp_path / "index", [[1, 2, 3, 4]], "u8", vocab_size=6)
    for wrong in (257, 99, 255):
        np.save(tmp_path / "ids.npy", np.array([[1, 2, 3, 4], [wrong, 2, 3, 4]], np.uint16))
        with pytest.raises(CorpusError, match=f"item 1: token id {wrong} .* expected 0 to 5"):
            everygram.contamination(path, str(tmp_path / "ids.npy"), 2, documents=documents)
    everygram.build([{"text": "one two"}], tmp_path / "texts")
    np.save(tmp_path / "ids.npy", np.array([[1, 2]], np.uint16))
    with pytest.raises(OptionError, match="normalize: expected texts, found token ids in"):
        everygram.contamination(
            tmp_path / "texts", str(tmp_path / "ids.npy"), 2, normalize=True, documents=documents
        )


def test_unions(planted, tmp_path):
    folder, _, records = planted
    for name, some in (("a", records[:20]), ("b", records[20:39])):
        everygram.build(iter(some), tmp_path / name, tokenizer=folder / "index/tokenizer.json")
    with everygram.open([tmp_path / "a", tmp_path / "b"]) as union:
        given = str(folder / "items.jsonl")
        with pytest.raises(OptionError, match="drop: expected one index, found a union of 2"):
            everygram.contamination(union, given, fields=["q"], drop=True)
        for normalize in (False, True):
            options = {"fields": ["q"], "normalize": normalize}
            found = everygram.contamination(union, given, **options)
            one = everygram.contamination(folder / "index", given, **options)
            for a, b in zip(found.items, one.items, strict=True):
                assert (a.hit, a.coverage, a.longest, a.count) == (
                    b.hit,
                    b.coverage,
                    b.longest,
                    b.count,
                )
                for c, d in zip(a.documents, b.documents, strict=True):
                    assert (c.index, c.metadata) == ("ab"[d.document >= 20], d.metadata)


def test_tables(planted):
    folder, _, _ = planted
    found = everygram.contamination(
        folder / "index", str(folder / "items.jsonl"), fields=["q"], normalize=True
    )
    table = found.to_arrow()
    assert table.num_rows == 36
    assert table["item"].to_pylist() == [*range(36)]
    assert table["documents"].to_pylist()[0] == [0]
    again = json.loads(json.dumps(found.as_dict()))
    assert [each["hit"] for each in again["items"]] == table["hit"].to_pylist()
    assert again["manifest"]["rule"]["n"] == 13
    (file,) = again["manifest"]["files"]
    assert re.fullmatch("[0-9a-f]{64}", file["sha256"])
    assert file["num_items"] == 36


def test_nothing(tmp_path):
    everygram.build(iter([{"text": ""}, {"text": "?"}]), tmp_path / "index")
    for normalize in (False, True):
        found = everygram.contamination(
            tmp_path / "index", ["", "a text of a few words"], 3, normalize=normalize, drop=True
        )
        assert [each.hit for each in found.items] == [False, False]
        assert found.drop.shape == (0,)
        assert found.benchmarks[0].num_short == 1


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 0}, OptionError, "n: expected 1 or more"),
        ({"preset": "gpt9"}, OptionError, "preset: expected gpt3"),
        ({"min_share": 2}, OptionError, "min_share: expected a share from 0 to 1"),
        ({"fields": "q"}, OptionError, "fields: expected a list"),
        ({"fields": ["nope"]}, CorpusError, "no field 'nope'.*--fields"),
        ({"drop": True, "documents": True}, OptionError, "drop: goes with an index of the corpus"),
    ],
)
def test_errors(planted, options, error, message):
    folder, _, _ = planted
    with pytest.raises(error, match=message):
        everygram.contamination(folder / "index", str(folder / "items.jsonl"), **options)


def test_command(planted, run, tmp_path):
    folder, _, _ = planted
    names = {
        "clean": tmp_path / "clean.jsonl",
        "dirty": tmp_path / "dirty.jsonl.gz",
        "drop": tmp_path / "drop",
        "out": tmp_path / "out.jsonl.zst",
        "page.html": tmp_path / "page.html",
    }
    code, out, _ = run(
        "contamination",
        folder / "index",
        folder / "items.jsonl",
        *("--fields", "q", "--normalize", "--json"),
        *("--clean", names["clean"], "--dirty", names["dirty"], "--drop", names["drop"]),
        *("--out", names["out"], "--report", names["page.html"]),
    )
    assert code == 0
    items = json.loads(out)["items"]
    given = lines_of(folder / "items.jsonl")
    hit = {each["item"] for each in items if each["hit"]}
    split = {name: lines_of(names[name]) for name in ("clean", "dirty", "out")}
    assert split["dirty"] == [given[i] for i in sorted(hit)]
    assert split["clean"] == [given[i] for i in range(36) if i not in hit]
    assert split["out"] == items
    assert "<html" in names["page.html"].read_text()
    code, out, _ = run(
        "delete", folder / "index", "--documents", names["drop"], "--dry-run", "--json"
    )
    assert (code, json.loads(out)["documents"]) == (0, sorted(hit))
    alone = ("contamination", folder / "index", folder / "items.jsonl", "--fields", "q")
    code, out, _ = run(*alone)
    assert code == 0
    assert "hit" in out
    code, out, _ = run(*alone, "--normalize", "--drop", "-")
    assert (code, out) == (0, names["drop"].read_text())
    assert run(*alone, "--drop", "-", "--json")[0] == 2
    twice = ("--clean", "a.jsonl", "--dirty", "a.jsonl")
    code, _, error = run("contamination", folder / "index", folder / "items.jsonl", *twice)
    assert code == 2
    assert "expected another file" in error


@pytest.mark.parametrize("option", ["--out", "--clean", "--dirty", "--drop"])
@pytest.mark.parametrize("name", ["items.jsonl", "folder", "*.jsonl"])
def test_what_is_read_is_not_written_over(planted, run, tmp_path, option, name):
    folder, _, _ = planted
    below = tmp_path / "folder"
    below.mkdir()
    items = below / "items.jsonl"
    items.write_bytes((folder / "items.jsonl").read_bytes())
    named = below if name == "folder" else below / name
    code, _, error = run("contamination", folder / "index", named, "--fields", "q", option, items)
    assert code == 2
    assert f"{option}: expected another file than those that are read" in error
    assert items.read_bytes() == (folder / "items.jsonl").read_bytes()


def test_a_result_has_texts_and_travels(planted):
    folder, _, _ = planted

    def ask():
        return everygram.contamination(
            folder / "index", str(folder / "items.jsonl"), fields=["q", "q"], drop=True
        )

    found = ask()
    given = lines_of(folder / "items.jsonl")
    assert [each.text for each in found.items] == [each["q"] for each in given]
    assert found == ask() == pickle.loads(pickle.dumps(found))
    assert found.drop.shape[0] > 1


def test_a_long_text_is_cut(planted):
    folder, _, _ = planted
    texts = ["a " * 400, "b " * 400]
    found = everygram.contamination(folder / "index", [{"x": texts}], fields=["x"])
    assert found.items[0].text == f"{texts[0]}\n\n{texts[1]}"[:1000] + "…"


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.zst", "a"])
def test_records_are_written_under_names_of_json_lines(planted, run, tmp_path, name):
    folder, _, _ = planted
    out = tmp_path / name
    code, _, error = run("contamination", folder / "index", folder / "items.jsonl", "--clean", out)
    assert code == 2
    assert "--clean: expected a name that ends in .jsonl, .jsonl.gz" in error
    assert not out.exists()


def test_records_are_written_as_they_were(planted, run, tmp_path):
    """Lone surrogates in fields that are not looked for, too."""
    folder, _, _ = planted
    given = tmp_path / "items.jsonl"
    line = '{"q": "some text", "\\udfff": "\\ud800x", "u": "\u2028é"}\n'
    given.write_text(line, encoding="utf-8")
    clean = tmp_path / "clean.jsonl"
    code, _, error = run(
        *("contamination", folder / "index", given, "--fields", "q", "--clean", clean)
    )
    assert (code, clean.read_text(encoding="utf-8")) == (0, line), error


def test_a_full_disk_of_temporary_files_is_said(planted, tmp_path, monkeypatch):
    folder, _, _ = planted

    def full(*given, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(haystack, "write_documents", full)
    with pytest.raises(BuildError, match=f"no space left at '{tmp_path}'"):
        everygram.contamination(
            folder / "index", str(folder / "items.jsonl"), fields=["q"], normalize=True
        )
    assert list(tmp_path.iterdir()) == []


def test_what_is_verbatim_in_the_corpus_is_found_whole(tmp_path):
    """From any word on: its first word may have other tokens, and fewer, behind a space."""
    rng = random.Random(8)
    words = ["natural", "language", "processing", "Überraschung", "the", "a", "of", "explicitly"]
    texts = [" ".join(rng.choices(words, k=30)) for _ in range(20)]
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in texts])
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator([f" {text}" for text in texts], trainer)
    bpe.save(str(tmp_path / "tokenizer.json"))
    everygram.build(corpus, tmp_path / "index", tmp_path / "tokenizer.json")
    assert len(bpe.encode("explicitly").ids) > len(bpe.encode(" explicitly").ids)
    items = [" ".join(text.split()[k : k + 12]) for k, text in enumerate(texts)]
    for n in (3, 13, 30):
        found = everygram.contamination(tmp_path / "index", items, n, min_share=1)
        assert {(each.hit, each.share, each.coverage) for each in found.items} == {(True, 1.0, 1.0)}
