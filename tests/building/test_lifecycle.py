"""An index's whole life, at random: whatever its writer does, readers answer as the oracle."""

import gzip
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

import everygram
from campaign import sized
from conftest import write_jsonl
from everygram.errors import CorpusError, QueryError
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage.verify import verify
from naive import NaiveIndex

# What documents are of, by the corpus they come in; every byte of a wide id matters to the order.
ALPHABETS = {
    "text": ["a", "b", "é"],
    "u8": [0, 1, 254],
    "u16": [1, 256, 65534],
    "u32": [1, 1 << 24, 2**32 - 2],
}
# Places in the alphabet, so that what is drawn does not hang on it.
SYMBOLS = st.integers(0, 2)
DOCUMENT = st.builds(
    lambda symbols, times: symbols * times, st.lists(SYMBOLS, max_size=8), st.sampled_from([1, 3])
)
DOCUMENTS = st.lists(DOCUMENT, min_size=1, max_size=4)
QUERY = st.lists(st.integers(0, 5), max_size=6)
THREADS = st.integers(1, 2)
DRY_RUN = st.sampled_from([False, False, True])
# A byte takes the smallest blocks, so that there is something to merge.
MEMORY = st.sampled_from([1, 1 << 30])
PICKS = st.lists(st.integers(0, 50), min_size=1, max_size=4)
GROUPS = ["x", "y", None]
# Positions per sample of a self-index; 0: a suffix array.
SAMPLES = st.sampled_from([0, 0, 1, 3])


# So that a few documents meet what many do.
LIMITS = {
    "building.compaction.MOST_DELETED": st.sampled_from([0.1, 0.6]),
    "building.compaction.TIER": st.sampled_from([0, 2]),
    "engine.texts.LONG": st.sampled_from([2, 64]),
    "engine.documents.LOOKED_AT": st.sampled_from([5, 1 << 16]),
    "building.external_sort.MAX_BLOCK": st.sampled_from([7, 2**31 - 2]),
    "building.external_sort.MIN_BLOCK": st.just(4),
    "building.suffix_array.SHORT": st.sampled_from([0, 10, 500_000]),
    "storage.format.FENCE_SPACING": st.sampled_from([2, 16]),
    "storage.format.WIDE_POSITIONS_FROM": st.sampled_from([30, 2**32]),
}


def kind_of(every):
    """The arguments for a kind of segments."""
    return {"kind": fmt.kind_of(every), "sample_every": every or None}


class LiveIndex(NaiveIndex):
    """The oracle over documents by number."""

    def __init__(self, documents, separator):
        self.numbers = list(documents)
        super().__init__([document.ids for document in documents.values()], separator)

    def occurrences(self, query):
        return [(self.numbers[document], at) for document, at in super().occurrences(query)]


@dataclass(frozen=True)
class Document:
    ids: list[int]
    text: str | None
    metadata: dict[str, object]


@dataclass
class Reader:
    """An open index and the documents, by number, that it must answer from."""

    index: everygram.Index
    documents: dict[int, Document]
    manifest: bytes
    numbers_given: int


