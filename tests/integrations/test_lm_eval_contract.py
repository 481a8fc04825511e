"""What lm-evaluation-harness asks of `everygram.integrations.lm_eval`, without it.

It is stood in for by as much of it as is used. Its own tests, with the harness, are those of `make
test-integrations`.
"""

import importlib
import math
import sys
import types
from types import SimpleNamespace

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.errors import MissingExtraError, OptionError, QueryError

MODULE = "everygram.integrations.lm_eval"
TEXTS = ["the cat sat on the mat", "the cat ran", "one two three", "ein Hündchen"]


class TemplateLM:
    """How the harness divides and encodes its requests."""

    def __init__(self):
        self.cached = []
        self.cache_hook = SimpleNamespace(add_partial=lambda *answer: self.cached.append(answer))

    def loglikelihood(self, requests, disable_tqdm=False):
        pairs = []
        for request in requests:
            context, continuation = request.args
            if context == "":
                before, after = (
                    [self.eot_token_id],
                    self.tok_encode(continuation, add_special_tokens=False),
                )
            else:
                spaces = len(context) - len(context.rstrip())
                if spaces:
                    continuation = context[-spaces:] + continuation
                    context = context[:-spaces]
                before = self.tok_encode(context)
                after = self.tok_encode(context + continuation)[len(before) :]
            pairs.append((request.args, before, after))
        return self._loglikelihood_tokens(pairs, disable_tqdm=disable_tqdm)


BARS = []


class Bar:
    """A progress bar that shows nothing, and remembers."""

    def __init__(self, **options):
        self.options, self.done = options, 0
        BARS.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, count):
        self.done += count


@pytest.fixture
def harness(monkeypatch):
    """The harness: what was registered, and how its command line was called."""
    seen = SimpleNamespace(models={}, arguments=[])
    names = ("lm_eval", "lm_eval.api", "lm_eval.api.model", "lm_eval.api.registry")
    modules = {name: types.ModuleType(name) for name in (*names, "lm_eval.__main__", "tqdm")}
    modules["lm_eval.api.model"].TemplateLM = TemplateLM
    modules["lm_eval.api.registry"].register_model = lambda name: (
        lambda cls: seen.models.setdefault(name, cls)
    )
    modules["lm_eval.__main__"].cli_evaluate = lambda: seen.arguments.append(list(sys.argv))
    modules["tqdm"].tqdm = Bar
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    yield seen
    sys.modules.pop(MODULE, None)


@pytest.fixture
def module(harness):
    return importlib.import_module(MODULE)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm_eval") / "index"
    everygram.build([{"text": text} for text in TEXTS], folder)
    everygram.prepare(folder)
    return folder


def asked(*all_arguments):
    return [SimpleNamespace(args=arguments) for arguments in all_arguments]


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


def test_importing_registers_the_model(module, harness):
    assert harness.models == {"everygram": module.EverygramLM}


def test_what_is_missing_is_named(harness, monkeypatch, run):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "lm_eval.api")
    monkeypatch.delitem(sys.modules, "lm_eval.api.model")
    says = f"{MODULE} needs lm_eval: pip install 'everygram[lm-eval]'"
    with pytest.raises(MissingExtraError, match=says.replace("[", r"\[")):
        importlib.import_module(MODULE)
    code, out, err = run("lm-eval", "ls", "tasks")
    assert (code, out, err) == (1, "", f"error: {says}\n")


PAIRS = [
    ("the cat", " sat"),
    ("the ", "cat"),
    ("", "the"),
    ("", "z"),
    ("one two", " three"),
    ("the cat sat on the mat the", " cat ran"),
    ("ein H", "ündchen"),
    ("the cat", ""),
]
MODELS = [
    ("infgram", None),
    ("infgram", 1),
    ("infgram", 3),
    ("infgram-floor", None),
    ("stupid-backoff", None),
    ("stupid-backoff", 1),
    ("stupid-backoff", 2),
    ("stupid-backoff", 5),
    ("modified-kneser-ney", None),
    ("modified-kneser-ney", 1),
    ("modified-kneser-ney", 2),
    ("modified-kneser-ney", 4),
    ("infgram-floor", 3),
]


