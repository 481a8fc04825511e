"""Estimates what a build would read and need, from the first documents."""

import os
import shutil
from pathlib import Path
from typing import Unpack

from everygram import arguments
from everygram.arguments import Size
from everygram.building.external_sort import (
    BYTES_A_TOKEN,
    MIN_BLOCK,
    RESERVED,
    longest_at_once,
)
from everygram.building.parts import checked_number
from everygram.building.source import Source, open_source
from everygram.building.stages import LEFT_BYTES, kind_given, resources, self_index_bytes
from everygram.corpus.memory import Given
from everygram.corpus.source import CorpusKeywords
from everygram.progress import BuildPlan
from everygram.storage import format as fmt

# The index is at most this much larger than tokens and positions: fences and offsets.
INDEX_OVERHEAD = 1.1


def plan(
    corpus: Given,
    out: str | os.PathLike[str],
    tokenizer: str | os.PathLike[str] | None = None,
    *,
    vocab_size: int | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    document_counts: bool = True,
    kind: str | None = None,
    sample_every: int | None = None,
    parts: int | None = None,
    **options: Unpack[CorpusKeywords],
) -> BuildPlan:
    """Estimate what `build` with these arguments would read and need, from the first documents.

    Nothing is written. Raises the errors of `build` for the arguments and for those documents.
    """
    source = open_source(corpus, tokenizer, vocab_size=vocab_size, **options)
    return plan_of(
        source,
        out,
        memory=memory,
        threads=threads,
        document_counts=document_counts,
        kind=kind,
        sample_every=sample_every,
        parts=parts,
    )


def plan_of(
    source: Source,
    out: str | os.PathLike[str],
    *,
    memory: Size | None = None,
    threads: int | None = None,
    document_counts: bool = True,
    kind: str | None = None,
    sample_every: int | None = None,
    parts: int | None = None,
) -> BuildPlan:
    """As `plan`, for a corpus opened by `open_source`."""
    every = kind_given(kind, sample_every)
    memory, threads = resources(memory, threads)
    place = arguments.path("out", out)
    source.limit(memory)
    estimate = source.estimate()
    tokens = estimate.tokens
    width = fmt.TOKEN_DTYPES[fmt.token_dtype(estimate.vocab_size)].itemsize
    counting = arguments.flag("document_counts", document_counts)
    counts = fmt.document_counts_bytes(tokens, 0) if counting else 0
    sorted_bytes = int(tokens * (width + fmt.position_bytes(tokens)) * INDEX_OVERHEAD) + counts
    compressed = self_index_bytes(tokens, 0, every or fmt.SAMPLE_EVERY)
    bytes_of_kind = {
        fmt.SUFFIX_ARRAY_KIND: sorted_bytes,
        fmt.SELF_INDEX_KIND: int(compressed * INDEX_OVERHEAD) + counts,
    }
    divided: tuple[int, ...] = ()
    if (number := checked_number(parts)) is not None:
        pieces = source.corpus.divide(number)
        divided = tuple(sum(piece.end - piece.begin for piece in part) for part in pieces)
    share = max(divided, default=1) / max(1, sum(divided)) if divided else 1.0
    merged = tokens * share > longest_at_once(memory - source.beside, threads)
    compressing = compressed + tokens * LEFT_BYTES if every else 0
    return BuildPlan(
        num_files=len(source.corpus.files),
        formats=source.corpus.formats,
        corpus_bytes=source.corpus.total_bytes,
        fields=estimate.fields,
        tokenizer=source.tokenizer_name,
        vocab_size=estimate.vocab_size,
        tokens=tokens,
        open_ended=source.corpus.open_ended,
        index_bytes=bytes_of_kind[fmt.kind_of(every)],
        bytes_of_kind=bytes_of_kind,
        # (Blocks are gone before documents are counted or a self-index is made of the suffixes.)
        disk_bytes=sorted_bytes
        + max(tokens * (fmt.POSITION.itemsize if merged else int(counting)), compressing),
        free_bytes=_free(place),
        memory=memory,
        threads=threads,
        merged=merged,
        skips=tuple(source.corpus.skips),
        passed_over=source.corpus.passed_over,
        warnings=source.corpus.warnings,
        parts=divided,
    )


def least_memory(beside: int) -> int:
    """Bytes that a build takes whatever the limit; `beside`: of its source."""
    return beside + RESERVED + MIN_BLOCK * BYTES_A_TOKEN


def _free(path: Path) -> int:
    """The free disk space, in bytes, at the place of a folder that may not exist yet."""
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free
