"""Modified Kneser-Ney probabilities from the counts of left contexts (see `contexts`).

The probability of a token is computed from the empty context up to the longest one that occurs:
p(w | h) = max(a(hw) − D, 0) / A(h) + γ(h) p(w | h'), where h' is h without its first token, a(g)
the number of different tokens before g, A(h) = Σ a(hx) and γ(h) = Σ D / A(h) (Chen & Goodman 1999).
Where `raw` counts are wanted (for the longest contexts of a model with an order, and for contexts
that begin a document), a(g) is how often g occurs.

Contexts that are parts of one another and occur equally often have the same occurrences: all but
the longest have a single token before every one, so each of their continuations has count 1. Such
*flat* contexts are done together: p(w | h) − 1/T = D₁ (p(w | h') − 1/T) for a token that follows,
and p(w | h) = D₁ p(w | h') for another, with T the number of different tokens that follow.
Probabilities after long contexts may be smaller than any float64: they are kept as x · exp(scale).

Arguments, besides those of `search`: `lefts`: a segment's row whose document counts are left
contexts. `nodes`, `guides`, `least`: see `storage.prepared`. `discounts`: float64, shape
(k + 1, 4): in row i D₁, D₂ and D₃ of n-grams of i tokens, in columns 1 to 3; the last row is that
of all longer ones. `logs`: see `flat_log`. `order`: n of the model, or 0 for one without.
`unigrams`: float64, the probabilities after the empty context, in the dense form.
"""

import math

import numpy as np

from everygram.kernels import called, inlined, kernel, words
from everygram.kernels.continuations import DIFFERENT, DOUBLE, SINGLE, SUM, continuations
from everygram.kernels.documents import documents_in
from everygram.kernels.following import next_tokens
from everygram.kernels.rows import FIELDS, SEPARATOR
from everygram.kernels.seen import (
    DEEP,
    STORED,
    flat_until,
    followed,
    holds,
    interval_of,
    keep,
    slot_of,
    stores,
    twin_of,
)

# Below this, a probability moves into its scale.
SMALL = 1e-100
# Probabilities that sum to more than this besides 1 are those of a damaged file.
CLOSE = 1e-6


@inlined
def discount_row(discounts: np.ndarray, tokens: int) -> int:
    """The row of n-grams of so many tokens."""
    return min(tokens, discounts.shape[0] - 1)


@called
def flat_log(discounts: np.ndarray, logs: np.ndarray, first: int, last: int) -> float:
    """ln of the product of D₁ of n-grams of first to last tokens; −inf if one is 0.

    logs: float64, shape (orders + 1, 2): the sums of ln D₁ of all rows up to each, and the number
    of those that are 0, which the sums leave out.
    """
    rows = discounts.shape[0] - 1
    inside_last, inside_first = min(last, rows), min(first - 1, rows)
    if logs[inside_last, 1] > logs[inside_first, 1]:
        return -math.inf
    total = logs[inside_last, 0] - logs[inside_first, 0]
    beyond = last - max(first - 1, rows)
    if beyond > 0:
        if discounts[rows, 1] <= 0:
            return -math.inf
        total += beyond * math.log(discounts[rows, 1])
    return total


@inlined
def backed_off(discounts: np.ndarray, tokens: int, told: np.ndarray) -> float:
    """γ of a context whose continuations are n-grams of so many tokens."""
    row = discount_row(discounts, tokens)
    many = told[0, DIFFERENT] - told[0, SINGLE] - told[0, DOUBLE]
    mass = discounts[row, 1] * told[0, SINGLE] + discounts[row, 2] * told[0, DOUBLE]
    return (mass + discounts[row, 3] * many) / told[0, SUM]


