"""Blocks of a store: what is read of a distant array is what is in the file, or an error."""

import os
import random
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from everygram import DamagedIndexError, FormatError, OptionError
from everygram.distant import DistantArray
from everygram.kernels import INTERPRETED
from everygram.storage import blocks
from everygram.storage import format as fmt
from everygram.storage.blocks import Blocks, StoredFile

BLOCK = fmt.CHECKSUM_BLOCK


class Fake:
    """A store of one file."""

    address = "fake://there"

    def __init__(self, data):
        self.data = bytearray(data)
        self.reads, self.fails, self.waits = [], None, 0

    def read(self, name, start=0, end=None):
        self.reads.append((start, end))
        time.sleep(self.waits)
        if self.fails is not None and self.fails():
            raise FormatError(f"{self.address}/{name}: cannot be reached")
        return bytes(self.data[start:end])


def stored(folder, data, most=1 << 30, store=None):
    kept = Blocks(folder, most)
    store = store or Fake(data)
    sums = [zlib.crc32(data[at : at + BLOCK]) for at in range(0, len(data), BLOCK)]
    entry = fmt.FileEntry(len(data), f"{zlib.crc32(data):064x}")
    return StoredFile(kept, store, "segment-000001/tokens.bin", entry, np.array(sums, np.uint32))


def block_of(data, number):
    return data[number * BLOCK : (number + 1) * BLOCK]


def on_disk(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]


@pytest.fixture
def data():
    return random.Random(1).randbytes(9 * BLOCK + 1000)


@pytest.fixture
def forgetful(monkeypatch):
    """Nothing stays in memory: all blocks are read from the folder."""
    monkeypatch.setattr(blocks, "IN_MEMORY", 0)


class Small:
    """A source with blocks of 64 bytes, which says what it was asked for."""

    block_bytes = 64

    def __init__(self, data):
        self.data, self.asked, self.calls = data, [], []

    def block(self, number):
        return self.blocks([number])[0]

    def blocks(self, numbers):
        self.calls.append(list(numbers))
        return [self.data[number * 64 : (number + 1) * 64] for number in numbers]

    def ask(self, number):
        self.asked.append(number)

    def whole(self):
        return OptionError("pull it")


@pytest.mark.parametrize(
    ("dtype", "width"), [("u1", 0), ("<u2", 0), ("<u4", 0), ("<u8", 0), ("u1", 5)]
)
def test_a_distant_array_reads_as_numpys_does(dtype, width):
    rng = random.Random(0)
    count = 800
    source = Small(rng.randbytes(count * np.dtype(dtype).itemsize * max(1, width)))
    here = np.frombuffer(source.data, dtype)
    here = here.reshape(-1, width) if width else here
    there = DistantArray(source, len(source.data), dtype, width)
    assert (there.shape, there.dtype, there.itemsize) == (here.shape, here.dtype, here.itemsize)
    assert (there.ndim, there.nbytes) == (here.ndim, here.nbytes)
    for _ in range(200):
        start, end = rng.randrange(-count, count), rng.randrange(-count, count + 1)
        for part in (slice(start, end), slice(start, end, rng.choice([-7, 3])), slice(None)):
            assert np.array_equal(there[part], here[part])
            assert there[part].dtype == here.dtype
        some = np.array([rng.randrange(-count, count) for _ in range(rng.randrange(9))], np.int64)
        for ranks in (some, some[:4].reshape(-1, 1)):
            source.calls.clear()
            found = there[ranks]
            assert np.array_equal(found, here[ranks])
            assert (found.shape, found.dtype) == (here[ranks].shape, here.dtype)
            assert len(source.calls) <= 1  # together
        if not width:
            assert there[start] == here[start]
            assert type(there[np.uint64(start % count)]) is type(here[0])
    flat = there.seen_as(len(source.data), np.uint8)
    assert bytes(flat[3:90]) == source.data[3:90]


def test_what_is_not_there_is_not_read():
    source = Small(bytes(640))
    there = DistantArray(source, 640, "u1")
    longer = there.seen_as(10_000, np.uint8)
    for key in (640, -10_001, slice(600, 641), np.array([1, 640])):
        with pytest.raises(IndexError):
            longer[key]
    for key in (640, -641, np.array([1, 640]), np.array([-641])):
        with pytest.raises(IndexError):
            there[key]
    assert source.calls == []
    for index in (-1, 640, 1 << 40):  # any may be asked for
        longer.ask(index)
    longer.ask(639)
    assert source.asked == [9]


