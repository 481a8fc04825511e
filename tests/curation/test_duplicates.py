"""What repeats, against brute force; and that nothing repeats in what is left without it."""

import json
import pickle
import random
from collections import Counter

import numpy as np
import pytest
from click.testing import CliRunner

import everygram
from conftest import write_index, write_jsonl
from everygram.cli.app import app
from everygram.curation.duplicates import placed
from everygram.curation.stream import SortedStream
from everygram.errors import BuildError, OptionError
from everygram.passages import DocumentText

pytestmark = pytest.mark.usefixtures("kinds")


def grams_of(documents, least, weight):
    """(index, document, start, end, gram) of each place that has a gram."""
    for (index, number), ids in sorted(documents.items()):
        for start in range(len(ids)):
            total = 0
            for end in range(start + 1, len(ids) + 1):
                total += weight(ids[end - 1])
                if total >= least:
                    yield index, number, start, end, tuple(ids[start:end])
                    break


def naive(documents, least, weight=lambda token: 1, keep_first=False, bridge=0, across=False):
    """The rows that are to be found in {(index, number): ids}, without groups; and their grams."""
    places = list(grams_of(documents, least, weight))
    counts = Counter(place[4] for place in places)
    owners = {}
    for index, *_, gram in places:
        owners.setdefault(gram, set()).add(index)
    seen, covered, heads = set(), {}, {}
    for index, number, start, end, gram in places:
        first = gram not in seen
        seen.add(gram)
        if counts[gram] < 2 or (across and len(owners[gram]) < 2) or (keep_first and first):
            continue
        covered.setdefault((index, number), set()).update(range(start, end))
        heads[index, number, start] = gram
    rows, grams = [], []
    for (index, number), tokens in sorted(covered.items()):
        ranges = []
        for token in sorted(tokens):
            if ranges and token <= ranges[-1][1] + bridge:
                ranges[-1][1] = token + 1
            else:
                ranges.append([token, token + 1])
        for start, end in ranges:
            gram = heads[index, number, start]
            rows.append((index, number, start, end, counts[gram]))
            grams.append(gram)
    return rows, grams


def rows_of(found):
    indexes = np.zeros(len(found), int) if found.indexes is None else found.indexes
    columns = indexes, found.documents, found.token_starts, found.token_ends, found.counts
    return list(zip(*(column.tolist() for column in columns), strict=True))


def same_division(groups, grams):
    """Whether numbers divide ranges as their first n-grams do, and ascend as they come."""
    numbers = {}
    return groups.tolist() == [numbers.setdefault(gram, len(numbers)) for gram in grams]


def some_documents(rng, number=25, most=30, ids=3):
    documents = [rng.choices(range(ids), k=rng.randrange(most)) for _ in range(number)]
    for _ in range(3):
        documents[rng.randrange(number)] = list(rng.choice(documents))
    return documents


@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
@pytest.mark.parametrize("seed", range(2))
def test_ranges_are_those_of_brute_force(tmp_path, dtype, seed):
    rng = random.Random(seed)
    documents = some_documents(rng)
    segments = rng.randrange(1, 4)
    gone = [] if seed == 0 else [sorted(rng.sample(range(25), 4))]
    write_index(tmp_path / "index", documents, dtype, segments, 5, gone)
    dead = {number for numbers in gone for number in numbers}
    live = {(0, n): ids for n, ids in enumerate(documents) if n not in dead}
    with everygram.open(tmp_path / "index") as index:
        for least in (1, 3, 6, 40):
            for keep_first in (False, True):
                for bridge in (0, 2):
                    found = everygram.duplicates(
                        index,
                        least,
                        keep_first=keep_first,
                        bridge=bridge,
                        threads=rng.choice([1, 3]),
                    )
                    rows, grams = naive(live, least, keep_first=keep_first, bridge=bridge)
                    assert rows_of(found) == rows
                    assert same_division(found.groups, grams)
                    assert found.places is None
                    assert found.num_tokens == sum(map(len, live.values()))
        same = Counter(tuple(ids) for ids in live.values())
        copies = [(n, same[tuple(ids)]) for (_, n), ids in live.items() if same[tuple(ids)] > 1]
        assert list(zip(found.copies.documents, found.copies.counts, strict=True)) == copies
        assert same_division(found.copies.groups, [tuple(documents[n]) for n, _ in copies])


