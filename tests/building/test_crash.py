"""Writers that are killed, run out of disk, or cannot read: the index is as before or as after.

Run as a program, this file is the writer: it performs operations in forked processes whose disk
breaks where a test asks. It is a program of its own because a fork needs a process of one thread,
which a test run is not.
"""

import builtins
import errno
import functools
import gc
import io
import itertools
import json
import mmap
import os
import queue
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

import everygram
from campaign import sized, spread
from conftest import write_jsonl
from everygram.building import external_sort
from everygram.errors import BuildError, CorpusError, FormatError
from everygram.storage import directory
from everygram.storage import format as fmt
from everygram.storage import prepared as storage_prepared
from everygram.storage.verify import verify
from naive import NaiveIndex
from shards import write_shard

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the writer reads /proc/self/fd")

WRITES = os.O_WRONLY | os.O_RDWR
# Ways to change a disk that no writer takes: `Disk` would have to learn them.
UNKNOWN = ("os.symlink", "os.truncate", "os.mkfifo", "os.mknod", "os.chmod")


class Disk:
    """Sees each step by which this process changes files below a folder, and breaks one.

    A step is a name made, changed or removed, an fsync, or half of a write. None is really synced.

    die: the step before which the process is killed.
    fail: the step from which on all that takes space raises `error`; `once`: only that one, and
        whatever it is.
    short: writes write half of what they are given.
    lose: when the process dies the power fails: what was not synced is lost, all of it or, by a
        seed, some.
    limit: the size, in bytes, past which no file grows.
    unreadable: a name that cannot be opened or, with `late`, read.
    """

    def __init__(
        self,
        folder,
        die=0,
        fail=0,
        error=errno.ENOSPC,
        once=False,
        short=False,
        lose=None,
        limit=None,
        unreadable=None,
        late=False,
    ):
        self.folder = folder
        self.die, self.fail, self.error, self.once = die, fail, error, once
        self.short, self.lose = short, lose
        self.unreadable, self.late = unreadable, late
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        self.steps = 0
        self.kinds = []  # of each step
        self.lock = threading.RLock()
        self.ours = False  # what the lock's holder does is no step
        # What a power cut undoes: names by their folder, in order, and files by what was synced.
        self.names = []
        self.synced = {}
        self.open = io.open
        if lose is not None:
            (folder / "kept").mkdir()
        builtins.open = io.open = self.opened
        os.fsync = self.sync
        os.write = functools.partial(self.write, os.write)
        os.pwrite = functools.partial(self.write, os.pwrite)
        sys.addaudithook(self.heard)

    def step(self, kind, half=lambda: None, frees=False):
        """The next step, of this kind, is about to be made."""
        self.steps += 1
        self.kinds.append(kind)
        if self.steps == self.die:
            half()
            if self.lose is not None:
                time.sleep(0.005)  # what other threads are just doing is done
                self.ours = True
                self.cut_power()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fail and (
            self.steps == self.fail if self.once else self.steps >= self.fail and not frees
        ):
            half()
            raise OSError(self.error, os.strerror(self.error))

    def heard(self, event, arguments):
        """An audit event: comes before what it tells of, whatever function it was called by."""
        if event == "mmap.__new__":
            number, _, access, _ = arguments
            # (A file without a name is nobody's after a crash.)
            named = number != -1 and os.fstat(number).st_nlink
            if named and access not in (mmap.ACCESS_READ, mmap.ACCESS_COPY):
                raise NotImplementedError("writing to a map")
        if event not in (*NAMES, *UNKNOWN):
            return
        with self.lock:
            if self.ours or not isinstance(arguments[0], (str, os.PathLike)):
                return
            name = arguments[1 if event in ("os.link", "os.symlink") else 0]
            path = self.whole(name, arguments[-1] if event in FROM_FOLDER else -1)
            if not path.is_relative_to(self.folder):
                return
            if event in UNKNOWN:
                raise NotImplementedError(event)
            if event == "open" and not arguments[2] & WRITES:
                if path.name == self.unreadable and not self.late:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
                return
            self.step(event, frees=event in ("os.remove", "os.rmdir"))
            if self.lose is not None:
                self.ours = True
                self.remember(event, path, arguments)
                self.ours = False

    def whole(self, path, folder):
        return Path(path) if folder == -1 else Path(f"/proc/self/fd/{folder}").readlink() / path

    def opened(self, file, mode="r", buffering=-1, *rest, **more):
        reading = not set(mode) & set("wxa+")
        ours = not isinstance(file, int) and Path(file).is_relative_to(self.folder)
        # (Files without names are opened in a way of their own: what is written there is no step.)
        nameless = "opener" in more
        if not ours or nameless or (reading and Path(file).name != self.unreadable):
            return self.open(file, mode, buffering, *rest, **more)
        assert "b" in mode, "text is written to a file"
        raw = (Unreadable if reading else Written)(file, mode.replace("b", ""))
        raw.disk = self
        if buffering == 0:
            return raw
        size = io.DEFAULT_BUFFER_SIZE if buffering < 0 else buffering
        return (io.BufferedReader if reading else io.BufferedWriter)(raw, size)

    def write(self, write, descriptor, data, *place):
        data = memoryview(data).cast("B")
        half = data[: (len(data) + 1) // 2]
        with self.lock:
            self.step("write")
            self.change(descriptor)
            self.step("half a write", lambda: write(descriptor, half, *place))
            return write(descriptor, half if self.short else data, *place)

    def sync(self, descriptor):
        with self.lock:
            self.step("fsync")
            status = os.fstat(descriptor)
            self.synced.pop(status.st_ino, None)
            if stat.S_ISDIR(status.st_mode):
                path = self.whole("", descriptor)
                # With a folder that is gone for good, what was in it is, too.
                gone = {folder for folder, _ in self.names if not folder.exists()}
                gone = {folder for folder in gone if folder.parent == path} | {path}
                self.names = [name for name in self.names if name[0] not in gone]

    def change(self, descriptor):
        """A file's content changes: keep what it was when it was last synced."""
        if self.lose is not None and os.fstat(descriptor).st_ino not in self.synced:
            self.ours = True
            path = Path(f"/proc/self/fd/{descriptor}")
            self.synced[path.stat().st_ino] = path.read_bytes()
            self.ours = False

    def remember(self, event, path, arguments):
        """A name changes: keep how to undo it."""
        kept = self.folder / "kept" / str(len(list((self.folder / "kept").iterdir())))
        if event == "open":
            if not path.exists():
                undo = functools.partial(path.unlink, missing_ok=True)
            elif arguments[2] & os.O_TRUNC:
                self.synced.setdefault(path.stat().st_ino, path.read_bytes())
                return
            else:
                return
        elif event == "os.link":
            undo = functools.partial(path.unlink, missing_ok=True)
        elif event == "os.mkdir":
            undo = functools.partial(shutil.rmtree, path, ignore_errors=True)
        elif event == "os.rmdir":
            undo = path.mkdir
        elif not path.exists():
            return
        elif event == "os.remove":
            kept.hardlink_to(path)
            undo = functools.partial(kept.rename, path)
        else:
            target = Path(arguments[1])
            if target.exists():
                kept.hardlink_to(target)

            def undo():
                target.rename(path)
                if kept.exists():
                    kept.rename(target)

        self.names.append((path.parent, undo))

    def cut_power(self):
        some = random.Random(self.lose)
        for path in self.folder.rglob("*"):
            synced = path.is_file() and self.synced.get(path.stat().st_ino)
            if synced in (None, False):
                continue
            now = path.read_bytes()
            half = len(now) // 2
            left = [synced] if self.lose == 0 else [synced, now[:half] + synced[half:], now]
            path.write_bytes(some.choice(left))
        # Of what was not synced, file systems that keep a journal lose the last.
        first = 0 if self.lose == 0 else some.randint(0, len(self.names))
        for _, undo in reversed(self.names[first:]):
            undo()


NAMES = ("open", "os.link", "os.mkdir", "os.rename", "os.remove", "os.rmdir")
FROM_FOLDER = ("os.mkdir", "os.remove", "os.rmdir")


class Written(io.FileIO):
    """A file whose writes are steps."""

    def write(self, data):
        return self.disk.write(os_write, self.fileno(), data)


class Unreadable(io.FileIO):
    """A file whose bytes cannot be read."""

    def readinto(self, *_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    readall = read = readinto


os_write = os.write


def answers(index, queries):
    """What an index says of its documents and of queries, as JSON has it."""
    with index:
        return [
            [[number, ids.tolist(), data] for number, ids, data in index.engine.documents()],
            [index.num_documents, index.num_tokens],
            [index.count(query) for query in queries],
            [sorted(index.find(query, limit=None).documents.tolist()) for query in queries],
            [
                [[int(i), int(c)] for i, c in zip(found.next_ids, found.counts, strict=True)]
                for found in map(index.infgram_ntd, queries)
            ],
        ]


def oracle_answers(documents, queries, separator):
    """As `answers`, by brute force; documents: ids and metadata by number."""
    numbers = sorted(documents)
    naive = NaiveIndex([documents[number][0] for number in numbers], separator)
    return [
        [[number, *documents[number]] for number in numbers],
        [len(numbers), sum(len(ids) for ids, _ in documents.values())],
        [naive.count(query) for query in queries],
        [sorted(numbers[place] for place, _ in naive.occurrences(query)) for query in queries],
        [
            [list(pair) for pair in sorted(naive.following(naive.longest_suffix(query)).items())]
            for query in queries
        ],
    ]


def problems_of(path):
    return verify(path, lambda done, total: None)


SMALL = {"memory": 1, "threads": 2}
CALLS = {
    "build": lambda path, **options: everygram.build(out=path, **SMALL, **options),
    "convert": lambda path, **options: everygram.convert(out=path, **SMALL, **options),
    "add": lambda path, **options: everygram.add(path, **SMALL, **options),
    "delete": lambda path, **options: everygram.delete(path, **SMALL, **options),
    "compact": lambda path, **options: everygram.compact(path, **SMALL, **options),
    "prepare": lambda path, **options: everygram.prepare(path, **SMALL, **options),
    "open": lambda path, queries: answers(everygram.open(path), queries),
    "verify": problems_of,
    "look": lambda path, queries: {
        "segments": len(everygram.open(path).manifest.segments),
        "answers": answers(everygram.open(path), queries),
        "problems": problems_of(path),
        "left": sorted(names_in(path) ^ names_that_belong(path)),
    },
}
LOOKS = ("open", "verify", "look")


def perform(call, path, options, faults):
    """Do it on a disk that breaks: what came of it, and the steps that were made."""
    disk = Disk(path.parent, **faults)
    outcome = {"error": None}
    try:
        answer = CALLS[call](path, **options)
        outcome["answer"] = answer if call in LOOKS else None
        disk.step("end", frees=True)  # All is done.
    except Exception as error:
        outcome["error"] = [kind.__name__ for kind in type(error).__mro__]
        outcome["says"] = str(error)
    gc.collect()  # Files that were not closed complain now.
    return outcome | {"kinds": disk.kinds}


def perform_all(path, plan, log):
    """Perform one operation after the other and log the end of each."""
    os.fsync = lambda descriptor: None
    for call, options in plan:
        CALLS[call](path, **options)
        os_write(log, b".")
    return {"error": None}


def serve():
    """Fork a process for each request on a line of standard input; answer how it ended."""
    warm_up()
    gc.freeze()  # or each fork's collection would copy all of it
    for line in sys.stdin:
        request = json.loads(line)
        if "command" in request:
            subprocess.run(request["command"], check=True)
            print(json.dumps({}), flush=True)
            continue
        assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(120)  # A writer that hangs is killed by another signal.
            path = Path(request["path"])
            if "plan" in request:
                outcome = perform_all(path, request["plan"], writing)
            else:
                outcome = perform(request["call"], path, request["options"], request["faults"])
            os_write(writing, json.dumps(outcome).encode())
            os._exit(0)
        os.close(writing)
        if "seconds" in request:
            time.sleep(request["seconds"])
            os.kill(child, signal.SIGKILL)
        with os.fdopen(reading, "rb") as pipe:
            said = pipe.read()
        _, status = os.waitpid(child, 0)
        killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        print(json.dumps({"signal": killed, "said": said.decode()}), flush=True)


def warm_up():
    """Load every kernel that a writer needs, so that its forks have them."""
    external_sort.MIN_BLOCK, external_sort.MAX_BLOCK = 20, 40
    with tempfile.TemporaryDirectory() as folder:
        corpus = write_jsonl(Path(folder, "corpus.jsonl"), records(some_texts(random.Random(0), 9)))
        ids = Path(folder, "ids.bin")
        np.frombuffer(b"ab ba ab abab  ab" * 4, np.uint8).astype(np.uint16).tofile(ids)
        of_ids = {"corpus": str(ids), "pretokenized": "u16", "separator_id": 32}
        for name, options in (("text", {"corpus": str(corpus)}), ("ids", of_ids)):
            path = Path(folder, name)
            changes = [
                ("build", options),
                ("add", options),
                ("delete", {"documents": [0]}),
                ("compact", {"full": True, "kind": "self-index"}),
                ("compact", {"kind": "suffix-array"}),
                ("prepare", {}),
            ]
            for call, options in changes:
                CALLS[call](path, **options)
                CALLS["look"](path, [[97], [97, 98]])


def some_texts(rng, number):
    return ["".join(rng.choices("ab ", k=rng.randrange(9))) for _ in range(number)]


def records(texts, first=0):
    return [{"text": text, "n": first + i} for i, text in enumerate(texts)]


class Writer:
    """The other process: performs operations and says how they ended."""

    def __init__(self, folder, *prefix):
        self.complaints = folder / "stderr"
        command = [*prefix, sys.executable, __file__]
        with self.complaints.open("wb") as stderr:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                # Threads that a library starts when it is loaded are threads, too.
                env=os.environ
                | {
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "OPENBLAS_NUM_THREADS": "1",
                    "OMP_NUM_THREADS": "1",
                },
            )

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request, default=str) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, self.complaints.read_text()
        return json.loads(answer)

    def __call__(self, call, path, options, **faults):
        found = self.ask(call=call, path=path, options=options, faults=faults)
        if found["signal"] == 0:
            assert found["said"], self.complaints.read_text()
            return json.loads(found["said"])
        assert found["signal"] == signal.SIGKILL
        return {"killed": True}

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        assert self.process.wait(60) == 0
        # (Where nothing is compiled yet, it is the first to compile, and says so.)
        complaints = self.complaints.read_text().splitlines()
        assert [line for line in complaints if "compiling for this kind" not in line] == []


