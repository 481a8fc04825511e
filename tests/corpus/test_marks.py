"""Documents that separators mark: both ways and doubled, in files and in the shards of a stream."""

import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_tokens import (
    parts,
    write_datatrove,
    write_dolma,
    write_fairseq,
    write_llmc,
    write_megatron,
)

import everygram
from everygram.corpus.tokens import TokenCorpus

B = 9
# How documents are written one after the other, by name.
STYLES = {
    "start": ([B], []),
    "end": ([], [B]),
    "both": ([B], [B]),
    "start twice": ([B, B], []),
    "end twice": ([], [B, B]),
}
DOUBLED = ("both", "start twice", "end twice")


def joined(documents, style):
    before, after = STYLES[style]
    return [token for document in documents for token in (*before, *document, *after)]


def write_raw(folder, name, ids):
    np.array(ids, "<u2").tofile(folder / f"{name}.bin")


def write_numpy(folder, name, ids):
    np.save(folder / f"{name}.npy", np.array(ids, "<i4"))


def write_headerless(folder, name, ids):
    np.array(ids, "<u2").tofile(folder / f"{name}.npy")


WRITERS = {
    "raw u16": write_raw,
    "NumPy": write_numpy,
    "Dolma": write_headerless,
    "llm.c": lambda folder, name, ids: write_llmc(folder / f"{name}.bin", ids),
}
OPTIONS = {"dtype": "u16", "separator_id": B}


def read(*paths, chunk=None, **options):
    corpus = TokenCorpus(list(paths), **OPTIONS | options)
    corpus.CHUNK = chunk or corpus.CHUNK
    documents = [document.ids.tolist() for document in corpus]
    assert corpus.bytes_read == corpus.total_bytes
    return documents


def formats(*paths):
    return TokenCorpus(list(paths), **OPTIONS).formats


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("style", DOUBLED)
@pytest.mark.parametrize(
    "documents",
    [
        [[1], [1]],
        [[1, 2], [3], [1, 2, 3]],
        [[1], [], [2]],
        [[1], [2], [], [], [3, 4], [5]],
        [[1], [], [2], []],
    ],
)
def test_separators_at_both_ends_or_twice_at_one(tmp_path, kind, style, documents):
    WRITERS[kind](tmp_path, "a", joined(documents, style))
    for chunk in (1, 2, 3, 5, None):
        assert read(tmp_path, chunk=chunk) == documents
    assert formats(tmp_path) == {f"{kind} (separators doubled)": 1}
    corpus = TokenCorpus([tmp_path], **OPTIONS)
    assert corpus.max_id() == max(itertools.chain(*documents))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("style", ["start", "end"])
@pytest.mark.parametrize(
    "documents", [[[1], [1]], [[1], [], [2], [3]], [[1], [2], [], [], [3]], [[1, 2], [3]]]
)
def test_separators_that_are_not_doubled_everywhere(tmp_path, kind, style, documents):
    WRITERS[kind](tmp_path, "a", joined(documents, style))
    assert read(tmp_path) == documents
    assert formats(tmp_path) == {kind: 1}


