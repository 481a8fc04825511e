"""Estimates what a build would read and need, from the first documents."""

import os
import shutil
from pathlib import Path
from typing import Unpack

from everygram import arguments
from everygram.arguments import Size
from everygram.building.external_sort import BYTES_A_TOKEN, MIN_BLOCK, RESERVED
from everygram.building.source import Source, open_source
from everygram.building.stages import resources
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
    **options: Unpack[CorpusKeywords],
) -> BuildPlan:
    """Estimate what `build` with these arguments would read and need, from the first documents.

    Nothing is written. Raises the errors of `build` for the arguments and for those documents.
    """
    source = open_source(corpus, tokenizer, vocab_size=vocab_size, **options)
    return plan_of(source, out, memory=memory, threads=threads, document_counts=document_counts)


def plan_of(
    source: Source,
    out: str | os.PathLike[str],
    *,
    memory: Size | None = None,
    threads: int | None = None,
    document_counts: bool = True,
) -> BuildPlan:
    """As `plan`, for a corpus opened by `open_source`."""
    memory, threads = resources(memory, threads)
    place = arguments.path("out", out)
    source.limit(memory)
    estimate = source.estimate()
    tokens = estimate.tokens
    width = fmt.TOKEN_DTYPES[fmt.token_dtype(estimate.vocab_size)].itemsize
    index_bytes = int(tokens * (width + fmt.position_bytes(tokens)) * INDEX_OVERHEAD)
    counting = arguments.flag("document_counts", document_counts)
    index_bytes += fmt.document_counts_bytes(tokens, 0) if counting else 0
    merged = tokens * BYTES_A_TOKEN > memory - source.beside
    return BuildPlan(
        num_files=len(source.corpus.files),
        formats=source.corpus.formats,
        corpus_bytes=source.corpus.total_bytes,
        fields=estimate.fields,
        tokenizer=source.tokenizer_name,
        vocab_size=estimate.vocab_size,
        tokens=tokens,
        open_ended=source.corpus.open_ended,
        index_bytes=index_bytes,
        # (Blocks are gone before documents are counted, and fences are not there yet.)
        disk_bytes=index_bytes + tokens * (fmt.POSITION.itemsize if merged else int(counting)),
        free_bytes=_free(place),
        memory=memory,
        threads=threads,
        merged=merged,
        skips=tuple(source.corpus.skips),
        passed_over=source.corpus.passed_over,
        warnings=source.corpus.warnings,
    )


def least_memory(beside: int) -> int:
    """Bytes that a build takes whatever the limit; `beside`: of its source."""
    return beside + RESERVED + MIN_BLOCK * BYTES_A_TOKEN


def _free(path: Path) -> int:
    """The free disk space, in bytes, at the place of a folder that may not exist yet."""
    while not path.exists():
        path = path.absolute().parent
    return shutil.disk_usage(path).free
