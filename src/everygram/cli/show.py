"""Answers to queries in words, from their JSON values."""

from collections import Counter
from collections.abc import Sequence
from typing import Any


def show_query(answer: dict[str, Any], label: str = "query") -> str:
    """The tokens a query or prompt became: as text if known, and their ids."""
    ids = " ".join(map(str, answer["token_ids"]))
    if not ids:
        return f"{label:<8}  (empty)"
    if answer["tokens"] is None:
        return f"{label:<8}  ids {ids}"
    return f"{label:<8}  {' '.join(map(repr, answer['tokens']))}   ids {ids}"


NO_COUNTS = "no: every occurrence is looked at ('everygram upgrade' adds them)"
NOT_ATTACHED = "no: every occurrence is looked at ('everygram attach --document-counts' adds them)"
NOT_CONVERTED = "no: no modified Kneser-Ney (an index that 'everygram convert' makes can be)"
NOT_PREPARED = "no: no modified Kneser-Ney ('everygram prepare' makes what it needs)"


def show_count(answer: dict[str, Any]) -> str:
    """A count, and that of documents if it was asked for."""
    count = f"{answer['count']:,}"
    if "document_count" in answer:
        count += f", in {counted(answer['document_count'], 'document')}"
    return f"count     {count}\n{show_query(answer)}"


def show_prob(answer: dict[str, Any]) -> str:
    """A probability, and the two counts whose quotient it is."""
    prob = "undefined: the prompt does not occur"
    if answer["prob"] is not None:
        counts = f"{answer['continuation_count']:,} / {answer['prompt_count']:,}"
        prob = f"{answer['prob']:.6g} = {counts}"
    token = f"id {answer['continuation_id']}"
    if answer["continuation"] is not None:
        token = f"{answer['continuation']!r}   {token}"
    return "\n".join(
        [
            f"prob      {prob}",
            f"of        {token}",
            f"after     {_context(answer)}",
            show_query(answer, "prompt"),
        ]
    )


def show_distribution(answer: dict[str, Any]) -> str:
    """The most frequent tokens of a distribution."""
    lines = [
        f"after     {_context(answer)}: {counted(answer['prompt_count'], 'occurrence')}, "
        f"{counted(answer['distinct'], 'different token')} next",
        show_query(answer, "prompt"),
    ]
    if not answer["exact"]:
        bound = f"{answer['error_bound']:,}"
        lines.append(
            f"exact     no: counts may be off by {bound}; tokens that follow at most {bound} times "
            "may be missing"
        )
    if answer["next"]:
        lines.append(f"{'prob':>10}  {'count':>12}  {'id':>7}  token")
    for token in answer["next"]:
        text = "" if token["token"] is None else repr(token["token"])
        row = f"{token['prob']:>10.6f}  {token['count']:>12,}  {token['token_id']:>7}  {text}"
        lines.append(row.rstrip())
    left = answer["distinct"] - len(answer["next"])
    if left:
        lines.append(f"and {left:,} more (--all shows them)")
    return "\n".join(lines)


def show_scores(answer: dict[str, Any]) -> str:
    """The probability of each token of a text, one line per token."""
    model = "∞-gram" if answer["order"] is None else f"{answer['order']}-gram"
    columns = ("suffix_lens", "prompt_counts", "continuation_counts", "probs", "sparse")
    rows = [
        (
            "undefined" if prob is None else f"{prob:.6f}",
            f"{continuation_count:,}",
            f"{prompt_count:,}",
            suffix_len,
            "sparse" if sparse else "",
        )
        for suffix_len, prompt_count, continuation_count, prob, sparse in zip(
            *(answer[name] for name in columns), strict=True
        )
    ]
    heads = {"prob": 10, "count": 12, "of": 12, "suffix_len": 10, "": 6}
    return _token_table(f"model     {model}", answer, heads, rows)


def show_longest_matches(answer: dict[str, Any]) -> str:
    """The longest match at each token of a text, one line per token."""
    rows = [
        (f"{length:,}", f"{count:,}")
        for length, count in zip(answer["lengths"], answer["counts"], strict=True)
    ]
    head = f"longest   {counted(max(answer['lengths'], default=0), 'token')}"
    return _token_table(head, answer, {"length": 10, "count": 12}, rows)


