"""An index from a stranger: its manifest is not damaged, but says what no everygram would write.

The checksum fits each time. Whatever it says is refused as FormatError (or does no harm), at once,
without a look at files that are not the index's.
"""

import contextlib
import copy
import hashlib
import json
import os
import shutil
import signal
import socket

import numpy as np
import pytest

import everygram
from campaign import sized
from conftest import with_checksum, write_index, write_jsonl
from everygram.errors import (
    BuildError,
    DamagedIndexError,
    EverygramError,
    FormatError,
    QueryError,
    TokenizerError,
)
from everygram.kernels import psi
from everygram.storage import build_state, directory
from everygram.storage import format as fmt
from everygram.storage.verify import verify

MISSING = object()
SEGMENT = fmt.segment_name(1)
# What may stand anywhere in JSON, and is wrong almost everywhere.
WRONG = [
    MISSING,
    None,
    True,
    False,
    -1,
    0,
    1,
    3,
    255,
    2**31,
    2**40,
    2**62,
    2**63,
    2**64,
    10**400,
    0.5,
    1.0,
    float("nan"),
    float("inf"),
    "",
    "x",
    "\0",
    "0" * 64,
    "u64",
    "/etc",
    "../other/segment-000001",
    "segment-000002",
    [],
    [[]],
    [1, 2],
    {},
    {"": 1},
]


@pytest.fixture(autouse=True)
def no_hanging():
    """What hangs, hangs no longer than this."""
    signal.alarm(300)
    yield
    signal.alarm(0)


@pytest.fixture
def path(tmp_path):
    """An index of two segments and one of what was deleted, with a tokenizer of its own."""
    path = tmp_path / "index"
    everygram.build(
        write_jsonl(tmp_path / "0.jsonl", [{"text": "ab ab"}, {"text": "b"}]), path, "train:256"
    )
    everygram.add(path, write_jsonl(tmp_path / "1.jsonl", [{"text": "b a"}]))
    everygram.delete(path, documents=[1])
    return path


def manifest_of(path):
    return json.loads((path / fmt.MANIFEST).read_bytes())


def write_manifest(path, fields):
    (path / fmt.MANIFEST).write_bytes(with_checksum(fields))