def test_one_document_with_a_separator_at_each_end(tmp_path):
    """One file alone may have a second document of no ids; several do not all."""
    for name in ("alice", "moby"):
        write_raw(tmp_path, name, [B, 1, 2, B])
    assert read(tmp_path / "alice.bin") == [[1, 2], []]
    assert read(tmp_path) == [[1, 2], [1, 2]]
    assert formats(tmp_path) == {"raw u16 (separators doubled)": 2}
    write_raw(tmp_path, "dracula", joined([[1], [2]], "both"))
    assert read(tmp_path) == [[1, 2], [1], [2], [1, 2]]
    write_raw(tmp_path, "emma", joined([[1], [2]], "start"))
    assert read(tmp_path) == [[1, 2], [], [1], [2], [1], [2], [1, 2], []]
    for name in ("alice", "moby", "dracula", "emma"):
        (tmp_path / f"{name}.bin").unlink()
    for number in range(4):  # one stream
        write_raw(tmp_path, f"book{number}", [B, number, B])
    assert read(tmp_path) == [[0], [1], [2], [3]]
    for ids, documents in (([B], [[]]), ([B, B], [[], []]), ([], [])):
        write_raw(tmp_path, "alone", ids)
        assert read(tmp_path / "alone.bin") == documents


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_shards_of_any_length_are_the_stream(tmp_path_factory, data):
    """Cut anywhere, between two separators, too, a stream has the documents of the whole."""
    kind = data.draw(st.sampled_from([*WRITERS]))
    style = data.draw(st.sampled_from([*STYLES]))
    ids = st.lists(st.integers(0, 8), max_size=5)
    documents = [[1], *data.draw(st.lists(ids, max_size=6)), [2], [3]]
    stream = joined(documents, style)
    cuts = data.draw(st.sets(st.integers(0, len(stream)), max_size=4))
    if kind == "NumPy":  # (as wide as those of its name elsewhere: 4 bytes)
        assert max(stream) < 2**31
    folder = tmp_path_factory.mktemp("shards")
    edges = [0, *sorted(cuts), len(stream)]
    first = data.draw(st.integers(0, 12))
    for number, (start, end) in enumerate(itertools.pairwise(edges), first):
        WRITERS[kind](folder, f"part_{number}", stream[start:end])
    assert read(folder, chunk=data.draw(st.integers(1, 6))) == documents
    corpus = TokenCorpus([folder], **OPTIONS)
    assert corpus.total_tokens == len(stream)
    assert sum(corpus.formats.values()) == len(edges) - 1
    (said,) = corpus.formats
    through = any(B not in stream[cut - 1 : cut + 1] for cut in cuts - {0, len(stream)})
    assert ("run on" in said) == through
    assert ("doubled" in said) == (style in DOUBLED)


@pytest.mark.parametrize("kind", [kind for kind in WRITERS if kind != "llm.c"])
def test_some_shards_of_one_length_from_the_middle(tmp_path, kind):
    """As build-nanogpt writes them: the first of train goes on from the one of val."""
    documents = [[i] * (i + 1) for i in range(9)]
    stream = joined([document or [8] for document in documents], "start")
    shards = parts(stream, 10)[1:]
    assert B not in (shards[0][0], shards[-1][-1])
    for number, shard in enumerate(shards, 1):
        WRITERS[kind](tmp_path, f"edufineweb_train_{number:06d}", shard)
    text = "".join(map(str, itertools.chain(*shards)))
    assert read(tmp_path) == [[*map(int, document)] for document in text.split(str(B))]
    assert formats(tmp_path) == {f"{kind} (documents run on into the next file)": len(shards)}


def test_files_that_are_documents_of_their_own(tmp_path):
    """Without separators at all, or of several lengths that neither start nor end with one."""
    for number, ids in enumerate([[1, 2], [3, 4], [5, 6]]):
        write_raw(tmp_path, f"book{number}", ids)
    assert read(tmp_path) == [[1, 2], [3, 4], [5, 6]]
    # Which may be another separator's: it is said.
    assert formats(tmp_path) == {"raw u16 (no separators found)": 3}
    for number, ids in enumerate([[1, B, 2], [3, 4, B, 5], [6, B, 7, 8]]):
        write_raw(tmp_path, f"book{number}", ids)
    assert read(tmp_path) == [[1], [2], [3, 4], [5], [6], [7, 8]]
    assert formats(tmp_path) == {"raw u16": 3}


def test_a_long_document_and_empty_files_in_a_series(tmp_path):
    for number, ids in enumerate([[], [1, 2], [], [3, 4], [], [5, B], []]):
        write_raw(tmp_path, f"s{number}", ids)
    assert read(tmp_path) == [[1, 2, 3, 4, 5]]
    write_raw(tmp_path, "s5", [])
    assert read(tmp_path) == [[1, 2], [3, 4]]
    write_raw(tmp_path, "s3", [])
    write_raw(tmp_path, "s1", [1, B, 2])
    assert read(tmp_path) == [[1], [2]]
    for number, ids in enumerate([[1], [2], [3]], 1):
        write_llmc(tmp_path / f"s{number}.bin", ids)
    assert read(tmp_path) == [[1, 2, 3]]