@pytest.mark.parametrize(("smoothing", "order"), MODELS)
def test_continuations(module, path, smoothing, order, monkeypatch):
    monkeypatch.setattr(module, "GROUP", 3)
    BARS.clear()
    lm = module.EverygramLM(str(path), smoothing, order, batch_size=8, device="cpu")
    found = lm.loglikelihood(asked(*PAIRS), disable_tqdm=True)
    # (A text of no tokens after a context is the context's own encoding again: nothing.)
    for pair, (log_prob, greedy) in zip(PAIRS, found, strict=True):
        right, is_greedy = scored(lm, *pair)
        assert log_prob == pytest.approx(right, abs=1e-9)
        assert type(log_prob) is float
        assert greedy is is_greedy
    assert lm.cached == [
        ("loglikelihood", pair, answer) for pair, answer in zip(PAIRS, found, strict=True)
    ]
    (bar,) = BARS
    assert (bar.done, bar.options["total"], bar.options["disable"]) == (8, 8, True)


def test_what_became_part_of_the_contexts_last_token_is_encoded_alone(module, path):
    lm = module.EverygramLM(path, "infgram-floor")
    whole = (("the cat", " sat"), list(b"the cat"), [])
    alone = (("the cat", " sat"), list(b"the cat"), list(b" sat"))
    assert lm._loglikelihood_tokens([whole]) == lm._loglikelihood_tokens([alone])


def test_a_model_of_an_order_reads_no_more_than_it_sees(module, path, monkeypatch):
    lm = module.EverygramLM(path, "stupid-backoff", 3)
    texts, batch = [], type(lm.model).log_probs_batch
    monkeypatch.setattr(
        type(lm.model),
        "log_probs_batch",
        lambda self, given, **options: texts.extend(given) or batch(self, given, **options),
    )
    lm.loglikelihood(asked(("the cat sat on the", " mat"), ("t", "he")))
    assert texts == [list(b"he mat"), list(b"the")]


@pytest.mark.parametrize(("smoothing", "order"), MODELS)
def test_what_never_occurs_before_a_context_is_not_read(module, path, smoothing, order):
    """Long contexts: what is left of them starts no document, though it may in the index."""
    lm = module.EverygramLM(path, smoothing, order)
    pairs = [
        ("zz" * 300 + "the cat", " sat"),
        ("one two three" * 50 + "x" + "the", " cat ran"),
        ("the cat sat on the ma", "t"),
        ("q" * 70, "t"),
        ("the cat sat on the mat" * 20, " cat"),
    ]
    found = lm.loglikelihood(asked(*pairs))
    for pair, (log_prob, greedy) in zip(pairs, found, strict=True):
        right, is_greedy = scored(lm, *pair)
        assert log_prob == pytest.approx(right, abs=1e-9)
        assert greedy is is_greedy


def test_a_model_without_an_order_reads_no_more_than_occurs(module, path, monkeypatch):
    lm = module.EverygramLM(path, "infgram-floor")
    texts, batch = [], type(lm.model).log_probs_batch
    monkeypatch.setattr(
        type(lm.model),
        "log_probs_batch",
        lambda self, given, **options: texts.extend(given) or batch(self, given, **options),
    )
    lm.loglikelihood(asked(("zz" * 300 + "the cat", " sat"), ("the cat", " ran")))
    assert texts == [list(b"zthe cat sat"), list(b"the cat ran")]


def test_whole_texts(module, path):
    lm = module.EverygramLM(path, "infgram-floor")
    found = lm.loglikelihood_rolling(asked((TEXTS[0],), ("zzz",), ("",)))
    expected = [scored(lm, "", text)[0] for text in (TEXTS[0], "zzz", "")]
    assert found == pytest.approx(expected, abs=1e-9)
    assert lm.cached == [
        ("loglikelihood_rolling", (text,), value)
        for text, value in zip((TEXTS[0], "zzz", ""), found, strict=True)
    ]
    scores = module.EverygramLM(path, "stupid-backoff")
    with pytest.raises(QueryError, match="expected a model of probabilities for the perplexity"):
        scores.loglikelihood_rolling(asked((TEXTS[0],)))


def test_chat_templates_are_refused(module, path):
    lm = module.EverygramLM(path, "infgram")
    for ask in (lambda: lm.tokenizer_name, lambda: lm.apply_chat_template([])):
        with pytest.raises(OptionError, match="an index has no chat template"):
            ask()


def generated(lm, context, most):
    """Greedily, by `distribution` alone."""
    ids, start = list(context.encode()), len(context.encode())
    while len(ids) - start < most:
        token = int(lm.model.distribution([lm.index.separator, *ids]).argmax())
        if token == lm.index.vocab_size:
            break
        ids.append(token)
    return bytes(ids[start:]).decode(errors="replace")


