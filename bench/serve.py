"""How fast is `everygram serve`, next to infini-gram behind a server, and what does load do to it?

Uses the indexes that `build.py` left in WORK. The peer is infini-gram's engine behind Flask
(`serve_peer.py`), in its own environment: once as its own API server runs it, with a process for
each request, and once with threads, which is faster. All servers run on loopback, on the machine of
the driver (`serve_load.py`); everygram has one worker unless `--serve` says otherwise. Each measure
takes SECONDS.

1. Closed loop, 1 and 16 connections: counts of n-grams of the corpus (1 to 8 tokens), and
   `infgram_ntd` of 200 tokens of held-out text, as ids. Sides take turns for ROUNDS rounds, and the
   median is shown. everygram is asked through `/v1`, which lists the 10 most frequent next tokens
   (its default), and through `POST /`, with the body that infini-gram gets, which lists all of
   them; infini-gram lists those of up to 1,000 occurrences. Some answers are compared: counts,
   lengths of suffixes, counts of prompts.
2. Batches of 1,000 counts with `echo: false`, 4 connections.
3. Open loop with a mix (40 % counts of 2 tokens, 20 % `infgram_prob` of 40, 20 % `infgram_ntd` of
   20, 10 % `find`, 10 % `score` of 200): capacity is what 16 connections get in a closed loop; then
   0.5, 1 and 4 times as much comes. Goodput is answers with status 200 a second.
4. A barrage: 8 clients, always with one of the largest legal requests under way. At the same time
   small counts (50 a second) and `/health/live` (20 a second).

Memory is that of all processes of the service, without mapped files: at the start, the most, and
10 s after all of that.

usage: python bench/serve.py --work WORK --held-out DATA/validation.jsonl --peers bench/.peers \
           --json WORK/serve.json
"""

import argparse
import contextlib
import http.client
import itertools
import json
import pickle
import random
import shlex
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from everygram.corpus.text import TextCorpus
from everygram.storage.disk import read_in

V1, DROP_IN = "everygram, /v1", "everygram, POST /"
# The peer's sides, by how its server answers several connections.
INFINIS = {"infini-gram, processes": "processes", "infini-gram, threads": "threads"}
COUNT, NTD = "count", "infgram_ntd"
CONNECTIONS = (1, 16)
NUM_QUERIES, PROMPT, BATCH, BATCH_CONNECTIONS = 5000, 200, 1000, 4
LOADS = (0.5, 1.0, 4.0)
CLIENTS = 8
COMPARED = 50
IDLE_SECONDS = 10
# The project's targets.
FASTER = {NTD: 10.0, COUNT: 6.0}
COUNTS, BATCH_COUNTS, GOODPUT, LIVE_MS, SMALL_MS, MEMORY = 3000, 150_000, 0.8, 50.0, 50.0, 1.2


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where build.py left the indexes")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--peers", type=Path, help="what bench/peers.sh made; else no peer")
    parser.add_argument("--serve", default="", help="more options of everygram serve")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    work = args.work.resolve()
    facts = provenance() | json.loads((work / "corpus.json").read_text())
    for folder in ("everygram", "infini-gram"):
        for path in sorted(path for path in (work / folder).rglob("*.*") if path.is_file()):
            read_in(path)
    with everygram.open(work / "everygram") as index:
        asked = Asked(index, args.held_out, random.Random(args.seed))
        vocab_size = index.vocab_size
    driver = Driver(work, args.seconds)
    with contextlib.ExitStack() as servers:
        ours = servers.enter_context(served(work, shlex.split(args.serve)))
        sides = {V1: ours, DROP_IN: ours}
        for side, way in INFINIS.items() if args.peers else ():
            peer = peer_served(work, args.peers, vocab_size, way)
            sides[side] = servers.enter_context(peer)
        compared = compare(asked, sides)
        memory = Memory(ours.process)
        closed = closed_loops(asked, driver, sides, args.rounds)
        batches = driver.run(ours.port, asked.batches(), connections=BATCH_CONNECTIONS)
        opened = open_loops(asked, driver, ours)
        barrage = under_barrage(asked, driver, ours)
        held = memory.after(IDLE_SECONDS)

    print_provenance(facts)
    print(closed_table(closed))
    print(f"\n{compared['said']}\n\n{batch_said(batches)}\n")
    print(open_table(opened))
    print(f"\n{barrage_table(barrage)}\n\n{memory_said(held)}\n")
    goals = targets(closed, batches, opened, barrage, held)
    print(markdown_table(["target", "found", "met"], goals))
    write_json(
        args.json,
        facts
        | {
            "closed": closed,
            "compared": compared,
            "batches": batches,
            "open": opened,
            "barrage": barrage,
            "memory": held,
            "targets": goals,
        },
    )