@pytest.fixture(scope="module")
def writers(tmp_path_factory):
    """Two of them, to keep two processors busy."""
    processes = [Writer(tmp_path_factory.mktemp("writer")) for _ in range(2)]
    yield processes
    for process in processes:
        process.close()


@pytest.fixture(scope="module")
def writer(writers):
    return writers[0]


@pytest.fixture
def at_each(writers, tmp_path):
    """Try something at many steps: what `experiment(writer, folder, step)` gave for each."""
    idle = queue.SimpleQueue()
    for number, process in enumerate(writers):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        idle.put((process, folder))

    def at_each(steps, experiment):
        def one(step):
            process, folder = idle.get()
            try:
                return experiment(process, folder, step)
            finally:
                idle.put((process, folder))

        with ThreadPoolExecutor(len(writers)) as pool:
            return list(pool.map(one, steps))

    return at_each


@dataclass
class Operation:
    """A call that makes of an index (or of nothing: None) another."""

    call: str
    options: dict
    template: Path | None
    # "before", "after", and "again" where it would be done once more: segments, answers.
    states: dict
    queries: list

    def __call__(self, writer, path, **faults):
        return writer(self.call, path, self.options, **faults)

    def on(self, tmp_path):
        """A fresh copy of the index before."""
        work = tmp_path / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        if self.template is not None:
            shutil.copytree(self.template, work / "index")
        return work / "index"

    def state(self, writer, path, tidy=False):
        """Which state the index is in: it is in one, sound, and if `tidy` nothing is left over."""
        looked = writer("look", path, {"queries": self.queries})
        if self.states["before"] is None and looked["error"]:
            assert "FormatError" in looked["error"]
            return "before"
        assert looked["error"] is None, looked
        found = looked["answer"]
        assert found["problems"] == []
        assert not (tidy and found["left"])
        state = found["segments"], found["answers"]
        assert state in self.states.values()
        return next(name for name, expected in self.states.items() if state == expected)

    def finish(self, writer, path):
        """Run it again: it completes, and nothing else is left in the folder.

        One that was killed once all was published, before it forgot that, does nothing more.
        """
        state = self.state(writer, path)
        known = state == "after" and (path / fmt.DONE).exists()
        published = known and (path / fmt.MANIFEST).read_bytes()
        report = self(writer, path)
        if known:
            assert report["error"] is None, report
            assert (path / fmt.MANIFEST).read_bytes() == published
        elif state == "after" and self.call in DONE:
            assert report["error"] is not None
            assert report["says"].endswith(DONE[self.call])
            # The next writer removes what nobody needs.
            assert writer("delete", path, {"documents": []})["error"] is None
        else:
            assert report["error"] is None, report
        again = state == "after" and "again" in self.states and not known
        assert self.state(writer, path, tidy=True) == ("again" if again else "after")
        return state


