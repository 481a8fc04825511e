"""Which lists of documents have documents in common."""

import numpy as np

from everygram.kernels import kernel


@kernel
def common_with(
    one: int,
    firsts: np.ndarray,
    documents: np.ndarray,
    counts: np.ndarray,
    lists_from: np.ndarray,
    lists: np.ndarray,
    places: np.ndarray,
    shared: np.ndarray,
    products: np.ndarray,
) -> None:
    """What list `one` has in common with each later list.

    List i is documents[firsts[i]:firsts[i + 1]], numbers from 0 without gaps, each with a count.
    Document d is in the lists lists[lists_from[d]:lists_from[d + 1]], ascending, at these places
    there. All int64. shared, products: int64, zeros, shape (lists,): receive how many documents are
    common, and the sum of the products of their counts.
    """
    for at in range(firsts[one], firsts[one + 1]):
        document = documents[at]
        last = lists_from[document + 1]
        while last > lists_from[document] and lists[last - 1] > one:
            last -= 1
            other = lists[last]
            shared[other] += 1
            products[other] += counts[at] * counts[places[last]]
