"""Answers of the analyses in words, from their JSON values."""

from collections.abc import Sequence
from typing import Any

from everygram.analysis.figures import shown_name

# The effective n whose shares are shown, as `results.analysis` names them.
MANY, LONG = 5, 16


def show_agreements(answer: dict[str, Any]) -> str:
    """A line for all texts, and one for each group; then what the columns are."""
    ngram = f"{answer['order']}-gram"
    heads = [
        "",
        *("texts", "tokens", ngram, "∞-gram", "sparse", "tokens sparse"),
        *("median n", "mean n", f"n ≥ {MANY}", f"agree, n ≥ {LONG}"),
    ]
    rows = [
        [
            shown_name(name),
            f"{each['num_texts']:,}",
            f"{each['num_tokens']:,}",
            *(percent(each[model]["agreement"]) for model in ("ngram", "infgram", "sparse")),
            percent(each["share_sparse"]),
            _number(each["infgram"]["median_n"], "g"),
            _number(each["infgram"]["mean_n"], ".1f"),
            percent(each["infgram"][f"share_from_{MANY}"]),
            percent(each["infgram"][f"agreement_from_{LONG}"]),
        ]
        for name, each in [("all", answer["total"]), *answer["groups"].items()]
    ]
    return "\n".join(
        [
            *_table(heads, rows),
            "",
            f"{ngram}, ∞-gram  share of the tokens to which the model gives more than 0.5",
            "sparse          the same, of tokens before which the ∞-gram model's prompt is always",
            "                followed by one token; tokens sparse: their share",
            "n               effective n of the ∞-gram model: 1 + tokens of its prompt",
        ]
    )


def show_by_neural_prob(answer: dict[str, Any]) -> str:
    """A line for each bin of the neural model's probability, and one for all."""
    heads = ["neural prob", "tokens", "∞-gram", "sparse tokens", "sparse"]
    rows = [
        [
            f"{row['from']:.4g} – {row['to']:.4g}",
            f"{row['tokens']:,}",
            percent(row["agreement"]),
            f"{row['sparse_tokens']:,}",
            percent(row["sparse_agreement"]),
        ]
        for row in answer["bins"]
    ]
    sparse = sum(row["sparse_tokens"] for row in answer["bins"])
    every = [percent(answer[name]) for name in ("agreement", "sparse_agreement")]
    rows.append(["all", f"{answer['num_tokens']:,}", every[0], f"{sparse:,}", every[1]])
    return "\n".join(
        [
            *_table(heads, rows),
            "",
            "∞-gram  share of the tokens to which the ∞-gram model gives more than 0.5",
            "sparse  the same, of tokens before which its prompt is always followed by one token",
        ]
    )


def show_scaling(answer: dict[str, Any]) -> str:
    """A line for each size, and what was evaluated."""
    ngram = f"{answer['order']}-gram"
    neural = "mixed_perplexity" in answer["steps"][0]
    heads = [
        *("share", "documents", "tokens", ngram, "∞-gram", "sparse", "tokens sparse", "mean n"),
        *("perplexity", *(("neural", "mixed", "Δ") if neural else ())),
    ]
    rows = [
        [
            f"{row['share']:.2%}",
            f"{row['num_documents']:,}",
            f"{row['num_tokens']:,}",
            *(percent(row[f"{model}_agreement"]) for model in ("ngram", "infgram", "sparse")),
            percent(row["share_sparse"]),
            _number(row["mean_n"], ".1f"),
            _number(row["perplexity"], ".1f"),
            *(
                (
                    _number(row["neural_perplexity"], ".2f"),
                    _number(row["mixed_perplexity"], ".2f"),
                    "–" if row["delta"] is None else f"{row['delta']:.1f} %",
                )
                if neural
                else ()
            ),
        ]
        for row in answer["steps"]
    ]
    said = [
        "neural, mixed: perplexities of the second half of the documents with log-probabilities, "
        "with λ",
        "found on the first; Δ: (1 − (mixed − 1)/(neural − 1))·100 %",
    ]
    return "\n".join(
        [
            *_table(heads, rows),
            "",
            f"of {answer['num_texts']:,} documents, {answer['num_evaluated_tokens']:,} tokens; "
            "perplexity: of the language model infgram-floor",
            *(said if neural else ()),
        ]
    )


def percent(share: float | None) -> str:
    """A share as a percentage."""
    return "–" if share is None else f"{share:.1%}"


def _number(value: float | None, kind: str) -> str:
    return "–" if value is None else format(value, kind)


def _table(heads: list[str], rows: Sequence[list[str]]) -> list[str]:
    """The lines of a table: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in (heads, *rows)
    ]
