"""Indexes are copied to an object store and back, however often the copying breaks off."""

import random
import re
import shutil

import pytest

import everygram
import stores
from everygram import BuildError, DamagedIndexError, FormatError, OptionError
from everygram.building import transfer
from everygram.storage.store import Store
from everygram.storage.verify import verify
from naive import NaiveIndex

DOCUMENTS = ["the cat sat on the mat", "", "the dog", "mat and cat and dog " * 20]


@pytest.fixture(scope="module")
def address():
    with stores.serving() as address:
        yield address


@pytest.fixture
def place(address, request):
    """A new address for each test."""
    return f"{address}/{re.sub('[^a-z0-9]', '-', request.node.name)}"


@pytest.fixture(params=["suffix-array", "self-index"])
def index(tmp_path, request):
    everygram.build(iter(DOCUMENTS), tmp_path / "index", kind=request.param)
    return tmp_path / "index"


def files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".everygram.lock"
    }


def check(folder, index):
    """It is a copy of the index, and answers."""
    assert files(folder) == files(index)
    assert verify(folder, lambda *_: None) == []
    naive = NaiveIndex([[*text.encode()] for text in DOCUMENTS], 255)
    with everygram.open(folder) as opened:
        for query in (b"cat", b"the", b" and ", b"x"):
            assert opened.count([*query]).count == naive.count([*query])


def test_there_and_back(tmp_path, index, place):
    sent = everygram.push(index, place)
    size = sum(len(data) for name, data in files(index).items() if "/" in name)
    assert (sent.copied_files, sent.copied_bytes) == (sent.num_files, size)
    again = everygram.push(index, place)
    assert (again.copied_files, again.copied_bytes, again.num_bytes) == (0, 0, size)
    got = everygram.pull(place, tmp_path / "copy")
    assert (got.copied_files, got.copied_bytes) == (sent.num_files, size)
    check(tmp_path / "copy", index)
    again = everygram.pull(place, tmp_path / "copy")
    assert (again.copied_files, again.num_files) == (0, sent.num_files)
    assert set(Store(place).sizes()) == set(files(index))


def test_what_is_damaged_is_copied_again(tmp_path, index, place):
    """If one says so: what seems to be there is not looked at otherwise."""
    everygram.push(index, place)
    everygram.pull(place, tmp_path / "copy")
    name = next(name for name in files(index) if name.endswith("unigrams.bin"))
    good = files(index)[name]
    bad = good[:-1] + bytes([good[-1] ^ 1])
    Store(place).write(name, bad)
    (tmp_path / "copy" / name).write_bytes(bad)
    assert everygram.push(index, place).copied_files == 0
    assert everygram.pull(place, tmp_path / "copy").copied_files == 0
    sent = everygram.push(index, place, again=True)
    assert sent.copied_files == sent.num_files and Store(place).read(name) == good
    assert everygram.pull(place, tmp_path / "copy", again=True).copied_files == sent.num_files
    check(tmp_path / "copy", index)
    Store(place).write("manifest.json", b"{")
    with pytest.raises(DamagedIndexError):
        everygram.push(index, place)
    everygram.push(index, place, again=True)
    check_there(place, index)


def check_there(place, index):
    store = Store(place)
    assert {name: store.read(name) for name in store.sizes()} == files(index)


def test_all_that_older_versions_had_is_pruned(tmp_path, place):
    index = tmp_path / "index"
    everygram.build(iter(DOCUMENTS), index)
    for number in range(3):
        everygram.push(index, place)
        (tmp_path / "more.jsonl").write_text(f'{{"text": "more {number}"}}\n')
        everygram.add(index, tmp_path / "more.jsonl")
        everygram.compact(index, full=True)
    Store(place).write("notes.txt", b"somebody's")
    everygram.push(index, place, prune=True)
    assert Store(place).read("notes.txt") == b"somebody's"
    Store(place).remove(["notes.txt"])
    assert set(Store(place).sizes()) == {*files(index)} - {"done.json"}


@pytest.mark.parametrize("address", ["s3://", "s3:///", "file:///"])
def test_no_place_at_an_address(index, address):
    with pytest.raises(OptionError, match=r"expected an address such as s3://bucket/index"):
        everygram.push(index, address)


def test_a_tokenizer_goes_along(tmp_path, place):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in DOCUMENTS))
    everygram.build(tmp_path / "a.jsonl", tmp_path / "index", "train:300")
    everygram.push(tmp_path / "index", place)
    everygram.pull(place, tmp_path / "copy")
    assert files(tmp_path / "copy") == files(tmp_path / "index")
    with everygram.open(tmp_path / "copy") as opened:
        assert opened.count("cat").count >= 1


def test_only_what_is_new_is_copied(tmp_path, index, place):
    """After an addition, a deletion and a compaction; old files are there until they are pruned."""
    everygram.push(index, place)
    everygram.pull(place, tmp_path / "copy")
    before = len(files(index))
    (tmp_path / "more.jsonl").write_text('{"text": "a new cat"}\n')
    everygram.add(index, tmp_path / "more.jsonl")
    everygram.delete(index, documents=[0])
    sent = everygram.push(index, place)
    assert sent.copied_files == len(files(index)) - before
    got = everygram.pull(place, tmp_path / "copy")
    assert (got.copied_files, got.removed) == (sent.copied_files, 0)
    assert files(tmp_path / "copy") == files(index)
    old = set(files(index))
    everygram.compact(index, full=True)
    sent = everygram.push(index, place)
    assert set(Store(place).sizes()) == old | set(files(index))
    with everygram.open(tmp_path / "copy") as reader:
        got = everygram.pull(place, tmp_path / "copy")
        assert got.removed == len([name for name in old if "/" in name])
        assert reader.count([*b"cat"]).count == 22 - 1
    assert files(tmp_path / "copy") == files(index)
    pruned = everygram.push(index, place, prune=True)
    gone = len([name for name in old if "/" in name])
    assert (pruned.copied_files, pruned.removed) == (0, gone)
    assert set(Store(place).sizes()) == set(files(index)) - {"done.json"}


