"""Does a service that is written to all the time answer exactly, and does it leak nothing?

Starts `everygram serve` with two workers and two indexes. For MINUTES, over HTTP alone:

- a writer adds random documents to the index `changing`, deletes some and compacts, each as a job,
  without a pause;
- READERS ask both indexes, one query or a batch, and check each answer against brute force over the
  documents of the `index_version` that it names. A version the writer has not been told of, such as
  one within a compaction, must be like one before or after it;
- a rude client sends what is no JSON, too large, or half a request, and leaves before its answers;
- the folder of the index `replaced` is replaced by another, back and forth; while there is none,
  503 is an answer, too.

Once a second, the processes of the service are looked at: memory without mapped files, open files
without those of the indexes, threads, processes. None may grow from the first quarter (without its
beginning) to the last. In the end the writer's documents must all be there, and the service must
end within its grace.

usage: python bench/service_soak.py --work WORK [--minutes 10] [--readers 4] [--seed 0]

Exit code 1 if anything is wrong.
"""

import argparse
import contextlib
import http.client
import json
import random
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from serve import Server, memory_of, started
from soak import TOKENS, Documents, metadata, random_text, write_corpus

CHANGING, REPLACED = "changing", "replaced"
# A larger increase counts as growth. Allocators keep memory that was used once; runners come and
# go, each with files and a thread; what each request left behind would be far more.
MOST_GROWN = {"memory": 64 << 20, "files": 24, "threads": 12, "processes": 4}
MOST_WRONG = 10
JOB_SECONDS, END_SECONDS = 120.0, 20.0
REPLACED_EVERY = 3.0
SERVE = "from everygram.cli.app import run; run()"


class Soak:
    """What the threads share."""

    def __init__(self, work: Path, minutes: float, seed: int) -> None:
        self.work, self.seed = work, seed
        self.end = time.monotonic() + 60 * minutes
        self.minutes = minutes
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        # {index: {version: its documents}}; the states of `changing`, in their order.
        self.known: dict[str, dict[str, Documents]] = {CHANGING: {}, REPLACED: {}}
        self.states: list[Documents] = []
        # Answers of versions that are not known so far: (place in `states`, query, answer).
        self.open: dict[str, list[tuple[int, str, Any, Any]]] = {}
        self.lock = threading.Lock()
        self.key = ""
        self.port = 0

    def go_on(self) -> bool:
        return time.monotonic() < self.end and len(self.wrong) < MOST_WRONG

    def say(self, *wrong: object) -> None:
        if len(self.wrong) < MOST_WRONG:
            self.wrong.append(" ".join(map(str, wrong))[:2000])


class Client:
    """A connection that is kept."""

    def __init__(self, soak: Soak) -> None:
        self._soak = soak
        self._connection = http.client.HTTPConnection("127.0.0.1", soak.port, timeout=60)

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self._soak.key}", "Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        try:
            self._connection.request(method, path, text, headers)
            response = self._connection.getresponse()
            found = response.read()
        except (OSError, http.client.HTTPException):
            # A connection that was idle may have been closed; a request is sent once more, which
            # must go well.
            self._connection.close()
            self._soak.done["connected again"] += 1
            self._connection.request(method, path, text, headers)
            response = self._connection.getresponse()
            found = response.read()
        return response.status, json.loads(found) if found else None


def copy_of(documents: Documents) -> Documents:
    """The documents as they are now. (Their texts are shared.)"""
    copy = Documents()
    copy.events = dict(documents.events)
    copy.numbers_given, copy.num_tokens = documents.numbers_given, documents.num_tokens
    copy.gone = documents.gone.copy()
    return copy


