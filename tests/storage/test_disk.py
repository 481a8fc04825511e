"""Files as they are written: checksums on the way, what is made durable, and how."""

import fcntl
import hashlib
import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from everygram import durable
from everygram.storage import disk
from everygram.storage import format as fmt


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 131_072, 300_000])
@pytest.mark.parametrize("seed", range(3))
def test_checksums_are_made_piece_by_piece(tmp_path, size, seed):
    rng = np.random.default_rng(seed)
    data = rng.bytes(size)
    file = disk.HashedFile(tmp_path / "file")
    start = 0
    while start < size:
        end = start + int(rng.choice([0, 1, 100, 65_536, 200_000]))
        file.write(data[start:end])
        if seed:
            file.flush()
            assert (tmp_path / "file").read_bytes() == data[:end]
        start = end
    written = file.close()
    assert (tmp_path / "file").read_bytes() == data
    assert written.entry == fmt.FileEntry(size, hashlib.sha256(data).hexdigest())
    step = fmt.CHECKSUM_BLOCK
    expected = [zlib.crc32(data[at : at + step]) for at in range(0, size, step)]
    assert written.blocks.tolist() == expected
    assert written.blocks.dtype == fmt.CHECKSUM


@pytest.mark.parametrize("array", [np.arange(5, dtype="<u4"), np.zeros((0, 5), np.uint8)])
def test_arrays_are_written_as_their_bytes(tmp_path, array):
    assert disk.write_array(tmp_path / "file", array).entry.bytes == array.nbytes
    assert (tmp_path / "file").read_bytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [np.uint32, np.int64, np.int32])
def test_positions_of_four_and_five_bytes(dtype):
    positions = np.array([0, 1, 255, 256, 70_000, 2**31 - 1], dtype)
    if dtype == np.int64:
        wide = np.array([*positions, 2**32, 2**40 - 1])
        entries = disk.position_entries(wide, 5)
        assert entries.shape == (8, 5)
        assert entries.tobytes() == b"".join(int(p).to_bytes(5, "little") for p in wide)
        assert disk.positions_in(entries).tolist() == wide.tolist()
    narrow = disk.position_entries(positions, 4)
    assert narrow.tobytes() == positions.astype("<u4").tobytes()
    assert disk.positions_in(narrow).tolist() == positions.tolist()


@pytest.fixture
def calls(monkeypatch):
    """The calls that make something durable, as on macOS."""
    calls = []
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda number, command: calls.append(command))
    monkeypatch.setattr(os, "fsync", lambda number: calls.append("fsync"))
    return calls


def test_macos_has_the_disk_write_its_cache(tmp_path, calls):
    disk.HashedFile(tmp_path / "a").close()
    disk.write_synced(tmp_path / "b", b"b")
    durable.sync_directory(tmp_path)
    assert calls == [51, 51, 51]


def test_a_file_system_of_macos_that_has_no_such_call_is_synced(tmp_path, calls, monkeypatch):
    def refused(number, command):
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(fcntl, "fcntl", refused)
    durable.sync_directory(tmp_path)
    assert calls == ["fsync"]


def test_elsewhere_files_are_synced(tmp_path, calls, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    durable.sync_directory(tmp_path)
    assert calls == ["fsync"]


def test_all_that_is_made_durable_goes_one_way():
    source = Path(durable.__file__).parent
    syncing = [path for path in source.rglob("*.py") if "os.fsync" in path.read_text()]
    assert syncing == [Path(durable.__file__)]


def test_a_file_that_is_replaced_while_it_is_opened_is_read_whole(tmp_path, monkeypatch):
    """Of a manifest that a writer replaces, a reader sees the old one or the new one."""
    path, new = tmp_path / "manifest.json", tmp_path / "new"
    path.write_bytes(b"old")
    new.write_bytes(b"the new one is longer")
    opened = Path.open

    def replaced(self, *args, **options):
        new.rename(path)
        return opened(self, *args, **options)

    monkeypatch.setattr(Path, "open", replaced)
    assert disk.read_file(path, tmp_path, 100) == b"the new one is longer"
