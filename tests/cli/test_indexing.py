"""The commands that make and change indexes."""

import itertools
import json
import pkgutil
import re
import shlex

import numpy as np
import pytest

from conftest import write_jsonl
from everygram.cli import show, show_indexing
from everygram.progress import Progress


def test_build_info_verify(run, tmp_path, monkeypatch):
    monkeypatch.setattr(show_indexing, "LINE_EVERY", 1e9)  # however long a stage takes
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one two", "k": 1}, {"text": "two"}])
    code, out, err = run("build", corpus, "--out", tmp_path / "index", "--tokenizer", "train:256")
    assert code == 0
    assert "documents               2\n" in out
    assert "tokens                  10\n" in out
    assert re.search(r"peak memory             [\d,]+ MiB", out)
    assert f'everygram count {tmp_path / "index"} "some words"' in out
    lines = [line.split("] ")[1] for line in err.splitlines() if line.startswith("[")]
    assert [re.sub(r"\d+\.\d MB", "0.0 MB", line) for line in lines] == [
        "training the tokenizer",
        "reading documents",
        "  2 documents, 10 tokens, 0.0 MB/s",
        "sorting suffixes",
        "counting documents",
        "writing the index",
        "publishing",
    ]
    code, out, _ = run("info", tmp_path / "index", "--json")
    assert code == 0
    assert json.loads(out)["tokenizer"] == "train:256"
    code, out, _ = run("info", tmp_path / "index")
    assert "num_documents      2\n" in out
    assert run("verify", tmp_path / "index")[:2] == (0, f"{tmp_path / 'index'}: sound\n")
    tokens = tmp_path / "index" / "segment-000001" / "tokens.bin"
    data = bytearray(tokens.read_bytes())
    data[3] ^= 1
    tokens.write_bytes(data)
    code, out, _ = run("verify", tmp_path / "index")
    assert code == 1
    assert "tokens.bin: content does not match its checksum" in out
    code, out, _ = run("verify", tmp_path / "index", "--json")
    assert code == 1
    assert json.loads(out)["sound"] is False


def test_build_says_what_it_understood(run, tmp_path, monkeypatch):
    records = [{"body": {"text": "one two"}, "url": "u", "k": i} for i in range(50)]
    corpus = write_jsonl(tmp_path / "c.jsonl", records)
    build = ["build", corpus, "--out", tmp_path / "index", "--text-field", "body.text"]
    build += ["--id-field", "url", "--metadata-fields", "k"]
    code, out, err = run(*build, "--dry-run")
    assert (code, err) == (0, "")
    assert not (tmp_path / "index").exists()
    for line in [
        "files           1: 1 × JSON lines, 2,540 bytes",
        "text, metadata  'body.text'; 'id', 'k' (of the first record)",
        "tokenizer       bytes",
        "vocabulary      255 ids",
        "tokens          about 350",
    ]:
        assert f"{line}\n" in out
    assert re.search(
        r"disk +about [\d,]+ bytes, [\d,]+ bytes of it for the index; [\d,.]+ GB free\n", out
    )
    assert re.search(r"memory +limit [\d,]+ MiB, \d+ threads?\n", out)
    plan = json.loads(run(*build, "--dry-run", "--json")[1])
    assert (plan["tokens"], plan["formats"], plan["fields"]) == (
        350,
        {"JSON lines": 1},
        ["id", "k"],
    )
    assert "blocks" not in run(*build, "--dry-run", "--memory", "1KiB")[1]
    with monkeypatch.context() as patch:
        patch.setattr("everygram.building.external_sort.MIN_BLOCK", 4)
        assert run(*build, "--dry-run", "--memory", "1KiB")[1].endswith(
            "; sorted in blocks and merged\n"
        )
    code, out, err = run(*build, "--json")
    assert code == 0
    assert "tokens          about 350\n" in err
    assert json.loads(out)["num_documents"] == 50
    (tmp_path / "empty").mkdir()
    assert run("build", tmp_path / "empty", "--out", tmp_path / "x", "--dry-run")[0] == 1


def test_lines_of_progress_with_and_without_an_end(monkeypatch, capsys):
    monkeypatch.setattr(show_indexing, "LINE_EVERY", 0.0)
    report = show_indexing._lines()
    for done, total in ((0, 0), (0, 0), (50, 100)):
        report(Progress("read", done, total, 3, 70, 1.0, 1.0))
    assert [line.split("] ")[1] for line in capsys.readouterr().err.splitlines()] == [
        "reading documents",
        "  3 documents, 70 tokens, 0.0 MB/s",
        "  50%, 1 s left, 3 documents, 70 tokens, 0.0 MB/s",
    ]