# What an operation says that was done already, and whose writer came to its end.
DONE = {
    "build": "already holds an index; remove the folder or choose another with --out",
    "convert": "already holds an index; remove the folder or choose another with --out",
    "delete": ": it was deleted; pass missing_ok to ignore such ones",
}


def names_in(path):
    return {str(each.relative_to(path)) for each in path.rglob("*")}


def names_that_belong(path):
    manifest = directory.read_manifest(path)
    segments = {segment.name: segment.files for segment in manifest.segments}
    tokenizer = {fmt.TOKENIZER} if manifest.tokenizer.sha256 else set()
    files = {f"{name}/{file}" for name, files in segments.items() for file in files}
    made = {
        f"{fmt.LANGUAGE_MODEL}/{name}" for name in (storage_prepared.INFO, *storage_prepared.FILES)
    }
    made = {fmt.LANGUAGE_MODEL, *made} if storage_prepared.is_prepared(path, manifest) else set()
    return {fmt.MANIFEST, fmt.LOCK, *tokenizer, *segments, *files, *made}


# At so many steps of each operation is a writer killed, if it has as many.
KILLS = sized(24, 100_000)
OPERATIONS = [
    "build",
    "build and train",
    "build a self-index",
    "convert",
    "convert to self-indexes",
    "convert to suffix arrays",
    "add",
    "delete",
    "compact",
    "compact fully",
    "compact self-indexes",
]