def test_names_that_number_a_series(tmp_path):
    first, second = [B, 1, B, 2], [3, B, 4]

    def both(one, other):
        for path in tmp_path.iterdir():
            path.unlink()
        np.array(first, "<u2").tofile(tmp_path / one)
        np.array(second, "<u2").tofile(tmp_path / other)
        return read(tmp_path / other, tmp_path / one)

    together = [[1], [2, 3], [4]]
    for one, other in [
        ("a9.bin", "a10.bin"),
        ("tokenized.0", "tokenized.1"),
        ("train-00000-of-00002.bin", "train-00001-of-00002.bin"),
        ("10B_shard_0007.u16", "10B_shard_0008.u16"),
        ("part-3-00000.npy", "part-3-00001.npy"),
    ]:
        assert both(one, other) == together
    for one, other in [
        ("a1.bin", "a3.bin"),
        ("a1.bin", "b2.bin"),
        ("train.bin", "val.bin"),
        ("a1.bin", "a2.dat"),
        ("train-00000-of-00002.bin", "train-00001-of-00003.bin"),
    ]:
        assert sorted(both(one, other)) == sorted([[1], [2], [3], [4]])


def test_files_of_several_kinds_are_no_series(tmp_path):
    write_raw(tmp_path, "a1", [B, 1, B, 2])
    write_llmc(tmp_path / "a2.bin", [3, B, 4])
    write_numpy(tmp_path, "b1", [B, 1, B, 2])
    np.save(tmp_path / "b2.npy", np.array([3, B, 4], "<u2"))
    assert read(tmp_path) == [[1], [2], [3], [4]] * 2


def test_a_shard_that_is_left_out_joins_nothing(tmp_path):
    for number, ids in enumerate([[B, 1], [2, 3], [4, B, 5]]):
        write_numpy(tmp_path, f"s{number}", ids)
    assert read(tmp_path) == [[1, 2, 3, 4], [5]]
    np.save(tmp_path / "s1.npy", np.array([2, -3], "<i4"))
    corpus = TokenCorpus([tmp_path], **OPTIONS, on_error="skip")
    assert [document.ids.tolist() for document in corpus] == [[1], [4], [5]]
    assert (corpus.skipped, sum(corpus.formats.values())) == (1, 2)


def test_the_path_of_a_document_is_of_the_file_it_starts_in(tmp_path):
    for number, ids in enumerate([[B, 1], [2, B, 3], [4], [5, B, 6]]):
        write_raw(tmp_path, f"s{number}", ids)
    found = [
        json.loads(document.metadata)["path"] for document in TokenCorpus([tmp_path], **OPTIONS)
    ]
    assert found == ["s0.bin", "s1.bin", "s3.bin"]


def test_an_index_of_documents_that_begin_and_end_with_the_same_id(tmp_path):
    """Three documents, not six; after a start the first id comes in two of three."""
    write_raw(tmp_path, "ids", joined([[1, 2], [1, 3], [4]], "both"))
    options = {"pretokenized": "u16", "separator_id": B}
    plan = everygram.plan(tmp_path / "ids.bin", tmp_path / "index", **options)
    assert plan.formats == {"raw u16 (separators doubled)": 1}
    report = everygram.build(tmp_path / "ids.bin", tmp_path / "index", **options)
    assert (report.num_documents, report.formats) == (3, plan.formats)
    with everygram.open(tmp_path / "index") as index:
        assert index.count([index.separator]) == index.num_documents == 3
        prob = index.prob([index.separator, 1])
        assert (prob.continuation_count, prob.prompt_count) == (2, 3)
        assert index.count([index.separator, index.separator]) == 0


