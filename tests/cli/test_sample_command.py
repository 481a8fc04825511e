"""`everygram sample` as a user runs it: prompts in any way, texts or JSON lines, errors."""

import inspect
import json

import pytest
from test_help import defaults_of

import everygram
from everygram.lm import SMOOTHINGS
from everygram.lm.model import LanguageModel

INFGRAM = ["--model", "infgram"]
DEFAULTS = {"seed": 4}


def drawn(index, prompts, **options):
    model = index.language_model(options.pop("model", "infgram"))
    return [each.as_dict() for each in model.sample_batch(prompts, **DEFAULTS | options)]


def lines_of(run, path, *arguments, stdin=b"", code=0):
    given = [*INFGRAM, "--seed", "4", *arguments]
    found, out, err = run("sample", path, *given, stdin=stdin)
    assert found == code, err
    return [json.loads(line) for line in out.splitlines()]


def test_a_text_is_printed(run, path, text_index):
    given = [*INFGRAM, "--max-tokens", "6"]
    assert run("sample", path, "the quick", *given) == (0, " brown\n", "")
    greedy = text_index.language_model("infgram").sample("the", temperature=0, max_tokens=6)
    assert run("sample", path, "the", *given, "--greedy") == (0, f"{greedy.text}\n", "")


def test_several_texts_are_kept_apart(run, path, text_index):
    given = [*INFGRAM, "--seed", "4", "--samples", "3", "--max-tokens", "200"]
    code, out, _ = run("sample", path, "natural", *given)
    texts = drawn(text_index, ["natural"] * 3, max_tokens=200)
    assert code == 0 and {each["finished"] for each in texts} == {"document_end"}
    shown = [
        f"--- {number} of 3: {len(each['token_ids'])} tokens, end of document\n{each['text']}\n"
        for number, each in enumerate(texts, 1)
    ]
    assert out == "".join(shown)
    assert (
        "--- 1 of 2: 1 token, cut\n"
        in run("sample", path, "th", *INFGRAM, "--samples", "2", "--max-tokens", "1")[1]
    )


def test_json_is_a_line_per_text(run, path, text_index):
    found = lines_of(run, path, "the", "--json", "--samples", "4")
    assert found == drawn(text_index, ["the"] * 4)
    assert lines_of(run, path, "--ids", "116,104", "--json") == drawn(text_index, [[116, 104]])
    assert lines_of(run, path, "--json") == drawn(text_index, [[]])


def test_options_are_those_of_the_model(run, path, text_index):
    given = {"temperature": 0.5, "top_k": 3, "top_p": 0.9, "max_context": 2, "max_tokens": 12}
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    assert lines_of(run, path, "na", "--json", *flags) == drawn(text_index, ["na"], **given)
    assert lines_of(run, path, "na", "--json", "--greedy") == drawn(
        text_index, ["na"], temperature=0
    )
    # (`lines_of` names a model first; the last one counts.)
    floor = ["--model", "infgram-floor", "--weights", "0.5,0.5"]
    model = text_index.language_model("infgram-floor", weights=(0.5, 0.5))
    found = lines_of(run, path, "na", "--json", *floor)
    assert found == [model.sample("na", seed=4).as_dict()]


def test_a_prompt_may_begin_a_document(run, path, text_index, tmp_path, texts):
    found = lines_of(run, path, "the q", "--document-start", "--json")
    assert found == drawn(text_index, [[255, *b"the q"]])
    assert found[0]["text"] == "uick brown fox jumps over the lazy dog"
    assert lines_of(run, path, "--document-start", "--json") == drawn(text_index, [[255]])
    assert lines_of(run, path, "--ids", "116", "--document-start", "--json") == drawn(
        text_index, [[255, 116]]
    )
    # It is encoded as documents are, a query with a prefix.
    from conftest import write_jsonl

    corpus = write_jsonl(tmp_path / "corpus.jsonl", [{"text": text} for text in texts])
    everygram.build(corpus, tmp_path / "index", "train:270")
    with everygram.open(tmp_path / "index") as index:
        for flags, ids in (
            (["--document-start"], [index.separator, *index.document(1).token_ids[:3].tolist()]),
            (["--raw"], index.encode("the quick", raw=True).tolist()),
            ([], index.encode("the quick").tolist()),
        ):
            text = index.decode(ids) if "--document-start" in flags else "the quick"
            (found,) = lines_of(run, tmp_path / "index", text, "--json", *flags)
            assert found["prompt_ids"] == ids, flags


