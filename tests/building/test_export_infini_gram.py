"""An index becomes the folder that infini-gram would have, in the order of bytes."""

import itertools
import json
import os
import random
from unittest import mock

import numpy as np
import pytest

import everygram
from conftest import write_index
from everygram.errors import BuildError, OptionError
from everygram.storage import infini_gram as files
from shards import write_shard

WIDTHS = {"u8": 1, "u16": 2, "u32": 4}
# Little-endian bytes sort these otherwise than numbers.
IDS = {
    "u8": [0, 1, 254],
    "u16": [0, 1, 255, 256, 257, 65534],
    "u32": [0, 1, 255, 256, 257, 65536, 65535, 0x01000000, 0xFFFFFFFE, 0xFEFFFFFF],
}


def exported(path, out, **options):
    # (What a test reads at once need not outlive a power cut.)
    with everygram.open(path) as index, mock.patch.object(os, "fsync"):
        return everygram.export_infini_gram(index, out, **options)


def contents(folder, without=()):
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.name.partition(".")[0] not in without
    }


def expected(folder, documents, dtype):
    """What a sort of all bytes gives; without metadata."""
    write_shard(folder, documents, WIDTHS[dtype], unigrams=True)
    return contents(folder)


OF_METADATA = (files.METADATA, files.METAOFF)


def check(tmp_path, documents, dtype, **options):
    name = f"{len(list(tmp_path.iterdir()))}"
    path = write_index(tmp_path / f"{name} index", documents, dtype)
    exported(path, tmp_path / f"{name} out", **options)
    found = contents(tmp_path / f"{name} out", OF_METADATA)
    assert found == expected(tmp_path / f"{name} naive", documents, dtype)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_any_documents_in_the_order_of_their_bytes(tmp_path, dtype):
    rng = random.Random(dtype)
    for _ in range(120):
        ids = rng.sample(IDS[dtype], k=rng.randint(1, min(4, len(IDS[dtype]))))
        longest = rng.choice([1, 2, 4, 12])
        documents = [
            rng.choices(ids, k=rng.randrange(longest + 1)) for _ in range(rng.randint(1, 12))
        ]
        documents += rng.choices(documents, k=rng.choice([0, 0, 3, 8]))
        check(tmp_path, documents, dtype)


def test_all_short_corpora_of_two_tokens(tmp_path):
    """Of up to 3 documents of up to 2 tokens: 256 sorts before 1, as bytes."""
    words = [list(word) for k in range(3) for word in itertools.product((1, 256), repeat=k)]
    for number in (1, 2, 3):
        for documents in itertools.product(words, repeat=number):
            if number < 3 or documents[0] <= documents[2]:
                check(tmp_path, documents, "u16")


@pytest.mark.parametrize(
    "documents",
    [
        [[7, 7, 7]] * 400,
        [[]] * 400,
        [[], [7]] * 200,
        [[7]] * 399 + [[]],
        [[]] * 399 + [[7]],
        [[7] * 200, [7] * 199, [7] * 200],
        [[7, 8] * k for k in range(25)],
        [[1, 256, 7] * 60] * 5,
    ],
)
def test_repeats(tmp_path, documents):
    check(tmp_path, documents, "u16")