def places(value, path=()):
    """Every place in a JSON value but the whole."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from places(value[key], (*path, key))


def changed(value, path, new):
    """A JSON value with another in one place, or none."""
    value = copy.deepcopy(value)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if new is MISSING:
        del holder[path[-1]]
    else:
        holder[path[-1]] = new
    return value


def use(path):
    """Open an index and ask it a little of everything; returns what it says it has."""
    with everygram.open(path) as index:
        for ask in (
            lambda: index.count([97]),
            lambda: index.count_batch([[], [97, 98], [index.separator]]),
            lambda: index.document_count([97]),
            lambda: index.document_count_batch([[], [97, 98], [index.separator]]),
            lambda: index.infgram_ntd([98, 97]).as_dict(),
            lambda: index.ntd([]),
            lambda: index.score([97, 98, 32]),
            lambda: index.longest_matches([97, 98, 32]),
            lambda: index.novelty([97, 98, 32]).as_dict(),
            lambda: index.find([97], limit=99).as_dict(),
            lambda: index.count("ab"),
            lambda: index.document(0).as_dict(),
            lambda: index.document(2).as_dict(),
        ):
            with contextlib.suppress(EverygramError):
                ask()
        return index.info()


def look(path):
    """Everything that reads an index, each by itself: only FormatErrors come out."""
    with contextlib.suppress(FormatError):
        use(path)
    with contextlib.suppress(FormatError):
        verify(path, lambda done, total: None)


def test_each_field_of_a_manifest_with_each_wrong_value(path, run):
    fields = manifest_of(path)
    ways = [(place, new) for place in places(fields) for new in WRONG if place != ("checksum",)]
    assert len(ways) > 3000
    refused = 0
    for number, (place, new) in enumerate(ways):
        write_manifest(path, changed(fields, place, new))
        try:
            directory.read_manifest(path)
        except FormatError as error:
            refused += 1
            assert f"index '{path}'" in str(error)
        else:
            look(path)
        if number % 211 == 0:
            code, _, err = run("info", path)
            assert code in (0, 1), (place, new)
            assert "Traceback" not in err
    # Free are the report of the build and what people read.
    free = len([1 for place, _ in ways if place[0] == "build"])
    assert len(ways) - free > refused > (len(ways) - free) * 0.93


def test_a_field_that_nobody_knows(path):
    fields = manifest_of(path)
    objects = [(), *(place for place in places(fields) if place[0] != "build")]
    for place in objects:
        value = fields
        for key in place:
            value = value[key]
        if isinstance(value, dict):
            write_manifest(path, changed(fields, (*place, "more"), 1))
            with pytest.raises(DamagedIndexError, match=r"more: no such field is known|more"):
                everygram.open(path)


@pytest.mark.parametrize(
    ("place", "new", "says"),
    [
        (("segments", 0, "sign"), True, "segments[0].sign: expected one of 1, -1, found true"),
        (("segments", 0, "num_tokens"), MISSING, "segments[0].num_tokens: missing"),
        (("segments", 0, "num_documents"), 0, "segments[0].num_documents: expected an integer"),
        (("segments", 0, "name"), "../other/segment-000001", "segments[0].name: expected segment-"),
        (("segments", 1, "name"), SEGMENT, "segments: two have one name"),
        (("segments", 0, "sign"), -1, "segments: num_documents: more are deleted than there are"),
        (("segments", 0, "files"), {}, "segments[0].files.document_offsets.bin: missing"),
        (("segments", 0, "key_bits"), 99, "segments[0].key_bits: expected an integer from 1 to"),
        (("next_document",), 0, "next_document: is not above those of segment-000001"),
        (("next_segment",), 1, "next_segment: is not above segment-000001"),
        (("dtype",), ["u8"], "dtype: expected one of u8, u16, u32, found an array"),
        (("separator",), 7, "separator: expected 65,535, found 7"),
        (("vocab_size",), 65536, "vocab_size: expected an integer from 0 to 65,535"),
        (("tokenizer", "kind"), "pickle", "tokenizer.kind: expected one of bytes, none"),
        (("tokenizer", "sha256"), None, "tokenizer.sha256: expected a string, found null"),
        (("segments",), {"0": {}}, "segments: expected an array, found an object"),
        (("segments", 0), 7, "segments[0]: expected an object, found 7"),
        (("build",), None, "build: expected an object, found null"),
        (("document_counts",), 1, "document_counts: expected true or false, found 1"),
        (("kind",), "psi", "kind: expected one of suffix-array, self-index, found"),
        (("kind",), "self-index", "sample_every: expected an integer from 1 to 65,536, found 0"),
        (("sample_every",), 32, "sample_every: expected 0, found 32"),
        (("segments", 0, "kind"), "psi", "segments[0].kind: expected one of suffix-array, self-in"),
        (("segments", 0, "kind"), "self-index", "segments[0].sample_every: expected an integer"),
        (("segments", 0, "sample_every"), 1, "segments[0].sample_every: expected 0, found 1"),
    ],
)
def test_a_manifest_is_refused_by_the_name_of_its_field(path, place, new, says):
    write_manifest(path, changed(manifest_of(path), place, new))
    with pytest.raises(DamagedIndexError) as error:
        everygram.open(path)
    assert says in str(error.value)
    assert "restore it or rebuild the index" in str(error.value)
    assert verify(path, lambda done, total: None) == [str(error.value)]


@pytest.fixture
def packed(tmp_path):
    """An index of one self-index: 4097 positions, all of them samples."""
    path = tmp_path / "packed"
    everygram.build([{"text": "a" * 4096}], path, kind="self-index", sample_every=1)
    return path


@pytest.mark.parametrize("size", [0, 8, 8 * fmt.PSI_ZEROS - 8, 8 * fmt.PSI_ZEROS + 1])
def test_psi_without_the_words_that_readers_rely_on(packed, size):
    content = (packed / SEGMENT / fmt.PSI).read_bytes()[:size].ljust(size, b"\0")
    (packed / SEGMENT / fmt.PSI).write_bytes(content)
    fields = manifest_of(packed)
    entry = {"bytes": size, "sha256": hashlib.sha256(content).hexdigest()}
    write_manifest(packed, changed(fields, ("segments", 0, "files", fmt.PSI), entry))
    with pytest.raises(DamagedIndexError, match=rf"psi.bin: {size:,} bytes, expected words of 8"):
        everygram.open(packed)


@pytest.mark.parametrize("spacing", [3, 256, 4096, 2**32])
def test_blocks_that_are_longer_than_readers_know(packed, spacing):
    # (Else `verify` would write the words of such blocks behind the memory for them.)
    number = -(-4097 // spacing)
    sizes = {
        fmt.PSI_BLOCKS: 8 * (number + -(-number // 16)),
        fmt.FENCES: 8 * fmt.fence_keys(4097, spacing),
    }
    fields = changed(manifest_of(packed), ("segments", 0, "fence_spacing"), spacing)
    for name, size in sizes.items():
        (packed / SEGMENT / name).write_bytes(bytes(size))
        fields["segments"][0]["files"][name] = {
            "bytes": size,
            "sha256": hashlib.sha256(bytes(size)).hexdigest(),
        }
    write_manifest(packed, fields)
    with pytest.raises(DamagedIndexError, match="fence_spacing: expected a power of 2 up to 128"):
        everygram.open(packed)


def test_as_many_words_of_zeros_as_readers_rely_on():
    assert fmt.PSI_ZEROS == psi.MOST_WORDS


@pytest.mark.parametrize("version", [True, 6.0, "6", None, [], -1, 2**70, 7])
def test_a_version_that_is_no_version(path, version):
    write_manifest(path, manifest_of(path) | {"format_version": version})
    with pytest.raises(
        FormatError, match="this version reads 1, 2, 3, 4, 5, 6; rebuild it or upgrade"
    ):
        everygram.open(path)


def test_a_segment_elsewhere_is_not_opened(path, tmp_path):
    other = shutil.copytree(path, tmp_path / "other")
    fields = manifest_of(path)
    for name in (
        f"../other/{SEGMENT}",
        str(other / SEGMENT),
        f"./{SEGMENT}",
        f"{SEGMENT}/",
        f"{SEGMENT}\n",
        "segment-٠٠٠٠٠١",
        "segment-1",
        "..",
    ):
        write_manifest(path, changed(fields, ("segments", 0, "name"), name))
        with pytest.raises(DamagedIndexError, match=r"segments\[0\].name: expected segment-"):
            everygram.open(path)


def test_files_elsewhere_are_not_opened(path):
    fields = manifest_of(path)
    files = fields["segments"][0]["files"]
    for name in ("/dev/zero", "/proc/self/environ", "../../0.jsonl", "more.bin", ""):
        more = files | {name: {"bytes": 0, "sha256": "0" * 64}}
        write_manifest(path, changed(fields, ("segments", 0, "files"), more))
        with pytest.raises(DamagedIndexError, match="no such field is known"):
            everygram.open(path)
        assert len(verify(path, lambda done, total: None)) == 1


def deep(levels):
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"a":' * 200_000,
        f'{{"format_version": 4, "checksum": "", "build": {deep(100_000)}}}'.encode(),
        f'{{"format_version": 4, "checksum": "", "build": {deep(600)}}}'.encode(),
        b'{"format_version": 4, "checksum": "\\ud800"}',
        b'{"format_version": 4, "checksum": NaN}',
        b'{"format_version": ' + b"9" * 5000 + b', "checksum": ""}',
        b'\xff\xfe{\0"\0',
        b"\0" * 4096,
        b"",
    ],
)
def test_a_manifest_that_is_hard_to_read(path, content):
    (path / fmt.MANIFEST).write_bytes(content)
    with pytest.raises(FormatError):
        everygram.open(path)
    look(path)


def test_a_manifest_whose_report_is_nested(path):
    fields = manifest_of(path)
    nested = {}
    for _ in range(150):
        nested = {"a": nested}
    write_manifest(path, changed(fields, ("build", "seconds"), nested))
    assert use(path)["num_documents"] == 2


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.relpath(path))  # (Of a whole path it takes some hundred bytes.)


# What is no regular file, by what makes it.
KINDS = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a socket": make_socket,
    "/dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "/dev/stdin": lambda path: path.symlink_to("/dev/stdin"),
    "/proc/self/environ": lambda path: path.symlink_to("/proc/self/environ"),
    "a link to a secret": lambda path: path.symlink_to(path.parents[-4] / "secret"),
    "a relative link to one": lambda path: path.symlink_to("../../secret"),
    "a link in a circle": lambda path: path.symlink_to(path.name),
    "a broken link": lambda path: path.symlink_to("nowhere"),
}
NAMES = [
    fmt.MANIFEST,
    fmt.TOKENIZER,
    *(f"{SEGMENT}/{name}" for name in fmt.FILES_OF_KIND[fmt.SUFFIX_ARRAY_KIND]),
    *(f"{SEGMENT}/{name}" for name in (*fmt.COMMON_FILES, fmt.DOCUMENT_COUNTS, fmt.CHECKSUMS)),
    SEGMENT,
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_file_of_the_index_is_not_opened(path, name, kind, monkeypatch):
    monkeypatch.chdir(path)
    target = path / name
    secret = path.parent / "secret"
    if target.is_dir():
        if kind == "a folder":
            return
        target.rename(secret)
    else:
        target.rename(secret)
    KINDS[kind](target) if "secret" not in kind else target.symlink_to(secret)
    uses = [everygram.open, lambda path: everygram.open(path, verify=True)]
    uses.append(lambda path: everygram.delete(path, documents=[0]))
    if name != fmt.TOKENIZER:  # which others have no need of
        uses += [lambda path: everygram.compact(path, full=True), directory.read_in]
    for use_it in uses:
        with pytest.raises((FormatError, BuildError)) as error:
            use_it(path)
        assert str(path) in str(error.value)
    with contextlib.suppress(FormatError):
        assert verify(path, lambda done, total: None) != []
    assert secret.exists()


def test_links_that_are_fine(path, tmp_path):
    sound = use(path) | {"path": None}
    # The folder itself, on another disk say.
    link = tmp_path / "link"
    link.symlink_to(path)
    assert use(link) | {"path": None} == sound
    everygram.compact(link, full=True)
    sound = use(path) | {"path": None}
    # Files that stay inside of it.
    folder = next(path.glob("segment-*"))
    for name in (fmt.TOKENS, fmt.METADATA):
        (folder / name).rename(path / name)
        (folder / name).symlink_to(f"../{name}")
    assert use(path) | {"path": None} == sound
    assert verify(path, lambda done, total: None) == []


def test_a_snapshot_in_the_cache_of_the_hub(path, tmp_path):
    """Its files are links to blobs, as huggingface_hub downloads them."""
    sound = use(path) | {"path": None}
    repository = tmp_path / "hub" / "datasets--me--index"
    blobs = repository / "blobs"
    snapshot = repository / "snapshots" / ("c0ffee" * 6) / "index"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(file for file in path.rglob("*") if file.is_file())):
        here = snapshot / file.relative_to(path)
        here.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, blobs / str(number))
        here.symlink_to(os.path.relpath(blobs / str(number), here.parent))
    assert use(snapshot) | {"path": None} == sound
    assert verify(snapshot, lambda done, total: None) == []
    # Beside the cache nothing is a blob.
    secret = tmp_path / "hub" / "secret"
    secret.write_bytes((path / SEGMENT / fmt.METADATA).read_bytes())
    (snapshot / SEGMENT / fmt.METADATA).unlink()
    (snapshot / SEGMENT / fmt.METADATA).symlink_to(secret)
    with pytest.raises(DamagedIndexError, match="a link out of the index"):
        everygram.open(snapshot)


@pytest.mark.parametrize("name", [fmt.MANIFEST, fmt.TOKENIZER, f"{SEGMENT}/{fmt.TOKENS}"])
def test_a_pointer_of_git_lfs(path, name):
    """A clone without Git LFS has these in the place of files."""
    (path / name).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{64 * '0'}\n")
    with pytest.raises(DamagedIndexError, match="fetch the files with 'git lfs pull'"):
        everygram.open(path)
    assert "git lfs pull" in verify(path, lambda done, total: None)[0]


@pytest.mark.parametrize(
    "content",
    [b"{}", b"[]", b"null", b'{"model": 7}', b'{"model": "@"}', b'{"model": ""}', b"[" * 100_000],
)
def test_a_sentencepiece_tokenizer_that_is_none(path, content):
    (path / fmt.TOKENIZER).write_bytes(content)
    tokenizer = {"kind": "sentencepiece", "source": "x", "query_prefix": ""}
    tokenizer["sha256"] = hashlib.sha256(content).hexdigest()
    write_manifest(path, manifest_of(path) | {"tokenizer": tokenizer})
    with everygram.open(path) as index:
        assert index.count([]) == 8 + 2
        with pytest.raises(TokenizerError, match="expected a SentencePiece model in JSON"):
            index.count("ab")


def test_a_vocabulary_smaller_than_the_ids(path):
    write_manifest(path, manifest_of(path) | {"vocab_size": 1})
    with everygram.open(path) as index:
        for ask in (
            lambda: index.count([97]),
            lambda: index.ntd([]).as_dict(),
            lambda: index.document(0).text,
        ):
            with pytest.raises((QueryError, DamagedIndexError)):
                ask()


@pytest.mark.parametrize("name", [fmt.MANIFEST, fmt.TOKENIZER])
def test_a_file_larger_than_any_is_not_read(path, name):
    with (path / name).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(DamagedIndexError, match=rf"{name}: 1,099,511,627,776 bytes, expected at m"):
        everygram.open(path)


def test_a_writer_follows_no_links(path, tmp_path):
    """Files that a writer is about to make are links to somebody's own."""
    mine = tmp_path / "mine"
    mine.write_text("mine")
    corpus = write_jsonl(tmp_path / "2.jsonl", [{"text": "ab"}])
    for name in (fmt.MANIFEST, fmt.DONE, fmt.BUILD):
        (path / (name + ".tmp")).symlink_to(mine)
    (path / fmt.DONE).symlink_to(mine)
    (path / fmt.BUILD).symlink_to(mine)
    everygram.add(path, corpus)
    assert everygram.open(path).num_documents == 3
    (path / fmt.LOCK).unlink()
    (path / fmt.LOCK).symlink_to(tmp_path / "made")
    with pytest.raises(BuildError):
        everygram.add(path, corpus)
    assert mine.read_text() == "mine"
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("stage", ["merge", "write"])
def test_each_field_of_a_build_state_with_each_wrong_value(tmp_path, monkeypatch, stage):
    """Of an addition that was interrupted; it goes on, begins anew or says what is wrong."""
    from everygram.building import external_sort

    monkeypatch.setattr(external_sort, "MIN_BLOCK", 8)
    small = {"memory": 1, "threads": 1}
    original = tmp_path / "original"
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "to be or not to be"}, {"text": "ab"}])
    everygram.build(corpus, original, **small)

    def interrupt(now):
        if now.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.add(original, corpus, progress=interrupt, **small)
    state = json.loads((original / fmt.BUILD).read_bytes())
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    ways = [(place, new) for place in places(state) for new in WRONG if place != ("checksum",)]
    ways += [(("folder",), new) for new in ("../outside", str(outside), SEGMENT, ".", "..")]
    assert len(ways) > 500
    ways = ways[:: sized(3, 1)]
    for number, (place, new) in enumerate(ways):
        fields = changed(state, place, new)
        fields.pop("checksum", None)
        fields["checksum"] = build_state._checksum(fields)
        (original / fmt.BUILD).write_text(json.dumps(fields))
        read = build_state.BuildState.read(original)
        # (Nothing but another folder's name, say, is as good as the right one.)
        if read is not None or number % 97 == 0:
            path = shutil.copytree(original, tmp_path / "copy")
            try:
                everygram.add(path, corpus, **small)
            except (BuildError, DamagedIndexError) as error:
                assert "--restart" in str(error)
                everygram.add(path, corpus, restart=True, **small)
            # What was written and in which order it sorts only a look at all of it tells.
            if place[-1] not in ("sha256", "blocks", "leftover", "end"):
                assert verify(path, lambda done, total: None) == [], (place, new)
                with everygram.open(path) as index:
                    assert index.count("to be") == 4
            shutil.rmtree(path)
        assert (outside / "file").read_text() == "mine"


