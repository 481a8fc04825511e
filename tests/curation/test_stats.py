"""What an index holds, against brute force over its documents."""

import json
import math
import random
from collections import Counter

import numpy as np
import pytest

import everygram
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.errors import OptionError

pytestmark = pytest.mark.usefixtures("kinds")


def naive_slope(counts):
    """The line of least squares in which each rank counts as 1 / rank, by its normal equations."""
    ordered = sorted(counts, reverse=True)
    if len(ordered) < 2:
        return None
    rows = np.array(
        [[1 / math.sqrt(r), math.log10(r) / math.sqrt(r)] for r in range(1, len(ordered) + 1)]
    )
    right = [math.log10(count) / math.sqrt(r) for r, count in enumerate(ordered, 1)]
    return np.linalg.lstsq(rows, np.array(right), rcond=None)[0][1]


def check(found, documents, vocab_size):
    lengths = sorted(map(len, documents))
    assert (found.num_documents, found.num_tokens) == (len(documents), sum(lengths))
    assert found.empty == lengths.count(0)
    counts = Counter(token for document in documents for token in document)
    use = found.vocabulary
    assert (use.size, use.types, use.unused) == (vocab_size, len(counts), vocab_size - len(counts))
    assert use.once == sum(count == 1 for count in counts.values())
    slope = naive_slope(counts.values())
    assert use.zipf_slope == (None if slope is None else pytest.approx(slope, abs=1e-9))
    copies = [size for ids, size in Counter(map(tuple, documents)).items() if ids and size > 1]
    same = found.identical
    assert (same.groups, same.documents) == (len(copies), sum(copies))
    assert (same.copies, same.largest) == (sum(copies) - len(copies), max(copies, default=0))
    groups = Counter(map(tuple, documents)).items()
    assert same.tokens == sum((size - 1) * len(ids) for ids, size in groups)
    for percent, length in found.lengths.percentiles.items():
        enough = [each for each in lengths if length >= each]
        assert 100 * len(enough) >= int(percent) * len(lengths)
        assert 100 * sum(each < length for each in lengths) <= int(percent) * len(lengths)
        assert length in lengths
    for each in found.lengths.bins:
        inside = [length for length in lengths if each.low <= length < each.high]
        assert (each.documents, each.tokens) == (len(inside), sum(inside))
        assert each.low in (0, each.high // 2)
    assert sum(each.documents for each in found.lengths.bins) == len(documents)
    if lengths:
        assert found.lengths.mean == pytest.approx(sum(lengths) / len(lengths))


@pytest.mark.parametrize("seed", range(sized(25, 300)))
def test_any_documents(tmp_path, seed):
    rng = random.Random(seed)
    vocab_size = rng.randint(1, 9)
    dtype = rng.choice(["u8", "u16", "u32"])
    documents = [
        rng.choices(range(vocab_size), k=rng.choice([0, 1, 2, 2, 3, 8, 33]))
        for _ in range(rng.randint(1, 40))
    ]
    kept = [{"source": rng.choice(["a", "b", 3]), "in": {"x": True}} for _ in documents]
    for each in kept:
        if rng.random() < 0.2:
            del each["source"]
    gone = sorted(rng.sample(range(len(documents)), rng.randint(0, len(documents))))
    path = write_index(
        tmp_path / "index", documents, dtype, rng.randint(1, 3), vocab_size, [gone], kept
    )
    live = [n for n in range(len(documents)) if n not in set(gone)]
    found = everygram.stats(path, by="source")
    check(found, [documents[n] for n in live], vocab_size)
    assert found.byte_tokens is None
    sizes, tokens = Counter(), Counter()
    for n in live:
        value = kept[n].get("source")
        value = None if value is None else str(value)
        sizes[value] += 1
        tokens[value] += len(documents[n])
    assert {each.value: each.documents for each in found.groups} == sizes
    assert {each.value: each.tokens for each in found.groups} == tokens
    most = [each.tokens for each in found.groups]
    assert most == sorted(most, reverse=True)
    assert found.to_arrow().to_pylist() == [dict(each) for each in found.as_dict()["groups"]]
    assert found.to_pandas()["tokens"].tolist() == most
    nested = everygram.stats(path, by="in.x").groups
    assert [(each.value, each.documents) for each in nested] == [("true", len(live))] * bool(live)


def test_an_index_without_documents(tmp_path):
    path = write_index(tmp_path / "index", [[1, 2]], "u8", 1, 9, [[0]])
    found = everygram.stats(path)
    check(found, [], 9)
    assert found.as_dict()["lengths"] == {"mean": None, "percentiles": {}, "bins": []}
    assert found.to_arrow().to_pylist() == [{"value": None, "documents": 0, "tokens": 0}]


TEXTS = ["héllo wörld", "日本語", "plain", "", "plain", "😀 plain", "plain", "日本語"]


@pytest.fixture(scope="module")
def made(tmp_path_factory, kinds):
    """An index in two segments of bytes, one document deleted; and one that shares documents."""
    folder = tmp_path_factory.mktemp("stats")
    for number, part in enumerate((TEXTS[:4], TEXTS[4:])):
        records = [{"text": text, "lang": "en" if text.isascii() else "xx"} for text in part]
        corpus = write_jsonl(folder / f"{number}.jsonl", records)
        (everygram.add if number else everygram.build)(
            *((folder / "index", corpus) if number else (corpus, folder / "index"))
        )
    everygram.delete(folder / "index", documents=[6])
    everygram.build(folder / "0.jsonl", folder / "other")
    return folder


def test_bytes_and_unions(made):
    live = TEXTS[:6] + TEXTS[7:]
    found = everygram.stats(made / "index", by="lang")
    check(found, [list(text.encode()) for text in live], 255)
    # (Of bytes each that is no ASCII is a part of a character.)
    parts = [byte for text in live for byte in text.encode() if byte >= 0x80]
    assert (found.byte_tokens.tokens, found.byte_tokens.single) == (len(parts), len(parts))
    assert found.byte_tokens.types == len(set(parts))
    assert found.byte_tokens.share == len(parts) / sum(len(text.encode()) for text in live)
    union = everygram.stats([made / "index", made / "other"])
    check(union, [list(text.encode()) for text in live + TEXTS[:4]], 255)
    with everygram.open(made / "index", minus=made / "other") as index:
        check(everygram.stats(index), [list(text.encode()) for text in live[4:]], 255)


def test_tokens_of_several_bytes(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in TEXTS * 3])
    everygram.build(corpus, tmp_path / "index", "train:270")
    with everygram.open(tmp_path / "index") as index:
        found = everygram.stats(index)
        documents = [index.document(n) for n in range(len(TEXTS) * 3)]
        counts = Counter(token for each in documents for token in np.array(each.token_ids).tolist())
        spelled = index.tokenizer.spellings()[0]
    whole = {}
    for token in counts:
        try:
            spelled[token].decode()
            whole[token] = True
        except UnicodeDecodeError:
            whole[token] = False
    parts = {token: count for token, count in counts.items() if not whole[token]}
    assert len({len(spelled[token]) for token in parts}) > 1
    assert found.byte_tokens.tokens == sum(parts.values())
    assert found.byte_tokens.single == sum(
        count for token, count in parts.items() if len(spelled[token]) == 1
    )


def test_the_command(made, run):
    code, out, _ = run("stats", made / "index", "--by", "lang", "--json")
    assert code == 0
    assert json.loads(out) == everygram.stats(made / "index", by="lang").as_dict()
    code, out, _ = run("stats", made / "index", "--by", "lang")
    assert code == 0
    assert "documents   7\n" in out
    assert "identical   4 documents in 2 groups" in out
    assert "  en\n" in out
    code, _, error = run("stats", made / "index", "--by", "nope")
    assert (code, "by: no document's metadata has the field 'nope'" in error) == (2, True)


def test_what_is_refused(made, run):
    with pytest.raises(OptionError, match="by: expected a string, found 3"):
        everygram.stats(made / "index", by=3)
    assert run("stats", made / "nowhere")[0] == 1
