"""What is no text is said to be what it is; nothing advises to read it as text."""

import gzip
import io
import pickle
import sqlite3
import tarfile
import zipfile

import numpy as np
import pytest

from everygram.corpus.text import TextCorpus
from everygram.errors import CorpusError


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "a")
    return file.getvalue()


def tarred():
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    return file.getvalue()


def array():
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


def database():
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table t (a)")
        return connection.serialize()


TEXT = "the first line\nand the second\n"
BINARIES = {
    "PDF": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", r"expected text, found a PDF file: extract its text"),
    "ZIP": (zipped(), r"expected text, found a zip archive.*: unpack"),
    "tar": (tarred(), r"expected text, found a tar archive: unpack it"),
    "NumPy": (array(), r"expected text, found a NumPy array: if it holds"),
    "SQLite": (database(), r"expected text, found an SQLite database: export"),
    "image": (b"\x89PNG\r\n\x1a\n\0\0", r"expected text, found an image: leave it out"),
    "Parquet": (b"PAR1\x15\0", r"expected text, found a Parquet file: its name must"),
    "UTF-16": (TEXT.encode("utf-16"), r"expected text, found UTF-16: convert it to UTF-8 .ico"),
    "UTF-16 without a mark": (TEXT.encode("utf-16-be"), r"expected text, found UTF-16"),
    "pickle": (
        pickle.dumps([TEXT, 1.5, b"\xff"]),
        r":1: not UTF-8: byte 1 of the file is 0x80, an",
    ),
    "zeros": (TEXT.encode() + bytes(9), r":3: byte 31 of the file is NUL, which text has not; if"),
    "a zero": (b"\xef\xbb\xbfa\n\0b", r":2: byte 6 of the file is NUL"),
    "Latin-1": (
        b"fine\nand \xe9t\xe9",
        r":2: not UTF-8: byte 10 of the file is 0xe9; if it is t",
    ),
    "after a mark": (b"\xef\xbb\xbfa\n\xff", r":2: not UTF-8: byte 6 of the file is 0xff"),
}


@pytest.mark.parametrize("kind", BINARIES)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_binary_file_among_texts(tmp_path, kind, ending):
    data, says = BINARIES[kind]
    (tmp_path / "a.txt").write_text(TEXT)
    (tmp_path / f"b.txt{ending}").write_bytes(gzip.compress(data) if ending else data)
    with pytest.raises(CorpusError, match=rf"b.txt{ending}:? ?{says}") as error:
        list(TextCorpus([tmp_path]))
    corpus = TextCorpus([tmp_path], on_error="skip")
    assert [document.text for document in corpus] == [TEXT]
    assert corpus.skips == [str(error.value)]


@pytest.mark.parametrize("kind", BINARIES)
def test_a_binary_file_that_is_named(tmp_path, kind):
    data, says = BINARIES[kind]
    path = tmp_path / "data.dat"
    path.write_bytes(data)
    known = "expected text" in says
    with pytest.raises(
        CorpusError, match=says if known else "not a kind of file that is known"
    ) as told:
        TextCorpus([path])
    assert known != ("pretokenized" in str(told.value))


@pytest.mark.parametrize(
    "text", ["ORCs", "RIFF", "ORC and goblin", "BZh", "GIF89a", "Obj", "{\\rt", "�"]
)
def test_text_that_starts_as_data_does_is_text(tmp_path, text):
    (tmp_path / "a.txt").write_text(text)
    assert [document.text for document in TextCorpus([tmp_path])] == [text]


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4665a5\nsize 12345\n"
STAND_INS = {
    "Git LFS": (LFS, r"expected (text|records), found a pointer of Git LFS"),
    "HTML": (b" <!DOCTYPE html>\n<html></html>", r"expected records, found a page of HTML, as of"),
    "UTF-16": ('{"text": "a"}\n'.encode("utf-16"), r"expected text, found UTF-16: convert it"),
}


@pytest.mark.parametrize("kind", STAND_INS)
@pytest.mark.parametrize("ending", [".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow"])
def test_what_stands_in_the_place_of_records(tmp_path, kind, ending):
    data, says = STAND_INS[kind]
    if kind == "UTF-16" and ending in (".parquet", ".arrow"):
        says = "damaged, cut off|not an Arrow file"
    (tmp_path / f"a{ending}").write_bytes(data)
    with pytest.raises(CorpusError, match=rf"a{ending}: ({says})"):
        list(TextCorpus([tmp_path]))


def test_a_pointer_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(LFS)
    with pytest.raises(CorpusError, match=r"a.txt: expected text, found a pointer of Git LFS"):
        list(TextCorpus([tmp_path]))


def test_a_page_among_texts_is_text(tmp_path):
    (tmp_path / "page.html").write_text("<html></html>")
    assert [document.text for document in TextCorpus([tmp_path])] == ["<html></html>"]