def test_the_command_line_says_how_documents_are_marked(tmp_path, run):
    write_raw(tmp_path, "s0", [B, 1, B, 2])
    write_raw(tmp_path, "s1", [3, B, 4])
    options = ("--pretokenized", "u16", "--separator-id", B, "--out", tmp_path / "x")
    code, out, err = run("build", tmp_path, *options, "--dry-run")
    assert code == 0
    assert "2 × raw u16 (documents run on into the next file)" in out + err
    code, out, err = run("build", tmp_path, *options)
    assert code == 0
    assert "files                   2 × raw u16 (documents run on into the next file)" in out + err


# Where documents are recorded.

RECORDED = {
    "Megatron": lambda folder, documents: write_megatron(
        folder / "a.bin", [[document] for document in documents]
    ),
    "fairseq": lambda folder, documents: write_fairseq(folder / "a.bin", documents),
    "datatrove": lambda folder, documents: write_datatrove(folder / "a.ds", documents),
    "Dolma": lambda folder, documents: write_dolma(folder / "a.npy", documents),
}


@pytest.mark.parametrize("kind", RECORDED)
@pytest.mark.parametrize("style", [*STYLES, "both twice"])
def test_separators_at_the_ends_of_recorded_documents(tmp_path, kind, style):
    before, after = STYLES.get(style, ([B, B], [B, B]))
    documents = [[1, B, 2], [3], [B + 1, B, B, 4], [5]]
    RECORDED[kind](tmp_path, [[*before, *document, *after] for document in documents])
    for chunk in (1, 3, None):
        assert read(tmp_path, chunk=chunk) == documents
    twice = " (separators doubled)" if "twice" in style else ""
    assert formats(tmp_path) == {f"{kind}{twice}": 1}
    # Not said to be a separator, it is an id as any.
    kept = [[*before, *document, *after] for document in documents]
    assert read(tmp_path, separator_id=None) == kept


@pytest.mark.parametrize("kind", RECORDED)
def test_recorded_documents_that_do_not_all_have_two(tmp_path, kind):
    RECORDED[kind](tmp_path, [[1, B, B], [B, B], [], [B, 2, B], [B, B, 3]])
    assert read(tmp_path) == [[1, B], [], [], [2], [B, 3]]
    assert formats(tmp_path) == {kind: 1}
    RECORDED[kind](tmp_path, [])
    assert formats(tmp_path) == {kind: 1}


def test_rows_that_begin_and_end_with_a_separator(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[B, 1, 2, B], [B, 3, B, B]], "<u2"))
    assert read(tmp_path) == [[1, 2], [3, B]]
    corpus = TokenCorpus([tmp_path], separator_id=B)
    with pytest.raises(everygram.CorpusError, match=r"token 5 is 3, which is outside it"):
        corpus.check_ids(3, "it")


def test_many_documents_by_brute_force(tmp_path):
    """Random streams of few ids: what is no doubled stream is read as its first id says."""
    rng = random.Random(0)
    seen = set()
    for _ in range(3000):
        ids = rng.choices([B, 1, 2], k=rng.randrange(12))
        write_raw(tmp_path, "a", ids)
        text = "".join(map(str, ids))
        expected = by_hand(text, str(B))
        seen.add(expected[0])
        assert read(tmp_path) == [[*map(int, document)] for document in expected[1]], text
    assert seen == {"start", "end", "doubled"}


def by_hand(text, mark):
    """How documents are marked, and the documents, by the words of the documentation."""
    runs = [len(run) for run in "".join(" " if c != mark else c for c in text).split()]
    ids = text.replace(mark, "")
    lead = len(text) - len(text.lstrip(mark))
    trail = len(text) - len(text.rstrip(mark)) if ids else 0
    between = runs[bool(lead) : len(runs) - bool(trail)] if ids else []
    paired = between and all(run % 2 == 0 for run in between)
    doubled = paired and lead + trail > 0 and lead % 2 == trail % 2
    if doubled:
        if lead % 2:
            pieces = text[1:-1].split(mark * 2)
        else:
            pieces = text.split(mark * 2)
            pieces = pieces[1:] if lead else pieces[:-1]
        return "doubled", pieces
    if lead:
        return "start", text.split(mark)[1:]
    pieces = text.split(mark)
    return "end", pieces if pieces[-1] else pieces[:-1]
