"""What a service counts of itself, for Prometheus.

In: what workers observe. Out: the text of `GET /metrics`, the same whichever worker writes it.

The numbers of all workers lie in memory that they share: `Metrics` is made by the process that
forks them, and each writes to a part of its own, so that none waits for another. A worker that
takes the place of a dead one goes on with its counters. All label values are known beforehand, but
for the names and versions of indexes: no client can add one.
"""

import itertools
import mmap
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from everygram.server import problems

OTHER = "other"
# What a request may ask for: the values of the label `operation`.
OPERATIONS = (
    *("count", "prob", "ntd", "infgram_prob", "infgram_ntd", "longest_suffix", "score"),
    *(
        "longest_matches",
        "novelty",
        "attribute",
        "count_text",
        "tokenizations",
        "find_text",
        "search",
        "find",
    ),
    *("document", "documents", "encode", "decode", "draft", "log_probs", "next_probs"),
    *("perplexity", "sample", "lm_prob", "infini-gram", "olmotrace"),
    *("indexes", "tokenizer", "add", "delete", "compact", "jobs"),
    *("health", "metrics", "page", "limits", "docs", "openapi", OTHER),
)
KINDS = (*problems.KINDS, OTHER)
# The values of the label `status`; 499 is of a client that left before its answer.
_STATUSES = (
    *map(str, sorted({200, 202, 204, 304, 307, 499, *(s for s, _ in problems.KINDS.values())})),
    OTHER,
)
# The upper bounds, in seconds, of the histogram's buckets.
_BOUNDS = (
    *(0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0),
)
_BOUND_NAMES = (*map(str, _BOUNDS), "+Inf")

# A worker's cells: gauges, whether there ever was such a worker, a single counter, tokens by
# operation, problems by kind, then a histogram for each operation and status: the sum of its
# seconds, and its buckets.
_IN_FLIGHT, _WAITING, _RUNNING, _CONNECTIONS, _USED, _DROPPED, _TOKENS = range(7)
_NUM_GAUGES = _USED
_REFUSED = _TOKENS + len(OPERATIONS)
_HISTOGRAMS = _REFUSED + len(KINDS)
_HISTOGRAM_CELLS = 1 + len(_BOUNDS) + 1
_CELLS = _HISTOGRAMS + len(OPERATIONS) * len(_STATUSES) * _HISTOGRAM_CELLS
_OPERATION = {name: i for i, name in enumerate(OPERATIONS)}
_KIND = {kind: i for i, kind in enumerate(KINDS)}
_STATUS = {int(status): i for i, status in enumerate(_STATUSES[:-1])}


class _Seen:
    """Metrics, as one who may know of some indexes sees them."""

    def __init__(self, metrics: "Metrics", named: Callable[[str], bool]) -> None:
        self._metrics, self._named = metrics, named

    def collect(self) -> Iterator[Metric]:
        return self._metrics.collect(self._named)


class Metrics(Collector):
    """The numbers of a service with so many workers; one thread of each may write."""

    def __init__(self, workers: int) -> None:
        # One more cell: the most bytes that were ever said to be read.
        # (Twice as many parts as workers: while a service reloads, old and new ones serve.)
        self._parts = 2 * workers
        self._shared = memoryview(mmap.mmap(-1, 8 * (self._parts * _CELLS + 1))).cast("d")
        self._workers = workers
        self._root = os.getpid()
        self._started = time.time()
        self._everygram = version("everygram")
        self._versions: dict[str, str] = {}
        self._cells = self._shared[:_CELLS]

    def worker(self, number: int) -> None:
        """Count as this worker from now on, called in its process, once it is forked.

        number: from 0 up; of workers that live at the same time they differ.
        """
        number %= self._parts
        self._cells = self._shared[number * _CELLS : (number + 1) * _CELLS]
        for gauge in range(_NUM_GAUGES):
            self._cells[gauge] = 0.0

    def began(self) -> None:
        """A request is there; `observe` ends it."""
        self._cells[_IN_FLIGHT] += 1.0

    def observe(self, operation: str, status: int, seconds: float, tokens: int = 0) -> None:
        """A request that began has its answer (status 499: its client left before).

        tokens: those of its queries.
        """
        cells = self._cells
        number = _OPERATION.get(operation, len(OPERATIONS) - 1)
        row = number * len(_STATUSES) + _STATUS.get(status, len(_STATUSES) - 1)
        first = _HISTOGRAMS + row * _HISTOGRAM_CELLS
        cells[first] += seconds
        cells[first + 1 + bisect_left(_BOUNDS, seconds)] += 1.0
        cells[_IN_FLIGHT] -= 1.0
        if tokens:
            cells[_TOKENS + number] += tokens

    def refused(self, kind: str) -> None:
        """A request, or a line of one, got a problem of this kind."""
        self._cells[_REFUSED + _KIND.get(kind, len(KINDS) - 1)] += 1.0

    def queue(self, waiting: int, running: int) -> None:
        """So many calls wait for a runner of this worker, so many runners are busy."""
        self._cells[_WAITING] = waiting
        self._cells[_RUNNING] = running

    def connections(self, number: int) -> None:
        """So many connections are open to this worker."""
        self._cells[_CONNECTIONS] = number

    def lines_dropped(self, number: int) -> None:
        """So many more lines of the access log were not written."""
        self._cells[_DROPPED] += number

    def version(self, index: str, served: str | None) -> None:
        """An index is served in this version from now on, in place of the one before; None: not."""
        if served is None:
            self._versions.pop(index, None)
        else:
            self._versions[index] = served

    def render(self, named: Callable[[str], bool] = lambda index: True) -> tuple[str, bytes]:
        """(content type, text) of all metrics, over all workers; takes a few milliseconds.

        named: whether an index may be named.
        """
        return CONTENT_TYPE_PLAIN_0_0_4, generate_latest(_Seen(self, named))

    def collect(self, named: Callable[[str], bool] = lambda index: True) -> Iterator[Metric]:
        """All metrics, over all workers."""
        # (Lists: memory is slow to read cell by cell.)
        cells = [list(self._shared[i * _CELLS : (i + 1) * _CELLS]) for i in range(self._parts)]
        yield from _of_requests(cells)
        yield from _of_workers(cells)
        yield _gauge(
            "everygram_index_info",
            "1 for every index served, by the version that is served.",
            {item: 1 for item in sorted(self._versions.items()) if named(item[0])},
            ("index", "version"),
        )
        yield _gauge(
            "everygram_build_info",
            "1, by everygram's version.",
            {(self._everygram,): 1},
            ("version",),
        )
        yield _gauge(
            "everygram_start_time_seconds",
            "When the service started, in seconds since 1970.",
            {(): self._started},
        )
        yield from self._of_processes()

    def _of_processes(self) -> Iterator[Metric]:
        if not Path("/proc/self/io").exists():
            return
        held = _held(self._root)
        # What a process read is its parent's once it has ended; in between it may be missing.
        self._shared[-1] = max(self._shared[-1], held.disk_bytes)
        yield _gauge("everygram_processes", "Processes of the service.", {(): held.processes})
        yield _gauge(
            "everygram_memory_bytes",
            "Memory of the processes, without mapped files; what several share counts for each.",
            {(): held.memory_bytes},
        )
        yield _gauge(
            "everygram_open_files",
            "Open files and sockets of the service's processes.",
            {(): held.open_files},
        )
        yield _counter(
            "everygram_disk_read_bytes",
            "Bytes that the service's processes had read from disks.",
            {(): self._shared[-1]},
        )


