"""Files that commands write as a whole."""

import os
import threading
from pathlib import Path

import pytest

from everygram.cli.writing import check_apart, whole, write_whole
from everygram.errors import OptionError


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


def test_one_file_is_not_written_by_two_options(tmp_path, monkeypatch, run):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    device, a, b = Path("/dev/null"), Path("a"), Path("b")
    check_apart({"--one": a, "--two": b, "--three": None, "--four": device, "--five": device})
    for path in (Path("a"), tmp_path / "a", Path("link")):
        with pytest.raises(OptionError, match="--three: expected another file than --one, found"):
            check_apart({"--one": a, "--two": b, "--three": path})
    for command, one, other, name in (
        (["contamination", "i", "c.jsonl"], "--clean", "--dirty", "x.jsonl"),
        (["contamination", "i", "c.jsonl"], "--drop", "--report", "x.html"),
        (["duplicates", "i"], "--out", "--documents", "x.jsonl"),
        (["frequency", "i", "c.txt", "--pairs"], "--out", "--pairs-out", "x.csv"),
    ):
        code, _, error = run(*command, one, name, other, tmp_path / name)
        assert (code, f"{other}: expected another file than {one}" in error) == (2, True), error
