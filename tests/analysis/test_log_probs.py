"""Files of log-probabilities: read as written; where they are wrong, refused with file and line."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest

from everygram.analysis import ScoredDocument, read_log_probs, write_log_probs
from everygram.errors import CorpusError, OptionError

NAN, INF = float("nan"), float("inf")
LINES = [
    {"token_ids": [5, 7, 9], "logprobs": [None, -1.5, -0.25], "id": "ä"},
    {"log_probs": [NAN, 0, -INF, 5e-7], "token_ids": [1, 2, 3, 4], "meta": {"a": [1]}},
    {"token_ids": [], "logprobs": []},
]
EXPECTED = [
    ([5, 7, 9], [NAN, -1.5, -0.25], {"id": "ä"}),
    ([1, 2, 3, 4], [NAN, 0.0, -INF, 0.0], {"meta": {"a": [1]}}),
    ([], [], {}),
]


def contents(documents):
    for document in documents:
        assert document.token_ids.dtype == np.int64
        assert document.log_probs.dtype == np.float64
    return [(one.token_ids.tolist(), one.log_probs.tolist(), one.record) for one in documents]


def assert_expected(documents):
    found = contents(documents)
    assert [(ids, record) for ids, _, record in found] == [
        (ids, record) for ids, _, record in EXPECTED
    ]
    for (_, values, _), (_, expected, _) in zip(found, EXPECTED, strict=True):
        np.testing.assert_array_equal(values, expected)


def text_of(lines):
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def archive(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_lines_are_read(tmp_path):
    path = tmp_path / "dev.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + text_of(LINES).replace(b"\n", b"\r\n\n"))
    documents = read_log_probs(path)
    assert_expected(documents)
    assert [document.place for document in documents] == [f"{path}:{n}" for n in (1, 3, 5)]
    assert_expected(read_log_probs(str(path)))


def test_compressed_lines_are_read_whatever_their_name(tmp_path):
    for name in ("dev.jsonl.gz", "dev"):
        (tmp_path / name).write_bytes(gzip.compress(text_of(LINES)))
        assert_expected(read_log_probs(tmp_path / name))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "A.NPZ"])
def test_what_is_written_is_read_again(tmp_path, name):
    (tmp_path / "given.jsonl").write_bytes(text_of(LINES))
    given = read_log_probs(tmp_path / "given.jsonl")
    write_log_probs(tmp_path / name, iter(given))
    assert_expected(read_log_probs(tmp_path / name))


def test_an_archive_of_three_arrays(tmp_path):
    path = archive(
        tmp_path / "a.npz",
        token_ids=np.array([5, 7, 9], np.uint16),
        log_probs=np.array([NAN, -1.5, -0.25], np.float32),
        offsets=np.array([0, 0, 1, 3], np.uint64),
    )
    documents = read_log_probs(path)
    assert [one.token_ids.tolist() for one in documents] == [[], [5], [7, 9]]
    assert documents[2].log_probs.tolist() == [-1.5, -0.25]
    assert documents[2].place == f"{path}: document 2"


def test_names_that_cannot_be_written(tmp_path):
    for name in ("a.json", "a.jsonl.xz", "a.npz.gz", "a"):
        with pytest.raises(OptionError, match=r"ends in \.jsonl"):
            write_log_probs(tmp_path / name, [])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "not a JSON record"),
        (b"\xff", "not a JSON record: 'utf-8'"),
        (b"[" * 10_000, "not a JSON record|maximum recursion"),
        (b"[]", "expected a JSON object, found an array"),
        (b"{}", "expected a field 'token_ids'; the record has no fields"),
        (b'{"token_ids": [1], "token_ids": [1]}', "stands twice"),
        (
            b'{"token_ids": [1], "loss": [1]}',
            "expected one of the fields .* has 'token_ids', 'loss'",
        ),
        (b'{"token_ids": [1], "logprobs": [0], "log_probs": [0]}', "expected one of the fields"),
        (b'{"token_ids": [1, 2], "logprobs": [-1]}', "for each of 2 token ids .* found 1"),
        (b'{"token_ids": [1, -2], "logprobs": [0, 0]}', "natural numbers, found -2 at place 1"),
        (b'{"token_ids": [1.0], "logprobs": [0]}', "natural numbers, found 1.0 at place 0"),
        (b'{"token_ids": [true], "logprobs": [0]}', "natural numbers, found True"),
        (b'{"token_ids": ["1"], "logprobs": [0]}', "natural numbers, found '1'"),
        (b'{"token_ids": [null], "logprobs": [0]}', "natural numbers, found None"),
        (b'{"token_ids": [99999999999999999999], "logprobs": [0]}', "natural numbers, found 9999"),
        (b'{"token_ids": 1, "logprobs": [0]}', "in a list, found 1"),
        (b'{"token_ids": [1], "logprobs": "0"}', "in a list, found '0'"),
        (b'{"token_ids": [1], "logprobs": ["-1"]}', "found '-1' at place 0"),
        (b'{"token_ids": [1], "logprobs": [false]}', "found False at place 0"),
        (b'{"token_ids": [1], "logprobs": [[-1]]}', r"found \[-1\] at place 0"),
        (b'{"token_ids": [1], "logprobs": [0.5]}', "found 0.5 at place 0: are these prob"),
        (b'{"token_ids": [1], "logprobs": [0.0000011]}', "0 or less, found 1.1e-06"),
        (b'{"token_ids": [1], "logprobs": [Infinity]}', "0 or less, found inf"),
        (b'{"token_ids": [1], "logprobs": [1e999]}', "0 or less, found inf"),
        (b'{"token_ids": [1], "logprobs": [-1' + b"0" * 400 + b"]}", "too large"),
        (b'{"token_ids": [1], "logprobs": [-1' + b"0" * 5000 + b"]}", "not a JSON record"),
    ],
)
def test_wrong_lines_are_refused_with_file_and_line(tmp_path, line, says):
    path = tmp_path / "dev.jsonl"
    path.write_bytes(text_of(LINES[:1]) + line + b"\n")
    with pytest.raises(CorpusError, match=says) as told:
        read_log_probs(path)
    assert str(told.value).startswith(f"{path}:2: ")


def test_files_that_are_none(tmp_path):
    path = tmp_path / "dev.jsonl"
    for content in (b"", b"\n \n"):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=r"dev\.jsonl: expected documents, found none"):
            read_log_probs(path)
    path.write_bytes(gzip.compress(text_of(LINES))[:-20])
    with pytest.raises(CorpusError, match=r"dev\.jsonl: .*cut off"):
        read_log_probs(path)
    archive(tmp_path / "a.npz", token_ids=[1])
    (tmp_path / "a.npz").rename(path)
    with pytest.raises(CorpusError, match=r"dev\.jsonl: expected text, found"):
        read_log_probs(path)
    with pytest.raises(CorpusError, match="no such file"):
        read_log_probs(tmp_path / "none.jsonl")
    (tmp_path / "b.jsonl").write_bytes(text_of(LINES))
    with pytest.raises(CorpusError, match="expected one file, found 2"):
        read_log_probs(tmp_path)
    for wrong in ("", "a\0b", None, 5):
        with pytest.raises(OptionError, match="path: expected a path"):
            read_log_probs(wrong)


GOOD = {"token_ids": np.array([1, 2]), "log_probs": np.array([-1.0, -2.0]), "offsets": [0, 2]}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"token_ids": np.array([1.0, 2.0])}, "token_ids: expected natural numbers .* float64"),
        ({"token_ids": np.array([[1, 2]])}, "token_ids: expected .* 2 dimensions"),
        ({"token_ids": np.array([1, -2])}, "token_ids: expected .* found -2 at place 1"),
        ({"token_ids": np.array([1, 2**64 - 1], np.uint64)}, "token_ids: expected .* at place 1"),
        ({"token_ids": np.array([1, None])}, "not a NumPy archive .*[Oo]bject arrays"),
        ({"log_probs": np.array(["a", "b"])}, "log-probabilities: expected"),
        ({"log_probs": np.array([0.5, 0.1])}, "0 or less, found 0.5 at place 0"),
        ({"log_probs": np.array([-1.0])}, "for each of 2 token ids"),
        ({"offsets": [0, 1]}, r"offsets: expected .* rise from 0 to 2, the tokens, found \[0, 1\]"),
        ({"offsets": [1, 2]}, "offsets: expected"),
        ({"offsets": [0, 2, 1, 2]}, "offsets: expected"),
        ({"offsets": [0, 5, 2]}, "offsets: expected"),
        ({"offsets": np.empty(0, np.int64)}, "offsets: expected"),
        ({"offsets": [0.0, 2.0]}, "offsets: expected"),
        ({"offsets": [0]}, "offsets: expected"),
        ({"offsets": np.array([0, 2**63 + 2], np.uint64)}, "offsets: expected"),
        ({"records": np.array(["{}", "{}"])}, "records: expected a string for each of 1 documents"),
        ({"records": np.array(["[]"])}, "document 0: records: expected a JSON object"),
        ({"records": np.array([b"{}"])}, "records: expected a string"),
    ],
)
def test_wrong_archives_are_refused(tmp_path, changed, says):
    path = archive(tmp_path / "a.npz", **(GOOD | changed))
    with pytest.raises(CorpusError, match=says) as told:
        read_log_probs(path)
    assert str(told.value).startswith(f"{path}: ")


def test_damaged_archives_are_refused(tmp_path):
    path = archive(tmp_path / "a.npz", **GOOD)
    whole = path.read_bytes()
    assert len(read_log_probs(path)) == 1
    single = io.BytesIO()
    np.save(single, np.arange(3))
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as zipped:
        zipped.writestr("token_ids.npy", b"no array")
    for content in (b"", b"x", b"PK\3\4", whole[:-30], whole[:40], single.getvalue()):
        path.write_bytes(content)
        with pytest.raises(CorpusError, match=r"a\.npz: not a NumPy archive") as told:
            read_log_probs(path)
        assert "pickle" not in str(told.value) and "protocol" not in str(told.value)
    path.write_bytes(held.getvalue())
    with pytest.raises(CorpusError, match=r"a\.npz: "):
        read_log_probs(path)
    archive(path, token_ids=[1], log_probs=[0.0])
    with pytest.raises(CorpusError, match=r"a\.npz: expected the arrays .* found no offsets"):
        read_log_probs(path)
    for flipped in range(0, len(whole), 7):
        content = bytearray(whole)
        content[flipped] ^= 0x5A
        path.write_bytes(content)
        try:
            read_log_probs(path)
        except CorpusError as error:
            assert str(error).startswith(f"{path}: ")


def test_a_document_checks_what_it_is_made_of():
    one = ScoredDocument([1, 2], [None, -1.0])
    assert (len(one), one.record, one.place) == (2, {}, "")
    with pytest.raises(OptionError, match="for each of 1 token ids"):
        ScoredDocument([1], [])