class Lifecycle(RuleBasedStateMachine):
    readers = Bundle("readers")

    def __init__(self):
        super().__init__()
        self.stack = ExitStack()
        folder = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.folder, self.path = Path(folder), Path(folder, "index")
        # What a test reads at once need not outlive a power cut: nine tenths of the time.
        self.stack.enter_context(mock.patch.object(os, "fsync"))
        self.documents = {}
        self.numbers_given = 0
        self.files_written = 0
        self.opened = []

    def teardown(self):
        try:
            for reader in self.opened:
                check(reader, [[], [0], [0, 1], [1, 1, 4], [4, 0], [3, 0, 1, 0]], None, self)
        finally:
            for reader in self.opened:
                reader.index.close()
            self.stack.close()

    def token_ids(self, query):
        """The ids of a drawn query: pieces of documents, the separator, an id that is nowhere."""
        symbols = self.alphabet if self.kind != "text" else [*b"ab", *"é".encode()]
        symbols = [*symbols, fmt.separator_of(self.dtype), 7]
        return [symbols[place % len(symbols)] for place in query]

    def write_corpus(self, drawn, group):
        """A file of these documents, which are given the numbers to come."""
        self.files_written += 1
        documents = [[self.alphabet[place] for place in symbols] for symbols in drawn]
        numbers = range(self.numbers_given, self.numbers_given + len(documents))
        if self.kind == "text":
            texts = ["".join(document) for document in documents]
            fields = {} if group is None else {"group": group}
            new = [
                Document(list(text.encode()), text, {"n": number, **fields})
                for number, text in zip(numbers, texts, strict=True)
            ]
            records = [{"text": each.text, **each.metadata} for each in new]
            path = write_jsonl(self.folder / f"{self.files_written}.jsonl", records)
        else:
            path = self.write_ids(self.files_written, documents)
            new = [Document(document, None, {"path": path.name}) for document in documents]
        return path, dict(zip(numbers, new, strict=True))

    def write_ids(self, name, documents):
        # With their bounds beside them: documents of no ids make separators ambiguous.
        path = self.folder / f"{name}.npy"
        stream = np.array(list(itertools.chain(*documents)), fmt.TOKEN_DTYPES[self.kind])
        stream.tofile(path)
        ends = list(itertools.accumulate(map(len, documents)))
        with gzip.open(path.with_suffix(".csv.gz"), "wt") as table:
            table.writelines(
                f"{start},{end}\n" for start, end in zip([0, *ends], ends, strict=False)
            )
        return path

    @property
    def corpus_options(self):
        if self.kind == "text":
            return {}
        return {"pretokenized": self.kind, "separator_id": fmt.separator_of(self.kind)}

    def manifest(self):
        return (self.path / fmt.MANIFEST).read_bytes()

    def open(self, index):
        reader = Reader(index, self.documents, self.manifest(), self.numbers_given)
        self.opened.append(reader)
        return reader

    def changed(self):
        """Called once the documents are others."""

    @initialize(
        target=readers,
        kind=st.sampled_from(["text", *ALPHABETS]),
        documents=st.lists(DOCUMENT, max_size=8),
        parts=st.lists(DOCUMENTS, max_size=3),
        deleted=st.lists(PICKS, max_size=2),
        memory=MEMORY,
        threads=THREADS,
        every=SAMPLES,
        limits=st.fixed_dictionaries(LIMITS),
    )
    def build(self, kind, documents, parts, deleted, memory, threads, every, limits):
        for name, value in limits.items():
            self.stack.enter_context(mock.patch(f"everygram.{name}", value))
        self.kind, self.alphabet = kind, ALPHABETS[kind]
        self.dtype = "u8" if kind == "text" else kind
        corpus, new = self.write_corpus(documents, "x")
        options = self.corpus_options | kind_of(every)
        everygram.build(corpus, self.path, memory=memory, threads=threads, **options)
        self.documents, self.numbers_given = new, len(new)
        for part in parts:
            self.add(part, "y", memory, threads)
        for picks in deleted:
            self.delete_numbers(picks, False, memory)
        return self.open(everygram.open(self.path))

    @rule(documents=DOCUMENTS, group=st.sampled_from(GROUPS), memory=MEMORY, threads=THREADS)
    def add(self, documents, group, memory, threads):
        corpus, new = self.write_corpus(documents, group)
        report = everygram.add(
            self.path, corpus, memory=memory, threads=threads, **self.corpus_options
        )
        assert report.num_documents == len(new)
        self.documents = self.documents | new
        self.numbers_given += len(new)
        self.changed()

    @rule()
    def add_what_cannot_be_read(self):
        before = self.manifest()
        with pytest.raises(CorpusError):
            everygram.add(self.path, self.folder / "missing", **self.corpus_options)
        assert self.manifest() == before

    @precondition(lambda self: self.documents)
    @rule(
        picks=st.lists(st.integers(0, 50), min_size=1, max_size=6), dry_run=DRY_RUN, memory=MEMORY
    )
    def delete_numbers(self, picks, dry_run, memory):
        live = list(self.documents)
        numbers = [live[pick % len(live)] for pick in picks if live]
        self.delete(set(numbers), dry_run, memory, documents=numbers)

    @precondition(lambda self: self.documents)
    @rule(group=st.sampled_from(GROUPS), pick=st.integers(0, 50), dry_run=DRY_RUN)
    def delete_where(self, group, pick, dry_run):
        field, value = "group", str(group)
        if self.kind != "text":
            field, value = "path", f"{pick % self.files_written + 1}.npy"
        gone = {n for n, each in self.documents.items() if each.metadata.get(field) == value}
        self.delete(gone, dry_run, 1, where=(field, value))

    @precondition(lambda self: self.documents)
    @rule(query=QUERY.filter(len), by_text=st.booleans(), dry_run=DRY_RUN)
    def delete_matching(self, query, by_text, dry_run):
        matching = ids = self.token_ids(query)
        if by_text and self.kind == "text":
            matching = "".join(self.alphabet[place % 3] for place in query)
            ids = list(matching.encode())
        naive = LiveIndex(self.documents, fmt.separator_of(self.dtype))
        gone = {number for number, _ in naive.occurrences(ids)}
        self.delete(gone, dry_run, 1, matching=matching)

    def delete(self, gone, dry_run, memory, **way):
        before = self.manifest()
        found = everygram.delete(self.path, dry_run=dry_run, memory=memory, threads=1, **way)
        assert found.documents == tuple(sorted(gone))
        assert found.num_tokens == sum(len(self.documents[number].ids) for number in gone)
        if dry_run or not gone:
            assert self.manifest() == before
        else:
            self.documents = {n: each for n, each in self.documents.items() if n not in gone}
            self.changed()

    @rule(number=st.integers(-1, 60), with_others=st.booleans())
    def delete_what_is_not_there(self, number, with_others):
        if number in self.documents:
            number = self.numbers_given
        before = self.manifest()
        numbers = [*(list(self.documents) if with_others else ()), number]
        with pytest.raises(QueryError, match=f"document {number}: "):
            everygram.delete(self.path, documents=numbers)
        assert self.manifest() == before

    @precondition(lambda self: self.num_segments > 1)
    @rule(
        full=st.booleans(),
        memory=MEMORY,
        threads=THREADS,
        every=st.one_of(st.none(), st.none(), SAMPLES),
    )
    def compact(self, full, memory, threads, every):
        before = directory.read_manifest(self.path)
        asked = {} if every is None else kind_of(every)
        done = everygram.compact(self.path, full=full, memory=memory, threads=threads, **asked)
        after = directory.read_manifest(self.path)
        assert after.sample_every == (before.sample_every if every is None else every)
        if after.sample_every != before.sample_every:
            kinds = {each.sample_every for each in after.segments if each.sign > 0}
            assert kinds <= {after.sample_every}
        assert done.segments_before == len(before.segments)
        assert done.segments_after == len(after.segments) <= len(before.segments)
        assert (after.next_document, after.num_documents) == (
            self.numbers_given,
            len(self.documents),
        )
        if full:
            self.check_built_at_once(after)

    def check_built_at_once(self, manifest):
        """It is, to the byte, what a build of the documents that are left makes."""
        left = self.documents.values()
        of_kind = fmt.FILES_OF_KIND[manifest.kind]
        names = [*of_kind, fmt.FENCES, fmt.UNIGRAMS, fmt.DOCUMENT_OFFSETS]
        if self.kind == "text":
            records = [{"text": each.text, **each.metadata} for each in left]
            corpus = write_jsonl(self.folder / "left.jsonl", records)
            names += [fmt.METADATA, fmt.METADATA_OFFSETS]
        else:
            corpus = self.write_ids("left", [each.ids for each in left])
        once = self.folder / "once"
        everygram.build(corpus, once, **self.corpus_options, **kind_of(manifest.sample_every))
        built = directory.read_manifest(once).segments
        assert [[each.files[name] for name in names] for each in manifest.segments] == [
            [each.files[name] for name in names] for each in built
        ]
        shutil.rmtree(once)

    @rule(every=SAMPLES, queries=st.lists(QUERY, min_size=1, max_size=4), memory=MEMORY)
    def convert(self, every, queries, memory):
        converted = self.folder / "converted"
        everygram.convert(self.path, converted, **kind_of(every), memory=memory)
        assert verify(converted, lambda done, total: None) == []
        with everygram.open(converted) as index:
            check(Reader(index, self.documents, b"", self.numbers_given), queries, None, self)
        shutil.rmtree(converted)

    @rule(target=readers)
    def open_one(self):
        return self.open(everygram.open(self.path))

    @rule(reader=consumes(readers))
    def close_one(self, reader):
        reader.index.close()
        self.opened.remove(reader)

    @rule(reader=readers)
    def refresh(self, reader):
        assert reader.index.refresh() == (reader.manifest != self.manifest())
        reader.manifest = self.manifest()
        reader.documents, reader.numbers_given = self.documents, self.numbers_given

    @rule(target=readers, reader=readers)
    def latest(self, reader):
        index = reader.index.latest()
        assert (index is reader.index) == (reader.manifest == self.manifest())
        return multiple() if index is reader.index else self.open(index)

    @rule(
        reader=readers,
        queries=st.lists(QUERY, min_size=1, max_size=4),
        order=st.sampled_from([None, None, 1, 2, 3]),
    )
    def ask(self, reader, queries, order):
        check(reader, queries, order, self)

    @invariant()
    def the_index_is_sound(self):
        assert verify(self.path, lambda done, total: None) == []
        listed = {fmt.MANIFEST: None, fmt.LOCK: None}
        segments = directory.read_manifest(self.path).segments
        self.num_segments = len(segments)
        for entry in segments:
            listed |= {f"{entry.name}/{name}": file.bytes for name, file in entry.files.items()}
        there = {
            str(file.relative_to(self.path)): file.stat().st_size
            for file in self.path.rglob("*")
            if file.is_file()
        }
        assert there.keys() == listed.keys()
        assert all(size in (None, there[name]) for name, size in listed.items())
        folders = {file.name for file in self.path.iterdir() if file.is_dir()}
        assert folders == {name.partition("/")[0] for name in listed if "/" in name}