@pytest.fixture(scope="module")
def operations(tmp_path_factory):
    """The operations by name, and what they make of indexes of several segments."""
    folder = tmp_path_factory.mktemp("operations")
    rng = random.Random(3)
    texts = some_texts(rng, 24)
    documents = {n: ([*text.encode()], {"n": n}) for n, text in enumerate(texts)}
    queries = [list(q) for k in range(4) for q in itertools.product(b"ab ", repeat=k)][::3]
    queries += [[255, *b"a"], [*b"b", 255]]

    def corpus(start, end):
        file = folder / f"{start}-{end}.jsonl"
        return str(write_jsonl(file, records(texts[start:end], start)))

    def state(segments, numbers, twice=()):
        those = {n: documents[n] for n in numbers}
        those |= {len(texts) + i: documents[n] for i, n in enumerate(twice)}
        return segments, oracle_answers(those, queries, 255)

    def operation(call, options, template=None, **states):
        return Operation(call, options, template, {"before": None} | states, queries)

    first, added = corpus(0, 10), {*range(16, 24)}
    template, grown, trained = folder / "index", folder / "grown", folder / "trained"
    packed = folder / "packed"
    gone, more = {1, 4, 12}, {0, 2, 5, 7, 8, 10, 11, 15}
    live, live_grown = {*range(16)} - gone, {*range(20)} - {3, 17}
    with mock.patch.object(os, "fsync"):
        # Two segments, and one of what is deleted of both.
        everygram.build(first, template)
        everygram.add(template, corpus(10, 16))
        everygram.delete(template, documents=sorted(gone))
        # A large segment that stays when others are merged, and with it what is deleted of it.
        everygram.build(corpus(0, 16), grown)
        everygram.delete(grown, documents=[3])
        for start, end in ((16, 17), (17, 19), (19, 20)):
            everygram.add(grown, corpus(start, end))
        everygram.delete(grown, documents=[17])
        everygram.build(first, trained, "train:300")
        # A self-index, a suffix array, and one of what is deleted of both.
        everygram.build(first, packed, kind="self-index", sample_every=4)
        everygram.add(packed, corpus(10, 16))
        everygram.delete(packed, documents=sorted(gone))
    # The ids of a trained tokenizer are those it gave; their texts are checked.
    with everygram.open(trained) as index:
        ids = {n: (index.document(n).token_ids.tolist(), {"n": n}) for n in range(10)}
        assert [index.document(n).text for n in range(10)] == texts[:10]
        separator = index.separator
    shards = folder / "v4"
    write_shard(shards, [ids for ids, _ in list(documents.values())[:6]], 1, ".0")
    rest = [ids for ids, _ in list(documents.values())[6:10]]
    write_shard(shards, rest, 1, ".1", [{"n": number} for number in range(6, 10)])
    converted = {number: (documents[number][0], {}) for number in range(6)}
    for i, tokens in enumerate(rest):
        converted[6 + i] = tokens, {"path": "c.jsonl", "linenum": i, "metadata": {"n": 6 + i}}
    trained_queries = [[], [separator], *(ids[n][0][:2] for n in range(10))]
    return {
        "build": operation("build", {"corpus": first}, after=state(1, range(10))),
        "build a self-index": operation(
            "build", {"corpus": first, "kind": "self-index"}, after=state(1, range(10))
        ),
        "convert to self-indexes": operation(
            "convert", {"folders": str(template), "kind": "self-index"}, after=state(3, live)
        ),
        "convert to suffix arrays": operation(
            "convert", {"folders": str(packed), "kind": "suffix-array"}, after=state(3, live)
        ),
        "compact self-indexes": operation(
            "compact", {"full": True}, packed, before=state(3, live), after=state(1, live)
        ),
        "build and train": Operation(
            "build",
            {"corpus": first, "tokenizer": "train:300"},
            None,
            {"before": None, "after": (1, oracle_answers(ids, trained_queries, separator))},
            trained_queries,
        ),
        "convert": operation(
            "convert",
            {"folders": str(shards), "tokenizer": "bytes"},
            after=(1, oracle_answers(converted, queries, 255)),
        ),
        "add": operation(
            "add",
            {"corpus": corpus(16, 24)},
            template,
            before=state(3, live),
            after=state(4, live | added),
            again=state(5, live | added, twice=range(16, 24)),
        ),
        "delete": operation(
            "delete",
            {"documents": sorted(more)},
            template,
            before=state(3, live),
            after=state(4, live - more),
        ),
        "compact": operation(
            "compact", {}, grown, before=state(6, live_grown), after=state(3, live_grown)
        ),
        "compact fully": operation(
            "compact", {"full": True}, template, before=state(3, live), after=state(1, live)
        ),
    }


