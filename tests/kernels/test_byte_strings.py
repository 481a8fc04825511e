"""Strings of bytes named by their order, and positions moved with their documents."""

import random

import numpy as np

from everygram.kernels.byte_strings import move, name_strings


def names_of(strings):
    data = np.frombuffer(b"".join(strings) or b"x", np.uint8)
    ends = np.cumsum([len(string) for string in strings], dtype=np.int64)
    starts = ends - [len(string) for string in strings]
    names = np.empty(len(strings), np.uint32)
    return name_strings(data, starts.astype(np.int64), ends, names), names.tolist()


def test_strings_are_named_by_their_order():
    rng = random.Random(1)
    for number in range(300):
        alphabet = rng.choice([b"\0", b"\0\1", b"ab", bytes(range(256))])
        longest = rng.choice([1, 3, 9, 20])
        strings = [
            bytes(rng.choices(alphabet, k=rng.randrange(longest + 1))) for _ in range(number % 40)
        ]
        different = sorted(set(strings))
        assert names_of(strings) == (len(different), [different.index(each) for each in strings])


def test_zeros_are_no_end():
    """The key of a short string is that of the same one with zeros after it."""
    strings = [b"a\0\0", b"a", b"a\0", b"", b"\0", b"a" + b"\0" * 9, b"a" + b"\0" * 8]
    assert names_of(strings) == (7, [4, 2, 3, 0, 1, 6, 5])


def test_positions_move_with_their_documents():
    rng = random.Random(2)
    for guided in (0, 1, 3, 8):
        starts = np.cumsum([0, *rng.choices([1, 2, 9, 70], k=50)]).astype(np.int64)
        length = int(starts[-1]) + 5
        shifts = np.array(rng.choices(range(10**6), k=51), np.int64)
        guide = np.searchsorted(starts, np.arange(0, length, 1 << guided), "right") - 1
        positions = np.arange(length)
        out = np.empty(length, np.int64)
        move(positions, starts, shifts, np.append(guide, 50), guided, out)
        document = np.searchsorted(starts, positions, "right") - 1
        assert np.array_equal(out, positions + shifts[document])
