"""Language models of real text, given as strings."""

import random

import numpy as np
import pytest
from lm_models import MODELS, check_distribution, check_log_probs, oracle, prepare

import everygram
from conftest import write_jsonl
from everygram.errors import QueryError

WHO = ["the king", "my lord", "fair Rosalind", "the fool", "a ghost", "thou", "sweet prince"]
DOES = ["loves", "hath slain", "doth forget", "shall see", "weeps for", "is not", "did speak to"]
WHOM = ["the crown", "his brother", "a horse", "the winter wind", "me", "this hand", "nothing"]
HOW = ["", " to-night", " and is gone", ", alas", " before the battle"]


def verses(seed, number):
    rng = random.Random(seed)

    def verse():
        parts = map(rng.choice, (WHO, DOES, WHOM))
        line = " ".join(parts) + rng.choice(HOW)
        return line[0].upper() + line[1:] + rng.choice(".!?;")

    return ["\n".join(verse() for _ in range(rng.randint(1, 2))) for _ in range(number)]


@pytest.fixture(scope="module")
def play(tmp_path_factory):
    """(index, documents as ids) of lines as in a play, of bytes."""
    folder = tmp_path_factory.mktemp("play")
    lines = verses(1, 60)
    corpus = write_jsonl(folder / "corpus.jsonl", [{"text": line} for line in lines])
    everygram.build(corpus, folder / "index")
    prepare(folder / "index")
    with everygram.open(folder / "index") as index:
        yield index, [list(line.encode()) for line in lines]


@pytest.fixture(params=MODELS, ids=lambda options: "-".join(map(str, options.values())))
def models(play, request):
    """(language model, oracle)."""
    index, documents = play
    return index.language_model(**request.param), oracle(index, documents, request.param)


def test_new_text_of_the_kind(models):
    model, naive = models
    for text in verses(2, 3):
        ids = list(text.encode())
        for document_start in (False, True):
            found = model.log_probs(text, document_start=document_start)
            check_log_probs(found, naive.log_probs(ids, document_start))
        for prompt in (ids[:30], [255, *ids[:30]], ids[:9]):
            check_distribution(model, prompt, naive.distribution(prompt))


def test_strings_are_read_as_everywhere(models):
    model, _ = models
    for text in ("The king is n", "", "é"):
        ids = list(text.encode())
        np.testing.assert_array_equal(model.log_probs(text), model.log_probs(ids))
        np.testing.assert_array_equal(model.distribution(text), model.distribution(ids))
    texts = ["The king", "", "my lord"]
    for one, text in zip(model.log_probs_batch(texts), texts, strict=True):
        np.testing.assert_array_equal(one, model.log_probs(text))
    assert model.prob("The kin", "g") == model.prob("The king")
    assert model.prob("The kin", "g") == model.prob([*b"The kin"], ord("g"))
    with pytest.raises(QueryError, match="expected one token, found 2"):
        model.prob("The ki", "ng")