def write(soak: Soak) -> None:
    """Change the index, job after job."""
    rng, client = random.Random(soak.seed), Client(soak)
    documents = copy_of(soak.states[0])
    path = f"/v1/indexes/{CHANGING}"
    while soak.go_on():
        adding = 0.25 if documents.num_tokens > TOKENS else 0.7
        change: dict[str, Any] = {}
        if rng.random() < 0.25:
            what = "compact"
            status, job = client.ask("POST", f"{path}/compact", {"full": rng.random() < 0.2})
        elif rng.random() < adding or not documents.events:
            what = "add"
            texts = [random_text(rng, documents) for _ in range(rng.randrange(1, 20))]
            first = documents.numbers_given
            records = [{"text": text, **metadata(first + i)} for i, text in enumerate(texts)]
            change = {"added": texts}
            status, job = client.ask("POST", f"{path}/documents", {"documents": records})
        else:
            what, live = "delete", list(documents.events)
            gone = sorted(rng.sample(live, min(len(live), rng.randrange(1, 20))))
            change = {"deleted": gone}
            status, job = client.ask("DELETE", f"{path}/documents", {"numbers": gone})
        if status != 202:
            soak.say(what, status, job)
            return
        # The state after it is there before its version can be: readers may see it at once.
        documents.apply(change)
        with soak.lock:
            soak.states.append(copy_of(documents))
        late = time.monotonic() + JOB_SECONDS
        while job["state"] in ("queued", "running") and time.monotonic() < late:
            time.sleep(0.02)
            status, job = client.ask("GET", f"{path}/jobs/{job['id']}")
        if status != 200 or job["state"] != "done":
            soak.say(what, status, job)
            return
        with soak.lock:
            soak.known[CHANGING][job["result"]["index_version"]] = soak.states[-1]
        soak.done[what] += 1


def read(soak: Soak, number: int) -> None:
    """Ask, and check the answers."""
    rng, client = random.Random(f"{soak.seed} {number}"), Client(soak)
    while soak.go_on():
        name = CHANGING if rng.random() < 0.7 else REPLACED
        with soak.lock:
            state, place = soak.states[-1], len(soak.states) - 1
        if name == REPLACED:
            state = rng.choice([*soak.known[REPLACED].values()])
        operation, body = question(rng, state)
        status, answer = client.ask("POST", f"/v1/indexes/{name}/{operation}", body)
        if status == 503 and (name == REPLACED or "overloaded" in str(answer)):
            soak.done["503"] += 1
            continue
        if status != 200:
            soak.say(operation, body, status, answer)
            continue
        soak.done["answers"] += 1
        version = answer["index_version"]
        with soak.lock:
            known = soak.known[name].get(version)
            if known is None and name == CHANGING:
                soak.open.setdefault(version, []).append((place, operation, body, answer))
        if known is None and name == REPLACED:
            soak.say(f"{name}: version {version} is of no folder")
        elif known is not None and (problem := wrong_in(known, operation, body, answer)):
            soak.say(name, version, problem)


def question(rng: random.Random, documents: Documents) -> tuple[str, Any]:
    """(operation, body), often of a batch."""
    operation = rng.choice(["count", "infgram_prob", "infgram_ntd", "find"])
    longest = rng.choice([1, 3, 8, 8, 300])
    least = 1 if operation == "infgram_prob" else 0

    def one() -> dict[str, Any]:
        query = documents.piece(rng, longest)
        while len(query) < least:
            query = documents.piece(rng, longest)
        if operation == "infgram_ntd":
            return {"prompt": query, "top": None}
        if operation == "find":
            return {"query": query, "limit": 1000}
        return {"query": query}

    if rng.random() < 0.7:
        return operation, one()
    return operation, {"batch": [one() for _ in range(rng.choice([2, 20]))], "echo": False}


def wrong_in(documents: Documents, operation: str, body: Any, answer: Any) -> str | None:
    """What of an answer is not what these documents say."""
    batch = "batch" in body
    queries, results = (body["batch"], answer["results"]) if batch else ([body], [answer])
    for query, result in zip(queries, results, strict=True):
        expected, found = answers_to(documents, operation, query), said(operation, result)
        if found != expected:
            return f"{operation} {query}: {found}, not {expected}"
    return None


def answers_to(documents: Documents, operation: str, query: Any) -> Any:
    if operation == "count":
        return documents.count(query["query"])
    if operation == "find":
        places = sorted(documents.occurrences(query["query"]))
        return len(places), places if len(places) <= query["limit"] else None
    prompt = query["prompt"] if operation == "infgram_ntd" else query["query"][:-1]
    suffix = documents.longest_suffix(prompt)
    following = documents.following(suffix)
    if operation == "infgram_ntd":
        return len(suffix), following
    return len(suffix), sum(following.values()), following.get(query["query"][-1], 0)


def said(operation: str, result: Any) -> Any:
    if operation == "count":
        return result["count"]
    if operation == "find":
        places = sorted((each["document"], each["offset"]) for each in result["occurrences"])
        return result["count"], places if len(places) == result["count"] else None
    if operation == "infgram_ntd":
        counts = {each["token_id"]: each["count"] for each in result["next"]}
        return result["suffix_len"], counts
    return result["suffix_len"], result["prompt_count"], result["continuation_count"]


