"""The model that decides whether a stream is sorted at once, or in blocks on several threads."""

import re
from pathlib import Path

import pytest

from everygram.building import external_sort, pace
from everygram.building.external_sort import longest_at_once

GIGABYTE = 1 << 30


def test_with_few_threads_what_fits_in_memory_is_one_block():
    for threads in (1, 2):
        for memory in (GIGABYTE, 100 * GIGABYTE):
            most = external_sort.most_in_memory(memory)
            assert longest_at_once(memory, threads) == most
            assert pace.block_len(threads, most // threads) == most // threads


@pytest.mark.parametrize("threads", [3, 4, 8, 32, 96, 4096])
@pytest.mark.parametrize("memory", [1, GIGABYTE >> 3, GIGABYTE, 16 * GIGABYTE, 1000 * GIGABYTE])
def test_longer_streams_are_clearly_faster_in_blocks(threads, memory):
    most = external_sort.most_in_memory(memory)
    length = longest_at_once(memory, threads)
    block = pace.block_len(threads, max(1, most // threads))
    # As many blocks as there are threads fit in memory.
    assert length <= most and block * threads <= max(most, threads)
    assert length == most or length >= pace.SHORTEST
    for tokens in range(length + 1, most + 1, max(1, (most - length) // 50)):
        at_once = pace.seconds_at_once(tokens)
        assert at_once >= 1.2 * pace.seconds_in_blocks(tokens, threads, block), tokens


def test_times_of_the_model():
    assert pace.seconds_at_once(10**7) == pytest.approx(0.53)
    assert pace.seconds_at_once(67 * 10**6) == pytest.approx(67 * 80 / 1000)
    assert 40 * 0.063 < pace.seconds_at_once(40 * 10**6) < 40 * 0.080
    # Two blocks at the same time, and merging on two threads.
    block = 10**7
    expected = block * 53e-9 + 2 * block * pace.MERGE_NS * 1e-9 / 2
    assert pace.seconds_in_blocks(2 * block, 2, block) == pytest.approx(expected)
    # A third block is sorted after them.
    assert pace.seconds_in_blocks(3 * block, 2, block) == pytest.approx(
        2 * block * 53e-9 + 3 * block * pace.MERGE_NS * 1e-9 / 2
    )


def test_the_predictions_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs/scale.md").read_text()
    section = text.split("## One large machine")[1].split("\n## ")[0]
    rows = re.findall(r"^\| +([\d,]+) M +\|(.*)\|$", section, re.M)
    assert len(rows) >= 3
    for millions, cells in rows:
        tokens = int(millions.replace(",", "")) * 10**6
        expected = [
            pace.seconds_at_once(tokens),
            *(pace.seconds_in_blocks(tokens, cores, pace.BLOCK) for cores in (2, 8, 32, 96)),
        ]
        assert [cell.strip() for cell in cells.split("|")] == [f"{each:.1f}" for each in expected]
