"""The most frequent n-grams beside all n-grams counted one by one."""

import json
import random
from collections import defaultdict

import pytest

import everygram
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.curation import frequent
from everygram.errors import OptionError

pytestmark = pytest.mark.usefixtures("kinds")


def counted(documents, n, sources):
    """Occurrences (document, what stands before and behind) of each n-gram of each source."""
    found = defaultdict(list)
    for number, ids in documents.items():
        padded = [None, *ids, None]
        for i in range(len(ids) - n + 1):
            gram = tuple(ids[i : i + n])
            found[sources.get(number), gram].append((number, padded[i], padded[i + n + 1]))
    return found


def expected(documents, n, longest, top, maximal, order, least, sources):
    """(n, ids, count, documents, source) as they are to be listed."""
    rows = []
    for source in sorted(set(sources.values()) or {None}, key=lambda x: (x is not None, x)):
        for length in range(n, longest + 1):
            own = []
            for (whose, gram), places in counted(documents, length, sources).items():
                if whose != source:
                    continue
                count, number = len(places), len({each[0] for each in places})
                key = number if order == "documents" else count
                if maximal:
                    sides = [{each[side] for each in places} for side in (1, 2)]
                    if count < 2 or any(len(each) == 1 and each != {None} for each in sides):
                        continue
                if key >= least:
                    own.append((-key, gram, (length, gram, count, number, source)))
            rows += [each[2] for each in sorted(own)[:top]]
    return rows


def listed(found):
    return [
        (each.n, each.token_ids, each.count, each.document_count, each.source)
        for each in found.ngrams
    ]