def test_what_takes_arrays_gets_an_error():
    there = DistantArray(Small(bytes(640)), 640, "u1")
    for whole in (
        lambda: np.asarray(there),
        lambda: np.concatenate([there]),
        lambda: there == 1,
        lambda: there != np.zeros(640),
        lambda: np.zeros(640, np.uint8) == there,
        lambda: there + 1,
        lambda: list(there),
        lambda: len(there),
        lambda: there[np.ones(640, bool)],
        lambda: there[...],
        lambda: np.add(there, 1),
    ):
        with pytest.raises(OptionError, match="pull it"):
            whole()


@pytest.mark.skipif(INTERPRETED, reason="kernels are interpreted")
def test_compiled_kernels_get_no_distant_array():
    with pytest.raises(RuntimeError, match="compiled"):
        DistantArray(Small(bytes(640)), 640, "u1").located()


def test_blocks_are_fetched_once_and_kept(tmp_path, data):
    file = stored(tmp_path, data)
    numbers = [7, 2, 9, 2, 0]
    assert file.blocks(numbers) == [block_of(data, number) for number in numbers]
    assert sorted(file.store.reads) == [
        (0, BLOCK),
        (2 * BLOCK, 3 * BLOCK),
        (7 * BLOCK, 8 * BLOCK),
        (9 * BLOCK, len(data)),
    ]
    file.ask(7)
    assert file.block(7) == block_of(data, 7)
    again = stored(tmp_path, data)
    assert again.blocks(numbers) == file.blocks(numbers)
    assert (len(file.store.reads), again.store.reads) == (4, [])


def test_neighbours_are_one_read(tmp_path, data, monkeypatch):
    monkeypatch.setattr(blocks, "NEIGHBOURS", 4)
    file = stored(tmp_path, data)
    file.block(5)
    file.store.reads.clear()
    assert b"".join(file.blocks(range(10))) == data
    # (0 to 3, 4, 6 to 9: of neighbours that are missing.)
    assert sorted(file.store.reads) == [
        (0, 4 * BLOCK),
        (4 * BLOCK, 5 * BLOCK),
        (6 * BLOCK, len(data)),
    ]


def test_reads_are_together(tmp_path, data):
    """What is asked for comes while other reads are under way; what is wanted twice comes once."""
    file = stored(tmp_path, data)
    file.store.waits = 1.0
    start = time.monotonic()
    for number in range(0, 10, 2):
        file.ask(number)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: file.blocks([0, 4, 8]), range(4)):
            assert found == [block_of(data, number) for number in (0, 4, 8)]
    assert time.monotonic() - start < 4
    assert len(file.store.reads) == 5


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("damage", ["cut off", "changed", "longer", "empty"])
def test_a_wrong_block_in_the_folder_is_fetched_anew(tmp_path, data, damage):
    file = stored(tmp_path, data)
    file.block(3)
    (path,) = on_disk(tmp_path)
    found = path.read_bytes()
    changed = bytes([found[0] ^ 1]) + found[1:]
    path.write_bytes(
        {"cut off": found[:-1], "changed": changed, "longer": found + b"x", "empty": b""}[damage]
    )
    assert file.block(3) == block_of(data, 3)
    assert len(file.store.reads) == 2
    assert path.read_bytes() == found


@pytest.mark.usefixtures("forgetful")
def test_a_wrong_block_in_the_store_is_an_error(tmp_path, data):
    file = stored(tmp_path, data)
    file.store.data[4 * BLOCK + 17] ^= 1
    file.ask(4)
    for _ in range(2):
        with pytest.raises(
            DamagedIndexError, match=r"fake://there/.*tokens.bin: bytes 262,144 to 327,680 do not"
        ):
            file.blocks([2, 4])
    assert file.block(2) == block_of(data, 2)
    del file.store.data[-5:]
    with pytest.raises(DamagedIndexError, match="bytes 589,824 to 590,824"):
        file.block(9)
    file.store.data[:] = data
    assert b"".join(file.blocks(range(10))) == data


