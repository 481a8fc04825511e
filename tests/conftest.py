import contextlib
import hashlib
import io
import itertools
import json
import os
import sys
from unittest import mock

import numpy as np
import pytest
from hypothesis import settings

from campaign import CAMPAIGN, sized

# No test reaches the hub. (Its library looks when it is imported.)
os.environ["HF_HUB_OFFLINE"] = "1"

import everygram
from everygram.building import indexer, stages
from everygram.building.external_sort import write_suffix_array
from everygram.cli import app as cli
from everygram.kernels import INTERPRETED
from everygram.storage import format as fmt
from everygram.storage.directory import new_index, publish
from everygram.storage.psi_writer import write_self_index
from everygram.storage.segment_writer import (
    SegmentWriter,
    finish_segment,
    finish_self_index,
    write_document_counts,
)

# What hypothesis draws is the same in every run of the tests, another in every campaign.
settings.register_profile("sample", derandomize=True)
if not CAMPAIGN:
    settings.load_profile("sample")


def write_index(
    path,
    documents,
    dtype,
    segments=1,
    vocab_size=None,
    deleted=(),
    metadata=None,
    counts=True,
    kinds=None,
):
    """An index of id lists in that many segments (some empty of documents are left out).

    kinds: the kinds of the segments in turn (see the fixture `kinds`).
    deleted: numbers of documents, a list for each segment of deleted ones. metadata: an object for
    each document. counts: whether there are document counts; or a list that says so for each
    segment.
    """
    # What a test reads at once need not outlive a power cut: nine tenths of the time.
    with mock.patch.object(os, "fsync"):
        given = documents, dtype, segments, vocab_size, deleted, metadata, counts
        return _write_index(path, *given, itertools.cycle(kinds or KINDS))


# The kinds of segments that are written in turn, and samples per position where there are any.
KINDS = [fmt.SUFFIX_ARRAY_KIND]
SAMPLE_EVERY = 3
IN_TURN = {
    "suffix-array": [fmt.SUFFIX_ARRAY_KIND],
    "self-index": [fmt.SELF_INDEX_KIND],
    "mixture": [fmt.SELF_INDEX_KIND, fmt.SUFFIX_ARRAY_KIND],
}
# Ranks in a block of a self-index: so few that a small index has many.
BLOCKS = {"self-index": 2, "mixture": 8}


@contextlib.contextmanager
def written_as(name):
    """What `write_index` writes is of these kinds in turn; what is built, of the first.

    (A build that says its kind has its way. What is added to an index is a suffix array.)
    """
    kinds = IN_TURN[name]

    def kind_given(kind, sample_every):
        if kind is None and sample_every is None:
            kind = kinds[0]
        return stages.kind_given(kind, sample_every)

    with (
        mock.patch.object(sys.modules[__name__], "KINDS", kinds),
        mock.patch.object(indexer, "kind_given", kind_given),
        mock.patch.object(fmt, "PSI_BLOCK", BLOCKS.get(name, fmt.PSI_BLOCK)),
    ):
        yield name


# (Interpreted kernels are some hundred times slower. A mixture has both kinds.)
RUN_OVER = ["mixture"] if INTERPRETED else sized(["suffix-array", "mixture"], list(IN_TURN))


@pytest.fixture(scope="module", params=RUN_OVER)
def kinds(request):
    """Runs a module's tests over indexes of either kind, and of both in turn.

    (A mixture begins with a self-index: of one segment it is nothing else.)
    A fixture of a wider scope than a test's that writes an index takes this one: else what it wrote
    first, of the first kind, stays for all of them.
    """
    with written_as(request.param):
        yield request.param


# Where no kind is asked for: EVERYGRAM_KINDS, in a campaign; else suffix arrays.
KIND_EVERYWHERE = os.environ.get("EVERYGRAM_KINDS", "suffix-array")


@pytest.fixture(scope="session", autouse=True)
def kinds_everywhere():
    with written_as(KIND_EVERYWHERE):
        yield


