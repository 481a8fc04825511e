"""Queries of language models, drafts, and encodings: their answers are the Python API's."""

import gc
import json
import math
import shutil
import weakref
from typing import get_args

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.lm import SMOOTHINGS
from everygram.server import problems
from everygram.server.answering import OPERATIONS, answer
from everygram.server.calls import Call
from everygram.server.indexes import Indexes
from everygram.server.models.language import Model
from everygram.server.routes import language
from everygram.server.settings import Settings

TEXTS = [
    "natural language processing",
    "natural language",
    "the natural sciences — 日本語 and languages",
    "language models process language",
    "it was the best of times, it was the worst of times",
]
DOCUMENTS = [[1, 2, 3], [1, 2, 4, 1, 2, 3], [], [500, 1, 2]]
FLOOR = {"smoothing": "infgram-floor"}
INFGRAM = {"smoothing": "infgram"}
KN3 = {"order": 3, "discount_fallback": [0.5, 1, 1.5]}
KN = {"discount_fallback": [0.5, 1, 1.5]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """`corpus`, of text, and `ids`, which has no tokenizer, both prepared; `bare`, which is not."""
    folder = tmp_path_factory.mktemp("language")
    records = [{"text": text} for text in TEXTS]
    source = write_jsonl(folder / "corpus.jsonl", records)
    everygram.build(source, folder / "corpus", "train:300")
    everygram.build(source, folder / "bare", "bytes")
    stream = [token for document in DOCUMENTS for token in [0, *document]]
    np.array(stream, "<u2").tofile(folder / "ids.bin")
    options = {"pretokenized": "u16", "separator_id": 0, "vocab_size": 501}
    everygram.build(folder / "ids.bin", folder / "ids", **options)
    for name in ("corpus", "ids"):
        everygram.prepare(folder / name)
    return folder


@pytest.fixture(scope="module")
def settings(folder):
    names = ("corpus", "ids", "bare")
    return Settings(indexes={name: folder / name for name in names})


@pytest.fixture(scope="module")
def indexes(settings):
    return Indexes(settings)


@pytest.fixture(scope="module")
def ask(indexes, settings):
    """An operation's status and answer; **limits: other settings."""

    def asked(operation, body, name="corpus", **limits):
        call = Call(operation, name, json.dumps(body).encode())
        found = answer(call, indexes, settings.model_copy(update=limits))
        return found.status, json.loads(found.body)

    return asked


def lm(index, model, **_):
    return index.language_model(**model)


def texts_of(index, ids):
    """What results say of ids."""
    found = index.count([int(i) for i in ids]).as_dict()
    return {"token_ids": found["token_ids"], "tokens": found["tokens"]}


def lm_prob(index, query, model, continuation=None, raw=False):
    ids = index.encode_prob(query, continuation, raw=raw).tolist()
    whole = texts_of(index, ids)["tokens"]
    return texts_of(index, ids[:-1]) | {
        "continuation_id": ids[-1],
        "continuation": whole and whole[-1],
        "prob": lm(index, model).prob(query, continuation, raw=raw),
    }


def log_probs(index, text, model, document_start=False, raw=False):
    found = lm(index, model).log_probs(text, document_start=document_start, raw=raw)
    values = [None if value == -math.inf else value for value in found.tolist()]
    return texts_of(index, index.encode(text, raw=raw)) | {"log_probs": values}


def next_probs(index, prompt, model, top=10, raw=False):
    used = lm(index, model)
    found = used.distribution(prompt, raw=raw).tolist()
    order = sorted((-prob, place) for place, prob in enumerate(found) if prob > 0)
    ids = [used.separator if i == used.vocab_size else i for _, i in order[:top]]
    tokens = texts_of(index, ids)["tokens"] or [None] * len(ids)
    return texts_of(index, index.encode(prompt, raw=raw)) | {
        "normalized": used.normalized,
        "next": [
            {"token_id": token_id, "token": token, "prob": -less}
            for token_id, token, (less, _) in zip(ids, tokens, order, strict=False)
        ],
    }


def longest_suffix(index, prompt, raw=False):
    (length,) = lm(index, INFGRAM).longest_suffix_batch([prompt], raw=raw)
    return texts_of(index, index.encode(prompt, raw=raw)) | {"suffix_len": length}


def perplexity(index, texts, model, **options):
    return lm(index, model).perplexity(texts, **options).as_dict()


def sample(index, prompt, model, **options):
    return lm(index, model).sample(prompt, **options).as_dict()


def draft(index, context, max_factor=1.0, **options):
    factor = math.inf if max_factor is None else max_factor
    return index.draft(context, max_factor=factor, **options).as_dict()


def encode(index, query, continuation=None, raw=False):
    if continuation is None:
        return texts_of(index, index.encode(query, raw=raw))
    return texts_of(index, index.encode_prob(query, continuation, raw=raw))


def decode(index, token_ids):
    return {"text": index.decode(token_ids)}


PYTHON = {
    each.__name__: each
    for each in (
        lm_prob,
        log_probs,
        next_probs,
        longest_suffix,
        perplexity,
        sample,
        draft,
        encode,
        decode,
    )
}
TEXT_CASES = {
    "lm_prob": [
        {"query": "natural language", "model": FLOOR},
        {"query": "natural", "continuation": 97, "model": INFGRAM, "raw": True},
        {"query": [97], "continuation": "l", "model": KN3, "raw": True},
        {"query": [97], "continuation": 65535, "model": KN},
        {"query": "it was the", "model": {"smoothing": "stupid-backoff", "order": 2}},
    ],
    "log_probs": [
        {"text": "natural languages", "model": INFGRAM},
        {"text": "natural languages", "model": KN, "document_start": True},
        {"text": [97, 65535, 98], "model": KN3},
        {"text": "日本", "model": FLOOR | {"weights": [0.5, 0.25]}, "raw": True},
        {"text": "", "model": FLOOR},
    ],
    "next_probs": [
        {"prompt": "natural", "model": FLOOR},
        {"prompt": "", "model": INFGRAM, "top": None},
        {"prompt": "natural language", "model": KN, "top": 1},
        {"prompt": "zzz", "model": INFGRAM, "top": 0, "raw": True},
        {"prompt": [97, 65535], "model": FLOOR | {"order": 2, "discount_fallback": [0, 1, 2]}},
    ],
    "longest_suffix": [
        {"prompt": "my natural language"},
        {"prompt": [97, 98, 98], "raw": True},
        {"prompt": ""},
    ],
    "perplexity": [
        {"texts": ["it was natural", "language"], "model": FLOOR},
        {"texts": ["it was", [97, 98]], "model": KN3, "document_end": True},
        {"texts": ["zzz"], "model": INFGRAM},
        {"texts": [], "model": KN},
    ],
    "sample": [
        {"prompt": "it was", "model": FLOOR, "seed": 3},
        {"prompt": [65535], "model": KN3, "seed": -1, "temperature": 0.7, "top_k": 9, "top_p": 0.9},
        {"prompt": "", "model": KN, "temperature": 0, "max_tokens": 5},
        {"prompt": "natural", "model": INFGRAM, "seed": 3, "number": 2, "max_context": 1},
        {"prompt": "日本", "model": INFGRAM, "seed": 2**70, "max_tokens": 0, "raw": True},
    ],
    "draft": [
        {"context": "it was the best of times, it was the"},
        {"context": [97], "max_tokens": 1, "min_token_prob": 0, "max_factor": None},
        {
            "context": "natural natural",
            "lookback": 9,
            "max_suffix": 2,
            "max_factor": 3,
            "raw": True,
        },
        {"context": ""},
    ],
    "encode": [
        {"query": "natural language"},
        {"query": "natural language", "raw": True},
        {"query": "natural", "continuation": 97},
        {"query": [97, 98]},
    ],
    "decode": [{"token_ids": [97, 98]}, {"token_ids": [65535, 97]}, {"token_ids": []}],
}
ID_CASES = {
    "lm_prob": [{"query": [1, 2], "continuation": 3, "model": KN3}],
    "log_probs": [{"text": [1, 2, 7], "model": INFGRAM}],
    "next_probs": [{"prompt": [1, 2], "model": FLOOR}],
    "longest_suffix": [{"prompt": [7, 1, 2]}],
    "perplexity": [{"texts": [[1, 2], []], "model": KN}],
    "sample": [{"prompt": [1], "model": FLOOR, "seed": 1}],
    "draft": [{"context": [7, 1]}],
    "encode": [{"query": [1, 65535]}],
}
CASES = [
    (name, operation, cases)
    for name, operations in (("corpus", TEXT_CASES), ("ids", ID_CASES))
    for operation, cases in operations.items()
]


def on_the_wire(value):
    return json.loads(json.dumps(value, allow_nan=False))


@pytest.mark.parametrize(("name", "operation", "cases"), CASES)
def test_every_query_is_answered_as_in_python(ask, indexes, name, operation, cases):
    index = indexes.get(name)
    version = {"index_version": index.version}
    answers = [on_the_wire(PYTHON[operation](index, **body)) for body in cases]
    for body, expected in zip(cases, answers, strict=True):
        assert ask(operation, body, name) == (200, expected | version), body
    batch = ask(operation, {"batch": cases}, name)
    assert batch == (200, {"results": answers, **version})


@pytest.mark.parametrize("operation", TEXT_CASES)
def test_an_answer_has_the_form_that_is_described(ask, operation):
    route = next(
        route for route in language.router.routes + _other_routes() if route.name == operation
    )
    one, batch = route.response_model.__args__
    for body in TEXT_CASES[operation]:
        _, found = ask(operation, body)
        assert one.model_validate(found).model_dump(mode="json") == found
    _, found = ask(operation, {"batch": TEXT_CASES[operation]})
    assert batch.model_validate(found).model_dump(mode="json") == found


def _other_routes():
    from everygram.server.routes import drafts, encoding

    return drafts.router.routes + encoding.router.routes


@pytest.mark.parametrize(
    ("operation", "gone"),
    [
        ("lm_prob", {"token_ids", "tokens"}),
        ("log_probs", {"token_ids", "tokens"}),
        ("next_probs", {"token_ids", "tokens"}),
        ("longest_suffix", {"token_ids", "tokens"}),
        ("sample", {"prompt_ids", "prompt"}),
        ("draft", {"context_ids"}),
    ],
)
def test_without_an_echo_the_query_is_not_in_its_answer(ask, operation, gone):
    body = TEXT_CASES[operation][0]
    _, whole = ask(operation, body)
    expected = {name: value for name, value in whole.items() if name not in gone}
    assert expected.keys() == whole.keys() - gone
    assert ask(operation, body | {"echo": False}) == (200, expected)
    version = expected.pop("index_version")
    batch = {"batch": [body, body], "echo": False}
    assert ask(operation, batch) == (200, {"results": [expected] * 2, "index_version": version})


def test_probability_0_has_no_logarithm(ask):
    _, found = ask("log_probs", {"text": "natural zzz", "model": INFGRAM})
    assert None in found["log_probs"] and found["log_probs"][0] < 0
    _, found = ask("perplexity", {"texts": ["natural zzz"], "model": INFGRAM})
    assert found["zeros"] > 0
    assert found["perplexity"] is found["log_likelihood"] is None
    assert found["perplexity_without_zeros"] > 1


@pytest.mark.parametrize("model", [FLOOR, INFGRAM, KN, KN3])
def test_all_tokens_have_the_whole_probability(ask, model):
    _, found = ask("next_probs", {"prompt": "natural", "top": None, "model": model})
    assert found["normalized"]
    assert math.isclose(sum(each["prob"] for each in found["next"]), 1)
    ids = [each["token_id"] for each in found["next"]]
    assert len(ids) == len({*ids})
    assert (65535 in ids) == (model is not INFGRAM)
    probs = [each["prob"] for each in found["next"]]
    assert probs == sorted(probs, reverse=True) and probs[-1] > 0


def test_samples_of_a_seed_have_numbers(ask, indexes):
    body = {"prompt": "it", "seed": 5, "max_tokens": 20, "model": FLOOR}
    _, found = ask("sample", {"batch": [body | {"number": number} for number in range(6)]})
    model = indexes.get("corpus").language_model(**FLOOR)
    drawn = model.sample_batch(["it"] * 6, seed=5, max_tokens=20)
    assert [each["token_ids"] for each in found["results"]] == [one.token_ids for one in drawn]
    assert len({tuple(one.token_ids) for one in drawn}) > 1


def test_without_a_seed_others_are_drawn_each_time(ask):
    body = {"prompt": "it", "model": FLOOR}
    assert len({tuple(ask("sample", body)[1]["token_ids"]) for _ in range(9)}) > 1


def test_an_index_that_cannot_be_prepared_as_it_is_is_refused(folder, tmp_path):
    shutil.copytree(folder / "corpus", tmp_path / "corpus")
    everygram.delete(tmp_path / "corpus", documents=[0])
    with everygram.open(tmp_path / "corpus") as index:
        with pytest.raises(everygram.QueryError) as error:
            index.language_model()
        detail = problems.refusal_of(error.value, [("corpus", index)]).detail
    assert "deleted documents" in detail and "infgram-floor" not in detail
    assert 'send POST …/compact with {"full": true, "prepare": true}' in detail
    assert "everygram compact" not in detail


@pytest.mark.parametrize("operation", ["lm_prob", "log_probs", "next_probs", "perplexity"])
def test_an_index_that_is_not_prepared_is_refused(ask, folder, operation):
    body = {name: value for name, value in TEXT_CASES[operation][0].items() if name != "model"}
    status, problem = ask(operation, body, "bare")
    assert (status, problem["type"]) == (422, "urn:everygram:problem:bad-query")
    assert "not prepared" in problem["detail"]
    # (What a client can do about it, who has no command line there.)
    assert 'send POST …/compact with {"full": true, "prepare": true}' in problem["detail"]
    assert "; run 'everygram prepare" not in problem["detail"]
    assert "infgram-floor" in problem["detail"]
    assert str(folder) not in json.dumps(problem)


@pytest.mark.parametrize(
    ("operation", "body", "says"),
    [
        ("lm_prob", {"query": "", "model": FLOOR}, "the query is empty"),
        ("lm_prob", {"query": "it", "continuation": "日本語", "model": FLOOR}, "one token"),
        ("next_probs", {"prompt": [999], "model": FLOOR}, "token id 999"),
        ("next_probs", {"prompt": "a", "model": {"smoothing": "nope"}}, "#/model/smoothing"),
        ("next_probs", {"prompt": "a", "model": INFGRAM | {"weights": [0, 0]}}, "weights"),
        ("next_probs", {"prompt": "a", "model": FLOOR | {"weights": [0, 1]}}, "weights"),
        ("next_probs", {"prompt": "a", "model": FLOOR | {"weights": [0]}}, "#/model/weights"),
        ("next_probs", {"prompt": "a", "model": {"kenlm_compat": True}}, "kenlm_compat"),
        ("sample", {"prompt": "a", "top_p": 0}, "#/top_p"),
        ("sample", {"prompt": "a", "number": -1}, "#/number"),
        ("sample", {"prompt": [999], "model": FLOOR}, "token id 999"),
        ("perplexity", {"texts": "a"}, "#/texts"),
        ("perplexity", {"texts": [[999]], "model": FLOOR}, "texts[0]"),
        ("draft", {"context": "a", "max_tokens": 1025}, "#/max_tokens"),
        ("decode", {"token_ids": [999]}, "token id 999"),
        ("decode", {"token_ids": "a"}, "#/token_ids"),
    ],
)
def test_what_has_no_answer_is_refused(ask, operation, body, says):
    status, problem = ask(operation, body)
    assert status == 422 and says in problem["detail"], problem
    # In a batch the query is named.
    status, problem = ask(operation, {"batch": [TEXT_CASES[operation][0], body]})
    assert status == 422 and says.removeprefix("#") in problem["detail"], problem
    assert problem["detail"].startswith("#/batch/1"), problem


@pytest.mark.parametrize("operation", ["log_probs", "perplexity", "sample", "next_probs"])
def test_the_batch_names_the_query_whose_model_is_refused(ask, operation):
    good = TEXT_CASES[operation][0]
    bad = good | {"model": {"smoothing": "infgram", "weights": [0, 0]}}
    status, problem = ask(operation, {"batch": [good, good, bad, bad]})
    assert status == 422
    assert problem["detail"].startswith("#/batch/2: weights"), problem


def test_text_needs_a_tokenizer(ask):
    for operation in ("encode", "log_probs", "perplexity", "draft", "sample"):
        model = {} if operation in ("encode", "draft") else {"model": FLOOR}
        body = TEXT_CASES[operation][0] | model
        status, problem = ask(operation, body, "ids")
        assert status == 422 and "has no tokenizer" in problem["detail"], problem
    status, problem = ask("decode", {"token_ids": [1]}, "ids")
    assert status == 422 and "has no tokenizer" in problem["detail"]


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        ("lm_prob", "query", [97] * 6),
        ("log_probs", "text", [97] * 6),
        ("next_probs", "prompt", "x" * 6 * 256),
        ("longest_suffix", "prompt", [97] * 6),
        ("perplexity", "texts", ["natural language", "a b c d e f"]),
        ("perplexity", "texts", [[97] * 3, [97] * 3]),
        ("sample", "prompt", [97] * 6),
        ("draft", "context", [97] * 6),
        ("encode", "query", [97] * 6),
        ("decode", "token_ids", [97] * 6),
    ],
)
def test_a_query_has_a_limit_of_tokens(ask, operation, field, value):
    model = {} if operation in ("encode", "decode", "draft", "longest_suffix") else {"model": FLOOR}
    if operation == "sample":
        model["max_tokens"] = 1
    status, problem = ask(operation, {field: value} | model, max_query_tokens=5)
    assert (status, problem["type"]) == (422, "urn:everygram:problem:query-too-long"), problem
    assert problem["errors"][0]["pointer"] == f"#/{field}"
    least = [97] * 5 if field != "texts" else [[97] * 3, "a"]
    assert ask(operation, {field: least} | model, max_query_tokens=5)[0] == 200


