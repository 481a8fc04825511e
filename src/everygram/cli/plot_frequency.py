"""Figures of `frequency`: the long tail of counts, scores by count, two corpora.

It is imported when a figure is wanted: other commands do not wait for it.
"""

from typing import TYPE_CHECKING

import numpy as np

from everygram.analysis.figures import BARS, DOTS, HEIGHT, OTHER, WIDTH, shown_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from everygram.results.frequency import Comparison, Frequencies, Performance


def drawn_frequency(found: "Frequencies", name: str) -> "Figure":
    """A panel of the counts by rank, and one each of scores and of another corpus, if there are.

    name: of the index.
    """
    from matplotlib.figure import Figure

    panels = 1 + (found.performance is not None) + (found.comparison is not None)
    made = Figure(figsize=(1.2 * WIDTH * panels, 1.2 * HEIGHT), layout="constrained")
    axes = list(made.subplots(1, panels, squeeze=False)[0])
    made.suptitle(f"{len(found):,} concepts in {shown_name(name)}", parse_math=False)
    _long_tail(axes.pop(0), found, shown_name(name))
    if found.performance is not None:
        _scores(axes.pop(0), found.performance)
    if found.comparison is not None:
        _two(axes.pop(0), found, found.comparison, shown_name(name))
    return made


def _long_tail(axes: "Axes", found: "Frequencies", name: str) -> None:
    """Counts by rank, on two logarithmic axes; those that do not occur have no place there."""
    drawn = [(found.counts, DOTS, name)]
    if found.comparison is not None:
        drawn.append((found.comparison.counts, OTHER, shown_name(found.comparison.name)))
    for counts, color, label in drawn:
        some = np.sort(counts[counts > 0])[::-1]
        absent = counts.shape[0] - some.shape[0]
        (line,) = axes.plot(
            np.arange(1, some.shape[0] + 1), some, ".-", color=color, markersize=4, linewidth=1
        )
        line.set_label(
            f"{absent:,} do not occur" if len(drawn) == 1 else f"{label} ({absent:,} do not occur)"
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rank of the concept")
    axes.set_ylabel("occurrences")
    axes.grid(alpha=0.3)
    for text in axes.legend(fontsize="small").get_texts():
        text.set_parse_math(False)


def _scores(axes: "Axes", made: "Performance") -> None:
    """Mean scores of bins with their intervals, those of count 0 apart, and the line."""
    places = [np.sqrt(each.low * (each.high - 1)) for each in made.bins]
    for each, place in zip(made.bins, places, strict=True):
        axes.plot([place, place], each.interval, color=BARS, linewidth=3)
    axes.plot(places, [each.mean for each in made.bins], "o", color=DOTS, markersize=5)
    if made.slope is not None and made.intercept is not None:
        ends = np.array([made.bins[0].low, made.bins[-1].high - 1], np.float64)
        label = f"{made.slope:+.3g} per tenfold"
        axes.plot(ends, made.intercept + made.slope * np.log10(ends), color=OTHER, label=label)
        axes.legend(fontsize="small")
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    if made.zero is not None:
        axes.plot([0, 0], made.zero.interval, color=BARS, linewidth=3)
        axes.plot([0], [made.zero.mean], "s", color=OTHER, markersize=5)
    axes.set_xlim(left=-0.4 if made.zero is not None else 0.8)
    axes.set_xlabel("occurrences" if made.by == "count" else "documents")
    axes.set_ylabel("mean score")
    axes.grid(alpha=0.3)
    if made.rank_correlation is not None:
        axes.set_title(f"rank correlation {made.rank_correlation:.2f}", fontsize=10)


def _two(axes: "Axes", found: "Frequencies", other: "Comparison", name: str) -> None:
    """A dot for each concept: its count here and there; 0 has a place of its own."""
    axes.plot(found.counts, other.counts, ".", color=DOTS, markersize=4, alpha=0.5)
    for axis in (axes.set_xscale, axes.set_yscale):
        axis("symlog", linthresh=1, linscale=0.5)
    axes.set_xlabel(f"occurrences in {name}", parse_math=False)
    axes.set_ylabel(f"occurrences in {shown_name(other.name)}", parse_math=False)
    axes.set_xlim(left=-0.4)
    axes.set_ylim(bottom=-0.4)
    axes.grid(alpha=0.3)
    if other.rank_correlation is not None:
        axes.set_title(f"rank correlation {other.rank_correlation:.2f}", fontsize=10)