def be_rude(soak: Soak) -> None:
    """Send what no client should, and leave."""
    rng = random.Random(soak.seed)
    path = f"/v1/indexes/{CHANGING}/count"
    while soak.go_on():
        kind = rng.choice(["no JSON", "half", "leaves", "too large", "stranger"])
        body = b'{"batch": [' + b",".join([b'{"query": "ab"}'] * 5000) + b"]}"
        length, key = len(body), soak.key
        if kind == "no JSON":
            body, length = b"{", 1
        elif kind == "half":
            body = body[:1000]
        elif kind == "too large":
            length = 1 << 40
        elif kind == "stranger":
            key = "eg_nobody"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        )
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", soak.port), timeout=10) as connection,
        ):
            connection.sendall(head.encode() + body)
            if kind in ("half", "leaves"):
                time.sleep(rng.random() / 10)
            else:
                status = int(connection.recv(100)[9:12])
                expected = {"no JSON": 400, "too large": 413, "stranger": 401}[kind]
                if status not in (expected, 503):
                    soak.say(f"{kind}: status {status}")
        soak.done["rude requests"] += 1
        time.sleep(0.05)


def replace(soak: Soak) -> None:
    """Replace an index's folder by one of another corpus, again and again."""
    served, number = soak.work / REPLACED, 0
    while soak.go_on():
        number += 1
        new, old = soak.work / "new", soak.work / "old"
        shutil.copytree(soak.work / f"{REPLACED}-{number % 2}", new)
        served.rename(old)
        time.sleep(0.01)
        new.rename(served)
        shutil.rmtree(old)
        soak.done["replaced"] += 1
        time.sleep(REPLACED_EVERY)


def watch(soak: Soak, process: psutil.Process, samples: list[tuple[float, dict[str, int]]]) -> None:
    start = time.monotonic()
    while soak.go_on():
        samples.append(((time.monotonic() - start) / (60 * soak.minutes), held(soak, process)))
        time.sleep(min(1.0, soak.minutes / 4))


def held(soak: Soak, process: psutil.Process) -> dict[str, int]:
    """What the service's processes hold."""
    files = threads = 0
    processes = [process, *process.children(recursive=True)]
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            threads += each.num_threads()
            of_indexes = [file for file in each.open_files() if str(soak.work) in file.path]
            files += each.num_fds() - len(of_indexes)
    return {
        "memory": memory_of(process),
        "files": files,
        "threads": threads,
        "processes": len(processes),
    }


def grown(samples: list[tuple[float, dict[str, int]]]) -> dict[str, tuple[int, int]]:
    """For each resource, the medians of the first quarter (without its start) and the last."""
    first = [each for at, each in samples if 1 / 8 <= at < 1 / 4] or [samples[0][1]]
    last = [each for at, each in samples if at >= 3 / 4] or [samples[-1][1]]
    return {
        name: (
            int(statistics.median(each[name] for each in first)),
            int(statistics.median(each[name] for each in last)),
        )
        for name in MOST_GROWN
    }


def settle(soak: Soak) -> None:
    """Answers of versions that the writer was not told of: each version is of a state."""
    for version, answers in soak.open.items():
        known = soak.known[CHANGING].get(version)
        # Within a change, a version is like the state before it or the one after.
        first, last = min(each[0] for each in answers), max(each[0] for each in answers)
        states = [known] if known else soak.states[max(0, first - 3) : last + 3]
        problems = [
            next(filter(None, (wrong_in(state, *asked) for _, *asked in answers)), None)
            for state in states
        ]
        if all(problems):
            soak.say(f"{CHANGING} {version} is like no state: {problems}")


def begin(work: Path, seed: int) -> tuple[list[Documents], list[str]]:
    """The indexes: `changing`, and two to be served as `replaced`; documents and versions."""
    found, versions = [], []
    for i, name in enumerate((CHANGING, f"{REPLACED}-0", f"{REPLACED}-1")):
        rng, documents = random.Random(f"{seed} {name}"), Documents()
        texts = [random_text(rng, documents) for _ in range(40 + 10 * i)]
        documents.apply({"added": texts})
        everygram.build(write_corpus(work / "corpus.jsonl", texts, 0), work / name)
        with everygram.open(work / name) as index:
            versions.append(index.version)
        found.append(documents)
    shutil.copytree(work / f"{REPLACED}-0", work / REPLACED)
    return found, versions


