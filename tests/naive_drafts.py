"""The oracle of drafts: the greedy chain by counts of `naive.py`, one token at a time."""


def naive_draft(
    index, context, max_tokens=8, min_token_prob=0.1, max_suffix=64, max_factor=1.0
):
    """(length of the suffix, its count, [(token, count of the suffix with the draft up to it)])."""
    context = list(context)[-max_suffix:]
    suffix = index.longest_suffix(context)
    if not suffix:
        return 0, 0, []
    total = sum(index.following(suffix).values())
    draft = []
    while len(draft) < max_tokens and len(draft) + 1 <= max_factor * len(suffix):
        following = index.following(suffix + [token for token, _ in draft])
        token = min(following, key=lambda token: (-following[token], token))
        if token == index.separator or following[token] / total < min_token_prob:
            break
        draft.append((token, following[token]))
    return len(suffix), total, draft
