"""The oracle of drafts: the greedy chain by counts of `naive.py`, one token at a time."""


def naive_draft(
    index,
    context,
    max_tokens=8,
    min_token_prob=0.1,
    max_suffix=64,
    max_factor=1.0,
    lookback=0,
):
    """(length of the suffix, its count, [(token, count of the suffix with the draft up to it)],
    whether they are of the context)."""
    whole = list(context)
    suffix = index.longest_suffix(whole[-max_suffix:])
    own, repeat = own_draft(
        whole[-lookback:] if lookback else [], index.separator, max_suffix, max_tokens
    )
    if own and own >= len(suffix):
        most = next((k for k in range(len(repeat)) if k + 1 > max_factor * own), len(repeat))
        return own, 1, [(token, 1) for token in repeat[:most]], True
    if not suffix:
        return 0, 0, [], False
    total = sum(index.following(suffix).values())
    draft = []
    while len(draft) < max_tokens and len(draft) + 1 <= max_factor * len(suffix):
        following = index.following(suffix + [token for token, _ in draft])
        token = min(following, key=lambda token: (-following[token], token))
        if token == index.separator or following[token] / total < min_token_prob:
            break
        draft.append((token, following[token]))
    return len(suffix), total, draft, False


def own_draft(context, separator, max_suffix, max_tokens):
    """(length of the longest suffix that occurs before, what followed it there last, repeated)."""
    for length in range(min(len(context) - 1, max_suffix), 0, -1):
        suffix = context[-length:]
        if separator in suffix:
            continue
        for start in range(len(context) - length - 1, -1, -1):
            if context[start : start + length] == suffix:
                text = list(context)
                draft = []
                while len(draft) < max_tokens and text[start + length + len(draft)] != separator:
                    draft.append(text[start + length + len(draft)])
                    text.append(draft[-1])
                return length, draft
    return 0, []