def make_key(work: Path) -> str:
    command = [sys.executable, "-c", SERVE, "keys", "add", "soak", "--keys", str(work / "keys")]
    every = ["--read", "*", "--write", "*"]
    made = subprocess.run([*command, *every], capture_output=True, text=True, check=True)
    key = re.search(r"eg_\S+", made.stdout)
    assert key, made.stdout
    return key[0]


def checked(soak: Soak, server: Server) -> None:
    """In the end, the documents are all there."""
    status, answer = server.ask("/health/ready")
    if status != 200:
        soak.say("not ready in the end:", status, answer)
    expected = {number: bytes(events[1:-1]) for number, events in soak.states[-1].events.items()}
    with everygram.open(soak.work / CHANGING) as index:
        there = {each["n"]: each["text"].encode() for each in everygram.export(index)}
    if there != expected and not soak.wrong:
        soak.say(f"{len(there)} documents are there, expected {len(expected)}, or others")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="a folder; indexes are left here")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--readers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write every figure here")
    args = parser.parse_args()
    work = args.work.resolve() / "service-soak"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (first, *others), versions = begin(work, args.seed)
    key = make_key(work)
    paths = [str(work / CHANGING), str(work / REPLACED)]
    options = ["--workers", "2", "--keys", str(work / "keys"), "--follow-seconds", "0.1"]
    command = [sys.executable, "-c", SERVE, "serve", *paths, *options, "--port"]
    samples: list[tuple[float, dict[str, int]]] = []
    with started(command, work / "serve.log") as server:
        soak = Soak(work, args.minutes, args.seed)
        soak.key, soak.port = key, server.port
        soak.states.append(first)
        soak.known[CHANGING][versions[0]] = first
        soak.known[REPLACED] = dict(zip(versions[1:], others, strict=True))
        jobs: list[tuple[Any, ...]] = [(write,), (be_rude,), (replace,)]
        jobs += [(read, number) for number in range(args.readers)]
        jobs.append((watch, server.process, samples))
        threads = [
            threading.Thread(target=guarded, args=(soak, function, *more))
            for function, *more in jobs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        settle(soak)
        checked(soak, server)
        ending = time.monotonic()
        server.process.terminate()
        with contextlib.suppress(psutil.TimeoutExpired):
            server.process.wait(END_SECONDS)
        took = time.monotonic() - ending
        if server.process.poll() is None:
            soak.say(f"the service did not end in {END_SECONDS:.0f} s")
            server.process.kill()
    for name, (before, after) in grown(samples).items():
        if after - before > MOST_GROWN[name]:
            soak.say(f"{name} grew from {before:,} to {after:,}")
    facts = provenance() | {
        "corpus": "random documents",
        "bytes": soak.states[-1].num_tokens,
        "tokens": soak.states[-1].num_tokens,
        "documents": soak.states[-1].numbers_given,
        "minutes": args.minutes,
        "seconds_to_end": took,
        "done": dict(soak.done),
        "held": grown(samples),
        "samples": samples,
        "wrong": soak.wrong,
    }
    show(facts)
    write_json(args.json, facts)
    sys.exit(1 if soak.wrong else 0)


def guarded(soak: Soak, function: Any, *arguments: Any) -> None:
    try:
        function(soak, *arguments)
    except Exception:
        soak.say(traceback.format_exc())


def show(facts: dict[str, Any]) -> None:
    print_provenance(facts)
    rows = [
        [
            name,
            f"{before / 2**20:.1f} MiB" if name == "memory" else str(before),
            f"{after / 2**20:.1f} MiB" if name == "memory" else str(after),
        ]
        for name, (before, after) in facts["held"].items()
    ]
    print(markdown_table(["of all processes", "first quarter", "last quarter"], rows))
    done = ", ".join(f"{number:,} {what}" for what, number in sorted(facts["done"].items()))
    print(f"\n{facts['minutes']:g} minutes: {done}; the service ended in")
    print(f"{facts['seconds_to_end']:.1f} s; {len(facts['wrong'])} things wrong")
    for each in facts["wrong"]:
        print(f"WRONG: {each}")


if __name__ == "__main__":
    main()