def _write_index(path, documents, dtype, segments, vocab_size, deleted, metadata, counts, kinds):
    if isinstance(counts, bool):
        counts = [counts] * (segments + len(deleted))
    cuts = [len(documents) * i // segments for i in range(segments + 1)]
    entries = []
    with new_index(path):
        for start, end in itertools.pairwise(cuts):
            if start == end:
                continue
            some, kept = documents[start:end], metadata and metadata[start:end]
            given = path, some, dtype, len(entries), start, counts, 1, next(kinds), kept
            entries.append(_write_segment(*given))
        for numbers in filter(None, deleted):
            gone = [documents[number] for number in numbers]
            numbers = np.array(numbers)
            given = path, gone, dtype, len(entries), numbers, counts, -1
            entries.append(_write_segment(*given, fmt.SUFFIX_ARRAY_KIND))
        publish(
            path,
            fmt.Manifest(
                dtype=dtype,
                separator=fmt.separator_of(dtype),
                vocab_size=fmt.separator_of(dtype) if vocab_size is None else vocab_size,
                tokenizer=fmt.TokenizerEntry("none", "none", None, ""),
                segments=tuple(entries),
                build={},
                next_document=len(documents),
                next_segment=len(entries) + 1,
            ),
            None,
        )
    return path


def _write_segment(path, documents, dtype, before, numbers, counts, sign, kind, metadata=None):
    folder = path / fmt.segment_name(before + 1)
    writer = SegmentWriter(folder, dtype)
    for document, kept in zip(documents, metadata or [{}] * len(documents), strict=True):
        writer.add(as_ids(document, dtype), json.dumps(kept).encode())
    files, length = writer.close(), writer.stream_len
    write_suffix_array(folder, dtype, length, [], 0, 1, lambda done, total: None)
    if counts[before]:
        files[fmt.DOCUMENT_COUNTS] = write_document_counts(
            folder, dtype, length, len(documents), 0, 1, lambda done, total: None
        )
    if kind == fmt.SUFFIX_ARRAY_KIND:
        return finish_segment(
            folder, dtype, length, len(documents), files, lambda done, total: None, numbers, sign
        )
    del files[fmt.TOKENS]
    files |= write_self_index(
        folder, dtype, length, len(documents), SAMPLE_EVERY, 0, 1, lambda done, total: None
    )
    return finish_self_index(folder, length, len(documents), SAMPLE_EVERY, files, numbers)


def with_checksum(fields):
    """The bytes of a manifest of these fields, whatever they are, with a checksum that fits."""

    def dump(fields):
        return json.dumps(fields, indent=2, sort_keys=True, ensure_ascii=False).encode() + b"\n"

    fields = {name: value for name, value in fields.items() if name != "checksum"}
    return dump(fields | {"checksum": hashlib.sha256(dump(fields)).hexdigest()})


def as_ids(document, dtype):
    return np.array(document, fmt.TOKEN_DTYPES[dtype])


def write_jsonl(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture(scope="session")
def texts():
    return [
        "natural language processing with natural language models",
        "the quick brown fox jumps over the lazy dog",
        "",
        "natural language",
        "héllo wörld — 日本語のテキスト 😀",
        "the the the the the",
    ]


@pytest.fixture(scope="session")
def text_index(tmp_path_factory, texts):
    """A bytes index of a few documents with metadata, of one kind whoever asks for it first."""
    folder = tmp_path_factory.mktemp("text")
    records = [{"text": text, "id": i, "lang": "en"} for i, text in enumerate(texts)]
    corpus = write_jsonl(folder / "corpus.jsonl", records)
    with written_as(KIND_EVERYWHERE):
        everygram.build(corpus, folder / "index")
    with everygram.open(folder / "index") as index:
        yield index


@pytest.fixture(scope="session")
def path(text_index):
    """The folder of `text_index`; what its queries need is compiled, and nothing more is said."""
    text_index.warm_up()
    return text_index.path


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process; returns exit code, output, error output."""

    def run(*arguments, stdin=""):
        monkeypatch.setattr(sys, "argv", ["everygram", *map(str, arguments)])
        given = stdin if isinstance(stdin, bytes) else stdin.encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
        code = 0
        try:
            cli.main()
        except SystemExit as left:
            code = left.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
