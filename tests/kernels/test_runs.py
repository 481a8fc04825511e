"""Runs of ranks that go on with certain tokens, against every rank read one by one."""

import random

import numpy as np
import pytest
from test_kernels import DTYPES, SLOW, Rows

from everygram.kernels.characters import CUT, NONE, OPEN, WORD, is_word_at, is_word_before
from everygram.kernels.covers import around
from everygram.kernels.runs import runs
from everygram.search.pattern import Pattern, word_table

# Of no segment: the tokens are given.
NONE_GIVEN = np.empty(0, np.int64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alphabet", [1, 2, 9, 200])
def test_every_rank_that_goes_on_with_a_wanted_token(tmp_path, dtype, alphabet):
    rng = random.Random(alphabet)
    size = 300 if SLOW else 3000
    documents = [rng.choices(range(alphabet), k=rng.randint(0, size)) for _ in range(4)]
    documents.append([0] * size)
    made = Rows(tmp_path / "index", documents, dtype, vocab_size=alphabet)
    stream, order = made.orders[0]
    (row,) = made.rows
    for depth in (1, 2, 4, 5):
        begun = {}
        for rank, position in enumerate(order):
            prefix = tuple(stream[position : position + depth])
            if len(prefix) == depth and made.separator not in prefix:
                begun.setdefault(prefix, []).append(rank)
        prefixes = rng.sample(sorted(begun), min(len(begun), 40))
        intervals = np.array([(begun[each][0], begun[each][-1] + 1) for each in prefixes])
        intervals = np.append(intervals.reshape(-1, 2), [[5, 5]], axis=0)
        for number in (0, 1, 3, alphabet):
            wanted = np.array(sorted(rng.sample(range(alphabet), min(number, alphabet))), np.int64)
            found = runs(row, np.empty(0, made.dtype), intervals, depth, wanted, False)
            ranks = [
                (which, wanted[token], rank)
                for which, token, first, last in found.tolist()
                for rank in range(first, last)
            ]
            expected = [
                (which, stream[order[rank] + depth], rank)
                for which, each in enumerate(prefixes)
                for rank in begun[each]
                if order[rank] + depth < len(stream) and stream[order[rank] + depth] in wanted
            ]
            assert sorted(ranks) == expected


def test_what_stands_around_a_text_as_far_as_a_token_says():
    """As reading on finds it, in the token alone and with any other beside it."""
    rng = random.Random(1)
    pattern, table = Pattern("x"), word_table()
    pieces = [*"aé日😀. \u0301\u200d", "\U000e0001"]
    pieces = [piece.encode() for piece in pieces]
    pieces += [bytes([byte]) for byte in (0x80, 0xC3, 0xE2, 0xF0, 0xFF)]
    pieces += [piece[:-1] for piece in pieces if len(piece) > 1]
    for _ in range(100 if SLOW else 2000):
        before, behind = (b"".join(rng.choices(pieces, k=rng.randrange(3))) for _ in range(2))
        others = [rng.choice(pieces) for _ in range(2)]
        spelled = [others[0], before + b"x" + behind, others[1]]
        blob = np.frombuffer(b"".join(spelled), np.uint8)
        starts = np.cumsum([0, *map(len, spelled)])
        beside = np.empty((1, 2), np.int64)
        token, offset = np.array([1]), np.array([len(before)])
        given = blob, starts, pattern.steps, pattern.targets, table
        around(token, offset, 0, *given, beside)
        for tokens, at in (([1], 0), ([0, 1, 2], 1)):
            stream = np.array(tokens, np.uint8)
            dropped = np.zeros(3, np.int32)
            left = is_word_before(
                NONE_GIVEN, NONE_GIVEN, stream, 255, at, len(before), blob, starts, dropped, table
            )
            right = is_word_at(
                NONE_GIVEN,
                NONE_GIVEN,
                stream,
                len(tokens),
                at,
                len(before) + 1,
                blob,
                starts,
                table,
            )
            for kind, found in zip(beside[0].tolist(), (left, right), strict=True):
                assert kind in (OPEN, CUT) or kind == (WORD if found else NONE)
        assert (beside[0, 1] == OPEN) == (not behind)
        # Only what a neighbour can change is open.
        assert (beside[0, 0] == OPEN) == all(0x80 <= byte < 0xC0 for byte in before[-4:]) * (
            len(before) < 4
        )