def test_a_read_that_goes_wrong_once_is_repeated(tmp_path, data):
    file = stored(tmp_path, data)
    read, wrong = file.store.read, [True]
    file.store.read = lambda *given: read(*given)[: -1 if wrong and wrong.pop() else None]
    assert file.block(0) == block_of(data, 0)
    assert len(file.store.reads) == 2


def test_a_file_that_is_gone(tmp_path, data):
    file = stored(tmp_path, data)

    def gone(*_):
        raise FileNotFoundError

    file.store.read = gone
    with pytest.raises(FormatError, match="not there any more: the index has changed"):
        file.block(0)


@pytest.mark.usefixtures("forgetful")
def test_what_was_not_read_for_long_is_removed(tmp_path, data):
    most = 5 * BLOCK
    file = stored(tmp_path, data, most)
    for number in range(5):
        file.block(number)
        os.utime(file.blocks_here._path(file, number), (number, number))
    file.block(0)  # which is used again
    for number in range(5, 8):
        file.block(number)
        assert sum(path.stat().st_size for path in on_disk(tmp_path)) <= most
    kept = {int(path.name.rpartition("-")[2], 16) for path in on_disk(tmp_path)}
    assert {0, 7} <= kept
    assert not {1, 2, 3} & kept
    # Another limit, and what a killed process has left.
    (tmp_path / file.key[:2] / "left.123").write_bytes(bytes(10))
    os.utime(tmp_path / file.key[:2] / "left.123", (1, 1))
    stored(tmp_path, data, 2 * BLOCK)
    assert sum(path.stat().st_size for path in on_disk(tmp_path)) <= 2 * BLOCK
    assert not (tmp_path / file.key[:2] / "left.123").exists()


def test_memory_is_bounded(tmp_path, data, monkeypatch):
    monkeypatch.setattr(blocks, "IN_MEMORY", 3 * BLOCK)
    file = stored(tmp_path, data)
    for number in [*range(10), *range(10)]:
        assert file.block(number) == block_of(data, number)
        assert sum(map(len, file.blocks_here.held.values())) <= 3 * BLOCK
    assert len(file.store.reads) == 10


def test_a_folder_that_cannot_be_written_to(tmp_path, data, monkeypatch):
    """Then everything comes from the store."""
    file = stored(tmp_path / "blocks", data)
    (tmp_path / "blocks" / "lock").unlink()
    (tmp_path / "blocks").rmdir()
    monkeypatch.setattr(blocks, "IN_MEMORY", 0)
    assert file.blocks([1, 1, 3]) == [block_of(data, number) for number in (1, 1, 3)]
    assert file.block(1) == block_of(data, 1)
    assert len(file.store.reads) == 3


@pytest.mark.usefixtures("forgetful")
def test_many_threads_and_caches_with_a_store_that_fails(tmp_path, data):
    """A cache of a third of the file that two share, a store that fails at every fourth read:
    what comes is right, or an error."""
    store, rng = Fake(data), random.Random(2)
    lock, failed, right = threading.Lock(), [0], [0]

    def fails():
        with lock:
            return rng.random() < 0.25

    store.fails = fails
    files = [stored(tmp_path, data, 3 * BLOCK, store) for _ in range(2)]

    def read(seed):
        mine = random.Random(seed)
        for _ in range(60):
            file = mine.choice(files)
            numbers = [mine.randrange(10) for _ in range(mine.randrange(1, 5))]
            file.ask(mine.randrange(10))
            try:
                found = file.blocks(numbers)
            except FormatError:
                failed[0] += 1
                continue
            assert found == [block_of(data, number) for number in numbers]
            right[0] += 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(read, range(8)))
    assert right[0] > 100
    assert failed[0] > 3
    time.sleep(0.1)
    assert not files[0].blocks_here._coming
    store.fails = None
    assert b"".join(files[0].blocks(range(10))) == data


def test_a_closed_cache_still_answers(tmp_path, data):
    file = stored(tmp_path, data)
    file.blocks_here.close()
    assert file.blocks([0, 5]) == [block_of(data, 0), block_of(data, 5)]
