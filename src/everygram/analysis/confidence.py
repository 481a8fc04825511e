"""Where the ∞-gram model agrees with texts that a neural model finds likely, and unlikely.

Section 4.1 of the ∞-gram paper (Liu et al. 2024, arXiv 2401.17377), figure 5: what there is to
gain by interpolating the two.
"""

from collections.abc import Iterable

import numpy as np

from everygram.analysis.log_probs import ScoredDocument, checked
from everygram.analysis.per_token import agrees_with, checked_index
from everygram.analysis.scores import check_ids, is_scored
from everygram.arguments import natural
from everygram.errors import OptionError
from everygram.index import Index
from everygram.results.analysis import ByNeuralProb, counted_by

BINS = 20
# More bins than tokens tell nothing.
MOST_BINS = 10_000


def neural_agreement(
    index: Index, documents: Iterable[ScoredDocument], *, bins: int = BINS
) -> ByNeuralProb:
    """Agreement of the ∞-gram model, by the probability that a neural model gives to the token.

    documents: of token ids and log-probabilities, as `read_log_probs` gives them; tokens without a
    log-probability are context alone. bins: of the neural probability, equally wide.

    Raises OptionError, QueryError for ids outside the index's vocabulary.
    """
    asked = checked_index(index)
    size = natural("bins", bins, 1)
    if size > MOST_BINS:
        raise OptionError(f"bins: expected {MOST_BINS:,} or fewer, found {size:,}")
    edges = np.arange(size + 1) / size
    counts = np.zeros((4, size), np.int64)
    num_texts = 0
    for document in checked("documents", documents):
        check_ids(asked, document, num_texts)
        num_texts += 1
        scores, scored = asked.score(document.token_ids), is_scored(document)
        places = np.searchsorted(edges[1:-1], np.exp(document.log_probs[scored]), "right")
        agrees, sparse = agrees_with(scores)[scored], scores.sparse[scored]
        every = np.ones_like(agrees)
        for row, chosen in zip(counts, (every, agrees, sparse, sparse & agrees), strict=True):
            row += counted_by(places, chosen, size)
    return ByNeuralProb(num_texts, edges, *counts)
