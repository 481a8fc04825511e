"""Queries as a user asks them: answers in words, as JSON, over standard input, with bad lines."""

import itertools
import json
import re

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.cli import answering, ngrams

# Those that are searched together, and those that are not.
BATCHED = ["count", "prob", "ntd", "infgram-prob", "infgram-ntd"]
QUERIES = [*BATCHED, "score", "longest-matches", "find", "document"]


def test_count(run, path):
    assert run("count", path, "the") == (
        0,
        "count     7\nquery     't' 'h' 'e'   ids 116 104 101\n",
        "",
    )
    code, out, _ = run("count", path, "the", "--json")
    assert code == 0
    assert json.loads(out) == {"count": 7, "tokens": ["t", "h", "e"], "token_ids": [*b"the"]}
    for ids in ("116,104,101", "116 104 101", "[116, 104, 101]"):
        assert run("count", path, "--ids", ids, "--json")[1] == out
    assert run("count", path, "xyzzy")[:2][0] == 0


@pytest.mark.parametrize("command", QUERIES)
def test_every_query_answers_people_and_programs(run, path, command):
    """--json is what the Python API's as_dict gives; people get text with the same numbers."""
    code, out, err = run(command, path, "the")
    assert (code, err) == (0, "")
    assert not out.startswith("{")
    code, out, _ = run(command, path, "the", "--json")
    assert code == 0
    assert "token_ids" in json.loads(out)
    ids = run(command, path, "--ids", "116,104,101", "--json")[1]
    assert ids == out
    lines = run(command, path, "-", stdin="the\nthe\r\n")
    assert lines[:2] == (0, out + out)
    lines = run(command, path, "--ids", "-", stdin="116,104,101\n[116, 104, 101]\n")
    assert lines[:2] == (0, out + out)


def test_all_occurrences_are_listed_when_told_to(run, path):
    out = run("find", path, "e", "--limit", "all", "--json")[1]
    assert len(json.loads(out)["occurrences"]) == json.loads(out)["count"] == 13
    rest = run("find", path, "e", "--limit", "all", "--offset", "10", "--json")[1]
    assert json.loads(rest)["occurrences"] == json.loads(out)["occurrences"][10:]
    assert len(run("find", path, "e", "--limit", "all")[1].splitlines()) == 3 + 13
    lines = run("find", path, "-", "--limit", "all", stdin="e\nthe\n")[1].splitlines()
    assert [len(json.loads(line)["occurrences"]) for line in lines] == [13, 7]
    for limit in ("most", "-1", "1.5", ""):
        code, _, err = run("find", path, "e", "--limit", limit)
        assert code == 2 and "--limit" in err and "expected 0 or more, or all" in err


def test_the_answers_in_words(run, path):
    assert "prob      1 = 3 / 3" in run("prob", path, "natural l", "--continuation", "a")[1]
    assert "prob      1 = 3 / 3" in run("prob", path, "natural l", "--continuation-id", "97")[1]
    assert "undefined: the prompt does not occur" in run("prob", path, "zzz")[1]
    out = run("ntd", path, "e", "--top", "1")[1]
    assert "after     the whole prompt: 13 occurrences, 5 different tokens next" in out
    out = run("infgram-ntd", path, "zz natural lang")[1]
    assert "after     the last 13 of its 15 tokens: 1 occurrence, 1 different token next" in out
    out = run("ntd", path, "e", "--top", "1")[1]
    assert "more (--all shows them)" in out
    assert "more (--all" not in run("ntd", path, "e", "--all")[1]
    out = run("document", path, "quick", "--context", "4")[1]
    assert "the »quick« bro" in out
    assert "lang: en" in out
    assert run("document", path, "--number", "3")[1].endswith("\nnatural language\n")
    assert "occurrence 0 of 1, at tokens 4–8" in run("document", path, "quick")[1]
    assert "at token " in run("document", path, "q", "--context", "0")[1]
    separator = run("document", path, "--ids", "255", "--context", "3")[1]
    assert "at no tokens\n" in separator and ", tokens 0–2 shown" in separator
    assert "separator          255\n" in run("info", path)[1]
    listed = run("find", path, "the", "--limit", "2")[1].splitlines()
    assert len(listed) == 2 + 1 + 2