def counts_of(found):
    return dict(zip(found.next_ids.tolist(), found.counts.tolist(), strict=True))


def counts_in(found):
    return found.prompt_count, found.continuation_count, found.suffix_len


def check(reader, queries, order, machine):
    """The reader answers everything as the oracle of its documents does."""
    index, documents = reader.index, reader.documents
    queries = [machine.token_ids(query) for query in queries]
    naive = LiveIndex(documents, index.separator)
    assert index.num_documents == len(documents)
    assert index.num_tokens == sum(len(each.ids) for each in documents.values())
    check_documents(index, documents, reader.numbers_given)
    ntds, suffixes = [], []
    for query in queries:
        check_places(index, naive, query)
        ntds.append(naive.following(query))
        found = index.ntd(query)
        assert counts_of(found) == ntds[-1]
        assert found.prompt_count == sum(ntds[-1].values())
        suffixes.append(naive.longest_suffix(query))
        found = index.infgram_ntd(query)
        assert found.suffix_len == len(suffixes[-1])
        assert counts_of(found) == naive.following(suffixes[-1])
    tokens = [(query or [index.separator])[0] for query in queries]
    probs, infgram_probs = [], []
    for query, suffix, token in zip(queries, suffixes, tokens, strict=True):
        probs.append((*naive.prob(query, token)[:2], len(query)))
        infgram_probs.append((*naive.prob(suffix, token)[:2], len(suffix)))
        assert counts_in(index.prob(query, token)) == probs[-1]
        assert counts_in(index.infgram_prob(query, token)) == infgram_probs[-1]
    assert index.count_batch(queries).counts.tolist() == [naive.count(query) for query in queries]
    assert [*map(counts_in, index.prob_batch(queries, tokens))] == probs
    assert [*map(counts_in, index.infgram_prob_batch(queries, tokens))] == infgram_probs
    assert [*map(counts_of, index.ntd_batch(queries))] == ntds
    expected = [naive.following(suffix) for suffix in suffixes]
    assert [*map(counts_of, index.infgram_ntd_batch(queries))] == expected

    text = [token for query in queries for token in query]
    scores = index.score(text, order=order)
    columns = (
        scores.suffix_lens,
        scores.prompt_counts,
        scores.continuation_counts,
        scores.sparse,
    )
    assert [*zip(*(c.tolist() for c in columns), strict=True)] == naive.score(text, order)
    matches = index.longest_matches(text)
    found = [*zip(matches.lengths.tolist(), matches.counts.tolist(), strict=True)]
    assert found == naive.longest_matches(text)


