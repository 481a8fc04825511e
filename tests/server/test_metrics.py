"""Metrics: what workers count is what Prometheus reads, over all of them; docs name them all."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from everygram.server import answering, pages
from everygram.server import metrics as module
from everygram.server.metrics import Metrics

DOCS = Path(__file__).parents[2] / "docs" / "monitoring.md"
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def read(metrics):
    """{(name, *label values in the order of their names): value} of what a scrape says."""
    content_type, text = metrics.render()
    assert content_type.startswith("text/plain; version=0.0.4")
    found = {}
    for family in text_string_to_metric_families(text.decode()):
        for sample in family.samples:
            key = sample.name, *(value for _, value in sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_requests_are_counted_by_operation_and_status():
    metrics = Metrics(1)
    for seconds, status, tokens in ((0.001, 200, 3), (0.0011, 200, 4), (99.0, 504, 0)):
        metrics.began()
        metrics.observe("count", status, seconds, tokens)
    found = read(metrics)
    duration = "everygram_request_duration_seconds"
    assert found[f"{duration}_count", "count", "200"] == 2
    assert found[f"{duration}_sum", "count", "200"] == pytest.approx(0.0021)
    # A bound is part of its bucket.
    buckets = {
        bound: found[f"{duration}_bucket", bound, "count", "200"]
        for bound in ("0.0005", "0.001", "0.0025", "30.0", "+Inf")
    }
    assert [*buckets.values()] == [0, 1, 2, 2, 2]
    assert found[f"{duration}_bucket", "30.0", "count", "504"] == 0
    assert found[f"{duration}_bucket", "+Inf", "count", "504"] == 1
    assert found["everygram_query_tokens_total", "count"] == 7
    assert found["everygram_requests_in_flight",] == 0
    assert not any("ntd" in key for key in found), "what was never observed has no series"


def test_every_operation_status_and_kind_has_cells_of_its_own():
    metrics = Metrics(1)
    statuses = [int(status) for status in module._STATUSES[:-1]]
    for i, operation in enumerate(module.OPERATIONS):
        for j, status in enumerate(statuses):
            for _ in range(1 + (i + j) % 3):
                metrics.observe(operation, status, 0.1, i)
    for i, kind in enumerate(module.KINDS):
        for _ in range(i):
            metrics.refused(kind)
    found = read(metrics)
    count = "everygram_request_duration_seconds_count"
    for i, operation in enumerate(module.OPERATIONS):
        tokens = i * sum(1 + (i + j) % 3 for j in range(len(statuses)))
        assert found.get(("everygram_query_tokens_total", operation), 0) == tokens
        for j, status in enumerate(statuses):
            assert found[count, operation, str(status)] == 1 + (i + j) % 3
    for i, kind in enumerate(module.KINDS):
        assert found.get(("everygram_refused_total", kind), 0) == i


def test_clients_make_no_series():
    metrics = Metrics(1)
    for i in range(1000):
        metrics.observe(f"made-up-{i}", 1000 + i, 0.001, 1)
        metrics.refused(f"made-up-{i}")
    found = read(metrics)
    assert found["everygram_request_duration_seconds_count", "other", "other"] == 1000
    assert found["everygram_query_tokens_total", "other"] == 1000
    assert found["everygram_refused_total", "other"] == 1000
    assert not any("made-up" in part for key in found for part in key)


def test_every_operation_of_the_service_is_known():
    asked = {*answering.OPERATIONS, *answering.SPECIAL, *pages.PAGES.values()}
    assert {*module.OPERATIONS} >= asked
    assert len({*module.OPERATIONS}) == len(module.OPERATIONS)


def test_an_index_has_one_version():
    metrics = Metrics(1)
    for name, version in (("wiki", "1"), ('a"b\\c\n', "1"), ("wiki", "2"), ("gone", "5")):
        metrics.version(name, version)
    metrics.version("gone", None)
    found = [key for key in read(metrics) if key[0] == "everygram_index_info"]
    assert found == [
        ("everygram_index_info", 'a"b\\c\n', "1"),
        ("everygram_index_info", "wiki", "2"),
    ]


def in_child(function):
    """Run a function in a forked process, as workers run."""
    pid = os.fork()
    if not pid:
        try:
            function()
        finally:
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


@linux
def test_workers_count_together():
    metrics = Metrics(3)

    def worker(number):
        metrics.worker(number)
        metrics.began()
        metrics.began()
        metrics.observe("count", 200, 0.5, 10 * number)
        metrics.refused("overloaded")
        metrics.queue(number, 2)
        metrics.connections(7)
        metrics.lines_dropped(number)

    for number in range(3):
        in_child(lambda number=number: worker(number))
    found = read(metrics)
    assert found["everygram_request_duration_seconds_count", "count", "200"] == 3
    assert found["everygram_request_duration_seconds_sum", "count", "200"] == 1.5
    assert found["everygram_query_tokens_total", "count"] == 30
    assert found["everygram_refused_total", "overloaded"] == 3
    assert found["everygram_requests_in_flight",] == 3
    assert found["everygram_queue_waiting",] == 3
    assert found["everygram_queue_running",] == 6
    assert found["everygram_connections",] == 21
    assert found["everygram_log_lines_dropped_total",] == 3
    # A worker in a dead one's place: its gauges are from nothing, its counters go on.
    in_child(lambda: metrics.worker(1))
    again = read(metrics)
    assert again["everygram_requests_in_flight",] == 2
    assert again["everygram_queue_waiting",] == 2
    assert again["everygram_queue_running",] == 4
    assert again["everygram_connections",] == 14
    assert again["everygram_query_tokens_total", "count"] == 30
    assert again["everygram_log_lines_dropped_total",] == 3


@linux
def test_workers_of_other_settings_live_on_for_a_while():
    metrics = Metrics(1)

    def worker(number):
        metrics.worker(number)
        metrics.observe("count", 200, 0.5, 1)

    for number in range(6):
        in_child(lambda number=number: worker(number))
    assert read(metrics)["everygram_query_tokens_total", "count"] == 6
    # Beyond all room, two count together.
    in_child(lambda: worker(1_000_003))
    assert read(metrics)["everygram_query_tokens_total", "count"] == 7


@linux
def test_processes_are_those_below_the_one_that_made_it(tmp_path):
    script = """
