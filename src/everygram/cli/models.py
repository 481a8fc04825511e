"""How commands name a language model, and the model that is named."""

import re
from typing import TYPE_CHECKING, Any

import click

from everygram.arguments import short
from everygram.cli.options import together
from everygram.errors import OptionError
from everygram.lm import SMOOTHINGS

if TYPE_CHECKING:
    from everygram.index import Index
    from everygram.lm.model import LanguageModel

model_options = together(
    click.option(
        "--model",
        "smoothing",
        type=click.Choice(SMOOTHINGS),
        default=SMOOTHINGS[0],
        help="The language model; modified-kneser-ney, and infgram-floor with --order, need a "
        "prepared index ('everygram prepare').",
    ),
    click.option(
        "--order",
        type=click.IntRange(1),
        metavar="N",
        help="Use the N-gram model (default: no order, contexts of any length).",
    ),
    click.option(
        "--weights",
        metavar="S,O",
        help="Of infgram-floor: the weight of the ∞-gram where only one token ever follows, and "
        "elsewhere, each from 0 to less than 1 (default: 0.6,0.5; with --order 0.2,0.02).",
    ),
)


def model_of(
    index: "Index", smoothing: str, order: int | None, weights: str | None
) -> "LanguageModel":
    """The language model that the options name. Raises OptionError and QueryError."""
    given: dict[str, Any] = {} if weights is None else {"weights": parse_weights(weights)}
    return index.language_model(smoothing, order=order, **given)


def parse_weights(text: str) -> tuple[float, float]:
    """Two numbers with a comma or spaces between them. Raises OptionError."""
    try:
        sparse, other = map(float, re.split(r"\s*,\s*|\s+", text.strip()))
    except ValueError:
        raise OptionError(
            f"--weights: expected two numbers like 0.8,0.4, found {short(text)}"
        ) from None
    return sparse, other