def test_an_answer_that_is_not_exact_says_so(run, path):
    exact = run("ntd", path, "e")[1]
    assert run("ntd", path, "e", "--max-support", "13")[1] == exact
    assert "exact" not in exact
    for command in ("ntd", "infgram-ntd"):
        out = run(command, path, "e", "--max-support", "5")[1]
        assert "counts may be off by 2; tokens that follow at most 2 times may be missing" in out
        answer = json.loads(run(command, path, "e", "--max-support", "5", "--json")[1])
        assert (answer["exact"], answer["error_bound"]) == (False, 2)
        line = run(command, path, "-", "--max-support", "5", stdin="e")[1]
        assert json.loads(line) == answer


def test_score(run, path):
    out = run("score", path, "the quz")[1]
    assert re.sub(" +", " ", out).splitlines() == [
        "model ∞-gram",
        " prob count of suffix_len id token",
        " 0.058824 11 187 0 116 't'",
        " 0.727273 8 11 1 104 'h'",
        " 0.875000 7 8 2 101 'e'",
        " 0.857143 6 7 3 32 ' '",
        " 0.166667 1 6 4 113 'q'",
        " 1.000000 1 1 5 sparse 117 'u'",
        " 0.000000 0 1 6 sparse 122 'z'",
    ]
    out = run("score", path, "zz", "--order", "2")[1]
    assert out.startswith("model     2-gram\n")
    assert run("score", path, "zzx", "--order", "3")[1].count("undefined") == 1
    assert run("score", path, "")[1] == "model     ∞-gram\ntext      (empty)\n"


def test_longest_matches(run, path):
    out = run("longest-matches", path, "natural lax!")[1]
    lines = re.sub(" +", " ", out).splitlines()
    assert lines[:3] == ["longest 10 tokens", " length count id token", " 10 3 110 'n'"]
    assert lines[-1] == " 0 0 33 '!'"
    assert run("longest-matches", path, "")[1] == "longest   0 tokens\ntext      (empty)\n"


@pytest.mark.parametrize("command", BATCHED)
def test_many_lines_are_searched_together(run, path, monkeypatch, command):
    """Over several groups, bad lines among them, each line is answered as it is alone."""
    monkeypatch.setattr(answering, "GROUP", 300)
    monkeypatch.setattr(ngrams, "DISTRIBUTIONS", 50)
    options = ["--continuation-id", "101"] if command.endswith("prob") else []
    lines = ["t,h", "999", "116", "104,101", "", "116,999,1", "255", "7,116,104"]
    alone, codes = [], []
    for line in lines:
        code, out, _ = run(command, path, "--ids", "-", *options, stdin=line + "\n")
        alone.append(out)
        codes.append(code)
    assert codes == [1, 1, 0, 0, 0, 1, 0, 0]
    given = "\n".join(lines * 100)
    code, out, _ = run(command, path, "--ids", "-", *options, stdin=given)
    assert code == 1
    numbers = itertools.count(1)
    numbered = [out.replace("line 1:", f"line {next(numbers)}:") for out in alone * 100]
    assert out == "".join(numbered)
    good = "".join(f"{line}\n" for line in lines[2:5] * 200)
    assert run(command, path, "--ids", "-", *options, stdin=good)[:2] == (
        0,
        "".join(alone[2:5]) * 200,
    )


@pytest.mark.parametrize("command", BATCHED)
def test_ids_that_fit_the_tokens_but_not_the_vocabulary(run, tmp_path, command):
    np.array([5, 6, 0, 7], "<u2").tofile(tmp_path / "ids.bin")
    options = ("--pretokenized", "u16", "--separator-id", "0", "--vocab-size", "400")
    assert run("build", tmp_path / "ids.bin", "--out", tmp_path / "i", *options)[0] == 0
    code, out, _ = run(command, tmp_path / "i", "--ids", "-", stdin="5,6\n401,6\n6,401\n5,6\n")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert answers[0] == answers[3] and answers[0]["token_ids"]
    for number in (1, 2):
        said = f"line {number + 1}: query[{number - 1}]: token id 401 is outside the vocabulary"
        assert answers[number]["error"].startswith(f"{said}: expected 0 to 399")


def test_a_prompt_without_a_continuation_is_a_bad_line(run, path):
    code, out, _ = run("prob", path, "-", stdin="the\n\nthe")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert "the query is empty" in answers[1]["error"]
    assert answers[0] == answers[2] and answers[0]["prob"] == 7 / 8


