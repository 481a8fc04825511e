"""lm-evaluation-harness asks an index's language model: directly, and in tasks of local files."""

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import lm_eval
import numpy as np
import pytest
import yaml
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

import everygram
from conftest import write_index
from everygram.errors import EverygramError, OptionError, QueryError
from everygram.integrations.lm_eval import EverygramLM

TEXTS = [
    "the cat sat on the mat. the dog sat on the log.",
    "the cat ran from the dog. the dog ran from the cat.",
    "one two three four five six seven eight nine ten.",
    "a cat is not a dog. a dog is not a cat. a log is a log.",
    "ein Hündchen saß auf dem Dach, naïve Katzen auch.",
]
MODELS = [
    {"smoothing": "infgram-floor"},
    {"smoothing": "stupid-backoff", "order": 4},
    {"smoothing": "stupid-backoff"},
    {"smoothing": "infgram", "order": 1},
    {"smoothing": "modified-kneser-ney", "order": 3},
    {"smoothing": "modified-kneser-ney"},
    {"smoothing": "infgram-floor", "weights": (0.9, 0.1)},
]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm_eval") / "index"
    everygram.build([{"text": text} for text in TEXTS], folder)
    everygram.prepare(folder)
    return folder


@pytest.fixture(scope="module", params=MODELS, ids=lambda given: "-".join(map(str, given.values())))
def lm(path, request):
    return EverygramLM(path, **request.param)


def requests_of(kind, *all_arguments):
    return [
        Instance(request_type=kind, doc={}, arguments=arguments, idx=number)
        for number, arguments in enumerate(all_arguments)
    ]


PAIRS = [
    ("the cat", " sat"),
    ("the cat", " ran from the dog"),
    ("the dog ", "sat on"),
    ("one two three four", " five six seven eight nine ten."),
    ("", "the cat"),
    ("", "a"),
    ("t", "he"),
    ("zz", "zz"),
    ("the Hündchen", " saß"),
    ("the cat sat on the mat. the dog sat on the log", "."),
]


def scored(lm, context, continuation):
    """By `distribution` alone, a token at a time. (The harness moves spaces between the two.)"""
    rest = context.rstrip()
    context, continuation = rest, context[len(rest) :] + continuation
    ids = list(context.encode())
    total, greedy = 0.0, True
    for token in continuation.encode():
        distribution = lm.model.distribution([lm.index.separator, *ids])
        total += math.log(distribution[token]) if distribution[token] else -math.inf
        greedy = greedy and int(distribution.argmax()) == token
        ids.append(token)
    return total, greedy


def test_continuations_are_scored_after_their_contexts(lm):
    found = lm.loglikelihood(requests_of("loglikelihood", *PAIRS), disable_tqdm=True)
    expected = [scored(lm, *pair) for pair in PAIRS]
    for (log_prob, greedy), (right, is_greedy) in zip(found, expected, strict=True):
        assert log_prob == pytest.approx(right, abs=1e-9)
        assert greedy is is_greedy
    if lm.model.order != 1:
        assert {greedy for _, greedy in found} == {True, False}


def test_a_text_is_its_beginning_and_the_rest(lm):
    """What `loglikelihood` and `loglikelihood_rolling` say of a text fits together."""
    text = TEXTS[0]
    if not lm.model.normalized:
        with pytest.raises(QueryError, match="expected a model of probabilities"):
            lm.loglikelihood_rolling(requests_of("loglikelihood_rolling", (text,)))
        return
    (whole,) = lm.loglikelihood_rolling(
        requests_of("loglikelihood_rolling", (text,)), disable_tqdm=True
    )
    for cut in (0, 1, 7, 20):
        start, rest = lm.loglikelihood(
            requests_of("loglikelihood", ("", text[:cut] or "t"), (text[:cut], text[cut:])),
            disable_tqdm=True,
        )
        assert rest[0] + (start[0] if cut else 0) == pytest.approx(whole, abs=1e-9)
    expected = lm.model.log_probs(list(text.encode()), document_start=True).sum()
    assert whole == pytest.approx(expected, abs=1e-9)


