"""How often concepts occur in an index, exactly; see `everygram.results.frequency`."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from everygram import arguments
from everygram.arguments import flag, natural, short
from everygram.curation.concepts import Concepts, concepts_of, read_pairs, scores_of
from everygram.curation.concepts import Given as GivenConcepts
from everygram.curation.occurrences import Finder, Occurring, nested
from everygram.curation.opened import Given as GivenIndex
from everygram.curation.opened import opened
from everygram.curation.performance import compared, performance_of
from everygram.curation.scanning import counted
from everygram.curation.together import pairs_of
from everygram.errors import OptionError
from everygram.index import Index
from everygram.results.frequency import Frequencies
from everygram.search.pattern import Pattern

# Concepts of which every two may be looked at.
MOST = 5_000
# How many tokens are read in the time in which one text is looked up; and how many times as long it
# takes to read one of a self-index.
LOOK_UP, WALK = 50_000, 3
Progress = Callable[[int, int], None]


def frequency(
    index: GivenIndex,
    concepts: GivenConcepts,
    *,
    ignore_case: bool = False,
    whole_words: bool = False,
    pairs: bool | str | os.PathLike[str] | Sequence[tuple[str, str]] = False,
    within: int | None = None,
    results: Any = None,
    score_field: str = "score",
    by: str = "count",
    bins_per_decade: int = 2,
    resamples: int = 1000,
    seed: int = 0,
    compare: GivenIndex | None = None,
    progress: Progress | None = None,
) -> Frequencies:
    """How often each concept occurs in the documents, as a text, and in how many of them.

    A concept is a name, with aliases if it has any. Its document count is that of the documents in
    which any of its texts occurs. Its count is the sum of theirs (as `Index.count_text`), without
    occurrences that lie inside one of another text of the concept.

    concepts: names; a mapping of names to lists of aliases; or the path of a file: a concept a
        line, or a .csv with the columns `concept` (or `name`) and `aliases` (with | between).
    ignore_case, whole_words: as in `Index.count_text`.
    pairs: True: every two concepts that occur together (of at most 5,000); or pairs of names, or a
        .csv of them with the columns `first` and `second`. within: in a window of at most so many
        tokens of a document (default: in a document).
    results: scores of items with a concept, beside its `by` ("count" or "document_count"): pairs
        (concept, score), or a .csv or .jsonl with `concept` and `score_field`. bins_per_decade: of
        log10 of the count. Intervals are of that many resamples, the same for the same seed.
    compare: another index, in which the same is counted.
    progress: called with how much is done, and how much there is in all.

    Raises OptionError, of a file's content CorpusError, and as `Index.count_text`.
    """
    ignore_case = flag("ignore_case", ignore_case)
    whole_words = flag("whole_words", whole_words)
    window = None if within is None else natural("within", within, 1)
    if arguments.string("by", by) not in ("count", "document_count"):
        raise OptionError(f"by: expected 'count' or 'document_count', found {short(by)}")
    bins = natural("bins_per_decade", bins_per_decade, 1)
    if bins > 100:
        raise OptionError(f"bins_per_decade: expected at most 100, found {short(bins_per_decade)}")
    resamples = min(natural("resamples", resamples, 1), 1_000_000)
    seed = natural("seed", seed)
    score_field = arguments.string("score_field", score_field)
    tell = arguments.function("progress", progress) or (lambda done, total: None)
    listed = concepts_of(concepts)
    scores = None if results is None else _scores(listed, results, score_field)
    named = _named(listed, pairs)
    if window is not None and named is False:
        raise OptionError("within: goes with pairs, found none")
    with opened(index) as first:
        found = _counted(first, listed, ignore_case, whole_words, named, window, tell)
        if compare is not None:
            with opened(compare) as second:
                other = _counted(second, listed, ignore_case, whole_words, False, None, tell)
                found = compared(found, other, second.path.name)
    if scores is not None:
        found = performance_of(found, scores, by, bins, resamples, seed)
    return found


def _counted(
    index: Index,
    listed: Concepts,
    ignore_case: bool,
    whole_words: bool,
    named: list[tuple[int, int]] | bool | None,
    within: int | None,
    progress: Progress,
) -> Frequencies:
    """The counts in one index. named: pairs by place; None: every two; False: no pairs."""
    engine, _, reading, manifest, texts = index._state
    finder = Finder(engine, texts, ignore_case, whole_words)
    # (No document is longer.)
    window = within and min(within, max((each.stream_len for each in engine.segments), default=1))
    names = tuple(listed)
    counts, document_counts = np.zeros((2, len(names)), np.int64)
    found: list[Occurring] = []
    different = [finder.different(of_concept) for of_concept in listed.values()]
    # Those that need no places may be read for, all at once.
    plain = [] if named is not False else [not nested(each) for each in different]
    number = sum(len(each) for each, alone in zip(different, plain, strict=False) if alone)
    read = number * LOOK_UP > manifest.num_tokens * (WALK if engine.walked else 1)
    if read:
        asked = [
            (text, place) for place, alone in enumerate(plain) if alone for text in different[place]
        ]
        for text, _ in asked:
            Pattern(text)  # (checked as if it was looked up)
        of = reading.token_bytes
        given = engine, of, asked, len(names), ignore_case, whole_words, progress
        counts, document_counts = counted(*given)
    for place, of_concept in enumerate(different):
        if read and plain[place]:
            continue
        one = finder.find(of_concept, window)
        counts[place], document_counts[place] = one.counts.sum(), one.documents.shape[0]
        if named is not False:
            found.append(one)
        progress(place + 1, len(names))
    pairs = None
    if not isinstance(named, bool):
        pairs = replace(pairs_of(names, found, named, window, lambda done: None), within=within)
    return Frequencies(
        names,
        manifest.num_documents,
        manifest.num_tokens,
        ignore_case,
        whole_words,
        counts,
        document_counts,
        pairs,
    )


def _named(listed: Concepts, pairs: Any) -> list[tuple[int, int]] | bool | None:
    """Pairs by place in the list; None: every two; False: no pairs."""
    if type(pairs).__name__ in arguments.BOOLEANS:
        if pairs and len(listed) > MOST:
            raise OptionError(
                f"pairs: expected at most {MOST:,} concepts for every two of them, found "
                f"{len(listed):,}; name the pairs"
            )
        return None if pairs else False
    where = "pairs"
    if isinstance(pairs, str | os.PathLike):
        where = str(pairs)
        pairs = read_pairs(arguments.path("pairs", pairs))
    if not isinstance(pairs, list | tuple):
        raise OptionError(
            "pairs: expected True or False, pairs of concepts, or the path of a .csv of them, "
            f"found {short(pairs)}"
        )
    places = {name: place for place, name in enumerate(listed)}
    named = []
    for pair in pairs:
        known = isinstance(pair, list | tuple) and len(pair) == 2
        if not known or not all(isinstance(each, str) and each in places for each in pair):
            raise OptionError(f"{where}: expected two concepts of the list, found {short(pair)}")
        named.append((places[pair[0]], places[pair[1]]))
    return named


def _scores(listed: Concepts, results: Any, score_field: str) -> tuple[np.ndarray, np.ndarray]:
    """The places of items' concepts in the list, and the scores: int64 and float64, shape (m,)."""
    places = {name: place for place, name in enumerate(listed)}
    pairs = scores_of(results, score_field)
    missing = dict.fromkeys(name for name, _ in pairs if name not in places)
    if missing:
        raise OptionError(
            f"results: expected concepts of the list, found {short(next(iter(missing)))}"
            + (f" and {len(missing) - 1:,} more that are not in it" if len(missing) > 1 else "")
        )
    return (
        np.array([places[name] for name, _ in pairs], np.int64),
        np.array([score for _, score in pairs], np.float64),
    )