def _of_requests(cells: Sequence[list[float]]) -> Iterator[Metric]:
    durations = HistogramMetricFamily(
        "everygram_request_duration_seconds",
        "Seconds from a request's first byte to its answer's last, by operation and status.",
        labels=("operation", "status"),
    )
    places = itertools.count(_HISTOGRAMS, _HISTOGRAM_CELLS)
    for key, place in zip(itertools.product(OPERATIONS, _STATUSES), places, strict=False):
        of_workers = [each[place : place + _HISTOGRAM_CELLS] for each in cells]
        if any(map(any, of_workers)):
            seconds, *counts = map(sum, zip(*of_workers, strict=True))
            totals = itertools.accumulate(counts)
            buckets = [*zip(_BOUND_NAMES, totals, strict=True)]
            durations.add_metric(key, buckets, seconds)
    yield durations
    yield _counter(
        "everygram_query_tokens",
        "Tokens of the queries answered.",
        {(name,): _sum(cells, _TOKENS + i) for i, name in enumerate(OPERATIONS)},
        ("operation",),
    )
    yield _counter(
        "everygram_refused",
        "Requests, and lines of NDJSON, that got a problem, by its kind.",
        {(kind,): _sum(cells, _REFUSED + i) for i, kind in enumerate(KINDS)},
        ("kind",),
    )


def _of_workers(cells: Sequence[list[float]]) -> Iterator[Metric]:
    for name, cell, documentation in (
        ("everygram_requests_in_flight", _IN_FLIGHT, "Requests without an answer so far."),
        ("everygram_queue_waiting", _WAITING, "Calls that wait for a runner."),
        ("everygram_queue_running", _RUNNING, "Calls that runners are busy with."),
        ("everygram_connections", _CONNECTIONS, "Open connections."),
    ):
        yield _gauge(name, documentation, {(): _sum(cells, cell)})
    yield _counter(
        "everygram_log_lines_dropped",
        "Lines of the access log that were not written: nobody read them.",
        {(): _sum(cells, _DROPPED)},
    )


def _sum(cells: Sequence[list[float]], cell: int) -> float:
    return sum(each[cell] for each in cells)


class _Held(NamedTuple):
    processes: int
    memory_bytes: int
    open_files: int
    disk_bytes: int


def _held(root: int) -> _Held:
    """What this process and those below it hold, as /proc says."""
    # (A parent before its children: what one that ends meanwhile had read is not counted twice.)
    found, pids = _Held(0, 0, 0, 0), [root]
    for pid in pids:
        folder = Path(f"/proc/{pid}")
        try:
            disk_bytes = _field(folder / "io", "read_bytes:")
            memory = 1024 * _field(folder / "status", "RssAnon:")
            files = len(list((folder / "fd").iterdir()))
            children = [task / "children" for task in (folder / "task").iterdir()]
            pids += [int(child) for each in children for child in each.read_text().split()]
        except OSError:  # it has ended
            continue
        found = _Held(
            found.processes + 1,
            found.memory_bytes + memory,
            found.open_files + files,
            found.disk_bytes + disk_bytes,
        )
    return found


def _field(path: Path, name: str) -> int:
    """The number after a name in a file of /proc; 0 without that name, as of a zombie."""
    for line in path.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1])
    return 0


def _gauge(
    name: str,
    documentation: str,
    values: Mapping[Any, float],
    labels: tuple[str, ...] = (),
) -> Metric:
    metric = GaugeMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        metric.add_metric(key, value)
    return metric


def _counter(
    name: str,
    documentation: str,
    values: Mapping[Any, float],
    labels: tuple[str, ...] = (),
) -> Metric:
    """With labels, those alone that have counted something."""
    metric = CounterMetricFamily(name, documentation, labels=labels)
    for key, value in values.items():
        if value or not key:
            metric.add_metric(key, value)
    return metric
