"""How long it takes to sort a stream: at once on one thread, or in blocks on several? A model.

Lengths and threads in, seconds out. Knows measured times per token; does not know how sorting is
done. What it leaves out: blocks are sorted while later documents are still being read, so that
little of their time may be left afterwards; and processors that share a memory slow each other
down. Hence blocks must be faster by CLEARLY.
"""

import math

import numpy as np

# Nanoseconds per token of sorting a stream of so many tokens on one thread (natural text, AMD EPYC;
# `bench/README.md`, "Sorting": the more tokens, the less of them is in the caches).
SORT_NS = ((1e6, 47.0), (10e6, 53.0), (20e6, 63.0), (67e6, 80.0), (542e6, 117.0))
# The same of merging blocks: 90 to 135 were measured, so the most.
MERGE_NS = 135.0
# Tokens in a block, where memory allows more: these are sorted in a second, at 60 ns a token.
BLOCK = 1 << 24
# With fewer threads, merging takes all that is gained by sorting at the same time.
FEWEST_THREADS = 3
# Streams up to this length are sorted in a second.
SHORTEST = 1 << 24
CLEARLY = 1.25


def seconds_at_once(tokens: int) -> float:
    """The time to sort a stream of so many tokens as one block."""
    return tokens * _sort_ns(tokens) / 1e9


def seconds_in_blocks(tokens: int, threads: int, block: int) -> float:
    """The time to sort it in blocks of so many tokens, as many at a time as there are threads, and
    to merge these."""
    block = min(block, tokens)
    rounds = math.ceil(math.ceil(tokens / block) / threads)
    return (rounds * block * _sort_ns(block) + tokens * MERGE_NS / threads) / 1e9


def block_len(threads: int, longest: int) -> int:
    """How many tokens a block has where `longest` would fit in a thread's share of memory."""
    return longest if threads < FEWEST_THREADS else min(longest, BLOCK)


def longest_at_once(threads: int, longest: int, most: int) -> int:
    """The length from which on streams are sorted faster in blocks, clearly; or `most`, if less.

    longest: as in `block_len`. most: tokens that fit in memory.
    """
    if threads < FEWEST_THREADS:
        return most
    block = block_len(threads, max(1, longest))
    tokens = max(SHORTEST, 2 * block)
    while tokens < most and (
        seconds_at_once(tokens) < CLEARLY * seconds_in_blocks(tokens, threads, block)
    ):
        tokens *= 2
    return min(tokens, most)


def _sort_ns(tokens: int) -> float:
    lengths, times = zip(*SORT_NS, strict=True)
    return float(np.interp(math.log(max(1, tokens)), np.log(lengths), times))
