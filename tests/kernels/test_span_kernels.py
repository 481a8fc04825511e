"""Spans of a text, draws, and where places are among bytes and characters, against plain Python."""

import random

import numpy as np
import pytest

from everygram.kernels import spans


def maximal_by_hand(lengths, stops, bounds, least):
    found, reached = [], 0
    for begin in range(len(lengths)):
        if not bounds[begin]:
            continue
        end = begin + lengths[begin]
        for place in range(begin, end):
            if stops[place]:
                end = place + 1
                break
        while end > begin and not bounds[end]:
            end -= 1
        if end - begin >= least and end > reached:
            found.append((begin, end))
            reached = end
    return found


@pytest.mark.parametrize("seed", range(60))
def test_maximal(seed):
    rng = random.Random(seed)
    n = rng.randrange(12)
    lengths = [rng.randrange(n - i + 1) for i in range(n)]
    stops = [rng.random() < 0.2 for _ in range(n)]
    bounds = [rng.random() < 0.7 for _ in range(n + 1)]
    least = rng.randrange(1, 4)
    starts, ends = np.empty(n, np.int64), np.empty(n, np.int64)
    arrays = (np.array(lengths, np.int64), np.array(stops, np.bool_), np.array(bounds, np.bool_))
    count = spans.maximal(*arrays, least, starts, ends)
    found = list(zip(starts[:count].tolist(), ends[:count].tolist(), strict=True))
    assert found == maximal_by_hand(lengths, stops, bounds, least)


def drawn(count, first, number, seed):
    found = np.empty(number, np.int64)
    one = np.ones(1, np.int64)
    spans.draw(one * count, one * first, np.array([0, number]), np.uint64(seed), found)
    return found.tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 64, 65, 200])
@pytest.mark.parametrize("seed", [0, 1, 1 << 32, (1 << 64) - 1])
def test_draws_are_all_numbers_once(count, seed):
    every = drawn(count, 0, count, seed)
    assert sorted(every) == list(range(count))
    # From any draw on, they are the same.
    for first in (0, count // 2, count - 1):
        assert drawn(count, first, count - first, seed) == every[first:]


def test_draws_differ_by_seed_and_are_far_apart():
    count = 1 << 40
    draws = [drawn(count, 0, 4, seed) for seed in range(20)]
    assert len({tuple(each) for each in draws}) == 20
    flat = np.array(draws).ravel()
    assert flat.min() < count // 8 and flat.max() > count - count // 8
    assert 0.35 < flat.mean() / count < 0.65


def test_every_number_is_drawn_first_about_as_often():
    counts = np.bincount([drawn(5, 0, 1, seed)[0] for seed in range(1000)], minlength=5)
    # χ² with 4 degrees of freedom is below 18.5 with a probability of 0.999.
    assert ((counts - 200) ** 2 / 200).sum() < 18.5


def placed_by_hand(tokens, ids, places):
    """Bytes and characters before each place, and whether it divides a character; None if the
    bytes before the last place are not the beginning of UTF-8."""
    rows = []
    for place in places:
        data = b"".join(tokens[i] for i in ids[:place])
        for cut in range(4):
            try:
                whole = data[: len(data) - cut].decode()
            except UnicodeDecodeError:
                continue
            rest = data[len(data) - cut :]
            # (A beginning of a character becomes one U+FFFD.)
            if rest and (len(rest.decode(errors="replace")) > 1 or not begins(rest)):
                return None
            rows.append([len(data), len(whole) + (cut > 0), int(cut > 0)])
            break
        else:
            return None
    return rows


def begins(rest):
    return any(
        chr(code).encode().startswith(rest)
        for code in (0xE9, 0x20AC, 0x6771, 0x1F600, 0xD7FF, 0xFFFF, 0x10FFFF, 0x800, 0x10000)
    )


TOKENS = [
    b"a",
    b"b\n",
    "é".encode(),
    "東".encode(),
    "😀".encode(),
    b"\xf0\x9f",
    b"\x98\x80",
    b"\xc3",
]
TOKENS += [b"\xa9", b"\xe6\x9d", b"\xb1", b"\xff", b"\xed", b"\xa0\x80", b"", b"x\xe2", b"\x82\xac"]


def vocabulary():
    starts = np.concatenate([[0], np.cumsum([len(token) for token in TOKENS])]).astype(np.int64)
    blob = np.frombuffer(b"".join(TOKENS), np.uint8)
    characters = [sum(byte & 0xC0 != 0x80 for byte in token) for token in TOKENS]
    whole = [token.decode(errors="ignore").encode() == token for token in TOKENS]
    return blob, starts, np.array(characters, np.int32), np.array(whole, np.bool_)


@pytest.mark.parametrize("seed", range(200))
def test_places(seed):
    rng = random.Random(seed)
    # Half of the documents are of tokens that go together.
    if seed % 2:
        runs = [[0], [1], [2], [3], [4], [5, 6], [7, 8], [9, 10], [14], [15, 16]]
        ids = [token for _ in range(rng.randrange(8)) for token in rng.choice(runs)]
    else:
        ids = [rng.randrange(len(TOKENS)) for _ in range(rng.randrange(4))]
    places = sorted(rng.randrange(len(ids) + 1) for _ in range(4))
    found = np.empty((4, 3), np.int64)
    done = spans.placed(np.array(ids, np.uint16), np.array(places), *vocabulary(), found)
    expected = placed_by_hand(TOKENS, ids, places)
    assert done == (expected is not None)
    if expected is not None:
        assert found.tolist() == expected


def test_an_id_outside_the_vocabulary_is_not_read():
    found = np.empty((1, 3), np.int64)
    ids = np.array([0, len(TOKENS)], np.uint16)
    assert not spans.placed(ids, np.array([2]), *vocabulary(), found)
    assert spans.placed(ids, np.array([1]), *vocabulary(), found)


def test_spell():
    blob, starts, _, _ = vocabulary()
    data = np.empty(6, np.uint8)
    spans.spell(np.array([3, 0, 1], np.uint8), blob, starts, data)
    assert data.tobytes() == "東ab\n".encode()