def test_standard_input_is_cut_at_line_ends_alone(run, path):
    """However much of it comes at a time, and whatever is in it."""
    long = "the " * 600_000
    code, out, _ = run("count", path, "-", stdin=f"a\u2028b\r\n{long}\n\nlé\n".encode())
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [len(answer["token_ids"]) for answer in answers] == [5, len(long), 0, 3]
    assert run("count", path, "-", stdin="")[:2] == (0, "")


def test_a_bad_line_of_standard_input_does_not_stop_the_others(run, path, texts):
    code, out, _ = run("count", path, "--ids", "-", stdin="116\n999\nx\n\n")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert answers[0]["count"] == "".join(texts).count("t")
    assert answers[1]["error"].startswith("line 2: query[0]: token id 999 is outside the voc")
    assert "line 3: --ids: expected integers like 1,2,3, found 'x'" in answers[2]["error"]
    assert answers[3]["token_ids"] == []


RECORDS = [{"doc": {"body": "the"}, "id": 1}, {"doc": {"body": "natural\nlanguage"}}]
LINES = "".join(json.dumps(record) + "\n" for record in RECORDS)


@pytest.mark.parametrize(
    "command", ["count", "prob", "ntd", "infgram-prob", "score", "longest-matches", "find"]
)
def test_a_field_of_json_lines_is_the_query(run, path, command):
    code, out, error = run(command, path, "-", "--text-field", "doc.body", stdin=LINES + "\n \n")
    assert (code, error) == (0, "")
    asked = [run(command, path, record["doc"]["body"], "--json")[1] for record in RECORDS]
    assert [json.loads(line) for line in out.splitlines()] == [json.loads(one) for one in asked]


def test_records_that_have_no_such_field_are_errors(run, path):
    lines = (
        b'{"text": "the"}\n{"txt": 1}\n{"text": 7}\nthe\n["the"]\n{"text": "\xff"}\n{"text": "a"}'
    )
    code, out, _ = run("count", path, "-", "--text-field", "text", stdin=lines)
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [answer.get("count") is None for answer in answers] == [False, *[True] * 5, False]
    assert [answer.get("error", "")[:40] for answer in answers[1:6]] == [
        "line 2: no field 'text'; the record has ",
        "line 3: field 'text': expected a string,",
        "line 4: not a JSON record: Expecting val",
        "line 5: expected a JSON object, found an",
        "line 6: not UTF-8: byte 11 of the line i",
    ]


def test_lines_are_numbered_as_they_stand(run, path, monkeypatch):
    monkeypatch.setattr(answering, "GROUP", 2)
    lines = b'\n{"text": "the"}\n\n  \n{"text": "a"}\n{"text": "b"}\n{"t": 1}\n\n{"t": 2}'
    for command in ("count", "find"):
        _, out, _ = run(command, path, "-", "--text-field", "text", stdin=lines)
        errors = [json.loads(line).get("error") for line in out.splitlines()]
        assert [error and error[:7] for error in errors] == [None] * 3 + ["line 7:", "line 9:"]


def test_lines_that_are_not_utf_8_say_which_byte_is_wrong(run, path):
    code, out, _ = run("count", path, "-", stdin="the\n\né caf".encode() + b"\xe9\nthe\n")
    answers = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert answers[2] == {"error": "line 3: not UTF-8: byte 7 is 0xe9"}
    assert answers[0] == answers[3]


def test_json_lines_that_are_asked_as_they_stand_are_noticed(run, path):
    for command in ("count", "score", "find"):
        code, out, error = run(command, path, "-", stdin=LINES)
        assert code == 0
        assert json.loads(out.splitlines()[0])["tokens"][0] == "{"
        assert error.count("the first line is JSON, and is asked as it stands") == 1
        assert "--text-field" in error
    for given in ("\n \n" + LINES, json.dumps(RECORDS)):
        assert "--text-field" in run("count", path, "-", stdin=given)[2]
    for given in ("the\n" + LINES, "{the\n", '["the"]\n', "[]", "[116]", "{" * 100_000):
        assert run("count", path, "-", stdin=given)[2] == ""


def test_a_text_field_goes_with_standard_input(run, path):
    for arguments in (["the"], ["--ids", "-"], ["--ids", "1"]):
        code, _, error = run("count", path, *arguments, "--text-field", "text")
        assert code == 2
        assert "--text-field goes with - in place of a query" in error
    code, _, error = run("document", path, "--number", "1", "--text-field", "text")
    assert code == 2


