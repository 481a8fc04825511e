"""Contamination: which items of benchmarks a corpus has, and how much of each.

In: an index and benchmarks; or an index of benchmarks and documents. Out: `Contamination`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import numpy as np

from everygram import arguments
from everygram.building.stages import resources
from everygram.curation.benchmarks import Benchmark, Item, benchmarks_of
from everygram.curation.haystack import Grams, Haystack, Tokens, suspected, texts_of, words_of
from everygram.curation.matching import Found, measure
from everygram.curation.opened import Given, opened
from everygram.curation.rule import Rule, rule_of
from everygram.curation.sequences import Part, looked_at
from everygram.curation.skipping import behind, exact_of
from everygram.curation.variants import documents_with
from everygram.curation.words import UNKNOWN, Words
from everygram.errors import OptionError
from everygram.index import Index
from everygram.lm.ordered import in_order
from everygram.progress import Clock, Progress
from everygram.results.contamination import (
    THRESHOLDS,
    BenchmarkSummary,
    ContaminatedItem,
    Contamination,
    Example,
)

# Items, and characters of them, that are looked for together; and characters of documents, of which
# a thread reads some while others are looked up.
TOGETHER, CHARS, READ = 1 << 14, 1 << 23, 1 << 21
# Characters of its texts that an item in a result has.
TEXT = 1_000


def contamination(
    index: Given,
    items: Any,
    n: int | None = None,
    *,
    fields: Sequence[str] | None = None,
    preset: str | None = None,
    normalize: bool | None = None,
    min_share: float | None = None,
    min_coverage: float | None = None,
    min_length: int | None = None,
    max_documents: int | None = None,
    skips: int | None = None,
    documents: bool = False,
    examples: int = 3,
    context: int = 20,
    drop: bool = False,
    each: Callable[[Any, bool], None] | None = None,
    threads: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Contamination:
    """Which items of benchmarks an index has, and how much of each: exact.

    index: an open index, a union of several, or the folder of one. items: a name (a file, folder,
    pattern, address, or `datasets:NAME`), a list of paths, a tuple of names; or what a program
    holds: a table, or an iterable of texts or mappings (texts in a list are items). fields: of a
    record, those with its texts (default: "text"), strings or lists of them. Each is looked for by
    itself: no n-gram reaches from one into the next.

    The n-grams (n: 13 by default) are of tokens, and an item's first word may stand behind a space
    or not; or, with `normalize`, of words, without case, white space and punctuation: those of all
    documents are read once. An item is a hit if an n-gram of it is found, and `min_share` of its
    n-grams, and `min_coverage` of its tokens are. n-grams in more than `max_documents` documents
    mean nothing. A text shorter than n tokens is left out; where all texts of an item are, each is
    looked for as a whole, if it has `min_length` (5) tokens or more. skips (0): so many tokens of a
    match may differ, but not its first 10 (or n, if that is less), nor its last. preset: a paper's
    rule (`everygram contamination --help` lists them), of which what is given besides differs.

    documents: the other way round: the index is one of benchmarks, `items` are the documents of a
    corpus, which are read once and held against it; those without any of its n-grams are counted,
    but are no items of the result. Benchmarks of fewer than n tokens are then not found.

    examples: so many places of each item's longest match, with `context` tokens (or words) on
    either side. drop: also find all documents of the corpus, one index, that have an n-gram of an
    item that is a hit. each: called with the record of every item, as it was read, and whether it
    is a hit.

    Raises OptionError, CorpusError, TokenizerError for an index without a tokenizer (but documents
    of token ids need none), BuildError where the disk of temporary files is full, and the errors of
    `open`.
    """
    rule = rule_of(
        preset,
        n=n,
        normalize=normalize,
        min_share=min_share,
        min_coverage=min_coverage,
        min_length=min_length,
        max_documents=max_documents,
        skips=skips,
    )
    other_way = arguments.flag("documents", documents)
    shown = arguments.natural("examples", examples), arguments.natural("context", context)
    drop = arguments.flag("drop", drop)
    if drop and other_way:
        raise OptionError("drop: goes with an index of the corpus; with documents, see `each`")
    arguments.function("each", each)
    _, threads = resources(None, threads)
    clock = Clock(arguments.function("progress", progress) or (lambda _: None))
    benchmarks = benchmarks_of(items, fields)
    with opened(index) as asked:
        members = asked.engine.members
        if drop and members is not None and len(members.names) > 1:
            raise OptionError(
                f"drop: expected one index, found a union of {len(members.names)}, whose documents "
                "numbers alone do not tell; ask each index"
            )
        for benchmark in benchmarks:
            benchmark.vocab_size = asked.manifest.vocab_size
            if benchmark.are_ids and rule.normalize:
                raise OptionError(
                    f"normalize: expected texts, found token ids in '{benchmark.name}'; compare "
                    "tokens"
                )
        if other_way:
            rule = replace(rule, min_length=rule.n)
        run = _Run(asked, rule, shown, drop, each, clock)
        with ExitStack() as stack:
            if other_way:
                run.documents(benchmarks, stack, threads)
            else:
                run.items(benchmarks, stack, threads)
        manifest = {
            "everygram": _version(),
            "index": {
                "name": asked.path.name,
                "version": asked.version,
                "num_documents": asked.engine.num_documents,
                "num_tokens": asked.engine.num_tokens,
                "tokenizer": asked.manifest.tokenizer.source,
            },
            "index_of": "benchmarks" if other_way else "corpus",
            "rule": asdict(rule) | {"preset": preset},
            "fields": list(benchmarks[0].fields),
            "files": [
                {
                    "name": each.name,
                    "num_items": each.num_items,
                    "sha256": each.sha256(),
                    "texts_sha256": each.texts_sha256,
                }
                for each in benchmarks
            ],
        }
    dropped = np.unique(np.concatenate([np.empty(0, np.int64), *run.drops])) if drop else None
    return Contamination(run.found, run.unit, tuple(run.summaries), manifest, dropped)


def _version() -> str:
    from importlib.metadata import version

    return version("everygram")


class _Run:
    """One run: what it is asked, and what it has found so far."""

    def __init__(
        self,
        index: Index,
        rule: Rule,
        shown: tuple[int, int],
        drop: bool,
        each: Callable[[Any, bool], None] | None,
        clock: Clock,
    ) -> None:
        self.index, self.rule, self.clock = index, rule, clock
        self.examples, self.context = shown
        self.drop, self.each = drop, each
        self.unit = "words" if rule.normalize else "tokens"
        self.found: list[ContaminatedItem] = []
        self.drops: list[np.ndarray] = []
        self.summaries: list[BenchmarkSummary] = []

    def items(self, benchmarks: list[Benchmark], stack: ExitStack, threads: int) -> None:
        """Look for items of benchmarks in the index of a corpus."""
        read = [[*each.items()] for each in benchmarks]
        haystack: Haystack = Tokens(self.index)
        if self.rule.normalize:
            words = Words()
            texts = [[words.of(text) for text in item.texts] for items in read for item in items]
            words.fix()
            sizes = [
                size
                for each in texts
                for size in looked_at([one.shape[0] for one in each], *self._sizes)
            ]
            grams = self._grams([one for each in texts for one in each], sizes)
            self.clock.enter("words")
            made = words_of(self.index, words, grams, self._report, threads)
            haystack = stack.enter_context(made)
        self.clock.enter("search")
        total, done = sum(map(len, read)), 0
        for benchmark, items in zip(benchmarks, read, strict=True):
            summary = _Summary(benchmark.name)
            for some in _batches(iter(items)):
                parts = _parts(haystack, some)
                self._measure(haystack, summary, some, parts, keep_all=True)
                done += len(some)
                self.clock.documents = done
                self.clock.report(done, total)
            self.summaries.append(summary.made())

    def documents(self, benchmarks: list[Benchmark], stack: ExitStack, threads: int) -> None:
        """Hold documents of a corpus against the index of benchmarks."""
        n = self.rule.n
        made: Haystack = Tokens(self.index)
        if self.rule.normalize:
            self.clock.enter("words")
            words = Words()
            made = stack.enter_context(words_of(self.index, words, None, self._report, threads))
            known = [words.of(text) for _, text in texts_of(self.index)]
        else:
            known = [ids for _, ids, _ in self.index.engine.documents()]
        sizes = [n if each.shape[0] >= n else 0 for each in known]
        grams = self._grams(known, sizes)
        del known
        self.clock.enter("read")
        total, before = sum(each.total_bytes for each in benchmarks), 0
        self.clock.documents = 0
        for benchmark in benchmarks:
            summary, at = _Summary(benchmark.name), 0

            def tell(done: int) -> None:
                nonlocal at
                at = done

            def look(some: list[Item]) -> tuple[list[Item], list[list[Part]], list[int], int]:
                return some, *suspected(grams, _parts(made, some, whole=True))

            batches = _batches(benchmark.items(tell), READ)
            for some, parts, looked, size in in_order(look, batches, threads):
                self._measure(made, summary, some, parts, keep_all=False, looked=looked)
                self.clock.documents += len(some)
                self.clock.tokens += size
                self.clock.report(before + at, total)
            before += benchmark.total_bytes
            self.summaries.append(summary.made())

    def _grams(self, sequences: list[np.ndarray], sizes: list[int]) -> Grams:
        """The n-grams of sequences; or with skips all that a match can begin with."""
        gap, skips = UNKNOWN if self.rule.normalize else -1, self.rule.skips
        if not skips:
            return Grams(sequences, sizes, gap)
        exact = exact_of(np.array(sizes, np.int64)).tolist()
        return Grams(sequences, exact, gap, behind(self.rule.n, skips))

    @property
    def _sizes(self) -> tuple[int, int]:
        return self.rule.n, self.rule.min_length

    def _report(self, done: int, total: int) -> None:
        if done % 256 == 0 or done == total:
            self.clock.documents = done
            self.clock.report(done, total)

    def _measure(
        self,
        haystack: Haystack,
        summary: "_Summary",
        items: list[Item],
        parts: list[list[Part]],
        keep_all: bool,
        looked: list[int] | None = None,
    ) -> None:
        """Look for items, and note what was found. looked: those that may have an n-gram."""
        places = range(len(items)) if looked is None else looked
        found = measure(
            haystack.engine,
            [parts[place] for place in places],
            *self._sizes,
            self.rule.max_documents,
            self.rule.skips,
            self.drop,
        )
        with np.errstate(invalid="ignore"):
            coverage = np.nan_to_num(found.covered / found.units)
            share = np.nan_to_num(found.found / found.places)
        hits = [
            self.rule.hit(*each)
            for each in zip(
                (found.distinct > 0).tolist(), share.tolist(), coverage.tolist(), strict=True
            )
        ]
        if self.drop:
            of_hits = np.array(hits, np.bool_)[found.gram_items]
            engine = haystack.engine
            documents = haystack.numbers(documents_with(engine, found.gram_intervals[of_hits]))
            self.drops.append(haystack.source.owned(documents)[0])
        examples = self._examples(haystack, found)
        summary.coverage.append(coverage[found.distinct > 0])
        summary.share.append(share[found.distinct > 0])
        summary.num_hit += sum(hits)
        is_hit = dict(zip(places, hits, strict=True))
        for row, place in enumerate(places):
            if not (keep_all or found.distinct[row]):
                continue
            self.found.append(
                ContaminatedItem(
                    benchmark=summary.name,
                    item=summary.num_items + place,
                    hit=hits[row],
                    tokens=int(found.units[row]),
                    ngrams=int(found.places[row]),
                    coverage=float(coverage[row]),
                    share=float(share[row]),
                    longest=int(found.longest[row]),
                    hits=int(found.distinct[row]),
                    count=int(found.counts[row]),
                    document_count=int(found.document_counts[row]),
                    documents=examples.get(row, ()),
                    text=_beginning(items[place].texts),
                )
            )
        for place, item in enumerate(items):
            if not any(looked_at([part.ids.shape[0] for part in parts[place]], *self._sizes)):
                summary.num_short += 1
            if self.each is not None:
                self.each(item.record, is_hit.get(place, False))
        summary.num_items += len(items)

    def _examples(self, haystack: Haystack, found: Found) -> dict[int, tuple[Example, ...]]:
        """Some places of the longest match of each item that has one."""
        engine, source = haystack.engine, haystack.source
        # (Of a match that is spelled in several ways, the first few ways have enough.)
        counts = engine.counts_of(found.intervals)
        before = np.cumsum(counts) - counts
        before -= before[np.searchsorted(found.variants, found.variants)]
        wanted = np.clip(self.examples - before, 0, counts)
        variants = np.repeat(np.arange(wanted.shape[0]), wanted)
        if not variants.shape[0]:
            return {}
        occurrences = np.arange(variants.shape[0]) - np.repeat(np.cumsum(wanted) - wanted, wanted)
        segments, positions = engine.locate_many(found.intervals, variants, occurrences)
        items = found.variants[variants]
        documents, offsets = engine.documents_at(segments, positions)
        originals = haystack.numbers(documents)
        numbers, indexes, names = source.owned(originals)
        made: dict[int, list[Example]] = {}
        seen = set()
        for place, item in enumerate(items.tolist()):
            original = int(originals[place])
            if (item, original) in seen:
                continue
            seen.add((item, original))
            begin = int(offsets[place])
            passage = haystack.passage(
                int(documents[place]), begin, begin + int(found.longest[item]), self.context
            )
            _, metadata = source.document_found(original)
            made.setdefault(item, []).append(
                Example(
                    int(numbers[place]),
                    None if indexes is None else names[int(indexes[place])],
                    metadata,
                    *((None, None, None) if passage is None else passage),
                )
            )
        return {item: tuple(each) for item, each in made.items()}


class _Summary:
    """A benchmark, while its items are counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.num_items = self.num_hit = self.num_short = 0
        self.coverage: list[np.ndarray] = []
        self.share: list[np.ndarray] = []

    def made(self) -> BenchmarkSummary:
        """The benchmark as a whole."""
        return BenchmarkSummary(
            self.name,
            self.num_items,
            self.num_hit,
            self.num_short,
            _reaching(self.coverage),
            _reaching(self.share),
        )


