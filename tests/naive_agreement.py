"""The oracle of agreement: every token's prompt by brute force, everything counted in lists."""

import statistics
from fractions import Fraction


def limited(naive, prompt, most):
    """The longest suffix of the prompt that occurs, of at most so many tokens."""
    begin = max(
        (place for place, token in enumerate(prompt) if token == naive.separator), default=0
    )
    prompt = prompt[begin:]
    for length in range(min(most, len(prompt)), 0, -1):
        if naive.count(prompt[-length:]):
            return prompt[-length:]
    return []


def tokens_of(naive, text, order):
    """(effective n, agrees, sparse, n of the n-gram model, whether that agrees) of each token."""
    rows = []
    for place, token in enumerate(text):
        row = []
        for most in (place, order - 1):
            used = limited(naive, list(text[:place]), most)
            total, seen, _ = naive.prob(used, token)
            agrees = bool(total) and Fraction(seen, total) > Fraction(1, 2)
            row += [len(used) + 1, agrees, len(naive.following(used)) == 1]
        rows.append((row[0], row[1], row[2], row[3], row[4]))
    return rows


def by_n(pairs):
    """What `ByEffectiveN.as_dict` says of (effective n, agrees)."""
    numbers = [n for n, _ in pairs]

    def share(part, whole):
        return len(part) / len(whole) if whole else None

    long = [agrees for n, agrees in pairs if n >= 16]
    agreed = [n for n, agrees in pairs if agrees]
    return {
        "num_tokens": len(pairs),
        "num_agreed": len(agreed),
        "agreement": share(agreed, pairs),
        "median_n": statistics.median(numbers) if numbers else None,
        "mean_n": sum(numbers) / len(numbers) if numbers else None,
        "share_from_5": share([n for n in numbers if n >= 5], numbers),
        "agreement_from_16": share([each for each in long if each], long),
        "by_effective_n": [
            {
                "effective_n": n,
                "tokens": numbers.count(n),
                "agreed": agreed.count(n),
                "agreement": agreed.count(n) / numbers.count(n),
            }
            for n in sorted(set(numbers))
        ],
    }


def agreement(naive, texts, order):
    """What `TextAgreement.as_dict` says of texts: (ids, how many of the first are context)."""
    rows = [row for ids, skip in texts for row in tokens_of(naive, ids, order)[skip:]]
    sparse = [row for row in rows if row[2]]
    return {
        "num_texts": len(texts),
        "num_tokens": len(rows),
        "share_sparse": len(sparse) / len(rows) if rows else None,
        "ngram": by_n([(n, agrees) for *_, n, agrees in rows]),
        "infgram": by_n([(n, agrees) for n, agrees, *_ in rows]),
        "sparse": by_n([(n, agrees) for n, agrees, *_ in sparse]),
    }