def test_prompts_of_standard_input(run, path, text_index):
    found = lines_of(run, path, "-", stdin=b"the\nna\n", code=0)
    assert found == drawn(text_index, ["the", "na"])
    found = lines_of(run, path, "-", "--samples", "2", stdin=b"the\nna\n")
    assert found == drawn(text_index, ["the", "the", "na", "na"])
    found = lines_of(run, path, "--ids", "-", stdin=b"116 104\n\n[110]\n")
    assert found == drawn(text_index, [[116, 104], [], [110]])
    records = b'{"p": "the"}\n\n{"p": "na"}\n'
    found = lines_of(run, path, "-", "--text-field", "p", stdin=records)
    assert found == drawn(text_index, ["the", "na"])
    assert lines_of(run, path, "-") == []


def test_a_line_that_is_no_prompt_is_told(run, path, text_index):
    stdin = b"116\nx\n999\n110\n"
    found = lines_of(run, path, "--ids", "-", stdin=stdin, code=1)
    good = drawn(text_index, [[116], [110]])
    assert (found[0], found[3]) == tuple(good)
    assert found[1] == {"error": "line 2: --ids: expected integers like 1,2,3, found 'x'"}
    assert found[2]["error"].startswith("line 3: query[0]: token id 999 is outside")
    found = lines_of(run, path, "-", stdin=b"the\n\xff\n", code=1)
    assert found[1]["error"].startswith("line 2: not UTF-8: byte 1 is 0xff")


def test_ids_are_printed_without_a_tokenizer(run, tmp_path):
    (tmp_path / "ids.bin").write_bytes(bytes([0, 1, 2, 3, 0, 1, 2, 3]))
    everygram.build(
        tmp_path / "ids.bin", tmp_path / "index", pretokenized="u8", separator_id=0, vocab_size=9
    )
    assert run("sample", tmp_path / "index", "--ids", "1", *INFGRAM) == (0, "2 3\n", "")
    code, _, err = run("sample", tmp_path / "index", "a", *INFGRAM)
    assert code == 1 and "has no tokenizer" in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["a", "--ids", "1"], "expected a prompt or --ids, found both"),
        (["a", "--text-field", "p"], "--text-field goes with -"),
        (["a", "--greedy", "--temperature", "1"], "--greedy is --temperature 0"),
        (["a", "--raw", "--document-start"], "--raw does not go with --document-start"),
        (["a", "--temperature", "-1"], "temperature: expected 0 or more, found -1.0"),
        (["a", "--temperature", "nan"], "temperature: expected a number, found nan"),
        (["a", "--top-p", "0"], "top_p: expected more than 0, up to 1, found 0.0"),
        (["a", "--top-k", "0"], "--top-k"),
        (["a", "--max-tokens", "-1"], "--max-tokens"),
        (["a", "--max-context", "-1"], "--max-context"),
        (["a", "--samples", "0"], "--samples"),
        (["a", "--seed", "x"], "--seed"),
        (["--ids", "999"], "token id 999 is outside"),
        (["a", "--model", "gpt"], "--model"),
    ],
)
def test_what_makes_no_sense_is_refused(run, path, arguments, says):
    code, out, err = run("sample", path, *INFGRAM, *arguments)
    assert (code, out) == (2, "") and says in err


def test_the_defaults_are_those_of_python():
    shell = defaults_of("sample", "INDEX")
    method = inspect.signature(LanguageModel.sample).parameters
    options = {*method} - {"self", "prompt", "number"}
    assert {name: shell[name] for name in options} == {
        name: method[name].default for name in options
    }
    batch = inspect.signature(LanguageModel.sample_batch).parameters
    assert {name: batch[name].default for name in options} == {
        name: method[name].default for name in options
    }
    assert shell["smoothing"] == SMOOTHINGS[0]
