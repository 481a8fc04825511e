"""Fences and unigrams, against loops that are obviously right."""

from collections import Counter

import numpy as np
import pytest

from everygram.building.suffix_array import suffix_array
from everygram.storage import disk, fences
from everygram.storage import format as fmt


def stream(dtype, length, largest, share, seed):
    """Random ids up to the largest, and separators."""
    rng = np.random.default_rng(seed)
    separator = np.iinfo(dtype).max
    tokens = rng.integers(0, largest, length, dtype, endpoint=True)
    tokens[rng.random(length) < share] = separator
    tokens[0] = separator
    return tokens, int(separator)


def key_of(tokens, position, separator, bits):
    """The first 64 bits, as the specification has them."""
    digits = ""
    for place in range(position, position + 64 // bits + 1):
        token = int(tokens[place]) if place < len(tokens) else separator
        digits += f"{min(token, (1 << bits) - 1):0{bits}b}"
        if token == separator and place > position:
            break
    return int(digits[:64].ljust(64, "0"), 2)


@pytest.mark.parametrize(
    ("dtype", "largest"),
    [
        *(("u1", largest) for largest in (0, 1, 97, 254)),
        *(("u2", largest) for largest in (300, 65_534)),
        *(("u4", largest) for largest in (5, 70_000, 2**32 - 2)),
    ],
)
@pytest.mark.parametrize("share", [0, 0.1, 0.7])
@pytest.mark.parametrize("wide", [False, True])
def test_keys(monkeypatch, dtype, largest, share, wide):
    tokens, separator = stream(dtype, 300, largest, share, seed=largest % 7)
    bits = fmt.key_bits(largest)
    order = suffix_array(tokens)
    sa = disk.position_entries(order, 5 if wide else 4)
    for spacing in (1, 3, 16):
        expected = [key_of(tokens, int(p), separator, bits) for p in order[::spacing]]
        assert expected == sorted(expected)
        for chunk in (4, 40, 1 << 22):  # bytes
            monkeypatch.setattr(fences, "CHUNK", chunk)
            seen = []
            found = fences.fence_keys_of(tokens, sa, separator, bits, spacing, seen.append)
            assert np.concatenate(list(found)).tolist() == expected
            assert np.array_equal(np.concatenate(seen), sa)


@pytest.mark.parametrize(("dtype", "largest"), [("u1", 254), ("u2", 3), ("u4", 9), ("u4", 2**31)])
@pytest.mark.parametrize("most", [1, 5, 1 << 24])
@pytest.mark.parametrize("chunk", [4, 100, 1 << 22])
def test_unigrams(monkeypatch, dtype, largest, most, chunk):
    monkeypatch.setattr(fences, "MOST_COUNTED", most)
    monkeypatch.setattr(fences, "CHUNK", chunk)
    tokens, _ = stream(dtype, 500, largest, 0.1, seed=1)
    table = fences.unigram_table(tokens)
    counts = sorted(Counter(tokens.tolist()).items())
    ranks = table[: 8 * len(counts)].view("<u8").tolist()
    assert table[8 * len(counts) :].view("<u4").tolist() == [token for token, _ in counts]
    assert ranks == [sum(count for _, count in counts[:i]) for i in range(len(counts))]


def test_the_largest_id_before_the_separators():
    tokens, _ = stream("u2", 300, 99, 0.1, seed=0)
    sa = suffix_array(tokens)
    documents = int((tokens == 65_535).sum())
    largest = int(tokens[tokens != 65_535].max())
    assert fences.segment_key_bits(tokens, sa, documents) == fmt.key_bits(largest)
    assert fences.segment_key_bits(tokens[:0], sa[:0], 0) == fmt.key_bits(0)