@pytest.mark.parametrize("seed", range(2))
def test_repeats_across_indexes(tmp_path, seed):
    rng = random.Random(seed)
    live = {}
    for place in range(3):
        documents = some_documents(rng, 12, 20, 4)
        gone = [[rng.randrange(12)]] if place else []
        write_index(tmp_path / str(place), documents, "u16", rng.randrange(1, 3), 5, gone)
        live |= {(place, n): ids for n, ids in enumerate(documents) if n not in (gone or [[]])[0]}
    paths = [tmp_path / str(place) for place in range(3)]
    for across in (False, True):
        for keep_first in (False, True):
            for least in (2, 4, 6):
                given = {"across": across, "keep_first": keep_first}
                found = everygram.duplicates(paths, least, **given)
                rows, grams = naive(live, least, **given)
                assert rows_of(found) == rows
                assert same_division(found.groups, grams)
    assert found.columns()["index"] is found.indexes


def google(stream, least):
    """The rule of deduplicate-text-datasets, in its own words: it looks at one stream of bytes, and
    removes every byte that is in a substring of the threshold's length that occurs twice."""
    first, struck = {}, set()
    for start in range(len(stream) - least + 1):
        piece = bytes(stream[start : start + least])
        if piece in first:
            for begin in (first[piece], start):
                struck.update(range(begin, begin + least))
        first.setdefault(piece, start)
    return struck


@pytest.mark.parametrize("seed", range(3))
def test_ranges_are_those_of_deduplicate_text_datasets(tmp_path, seed):
    rng = random.Random(seed)
    texts = ["".join(rng.choices("abcd ", k=rng.randrange(80))) for _ in range(20)]
    texts[5], texts[9] = texts[2] + "!" + texts[3], texts[4]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", [{"text": t} for t in texts]), tmp_path / "i")
    # (Each document has an end of its own, as its separators are numbered.)
    stream, places = bytearray(), []
    for number, text in enumerate(texts):
        places += [(number, place) for place in range(len(text))] + [None]
        stream += text.encode() + bytes([128 + number])
    for least in (4, 6, 10):
        expected = {places[each] for each in google(stream, least)}
        for unit in ("tokens", "bytes"):
            found = everygram.duplicates(tmp_path / "i", least, unit=unit)
            got = {
                (row["document"], place)
                for row in found.rows()
                for place in range(row["byte_start"], row["byte_end"])
            }
            assert got == expected


TEXTS = ["a b é c d", "日本語のテキスト 😀 a b", "é c d 日本語", "", "the cat", "😀😀😀"]


def some_texts(rng, number=30):
    texts = []
    for _ in range(number):
        parts = rng.choices(TEXTS, k=rng.randrange(5))
        texts.append("".join(f"{part} {rng.randrange(10**5)}" for part in parts))
    return texts


@pytest.fixture(scope="module", params=["bytes", "train:300", "train:280"])
def texts_index(request, tmp_path_factory, kinds):
    folder = tmp_path_factory.mktemp("texts")
    texts = some_texts(random.Random(3))
    records = [
        {"text": t, "n": n, "source": "even" if n % 2 == 0 else 1} for n, t in enumerate(texts)
    ]
    del records[7]["source"]
    everygram.build(write_jsonl(folder / "a.jsonl", records[:20]), folder / "i", request.param)
    everygram.add(folder / "i", write_jsonl(folder / "b.jsonl", records[20:]))
    everygram.delete(folder / "i", documents=[4, 21])
    return folder / "i", {n: record for n, record in enumerate(records) if n not in (4, 21)}


@pytest.mark.parametrize("unit", ["tokens", "bytes"])
def test_places_in_texts(texts_index, unit):
    path, records = texts_index
    with everygram.open(path) as index:
        ids = {(0, n): index.document(n).token_ids for n in records}
        least = 4 if unit == "tokens" else 11
        weight = (
            (lambda token: 1) if unit == "tokens" else lambda token: len(spelled(index, [token]))
        )
        found = everygram.duplicates(index, least, unit=unit, by="source")
        assert rows_of(found) == naive(ids, least, weight)[0]
        assert len(found) > 5
        for row in found.rows():
            tokens = ids[0, row["document"]]
            before = spelled(index, tokens[: row["token_start"]])
            inside = spelled(index, tokens[row["token_start"] : row["token_end"]])
            assert row["byte_start"] == len(before)
            assert row["byte_end"] == len(before) + len(inside)
            data = records[row["document"]]["text"].encode()
            # (Characters whole.)
            assert row["start"] == len(data[: row["byte_start"]].decode(errors="ignore"))
            rest = data[row["byte_end"] :]
            while rest and rest[0] & 0xC0 == 0x80:
                rest = rest[1:]
            assert row["end"] == len(data.decode()) - len(rest.decode())
        sums = {name: Counter() for name in ("even", "1", "(none)")}
        for n, record in records.items():
            name = str(record.get("source", "(none)"))
            mine = [row for row in rows_of(found) if row[1] == n]
            repeated = sum(row[3] - row[2] for row in mine)
            sums[name].update(
                documents=1, tokens=len(ids[0, n]), ranges=len(mine), repeated_tokens=repeated
            )
        assert found.by == sums
        by_length = found.by_length
        assert sum(each["ranges"] for each in by_length.values()) == len(found)
        assert sum(each["tokens"] for each in by_length.values()) == found.num_repeated


