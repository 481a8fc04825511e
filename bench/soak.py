"""Does an index that changes all the time answer exactly, lose nothing, and leak nothing?

For MINUTES a writer adds random documents, deletes some (by number, by metadata, by an n-gram) and
compacts, without a pause, while READERS run every kind of query. The first reader refreshes its
index, the second takes the latest, the third opens the index again with all of it in memory, the
fourth keeps an old version for seconds; further readers repeat these four ways. Each checks every
answer against brute force over the documents of the version that it has open.

A log says which documents these are: the writer logs each change before it makes it, and again
after. Two numbers identify a version: how many document numbers were given, and how many documents
are left. The first grows with every addition, the second falls with every deletion, and nothing
else changes either. So it is an error if a reader sees a version that is not in the log, a version
from before a change that was finished before the reader looked, or a version older than one it has
seen.

Also checked: a reader has only the files of its version open or mapped (on Linux); the other
resources of a process (memory without mapped files, open files, threads) do not grow from the first
quarter to the last; at the end, the index is sound, has every document and no file that it does not
need, and after compaction is the same, to the byte, as an index built from its documents.

usage: python bench/soak.py --work WORK [--minutes 10] [--readers 4] [--seed 0]

Exit code 1 if anything is wrong.
"""

import argparse
import contextlib
import gc
import json
import multiprocessing
import random
import shutil
import statistics
import sys
import threading
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import psutil

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from everygram.building import external_sort
from everygram.errors import QueryError
from everygram.storage import format as fmt
from everygram.storage.verify import verify

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from naive import NaiveIndex

SEPARATOR = 255
WORDS = ["a", "b", "ab", "the", "of", "and", "suffix", "array", "0", "1", "\n", "natural", "nature"]
# Documents of a group have the same metadata, except for their number.
GROUP = 7
# From this many tokens on, more is deleted than added.
TOKENS = 60_000
# A block size so small that larger additions are sorted in blocks and merged.
MIN_BLOCK = 1_000
# For a query that occurs more often, only a sample of the places is checked.
MOST_PLACES = 1_000
OLD_SECONDS = 5.0
READY_SECONDS, END_SECONDS = 600.0, 300.0
# A larger increase counts as growth. (Allocators keep memory that was used once.)
MOST_GROWN = {"memory": 32 << 20, "files": 2, "threads": 2}
MOST_WRONG = 10


class Documents(NaiveIndex):
    """The oracle over documents by number; fast enough to follow a writer, as it searches bytes."""

    def __init__(self) -> None:
        super().__init__([], SEPARATOR)
        self.events: dict[int, bytes] = {}
        self.numbers_given = 0
        self.num_tokens = 0
        # The last that are not there any more.
        self.gone: deque[tuple[int, bytes]] = deque(maxlen=50)

    @property
    def version(self) -> tuple[int, int]:
        return self.numbers_given, len(self.events)

    def apply(self, change: dict[str, Any]) -> None:
        """A change as the log has it."""
        for text in change.get("added", ()):
            self.events[self.numbers_given] = bytes([SEPARATOR, *text.encode(), SEPARATOR])
            self.numbers_given += 1
            self.num_tokens += len(text.encode())
        for number in change.get("deleted", ()):
            self.gone.append((number, self.events.pop(number)))
            self.num_tokens -= len(self.gone[-1][1]) - 2

    def ids(self, number: int) -> list[int]:
        return list(self.events[number][1:-1])

    def occurrences(self, query: Sequence[int]) -> list[tuple[int, int]]:
        found, wanted = [], bytes(query)
        for number, events in self.events.items():
            last = len(events) - max(2, len(wanted))
            at = events.find(wanted)
            while 0 <= at <= last:
                found.append((number, at - 1))
                at = events.find(wanted, at + 1)
        return found

    def following(self, prompt: Sequence[int]) -> dict[int, int]:
        counts, wanted = Counter[int](), bytes(prompt)
        for events in self.events.values():
            at = events.find(wanted, 0 if wanted else 1)
            while 0 <= at < len(events) - len(wanted):
                counts[events[at + len(wanted)]] += 1
                at = events.find(wanted, at + 1)
        return dict(counts)

    def piece(self, rng: random.Random, longest: int) -> list[int]:
        """Of a document, or of one that was deleted, with its separators; often with an error."""
        chosen = rng.choice([*self.gone, *self.events.items()] or [(0, b"ab")])[1]
        start = rng.randrange(len(chosen))
        ids = list(chosen[start : start + rng.randrange(longest + 1)])
        if ids and rng.random() < 0.3:
            ids[rng.randrange(len(ids))] = rng.choice([*b"ab \nz", SEPARATOR])
        return ids


