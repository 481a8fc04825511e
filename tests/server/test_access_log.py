"""The access log: a line of JSON a request, whatever clients send and whoever reads it."""

import json
import os
import re
import threading
import time
from pathlib import Path

import pytest

from everygram.server import access_log
from everygram.server.access_log import LONGEST_LINE, AccessLog

DOCS = Path(__file__).parents[2] / "docs" / "monitoring.md"
REQUEST = {
    "request_id": "r1",
    "address": "127.0.0.1",
    "key": "alice",
    "method": "POST",
    "path": "/v1/indexes/wiki/count",
    "operation": "count",
    "index": "wiki",
    "status": 200,
    "seconds": 0.0123456789,
    "bytes_in": 30,
    "bytes_out": 200,
}


def logged(tmp_path, *requests):
    """The lines that a log of these requests has, as bytes."""
    path = tmp_path / "log"
    with path.open("wb") as file:
        log = AccessLog(descriptor=file.fileno())
        for request in requests:
            log.write(**request)
        log.close()
    return path.read_bytes().splitlines()


def test_a_request_is_a_line(tmp_path):
    (line,) = logged(tmp_path, REQUEST)
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", found.pop("time"))
    assert found == REQUEST | {"seconds": 0.012346}


def test_lines_are_in_order(tmp_path):
    requests = [REQUEST | {"request_id": f"r{i}"} for i in range(1000)]
    lines = logged(tmp_path, *requests)
    assert [json.loads(line)["request_id"] for line in lines] == [f"r{i}" for i in range(1000)]


@pytest.mark.parametrize(
    "path",
    [
        '/a"b\\c\n{"status": 200}\r\n',
        "/\x00\x1b[2J\x07\x7f",
        "/\u2028\u2029\x85\x9b\u202e日本😀",
        "/\ud800",
    ],
    ids=["newlines", "escapes", "unicode", "surrogate"],
)
def test_no_client_writes_a_line_of_its_own(tmp_path, path):
    lines = logged(tmp_path, REQUEST | {"path": path}, REQUEST)
    assert len(lines) == 2
    assert re.fullmatch(rb"[ -~]*", lines[0])
    found = json.loads(lines[0])
    assert found["path"] == path
    assert found["time"].endswith("Z")


@pytest.mark.parametrize("letter", ["a", "日", "😀"])
def test_long_values_are_cut(tmp_path, letter):
    long = {name: letter * 60_000 for name in REQUEST if isinstance(REQUEST[name], str)}
    (line,) = logged(tmp_path, REQUEST | long)
    assert len(line) < LONGEST_LINE
    found = json.loads(line)
    assert found["status"] == 200
    assert re.fullmatch(f"{letter}{{40,200}}…", found["path"])


def test_a_path_that_fits_is_whole(tmp_path):
    path = "/" + "a" * 3000
    assert json.loads(logged(tmp_path, REQUEST | {"path": path})[0])["path"] == path


def test_a_reader_that_stops_stops_no_worker(monkeypatch):
    monkeypatch.setattr(access_log, "MOST_WAITING", 500)
    reading, writing = os.pipe()
    counted = []
    log = AccessLog(counted.append, writing)
    longest = 0.0
    for i in range(5000):
        before = time.perf_counter()
        log.write(**REQUEST | {"request_id": f"r{i}"})
        longest = max(longest, time.perf_counter() - before)
        if i % 500 == 0:
            time.sleep(0.01)
    assert longest < 1, "a pipe that is full made the caller wait"
    assert sum(counted) > 0
    # The reader is back: what was not dropped comes, and a line says how many were.
    found = b""

    def read():
        nonlocal found
        while part := os.read(reading, 65536):
            found += part

    reader = threading.Thread(target=read)
    reader.start()
    log.close(10)
    os.close(writing)
    reader.join()
    os.close(reading)
    lines = [json.loads(line) for line in found.splitlines()]
    dropped = sum(line["dropped"] for line in lines if "dropped" in line)
    written = [line["request_id"] for line in lines if "dropped" not in line]
    assert dropped == sum(counted)
    assert len(written) + dropped == 5000
    assert len({*written}) == len(written)
    assert all(line.keys() == {"time", "dropped"} for line in lines if "dropped" in line)


def test_a_reader_that_leaves_costs_lines_alone():
    reading, writing = os.pipe()
    os.close(reading)
    counted = []
    log = AccessLog(counted.append, writing)
    for _ in range(100):
        log.write(**REQUEST)
    log.close(10)
    os.close(writing)
    assert sum(counted) == 100


def test_a_pipe_that_does_not_wait_is_waited_for():
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    log = AccessLog(descriptor=writing)
    for i in range(1000):
        log.write(**REQUEST | {"request_id": f"r{i}"})
    time.sleep(0.2)
    reader = threading.Thread(target=log.close, args=(10,))
    reader.start()
    found = b""
    while found.count(b"\n") < 1000:
        found += os.read(reading, 65536)
    reader.join()
    os.close(reading)
    os.close(writing)
    numbers = [json.loads(line)["request_id"] for line in found.splitlines()]
    assert numbers == [f"r{i}" for i in range(1000)]


def test_workers_lines_do_not_mix():
    reading, writing = os.pipe()
    pids = []
    for worker in range(4):
        pids.append(os.fork())
        if not pids[-1]:
            try:
                log = AccessLog(descriptor=writing)
                for i in range(300):
                    log.write(**REQUEST | {"key": f"k{worker}" * (1 + i % 50)})
                log.close(10)
            finally:
                os._exit(0)
    os.close(writing)
    found = b""
    while part := os.read(reading, 1000):
        found += part
    os.close(reading)
    assert all(os.waitpid(pid, 0)[1] == 0 for pid in pids)
    keys = [json.loads(line)["key"][:2] for line in found.splitlines()]
    assert {key: keys.count(key) for key in keys} == {f"k{i}": 300 for i in range(4)}


def test_nothing_starts_before_the_first_line():
    before = threading.active_count()
    log = AccessLog()
    assert threading.active_count() == before
    log.close()


def test_the_manual_has_every_field(tmp_path):
    (line,) = logged(tmp_path, REQUEST)
    section = DOCS.read_text().split("## The access log")[1].split("\n## ")[0]
    documented = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert documented == [*json.loads(line)]
