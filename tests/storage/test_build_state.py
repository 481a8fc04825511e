"""`build.json`: what is written is read again, and nothing that is damaged is taken for true."""

import copy
import json
import random
import shutil

import numpy as np
import pytest

import everygram
from campaign import sized
from conftest import write_index, write_jsonl
from everygram.building import external_sort
from everygram.storage import format as fmt
from everygram.storage.build_state import Block, BuildState, Cut, Unsorted, _checksum
from everygram.storage.directory import read_manifest
from everygram.storage.disk import Written
from everygram.storage.verify import verify

TEXTS = ["to be or not to be", "", "that is the question", "to be " * 30]


def written(size):
    blocks = -(-size // fmt.CHECKSUM_BLOCK)
    return Written(fmt.FileEntry(size, "0f" * 32), np.full(blocks, 2**32 - 1, "<u4"))


# Of 3 documents in 35,000 tokens of 16 bits.
SIZES = {
    fmt.TOKENS: 70_000,
    fmt.METADATA: 6,
    fmt.DOCUMENT_OFFSETS: 24,
    fmt.METADATA_OFFSETS: 32,
}


# Of a self-index of them.
COMPRESSED_SIZES = {
    fmt.PSI: 80_000,
    fmt.PSI_BLOCKS: 2336,
    fmt.SAMPLES: 8764,
    fmt.FENCES: 2432,
    fmt.UNIGRAMS: 120,
}


def a_state():
    return BuildState(
        "build",
        {"corpus": ["/corpus/\udc80.jsonl"], "metadata_fields": None},
        [["/corpus/\udc80.jsonl", 70_000, "17"]],
        folder=fmt.segment_name(1),
        tokenizer="ab" * 32,
        trained=True,
        segment=Unsorted(3, 35_000, {name: written(size) for name, size in SIZES.items()}),
        cuts=[Cut(0, 20_000, True), Cut(20_000, 35_000, False)],
        skipped=1,
        skips=["x.jsonl:1: not JSON"],
        blocks=[Block(0, 20_000, 7)],
        seconds={"read": 0.1, "sort": 1e-9},
    )


def a_counted_state():
    state = a_state()
    state.blocks = [Block(0, 20_000, 7), Block(20_000, 35_000, 0)]
    state.merged = True
    state.counted = written(fmt.document_counts_bytes(35_000, 3))
    return state


def a_compressed_state():
    state = a_counted_state()
    state.compressed = {name: written(size) for name, size in COMPRESSED_SIZES.items()}
    return state


def a_state_of_segments(path):
    """Of a conversion that has finished some: those of an index, linked into the folder."""
    documents = [[1, 2], [3], []]
    source = write_index(path / "source", documents, "u16", segments=2, deleted=[[1]])
    entries = read_manifest(source).segments
    for entry in entries[:2]:
        shutil.copytree(source / entry.name, path / entry.name)
    asked = {"corpus": [str(source)], "kind": "self-index", "sample_every": 32}
    return BuildState("conversion", asked, [[str(source), "x"]], made=[*entries[:2]], dtype="u16")


def with_files(path):
    """The index at `path`, with the files of what is finished."""
    folder = path / fmt.segment_name(1)
    folder.mkdir()
    counts = {fmt.DOCUMENT_COUNTS: fmt.document_counts_bytes(35_000, 3)}
    more = {fmt.RUNS: 80_000, fmt.SUFFIX_ARRAY: 140_000} | counts | COMPRESSED_SIZES
    for name, size in (SIZES | more).items():
        (folder / name).write_bytes(bytes(size))
    return path


def as_json(state):
    """All of a state that can be compared."""
    packed = state.compressed
    fields = copy.copy(vars(state))
    if state.segment is not None:
        files = state.segment.files.items()
        fields["segment"] = (
            state.segment.num_documents,
            state.segment.stream_len,
            {name: (file.entry, file.blocks.tolist()) for name, file in files},
        )
    if state.counted is not None:
        fields["counted"] = state.counted.entry, state.counted.blocks.tolist()
    if packed is not None:
        fields["compressed"] = {n: (f.entry, f.blocks.tolist()) for n, f in packed.items()}
    return fields


@pytest.mark.parametrize(
    "state",
    [
        a_state(),
        a_counted_state(),
        a_compressed_state(),
        BuildState("compaction", {"full": True}, []),
    ],
)
def test_what_is_written_is_read_again(tmp_path, state):
    state.write(with_files(tmp_path))
    assert as_json(BuildState.read(tmp_path)) == as_json(state)
    assert {file.name for file in tmp_path.iterdir()} == {fmt.BUILD, fmt.segment_name(1)}


def test_segments_that_are_finished_are_read_again(tmp_path):
    state = a_state_of_segments(tmp_path)
    state.write(tmp_path)
    assert as_json(BuildState.read(tmp_path)) == as_json(state)
    fields = json.loads((tmp_path / fmt.BUILD).read_bytes())
    del fields["checksum"]
    for place, new in (
        (("dtype",), None),
        (("dtype",), "u9"),
        (("made", 0, "name"), "../segment-000001"),
        (("made", 0, "kind"), "self-index"),
        (("made", 1, "num_tokens"), 77),
        (("made", 1), 7),
    ):
        bad = changed(fields, place, new)
        (tmp_path / fmt.BUILD).write_text(json.dumps(bad | {"checksum": _checksum(bad)}))
        assert BuildState.read(tmp_path) is None, place
    state.write(tmp_path)
    file = tmp_path / fmt.segment_name(2) / fmt.TOKENS
    file.write_bytes(file.read_bytes()[:-1])
    assert BuildState.read(tmp_path) is None


def test_a_compressed_segment_needs_what_it_is_made_of_no_more(tmp_path):
    a_compressed_state().write(with_files(tmp_path))
    folder = tmp_path / fmt.segment_name(1)
    for name in (fmt.TOKENS, fmt.SUFFIX_ARRAY, fmt.RUNS):
        (folder / name).unlink()
        assert BuildState.read(tmp_path).compressed is not None
    for name in (*COMPRESSED_SIZES, fmt.DOCUMENT_COUNTS, fmt.METADATA):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[1:])
        assert BuildState.read(tmp_path) is None, name
        (folder / name).write_bytes(content)
    assert BuildState.read(tmp_path) is not None