def check_places(index, naive, query):
    places = naive.occurrences(query)
    assert index.count(query) == len(places)
    found = index.find(query, limit=10_000)
    assert found.count == len(places)
    listed = [(each.document, each.offset) for each in found]
    assert sorted(listed) == places
    page = index.find(query, offset=1, limit=2)
    assert [(each.document, each.offset) for each in page] == listed[1:3]
    if places:
        # An empty document's separators stand at its start and at its end, both 0.
        document = index.document(query=query, occurrence=len(places) - 1)
        assert document.number == listed[-1][0]
        assert document.match[0] == max(0, listed[-1][1])


def check_documents(index, documents, numbers_given):
    for number in range(-1, numbers_given + 2):
        if number not in documents:
            with pytest.raises(QueryError, match=f"document {number}: "):
                index.document(number)
            continue
        document, expected = index.document(number), documents[number]
        assert document.token_ids.tolist() == expected.ids
        assert document.text == expected.text
        assert document.metadata == expected.metadata
    exported = list(everygram.export(index))
    texts = [
        {"ids": each.ids} if each.text is None else {"text": each.text}
        for each in documents.values()
    ]
    metadata = [each.metadata for each in documents.values()]
    assert exported == [text | more for text, more in zip(texts, metadata, strict=True)]


class OneSegment(Lifecycle):
    """Merged whenever it changes: what asks a single segment meets numbers with gaps."""

    def changed(self):
        self.compact(full=True, memory=1, threads=1, every=None)
        assert len(directory.read_manifest(self.path).segments) == bool(self.documents)


Lifecycle.TestCase.settings = settings(
    max_examples=sized(30, 500), stateful_step_count=25, deadline=None
)
OneSegment.TestCase.settings = settings(
    max_examples=sized(12, 150), stateful_step_count=20, deadline=None
)
TestLifecycle = Lifecycle.TestCase
TestOneSegment = OneSegment.TestCase


def test_a_writer_and_readers_soak(tmp_path):
    """Of several processes: seconds here, ten minutes in a campaign."""
    script = Path(__file__).parent.parent.parent / "bench" / "soak.py"
    command = [
        sys.executable,
        script,
        "--minutes",
        sized("0.08", "10"),
        "--readers",
        "4",
        "--work",
        tmp_path,
    ]
    run = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stdout + run.stderr