def metadata(number: int) -> dict[str, Any]:
    """The fields of a document's record other than the text."""
    return {"n": number, "group": f"g{number // GROUP}"}


def write_corpus(path: Path, texts: Sequence[str], first: int) -> Path:
    records = [{"text": text, **metadata(first + i)} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


class Held:
    """The resources of this process, over time."""

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._start = time.monotonic()
        self._samples: list[tuple[float, dict[str, int]]] = []
        self._process = psutil.Process()

    def sample(self, index: Path | None = None) -> None:
        """Look, some five hundred times in all; the open index's files do not count."""
        now = (time.monotonic() - self._start) / self._seconds
        if not self._samples or now - self._samples[-1][0] > 1 / 500:
            memory = self._process.memory_info()
            held = {
                "memory": memory.rss - getattr(memory, "shared", 0),
                "files": len(open_files()) - (len(open_files(index)) if index else 0),
                "threads": threading.active_count(),
            }
            self._samples.append((now, held))

    def report(self) -> dict[str, tuple[int, int]]:
        """For each resource, the medians of the first quarter (without its start) and the last."""
        first = [held for at, held in self._samples if 1 / 8 <= at < 1 / 4]
        last = [held for at, held in self._samples if at >= 3 / 4]
        return {
            name: (_median(first or last, name), _median(last or first, name))
            for name in MOST_GROWN
        }


def _median(samples: list[dict[str, int]], name: str) -> int:
    return int(statistics.median([each[name] for each in samples] or [0]))


class Process:
    """What the writer and the readers share: the index, the log, the errors found."""

    def __init__(self, work: Path, name: str, minutes: float, seed: int) -> None:
        self.work, self.name, self.minutes = work, name, minutes
        self.index, self.log = work / "index", work / "log.jsonl"
        self.rng = random.Random(f"{seed} {name}")
        self.documents = Documents()
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    def run(self, barrier: Barrier) -> None:
        """Run until the time ends, and write a report."""
        try:
            self.start()
            barrier.wait(READY_SECONDS)
        except Exception:
            barrier.abort()
            raise
        self.held = Held(self.minutes)
        try:
            for _ in self.steps():
                if len(self.wrong) >= MOST_WRONG:
                    break
        except Exception:
            self.wrong.append(traceback.format_exc())
        report = {"done": self.done, "wrong": self.wrong, "held": self.held.report()}
        (self.work / f"{self.name}.json").write_text(json.dumps(report))

    def start(self) -> None:
        """Prepare, before the time starts."""

    def steps(self) -> Iterator[None]:
        raise NotImplementedError


class Writer(Process):
    def steps(self) -> Iterator[None]:
        external_sort.MIN_BLOCK = MIN_BLOCK
        end = time.monotonic() + 60 * self.minutes
        for line in self.log.read_text().splitlines():
            self.documents.apply(json.loads(line))
        with self.log.open("a") as log:
            self.notes, self.changes = log, 0
            while time.monotonic() < end:
                adding = 0.25 if self.documents.num_tokens > TOKENS else 0.7
                if self.rng.random() < 0.25:
                    self.compact()
                elif self.rng.random() < adding or not self.documents.events:
                    self.add()
                else:
                    self.delete()
                self.held.sample()
                yield

    def note(self, **line: Any) -> None:
        self.notes.write(json.dumps(line) + "\n")
        self.notes.flush()

    def resources(self) -> dict[str, int]:
        return {"memory": self.rng.choice([1, 1 << 30]), "threads": self.rng.randrange(1, 3)}

    def add(self) -> None:
        texts = [random_text(self.rng, self.documents) for _ in range(self.rng.randrange(1, 20))]
        corpus = write_corpus(self.work / "more.jsonl", texts, self.documents.numbers_given)
        self.note(added=texts)
        everygram.add(self.index, corpus, **self.resources())
        self.made("add", {"added": texts})

    def delete(self) -> None:
        live = list(self.documents.events)
        kind = self.rng.choice(["documents", "where", "matching"])
        chosen = self.rng.choice(live)
        way: dict[str, Any]
        if kind == "documents":
            gone = self.rng.sample(live, min(len(live), self.rng.randrange(1, 20)))
            way = {"documents": gone}
        elif kind == "where":
            group = metadata(chosen)["group"]
            gone = [number for number in live if metadata(number)["group"] == group]
            way = {"where": ("group", group)}
        else:
            # Add one token at a time, up to a whole document, until few documents contain it.
            events = self.documents.events[chosen]
            start = self.rng.randrange(len(events) - 1)
            for end in range(start + 1, len(events) + 1):
                gone = [number for number, _ in self.documents.occurrences(events[start:end])]
                if len(set(gone)) <= max(1, len(live) // 8):
                    break
            way = {"matching": list(events[start:end])}
        gone = sorted(set(gone))
        if self.rng.random() < 0.2:
            found = everygram.delete(self.index, dry_run=True, **way, **self.resources())
        else:
            self.note(deleted=gone)
            found = everygram.delete(self.index, **way, **self.resources())
        if list(found.documents) != gone:
            self.wrong.append(f"delete {way}: {found.documents}, expected {gone}")
        if found.dry_run:
            self.done["dry run"] += 1
        else:
            self.made(f"delete by {kind}", {"deleted": gone})

    def made(self, what: str, change: dict[str, Any]) -> None:
        self.documents.apply(change)
        self.done[what] += 1
        self.changes += 1
        self.note(done=self.changes)

    def compact(self) -> None:
        full = self.rng.random() < 0.2
        everygram.compact(self.index, full=full, **self.resources())
        self.done["compact, full" if full else "compact"] += 1


def random_text(rng: random.Random, documents: Documents) -> str:
    """A few words, often with a piece of another document; sometimes long, sometimes empty."""
    length = rng.choice([0, 1, 3, 10, 10, 30, 30, 100, 500])
    words = rng.choices(WORDS, weights=range(len(WORDS), 0, -1), k=rng.randrange(length + 1))
    if documents.events and rng.random() < 0.3:
        piece = bytes(documents.piece(rng, 200)).replace(bytes([SEPARATOR]), b" ")
        words.insert(rng.randrange(len(words) + 1), piece.decode())
    return " ".join(words)


class Reader(Process):
    """Follows the index in one `way` and checks its answers."""

    def __init__(self, work: Path, number: int, minutes: float, seed: int) -> None:
        self.way = ("refresh", "latest", "reopen", "old")[number % 4]
        super().__init__(work, f"reader {number} ({self.way})", minutes, seed)
        self.pending: deque[dict[str, Any]] = deque()
        # Changes that are made, as the log says; those in `documents`; whether all are.
        self.made = self.applied = 0
        self.ended = False
        self.old_until = 0.0

    def start(self) -> None:
        self.opened = everygram.open(self.index)
        self.opened.engine.warm_up()

    def steps(self) -> Iterator[None]:
        with self.log.open() as log:
            self.notes, self.line = log, ""
            while not self.ended:
                self.read_log()
                if self.ended or time.monotonic() > self.old_until:
                    made = self.made
                    self.follow()
                    self.find_version(made)
                    self.done["versions"] += 1
                self.ask()
                self.check_files()
                yield
        self.ask_all()
        if self.opened.num_documents != len(self.documents.events) or self.pending:
            self.wrong.append(f"the end is not reached: {self.pending} to come")
        self.opened.close()
        gc.collect()
        if left := mapped_files(self.index) | {*open_files(self.index)}:
            self.wrong.append(f"files still open or mapped once all is closed: {sorted(left)}")

    def follow(self) -> None:
        if self.way == "reopen":
            self.opened.close()
            self.held.sample()  # before it has the index in memory
            self.opened = everygram.open(self.index, preload="all")
            return
        self.held.sample(self.index)
        if self.way == "latest":
            self.opened = self.opened.latest()
        else:
            self.opened.refresh()
        if self.way == "old":
            self.old_until = time.monotonic() + OLD_SECONDS * self.rng.random()

    def read_log(self) -> None:
        """Read new lines of the log, up to the last complete line."""
        while line := self.notes.readline():
            self.line += line
            if not line.endswith("\n"):
                return
            entry, self.line = json.loads(self.line), ""
            self.ended |= "end" in entry
            self.made = entry.get("done", self.made)
            if "added" in entry or "deleted" in entry:
                self.pending.append(entry)

    def find_version(self, made: int) -> None:
        """Bring `documents` to the version that is open, which must include `made` changes."""
        self.read_log()
        manifest = self.opened.manifest
        version = manifest.next_document, manifest.num_documents
        while self.documents.version != version and self.pending:
            self.documents.apply(self.pending.popleft())
            self.applied += 1
        if self.documents.version != version:
            raise AssertionError(f"{version} numbers and documents: in no version from here on")
        # The first line of the log is the index as built.
        if self.applied - 1 < made:
            raise AssertionError(f"{made} changes were made, {self.applied - 1} are seen")

    def equal(self, found: object, expected: object, *what: object) -> None:
        self.done["answers"] += 1
        if found != expected and len(self.wrong) < MOST_WRONG:
            what_was = " ".join(map(str, what))
            self.wrong.append(f"{what_was} in {self.documents.version}: {found}, not {expected}")

    def ask(self) -> None:
        rng, documents, index = self.rng, self.documents, self.opened
        self.equal(index.num_documents, len(documents.events), "num_documents")
        self.equal(index.num_tokens, documents.num_tokens, "num_tokens")
        queries = [documents.piece(rng, rng.choice([1, 3, 8, 8, 300])) for _ in range(6)]
        queries.append([])
        counts = [documents.count(query) for query in queries]
        self.equal(index.count_batch(queries).counts.tolist(), counts, "count_batch", queries)
        for query, count in zip(queries, counts, strict=True):
            self.equal(index.count(query), count, "count", query)
            self.ask_places(query)
            following = documents.following(query)
            self.equal(counts_of(index.ntd(query)), following, "ntd", query)
            suffix = documents.longest_suffix(query)
            if suffix != query:
                following = documents.following(suffix)
            found = index.infgram_ntd(query)
            self.equal(found.suffix_len, len(suffix), "infgram_ntd suffix_len", query)
            self.equal(counts_of(found), following, "infgram_ntd", query)
            token = rng.choice([*following, *b"az"])
            prob = index.infgram_prob(query, token)
            expected = sum(following.values()), following.get(token, 0), len(suffix)
            found_prob = prob.prompt_count, prob.continuation_count, prob.suffix_len
            self.equal(found_prob, expected, "infgram_prob", query, token)
        text = documents.piece(rng, 16) + documents.piece(rng, 8)
        order = rng.choice([None, None, 3])
        scores = index.score(text, order=order)
        columns = scores.suffix_lens, scores.prompt_counts, scores.continuation_counts
        rows = [*zip(*(c.tolist() for c in (*columns, scores.sparse)), strict=True)]
        self.equal(rows, documents.score(text, order), "score", text, order)
        found_matches = index.longest_matches(text)
        rows = [*zip(found_matches.lengths.tolist(), found_matches.counts.tolist(), strict=True)]
        self.equal(rows, documents.longest_matches(text), "longest_matches", text)
        live = list(documents.events)
        for number in rng.sample(live, min(len(live), 4)):
            document = index.document(number)
            found_document = document.token_ids.tolist(), document.metadata
            expected_document = documents.ids(number), metadata(number)
            self.equal(found_document, expected_document, "document", number)
        for number, _ in rng.sample([*documents.gone], min(len(documents.gone), 2)):
            try:
                self.equal(index.document(number), "gone", "document", number)
            except QueryError:
                self.done["answers"] += 1

    def ask_places(self, query: list[int]) -> None:
        expected = self.documents.occurrences(query)
        sample = None if len(expected) <= MOST_PLACES else 50
        found = self.opened.find(query, limit=MOST_PLACES, sample=sample)
        places = {(each.document, each.offset) for each in found}
        self.equal(found.count, len(expected), "find count", query)
        # Every listed occurrence is real. As their number is right too, none is missing.
        self.equal(places - set(expected), set(), "find", query)
        # The empty query occurs at every token of a document and at its end.
        self.equal(len(places), sample or len(expected), "find", query)

    def ask_all(self) -> None:
        """Check every document that the index has."""
        found = [each["n"] for each in everygram.export(self.opened)]
        self.equal(found, list(self.documents.events), "export")

    def check_files(self) -> None:
        """Check that only files of the open version are open or mapped, each once."""
        of_version = {
            str(self.index / entry.name / name)
            for entry in self.opened.manifest.segments
            for name in entry.files
        }
        opened = open_files(self.index)
        if others := (mapped_files(self.index) | {*opened}) - of_version:
            self.wrong.append(f"open or mapped, but of no open version: {sorted(others)}")
        if len(opened) > len(of_version):
            self.wrong.append(f"{len(opened)} files are open, the version has {len(of_version)}")


def counts_of(found: everygram.Distribution) -> dict[int, int]:
    return dict(zip(found.next_ids.tolist(), found.counts.tolist(), strict=True))


def open_files(folder: Path | None = None) -> list[str]:
    """The files that this process has open (in a folder, or all), including removed ones; Linux."""
    descriptors = Path("/proc/self/fd")
    names = []
    for descriptor in descriptors.iterdir() if descriptors.exists() else ():
        with contextlib.suppress(FileNotFoundError):  # the descriptor used for listing them
            names.append(str(descriptor.readlink()).removesuffix(" (deleted)"))
    return [name for name in names if folder is None or name.startswith(f"{folder}/")]


def mapped_files(folder: Path) -> set[str]:
    """The files of a folder that this process has mapped, including removed ones; Linux."""
    maps = Path("/proc/self/maps")
    lines = maps.read_text().splitlines() if maps.exists() else []
    names = (line.split(maxsplit=5)[-1].removesuffix(" (deleted)") for line in lines)
    return {name for name in names if name.startswith(f"{folder}/")}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder; the index is left here")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every figure here")
    args = parser.parse_args()
    work = args.work.resolve() / "soak"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    begin(work, args.seed)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(args.readers + 1)
    processes: list[Process] = [Writer(work, "writer", args.minutes, args.seed)]
    processes += [Reader(work, i, args.minutes, args.seed) for i in range(args.readers)]
    children = [context.Process(target=each.run, args=(barrier,)) for each in processes]
    for child in children:
        child.start()
    children[0].join()
    with (work / "log.jsonl").open("a") as log:
        log.write('{"end": true}\n')
    wrong = []
    reports: dict[str, dict[str, Any]] = {}
    for process, child in zip(processes, children, strict=True):
        child.join(END_SECONDS)
        if child.exitcode is None:
            child.kill()
            wrong.append(f"{process.name}: did not end")
        elif child.exitcode or not (work / f"{process.name}.json").exists():
            wrong.append(f"{process.name}: exit code {child.exitcode}")
        else:
            report = reports[process.name] = json.loads((work / f"{process.name}.json").read_text())
            wrong += [f"{process.name}: {each}" for each in report["wrong"]]
            for what, (first, last) in report["held"].items():
                if last - first > MOST_GROWN[what]:
                    wrong.append(f"{process.name}: {what} grew from {first:,} to {last:,}")
    facts, wrong_at_end = end(work)
    wrong += wrong_at_end
    show(provenance() | facts, reports, wrong)
    write_json(args.json, provenance() | facts | {"processes": reports, "wrong": wrong})
    sys.exit(1 if wrong else 0)


def begin(work: Path, seed: int) -> None:
    """The initial index, and its line in the log."""
    rng, nothing = random.Random(seed), Documents()
    texts = [random_text(rng, nothing) for _ in range(40)]
    everygram.build(write_corpus(work / "more.jsonl", texts, 0), work / "index")
    (work / "log.jsonl").write_text(json.dumps({"added": texts}) + "\n")
    with everygram.open(work / "index") as index:
        index.engine.warm_up()  # compile once here, not in every process


def end(work: Path) -> tuple[dict[str, Any], list[str]]:
    """The final state of the index: facts and problems."""
    path, documents = work / "index", Documents()
    added = 0
    for line in (work / "log.jsonl").read_text().splitlines():
        change = json.loads(line)
        documents.apply(change)
        added += sum(map(len, change.get("added", ())))
    expected = {number: bytes(documents.ids(number)).decode() for number in documents.events}
    with everygram.open(path) as index:
        there = {record["n"]: record["text"] for record in everygram.export(index)}
        info = index.info()
    lost = expected.keys() - there.keys()
    wrong = [f"document {number} is lost" for number in sorted(lost)]
    if not lost and there != expected:
        wrong.append("the documents are not those that were added and not deleted")
    wrong += check_folder(path)

    everygram.compact(path, full=True)
    wrong += check_folder(path)
    corpus = work / "rest.jsonl"
    records = [{"text": text, **metadata(number)} for number, text in expected.items()]
    corpus.write_text("".join(json.dumps(record) + "\n" for record in records))
    everygram.build(corpus, work / "rebuilt")
    compacted, rebuilt = (everygram.open(work / name) for name in ("index", "rebuilt"))
    pairs = zip(compacted.manifest.segments, rebuilt.manifest.segments, strict=True)
    wrong += [
        f"compacted, {name} is not what a build makes of the same documents"
        for one, other in pairs
        for name in (*fmt.COMMON_FILES, *fmt.FILES_OF_KIND[fmt.SUFFIX_ARRAY_KIND])
        if one.files[name] != other.files[name]
    ]
    facts = {
        "corpus": "random documents, all that were added",
        "bytes": added,
        "tokens": added,
        "documents": documents.numbers_given,
        "documents_left": len(documents.events),
        "documents_lost": len(lost),
        "tokens_left": documents.num_tokens,
        "num_segments": info["num_segments"],
        "index_bytes": info["bytes"],
        "compacted_bytes": compacted.info()["bytes"],
        "rebuilt_bytes": rebuilt.info()["bytes"],
    }
    return facts, wrong


def check_folder(path: Path) -> list[str]:
    """Problems with the files of an index, in words."""
    wrong = [f"verify: {problem}" for problem in verify(path, lambda done, total: None)]
    with everygram.open(path) as index:
        named = {
            f"{entry.name}/{name}": file.bytes
            for entry in index.manifest.segments
            for name, file in entry.files.items()
        }
    there = {str(f.relative_to(path)): f.stat().st_size for f in path.rglob("*") if f.is_file()}
    there = {name: size for name, size in there.items() if name not in (fmt.MANIFEST, fmt.LOCK)}
    if there != named:
        wrong.append(f"the folder has {there}, the index is {named}")
    return wrong


def show(facts: dict[str, Any], reports: dict[str, dict[str, Any]], wrong: list[str]) -> None:
    print_provenance(facts)
    header = ["process", "done", "MiB first", "last", "files", "last", "threads", "last"]
    rows = []
    for name, report in reports.items():
        made = ", ".join(f"{count:,} {what}" for what, count in sorted(report["done"].items()))
        memory, *others = report["held"].values()
        held = [f"{value / 2**20:.1f}" for value in memory]
        rows.append([name, made, *held, *(str(value) for pair in others for value in pair)])
    print(markdown_table(header, rows, words=2))
    done = Counter[str]()
    for report in reports.values():
        done.update(report["done"])
    print(
        f"\n{done['answers']:,} answers checked in {done['versions']:,} openings; "
        f"{len(wrong)} things wrong, {facts['documents_lost']} documents lost\n"
        f"{facts['documents_left']:,} documents of {facts['tokens_left']:,} tokens left in "
        f"{facts['num_segments']} segments of {facts['index_bytes']:,} bytes; compacted "
        f"{facts['compacted_bytes']:,}, rebuilt {facts['rebuilt_bytes']:,}"
    )
    for each in wrong:
        print(f"WRONG: {each}")


if __name__ == "__main__":
    main()