def test_pruning(tmp_path, index, place):
    everygram.push(index, place)
    old = files(index)
    (tmp_path / "more.jsonl").write_text('{"text": "a new cat"}\n')
    everygram.add(index, tmp_path / "more.jsonl")
    everygram.compact(index, full=True)
    sent = everygram.push(index, place, prune=True)
    assert sent.removed == len([name for name in old if "/" in name])
    assert set(Store(place).sizes()) == set(files(index))


def test_a_push_that_breaks_off_goes_on(tmp_path, index, place, monkeypatch):
    number = 0
    put = Store.put

    def breaking(self, path, name):
        nonlocal number
        number += 1
        if number > 4:
            raise KeyboardInterrupt
        put(self, path, name)

    monkeypatch.setattr(transfer, "TOGETHER", 1)
    monkeypatch.setattr(Store, "put", breaking)
    with pytest.raises(KeyboardInterrupt):
        everygram.push(index, place)
    with pytest.raises(FormatError, match="not an everygram index"):
        everygram.pull(place, tmp_path / "copy")
    monkeypatch.setattr(Store, "put", put)
    sent = everygram.push(index, place)
    assert sent.copied_files == sent.num_files - 4
    everygram.pull(place, tmp_path / "copy")
    check(tmp_path / "copy", index)
    assert transfer.PUSHING not in Store(place).sizes()


def test_what_an_index_that_is_gone_has_left_is_not_taken_for_copied(tmp_path, index, place):
    """Files of the same names and sizes."""
    store = Store(place)
    for name, data in files(index).items():
        if "/" in name:
            store.write(name, bytes(len(data)))
    number = everygram.push(index, place)
    assert number.copied_files == number.num_files
    everygram.pull(place, tmp_path / "copy")
    check(tmp_path / "copy", index)


def test_a_pull_that_breaks_off_goes_on(tmp_path, index, place, monkeypatch):
    """Wherever it does; a version that is there meanwhile is read until all is."""
    everygram.push(index, place)
    monkeypatch.setattr(transfer, "PIECE", 100)
    monkeypatch.setattr(transfer, "NOTE_SECONDS", 0)
    monkeypatch.setattr(transfer, "TOGETHER", 2)
    read, rng, asked, pieces = Store.read, random.Random(0), [], 0

    def breaking(self, name, start=0, end=None):
        asked.append((name, start))
        if len(asked) > allowed:
            raise KeyboardInterrupt
        return read(self, name, start, end)

    monkeypatch.setattr(Store, "read", breaking)
    for _ in range(100):
        allowed, pieces = 2 + rng.randrange(12), pieces + len(asked)
        asked.clear()
        try:
            everygram.pull(place, tmp_path / "copy")
        except KeyboardInterrupt:
            with pytest.raises(FormatError):
                everygram.open(tmp_path / "copy")
        else:
            break
    assert pieces > 10
    allowed = 2
    asked.clear()
    everygram.pull(place, tmp_path / "copy")
    check(tmp_path / "copy", index)
    assert not list((tmp_path / "copy").rglob("*.part"))


def test_a_wrong_byte_is_found(tmp_path, index, place):
    everygram.push(index, place)
    store = Store(place)
    name = next(name for name in store.sizes() if name.endswith("fences.bin"))
    data = bytearray(store.read(name))
    data[-1] ^= 1
    store.write(name, bytes(data))
    with pytest.raises(DamagedIndexError, match=r"fences.bin: the copy is not what the manifest"):
        everygram.pull(place, tmp_path / "copy")
    shutil.copyfile(index / name, tmp_path / "good")
    data[-1] ^= 1
    store.write(name, bytes(data))
    everygram.pull(place, tmp_path / "copy")
    check(tmp_path / "copy", index)
    damaged = index / name
    damaged.write_bytes(bytes([damaged.read_bytes()[0] ^ 1]) + damaged.read_bytes()[1:])
    with pytest.raises(DamagedIndexError, match=r"fences.bin: content does not match"):
        everygram.push(index, f"{place}-damaged")


def test_another_index_is_not_written_over(tmp_path, index, place):
    everygram.build(iter(["something else"]), tmp_path / "other")
    everygram.push(index, place)
    before = Store(place).sizes()
    with pytest.raises(BuildError, match="holds another index"):
        everygram.push(tmp_path / "other", place)
    assert Store(place).sizes() == before
    everygram.push(tmp_path / "other", f"{place}-other")
    with pytest.raises(BuildError, match="holds another index"):
        everygram.pull(f"{place}-other", index)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(BuildError, match=r"is not empty: it holds 'letter.txt'"):
        everygram.pull(place, tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_what_is_no_address(tmp_path, index, address):
    with pytest.raises(OptionError, match="expected an address such as s3://"):
        everygram.push(index, str(tmp_path / "folder"))
    with pytest.raises(OptionError, match="not an address that fsspec knows"):
        everygram.push(index, "nowhere://bucket/index")
    with pytest.raises(FormatError, match="s3://no-such-bucket"):
        everygram.push(index, "s3://no-such-bucket/index")
    with pytest.raises(FormatError, match="not an everygram index: expected"):
        everygram.pull(f"{address}/nothing", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_other_stores(tmp_path, index):
    """Whatever fsspec writes to."""
    everygram.push(index, f"file://{tmp_path}/there")
    everygram.pull(f"file://{tmp_path}/there", tmp_path / "copy")
    check(tmp_path / "copy", index)
