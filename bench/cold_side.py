"""Counts n-grams on one side with the index's pages dropped, in that side's environment.

usage: python cold_side.py SIDE WORK QUERIES.json WHEN RESULTS.json

`cold.py` starts this script. It first counts every n-gram twice, to have all code compiled and in
memory, and to measure the system's counters for a warm query; then it counts them WHEN the index is
cold. Only the index's own pages are dropped: they are unmapped (madvise) and dropped from the page
cache (posix_fadvise) until mincore finds none of any file. Pages of the code stay, and other
processes are not affected.
"""

import ctypes
import gc
import json
import mmap
import os
import random
import resource
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from query_side import SIDES, Calls

# For every n-gram dropped and then opened; open all the time and dropped for every n-gram; dropped
# and opened only once, for the first n-gram.
OPENED, DROPPED, SERIES = "dropped, opened", "open, dropped", "series"
# Where a side's index is, if not in a folder of its name.
FOLDERS = {"self-index, 32": "self-index-32"}
MADV_DONTNEED = 4
PAGE = mmap.PAGESIZE
# Reads of one page, to measure the disk; and attempts to drop the pages.
PROBES, TRIES = 300, 1000

libc = ctypes.CDLL(None, use_errno=True)
libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
libc.mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.mmap.restype = ctypes.c_void_p
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def main() -> None:
    side, work, queries_path, when, results_path = sys.argv[1:]
    folder = Path(work).resolve() / FOLDERS.get(side, side.split(",")[0])
    files = [file for file in folder.rglob("*") if file.is_file() and file.stat().st_size]
    queries: list[list[int]] = json.loads(Path(queries_path).read_text())
    calls = SIDES[side](Path(work))
    answers = [count(calls, ids) for ids in queries]
    gc.disable()
    warm = [measure(calls, ids) for ids in queries]
    drop(files)
    probes = probe(max(files, key=lambda file: file.stat().st_size))
    measured, opening = [], []
    for number, ids in enumerate(queries):
        if when == OPENED or (when == SERIES and number == 0):
            del calls
            gc.collect()
            drop(files)
            start = time.monotonic_ns()
            calls = SIDES[side](Path(work))
            opening.append(time.monotonic_ns() - start)
        elif when == DROPPED:
            drop(files)
        measured.append(measure(calls, ids) | {"maps": maps(files)})
    assert [each["count"] for each in measured] == answers
    result = {
        "answers": answers,
        "probes": probes,
        "warm": warm,
        "measured": measured,
        "opening": opening,
    }
    Path(results_path).write_text(json.dumps(result))


def count(calls: Calls, ids: list[int]) -> int:
    """The side's count of an n-gram."""
    call, comparable = calls["count"]
    found: int = comparable(call(ids))
    return found


def measure(calls: Calls, ids: list[int]) -> dict[str, Any]:
    """One count, and how much the process's own counters changed.

    major_faults: page faults that requested a page from the disk and waited for it.
    sleeps: how often a thread gave up its processor to wait for a page or for another thread.
    read_bytes: bytes that were read from the disk for the process, including read-ahead.
    """
    call, comparable = calls["count"]
    read, usage = read_bytes(), resource.getrusage(resource.RUSAGE_SELF)
    start = time.monotonic_ns()
    answer = call(ids)
    end = time.monotonic_ns()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "count": comparable(answer),
        "start": start,
        "end": end,
        "major_faults": after.ru_majflt - usage.ru_majflt,
        "sleeps": after.ru_nvcsw - usage.ru_nvcsw,
        "read_bytes": read_bytes() - read,
    }


def read_bytes() -> int:
    """Bytes that were read from the disk for this process."""
    fields = Path("/proc/self/io").read_text().split()
    return int(fields[fields.index("read_bytes:") + 1])


def maps(files: Iterable[Path]) -> list[list[Any]]:
    """Start, end and file name of each mapping of the files."""
    names = {str(file): file.name for file in files}
    found = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, _, _, _, _, *path = line.split(maxsplit=5)
        if path and path[0] in names:
            start, end = (int(address, 16) for address in addresses.split("-"))
            found.append([start, end, names[path[0]]])
    return found


def drop(files: Iterable[Path]) -> None:
    """Make the system drop the pages of files. Exits if some pages stay."""
    for _ in range(TRIES):
        for start, end, _name in maps(files):
            libc.madvise(start, end - start, MADV_DONTNEED)
        if sum(map(drop_unmapped, files)) == 0:
            return
        time.sleep(0.001)
    sys.exit("Some pages of the index stay in memory: does another process map them?")


def drop_unmapped(file: Path) -> int:
    """Drop a file's pages that no process maps; returns how many stay."""
    size = file.stat().st_size
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    address = libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    os.close(descriptor)
    pages = (ctypes.c_ubyte * (-(-size // PAGE)))()
    if libc.mincore(address, size, pages):
        sys.exit(f"mincore: {os.strerror(ctypes.get_errno())}")
    libc.munmap(address, size)
    return bytes(pages).count(1)


def probe(file: Path) -> list[int]:
    """Nanoseconds of each of several reads of a single page anywhere in a dropped file."""
    pages = file.stat().st_size // PAGE
    descriptor = os.open(file, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    rng = random.Random(0)
    times = []
    for _ in range(PROBES):
        place = rng.randrange(pages) * PAGE
        start = time.monotonic_ns()
        os.pread(descriptor, PAGE, place)
        times.append(time.monotonic_ns() - start)
    os.close(descriptor)
    return times


if __name__ == "__main__":
    main()