@pytest.mark.parametrize("kind", KINDS)
def test_a_build_state_that_is_no_file(tmp_path, kind, monkeypatch):
    path = write_index(tmp_path / "index", [[1, 2]], "u8")
    monkeypatch.chdir(path)
    (tmp_path / "secret").write_text("{}")
    for name in (fmt.BUILD, fmt.DONE):
        if "secret" in kind:
            (path / name).symlink_to(tmp_path / "secret")
        else:
            KINDS[kind](path / name)
    assert build_state.BuildState.read(path) is None
    assert build_state.Done.read(path) is None
    assert (tmp_path / "secret").read_text() == "{}"


@pytest.mark.parametrize("levels", [100, 253, 254, 255, 299])
def test_metadata_nested_as_deep_as_a_build_reads(tmp_path, levels):
    record = f'{{"text": "ab", "a": {deep(levels)}}}\n'
    (tmp_path / "c.jsonl").write_text(record)
    path = tmp_path / "index"
    everygram.build(tmp_path / "c.jsonl", path)

    def shown(more):
        if more:
            return shown(more - 1)
        with everygram.open(path) as index:
            return index.engine.document(0)[1]

    # However deep the caller is already.
    for more in (0, 300, 600):
        found, depth = shown(more)["a"], 1
        while found:
            found, depth = found[0], depth + 1
        assert depth == levels
    assert verify(path, lambda done, total: None) == []
    assert next(everygram.open(path).engine.documents())[0] == 0


