"""Files that commands write as a whole."""

import os
import threading
from pathlib import Path

import pytest

from everygram.cli.writing import whole, write_whole


def test_a_device_and_a_pipe_are_written_to_and_stay_what_they_are(tmp_path):
    before = Path("/dev/null").stat()
    link = tmp_path / "link"
    link.symlink_to("/dev/null")
    write_whole(link, b"text")
    assert link.is_symlink() and Path("/dev/null").stat().st_rdev == before.st_rdev
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_whole(pipe, b"text")
    reader.join()
    assert read == [b"text"] and pipe.is_fifo()


def test_two_files_at_a_time_and_one_that_fails(tmp_path):
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_bytes(b"old")
    with whole(a) as one, whole(b) as other:
        one.write(b"1")
        other.write(b"2")
        assert a.read_bytes() == b"old" and not b.exists()
    assert (a.read_bytes(), b.read_bytes()) == (b"1", b"2")
    with pytest.raises(ValueError), whole(a) as one:
        one.write(b"3")
        raise ValueError
    assert a.read_bytes() == b"1" and sorted(tmp_path.iterdir()) == [a, b]