@kernel
def log_probabilities(
    row: np.ndarray,
    lefts: np.ndarray,
    nodes: np.ndarray,
    guides: np.ndarray,
    least: int,
    ids: np.ndarray,
    reach: np.ndarray,
    base: int,
    table: np.ndarray,
    order: int,
    discounts: np.ndarray,
    logs: np.ndarray,
    unigrams: np.ndarray,
    first: int,
    cold: bool,
    found: np.ndarray,
) -> int:
    """Set found[i] to ln p of the token at place first + i of a text, after those before it.

    reach: int64, shape (len,): where the longest match at each place ends, a separator at its end
    included. Returns −1, or the first place at which a file is damaged.
    """
    separator = row[SEPARATOR]
    lanes, told = words(2, FIELDS), words(1, 4)
    # What was found of contexts, and of tokens after them (see `seen`). Of little for a short text.
    kept = STORED if found.shape[0] > STORED // 8 else STORED // 8
    seen, contexts, nexts = stores(kept, 5), stores(kept, 7), stores(kept, 6)
    # Of places with deep contexts, x and the scale after the longest one, and its length.
    deep = np.empty((found.shape[0], 3))
    recent = np.full(1 << 13, -1, np.int64)
    # An earlier place of which so many tokens up to it, itself included, are those up to this one.
    twin, alike = np.int64(-2), np.int64(0)
    # The last separator before the first place, or 0.
    begin = np.int64(0)
    for place in range(first - 1, -1, -1):
        if np.int64(ids[place]) == separator:
            begin = place
            break
    start = begin
    for i in range(found.shape[0]):
        place = first + i
        if place and np.int64(ids[place - 1]) == separator:
            begin = place - 1
        token = np.int64(ids[place])
        # The longest context that occurs, and that the model looks at.
        start = max(start, begin)
        if order:
            start = max(start, place - order + 1)
        while start < place and reach[start] < place:
            start += 1
        x, scale = unigrams[min(token, unigrams.shape[0] - 1)], 0.0
        length, longest = np.int64(1), place - start
        if longest >= DEEP:
            # What was computed for an earlier place whose longest context is part of this one.
            before = twin + 1
            twin = twin_of(ids, place, recent)
            same = twin >= 0 and twin == before and ids[twin] == ids[place]
            alike = alike + 1 if same else np.int64(0)
            if twin >= 0:
                most = np.int64(deep[twin - first, 2])
                if most <= longest:
                    while alike <= most and ids[twin - alike] == ids[place - alike]:
                        alike += 1
                    if alike > most:
                        x, scale = deep[twin - first, 0], deep[twin - first, 1]
                        length = most + 1
        else:
            twin = np.int64(-2)
        while length <= longest:
            lo, hi = interval_of(row, ids, table, base, place - length, place, cold, lanes, seen)
            size = hi - lo
            if size < 1:
                return place
            last = flat_until(
                row, ids, table, base, place, length, longest, size, cold, lanes, seen
            )
            follows = reach[place - last] > place
            raw = last == order - 1 or np.int64(ids[place - last]) == separator
            if size == 1:
                told[0, SUM], told[0, DIFFERENT], told[0, SINGLE], told[0, DOUBLE] = 1, 1, 1, 0
            else:
                if last > length:
                    lo, hi = interval_of(
                        row, ids, table, base, place - last, place, cold, lanes, seen
                    )
                key = 2 * last + np.int64(raw)
                slot = slot_of(contexts, lo, hi, key)
                if holds(contexts, slot, lo, hi, key):
                    for column in range(4):
                        told[0, column] = contexts[slot, 3 + column]
                elif continuations(
                    row, lefts, nodes, guides, ids, least, last, lo, hi, raw, cold, told
                ):
                    keep(contexts, slot, lo, hi, key, told[0, 0], told[0, 1])
                    contexts[slot, 5], contexts[slot, 6] = told[0, 2], told[0, 3]
                else:
                    return place
            if last > length:
                part = flat_log(discounts, logs, length + 1, last)
                if not follows:
                    scale += part
                    if scale == -math.inf:
                        x, scale = 0.0, 0.0
                elif part < 0:
                    even = 1 / told[0, DIFFERENT]
                    x = x * math.exp(scale + part) - even * math.expm1(part)
                    scale = 0.0
            gamma = backed_off(discounts, last + 1, told)
            if follows:
                count = np.int64(1)
                if size > 1:
                    if last < table.shape[1] and place - last >= base:
                        lo, hi = interval_of(
                            row, ids, table, base, place - last, place + 1, cold, lanes, seen
                        )
                        count = hi - lo if raw else documents_in(lefts, lo, hi, cold)
                    else:
                        key = (last << 33) + 2 * token + np.int64(raw)
                        slot = slot_of(nexts, lo, hi, key)
                        if not holds(nexts, slot, lo, hi, key):
                            low, high = followed(row, ids, lo, hi, last, token)
                            count = high - low if raw else documents_in(lefts, low, high, cold)
                            keep(nexts, slot, lo, hi, key, low, high)
                            nexts[slot, 5] = count
                        lo, hi, count = nexts[slot, 3], nexts[slot, 4], nexts[slot, 5]
                        other = (place - last) & (seen.shape[0] - 1)
                        keep(seen, other, place - last, place + 1, 0, lo, hi)
                    if count < 1 or count > told[0, SUM]:
                        return place
                line = discount_row(discounts, last + 1)
                more = max(count - discounts[line, min(np.int64(3), count)], 0.0) / told[0, SUM]
                if more > 0 and scale < 0:
                    x, scale = x * math.exp(scale), 0.0
                x = more + gamma * x if scale == 0 else gamma * x
            else:
                x *= gamma
            if 0 < x < SMALL:
                scale += math.log(x)
                x = 1.0
            length = last + 1
        if longest >= DEEP:
            deep[i, 0], deep[i, 1], deep[i, 2] = x, scale, longest
        found[i] = math.log(x) + scale if x > 0 else -math.inf
        if found[i] > CLOSE:
            return place
    return -1