def kinds_of(operation, writer, tmp_path):
    """The kinds of the steps that it takes; the last is the end."""
    whole = operation(writer, operation.on(tmp_path))
    assert whole["error"] is None, whole
    return whole["kinds"]


def some_steps(kinds, most):
    """So many of the steps, evenly, the first and the last among them, and one of each kind."""
    steps = {*spread(1, len(kinds), most)}
    for kind in dict.fromkeys(kinds):
        if not any(kinds[step - 1] == kind for step in steps):
            steps.add(kinds.index(kind) + 1)
    return sorted(steps)


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_at_any_step(operations, writer, at_each, tmp_path, name):
    operation = operations[name]

    def killed(writer, folder, step):
        path = operation.on(folder)
        reader = None if operation.template is None else everygram.open(path)
        assert operation(writer, path, die=step) == {"killed": True}
        state = operation.finish(writer, path)
        if reader is not None:
            assert answers(reader, operation.queries) == operation.states["before"][1]
        return state

    kinds = kinds_of(operation, writer, tmp_path)
    assert {"open", "os.rename", "write", "half a write", "fsync", "end"} <= {*kinds}
    states = at_each(some_steps(kinds, KILLS), killed)
    assert len(states) >= min(len(kinds), KILLS)
    # One step makes it so.
    assert set(states) == {"before", "after"}
    assert states == sorted(states, reverse=True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_killed_again_and_again(operations, writer, tmp_path, name):
    operation = operations[name]
    rng = random.Random(name)
    steps = len(kinds_of(operation, writer, tmp_path))
    kills = 0
    while kills < sized(5, 100):
        path = operation.on(tmp_path)
        for _ in range(5):
            if operation.state(writer, path) == "after":
                break
            kills += "killed" in operation(writer, path, die=rng.randint(1, steps))
        operation.finish(writer, path)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_power_fails_at_any_step(operations, writer, at_each, tmp_path, name):
    operation = operations[name]

    def without_power(writer, folder, loss):
        step, lose = loss
        path = operation.on(folder)
        assert operation(writer, path, die=step, lose=lose) == {"killed": True}
        operation.finish(writer, path)

    kinds = kinds_of(operation, writer, tmp_path)
    steps = some_steps(kinds, sized(16, 100_000))
    # Every second time all that was not synced is lost, else some of it.
    at_each([(step, i % 2 * step) for i, step in enumerate(steps)], without_power)
    path = operation.on(tmp_path)
    assert operation(writer, path, die=len(kinds), lose=0) == {"killed": True}
    assert operation.state(writer, path) == "after"  # done is done


@pytest.mark.parametrize("name", OPERATIONS)
def test_short_writes_make_the_same_files(operations, writer, tmp_path, name):
    operation = operations[name]

    def files(**faults):
        path = operation.on(tmp_path)
        assert operation(writer, path, **faults)["error"] is None
        assert operation.state(writer, path) == "after"
        found = {each.relative_to(path): each for each in path.rglob("*") if each.is_file()}
        # The manifest holds how long it took.
        del found[Path(fmt.MANIFEST)]
        return {name: each.read_bytes() for name, each in found.items()}

    assert files(short=True) == files()


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_space_from_any_step_on(operations, writer, at_each, tmp_path, name):
    operation = operations[name]

    def out_of_space(writer, folder, step):
        path = operation.on(folder)
        report = operation(writer, path, fail=step)
        if report["error"] is not None:
            assert report["error"][0] == "BuildError"
            assert "no space left" in report["says"].lower()
        return operation.finish(writer, path)

    # The last step is the end.
    kinds = kinds_of(operation, writer, tmp_path)[:-1]
    states = at_each(some_steps(kinds, sized(12, 100_000)), out_of_space)
    assert states.count("before") > 0.6 * len(states)
    assert states == sorted(states, reverse=True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_step_that_fails(operations, writer, at_each, tmp_path, name):
    operation = operations[name]

    def failing(writer, folder, step):
        path = operation.on(folder)
        report = operation(writer, path, fail=step, error=errno.EIO, once=True)
        assert report["error"] is None or report["error"][0] == "BuildError", report
        operation.finish(writer, path)

    kinds = kinds_of(operation, writer, tmp_path)[:-1]
    at_each(some_steps(kinds, sized(12, 100_000)), failing)


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_file_may_grow_past_a_limit(operations, writer, tmp_path, name):
    operation = operations[name]
    outcomes = []
    for limit in (0, 1, 17, 60, 150, 300, 600, 1200, 2400, 4800, 9600, 19200):
        path = operation.on(tmp_path)
        report = operation(writer, path, limit=limit)
        outcomes.append(report["error"] is None)
        if report["error"] is not None:
            assert report["error"][0] == "BuildError"
            assert "no space left at" in report["says"]
            assert operation.state(writer, path) == "before"
            operation.finish(writer, path)
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {True, False}


@pytest.fixture(scope="module")
def disk_of_its_own(tmp_path_factory):
    """A writer that may mount, where it is mounted."""
    place = tmp_path_factory.mktemp("disk")
    tried = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(place)]
    if shutil.which(tried[0]) is None:
        pytest.skip("no unshare: nothing can be mounted")
    done = subprocess.run(tried, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"nothing can be mounted: {done.stderr.strip()}")
    process = Writer(tmp_path_factory.mktemp("writer"), *tried[:2])
    yield process, place
    process.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_small_disk(operations, disk_of_its_own, name):
    operation = operations[name]
    writer, place = disk_of_its_own
    path = place / "index"
    files = [] if operation.template is None else operation.template.rglob("*")
    used = sum(-(-file.stat().st_size // mmap.PAGESIZE) for file in files if file.is_file())
    outcomes = []
    for free in (1, 2, 4, 6, 8, 10, 12, 16, 32, 64):
        size = f"size={(used + free) * mmap.PAGESIZE}"
        writer.ask(command=["mount", "-t", "tmpfs", "-o", size, "none", str(place)])
        if operation.template is not None:
            writer.ask(command=["cp", "-r", str(operation.template), str(path)])
        report = operation(writer, path)
        outcomes.append(report["error"] is None)
        if report["error"] is not None:
            assert report["error"][0] == "BuildError"
            assert "no space left at" in report["says"]
            assert operation.state(writer, path) == "before"
            writer.ask(command=["mount", "-o", "remount,size=1m", str(place)])
            operation.finish(writer, path)
        writer.ask(command=["umount", str(place)])
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {True, False}


def test_killed_at_any_time(operations, writer, tmp_path):
    """A writer that adds, deletes and compacts, killed after some milliseconds, started again."""
    rng = random.Random(11)
    queries = operations["add"].queries
    path = operations["add"].on(tmp_path)
    documents = {n: (ids, data) for n, ids, data in operations["add"].states["before"][1][0]}
    last = 16
    plan, expected = [], []
    for number in range(sized(24, 240)):
        expected.append(oracle_answers(documents, queries, 255))
        if number % 4 == 2:
            gone = rng.sample(sorted(documents), 3)
            plan.append(("delete", {"documents": gone}))
            documents = {n: document for n, document in documents.items() if n not in gone}
        elif number % 4 == 3:
            plan.append(("compact", {"full": number % 8 == 3}))
        else:
            texts = some_texts(rng, 5)
            corpus = write_jsonl(tmp_path / f"{number}.jsonl", records(texts, last))
            plan.append(("add", {"corpus": str(corpus)}))
            more = {last + i: ([*text.encode()], {"n": last + i}) for i, text in enumerate(texts)}
            documents, last = documents | more, last + 5
    expected.append(oracle_answers(documents, queries, 255))
    done = kills = 0
    most = 0.05
    while done < len(plan):
        found = writer.ask(path=path, plan=plan[done:], seconds=rng.uniform(0, most))
        assert found["signal"] in (0, signal.SIGKILL)
        kills += found["signal"] == signal.SIGKILL
        # However fast the machine is, some die at what they do first and some come further.
        most *= 0.7 if "." in found["said"] else 1.3
        done += found["said"].count(".")
        looked = writer("look", path, {"queries": queries})["answer"]
        assert looked["problems"] == []
        assert looked["answers"] in expected[done : done + 2]
        done += looked["answers"] != expected[done]
    assert kills >= len(plan) // 2
    assert looked["left"] == []


def test_a_corpus_that_cannot_be_read(operations, writer, tmp_path):
    path = operations["add"].on(tmp_path)
    good = Path(operations["add"].options["corpus"])
    # Reading where a process has no memory is an input/output error.
    for name in ("bad.jsonl", "bad.txt", "bad.bin"):
        bad = tmp_path / name
        bad.symlink_to("/proc/self/mem")
        options = {"pretokenized": "u8", "separator_id": 9} if name == "bad.bin" else {}
        for corpus in (bad, [good, bad]):
            if name == "bad.bin" and corpus is not bad:
                continue
            with pytest.raises(CorpusError, match=rf"{name}: .*Input/output error"):
                everygram.build(corpus, tmp_path / "new", **options)
            assert not (tmp_path / "new").exists()
            with pytest.raises(CorpusError, match=rf"{name}: .*Input/output error"):
                everygram.add(path, corpus, **options)
            assert operations["add"].state(writer, path) == "before"
            assert names_in(path) == names_that_belong(path)
    skipping = {"corpus": [str(good), str(tmp_path / "bad.jsonl")], "on_error": "skip"}
    assert writer("add", path, skipping)["error"] is None
    assert operations["add"].state(writer, path) == "after"


@pytest.mark.parametrize("late", [False, True])
def test_a_file_that_cannot_be_read(operations, at_each, late):
    add = operations["add"]

    def unreadable(writer, folder, name):
        faults = {"unreadable": name, "late": late}
        path = add.on(folder)
        opened = writer("open", path, {"queries": add.queries}, **faults)
        # What is mapped is not read.
        assert opened.get("answer") == add.states["before"][1] or "FormatError" in opened["error"]
        verified = writer("verify", path, {}, **faults)
        assert verified.get("answer") or "FormatError" in (verified["error"] or ())
        for each in operations.values():
            if each.template is None:
                continue
            path = each.on(folder)
            report = each(writer, path, **faults)
            if report["error"] is None:
                assert each.state(writer, path) == "after"
            else:
                assert "EverygramError" in report["error"]
                assert each.finish(writer, path) == "before"

    files = {each.name for each in add.template.rglob("*") if each.is_file()}
    assert len(files) == 12
    at_each(files - {fmt.LOCK}, unreadable)


def test_a_manifest_cut_off_at_any_byte(tmp_path):
    path = tmp_path / "index"
    corpus = write_jsonl(tmp_path / "0.jsonl", records(["ab", "b"]))
    everygram.build(corpus, path)
    manifest = path / fmt.MANIFEST
    whole = manifest.read_bytes()
    for size in spread(0, len(whole) - 1, sized(150, 100_000)):
        manifest.write_bytes(whole[:size])
        before = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
        with pytest.raises(FormatError):
            everygram.open(path)
        assert problems_of(path)
        for write in (
            lambda: everygram.add(path, corpus),
            lambda: everygram.add(path, corpus, restart=True),
            lambda: everygram.delete(path, documents=[0]),
            lambda: everygram.compact(path, full=True),
            lambda: everygram.compact(path, restart=True),
            lambda: everygram.build(corpus, path),
            lambda: everygram.build(corpus, path, restart=True),
        ):
            with pytest.raises((FormatError, BuildError)):
                write()
        after = {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}
        assert after == before
    manifest.write_bytes(whole)
    with everygram.open(path) as index:
        assert index.count("b") == 2


@pytest.fixture(scope="module")
def preparing(operations, tmp_path_factory):
    """To prepare an index of one segment: its answers stay as they are."""
    template = tmp_path_factory.mktemp("one") / "index"
    with mock.patch.object(os, "fsync"):
        everygram.build(operations["build"].options["corpus"], template)
    after = operations["build"].states["after"]
    return Operation("prepare", {}, template, {"before": after}, operations["build"].queries)


def prepared_state(operation, writer, path):
    """Whether it is prepared, and if so as it is where nothing fails; the index is as it was."""
    assert operation.state(writer, path) == "before"
    manifest = directory.read_manifest(path)
    if not storage_prepared.is_prepared(path, manifest):
        return "before"
    with everygram.open(path, verify=True) as index:
        assert index.language_model(order=3).distribution([97]).sum() == pytest.approx(1)
    return "after"


def prepared_files(path):
    return {each.name: each.read_bytes() for each in (path / fmt.LANGUAGE_MODEL).iterdir()}


def prepared_again(operation, writer, path, expected):
    """Which state it is in; then it is prepared again, and nothing else is left."""
    state = prepared_state(operation, writer, path)
    assert operation(writer, path)["error"] is None
    assert prepared_state(operation, writer, path) == "after"
    assert prepared_files(path) == expected
    assert names_in(path) == names_that_belong(path) | {fmt.LOCK}
    return state


@pytest.mark.parametrize("fault", ["killed", "without power", "no space", "one step fails"])
def test_preparing_that_fails_at_any_step(preparing, writer, at_each, tmp_path, fault):
    kinds = kinds_of(preparing, writer, tmp_path)
    expected = prepared_files(tmp_path / "work" / "index")
    faults = {
        "killed": lambda step: {"die": step},
        "without power": lambda step: {"die": step, "lose": step % 2 * step},
        "no space": lambda step: {"fail": step},
        "one step fails": lambda step: {"fail": step, "error": errno.EIO, "once": True},
    }[fault]

    def failing(writer, folder, step):
        path = preparing.on(folder)
        report = preparing(writer, path, **faults(step))
        if "killed" not in report and report["error"] is not None:
            assert report["error"][0] == "BuildError", report
        return prepared_again(preparing, writer, path, expected)

    steps = some_steps(kinds if "die" in faults(1) else kinds[:-1], sized(16, 100_000))
    states = at_each(steps, failing)
    assert set(states) == {"before", "after"}
    if fault != "one step fails":  # (what cannot be removed may stay)
        assert states == sorted(states, reverse=True)


if __name__ == "__main__":
    serve()