class Asked:
    """The requests, drawn with a seed."""

    def __init__(self, index: everygram.Index, held_out: Path, rng: random.Random) -> None:
        self._rng = rng
        texts = [index.encode(d.text, raw=True).tolist() for d in TextCorpus([held_out])]
        self._texts = [ids for ids in texts if len(ids) > PROMPT]
        tokens = np.concatenate([segment.tokens for segment in index.engine.segments])
        self.counts: list[list[int]] = []
        while len(self.counts) < NUM_QUERIES:
            length = 1 + len(self.counts) % 8
            start = rng.randrange(tokens.shape[0] - length)
            ids = tokens[start : start + length].tolist()
            if index.separator not in ids:
                self.counts.append(ids)
        self.prompts = [self._text(PROMPT) for _ in range(NUM_QUERIES)]

    def _text(self, length: int) -> list[int]:
        ids = self._rng.choice(self._texts)
        start = self._rng.randrange(len(ids) - length)
        return ids[start : start + length]

    def bodies(self, kind: str, side: str) -> list[tuple[str, Any]]:
        """(path, body) of each request."""
        queries = self.counts if kind == COUNT else self.prompts
        if side == V1:
            name = "query" if kind == COUNT else "prompt"
            return [(v1(kind), {name: ids}) for ids in queries]
        common = {"index": "everygram", "query_type": kind}
        return [("/", {**common, "query_ids": ids}) for ids in queries]

    def batches(self) -> list[bytes]:
        parts = range(0, NUM_QUERIES, BATCH)
        batches = [[{"query": ids} for ids in self.counts[i : i + BATCH]] for i in parts]
        return [whole(v1(COUNT), {"batch": each, "echo": False}) for each in batches]

    def mix(self) -> list[bytes]:
        return [whole(*self._one_of_mix()) for _ in range(NUM_QUERIES)]

    def longer(self) -> list[bytes]:
        """Queries of a millisecond: of the others, a driver on the same processors cannot send four
        times as many as are answered."""
        return [whole(*self._one_of_longer()) for _ in range(NUM_QUERIES)]

    def _one_of_longer(self) -> tuple[str, Any]:
        if self._rng.random() < 0.5:
            return v1("attribute"), {"text": self._text(60), "documents": 2}
        return v1("score"), {"text": self._text(200) * 4}

    def _one_of_mix(self) -> tuple[str, Any]:
        part = self._rng.random()
        if part < 0.4:
            return v1(COUNT), {"query": self._text(2)}
        if part < 0.6:
            return v1("infgram_prob"), {"query": self._text(40)}
        if part < 0.8:
            return v1(NTD), {"prompt": self._text(20)}
        if part < 0.9:
            return v1("find"), {"query": self._text(1), "limit": 10}
        return v1("score"), {"text": self._text(200)}

    def largest(self) -> list[bytes]:
        """What a client may send at most by the default settings, in bytes, tokens and answers."""
        text = [token for ids in self._texts for token in ids]
        text = (text * (1 + 1_200_000 // len(text)))[:1_200_000]
        batch = [{"query": text[i : i + 100]} for i in range(0, 1_000_000, 100)]
        return [
            whole(v1(COUNT), {"batch": batch}),
            whole(v1("score"), {"text": text[:100_000]}),
            whole(v1(NTD), {"prompt": [], "top": 100_000}),
            whole(v1("longest_matches"), {"text": text[100_000:200_000]}),
            whole(v1("find"), {"query": text[:1], "limit": 10_000}),
        ]


def v1(operation: str) -> str:
    return f"/v1/indexes/everygram/{operation}"


def whole(path: str, body: Any = None) -> bytes:
    """A request as it is sent."""
    if body is None:
        return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    text = json.dumps(body, separators=(",", ":")).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text


class Driver:
    """Runs `serve_load.py`."""

    def __init__(self, work: Path, seconds: float) -> None:
        self._work, self.seconds, self._number = work, seconds, 0

    def start(self, port: int, requests: Sequence[bytes], **more: Any) -> subprocess.Popen[str]:
        self._number += 1
        path = self._work / f"requests-{self._number}.pickle"
        path.write_bytes(pickle.dumps([*requests]))
        spec = {"port": port, "requests": str(path), "seconds": self.seconds, **more}
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "serve_load.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(json.dumps(spec))
        process.stdin.close()
        return process

    def result(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        assert process.stdout is not None
        found = process.stdout.read()
        if process.wait():
            sys.exit("serve_load.py failed")
        answer: dict[str, Any] = json.loads(found)
        return answer

    def run(self, port: int, requests: Sequence[bytes], **more: Any) -> dict[str, Any]:
        return self.result(self.start(port, requests, **more))


class Server:
    """A server that answers."""

    def __init__(self, process: psutil.Popen, port: int) -> None:
        self.process, self.port = process, port

    def answers(self) -> bool:
        try:
            self.ask("/health/ready")
        except OSError:
            return False
        return True

    def ask(self, path: str, body: Any = None) -> tuple[int, Any]:
        """(status, the answer, if it is JSON)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json"}
        text = None if body is None else json.dumps(body)
        connection.request("GET" if body is None else "POST", path, text, headers)
        response = connection.getresponse()
        found = response.read()
        connection.close()
        try:
            return response.status, json.loads(found)
        except ValueError:
            return response.status, None


@contextlib.contextmanager
def served(work: Path, options: Sequence[str]) -> Iterator[Server]:
    """everygram's server, until the end. Its log goes to WORK."""
    command = [sys.executable, "-c", "from everygram.cli.app import run; run()", "serve"]
    with started([*command, str(work / "everygram"), *options, "--port"], work / "serve.log") as it:
        yield it


@contextlib.contextmanager
def peer_served(work: Path, peers: Path, vocab_size: int, way: str) -> Iterator[Server]:
    side = Path(__file__).parent / "serve_peer.py"
    tokenizer, requests = work / "everygram" / "tokenizer.json", work / f"serve_peer_{way}.requests"
    arguments = [work / "infini-gram", tokenizer, vocab_size, requests, way]
    command = [peers.absolute() / "bin" / "python", side, *arguments]
    with started([*map(str, command)], work / f"serve_peer_{way}.log") as it:
        yield it


@contextlib.contextmanager
def started(command: Sequence[str], log: Path) -> Iterator[Server]:
    """A server with a free port behind its arguments, once it answers anything."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with log.open("w") as output:
        process = psutil.Popen([*command, str(port)], stdout=output, stderr=output)
        server = Server(process, port)
        try:
            while not server.answers():
                if process.poll() is not None:
                    sys.exit(f"{command[0]} ended:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield server
        finally:
            if process.poll() is None:
                below = process.children(recursive=True)
                process.terminate()
                process.wait(30)
                for each in below:  # a server that left them behind
                    with contextlib.suppress(psutil.NoSuchProcess):
                        each.kill()


def memory_of(process: psutil.Process) -> int:
    """Bytes of a process and those below it, without mapped files; shared pages count once."""
    total = 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(OSError):  # it has ended
            for line in Path(f"/proc/{each.pid}/smaps_rollup").read_text().splitlines():
                name, *values = line.split()
                total += 1024 * int(values[0]) if name == "Pss_Anon:" else 0
    return total


class Memory:
    """The memory of a service over time."""

    def __init__(self, process: psutil.Process) -> None:
        self._process, self._start = process, memory_of(process)
        self._most = self._start
        self._done = threading.Event()
        self._watching = threading.Thread(target=self._watch)
        self._watching.start()

    def _watch(self) -> None:
        while not self._done.wait(1):
            self._most = max(self._most, memory_of(self._process))

    def after(self, seconds: float) -> dict[str, int]:
        time.sleep(seconds)
        self._done.set()
        self._watching.join()
        return {"start": self._start, "most": self._most, "end": memory_of(self._process)}


def compare(asked: Asked, sides: dict[str, Server]) -> dict[str, Any]:
    """Whether some answers of all sides are the same."""
    same, other = 0, []
    for kind in (COUNT, NTD):
        bodies = {side: asked.bodies(kind, side) for side in sides}
        for i in range(COMPARED):
            found = [facts_of(server.ask(*bodies[side][i])) for side, server in sides.items()]
            if all(each == found[0] for each in found):
                same += 1
            else:
                other.append([kind, bodies[V1][i][1], found])
    said = f"{same} of {2 * COMPARED} answers are the same on all sides: {'; '.join(sides)}."
    return {"sides": [*sides], "same": same, "other": other, "said": said}


def facts_of(answered: tuple[int, Any]) -> list[Any]:
    """What both sides must say: a count, or a prompt's count and the length of its suffix."""
    status, answer = answered
    if status != 200:
        sys.exit(f"status {status}: {answer}")
    names = {"cnt": "prompt_count", "prompt_cnt": "prompt_count"}
    renamed = {names.get(name, name): value for name, value in answer.items()}
    return [renamed.get(name) for name in ("count", "prompt_count", "suffix_len")]


def closed_loops(
    asked: Asked, driver: Driver, sides: dict[str, Server], rounds: int
) -> list[dict[str, Any]]:
    found = []
    for kind in (COUNT, NTD):
        requests = {side: [whole(*each) for each in asked.bodies(kind, side)] for side in sides}
        for connections in CONNECTIONS:
            runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
            for _ in range(rounds):
                for side, server in sides.items():
                    ran = driver.run(server.port, requests[side], connections=connections)
                    runs[side].append(ran)
            for side, each in runs.items():
                medians = {
                    name: statistics.median(run[name] or 0.0 for run in each)
                    for name in ("per_second", "p50_ms", "p99_ms")
                }
                key = {"query": kind, "connections": connections, "side": side}
                found.append(key | medians | {"runs": each})
            print(f"{kind}, {connections} connections: done", flush=True)
    return found


def open_loops(asked: Asked, driver: Driver, ours: Server) -> list[dict[str, Any]]:
    found = []
    for name, requests in (("short", asked.mix()), ("longer", asked.longer())):
        capacity = driver.run(ours.port, requests, connections=16)
        key = {"queries": name, "load": "16 connections"}
        found.append(key | {"memory": memory_of(ours.process)} | capacity)
        for times in LOADS:
            rate = times * capacity["per_second"]
            ran = driver.run(ours.port, requests, rate=rate)
            key = {"queries": name, "load": f"{times} ×"}
            found.append(key | {"memory": memory_of(ours.process)} | ran)
            time.sleep(1)
    return found


def under_barrage(asked: Asked, driver: Driver, ours: Server) -> list[dict[str, Any]]:
    """Small requests alone, and beside the largest ones."""
    counts = [whole(*each) for each in asked.bodies(COUNT, V1)]
    live, largest = "/health/live", asked.largest()
    found = []
    for name, busy in (("alone", False), ("beside 8 clients with the largest requests", True)):
        processes = [
            driver.start(ours.port, counts, rate=50, patience=60),
            driver.start(ours.port, [whole(live)], rate=20, patience=60),
        ]
        if busy:
            # (Each starts with another one.)
            processes += [
                driver.start(ours.port, largest[i % 5 :] + largest[: i % 5], connections=1)
                for i in range(CLIENTS)
            ]
        small, health, *large = map(driver.result, processes)
        statuses: dict[str, int] = {}
        for each in large:
            for status, number in each["statuses"].items():
                statuses[status] = statuses.get(status, 0) + number
        found.append({"when": name, "request": "count"} | small)
        found.append({"when": name, "request": live, "largest": statuses} | health)
    return found


def closed_table(closed: Sequence[dict[str, Any]]) -> str:
    rows = []
    for each in closed:
        peer = faster_peer(closed, each["query"], each["connections"])
        times = f"{each['per_second'] / peer['per_second']:.1f}" if peer else ""
        rows.append(
            [
                each["query"],
                str(each["connections"]),
                each["side"],
                f"{each['per_second']:,.0f}",
                f"{each['p50_ms']:.2f}",
                f"{each['p99_ms']:.2f}",
                times,
            ]
        )
    header = ["query", "connections", "side", "answers/s", "p50 ms", "p99 ms", "× faster peer"]
    return markdown_table(header, rows, words=3)


def faster_peer(
    closed: Sequence[dict[str, Any]], query: str, connections: int
) -> dict[str, Any] | None:
    peers = [
        each
        for each in closed
        if (each["query"], each["connections"]) == (query, connections) and each["side"] in INFINIS
    ]
    return max(peers, key=lambda each: each["per_second"], default=None)


def batch_said(batches: dict[str, Any]) -> str:
    return (
        f"Batches of {BATCH:,} counts, {BATCH_CONNECTIONS} connections: "
        f"{batches['per_second'] * BATCH:,.0f} counts/s; p50 {batches['p50_ms']:.1f} ms, "
        f"p99 {batches['p99_ms']:.1f} ms; answers {batches['statuses']}"
    )


def milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def open_table(opened: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            each["queries"],
            each["load"],
            f"{each['per_second']:,.0f}",
            *(milliseconds(each[name]) for name in ("p50_ms", "p99_ms", "max_ms")),
            f"{each['memory'] / 2**20:.0f}",
            ", ".join(f"{number:,} × {what}" for what, number in each["statuses"].items()),
        ]
        for each in opened
    ]
    header = ["queries", "load", "goodput/s", "p50 ms", "p99 ms", "max ms", "MiB after", "answers"]
    return markdown_table(header, rows, words=2)


def barrage_table(barrage: Sequence[dict[str, Any]]) -> str:
    rows = [
        [
            each["request"],
            each["when"],
            *(milliseconds(each[name]) for name in ("p50_ms", "p99_ms", "max_ms")),
            ", ".join(f"{number:,} × {what}" for what, number in each["statuses"].items()),
        ]
        for each in barrage
    ]
    return markdown_table(["request", "", "p50 ms", "p99 ms", "max ms", "answers"], rows, words=2)


def memory_said(held: dict[str, int]) -> str:
    start, most, end = (held[name] / 2**20 for name in ("start", "most", "end"))
    return f"Memory: {start:.0f} MiB at the start, at most {most:.0f}, {end:.0f} in the end."


def targets(
    closed: Sequence[dict[str, Any]],
    batches: dict[str, Any],
    opened: Sequence[dict[str, Any]],
    barrage: Sequence[dict[str, Any]],
    held: dict[str, int],
) -> list[list[str]]:
    """A row for each target: what, found, whether it is met."""
    rows = []

    def row(what: str, found: str, met: bool) -> None:
        rows.append([what, found, "yes" if met else "**no**"])

    of = {(each["query"], each["connections"], each["side"]): each for each in closed}
    for kind, least in FASTER.items():
        for side, way in itertools.product((V1, DROP_IN), INFINIS):
            ours, peer = of[kind, 16, side], of.get((kind, 16, way))
            if peer:
                times = ours["per_second"] / peer["per_second"]
                below = ours["p99_ms"] < peer["p50_ms"]
                row(
                    f"{side}, {kind}, 16 connections: ≥ {least:.0f} × {way}, p99 below its p50",
                    f"{times:.1f} ×; {ours['p99_ms']:.1f} ms, {peer['p50_ms']:.1f} ms",
                    times >= least and below,
                )
    counts = of[COUNT, 16, V1]["per_second"]
    row(f"count, 16 connections: ≥ {COUNTS:,}/s", f"{counts:,.0f}", counts >= COUNTS)
    batched = batches["per_second"] * BATCH
    row(f"batches: ≥ {BATCH_COUNTS:,} counts/s", f"{batched:,.0f}", batched >= BATCH_COUNTS)
    for name, of_mix in itertools.groupby(opened, lambda each: each["queries"]):
        rates = [each["per_second"] for each in of_mix]
        share = rates[-1] / max(rates)
        what = f"goodput at 4 ×, {name} queries: ≥ {GOODPUT:.0%} of the peak"
        row(what, f"{share:.0%}", share >= GOODPUT)
    for each, most in ((barrage[-2], SMALL_MS), (barrage[-1], LIVE_MS)):
        p99 = each["p99_ms"] if each["p99_ms"] is not None else float("inf")
        row(f"{each['request']} in the barrage: p99 ≤ {most:.0f} ms", f"{p99:.1f} ms", p99 <= most)
    grown = held["end"] / held["start"]
    row(f"memory in the end: ≤ {MEMORY} × the start", f"{grown:.2f} ×", grown <= MEMORY)
    return rows


if __name__ == "__main__":
    main()