@pytest.mark.parametrize("dtype", ["u8", "u16", "u32"])
def test_random_corpora(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(frequent, "RANKS", 7)
    rng = random.Random(dtype)
    for number in range(sized(25, 300)):
        documents = [
            [rng.randrange(rng.choice([1, 2, 3])) for _ in range(rng.randrange(12))]
            for _ in range(rng.randrange(1, 9))
        ]
        metadata = [{"s": {"of": rng.choice(["a", "b", 3])}} for _ in documents]
        gone = sorted(rng.sample(range(len(documents)), rng.randrange(len(documents) // 2 + 1)))
        path = tmp_path / str(number)
        segments = rng.randrange(1, 4)
        write_index(path, documents, dtype, segments, 9, [gone], metadata)
        kept = {i: ids for i, ids in enumerate(documents) if i not in gone}
        with everygram.open(path) as index:
            for _ in range(6):
                n = rng.randrange(1, 5)
                longest = n + rng.randrange(4)
                top, least = rng.choice([1, 2, 5, 1000]), rng.choice([1, 1, 2, 3])
                maximal, order = rng.random() < 0.4, rng.choice(["occurrences", "documents"])
                by, sources = None, {}
                if rng.random() < 0.4 and kept:
                    by = "s.of"
                    sources = {i: str(metadata[i]["s"]["of"]) for i in kept}
                found = everygram.top_ngrams(
                    index,
                    n,
                    max_n=longest,
                    top=top,
                    maximal=maximal,
                    order=order,
                    min_count=least,
                    by=by,
                    threads=rng.choice([1, 3]),
                )
                asked = n, longest, top, maximal, order, least
                assert listed(found) == expected(kept, *asked, sources), (documents, asked, by)


def test_a_union_counts_all_its_documents(tmp_path):
    a, b = [[1, 2, 3], [1, 2]], [[1, 2, 2], [3]]
    write_index(tmp_path / "a", a, "u16")
    write_index(tmp_path / "b", b, "u16", 2)
    with everygram.open([tmp_path / "a", tmp_path / "b"]) as union:
        found = everygram.top_ngrams(union, 1, max_n=3)
    every = dict(enumerate(a + b))
    assert listed(found) == expected(every, 1, 3, 1000, False, "occurrences", 1, {})


def test_every_count_is_that_of_the_index(tmp_path):
    texts = ["the cat sat on the mat", "the cat", "on the mat the cat", "é" * 9]
    records = [{"text": text, "lang": "en"} for text in texts[:3]] + [{"text": texts[3]}]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records), tmp_path / "index", "train:300")
    with everygram.open(tmp_path / "index") as index:
        found = everygram.top_ngrams(index, 1, max_n=4, by="lang")
        assert {each.source for each in found.ngrams} == {None, "en"}
        found = everygram.top_ngrams(index, 1, max_n=4)
        assert len(found) > 20
        for each in found.ngrams:
            counts = index.document_count(list(each.token_ids))
            assert (each.count, each.document_count) == (counts.count, int(counts))
            assert each.tokens == tuple(index.count(list(each.token_ids)).tokens)
        table = found.to_arrow()
        assert table.column("count").to_pylist() == [each.count for each in found.ngrams]
        assert found.to_pandas().shape == (len(found), 7)
        assert json.loads(json.dumps(found.as_dict()))["ngrams"][0]["n"] == 1


def test_nothing_is_there(tmp_path):
    write_index(tmp_path / "index", [[], []], "u8")
    with everygram.open(tmp_path / "index") as index:
        assert len(everygram.top_ngrams(index)) == 0
    everygram.delete(tmp_path / "index", documents=[0, 1])
    with everygram.open(tmp_path / "index") as index:
        assert len(everygram.top_ngrams(index, 2)) == 0


def test_options_that_are_none(tmp_path):
    write_index(tmp_path / "index", [[1, 2]], "u8")
    with everygram.open(tmp_path / "index") as index:
        for options, said in (
            ({"n": 0}, "n: expected"),
            ({"n": 3, "max_n": 2}, "max_n: expected"),
            ({"n": 255}, "n: expected at most 254 tokens"),
            ({"max_n": 300}, "max_n: expected at most 254"),
            ({"top": 0}, "top: expected"),
            ({"top": 1 << 40}, "ask for fewer"),
            ({"order": "rank"}, "order: expected occurrences or documents"),
            ({"by": "lang"}, "no document's metadata has the field 'lang'"),
            ({"min_count": 0}, "min_count: expected"),
        ):
            with pytest.raises(OptionError, match=said):
                everygram.top_ngrams(index, **options)
    assert len(everygram.top_ngrams(tmp_path / "index", 1)) == 2


def test_the_command_line(tmp_path, run):
    texts = ["a b a b", "a b", "c"]
    records = [{"text": text, "lang": text[0]} for text in texts]
    everygram.build(write_jsonl(tmp_path / "c.jsonl", records), tmp_path / "index")
    code, out, _ = run("top-ngrams", tmp_path / "index", "--n", 3, "--top", 2, "--json")
    assert code == 0
    answer = json.loads(out)
    assert [(each["text"], each["count"]) for each in answer["ngrams"]] == [("a b", 3), (" a ", 1)]
    code, out, _ = run(
        *("top-ngrams", tmp_path / "index", "--n", 1, "--max-n", 3, "--maximal"),
        *("--order", "documents", "--min-count", 2, "--by", "lang"),
    )
    assert code == 0 and "'a b'" in out and "lang" in out
    code, out, _ = run("top-ngrams", tmp_path / "index", "--n", 3, "--out", tmp_path / "top.jsonl")
    lines = (tmp_path / "top.jsonl").read_text().splitlines()
    assert code == 0 and json.loads(lines[0])["document_count"] == 2
    code, _, err = run("top-ngrams", tmp_path / "index", "--n", 3, "--max-n", 2)
    assert code == 2 and err.startswith("error: --max-n: expected")
    for option, value in (("--n", 255), ("--by", "nope"), ("--top", 10**9)):
        code, _, err = run("top-ngrams", tmp_path / "index", option, value)
        assert code == 2 and f"error: {option}: " in err
