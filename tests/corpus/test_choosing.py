"""Which files of a folder are documents, and which are named as passed over."""

import gzip
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import everygram
from conftest import write_jsonl
from everygram.corpus.source import CorpusOptions, NamedCorpus
from everygram.corpus.text import TextCorpus
from everygram.errors import CorpusError

RECORDS = [{"text": "one", "id": 1}, {"text": "two"}]
TEXTS = ["one", "two"]


def read(path, **options):
    """The texts of a corpus, and the names below `path` that are passed over, with why."""
    corpus = TextCorpus([path], **options)
    passed = {
        name.removeprefix(f"{path}/").removeprefix(str(path)): why
        for name, why in corpus.passed_over.items()
    }
    return [document.text for document in corpus], passed


def data(folder, kind):
    """RECORDS as a data file of some kind."""
    if kind == "parquet":
        pq.write_table(pa.table({"text": TEXTS}), folder / "part-0000.parquet")
    elif kind == "csv":
        (folder / "part-0000.csv").write_text("text\none\ntwo\n")
    elif kind == "json.gz":
        lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
        (folder / "part-0000.json.gz").write_bytes(gzip.compress(lines.encode()))
    elif kind == "json":
        write_jsonl(folder / "part-0000.json", RECORDS)
    elif kind == "array":
        (folder / "part-0000.json").write_text(json.dumps(RECORDS))
    elif kind == "text":
        (folder / "part-0000").write_text("one")
        (folder / "part-0001.txt").write_text("two")
    else:
        write_jsonl(folder / "part-0000.jsonl", RECORDS)


KINDS = ["jsonl", "parquet", "csv", "json.gz", "json", "array"]
# What jobs, tools and systems leave in folders, whatever is in them.
MARKS = [
    "_SUCCESS",
    "_metadata",
    "_common_metadata",
    "_committed_123",
    "part-0000.crc",
    "part-0000.sha256",
    "SHA256SUMS",
    "md5sums.txt",
    "_delta_log/00000000000000000000.json",
    "_temporary/0/part-0001.jsonl",
    "__MACOSX/part-0000.txt",
    "Thumbs.db",
]
# What lies beside data and describes it.
BESIDE = ["README.md", "LICENSE", "notes.txt", "dataset_infos.json", "logo.png", "x.py", "d/e.txt"]


def put(folder, name, content=b'{"a":\n "\xe9"}'):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.mark.parametrize("kind", [*KINDS, "text"])
def test_marks_and_checksums_are_no_documents(tmp_path, kind):
    data(tmp_path, kind)
    for name in MARKS:
        put(tmp_path, name)
    texts, passed = read(tmp_path)
    assert texts == TEXTS
    assert set(passed) == set(MARKS)
    assert passed["part-0000.crc"] == "checksums"


@pytest.mark.parametrize("kind", KINDS)
def test_beside_tables_and_json_lines_only_these_are_read(tmp_path, kind):
    (tmp_path / "data").mkdir()
    data(tmp_path / "data", kind)
    for name in BESIDE:
        put(tmp_path, name, b'{"a": {"text": "no"}}' if name.endswith("json") else b"\xff no text")
    texts, passed = read(tmp_path)
    assert texts == TEXTS
    assert set(passed) == set(BESIDE)
    assert passed["README.md"].startswith("beside tables or JSON lines, other files are no data")
    assert passed["dataset_infos.json"] == "JSON, but no record of a text"
    # What is named itself is read, whatever lies beside it; of a pattern the same holds.
    put(tmp_path, "notes.txt", b"noted")
    assert read(tmp_path / "notes.txt") == (["noted"], {})
    assert [d.text for d in TextCorpus([tmp_path / "data", tmp_path / "notes.txt"])] == [
        *TEXTS,
        "noted",
    ]
    assert read(f"{tmp_path}/**/*")[0] == TEXTS
    assert read(f"{tmp_path}/notes*") == (["noted"], {})


def test_what_cannot_be_read_is_not_passed_over(tmp_path):
    data(tmp_path, "jsonl")
    (tmp_path / "broken").symlink_to("nowhere")
    with pytest.raises(CorpusError, match=r"broken: not a regular file"):
        read(tmp_path)


