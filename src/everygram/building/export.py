"""Exports an index as the records that it was made from."""

from collections.abc import Callable, Iterator
from typing import Any

from everygram import arguments
from everygram.engine.engine import Engine
from everygram.errors import OptionError
from everygram.index import Index
from everygram.tokenizer.base import Tokenizer


def export(
    index: Index,
    progress: Callable[[int, int], None] | None = None,
    *,
    text_field: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The documents of an index, by number, as records from which `build` would make it again.

    A record has the document's content in `text_field` (default: `text`, or `ids` if the index has
    no tokenizer), and the metadata. A text is decoded from its tokens: it is exactly what was read,
    unless the tokenizer changes text (lower case, accents). Calls `progress(documents, documents in
    all)`. Raises OptionError if `index` is not an open index, or if metadata has a field of the
    same name.
    """
    if not isinstance(index, Index):
        raise OptionError(f"index: expected an open index, found {arguments.short(index)}")
    arguments.function("progress", progress)
    if text_field is not None:
        arguments.string("text_field", text_field)
    # (Taken once: what `refresh` brings meanwhile is not mixed in.)
    engine, _, reading, manifest, _ = index._state
    return _records(engine, reading.tokenizer, manifest.num_documents, progress, text_field)


def _records(
    engine: Engine,
    tokenizer: Tokenizer | None,
    total: int,
    progress: Callable[[int, int], None] | None,
    text_field: str | None,
) -> Iterator[dict[str, Any]]:
    name = text_field or ("ids" if tokenizer is None else "text")
    for done, (number, ids, metadata) in enumerate(engine.documents()):
        if name in metadata:
            raise OptionError(
                f"{engine.called(number)}: its metadata already has a field {name!r}, which the "
                "exported record needs for the document's content; give that another name with "
                "text_field"
            )
        yield {name: ids.tolist() if tokenizer is None else tokenizer.decode(ids), **metadata}
        if progress is not None:
            progress(done + 1, total)