def test_a_distribution_has_a_limit_of_tokens(ask):
    body = {"prompt": "natural", "model": FLOOR, "top": 6}
    for top in (6, None):
        status, problem = ask("next_probs", body | {"top": top}, max_top=5)
        assert (status, problem["type"]) == (422, "urn:everygram:problem:too-many-results")
        assert problem["errors"][0]["pointer"] == "#/top"
    assert len(ask("next_probs", body | {"top": 5}, max_top=5)[1]["next"]) == 5
    # (What is listed counts, not what is asked for.)
    assert ask("next_probs", {"prompt": "was", "model": INFGRAM, "top": None}, max_top=5)[0] == 200


def test_a_sample_has_a_limit_of_tokens(ask):
    body = {"prompt": "", "model": FLOOR, "max_tokens": 6}
    status, problem = ask("sample", body, max_query_tokens=5)
    assert (status, problem["type"]) == (422, "urn:everygram:problem:too-many-results")
    assert ask("sample", body | {"max_tokens": 5}, max_query_tokens=5)[0] == 200


def test_models_are_kept_as_long_as_their_index(folder):
    index = everygram.open(folder / "corpus")
    first = language.model_of(index, Model(order=2))
    assert language.model_of(index, Model(order=2)) is first
    assert language.model_of(index, Model(order=3)) is not first
    for order in range(3, 3 + language.KEPT):
        language.model_of(index, Model(order=order))
    again = language.model_of(index, Model(order=2))
    assert again is not first
    assert again.prob("it was") == first.prob("it was")
    held = [weakref.ref(each) for each in (index, again)]
    del index, first, again
    gc.collect()
    assert [each() for each in held] == [None, None]


def test_a_model_is_made_anew_when_the_index_has_changed(folder, tmp_path):
    everygram.build(folder / "corpus.jsonl", tmp_path / "one", "bytes")
    index = everygram.open(tmp_path / "one")
    before = language.model_of(index, Model(smoothing="infgram-floor"))
    everygram.add(tmp_path / "one", write_jsonl(tmp_path / "more.jsonl", [{"text": "zzz"}]))
    assert index.refresh()
    after = language.model_of(index, Model(smoothing="infgram-floor"))
    assert after is not before
    assert after.prob("zz") > before.prob("zz")


def test_every_smoothing_can_be_asked_for():
    field = Model.model_fields["smoothing"]
    assert get_args(field.annotation) == SMOOTHINGS
    assert field.default == SMOOTHINGS[0]


def test_every_operation_here_is_served():
    assert PYTHON.keys() <= OPERATIONS.keys()
