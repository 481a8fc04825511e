"""The oracle of novelty: every n-gram of a text looked for in every document, token by token."""

import math


def novelty(naive, text, max_n, bounds):
    """What `Novelty.as_dict` says of one text, by definition. naive: a `NaiveIndex`."""
    text = list(text)
    size = len(text)
    occurs = {
        (start, end): naive.count(text[start:end]) > 0
        for start in range(size)
        for end in range(start + 1, size + 1)
        if naive.separator not in text[start + 1 : end - 1]
    }

    def covered(n):
        """How many tokens are in a run of n tokens or more that occurs."""
        return sum(
            any(
                found
                for (start, end), found in occurs.items()
                if start <= place < end and end - start >= n
            )
            for place in range(size)
        )

    ngrams = [[run for run in occurs if run[1] - run[0] == n] for n in range(1, max_n + 1)]
    new = [sum(not occurs[run] for run in runs) for runs in ngrams]
    covering = [covered(n) for n in range(1, max_n + 1)]
    unmatched = sum(size - covered(length) for length in range(bounds[0], bounds[1] + 1))
    return {
        "num_texts": 1,
        "num_tokens": size,
        "longest": max((end - start for (start, end), found in occurs.items() if found), default=0),
        "creativity_index": unmatched / size if size else None,
        "creativity_bounds": list(bounds),
        "unmatched_tokens": unmatched,
        "new": [a / len(b) if b else None for a, b in zip(new, ngrams, strict=True)],
        "new_ngrams": new,
        "num_ngrams": list(map(len, ngrams)),
        "covered": [each / size if size else None for each in covering],
        "covered_tokens": covering,
    }


def pooled(answers):
    """What is said of several texts together, from what is said of each."""
    sums = {
        name: [sum(numbers) for numbers in zip(*(each[name] for each in answers), strict=True)]
        for name in ("covered_tokens", "num_ngrams", "new_ngrams")
    }
    texts, size, unmatched = (
        sum(each[name] for each in answers)
        for name in ("num_texts", "num_tokens", "unmatched_tokens")
    )
    new = zip(sums["new_ngrams"], sums["num_ngrams"], strict=True)
    return sums | {
        "num_texts": texts,
        "num_tokens": size,
        "longest": max(each["longest"] for each in answers),
        "creativity_index": unmatched / size if size else None,
        "creativity_bounds": answers[0]["creativity_bounds"],
        "unmatched_tokens": unmatched,
        "new": [a / b if b else None for a, b in new],
        "covered": [each / size if size else None for each in sums["covered_tokens"]],
    }


def shares_by_length(holds, bounds):
    """The creativity index of tokens, each by the length of the longest match that holds it."""
    low, high = bounds
    each = [max(0, high - max(hold, low - 1)) for hold in holds]
    return sum(each) / len(holds) if holds else math.nan