@pytest.mark.parametrize("kind", [*KINDS, "text"])
@pytest.mark.parametrize("killed", [False, True])
def test_an_index_in_the_corpus_folder_is_no_corpus(tmp_path, kind, killed):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    data(corpus, kind)
    everygram.build(corpus, corpus / "index", "train:256")
    if killed:
        (corpus / "index" / "manifest.json").unlink()
        for name in ("build.json", "build.json.tmp", "done.json"):
            put(corpus, f"index/{name}", b"{}")
    assert read(corpus) == (
        TEXTS,
        {"index/": "an everygram index; 'everygram export' writes its documents"},
    )
    for given in (corpus / "index", f"{corpus}/index/*", corpus / "index" / "segment-000001"):
        with pytest.raises(CorpusError, match=r"no files to read there; .*index/: an everygram in"):
            read(given)


def test_an_empty_index_is_told_by_its_manifest(tmp_path):
    data(tmp_path, "jsonl")
    (tmp_path / "none.jsonl").write_text("")
    everygram.build(tmp_path / "none.jsonl", tmp_path / "index")
    # A manifest of something else is a file as any.
    put(tmp_path, "web/manifest.json", b'{"name": "a page"}')
    texts, passed = read(tmp_path)
    assert texts == TEXTS
    assert set(passed) == {"index/", "web/manifest.json"}


def infini_gram(folder, shards=1):
    """What infini-gram's indexing leaves."""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(shards):
        np.array([65535, 1, 2, 65535, 3], "<u2").tofile(folder / f"tokenized.{shard}")
        for name in ("table", "offset", "metadata", "metaoff", "unigram"):
            (folder / f"{name}.{shard}").write_bytes(b"\xff\x00" * 8)


@pytest.mark.parametrize("kind", [*KINDS, "text"])
def test_an_infini_gram_index_in_the_corpus_folder_is_no_corpus(tmp_path, kind):
    data(tmp_path, kind)
    infini_gram(tmp_path / "v4", shards=2)
    texts, passed = read(tmp_path)
    assert texts == TEXTS
    assert [*passed] == ["v4/"]
    assert passed["v4/"].startswith("an infini-gram index")
    # Beside the documents themselves, too.
    infini_gram(tmp_path)
    assert set(read(tmp_path)[1]) == {"", "v4/"}
    shutil.rmtree(tmp_path / "v4")
    with pytest.raises(CorpusError, match=r"no files to read there; .*an infini-gram index"):
        read(f"{tmp_path}/[mtou]*.0")


def test_indexes_are_no_token_ids_either(tmp_path):
    options = CorpusOptions(pretokenized="u16", separator_id=65535)

    def ids():
        corpus = NamedCorpus(tmp_path, options).ids()
        passed = {name.removeprefix(f"{tmp_path}/") for name in corpus.passed_over}
        return [document.ids.tolist() for document in corpus], passed

    # Of an index of infini-gram's that was named, the ids; beside other ids, it is an index.
    infini_gram(tmp_path / "v4")
    assert ids() == (
        [[1, 2], [3]],
        {f"v4/{name}.0" for name in ("table", "offset", "metadata", "metaoff", "unigram")},
    )
    np.array([7, 8, 65535], "<u2").tofile(tmp_path / "train.bin")
    (tmp_path / "README.md").write_text("about")
    assert ids() == ([[7, 8]], {"v4/", "README.md"})
    everygram.build(
        tmp_path / "train.bin", tmp_path / "index", pretokenized="u16", separator_id=65535
    )
    assert ids() == ([[7, 8]], {"v4/", "index/", "README.md"})


def test_the_plan_names_what_is_passed_over(run, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    data(corpus, "jsonl")
    for number in range(5):
        put(corpus, f"part-{number}.crc")
    put(corpus, "README.md")
    plan = everygram.plan(corpus, tmp_path / "index")
    names = [f"{corpus}/README.md", *(f"{corpus}/part-{number}.crc" for number in range(5))]
    assert sorted(plan.passed_over) == names
    _, out, _ = run("build", corpus, "--out", tmp_path / "index", "--dry-run")
    assert (
        f"not read        {', '.join(names[1:4])} and 2 more: checksums\n"
        f"not read        {names[0]}: beside tables or JSON lines, other files are no data; "
        "to read one, name it\n"
    ) in out
    _, out, _ = run("build", corpus, "--out", tmp_path / "index", "--dry-run", "--json")
    assert json.loads(out)["passed_over"] == plan.passed_over


def test_reports_name_it_too(run, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    data(corpus, "jsonl")
    put(corpus, "README.md")
    report = everygram.build(corpus, tmp_path / "index")
    assert report.passed_over == everygram.plan(corpus, tmp_path / "new").passed_over
    assert list(report.passed_over) == [f"{corpus}/README.md"]
    code, out, _ = run("add", tmp_path / "index", corpus)
    assert code == 0
    assert out.endswith(
        f"not read: {corpus}/README.md: {report.passed_over[f'{corpus}/README.md']}\n"
    )