@pytest.mark.parametrize("until", [[], ["t"], ["mat", "on", ""], " on the"])
@pytest.mark.parametrize("most", [0, 1, 5, 16, 17, 40])
def test_texts_up_to_a_stop(module, path, until, most):
    lm = module.EverygramLM(path, "infgram-floor")
    contexts = ["the c", "", "one", "ein H"]
    found = lm.generate_until(
        asked(*((each, {"until": until, "max_gen_toks": most}) for each in contexts))
    )
    for context, text in zip(contexts, found, strict=True):
        expected = generated(lm, context, most)
        for stop in filter(None, [until] if isinstance(until, str) else until):
            expected = expected.split(stop)[0]
        assert text == expected
    assert [kind for kind, _, _ in lm.cached] == ["generate_until"] * 4
    assert [answer for _, _, answer in lm.cached] == found


def test_options_of_tasks(module, path, monkeypatch):
    lm = module.EverygramLM(path, "infgram-floor")
    seen, batch = [], type(lm.model).sample_batch
    monkeypatch.setattr(
        type(lm.model),
        "sample_batch",
        lambda self, prompts, **options: seen.append(options) or batch(self, prompts, **options),
    )
    for options, expected in (
        ({}, (16, 0.0, None, None)),
        ({"temperature": 0.5, "max_new_tokens": 3}, (3, 0.5, None, None)),
        ({"do_sample": True, "top_k": 4, "top_p": 0.5, "max_tokens": 2}, (2, 1.0, 4, 0.5)),
        ({"do_sample": False, "temperature": 0.5, "max_gen_toks": 2}, (2, 0.0, None, None)),
        ({"do_sample": True, "temperature": 0, "max_gen_toks": 2}, (2, 0.0, None, None)),
        ({"num_beams": 1, "do_sample": None, "max_gen_toks": 2}, (2, 0.0, None, None)),
        ({"do_sample": True, "top_k": 0, "max_gen_toks": 2}, (2, 1.0, None, None)),
    ):
        seen.clear()
        lm.generate_until(asked(("the cat ", options)))
        names = ("max_tokens", "temperature", "top_k", "top_p")
        assert tuple(seen[0][name] for name in names) == expected
    for options, says in (
        ({"num_beams": 4}, "expected until, do_sample, .* found num_beams"),
        ({"until": 3}, "until: expected a text or several, found 3"),
        ({"until": [3]}, "until: expected a text or several"),
        ({"max_gen_toks": "many"}, "max_gen_toks: expected 0 or more"),
        ({"do_sample": "yes"}, "do_sample: expected True or False"),
    ):
        with pytest.raises(OptionError, match=says):
            lm.generate_until(asked(("the cat", options)))


def test_samples_come_again_with_the_seed(module, path):
    lm = module.EverygramLM(path, "infgram-floor")
    options = {"do_sample": True, "temperature": 2.0, "max_gen_toks": 40}

    def draw(seed):
        np.random.seed(seed)
        return lm.generate_until(asked(*[("the ", options)] * 4, ("the ", {"max_gen_toks": 5})))

    assert draw(1) == draw(1) != draw(2)
    assert len(set(draw(1)[:4])) > 1
    assert draw(1)[4] == generated(lm, "the ", 5)


def test_an_open_index_and_others(module, path, tmp_path):
    with everygram.open(path) as index:
        assert module.EverygramLM(index, "infgram").index is index
    write_index(tmp_path / "ids", [[1, 2, 3]], "u8")
    with pytest.raises(QueryError, match="has no tokenizer"):
        module.EverygramLM(tmp_path / "ids", "infgram")
    with pytest.raises(QueryError, match="smoothing: expected one of"):
        module.EverygramLM(path, "none")
    # As `Index.language_model`, without a smoothing it is modified Kneser-Ney.
    assert module.EverygramLM(path).model.smoothing == "modified-kneser-ney"
    with pytest.raises(OptionError, match="expected the path of an index, as index=PATH"):
        module.EverygramLM()
    with pytest.raises(OptionError, match=r"model_args: expected index, .* found ordr"):
        module.EverygramLM(path, ordr=5)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("run", "--help"),
        ("--model", "everygram", "--tasks", "a,b", "--limit", "3", "-f", "2"),
        ("ls", "tasks", "--", "-x"),
    ],
)
def test_the_command_passes_all_on(module, harness, run, arguments):
    before = sys.argv
    assert run("lm-eval", *arguments) == (0, "", "")
    assert harness.arguments == [["everygram lm-eval", *arguments]]
    assert sys.argv[0] == "everygram"
    assert before is not sys.argv
