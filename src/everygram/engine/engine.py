"""Exact queries over the segments of an index, or several: checked ids in, arrays out.

Knows nothing of text, files or wire formats. Segments share no documents, so the occurrences of a
query in an index are those in all its segments: counts add up, distributions are merged by token,
the longest suffix is the longest in any segment. A deleted document is still in its segment, and
also in a segment of sign −1, whose counts are subtracted. If there are deleted documents, counts
confirm that the longest suffix or match occurs in other documents.

A *query* consists of ids in [0, vocab_size) and separators. A separator as a query's first token
means "begins a document", as its last token "ends one"; anywhere else it never matches. A *prompt*
is a query whose next token is asked for. Nothing follows the end of a document, so the prompt
`[a, separator]` occurs 0 times, whereas `[separator]` is the start of a document. The empty prompt
is followed by every token of every document and by every document's end.

`Engine` combines the families of queries: each module adds its family to `Intervals`.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from everygram.engine.covers import Covers
from everygram.engine.distributions import NO_LIMIT
from everygram.engine.document_counts import DocumentCounts
from everygram.engine.documents import Documents
from everygram.engine.drafts import Drafts
from everygram.engine.members import Members
from everygram.engine.queries import Vocabulary
from everygram.engine.scans import Scans
from everygram.engine.skips import Skips
from everygram.engine.texts import Texts
from everygram.storage.segment import Segment


class Engine(Texts, Documents, DocumentCounts, Drafts, Covers, Scans, Skips):
    """All queries over the segments of an index. Methods may be called from several threads."""

    def __init__(
        self,
        segments: list[Segment],
        vocab_size: int,
        separator: int,
        next_document: int,
        preload: Sequence[str] = (),
        members: Members | None = None,
    ) -> None:
        """`preload` names the parts to read into memory: fences, suffix_array, tokens.

        members: the indexes that the segments are of, if they are of several.
        """
        super().__init__(segments, Vocabulary(vocab_size, separator), preload)
        self.next_document = next_document
        self.members = members
        if members is not None:
            self.path = Path(members.label)

    def warm_up(self) -> None:
        """Compile every kernel that this index's dtype needs, or load it from the disk cache."""
        separator = int(self.vocabulary.separator)
        # A text of two tokens is enough to call every kernel that batches use.
        asked = [separator, separator]
        query = self.vocabulary.queries([asked])
        self.count(asked)
        self.document_count(asked)
        self.document_count_batch(query)
        self.prob(asked[:1], separator)
        self.infgram_prob(asked[:1], separator)
        self.ntd(asked[:1], True, NO_LIMIT)
        self.ntd_batch(query[:0], NO_LIMIT)
        self.ntd_batch(query.ranges(np.array([0]), np.array([1])), NO_LIMIT)
        self.longest_suffix_batch(query)
        self.score(query, None)
        self.draft(asked[:1], 1, 1, 0, 1.0, 0.0)
