"""Agreement and perplexity by the size of the index: `scaling`.

Section 5 of the ∞-gram paper (Liu et al. 2024, arXiv 2401.17377) subsamples its reference by powers
of two. Here the documents are divided at random into parts, each of which becomes a segment of an
index in a temporary folder: the first of them, then the first two, and so on. Segments answer
exactly as one, so that every size is exact, and all sizes together take half a build.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from everygram import arguments
from everygram.analysis.agreements import (
    MAX_TOKENS,
    ORDER,
    Asked,
    Document,
    asked_of,
    checked_order,
    measured,
)
from everygram.analysis.interpolation import Documents, interpolate
from everygram.analysis.log_probs import ScoredDocument, checked, read_log_probs
from everygram.analysis.per_token import checked_index
from everygram.analysis.scores import check_ids, is_scored
from everygram.arguments import Size, natural
from everygram.building.segment_builder import write_documents
from everygram.building.stages import disk, resources
from everygram.engine.engine import Engine
from everygram.errors import BuildError, OptionError
from everygram.index import Index
from everygram.opening import open as open_index
from everygram.results.interpolation import perplexity
from everygram.results.scaling import Scaling, ScalingStep
from everygram.storage import format as fmt
from everygram.storage.directory import publish

STEPS = 9
# Disk space of a segment per token, beside the token: its suffix array, twice while it is sorted in
# blocks, and fences.
SEGMENT_BYTES = 10


def scaling(
    index: Index,
    documents: Iterable[Document],
    *,
    steps: int = STEPS,
    seed: int = 0,
    order: int = ORDER,
    max_tokens: int | None = MAX_TOKENS,
    scored: Documents | None = None,
    work_dir: str | os.PathLike[str] | None = None,
    memory: Size | None = None,
    threads: int | None = None,
    progress: Callable[[ScalingStep], None] | None = None,
) -> Scaling:
    """Agreement with documents, and their perplexity, by the size of the index.

    documents, order, max_tokens: as in `agreement`. steps: how many sizes: all documents of the
    index, half of them, a quarter, and so on; each is a part of the next, drawn at random, the same
    for the same `seed`. The perplexity is that of the language model `infgram-floor`, per token.
    scored: documents with a neural model's log-probabilities, or the path of a file of them, at
    least two: the neural model is mixed with each size as by `interpolate`, with λ found on the
    first half of them and perplexities of the second.

    work_dir: an existing folder in which a temporary index is made, and removed in any case: about
    as large as half of this index (default: the system's folder for such files). memory, threads:
    limits, as in `build`. progress: called with each size as it is done.

    Raises OptionError, CorpusError, QueryError and TokenizerError as `agreement`, and BuildError if
    the temporary index cannot be written.
    """
    whole = checked_index(index)
    steps, order = natural("steps", steps, 1), checked_order(order)
    draw = np.random.default_rng(natural("seed", seed))
    most = None if max_tokens is None else natural("max_tokens", max_tokens, 1)
    told = arguments.function("progress", progress) or (lambda step: None)
    work = Path(tempfile.gettempdir() if work_dir is None else arguments.path("work_dir", work_dir))
    if not work.is_dir():
        raise OptionError(f"work_dir: expected a folder that is there, found '{work}'")
    limits = resources(memory, threads)
    texts = list(asked_of(whole, "documents", documents, None, most))
    engine = whole.engine
    halves = None if scored is None else _halves(whole, scored)
    parts = nested(live_documents(engine), steps, draw)
    if halves is not None and not engine.lengths_of(parts[0]).sum():
        raise OptionError(
            f"steps: expected fewer, or another seed: the smallest of {steps} sizes has no tokens, "
            "which nothing can be mixed with"
        )
    done: list[ScalingStep] = []

    def measure(asked: Index, share: float) -> None:
        """Add what this index says, which has this share of the documents."""
        done.append(_step(asked, texts, order, share, halves))
        told(done[-1])

    with disk(work), tempfile.TemporaryDirectory(prefix="everygram-", dir=work) as made:
        _check_space(work, engine, parts[:-1])
        for place, part in enumerate(_growing(Path(made), whole, parts[:-1], *limits)):
            measure(part, 2.0 ** (place + 1 - steps))
    measure(whole, 1.0)
    return Scaling(done)


def live_documents(engine: Engine) -> np.ndarray:
    """The numbers of all documents that are not deleted: int64, shape (D,)."""
    numbers = [
        segment.numbers_of(np.arange(segment.num_documents))
        for segment in engine.segments
        if segment.entry.sign > 0
    ]
    every = np.sort(np.concatenate([np.empty(0, np.int64), *numbers]))
    live: np.ndarray = every[~engine.deleted(every)]
    return live


def nested(numbers: np.ndarray, steps: int, draw: np.random.Generator) -> list[np.ndarray]:
    """Documents divided at random into so many parts, the first k of which have D / 2^(steps − k).

    Each is sorted. Raises OptionError if there are too few documents for one in the first.
    """
    most = max(1, numbers.shape[0].bit_length())
    if steps > most:
        raise OptionError(
            f"steps: expected 1 to {most} for an index of {numbers.shape[0]:,} documents, found "
            f"{steps}: each size is half of the next"
        )
    ends = [0, *(numbers.shape[0] >> step for step in reversed(range(steps)))]
    shuffled = draw.permutation(numbers)
    return [np.sort(shuffled[start:end]) for start, end in pairwise(ends)]


def _growing(
    folder: Path, index: Index, parts: list[np.ndarray], memory: int, threads: int
) -> Iterator[Index]:
    """The index of the first part of documents, of the first two, and so on, each open for a while.

    folder: empty, and nobody else's.
    """
    none = fmt.TokenizerEntry("none", "none", None, "")
    manifest = replace(
        index.manifest, tokenizer=none, segments=(), build={}, next_document=0, next_segment=1
    )
    for number, documents in enumerate(parts, 1):
        made = write_documents(
            folder / fmt.segment_name(number),
            manifest.dtype,
            ((index.engine.document(each)[0][:], b"{}") for each in documents.tolist()),
            memory,
            threads,
            sign=1,
            numbers=manifest.next_document + np.arange(documents.shape[0]),
            document_counts=False,
        )
        manifest = replace(
            manifest,
            segments=(*manifest.segments, made),
            next_document=manifest.next_document + documents.shape[0],
        )
        manifest = publish(folder, manifest, None)
        with open_index(folder) as part:
            yield part


def _halves(index: Index, given: Documents) -> tuple[list[ScoredDocument], list[ScoredDocument]]:
    """The first and the second half of scored documents.

    Raises OptionError for fewer than two, or a half without a log-probability; QueryError for ids
    that are not of the index's vocabulary.
    """
    if isinstance(given, str | os.PathLike):
        documents = read_log_probs(given)
    else:
        documents = list(checked("scored", given))
    if len(documents) < 2:
        raise OptionError(
            f"scored: expected two documents or more, to find λ and to measure, found "
            f"{len(documents)}"
        )
    for number, document in enumerate(documents):
        check_ids(index, document, number)
    middle = len(documents) // 2
    halves = documents[:middle], documents[middle:]
    for which, half in zip(("first", "second"), halves, strict=True):
        if not any(is_scored(document).any() for document in half):
            raise OptionError(
                f"scored: expected log-probabilities in both halves of the documents, found none "
                f"in the {which} {len(half):,}"
            )
    return halves


def _step(
    index: Index,
    texts: list[Asked],
    order: int,
    share: float,
    halves: tuple[list[ScoredDocument], list[ScoredDocument]] | None,
) -> ScalingStep:
    """What an index says that has this share of the documents."""
    ids = [each.ids for each in texts]
    found = index.language_model("infgram-floor").log_probs_batch(ids, document_start=True)
    total, events = sum(float(each.sum()) for each in found), sum(map(len, found))
    return ScalingStep(
        share,
        index.num_documents,
        index.num_tokens,
        measured(index, texts, order).total,
        perplexity(total, events),
        None if halves is None else interpolate(index, *halves, bootstrap=0),
    )


def _check_space(folder: Path, engine: Engine, parts: list[np.ndarray]) -> None:
    """Raise BuildError if the disk has no room for segments of these documents."""
    tokens = sum(int(engine.lengths_of(numbers).sum()) + numbers.shape[0] for numbers in parts)
    needed = tokens * (SEGMENT_BYTES + engine.segments[0].token_dtype.itemsize) if tokens else 0
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise BuildError(
            f"no space left at '{folder}': parts of the index need {needed / 1e6:,.1f} MB, "
            f"{free / 1e6:,.1f} MB are free; choose another folder with work_dir"
        )