def test_metadata_nested_deeper_than_python_reads(tmp_path):
    """As another Python, or another program, may have written it."""
    metadata = f'{{"a": {deep(100_000)}}}'.encode()
    path = tmp_path / "index"
    everygram.build(write_jsonl(tmp_path / "c.jsonl", [{"text": "ab"}, {"text": "b"}]), path)
    folder = path / SEGMENT
    (folder / fmt.METADATA).write_bytes(metadata + b"{}")
    offsets = np.array([0, len(metadata), len(metadata) + 2], "<u8")
    (folder / fmt.METADATA_OFFSETS).write_bytes(offsets.tobytes())
    fields = manifest_of(path)
    for name in (fmt.METADATA, fmt.METADATA_OFFSETS):
        fields["segments"][0]["files"][name]["bytes"] = (folder / name).stat().st_size
    del fields["segments"][0]["files"][fmt.CHECKSUMS]
    write_manifest(path, fields)
    from unittest import mock

    with mock.patch.object(directory, "CHECKED_AT_ONCE", 0), everygram.open(path) as index:
        with pytest.raises(FormatError, match="document 0: nested deeper than Python reads JSON"):
            index.document(0)
        assert index.document(1).metadata == {}
        assert index.count("b") == 2
        (segment,) = index.engine.segments
        assert segment.metadata_json(0) == metadata
    assert any("nested deeper" in each for each in verify(path, lambda done, total: None))
