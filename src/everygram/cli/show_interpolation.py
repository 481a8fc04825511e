"""What an ∞-gram adds to a neural model, in words, from JSON values."""

from typing import Any

HEADS = ("", "documents", "tokens", "sparse", "P∞ = 0", "λ", "neural", "one λ", "two λ")


def show_interpolation(answer: dict[str, Any]) -> str:
    """λ; perplexities of tuning and test documents, and of the test's classes; intervals."""
    forest = answer["weights"] == "forest"
    rows = [[*HEADS, *(["forest"] if forest else []), "Δ"]]
    for name in ("tune", "test"):
        rows.append(_row(name, answer[name], forest))
    for name in ("sparse", "other"):
        rows.append(_row(f"test, {name}", answer["test"][name], forest))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    return "\n".join(
        [
            f"λ  {_number(answer['sparse_lambda'], 3)} for sparse tokens, "
            f"{_number(answer['other_lambda'], 3)} for others; "
            f"{_number(answer['one_lambda'], 3)} if it is one for all",
            "",
            *table,
            *_intervals(answer["test"], "forest" if forest else "two λ"),
            *_notes(answer),
        ]
    )


def _row(name: str, of: dict[str, Any], forest: bool) -> list[str]:
    """A line of the table: of documents, or of a class of their tokens."""
    whole = "documents" in of
    zeros = f"{of['zeros'] / of['tokens']:.1%}" if of["tokens"] else "–"
    two = of["two_lambda_perplexity"] if whole else of["perplexity"]
    return [
        name,
        f"{of['documents']:,}" if whole else "",
        f"{of['tokens']:,}",
        f"{of['sparse_share']:.1%}" if whole else "",
        zeros,
        _number(of["mean_lambda"], 3),
        _number(of["neural_perplexity"], 2),
        _number(of["one_lambda_perplexity"], 2) if whole else "",
        *([_number(two, 2)] if whole or not forest else [""]),
        *([_number(of["perplexity"], 2)] if forest else []),
        _percent(of["delta"]),
    ]


def _intervals(test: dict[str, Any], mixture: str) -> list[str]:
    if test["interval"] is None:
        return []
    named = (("neural", "neural_interval"), (mixture, "interval"))
    shown = [f"{name} {' to '.join(_number(end, 2) for end in test[of])}" for name, of in named]
    ends = " to ".join(_percent(end) for end in test["delta_interval"])
    return ["", f"95 % of samples of the test documents: {', '.join(shown)}, Δ {ends}"]


def _notes(answer: dict[str, Any]) -> list[str]:
    """What the columns are."""
    forest = answer["weights"] == "forest"
    notes = [
        "",
        "sparse  tokens before which the ∞-gram has seen just one next token",
        "λ       the ∞-gram's share, mean of the tokens",
        "neural  perplexity per token of the neural model alone; one λ, two λ: of the mixture",
    ]
    if forest:
        notes.append(
            "forest  of the mixture by a forest; trees have not seen the document they mix"
        )
    notes.append(f"Δ       (1 − ({'forest' if forest else 'two λ'} − 1)/(neural − 1))·100 %")
    names = ("neural_perplexity", "two_lambda_perplexity", "perplexity")
    if any(answer[of][name] is None for of in ("tune", "test") for name in names):
        notes.append(
            "–       not finite: a token has probability 0, of the neural model, or because λ is 1 "
            "(no tuning token speaks against it)"
        )
    return notes


def _number(value: float | None, digits: int) -> str:
    # (What JSON has no number for is 1/0 or 0/0: a token of probability 0, or no tokens.)
    return "–" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"
