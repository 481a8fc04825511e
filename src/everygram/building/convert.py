"""An index written back as the records it was made of."""

from collections.abc import Callable, Iterator
from typing import Any

from everygram.errors import OptionError
from everygram.index import Index


def export(
    index: Index, progress: Callable[[int, int], None] = lambda done, total: None
) -> Iterator[dict[str, Any]]:
    """The documents of an index as records that `build` would make it of again, by number.

    `text`, or `ids` where the index has no tokenizer, and the metadata. A text is what its tokens
    decode to: exactly what was read, but for tokenizers that change text (lower case, accents).
    Calls `progress(documents, documents in all)`. Raises OptionError for metadata that has a field
    of that name itself.
    """
    tokenizer = index.tokenizer
    name = "ids" if tokenizer is None else "text"
    total = index.num_documents
    for done, (number, ids, metadata) in enumerate(index.engine.documents()):
        if name in metadata:
            raise OptionError(
                f"document {number}: its metadata has a field {name!r} itself, which the record "
                "could not keep beside the text"
            )
        yield {name: ids.tolist() if tokenizer is None else tokenizer.decode(ids), **metadata}
        progress(done + 1, total)