def generated(lm, context, most):
    """Greedily, by `distribution` alone."""
    ids, start = list(context.encode()), len(context.encode())
    while len(ids) - start < most:
        token = int(lm.model.distribution([lm.index.separator, *ids]).argmax())
        if token == lm.index.vocab_size:
            break
        ids.append(token)
    return bytes(ids[start:]).decode(errors="replace")


@pytest.mark.parametrize("until", [[], ["."], ["dog", "sat on"], "\n\n", ["", "x"]])
def test_texts_are_generated_greedily_up_to_a_stop(lm, until):
    contexts = ["the cat", "one two", "", "a dog is"]
    found = lm.generate_until(
        requests_of(
            "generate_until",
            *((context, {"until": until, "max_gen_toks": 40}) for context in contexts),
        ),
        disable_tqdm=True,
    )
    for context, text in zip(contexts, found, strict=True):
        expected = generated(lm, context, 40)
        for stop in filter(None, [until] if isinstance(until, str) else until):
            expected = expected.split(stop)[0]
        assert text == expected


def test_samples_differ_and_come_again_with_the_seed(path):
    lm = EverygramLM(path, "infgram-floor")
    asked = [("the ", {"do_sample": True, "temperature": 1.5, "max_new_tokens": 30})] * 8

    def draw(seed):
        np.random.seed(seed)
        return lm.generate_until(requests_of("generate_until", *asked), disable_tqdm=True)

    assert len(set(draw(1))) > 4
    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


def test_the_temperature_counts_only_where_there_is_sampling(path):
    lm = EverygramLM(path, "infgram-floor")
    greedy = generated(lm, "the cat", 25)
    for options in ({}, {"do_sample": False, "temperature": 5.0}, {"temperature": 0.0}):
        (text,) = lm.generate_until(
            requests_of("generate_until", ("the cat", {"max_gen_toks": 25} | options)),
            disable_tqdm=True,
        )
        assert text == greedy
    assert lm.generate_until(
        requests_of("generate_until", ("the cat", {"max_gen_toks": 0})), disable_tqdm=True
    ) == [""]


def test_options_that_are_none(path):
    lm = EverygramLM(path, "infgram-floor")
    for options, says in (
        ({"num_beams": 4}, "expected until, do_sample, .* found num_beams"),
        ({"until": 3}, "until: expected a text or several, found 3"),
        ({"max_gen_toks": -1}, "max_gen_toks: expected 0 or more"),
    ):
        with pytest.raises(OptionError, match=says):
            lm.generate_until(requests_of("generate_until", ("the", options)), disable_tqdm=True)


def test_models_that_are_none(path, tmp_path):
    with pytest.raises(EverygramError, match="smoothing: expected one of"):
        EverygramLM(path, "kneser")
    write_index(tmp_path / "ids", [[1, 2, 3]], "u8")
    with pytest.raises(QueryError, match="has no tokenizer"):
        EverygramLM(tmp_path / "ids", "infgram-floor")


# Tasks of local files: questions with choices, texts for perplexity, questions with answers.


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    write(folder / "choices.jsonl", CHOICES)
    write(folder / "texts.jsonl", [{"text": text} for text in TEXTS[:3]])
    write(folder / "answers.jsonl", ANSWERS)
    for name, task in TASKS.items():
        data = {"dataset_path": "json", "task": f"local_{name}", "test_split": "test"}
        data["dataset_kwargs"] = {"data_files": {"test": str(folder / f"{name}.jsonl")}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(data | task))
    return folder


