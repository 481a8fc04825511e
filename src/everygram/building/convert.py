"""Exports an index as the records that it was made from."""

from collections.abc import Callable, Iterator
from typing import Any

from everygram.errors import OptionError
from everygram.index import Index


def export(
    index: Index, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[dict[str, Any]]:
    """The documents of an index, by number, as records from which `build` would make it again.

    A record has the field `text`, or `ids` if the index has no tokenizer, and the metadata. A text
    is decoded from its tokens: it is exactly what was read, unless the tokenizer changes text
    (lower case, accents). Calls `progress(documents, documents in all)`. Raises OptionError if
    metadata has a field of the same name (`text` or `ids`).
    """
    tokenizer = index.tokenizer
    name = "ids" if tokenizer is None else "text"
    total = index.num_documents
    for done, (number, ids, metadata) in enumerate(index.engine.documents()):
        if name in metadata:
            raise OptionError(
                f"document {number}: its metadata already has a field {name!r}, which the exported "
                "record needs for the document's content"
            )
        yield {name: ids.tolist() if tokenizer is None else tokenizer.decode(ids), **metadata}
        progress(done + 1, total)
