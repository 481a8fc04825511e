"""Bytes in, text out; and what bytes are that are no text, in words, with what to do."""

from everygram.errors import CorpusError

BOM = b"\xef\xbb\xbf"
LEAVE_OUT = "leave it out: name the text files, as in '*.txt', or pass --on-error skip"
LFS = b"version https://git-lfs", "a pointer of Git LFS, not the file itself: run 'git lfs pull'"
UTF_16 = "UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)"
# What is found in place of text, by how it begins, and what to do about it.
KINDS = (
    (b"PAR1", "a Parquet file: its name must end in .parquet"),
    (b"ARROW1", "an Arrow file: its name must end in .arrow"),
    (b"ORC", "an ORC file: convert it to Parquet"),
    (b"Obj\x01", "an Avro file: convert it to Parquet or JSON lines"),
    (b"\x93NUMPY", "a NumPy array: if it holds token ids, its name must end in .npy"),
    (b"SQLite format 3\0", "an SQLite database: export its rows as CSV or JSON lines"),
    (b"\x89HDF\r\n", "an HDF5 file: export its texts as JSON lines"),
    (
        b"PK\x03\x04",
        "a zip archive: unpack it (Office and e-books: extract their text)",
    ),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive: unpack it"),
    (b"\x04\x22\x4d\x18", "an lz4 file: unpack it, or compress it with zstd"),
    (b"\x1f\x9d", "a file of the program compress: unpack it, or compress it with zstd"),
    (b"LZIP", "an lzip file: unpack it, or compress it with zstd"),
    (b"]\0\0", "an lzma file: unpack it, or compress it with xz"),
    (b"\x1f\x8b\x08", "a gzip file inside another: unpack it"),
    (b"%PDF-", "a PDF file: extract its text"),
    (b"{\\rtf", "a rich text file: extract its text"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a file of an old Office: extract its text"),
    (b"\x89PNG", f"an image: {LEAVE_OUT}"),
    (b"\xff\xd8\xff", f"an image: {LEAVE_OUT}"),
    (b"GIF8", f"an image: {LEAVE_OUT}"),
    (b"RIFF", f"sound, video or an image: {LEAVE_OUT}"),
    (b"\x7fELF", f"a program: {LEAVE_OUT}"),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
    LFS,
)
# Those of them with which a text may begin as well.
WORDS = (b"ORC", b"GIF8", b"RIFF", b"{\\rtf")
# What text stands in the place of a file of records, by how it begins, spaces and case aside.
PAGE = "a page of HTML, as of a download that failed: get the file again"
STAND_INS = (LFS, (b"<!doctype html", PAGE), (b"<html", PAGE))
LETTERS = bytes([*b"\t\n\r", *range(32, 127), *range(160, 256)])


def kind_of_data(head: bytes) -> str | None:
    """What data is that begins so, in words, and what to do; None for what may be text."""
    for begin, kind in KINDS:
        if head.startswith(begin) and (begin not in WORDS or not _may_be_text(head)):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive: unpack it"
    return UTF_16 if _is_utf_16(head) else None


def stand_in(head: bytes) -> str | None:
    """What stands in the place of a file of records, in words; None if it may be one."""
    begin = head.lstrip().lower()
    return next((kind for name, kind in STAND_INS if begin.startswith(name)), None)


def text_of(data: bytes | bytearray, name: str) -> str:
    """The text that a file's bytes are. Raises CorpusError for what is none."""
    begin = len(BOM) if data.startswith(BOM) else 0
    at = data.find(b"\0")
    try:
        text = str(memoryview(data)[begin:], "utf-8")
        if at < 0:
            return text
    except UnicodeDecodeError as error:
        at = error.start + begin
    line = data.count(b"\n", 0, at) + 1
    place = f"{name}:{line}"
    what = f"{place}: not UTF-8: byte {at + 1:,} of the file is 0x{data[at]:02x}"
    if not data[at]:
        raise CorpusError(
            f"{place}: byte {at + 1:,} of the file is NUL, which text has not; if it is text, "
            f"remove it, as with tr -d '\\0'; otherwise {LEAVE_OUT}"
        )
    if b"\0" in data:
        raise CorpusError(f"{what}, and others are NUL: no text, it seems; {LEAVE_OUT}")
    raise CorpusError(
        f"{what}; if it is text, convert it, as with iconv -f WINDOWS-1252 -t UTF-8; otherwise "
        f"{LEAVE_OUT}"
    )


def _may_be_text(head: bytes) -> bool:
    return b"\0" not in head and head.isascii()


def _is_utf_16(head: bytes) -> bool:
    """Whether every other byte is NUL, or nearly so, and the others are letters: Latin text.

    (Token ids of 16 bits have small numbers among them, which are no letters.)
    """
    for zeros, others in ((head[1::2], head[::2]), (head[::2], head[1::2])):
        if 8 * zeros.count(0) > 7 * len(zeros) > 0 and not others.strip(LETTERS):
            return True
    return False
