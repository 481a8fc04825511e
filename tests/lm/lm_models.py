"""Prepared indexes, and the comparison of a language model with the oracle."""

import contextlib
import os
from unittest import mock

import numpy as np

import everygram
from conftest import write_index
from naive_lm import naive_model

# Of every kind of model some.
MODELS = [
    *({"smoothing": "modified-kneser-ney", "order": order} for order in (*range(1, 9), None)),
    {"smoothing": "modified-kneser-ney", "order": 3, "discount_fallback": (0.2, 0.9, 2.5)},
    {"smoothing": "modified-kneser-ney", "order": None, "discount_fallback": (1.0, 0.0, 3.0)},
    {"smoothing": "modified-kneser-ney", "order": 4, "discount_fallback": (0, 0, 0)},
    {"smoothing": "modified-kneser-ney", "order": None, "discount_fallback": (1, 2, 3)},
    {"smoothing": "modified-kneser-ney", "order": 2, "kenlm_compat": True},
    {"smoothing": "modified-kneser-ney", "order": 4, "kenlm_compat": True},
    *({"smoothing": "stupid-backoff", "order": order} for order in (1, 2, 3, 5, None)),
    *({"smoothing": "infgram", "order": order} for order in (1, 2, 4, None)),
    {"smoothing": "infgram-floor", "order": None, "weights": (0.9, 0.25)},
    {"smoothing": "infgram-floor", "order": 1, "weights": (0.0, 0.5)},
    {"smoothing": "infgram-floor", "order": 3, "weights": (0.75, 0.0)},
]

# So that a few documents meet what many do.
LIMITS = {
    "storage.prepared.LEAST": 2,
    "building.preparation.STEP": 4,
    "lm.kneser_ney.CHUNK": 3,
    "lm.kneser_ney.TOGETHER": 2,
}


@contextlib.contextmanager
def lowered_limits(low=True):
    with contextlib.ExitStack() as patches:
        for name, limit in LIMITS.items() if low else ():
            patches.enter_context(mock.patch(f"everygram.{name}", limit))
        yield


def of_counts(options):
    """Whether the model needs nothing but counts: any index will do."""
    return options["smoothing"] != "modified-kneser-ney" and (
        options["smoothing"] != "infgram-floor" or options["order"] is None
    )


@contextlib.contextmanager
def prepared(path, documents, dtype="u8", vocab_size=None, **options):
    """An open index of id lists that is prepared for language models."""
    write_index(path, documents, dtype, vocab_size=vocab_size)
    prepare(path, **options)
    with everygram.open(path) as index:
        yield index


def prepare(path, **options):
    # What a test reads at once need not outlive a power cut.
    with mock.patch.object(os, "fsync"):
        return everygram.prepare(path, **options)


def oracle(index, documents, options):
    return naive_model(documents, index.separator, index.vocab_size, **options)


def check(index, documents, options, prompts, texts):
    """That the model answers as the oracle, about each prompt and each text."""
    model = index.language_model(**options)
    naive = oracle(index, documents, options)
    for prompt in prompts:
        check_distribution(model, prompt, naive.distribution(prompt))
    for text in texts:
        for document_start in (False, True):
            found = model.log_probs(text, document_start=document_start)
            check_log_probs(found, naive.log_probs(text, document_start))


def check_distribution(model, prompt, expected):
    found = model.distribution(prompt)
    assert found.dtype == np.float64
    assert found.shape == (model.vocab_size + 1,)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0, err_msg=f"after {prompt}")
    if model.normalized:
        assert abs(found.sum() - 1) < 1e-9


def check_log_probs(found, expected):
    assert found.dtype == np.float64
    assert found.shape == (len(expected),)
    # (numpy says that two -inf are the same.)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
