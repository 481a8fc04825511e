"""What a build would read and need, from a look at the first documents."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from everygram.building.external_sort import BYTES_A_TOKEN
from everygram.building.stages import resources
from everygram.building.tokenize import BATCH_DOCUMENTS, ENCODING, check_vocabulary
from everygram.corpus.documents import OnError
from everygram.corpus.source import check_options, listed, local, say_they_are_ids
from everygram.corpus.text import TextCorpus
from everygram.corpus.tokens import TokenCorpus
from everygram.progress import BuildPlan
from everygram.storage import format as fmt
from everygram.tokenizer.base import Tokenizer
from everygram.tokenizer.choose import load_tokenizer, training_vocab_size

# Text that is tokenized to tell how many tokens there will be; where it cannot be, bytes a token.
SAMPLE_CHARS, TEXT_A_TOKEN = 1 << 20, 4
# What fences and offsets add to tokens and positions, at most.
INDEX_OVERHEAD = 1.1


def plan(
    corpus: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None = None,
    *,
    text_field: str = "text",
    id_field: str | None = None,
    metadata_fields: Sequence[str] | None = None,
    on_error: OnError = "raise",
    pretokenized: str | None = None,
    separator_id: int | None = None,
    vocab_size: int | None = None,
    memory: int | None = None,
    threads: int | None = None,
) -> BuildPlan:
    """What `build` with these arguments would read and need, from a look at the first documents.

    Nothing is written. Raises what `build` raises for the arguments and for those documents.
    """
    given = listed(corpus)
    ids = pretokenized is not None or say_they_are_ids(given)
    check_options(ids, text_field, id_field, metadata_fields, on_error, pretokenized, separator_id)
    check_vocabulary(ids, pretokenized, vocab_size, tokenizer)
    memory, threads = resources(memory, threads)
    named = None if tokenizer is None else os.fspath(tokenizer)
    source: TextCorpus | TokenCorpus
    fields: tuple[str, ...] = ()
    if ids:
        source = TokenCorpus(local(given), pretokenized, separator_id, on_error)
        encoder = None if named is None else load_tokenizer(named)
        size = vocab_size or fmt.separator_of(source.width)
        tokens = source.total_tokens
    else:
        source = TextCorpus(given, text_field, on_error, id_field, metadata_fields)
        named = named or "bytes"
        trained = training_vocab_size(named)
        encoder = load_tokenizer(named) if trained is None else None
        tokens, fields = _estimate(source, encoder)
        size = trained or 0
    if encoder is not None:
        size = encoder.vocab_size
    width = fmt.TOKEN_DTYPES[fmt.token_dtype(size)].itemsize
    index_bytes = int(tokens * (width + fmt.position_bytes(tokens)) * INDEX_OVERHEAD)
    merged = tokens * BYTES_A_TOKEN > memory - (0 if ids else ENCODING)
    return BuildPlan(
        num_files=len(source.files),
        formats=source.formats,
        corpus_bytes=source.total_bytes,
        fields=fields,
        tokenizer=named,
        vocab_size=size,
        tokens=tokens,
        index_bytes=index_bytes,
        disk_bytes=index_bytes + (tokens * fmt.POSITION.itemsize if merged else 0),
        free_bytes=_free(Path(out)),
        memory=memory,
        threads=threads,
        merged=merged,
        skips=tuple(source.skips),
    )


def _estimate(source: TextCorpus, encoder: Tokenizer | None) -> tuple[int, tuple[str, ...]]:
    """About how many tokens there are, and the metadata that the first document has."""
    fields: tuple[str, ...] = ()
    chars = 0
    texts = []
    for number, document in enumerate(source):
        if number == 0:
            fields = tuple(json.loads(document.metadata))
        texts.append(document.text)
        chars += len(document.text)
        if chars >= SAMPLE_CHARS or number >= BATCH_DOCUMENTS:
            break
    text_bytes = sum(len(text.encode()) for text in texts)
    tokens = text_bytes // TEXT_A_TOKEN
    if encoder is not None:
        tokens = sum(ids.shape[0] for ids in encoder.encode_batch(texts))
    # (Of a data set elsewhere nobody says how long it is.)
    return tokens * max(1, source.total_bytes) // max(1, source.bytes_read), fields


def _free(path: Path) -> int:
    """Bytes free where a folder is, or will be."""
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free
