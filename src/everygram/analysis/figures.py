"""Figures of analyses, drawn with matplotlib (extra `plot`).

It is imported when a figure is wanted: nothing else waits for it.
"""

import io
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from everygram.arguments import short, string
from everygram.errors import MissingExtraError, OptionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from everygram.results.analysis import Agreements, Analysis, ByEffectiveN, ByNeuralProb
    from everygram.results.scaling import Scaling

# Tokens of this effective n and of larger ones have one bar together.
LAST_N = 40
BARS, DOTS, PALE, OTHER = "#c4c7cc", "#1a8a4a", "#a5d6bb", "#c2571a"
# Agreement with fewer tokens is drawn pale.
FEW = 20
# In inches, of a panel; and the most rows of panels: larger files cannot be drawn.
WIDTH, HEIGHT, MOST_ROWS = 3.7, 2.9, 100
# Characters of a name that are shown, of the whole figure and of a panel; of a longer one its end.
NAME, PANEL_NAME = 60, 36


def figure(result: "Analysis", title: str = "") -> "Figure":
    """The figure of an analysis, as the paper draws it: a `matplotlib.figure.Figure`.

    Of `agreement` and `generated`, a row of panels for each group: tokens by effective n (bars),
    and the share of them that the model agrees with (dots, pale for fewer than 20 tokens). Of
    `neural_agreement`, the same by the neural model's probability. Of `scaling`, agreement and
    perplexity by the size of the index. Save it with `figure(found).savefig("found.png")`.

    Raises OptionError for what is no analysis or has more than 100 groups, MissingExtraError
    without matplotlib.
    """
    title = string("title", title)
    check_matplotlib("a figure")
    from everygram.results.analysis import Agreements, ByNeuralProb
    from everygram.results.scaling import Scaling

    if isinstance(result, Agreements):
        made = _agreements(result)
    elif isinstance(result, ByNeuralProb):
        made = _by_neural_prob(result)
    elif isinstance(result, Scaling):
        made = _scaling(result)
    else:
        raise OptionError(f"result: expected one of an analysis, found {short(result)}")
    if title:
        made.suptitle(shown_name(title), parse_math=False)
    return made


def check_matplotlib(what: str) -> None:
    """Raise MissingExtraError if it is not there."""
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise MissingExtraError(
            f"{what} needs {error.name or 'matplotlib'}: pip install 'everygram[plot]'"
        ) from None


def drawn(made: "Figure", kind: str) -> bytes:
    """A figure as a file: "png" or "svg"."""
    import matplotlib

    out = io.BytesIO()
    with (
        # (Text stays text in .svg: it can be searched, and needs no font of this machine.)
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "everygram"}),
        warnings.catch_warnings(),
    ):
        # (Of each character of a name that the font has not.)
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        # (Without its date, the same figure is the same file.)
        metadata = {"Date": None} if kind == "svg" else None
        made.savefig(out, format=kind, dpi=150, bbox_inches="tight", metadata=metadata)
    return out.getvalue()


def shown_name(name: str, most: int = NAME) -> str:
    """A name as a figure shows it: in one line, without what cannot be printed; of one with more
    than `most` characters its end."""
    shown = "".join(each if each.isprintable() else "�" for each in name)
    return shown if len(shown) <= most else f"…{shown[1 - most :]}"


def _panels(rows: int, columns: int) -> "tuple[Figure, Any]":
    """A figure, and its axes by row and column; those of a column have the same x."""
    from matplotlib.figure import Figure

    made = Figure(figsize=(WIDTH * columns, HEIGHT * rows), layout="constrained")
    return made, made.subplots(rows, columns, squeeze=False, sharex="col")


def _agreements(result: "Agreements") -> "Figure":
    """A row for each group; a column for each model."""
    groups = result.groups or {"": result.total}
    if len(groups) > MOST_ROWS:
        raise OptionError(
            f"a figure: expected at most {MOST_ROWS} groups, found {len(groups):,}; group by a "
            "field with fewer values, or do without the figure"
        )
    made, axes = _panels(len(groups), 3)
    for row, (name, each) in zip(axes, groups.items(), strict=True):
        for axis, (model, panel) in zip(row, each.panels.items(), strict=True):
            beside = _by_n(axis, panel)
            label = f"{model}: {panel.agreement:.0%} agreement" if panel.num_tokens else model
            title = f"{shown_name(name, PANEL_NAME)}\n{label}" if name else label
            axis.set_title(title, parse_math=False, fontsize=10)
        row[0].set_ylabel("tokens")
        beside.set_ylabel("agreement", color=DOTS)
    for axis, model in zip(axes[-1], result.total.panels, strict=True):
        longest = max(each.panels[model].tokens.shape[0] for each in groups.values()) - 1
        _ticks_of_n(axis, longest)
    return made