def spelled(index, ids):
    return index._state.reading.spelled(np.array(ids, np.int64), True)


@pytest.mark.parametrize("keep_first", [False, True])
@pytest.mark.parametrize("unit", ["tokens", "bytes"])
def test_what_is_deduplicated_has_no_repeats(texts_index, tmp_path, unit, keep_first):
    path, records = texts_index
    least = 4 if unit == "tokens" else 9
    given = {"unit": unit, "keep_first": keep_first}
    for number, bridge in enumerate((0, 2)):
        out = tmp_path / f"out-{number}.jsonl.zst"
        done = everygram.deduplicate(path, out, least, **given, bridge=bridge)
        tokenizer = path / "tokenizer.json"
        again = tmp_path / f"again-{number}"
        everygram.build(out, again, tokenizer if tokenizer.exists() else "bytes")
        with everygram.open(again) as index:
            assert len(everygram.duplicates(index, least, unit=unit)) == 0
            left = list(everygram.export(index))
            assert (
                index.num_documents == done.num_documents == len(records) - done.dropped_documents
            )
            assert index.num_tokens == done.num_tokens < done.tokens
        assert done.passes > 1
        assert done.changed_documents > 0
        for record in left:
            source = records[record["n"]]
            assert {**record, "text": source["text"]} == source
            assert is_within(record["text"], source["text"])
        # Once more changes nothing.
        once = everygram.deduplicate(again, tmp_path / f"once-{number}.jsonl", least, **given)
        assert (once.passes, once.struck_tokens, once.num_documents) == (1, 0, len(left))
        lines = (tmp_path / f"once-{number}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == left


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".jsonl.xz", ".jsonl.bz2"])
def test_every_compression(texts_index, tmp_path, ending):
    path, _ = texts_index
    everygram.deduplicate(path, tmp_path / f"o{ending}", 6)
    tokenizer = path / "tokenizer.json"
    tokenizer = tokenizer if tokenizer.exists() else "bytes"
    everygram.build(tmp_path / f"o{ending}", tmp_path / "i", tokenizer)
    with everygram.open(tmp_path / "i") as index:
        assert len(everygram.duplicates(index, 6)) == 0
        left = list(everygram.export(index))
        # `export` writes the same file, to the byte, of what is left.
        export = ["export", str(tmp_path / "i"), "--out", str(tmp_path / f"e{ending}")]
        assert CliRunner().invoke(app, export).exit_code == 0
    contents = [(tmp_path / f"{name}{ending}").read_bytes() for name in "oe"]
    if ending != ".jsonl.gz":  # (which has the time in it)
        assert contents[0] == contents[1]
    everygram.build(tmp_path / f"e{ending}", tmp_path / "again", tokenizer)
    with everygram.open(tmp_path / "again") as index:
        assert list(everygram.export(index)) == left


def test_a_folder_for_infini_gram(texts_index, tmp_path):
    path, records = texts_index
    given = {"unit": "bytes", "keep_first": True}
    lines = everygram.deduplicate(path, tmp_path / "o.jsonl", 9, **given)
    done = everygram.deduplicate(path, tmp_path / "v4", 9, format="infini-gram", **given)
    differing = {"path", "seconds", "peak_bytes"}
    assert {n: v for n, v in lines.as_dict().items() if n not in differing} == {
        n: v for n, v in done.as_dict().items() if n not in differing
    }
    tokenizer = path / "tokenizer.json"
    tokenizer = tokenizer if tokenizer.exists() else "bytes"
    everygram.convert(tmp_path / "v4", tmp_path / "converted", tokenizer)
    everygram.build(tmp_path / "o.jsonl", tmp_path / "built", tokenizer)
    with (
        everygram.open(tmp_path / "converted") as one,
        everygram.open(tmp_path / "built") as other,
    ):
        assert len(everygram.duplicates(one, 9, unit="bytes")) == 0
        found = [list(everygram.export(index)) for index in (one, other)]
    assert len(found[0]) == done.num_documents
    for ours, theirs in zip(*found, strict=True):
        number = ours["linenum"]
        assert ours["metadata"] == {n: v for n, v in records[number].items() if n != "text"}
        assert {"text": ours["text"], **ours["metadata"]} == theirs


