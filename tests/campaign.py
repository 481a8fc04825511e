"""How much the long tests run: a sample in `make test`, all of it in `make campaign`.

The tests are the same code either way. A sample is chosen evenly and is the same in every run;
a campaign (EVERYGRAM_CAMPAIGN=1) goes over more, and hypothesis then draws at random.
"""

import os

CAMPAIGN = os.environ.get("EVERYGRAM_CAMPAIGN") == "1"


def sized(sample, campaign):
    """How many, or whatever else: the first in `make test`, the second in a campaign."""
    return campaign if CAMPAIGN else sample


def spread(first, last, most):
    """So many of the numbers from first to last, both included, evenly spread; all if no more."""
    number = last - first + 1
    if number <= most:
        return list(range(first, last + 1))
    return [first + round(i * (number - 1) / (most - 1)) for i in range(most)]
