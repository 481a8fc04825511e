"""What a plan says there will be, against what the build then makes."""

import gzip
import json
import random
import re
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import everygram
from conftest import write_jsonl
from everygram.building import pace
from everygram.building import source as building_source
from everygram.corpus import source
from everygram.corpus.files import File, list_files
from everygram.corpus.text import TextCorpus

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

WORDS = [f"{number * 7919 % 10007}" for number in range(2000)]


def text_of(rng, words):
    return " ".join(rng.choices(WORDS, k=words))


def jsonl(texts):
    return "".join(json.dumps({"text": text, "n": 1}) + "\n" for text in texts).encode()


def spread(rng, number, words):
    return [text_of(rng, rng.randrange(1, 2 * words)) for _ in range(number)]


def arrow(path, texts):
    table = pa.table({"text": texts})
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def corpora(rng):
    """Name -> what writes a corpus of a few megabytes into a folder."""
    small, medium, long = spread(rng, 40_000, 12), spread(rng, 2000, 200), spread(rng, 24, 20_000)
    huge = text_of(rng, 500_000)
    page = "the same page, again and again\n" * 40

    def csv(texts):
        return "text\n" + "".join(f'"{text}"\n' for text in texts)

    return {
        "one large text": lambda to: (to / "a.txt").write_text(huge),
        "a large text behind small ones": lambda to: [
            (to / f"{name}.txt").write_text(text)
            for name, text in [*((f"a{i}", f"{i} small") for i in range(20)), ("b", huge)]
        ],
        "a large text in front": lambda to: [
            (to / f"{name}.txt").write_text(text)
            for name, text in [("a", huge), *((f"b{i}", long[i]) for i in range(20))]
        ],
        "compressed texts": lambda to: [
            (to / f"{i}.txt.gz").write_bytes(gzip.compress(text.encode()))
            for i, text in enumerate([*long, huge])
        ],
        "short lines": lambda to: (to / "c.jsonl").write_bytes(jsonl(small)),
        "long lines": lambda to: (to / "c.jsonl").write_bytes(jsonl(long)),
        "one long line": lambda to: (to / "c.jsonl").write_bytes(jsonl([huge, *medium])),
        "blank lines between": lambda to: (to / "c.jsonl").write_bytes(
            b"\n" + jsonl(medium).replace(b"\n", b"\n\n")
        ),
        "gzip": lambda to: (to / "c.jsonl.gz").write_bytes(gzip.compress(jsonl(medium))),
        "zstd": lambda to: (to / "c.jsonl.zst").write_bytes(zstd.compress(jsonl(medium))),
        "gzip by another name": lambda to: [
            (to / f"{i}.jsonl").write_bytes(gzip.compress(jsonl([text])))
            for i, text in enumerate(long)
        ],
        "gzip of much the same": lambda to: (to / "c.jsonl.gz").write_bytes(
            gzip.compress(jsonl([page] * 6000))
        ),
        "an array": lambda to: (to / "c.json").write_text(
            json.dumps([{"text": text} for text in medium])
        ),
        "CSV, few rows": lambda to: (to / "c.csv").write_text(csv([*long[:9], huge])),
        "CSV, rows of two lines": lambda to: (to / "c.csv").write_text(
            csv(text[:-1] + "\n" + text[-1] for text in medium)
        ),
        "CSV, rows of sixteen lines": lambda to: (to / "c.csv").write_text(
            csv("\n".join([text, *"b" * 15]) for text in medium)
        ),
        "Parquet": lambda to: pq.write_table(pa.table({"text": medium}), to / "c.parquet"),
        "Arrow, one batch": lambda to: arrow(to / "c.arrow", small),
        "empty documents": lambda to: (to / "c.jsonl").write_bytes(jsonl([""] * 9000)),
    }


NAMES = [*corpora(random.Random(0))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tokenizer", ["bytes", "train:400"])
def test_an_estimate_is_near_what_there_is(tmp_path, monkeypatch, name, tokenizer):
    # (As if the corpora were larger.)
    monkeypatch.setattr(building_source, "SAMPLE_CHARS", 1 << 18)
    folder = tmp_path / "corpus"
    folder.mkdir()
    corpora(random.Random(name))[name](folder)
    plan = everygram.plan(folder, tmp_path / "index", tokenizer)
    text_bytes = sum(len(document.text.encode()) for document in TextCorpus([folder]))
    # Before it is trained, a tokenizer is taken to make a token of four bytes.
    expected = text_bytes if tokenizer == "bytes" else text_bytes / building_source.TEXT_A_TOKEN
    assert 0.7 * expected <= plan.tokens <= 1.4 * expected
    if plan.corpus_bytes >= text_bytes:
        assert plan.tokens <= plan.corpus_bytes


def test_an_estimate_does_not_tokenize_a_large_text(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("word " * 1_000_000)
    encoded = []
    encode = everygram.tokenizer.base.ByteTokenizer.encode_batch

    def counted(tokenizer, texts):
        encoded.extend(map(len, texts))
        return encode(tokenizer, texts)

    monkeypatch.setattr(everygram.tokenizer.base.ByteTokenizer, "encode_batch", counted)
    assert everygram.plan(tmp_path / "a.txt", tmp_path / "index").tokens == 5_000_000
    assert sum(encoded) == building_source.SAMPLE_CHARS


def test_of_a_small_corpus_the_estimate_is_exact(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text("é" * number)
    write_jsonl(tmp_path / "c.jsonl", [{"text": "abc", "more": "x" * 1000}] * 7)
    for given, tokens in ((f"{tmp_path}/*.txt", 29 * 30), (tmp_path / "c.jsonl", 21)):
        assert everygram.plan(given, tmp_path / "index").tokens == tokens


def test_of_what_does_not_say_its_size_there_is_at_least_so_much(run, tmp_path, monkeypatch):
    lines = jsonl([f"text {number}" for number in range(5000)])
    (tmp_path / "c.jsonl").write_bytes(lines)
    address = "https://example.org/c.jsonl"

    def opened(in_any_order):
        return (tmp_path / "c.jsonl").open("rb")

    def listed(given):
        if given != address:
            return list_files(given)
        return [File(address, "c.jsonl", named=True, _open=opened)]

    monkeypatch.setattr(source, "list_files", listed)
    for given, most in (([address], 50_000), ([address, tmp_path / "c.jsonl"], 500_000)):
        code, out, _ = run("build", *given, "--out", tmp_path / "index", "--dry-run")
        assert code == 0
        (tokens,) = re.findall(r"at least ([\d,]+): not every file says how large it is", out)
        assert 30_000 < int(tokens.replace(",", "")) < most


def test_blocks_for_threads_are_planned(tmp_path, monkeypatch):
    """Where one would fit in memory: the plan says so, and has room on disk for them."""
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text_of(random.Random(1), 3000)}] * 3)
    monkeypatch.setattr(pace, "SHORTEST", 1000)
    monkeypatch.setattr(pace, "BLOCK", 500)
    monkeypatch.setattr(pace, "MERGE_NS", 1.0)
    given = {"memory": "1GiB", "document_counts": False}
    few, many = (
        everygram.plan(corpus, tmp_path / "out", threads=threads, **given) for threads in (2, 3)
    )
    assert (few.merged, many.merged) == (False, True)
    assert many.disk_bytes == few.disk_bytes + 4 * few.tokens
    for threads, merged in ((2, False), (3, True)):
        report = everygram.build(corpus, tmp_path / str(threads), threads=threads, **given)
        assert ("merge" in report.seconds) == merged
