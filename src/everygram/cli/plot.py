"""Figures of answers, drawn with matplotlib (extra `plot`).

It is imported when a figure is wanted: other commands do not wait for it.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from everygram.analysis.figures import check_matplotlib, drawn, shown_name
from everygram.cli.writing import check_place, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".png", ".svg")
# Lines are told apart by 10 colours, these by 4 styles, and all of them by markers.
STYLES, MARKERS = ("-", "--", ":", "-."), ".x^sv"
TICKS = (1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000)
# In inches.
WIDTH, HEIGHT, LEGEND_ROW = 7.0, 4.8, 0.21


def figure_at(path: Path) -> Callable[[list[dict[str, Any]], str], None]:
    """What draws answers of `novelty`, with a title, into a file.

    Raises OptionError for a place where no figure can be, MissingExtraError without matplotlib:
    before any work is done.
    """
    check_figure(path)

    def draw(answers: list[dict[str, Any]], title: str) -> None:
        write_figure(path, _novelty(answers, title))

    return draw


def check_figure(path: Path) -> None:
    """Raise OptionError for a place where no figure can be; MissingExtraError: no matplotlib."""
    check_place("--plot", path, KINDS, ".png or .svg")
    check_matplotlib("--plot")


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure, of the kind that the name says."""
    write_whole(path, drawn(figure, path.suffix.lower()[1:]))


def _novelty(answers: list[dict[str, Any]], title: str) -> "Figure":
    """The share of n-grams that are new against n, a line per answer."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, PercentFormatter

    figure = Figure(figsize=(WIDTH, max(HEIGHT, LEGEND_ROW * len(answers) + 0.5)))
    axes = figure.add_subplot()
    lines = []
    for number, answer in enumerate(answers):
        shares = [math.nan if share is None else share for share in answer["new"]]
        lines += axes.plot(
            range(1, len(shares) + 1),
            shares,
            linestyle=STYLES[number // 10 % len(STYLES)],
            marker=MARKERS[number // 40 % len(MARKERS)],
            color=f"C{number % 10}",
        )
    most = len(answers[0]["new"])
    axes.set_title(shown_name(title), parse_math=False)
    # (Most of what there is to see is at small n.)
    axes.set_xscale("log")
    axes.set_xticks(ticks := [n for n in TICKS if n <= most], list(map(str, ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("n (tokens)")
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel("share of n-grams that are new")
    axes.grid(alpha=0.3)
    # (With its name, a line would be left out of the legend for an underscore at its start, and
    # dollar signs would make a formula.)
    legend = axes.legend(
        lines,
        [""] * len(lines),
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
        frameon=False,
        handlelength=3.5,
        fontsize="small",
    )
    for text, answer in zip(legend.get_texts(), answers, strict=True):
        text.set_parse_math(False)
        text.set_text(shown_name(answer["file"]))
    return figure