def test_folders_that_cannot_be(texts_index, tmp_path):
    path, _ = texts_index
    with pytest.raises(OptionError, match="out: expected a new folder"):
        everygram.deduplicate(path, tmp_path, format="infini-gram")
    with pytest.raises(OptionError, match="format: expected one of jsonl, infini-gram, found 'x'"):
        everygram.deduplicate(path, tmp_path / "o", format="x")
    with pytest.raises(OptionError, match="text_field: goes with format jsonl"):
        everygram.deduplicate(path, tmp_path / "o", format="infini-gram", text_field="t")
    write_index(tmp_path / "i", [[1, 2], [1, 2]], "u8", 1, 5)
    with pytest.raises(BuildError, match="nothing is left of any document"):
        everygram.deduplicate(tmp_path / "i", tmp_path / "o", 2, format="infini-gram")
    assert not (tmp_path / "o").exists()


def is_within(part, whole):
    """Whether a text is another with some characters left out."""
    rest = iter(whole)
    return all(character in rest for character in part)


@pytest.mark.parametrize("keep_first", [False, True])
def test_ids_are_deduplicated_as_by_brute_force(tmp_path, keep_first):
    rng = random.Random(5)
    documents = some_documents(rng, 30, 40, 4)
    meta = [{"n": n} for n in range(30)]
    write_index(tmp_path / "i", documents, "u16", 3, 5, [[3, 8]], meta)
    left = {(0, n): list(ids) for n, ids in enumerate(documents) if n not in (3, 8)}
    passes = 0
    while True:
        passes += 1
        rows, _ = naive(left, 5, keep_first=keep_first)
        if not rows:
            break
        changed = {row[:2] for row in rows}
        for index, number, start, end, _ in reversed(rows):
            del left[index, number][start:end]
        left = {key: ids for key, ids in left.items() if len(ids) >= 3 or key not in changed}
    with everygram.open(tmp_path / "i") as index:
        done = everygram.deduplicate(
            index, tmp_path / "o.jsonl", 5, keep_first=keep_first, min_left=3
        )
    assert done.passes == passes > 2
    written = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert written == [{"ids": ids, "n": number} for (_, number), ids in left.items()]