def _reaching(shares: list[np.ndarray]) -> tuple[int, ...]:
    """How many shares reach each threshold."""
    every = np.concatenate([np.empty(0), *shares])
    return tuple(int((every >= threshold).sum()) for threshold in THRESHOLDS)


def _beginning(texts: tuple[str, ...]) -> str:
    """Texts with an empty line between them, up to TEXT characters."""
    found = "\n\n".join(text[: TEXT + 1] for text in texts)
    return found if len(found) <= TEXT else f"{found[:TEXT]}…"


def _batches(items: Iterator[Item], chars: int = CHARS) -> Iterator[list[Item]]:
    """Items, some at a time: about so many characters, or ids."""
    while first := [*islice(items, 1)]:
        some, size = first, 0
        for item in islice(items, TOGETHER - 1):
            some.append(item)
            size += sum(map(len, item.texts)) if item.ids is None else item.ids.shape[0]
            if size >= chars:
                break
        yield some


def _parts(haystack: Haystack, items: list[Item], whole: bool = False) -> list[list[Part]]:
    """The texts of items as ids, all encoded together."""
    texts = [text for item in items for text in item.texts]
    encoded = iter(haystack.parts(texts, whole) if texts else ())
    return [
        [*islice(encoded, len(item.texts))] if item.ids is None else [Part(item.ids)]
        for item in items
    ]