def test_build_skips_when_told_to(run, tmp_path):
    (tmp_path / "c.jsonl").write_text('{"body": "a"}\nnope\n')
    code, _, err = run("build", tmp_path / "c.jsonl", "--out", tmp_path / "i")
    assert code == 1
    assert "c.jsonl:1: no field 'text'; the record has 'body'; name the text with --text" in err
    options = ("--text-field", "body", "--on-error", "skip")
    code, out, _ = run("build", tmp_path / "c.jsonl", "--out", tmp_path / "i", *options)
    assert code == 0
    assert "1 skipped:\n" in out
    assert "c.jsonl:2: not a JSON record" in out


def test_build_from_token_ids(run, tmp_path):
    np.array([5, 6, 0, 7], "<u2").tofile(tmp_path / "ids.bin")
    options = ("--pretokenized", "u16", "--separator-id", "0")
    assert run("build", tmp_path / "ids.bin", "--out", tmp_path / "i", *options)[0] == 0
    code, out, _ = run("count", tmp_path / "i", "--ids", "5,6")
    assert (code, out) == (0, "count     1\nquery     ids 5 6\n")
    code, out, _ = run("document", tmp_path / "i", "--number", "0")
    assert out.endswith("\n5 6\n")
    code, _, err = run("count", tmp_path / "i", "five")
    assert code == 1
    assert "has no tokenizer" in err


def interrupt(monkeypatch, place, after=0):
    """Have Ctrl-C come when this function is called, after it was called so many times."""
    module, _, name = place.rpartition(".")
    owner = pkgutil.resolve_name(module)
    calls, function = itertools.count(), getattr(owner, name)

    def interrupted(*arguments, **options):
        if next(calls) >= after:
            raise KeyboardInterrupt
        return function(*arguments, **options)

    monkeypatch.setattr(owner, name, interrupted)


BUILDER = "everygram.building.segment_builder.SegmentBuilder"
# Where Ctrl-C comes, whether documents are read by then, and what is said to be kept.
INTERRUPTED = [
    ("everygram.building.plan.plan_of", False, "nothing is kept; the same command starts over"),
    (f"{BUILDER}.add", False, "nothing is kept; the same command starts over"),
    (f"{BUILDER}.merge", True, "keeps what is finished (2 documents read); run the same command"),
    (f"{BUILDER}.finish", True, "(2 documents read, suffixes in order); run the same command"),
]


@pytest.mark.parametrize(("place", "read", "said"), INTERRUPTED)
def test_an_interrupted_build_says_what_is_kept(run, tmp_path, monkeypatch, place, read, said):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one"}, {"text": "two one"}])
    build = ("build", corpus, "--out", tmp_path / "i")
    with monkeypatch.context() as patched:
        interrupt(patched, place)
        code, out, err = run(*build)
    assert (code, out) == (130, "")
    last = err.splitlines()[-1]
    assert last.startswith("interrupted: ") and said in last
    assert (tmp_path / "i").exists() == read
    code, _, err = run(*build)
    assert code == 0
    assert ("reading documents" in err) != read
    assert ("continuing: 2 documents were read before\n" in err) == read
    assert json.loads(run("count", tmp_path / "i", "one", "--json")[1])["count"] == 2


def test_an_interrupted_change_says_that_the_index_is_what_it_was(run, tmp_path, monkeypatch):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one"}, {"text": "two one"}])
    assert run("build", corpus, "--out", tmp_path / "i")[0] == 0
    for change in (("add", tmp_path / "i", corpus), ("delete", tmp_path / "i", "--documents", "0")):
        with monkeypatch.context() as patched:
            interrupt(patched, f"{BUILDER}.add")
            code, _, err = run(*change)
        assert code == 130
        said = f"interrupted: '{tmp_path / 'i'}' is unchanged; the same command starts over"
        assert err.splitlines()[-1] == said
    with monkeypatch.context() as patched:
        interrupt(patched, f"{BUILDER}.finish")
        assert "keeps what is finished (2 documents read" in run("add", tmp_path / "i", corpus)[2]
    with monkeypatch.context() as patched:
        interrupt(patched, "everygram.storage.directory._remove_orphans", after=1)
        code, _, err = run("add", tmp_path / "i", corpus)
    assert (code, err.splitlines()[-1]) == (
        130,
        f"interrupted: '{tmp_path / 'i'}' is complete already",
    )
    assert json.loads(run("count", tmp_path / "i", "one", "--json")[1])["count"] == 4