def test_no_file_is_no_state(tmp_path):
    assert BuildState.read(tmp_path) is None


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def changed(value, path, new):
    """A JSON value with another, or with none (...), in one place."""
    if not path:
        return new
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if new is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return value


def damaged(data, rng):
    """The bytes of a build.json, damaged in many ways."""
    whole = json.loads(data)
    for path in places(whole):
        for new in (None, True, -1, 2**70, 0.5, "", "../..", [], [[]], {}, {"a": 1}, ...):
            if path or new is not ...:
                yield json.dumps(changed(whole, path, new)).encode()
    yield from (data[:size] for size in range(0, len(data), 7))
    for _ in range(300):
        bad = bytearray(data)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        yield bytes(bad)
    yield from (b"[" * 200_000, b'{"a":' * 200_000, b"[" * 200_000 + b"]" * 200_000)
    yield from (b"", b"null", b"[]", b"{}", b"7", b'"x"', b"\xff\xfe", b"NaN", bytes(100))


def is_same(bad, data):
    """Whether it says the same after all."""
    try:
        return json.dumps(json.loads(bad)) == json.dumps(json.loads(data))
    except (ValueError, RecursionError):
        return False


def test_what_is_damaged_is_no_state(tmp_path):
    a_state().write(with_files(tmp_path))
    path = tmp_path / fmt.BUILD
    data = path.read_bytes()
    ways = list(damaged(data, random.Random(0)))
    assert len(ways) > 900
    for bad in ways:
        path.write_bytes(bad)
        assert (BuildState.read(tmp_path) is not None) == is_same(bad, data), bad[:200]


def test_a_state_of_another_version_is_none(tmp_path):
    """Whole, but with a field more, or one less, or of another kind."""
    from everygram.storage import build_state

    a_state().write(with_files(tmp_path))
    assert BuildState.read(tmp_path) is not None
    fields = json.loads((tmp_path / fmt.BUILD).read_bytes())
    del fields["checksum"]
    for path, new in (
        (("segment", "files", fmt.TOKENS, "blocks"), ...),
        (("segment", "files", fmt.TOKENS, "blocks"), "AAA"),
        (("segment", "files", fmt.TOKENS), 7),
        (("segment",), 7),
        (("segment", "stream_len"), ...),
        (("cuts", 0, "inside"), ...),
        (("cuts",), 7),
        (("blocks", 0), []),
        (("operation",), ...),
        (("more",), 1),
    ):
        other = changed(fields, path, new)
        other["checksum"] = build_state._checksum(other)
        (tmp_path / fmt.BUILD).write_text(json.dumps(other))
        assert BuildState.read(tmp_path) is None, path


def killed(write, stage):
    """Begin a change that ends at a stage."""

    def progress(now):
        if now.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write(progress)


@pytest.mark.parametrize("stage", ["merge", "count", "write"])
def test_a_killed_change_with_a_damaged_state_begins_anew(tmp_path, monkeypatch, stage):
    monkeypatch.setattr(external_sort, "MIN_BLOCK", 8)
    small = {"memory": 1, "threads": 1}
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": text} for text in TEXTS])
    rng = random.Random(stage)
    for number in range(sized(4, 12)):
        path = tmp_path / str(number)
        added = number % 2
        if added:
            everygram.build(corpus, path, **small)

        def write(progress, path=path, added=added):
            if added:
                return everygram.add(path, corpus, progress=progress, **small)
            return everygram.build(corpus, path, progress=progress, **small)

        killed(write, stage)
        data = (path / fmt.BUILD).read_bytes()
        ways = [bad for bad in damaged(data, rng) if not is_same(bad, data)]
        (path / fmt.BUILD).write_bytes(rng.choice(ways))
        seen = []
        write(lambda now, seen=seen: seen.append(now.stage))
        assert "read" in seen
        assert not (path / fmt.BUILD).exists()
        assert verify(path, lambda done, total: None) == []
        with everygram.open(path) as index:
            assert index.num_documents == len(TEXTS) * (1 + added)
            assert index.count("to be") == 32 * (1 + added)