import os, time
from everygram.server.metrics import Metrics
metrics = Metrics(1)
here = os.pipe()
there = os.pipe()
def held():
    return {m.name: m.samples[0].value for m in metrics._of_processes()}
before = held()
if not os.fork():  # a worker, which a runner belongs to
    if not os.fork():
        memory = b"x" * 50_000_000
        files = [open("/dev/null") for _ in range(20)]
    os.write(here[1], b".")
    os.read(there[0], 1)
    os._exit(0)
while len(os.read(here[0], 1)) < 1: pass
os.read(here[0], 1)
during = held()
os.write(there[1], b"..")
os.wait()
time.sleep(0.2)
after = held()
assert before["everygram_processes"] == 1, before
assert during["everygram_processes"] == 3, during
assert during["everygram_memory_bytes"] > before["everygram_memory_bytes"] + 50_000_000
assert during["everygram_open_files"] >= 2 * before["everygram_open_files"] + 20
assert after["everygram_processes"] == 1, after
assert after["everygram_open_files"] == before["everygram_open_files"]
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@linux
def test_bytes_read_of_a_process_that_ended_stay(monkeypatch):
    metrics = Metrics(2)
    said = iter([1000, 400, 3000])
    monkeypatch.setattr(module, "_held", lambda root: module._Held(1, 1, 1, next(said)))
    name = ("everygram_disk_read_bytes_total",)
    assert [read(metrics)[name] for _ in range(3)] == [1000, 1000, 3000]


def test_the_manual_has_every_metric_and_no_other():
    metrics = Metrics(1)
    metrics.observe("count", 200, 0.1, 1)
    metrics.refused("overloaded")
    metrics.version("wiki", "1")
    families = {
        family.name + ("_total" if family.type == "counter" else ""): family
        for family in text_string_to_metric_families(metrics.render()[1].decode())
    }
    documented = {}
    for line in DOCS.read_text().splitlines():
        if found := re.match(r"\| `(everygram_\w+)` \| (\w+) \| ([^|]*)\|", line):
            name, kind, labels = found.groups()
            documented[name] = kind, {*re.findall(r"`(\w+)`", labels)}
    expected = {}
    for name, family in families.items():
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        expected[name] = family.type, labels
    if sys.platform != "linux":
        documented = {name: documented[name] for name in expected}
    assert documented == expected


def test_the_manual_has_every_operation_that_is_no_query():
    said = re.search(r"^`operation` is .*?`status`", DOCS.read_text(), re.MULTILINE | re.DOTALL)[0]
    listed = {*re.findall(r"`([\w-]+)`", said)} - {"operation", "status", "count"}
    assert listed == {*module.OPERATIONS} - {*answering.OPERATIONS} - {"documents"}