def _by_n(axis: "Axes", panel: "ByEffectiveN") -> "Axes":
    """Tokens and agreement by effective n, the longest together; see `_bars_and_dots`."""
    import numpy as np

    tokens, agreed = (
        np.append(each[:LAST_N], each[LAST_N:].sum()) for each in (panel.tokens, panel.agreed)
    )
    places = np.append(np.arange(tokens.shape[0] - 1), LAST_N)
    return _bars_and_dots(axis, places, tokens, agreed, 0.9)


def _ticks_of_n(axis: "Axes", longest: int) -> None:
    """The axis of effective n, of which `longest` is the largest."""
    last = min(longest, LAST_N)
    ticks = [*range(1, last + 1)] if last <= 10 else [1, 5, *range(10, LAST_N, 10), LAST_N]
    labels = [f"{n}+" if n == LAST_N else str(n) for n in ticks]
    axis.set_xticks(ticks, labels)
    axis.set_xlim(0.2, (last if last <= 10 else LAST_N) + 0.8)
    axis.set_xlabel("effective n")


def _bars_and_dots(axis: "Axes", places: Any, tokens: Any, agreed: Any, width: float) -> "Axes":
    """Bars of tokens; on axes of their own, which it returns, the agreement where there are any."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

    axis.bar(places, tokens, width, color=BARS)
    if not tokens.any():
        axis.set_ylim(0, 1)
    axis.yaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axis.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    beside = axis.twinx()
    for these, color in ((tokens >= FEW, DOTS), ((tokens > 0) & (tokens < FEW), PALE)):
        beside.plot(places[these], agreed[these] / tokens[these], ".", color=color, markersize=5)
    beside.set_ylim(-0.03, 1.03)
    beside.yaxis.set_major_formatter(PercentFormatter(1.0))
    beside.tick_params(axis="y", colors=DOTS)
    return beside


def _by_neural_prob(result: "ByNeuralProb") -> "Figure":
    """Two panels: all tokens, and those whose ∞-gram estimate is sparse."""
    from matplotlib.ticker import PercentFormatter

    made, ((every, sparse),) = _panels(1, 2)
    width = float(result.edges[1])
    places = result.edges[:-1] + width / 2
    for axis, name, shared, tokens, agreed in (
        (every, "∞-gram", result.agreement, result.tokens, result.agreed),
        (sparse, "sparse", result.sparse_agreement, result.sparse_tokens, result.sparse_agreed),
    ):
        beside = _bars_and_dots(axis, places, tokens, agreed, 0.92 * width)
        axis.set_title(name if shared is None else f"{name}: {shared:.0%} agreement", fontsize=10)
        axis.set_xlim(0, 1)
        axis.xaxis.set_major_formatter(PercentFormatter(1.0))
        axis.set_xlabel("neural probability of the token")
    every.set_ylabel("tokens")
    beside.set_ylabel("agreement", color=DOTS)
    return made


def _scaling(result: "Scaling") -> "Figure":
    """Agreement by the size of the index, and perplexity if it was computed."""
    from matplotlib.ticker import PercentFormatter

    # (No logarithm of 0.)
    sizes = [max(1, step.num_tokens) for step in result.steps]
    lines = result.perplexities
    made, (axes,) = _panels(1, 1 + len(lines))
    agreement = axes[0]
    for name, color, marker in (
        ("ngram", OTHER, "s"),
        ("infgram", DOTS, "o"),
        ("sparse", "k", "^"),
    ):
        shares = [getattr(step.agreement, name).agreement for step in result.steps]
        label = {"ngram": f"{result.order}-gram", "infgram": "∞-gram"}.get(name, name)
        agreement.plot(sizes, shares, marker=marker, markersize=4, color=color, label=label)
    agreement.set_ylim(0, 1)
    agreement.yaxis.set_major_formatter(PercentFormatter(1.0))
    agreement.set_title("agreement", fontsize=10)
    agreement.legend(fontsize="small")
    for axis, (name, values) in zip(axes[1:], lines.items(), strict=True):
        axis.plot(sizes, values, marker="o", markersize=4, color=DOTS)
        axis.set_title(f"perplexity: {name}", fontsize=10)
        axis.set_ylabel("perplexity per token")
    mixed = result.steps[-1].mixed
    if mixed is not None:
        alone = mixed.test.all.neural_perplexity
        axes[-1].axhline(alone, linestyle="--", color=OTHER, label="neural alone")
        axes[-1].legend(fontsize="small")
    for axis in axes:
        axis.set_xscale("log")
        axis.set_xlim(sizes[0] / 1.3, sizes[-1] * 1.3)
        # (With few powers of ten the numbers between them have labels, which would overlap.)
        axis.tick_params(axis="x", which="minor", labelsize="x-small", labelrotation=30)
        axis.set_xlabel("tokens in the index")
        axis.grid(alpha=0.3)
    return made
