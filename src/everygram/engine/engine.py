"""Exact queries over the segments of one index: checked ids in, numbers and arrays out.

Knows nothing of text, files or wire formats. A query's occurrences in an index are its
occurrences in each segment, which share no document: counts add up, distributions merge by token,
the longest suffix is the longest in any segment. Deleted documents are in their segment and once
more in one of sign −1, whose counts are taken away; what is longest is then what a count confirms.

A *query* is ids in [0, vocab_size) or the separator. A separator at a query's first place means
"begins a document", at its last "ends one"; anywhere else it never matches. A *prompt* is a query
that something follows. After a document's end nothing does, so as a prompt `[a, separator]`
occurs 0 times, whereas `[separator]` is the start of a document. The empty prompt is followed by
every token of every document and by every document's end.

`Engine` is what the families of queries make together: each module adds its own to `Intervals`.
"""

from collections.abc import Sequence

import numpy as np

from everygram.engine.distributions import NO_LIMIT
from everygram.engine.documents import Documents
from everygram.engine.queries import Vocabulary
from everygram.engine.texts import Texts
from everygram.storage.segment import Segment


class Engine(Texts, Documents):
    """All queries over the segments of one index. Methods may be called from several threads."""

    def __init__(
        self,
        segments: list[Segment],
        vocab_size: int,
        separator: int,
        next_document: int,
        preload: Sequence[str] = (),
    ) -> None:
        """`preload` names the parts to read into memory: fences, suffix_array, tokens."""
        super().__init__(segments, Vocabulary(vocab_size, separator), preload)
        self.next_document = next_document

    def warm_up(self) -> None:
        """Compile every kernel that this index's dtype needs, or load it from the disk cache."""
        separator = int(self.vocabulary.separator)
        # Nothing occurs after itself; a text of two places goes through all that many queries do.
        asked = [separator, separator]
        query = self.vocabulary.queries([asked])
        self.count(asked)
        self.prob(asked[:1], separator)
        self.infgram_prob(asked[:1], separator)
        self.ntd(asked[:1], True, NO_LIMIT)
        self.ntd_batch(query[:0], NO_LIMIT)
        self.ntd_batch(query.ranges(np.array([0]), np.array([1])), NO_LIMIT)
        self.longest_suffix_batch(query)
        self.score(query, None)