CHOICES = [
    {"question": "the cat sat on the", "choices": ["mat", "log", "cat"], "answer": 0},
    {"question": "the dog sat on the", "choices": ["mat", "log", "cat"], "answer": 1},
    {"question": "one two three", "choices": ["nine", "four", "ten"], "answer": 1},
    {"question": "a log is a", "choices": ["cat", "dog", "log"], "answer": 2},
    {"question": "one two three four", "choices": ["four", "ten", "five"], "answer": 0},
]
ANSWERS = [
    {"question": "one two three four five", "answer": "six seven eight nine ten"},
    {"question": "a log is a", "answer": "log"},
    {"question": "seven eight", "answer": "ten"},
]
TASKS = {
    "choices": {
        "output_type": "multiple_choice",
        "doc_to_text": "{{question}}",
        "doc_to_choice": "choices",
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc"}],
    },
    "texts": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "text",
        "metric_list": [
            {"metric": "word_perplexity"},
            {"metric": "byte_perplexity"},
            {"metric": "bits_per_byte"},
        ],
    },
    "answers": {
        "output_type": "generate_until",
        "doc_to_text": "{{question}} ",
        "doc_to_target": "answer",
        "generation_kwargs": {"until": ["."], "max_gen_toks": 30},
        "metric_list": [{"metric": "exact_match"}],
    },
}
ARGUMENTS = {"smoothing": "infgram-floor", "weights": [0.9, 0.5]}


def write(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def metrics(results):
    return {
        (task, name.split(",")[0]): value
        for task, of_task in results["results"].items()
        for name, value in of_task.items()
        if isinstance(value, float) and "stderr" not in name
    }


def expected_metrics(path):
    """By the model itself."""
    lm = EverygramLM(path, **ARGUMENTS)
    right = 0
    for each in CHOICES:
        scores = [scored(lm, each["question"], f" {choice}")[0] for choice in each["choices"]]
        right += int(np.argmax(scores)) == each["answer"]
    log_likelihood = sum(scored(lm, "", text)[0] for text in TEXTS[:3])
    words = sum(len(re.split(r"\s+", text)) for text in TEXTS[:3])
    size = sum(len(text.encode()) for text in TEXTS[:3])
    exact = sum(
        generated(lm, f"{each['question']} ", 30).split(".")[0] == each["answer"]
        for each in ANSWERS
    )
    assert 0 < right < len(CHOICES)
    assert 0 < exact < len(ANSWERS)
    return {
        ("local_choices", "acc"): right / len(CHOICES),
        ("local_texts", "word_perplexity"): math.exp(-log_likelihood / words),
        ("local_texts", "byte_perplexity"): math.exp(-log_likelihood / size),
        ("local_texts", "bits_per_byte"): -log_likelihood / size / math.log(2),
        ("local_answers", "exact_match"): exact / len(ANSWERS),
    }


def test_the_harness_evaluates_an_index(path, tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    results = lm_eval.simple_evaluate(
        model="everygram",
        model_args={"index": str(path)} | ARGUMENTS,
        tasks=["local_choices", "local_texts", "local_answers"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
    )
    assert metrics(results) == pytest.approx(expected_metrics(path), rel=1e-9)


def everygram_command(folder, *arguments):
    environment = os.environ | {
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(folder),
    }
    return subprocess.run(
        [Path(sys.executable).with_name("everygram"), "lm-eval", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_command_runs_the_harness(path, tasks, tmp_path):
    done = everygram_command(
        tmp_path,
        *("--model", "everygram"),
        *("--model_args", f"index={path},smoothing=infgram-floor,weights=[0.9,0.5]"),
        *("--tasks", "local_choices,local_texts,local_answers"),
        *("--include_path", tasks),
        *("--output_path", tmp_path / "out.json"),
        *("--use_cache", tmp_path / "cache"),
    )
    assert done.returncode == 0, done.stderr
    assert "|local_choices|" in done.stdout
    (written,) = tmp_path.glob("out*.json")
    found = metrics(json.loads(written.read_text()))
    assert found == pytest.approx(expected_metrics(path), rel=1e-9)


def test_the_command_passes_on_help_and_errors(path, tasks, tmp_path):
    assert "--model_args" in everygram_command(tmp_path, "run", "--help").stdout
    wrong = everygram_command(tmp_path, "--no-such-option", "x")
    assert wrong.returncode == 2
    assert "--no-such-option" in wrong.stderr
    missing = everygram_command(
        tmp_path,
        *("--model", "everygram", "--model_args", f"index={tmp_path / 'none'}"),
        *("--tasks", "local_choices", "--include_path", tasks),
    )
    assert missing.returncode == 1
    assert missing.stderr.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in missing.stderr