def test_a_byte_order_mark_is_no_part_of_a_query(run, path):
    for options, given in (([], "the"), (["--text-field", "text"], '{"text": "the"}')):
        for end in ("", "\nthe \n"):
            _, out, _ = run("count", path, "-", *options, stdin=f"\ufeff{given}{end}")
            assert json.loads(out.splitlines()[0])["tokens"] == ["t", "h", "e"]
    _, out, _ = run("count", path, "--ids", "-", stdin="\ufeff116,104\n")
    assert json.loads(out)["token_ids"] == [116, 104]


def test_a_text_is_counted_in_occurrences_and_documents(run, path, text_index):
    found = text_index.find_text("he", limit=0)
    out = run("count", path, "he", "--text", "--json")[1]
    assert json.loads(out) == {
        "text": "he",
        "count": found.count,
        "document_count": found.document_count,
    }
    shown = run("count", path, "he", "--text")[1]
    documents = f"{found.document_count} document{'s' * (found.document_count != 1)}"
    assert shown == f"count     {found.count}, in {documents}\ntext      'he'\n"
    for options in (["--ignore-case"], ["--whole-words"], ["--ignore-case", "--whole-words"]):
        rules = {option[2:].replace("-", "_"): True for option in options}
        answer = json.loads(run("count", path, "THE", "--text", *options, "--json")[1])
        assert answer["count"] == text_index.count_text("THE", **rules)
        assert answer["document_count"] == text_index.document_count_text("THE", **rules)
    lines = run("count", path, "-", "--text", stdin="he\nthe\n")[1].splitlines()
    assert [json.loads(line)["count"] for line in lines] == [found.count, 7]


def test_a_text_is_found(run, path, text_index):
    out = run("find", path, "he", "--text", "--limit", "3", "--offset", "1", "--json")[1]
    assert json.loads(out) == text_index.find_text("he", limit=3, offset=1).as_dict()
    shown = run("find", path, "he", "--text", "--limit", "3")[1].splitlines()
    assert shown[2].split() == ["document", "start", "end", "token_start", "token_end"]
    place = text_index.find_text("he")[0]
    assert shown[3].split() == [
        f"{value}"
        for value in (place.document, place.start, place.end, place.token_start, place.token_end)
    ]
    out = run("document", path, "he", "--text", "--occurrence", "2", "--context", "3", "--json")[1]
    assert json.loads(out) == text_index.document(text="he", occurrence=2, context=3).as_dict()


@pytest.mark.parametrize("options", [["the"], ["he", "--text"]])
def test_a_concordance_has_its_matches_below_one_another(run, path, text_index, options):
    asked = ["find", path, *options, "--context", "6", "--limit", "5"]
    out = run(*asked, "--json")[1]
    found = text_index.find_text("he", limit=5, context=6)
    if "--text" not in options:
        found = text_index.find("the", limit=5, context=6)
    assert json.loads(out) == found.as_dict()
    lines = run(*asked)[1].splitlines()[2:]
    assert len(lines) == 5
    assert len({line.index("»") for line in lines}) == 1
    for line, place in zip(lines, found, strict=True):
        before, match, after = (part.replace("\n", " ") for part in place.parts)
        assert line == f"{place.document:>10}  {line[12:].split('»')[0]}»{match}«{after}".rstrip()
        assert line[12:].split("»")[0].lstrip() == before.lstrip()


def test_options_of_texts_go_with_texts(run, path):
    for options, says in [
        (["the", "--ignore-case"], "--ignore-case goes with --text"),
        (["the", "--whole-words"], "--whole-words goes with --text"),
        (["--ids", "1", "--text"], "--ids does not go with --text"),
        (["the", "--raw", "--text"], "--raw does not go with --text"),
    ]:
        for command in ("count", "find", "document"):
            code, _, err = run(command, path, *options)
            assert code == 2 and says in err
    code, _, err = run("document", path, "--number", "0", "--text")
    assert code == 2 and "not both" in err
    code, _, err = run("count", path, "", "--text")
    assert code == 2 and "text" in err
    assert run("document", path, "xyzzy", "--text")[0] == 2