def test_a_first_copy_is_kept(tmp_path):
    texts = ["x the same long text y", "z the same long text", "the same long text"]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", [{"text": t} for t in texts]), tmp_path / "i")
    everygram.deduplicate(tmp_path / "i", tmp_path / "o.jsonl", 10, keep_first=True)
    lines = [json.loads(line)["text"] for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert lines == [texts[0], "z"]
    everygram.deduplicate(tmp_path / "i", tmp_path / "p.jsonl.gz", 10)
    everygram.build(tmp_path / "p.jsonl.gz", tmp_path / "p")
    with everygram.open(tmp_path / "p") as index:
        assert [record["text"] for record in everygram.export(index)] == ["x y", "z"]


def test_a_result_travels(texts_index):
    found, again = (everygram.duplicates(texts_index[0], 6, by="n") for _ in range(2))
    assert found == again == pickle.loads(pickle.dumps(found))
    assert found != everygram.duplicates(texts_index[0], 7, by="n")


def test_nothing_repeats_in_nothing(tmp_path):
    write_index(tmp_path / "i", [[], [1], []], "u8", 1, 5, [[1]])
    found = everygram.duplicates(tmp_path / "i", 1)
    assert (len(found), found.copies.documents.tolist(), found.by_length) == (0, [0, 2], {})
    write_index(tmp_path / "none", [], "u8", 1, 5)
    assert everygram.duplicates(tmp_path / "none").as_dict()["num_documents"] == 0
    done = everygram.deduplicate(tmp_path / "none", tmp_path / "o.jsonl")
    assert (done.passes, done.num_documents) == (1, 0)


def test_what_cannot_be_is_said(tmp_path, texts_index):
    path, _ = texts_index
    with pytest.raises(OptionError, match="across: expected a union of several indexes"):
        everygram.duplicates(path, across=True)
    with pytest.raises(OptionError, match="by: no document's metadata has the field 'nope'"):
        everygram.duplicates(path, 4, by="nope")
    with pytest.raises(OptionError, match="unit: expected one of tokens, bytes, found 'words'"):
        everygram.duplicates(path, unit="words")
    with pytest.raises(OptionError, match=r"out: expected a name that ends in \.jsonl"):
        everygram.deduplicate(path, tmp_path / "o.txt")
    (tmp_path / "o.jsonl").write_text("mine")
    with pytest.raises(OptionError, match="out: expected a new file"):
        everygram.deduplicate(path, tmp_path / "o.jsonl")
    assert (tmp_path / "o.jsonl").read_text() == "mine"


def test_tables(texts_index):
    path, _ = texts_index
    found = everygram.duplicates(path, 4)
    rows = list(found.rows())
    assert found.to_arrow().to_pylist() == rows
    assert list(found.copies.rows()) == found.copies.to_arrow().to_pylist()
    assert list(rows[0]) == [
        *("document", "start", "end", "token_start", "token_end"),
        *("byte_start", "byte_end", "group", "count"),
    ]


@pytest.mark.parametrize("seed", range(5))
def test_places_where_bytes_are_not_utf8(text_index, seed):
    """Random bytes, of which some are characters: as the text of the whole document has them."""
    rng = random.Random(seed)
    reading = text_index._state.reading
    parts = [*(part.encode() for part in "aé日😀"), b"\xe6\x97", b"\xed\xa0\x80", b"\xf4\x90"]
    for _ in range(60):
        data = b"".join(rng.choices(parts, k=rng.randrange(1, 9)))
        tokens = np.frombuffer(b"\xff" + data, np.uint8)
        cuts = sorted(rng.sample(range(len(data) + 1), min(len(data) + 1, 4)))
        positions = np.array(list(zip(cuts[::2], cuts[1::2], strict=False))).reshape(-1, 2) + 1
        none = np.zeros(1, np.int64)
        stream = SortedStream(tokens, np.empty(0, np.uint32), none, none)
        found = placed(stream, reading, positions, np.zeros(positions.shape[0], np.int64))
        text = DocumentText(reading, tokens[1:])
        expected = text.ranges(positions[:, 0] - 1, positions[:, 1] - 1)
        assert found.tolist() == [list(row) for row in expected]


def test_the_command_shows_what_repeats(tmp_path, run):
    line = "the same words in every document of these"
    source = "a long name of a source: "
    for name, texts in (("one", [f"{line} x", "y"]), ("two", ["z", f"and {line}"])):
        records = [{"text": text, "source": f"{source}{name}"} for text in texts]
        path = write_jsonl(tmp_path / f"{name}.jsonl", records)
        everygram.build(path, tmp_path / name, "bytes")
    both = tmp_path / "one", tmp_path / "two"
    code, out, _ = run("duplicates", *both, "--across", "--min-length", 20, "--by", "source")
    assert code == 0
    assert f"  {source}one\n" in out
    assert f"  {source}two\n" in out
    *_, head, last = out.splitlines()
    assert head.endswith("  ranges whose first n-gram occurs most often")
    assert last.split(maxsplit=1) == ["2", repr(line)]
    write_index(tmp_path / "ids", [[1, 2, 3], [1, 2, 3]], "u8", 1, 5)
    code, out, _ = run("duplicates", tmp_path / "ids", "--min-length", 2)
    assert code == 0
    assert "count" not in out


def test_several_indexes_are_deduplicated_as_one(tmp_path, run):
    line = "the same words in both"
    for name, texts in (("one", ["a b", f"{line}, first"]), ("two", [f"{line}, second", "c d"])):
        path = write_jsonl(tmp_path / f"{name}.jsonl", [{"text": text} for text in texts])
        everygram.build(path, tmp_path / name, "bytes")
    both, out = (tmp_path / "one", tmp_path / "two"), tmp_path / "left.jsonl"
    asked = ("deduplicate", *both, "--keep-first", "--min-length", 10)
    assert run(*asked, "--out", out)[0] == 0
    texts = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    assert texts == ["a b", f"{line}, first", "second", "c d"]
    assert run(*asked, "--format", "infini-gram", "--out", tmp_path / "v4")[0] == 0
    assert run("count", tmp_path / "v4", "--ids", "99")[0] == 0