# The n of the table of `novelty`; --json has all.
TABLE_N = (3, 5, 8)


def show_novelty(answers: list[dict[str, Any]]) -> str:
    """How much of files is new: a line per file, then what the columns are."""
    most = len(answers[0]["new"])
    shown = [n for n in TABLE_N if n <= most] or [most]
    heads = ["file", "texts", "tokens", *[f"n={n}" for n in shown] * 2, "creativity", "longest"]
    rows = [
        [
            printable(answer["file"]),
            f"{answer['num_texts']:,}",
            f"{answer['num_tokens']:,}",
            *(_share(answer[name][n - 1]) for name in ("new", "covered") for n in shown),
            "–" if answer["creativity_index"] is None else f"{answer['creativity_index']:.3f}",
            f"{answer['longest']:,}",
        ]
        for answer in answers
    ]
    widths = [max(7, *map(len, column)) for column in zip(heads, *rows, strict=True)]
    new, covered = sum(widths[:3]) + 6, 9 * len(shown)
    low, high = answers[0]["creativity_bounds"]
    return "\n".join(
        [
            f"{'':{new}}{'new':<{covered}}covered",
            *(
                "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
                for row in (heads, *rows)
            ),
            "",
            "new         share of the n-grams that do not occur in the index",
            "covered     share of the tokens inside matches of n tokens or more",
            "creativity  share of the tokens in no match of L tokens or more, summed over "
            f"L = {low} to {high}",
            f"            (from 0 to {high - low + 1})",
            "longest     tokens of the longest match",
        ]
    )


def printable(name: str) -> str:
    """A name in one line, without what cannot be printed."""
    return "".join(each if each.isprintable() else "�" for each in name)


def _share(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _token_table(
    head: str, answer: dict[str, Any], widths: dict[str, int], rows: Sequence[tuple[object, ...]]
) -> str:
    """A table with a row per token of a text: the given columns, its id and its text."""
    if not rows:
        return f"{head}\n{show_query(answer, 'text')}"
    tokens = answer["tokens"] or [None] * len(rows)
    lines = [
        "  ".join(f"{value:>{width}}" for value, width in zip(row, widths.values(), strict=True))
        + f"  {token_id:>7}  {'' if token is None else repr(token)}".rstrip()
        for row, token_id, token in zip(rows, answer["token_ids"], tokens, strict=True)
    ]
    titles = "  ".join(f"{title:>{width}}" for title, width in widths.items())
    return "\n".join([head, f"{titles}  {'id':>7}  token", *lines])


def _context(answer: dict[str, Any]) -> str:
    asked = len(answer["token_ids"])
    used = answer["suffix_len"]
    return "the whole prompt" if used == asked else f"the last {used} of its {asked} tokens"


def counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def sized(number: int) -> str:
    """A number of bytes, in the unit that people read best."""
    if number < 1e6:
        return counted(number, "byte")
    return f"{number / 1e6:,.1f} MB" if number < 1e9 else f"{number / 1e9:,.1f} GB"


def show_info(answer: dict[str, Any]) -> str:
    """What an index is, one fact per line."""
    # (An id is no number of things: it is shown as users write it.)
    numbers = (name for name, value in answer.items() if type(value) is int)
    foreign = answer.get("format") == "infini-gram"
    no_counts, not_prepared = NO_COUNTS, NOT_PREPARED
    if foreign:
        no_counts, not_prepared = NOT_ATTACHED, NOT_CONVERTED
    shown = {
        "document_counts": "yes" if answer["document_counts"] else no_counts,
        # (A union cannot be prepared, and does not say so.)
        "prepared": "yes" if answer.get("prepared") else not_prepared,
    }
    shown |= {name: f"{answer[name]:,}" for name in numbers if name != "separator"}
    if "segments" in answer:
        kinds = Counter(segment["kind"] for segment in answer["segments"])
        each = (f"{number:,} {kind}" for kind, number in kinds.items())
        shown["segments"] = ", ".join(each) or "none"
    left_out = {"format_version", "everygram_version"} if foreign else set()
    return "\n".join(
        f"{name:<18} {shown.get(name, repr(value))}"
        for name, value in answer.items()
        if name not in left_out
    )