@kernel
def distribution(
    row: np.ndarray,
    lefts: np.ndarray,
    nodes: np.ndarray,
    guides: np.ndarray,
    least: int,
    ids: np.ndarray,
    longest: int,
    order: int,
    discounts: np.ndarray,
    logs: np.ndarray,
    unigrams: np.ndarray,
    cold: bool,
    found: np.ndarray,
) -> bool:
    """Set `found`, in the dense form, to the probabilities after the last `longest` ids.

    Returns False for a damaged file. Precondition: these ids occur.
    """
    separator = row[SEPARATOR]
    lanes, told = words(2, FIELDS), words(1, 4)
    table, seen = np.empty((0, 1, 2), np.int64), stores(1, 5)
    place = ids.shape[0]
    # Where flat stretches of contexts begin and end.
    stretches = np.empty((longest, 2), np.int64)
    count, length = np.int64(0), np.int64(1)
    while length <= longest:
        lo, hi = interval_of(row, ids, table, place, place - length, place, cold, lanes, seen)
        if hi <= lo:
            return False
        last = flat_until(
            row, ids, table, place, place, length, longest, hi - lo, cold, lanes, seen
        )
        stretches[count, 0], stretches[count, 1] = length, last
        count += 1
        length = last + 1
    found[:] = 0.0
    weight = 1.0
    end = found.shape[0] - 1
    for stretch in range(count - 1, -1, -1):
        if weight == 0.0:  # (After a long repeat, what is left is smaller than any float64.)
            break
        length, last = stretches[stretch, 0], stretches[stretch, 1]
        lo, hi = interval_of(row, ids, table, place, place - last, place, cold, lanes, seen)
        raw = last == order - 1 or np.int64(ids[place - last]) == separator
        if hi - lo == 1:
            told[0, SUM], told[0, DIFFERENT], told[0, SINGLE], told[0, DOUBLE] = 1, 1, 1, 0
        elif not continuations(
            row, lefts, nodes, guides, ids, least, last, lo, hi, raw, cold, told
        ):
            return False
        gamma = backed_off(discounts, last + 1, told)
        part, even = 0.0, 0.0
        if last > length:
            part = flat_log(discounts, logs, length + 1, last)
            even = -math.expm1(part) / told[0, DIFFERENT]
        line = discount_row(discounts, last + 1)
        tokens, sizes = next_tokens(row, ids, place - last, lo, hi, 0, cold)
        at = lo
        for i in range(tokens.shape[0]):
            size = sizes[i]
            number = size if raw else documents_in(lefts, at, at + size, cold)
            at += size
            if number < 1:
                return False
            more = max(number - discounts[line, min(number, 3)], 0.0) / told[0, SUM]
            found[min(tokens[i], end)] += weight * (more + gamma * even)
        weight *= gamma * math.exp(part)
    total = 0.0
    for i in range(found.shape[0]):
        found[i] += weight * unigrams[i]
        total += found[i]
    return abs(total - 1) < CLOSE


@kernel
def unigram_counts(
    row: np.ndarray, lefts: np.ndarray, ranks: np.ndarray, cold: bool, counts: np.ndarray
) -> bool:
    """Set counts[i] to how many different tokens stand before the i-th distinct token.

    ranks: int64, shape (k + 1,): where the suffixes that begin with each start, and the last end.
    Returns False for a damaged file.
    """
    for i in range(counts.shape[0]):
        counts[i] = documents_in(lefts, ranks[i], ranks[i + 1], cold)
        if counts[i] < 1:
            return False
    return True