def test_a_memory_limit_below_what_is_needed_says_the_least(run, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one"}])
    least = "takes about 225 MiB at least, besides about 100 MiB for Python"
    code, _, err = run("build", corpus, "--out", tmp_path / "i", "--memory", "100M")
    assert code == 0 and f"--memory 100M is too little: this {least}" in err
    code, _, err = run("add", tmp_path / "i", corpus, "--memory", "100M")
    assert code == 0 and least in err
    for command in (("compact", "--full"), ("delete", "--documents", "0")):
        code, _, err = run(command[0], tmp_path / "i", *command[1:], "--memory", "1M")
        assert code == 0 and "takes about 33 MiB at least" in err
    for enough in ("300MiB", "1GiB"):
        assert "too little" not in run("add", tmp_path / "i", corpus, "--memory", enough)[2]
    for nonsense in ("much", "0", "-1"):
        code, _, err = run("build", corpus, "--out", tmp_path / "j", "--memory", nonsense)
        assert code == 2 and "memory: expected" in err


def test_numbers_of_documents_from_a_file_and_standard_input(run, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": str(i)} for i in range(9)])
    assert run("build", corpus, "--out", tmp_path / "i")[0] == 0

    def delete(*options, stdin=""):
        code, out, err = run("delete", tmp_path / "i", *options, "--json", stdin=stdin)
        return (code, json.loads(out)["documents"]) if code == 0 else (code, err)

    (tmp_path / "numbers").write_text("1\n2\n\n")
    assert delete("--documents", tmp_path / "numbers") == (0, [1, 2])
    (tmp_path / "numbers.csv").write_bytes(b"\xef\xbb\xbf1\r\n2\r\n")  # as spreadsheets do
    assert delete("--documents", tmp_path / "numbers.csv", "--dry-run", "--missing-ok") == (0, [])
    assert delete("--documents", "-", stdin="3, 4\n5") == (0, [3, 4, 5])
    assert delete("--documents", "-", stdin="[6]") == (0, [6])
    assert delete("--documents", "-", stdin="") == (0, [])
    code, said = delete("--documents", tmp_path / "numbers")
    assert code == 2 and "document 1: it was deleted" in said
    assert delete("--documents", tmp_path / "numbers", "--missing-ok") == (0, [])
    assert delete("--documents", "5,6,7", "--missing-ok") == (0, [7])
    code, said = delete("--documents", "8,9", "--missing-ok")
    assert code == 2 and "document 9: the index has 0 to 8" in said
    code, said = delete("--where", "a=b", "--missing-ok")
    assert code == 2 and "--missing-ok: goes with documents" in said
    code, said = delete("--documents", tmp_path / "none")
    assert code == 2 and "a file of them, or -, found" in said and "No such file" in said
    (tmp_path / "numbers").write_bytes(b"1\n\xff\n")
    code, said = delete("--documents", tmp_path / "numbers")
    assert code == 2 and "a file of them, or -" in said
    (tmp_path / "numbers").write_text("1\ntwo\n")
    code, said = delete("--documents", tmp_path / "numbers")
    assert code == 2 and "numbers: expected integers like 1,2,3, found 'two'" in said


def test_an_addition_reports_in_json(run, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one two"}, {"text": "two"}])
    assert run("build", corpus, "--out", tmp_path / "i")[0] == 0
    code, out, _ = run("add", tmp_path / "i", corpus, "--json")
    assert code == 0
    report = json.loads(out)
    assert (report["num_documents"], report["num_tokens"]) == (2, 10)
    assert json.loads(run("info", tmp_path / "i", "--json")[1])["num_documents"] == 4


def test_sizes_times_and_numbers_are_shown_as_people_read_them():
    assert [show.sized(size) for size in (1, 999_999, 51_230_000, 51_230_000_000)] == [
        "1 byte",
        "999,999 bytes",
        "51.2 MB",
        "51.2 GB",
    ]
    times = [show_indexing._time(seconds) for seconds in (0.2, 6, 61, 7_384)]
    assert times == ["0 s", "6 s", "1:01", "2:03:04"]
    numbers = [show_indexing._estimated(number) for number in (350, 5_123_456, 51_234_567)]
    assert numbers == ["350", "5.1 M", "51 M"]
    rates = show_indexing._rates(Progress("read", 0, 0, 1, 1, 1.0, 1.0))
    assert rates.startswith("1 document, 1 token, ")


def test_a_compaction_that_takes_more_space_says_so():
    answer = {
        "segments_before": 2,
        "segments_after": 1,
        "dropped_documents": 0,
        "dropped_tokens": 0,
        "index_bytes": 300_000,
        "freed_bytes": -126_262,
        "seconds": {"merge": 1.0},
        "peak_bytes": 0,
    }
    assert "300,000 bytes on disk, 126,262 bytes more than before; " in (
        show_indexing.show_compaction(answer)
    )
    answer["freed_bytes"] = 5
    assert "5 bytes freed; " in show_indexing.show_compaction(answer)


def test_a_new_index_says_how_to_ask_it(run, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one two"}])
    _, out, _ = run("build", corpus, "--out", tmp_path / "my index")
    last = out.splitlines()[-1]
    assert last == f"""ask it: everygram count '{tmp_path / "my index"}' "some words\""""
    assert run(*shlex.split(last.removeprefix("ask it: "))[1:])[0] == 0
    np.array([0, 5, 6, 8, 7, 0], "<u2").tofile(tmp_path / "ids.bin")
    options = ("--pretokenized", "u16", "--separator-id", "0")
    _, out, _ = run("build", tmp_path / "ids.bin", "--out", tmp_path / "ids", *options)
    last = out.splitlines()[-1]
    assert last == f"ask it: everygram count {tmp_path / 'ids'} --ids 5,6,8"
    code, out, _ = run(*shlex.split(last.removeprefix("ask it: "))[1:])
    assert (code, out.splitlines()[0]) == (0, "count     1")


def test_a_corpus_without_documents_is_warned_of(run, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "rows.csv").write_text("body\none\ntwo\n")
    skip = ("--on-error", "skip")
    for number, (corpus, said) in enumerate(
        [
            ("-", "-: the index is empty\n"),
            (tmp_path / "empty.jsonl", "empty.jsonl: the index is empty\n"),
            (tmp_path / "rows.csv", "the index is empty; 2 skipped, the first: "),
        ]
    ):
        code, out, err = run("build", corpus, "--out", tmp_path / str(number), *skip)
        assert code == 0 and "ask it" not in out
        assert "warning: no documents were read from " in err and said in err
        assert (
            "warning" in run("build", corpus, "--out", tmp_path / f"{number}j", *skip, "--json")[2]
        )
    full = write_jsonl(tmp_path / "c.jsonl", [{"text": "one two"}])
    assert "warning" not in run("build", full, "--out", tmp_path / "full")[2]
    code, _, err = run("add", tmp_path / "full", tmp_path / "empty.jsonl")
    assert code == 0 and "empty.jsonl: the index is what it was\n" in err


def test_what_is_not_read_or_skipped_is_said_once(run, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "c.jsonl").write_text('{"text": "a"}\nnope\n')
    (corpus / "README.md").write_text("about it")
    _, out, err = run("build", corpus, "--out", tmp_path / "i", "--on-error", "skip")
    assert (out + err).count("README.md") == 1
    assert (out + err).count("c.jsonl:2: not a JSON record") == 1
    _, out, _ = run("build", corpus, "--out", tmp_path / "j", "--on-error", "skip", "--dry-run")
    assert "README.md: beside tables or JSON lines, other files are no data; to read one" in out
    assert "skipped         " in out


def test_what_is_missing_for_raw_ids_is_named_alone(run, tmp_path):
    np.array([5, 6, 0, 7], "<u2").tofile(tmp_path / "ids.bin")
    build = ("build", tmp_path / "ids.bin", "--out", tmp_path / "i")
    code, _, err = run(*build, "--pretokenized", "u16")
    assert (
        code == 2 and "do not say where documents end: pass it, as in --separator-id 50256" in err
    )
    assert "--pretokenized" not in err


def test_errors_name_flags(run, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one"}, {"text": "two"}])
    assert run("build", corpus, "--out", tmp_path / "i")[0] == 0
    build = ("build", corpus, "--out", tmp_path / "j")
    for arguments, said in [
        ((*build, "--vocab-size", "9"), "error: --vocab-size goes with --pretokenized: "),
        ((*build, "--memory", "some"), "error: --memory: expected a size"),
        ((*build, "--max-record", "some"), "error: --max-record: expected a size"),
        ((*build, "--text-field", "text_field"), "no field 'text_field'; the record has 'text'"),
        (("delete", tmp_path / "i", "--where", "a=b", "--missing-ok"), "error: --missing-ok: goes"),
    ]:
        code, _, err = run(*arguments)
        assert code in (1, 2) and said in err
    assert run("delete", tmp_path / "i", "--documents", "1")[0] == 0
    code, _, err = run("delete", tmp_path / "i", "--documents", "1")
    assert code == 2
    assert err == "error: document 1: it was deleted; pass --missing-ok to ignore such ones\n"


def test_another_change_names_the_interrupted_one(run, tmp_path, monkeypatch):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one"}])
    assert run("build", corpus, "--out", tmp_path / "i")[0] == 0
    with monkeypatch.context() as patched:
        interrupt(patched, f"{BUILDER}.finish")
        assert run("add", tmp_path / "i", corpus, "--id-field", "missing")[0] == 1
        assert run("add", tmp_path / "i", corpus)[0] == 130
    code, _, err = run("compact", tmp_path / "i")
    assert code == 1
    assert f"holds an interrupted addition of '{corpus}': run it again as it was to" in err
    assert "or discard it with --restart" in err
    code, _, err = run("add", tmp_path / "i", corpus, "--on-error", "skip")
    assert "(--on-error 'raise', now 'skip'): run it again" in err
    assert run("compact", tmp_path / "i", "--restart")[0] == 0
    assert json.loads(run("info", tmp_path / "i", "--json")[1])["num_documents"] == 1


@pytest.mark.parametrize("kind", ["jsonl", "tsv"])
def test_a_field_that_no_record_has_is_warned_of(run, tmp_path, kind):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one", "s": 1}, {"text": "two", "t": 2}])
    if kind == "tsv":
        corpus = tmp_path / "c.tsv"
        corpus.write_text("text\ts\tt\none\t1\t2\n")
    build = ("build", corpus, "--out", tmp_path / "i", "--metadata-fields")
    said = "no record has the metadata field 'sss'; the first has 'text', 's'"
    code, out, _ = run(*build, "sss,t", "--dry-run")
    assert code == 0 and f"so far          {said}" in out
    code, _, err = run(*build, "sss,t")
    assert code == 0 and f"\nwarning: {said}" in err
    _, _, err = run("add", tmp_path / "i", corpus, "--metadata-fields", "s,t")
    assert "warning" not in err
    code, _, err = run("add", tmp_path / "i", corpus, "--metadata-fields", "t,sss")
    assert code == 0 and f"warning: {said}" in err


def test_a_deletion_by_a_field_that_no_document_has_says_so(run, tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "one", "src": "gz"}])
    assert run("build", corpus, "--out", tmp_path / "i")[0] == 0
    for more in ((), ("--dry-run",)):
        _, out, _ = run("delete", tmp_path / "i", "--where", "srx=gz", *more)
        assert out.endswith("deleted, 0 tokens: no document has the field 'srx'\n")
        _, out, _ = run("delete", tmp_path / "i", "--where", "src=xz", *more)
        assert out.endswith("deleted, 0 tokens\n")


@pytest.mark.parametrize("number", [1, 3, 30])
def test_files_that_were_added_before_say_how_to_undo_it(run, tmp_path, number):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": f"one {i}"} for i in range(number)])
    assert "there twice" not in run("build", corpus, "--out", tmp_path / "my i")[1]
    _, out, _ = run("add", tmp_path / "my i", corpus)
    said, _, undo = next(line for line in out.splitlines() if "undo" in line).partition(": ")
    last = 2 * number - 1
    each = f"documents {number} to {last} are" if number > 1 else "document 1 is"
    assert said == f"{each} there twice; to undo it"
    numbers, _, command = undo.rpartition(" | ")
    assert numbers == (f"seq {number} {last}" if number > 10 else "")
    stdin = "\n".join(map(str, range(number, 2 * number)))
    code, out, _ = run(*shlex.split(command)[1:], stdin=stdin)
    assert code == 0 and out.startswith(f"{number} document")
    other = write_jsonl(tmp_path / "d.jsonl", [{"text": "other"}])
    _, out, _ = run("add", tmp_path / "my i", corpus, other)
    assert f"of the new documents {2 * number} to {3 * number}, are there twice" in out


def test_a_continued_build_warns_of_nothing_that_it_did_not_read(run, tmp_path, monkeypatch):
    records = [{"text": "one " * 400_000}, {"text": "two " * 400_000}, {"text": "x", "late": 1}]
    build = ("build", write_jsonl(tmp_path / "c.jsonl", records), "--out", tmp_path / "i")
    with monkeypatch.context() as patched:
        interrupt(patched, f"{BUILDER}.finish")
        code, _, err = run(*build, "--metadata-fields", "late")
    assert code == 130 and "so far          no record has the metadata field 'late'" in err
    code, _, err = run(*build, "--metadata-fields", "late")
    assert code == 0 and "warning" not in err and "continuing: 3 documents were read" in err