def test_the_tokenizations_of_a_text(run, tmp_path):
    corpus = write_jsonl(tmp_path / "a.jsonl", [{"text": "a cat, cats, a cat; scatter"}] * 9)
    everygram.build(corpus, tmp_path / "index", "train:300")
    out = run("count", tmp_path / "index", "cat", "--text", "--tokenizations", "50", "--json")[1]
    answer = json.loads(out)
    with everygram.open(tmp_path / "index") as index:
        assert answer == {
            **index.tokenizations("cat").as_dict(),
            "document_count": 9,
        }
    assert answer["count"] == 36 == sum(each["count"] for each in answer["tokenizations"])
    assert len(answer["tokenizations"]) == answer["tokenization_count"] > 1
    for each in answer["tokenizations"]:
        spelled = "".join(each["tokens"])
        assert spelled[each["offset"] :].startswith("cat")
    shown = run("count", tmp_path / "index", "cat", "--text", "--tokenizations", "1")[1]
    lines = shown.splitlines()
    first = answer["tokenizations"][0]
    assert lines[3].split()[:2] == [str(first["count"]), str(first["offset"])]
    assert lines[4].split() == [
        str(36 - first["count"]), "in", str(answer["tokenization_count"] - 1), "other", "sequences",
    ]  # fmt: skip


def test_a_search_answers_people_and_programs(run, path, text_index):
    out = run("search", path, "natural AND NOT fox", "--json")[1]
    assert json.loads(out) == text_index.search("natural AND NOT fox").as_dict()
    shown = run("search", path, "natural AND language", "--limit", "1", "--context", "4")[1]
    assert shown.startswith("found     2 documents, 6 occurrences\n")
    assert "search    natural AND language\n" in shown
    assert "»natural« »language« pro" in shown
    cursor = re.search(r"^more      --cursor (\S+)$", shown, re.MULTILINE)[1]
    rest = run("search", path, "natural AND language", "--cursor", cursor, "--json")[1]
    assert [hit["document"] for hit in json.loads(rest)["hits"]] == [3]
    lines = run("search", path, "-", stdin="the\n(\nnatural\n")
    assert lines[0] == 1
    answers = [json.loads(line) for line in lines[1].splitlines()]
    assert [each.get("document_count") for each in answers] == [2, None, 2]
    assert answers[1]["error"].startswith("line 2: expression, character 2: expected")


def test_a_search_shows_no_control_characters(run, tmp_path):
    # (The right-to-left override and isolate would turn the rest of the line around.)
    text = "a\x1b[2J fox\x00 \u202e\u2067 \x07\n end"
    corpus = write_jsonl(tmp_path / "a.jsonl", [{"text": text}])
    everygram.build(corpus, tmp_path / "index", "bytes")
    out = run("search", tmp_path / "index", "fox")[1]
    assert out.splitlines()[-1] == "  a [2J »fox« end"


def test_a_search_takes_its_options(run, path, text_index):
    for options, given in [
        (["--within", "5"], {"within": 5}),
        (["--within", "document", "--order", "bm25", "--k1", "2"], {"order": "bm25", "k1": 2.0}),
        (["--where", "lang=en", "--limit", "all"], {"where": ("lang", "en"), "limit": None}),
        (["--sample", "1", "--seed", "4"], {"sample": 1, "seed": 4}),
        (["--max-clause-freq", "1"], {"max_clause_freq": 1}),
    ]:
        out = run("search", path, "natural OR the", *options, "--json")[1]
        assert json.loads(out) == text_index.search("natural OR the", **given).as_dict(), options
        assert run("search", path, "natural OR the", *options)[0] == 0
    assert "windows of at most 5 tokens" in run("search", path, "the", "--within", "5")[1]
    assert "exact     no" in run("search", path, "the", "--max-clause-freq", "1")[1]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "expected an expression, found none"),
        (["the AND"], "the AND\n         ^"),
        (["the", "--where", "lang"], "--where: expected FIELD=VALUE, found 'lang'"),
        (["the", "--within", "0"], "expected 1 or more tokens, or document, found '0'"),
        (["the", "--sample", "2", "--limit", "3"], "expected --sample or --limit, not both"),
        (["-", "--cursor", "x"], "--cursor goes with one expression"),
        (["the", "--cursor", "x"], "cursor: expected that of an earlier answer"),
        (["the", "--order", "rank"], "'rank'"),
    ],
)
def test_what_is_no_search(run, path, options, says):
    code, _, err = run("search", path, *options)
    assert code == 2
    assert says in err
