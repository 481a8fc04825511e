"""Index folders of infini-gram's become the index that a build of the same documents makes."""

import json
import random
import shutil

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.errors import BuildError, CorpusError, FormatError, OptionError, TokenizerError
from everygram.storage import format as fmt
from everygram.storage.verify import verify
from shards import write_shard

WIDTHS = {"u8": 1, "u16": 2, "u32": 4}
# Little-endian bytes sort these otherwise than numbers.
IDS = {
    "u8": [1, 2, 97, 254],
    "u16": [1, 255, 256, 257, 511, 65280, 65534],
    "u32": [1, 255, 256, 257, 65536, 65535, 0x01000000, 0xFFFFFFFE],
}
# In blocks, which are merged.
SMALL = {"memory": 1, "threads": 2}


def some_documents(dtype, number, seed=0):
    """Empty ones, equal ones, and others."""
    rng = random.Random(f"{dtype} {seed}")
    documents = [rng.choices(IDS[dtype], k=rng.randrange(8)) for _ in range(number)]
    return documents + documents[: number // 3] + [[]]


def write_folder(folder, documents, dtype, shards, metadata=None, version=4):
    """Documents cut into shards of consecutive ones."""
    cuts = [len(documents) * shard // shards for shard in range(shards + 1)]
    for shard in range(shards):
        mine = slice(cuts[shard], cuts[shard + 1])
        name = f".{shard}" if version == 4 else ""
        write_shard(
            folder,
            documents[mine],
            WIDTHS[dtype],
            name,
            None if metadata is None else metadata[mine],
        )
    return folder


def lines_of(documents, metadata, shards):
    """The metadata that `write_folder` writes."""
    cuts = [len(documents) * shard // shards for shard in range(shards + 1)]
    return [
        {"path": "c.jsonl", "linenum": i, "metadata": each}
        for shard in range(shards)
        for i, each in enumerate(metadata[cuts[shard] : cuts[shard + 1]])
    ]


def words(tmp_path, ids):
    """A tokenizer whose tokens are the numbers of ids, and its path."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({str(token): token for token in ids}, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def files_of(index, without=()):
    """Every file of an index; of its manifest all but what says how it was built."""
    files = {
        str(path.relative_to(index)): path.read_bytes()
        for path in index.rglob("*")
        if path.is_file() and path.name not in {fmt.LOCK, *without}
    }
    manifest = json.loads(files.pop(fmt.MANIFEST))
    del manifest["build"], manifest["checksum"]
    for segment in manifest["segments"]:
        for name in without:
            segment["files"].pop(name, None)
    return files, manifest


OF_METADATA = (fmt.METADATA, fmt.METADATA_OFFSETS, fmt.CHECKSUMS)


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("dtype", WIDTHS)
def test_it_is_the_index_that_a_build_of_the_ids_makes(tmp_path, dtype, shards, counts):
    documents = some_documents(dtype, 30)
    folder = write_folder(tmp_path / "v4", documents, dtype, shards)
    report = everygram.convert(folder, tmp_path / "index", document_counts=counts)
    assert (report.num_documents, report.num_tokens) == (41, sum(map(len, documents)))
    assert report.formats == {"infini-gram": shards}
    # `build` reads the same ids as a stream, but says of each document in which file it was.
    ids = [folder / f"tokenized.{shard}" for shard in range(shards)]
    everygram.build(
        ids,
        tmp_path / "built",
        pretokenized=dtype,
        separator_id=fmt.separator_of(dtype),
        document_counts=counts,
    )
    built = files_of(tmp_path / "built", OF_METADATA)
    assert files_of(tmp_path / "index", OF_METADATA) == built
    assert verify(tmp_path / "index", lambda done, total: None) == []
    with everygram.open(tmp_path / "index") as index:
        assert [ids.tolist() for _, ids, _ in index.engine.documents()] == documents
        assert {str(data) for _, _, data in index.engine.documents()} == {"{}"}


@pytest.mark.parametrize("counts", [True, False])
@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("dtype", WIDTHS)
def test_with_a_tokenizer_and_metadata_it_is_that_of_the_texts(tmp_path, dtype, shards, counts):
    ids = IDS[dtype] if dtype != "u32" else [token for token in IDS[dtype] if token < 1 << 30]
    documents = [[token for token in each if token in ids] for each in some_documents(dtype, 30, 1)]
    metadata = [{"n": n, "é": [None, "ü\n\u2028", 1.5, 10**30]} for n in range(len(documents))]
    folder = write_folder(tmp_path / "v4", documents, dtype, shards, metadata)
    tokenizer = words(tmp_path, ids)
    records = [
        {"text": " ".join(map(str, document))} | line
        for document, line in zip(documents, lines_of(documents, metadata, shards), strict=True)
    ]
    corpus = write_jsonl(tmp_path / "corpus.jsonl", records)
    options = {"document_counts": counts}
    everygram.build(corpus, tmp_path / "built", tokenizer, **options)
    everygram.convert(folder, tmp_path / "index", tokenizer, **options)
    assert files_of(tmp_path / "index") == files_of(tmp_path / "built")
    with everygram.open(tmp_path / "index") as index:
        assert index.document(2).metadata == {
            "path": "c.jsonl",
            "linenum": 2,
            "metadata": metadata[2],
        }


def test_the_bytes_of_texts(tmp_path):
    texts = ["natural language", "", "ü 日", "natural"]
    documents = [[*text.encode()] for text in texts]
    folder = write_folder(tmp_path / "v4", documents, "u8", 2)
    everygram.build(({"text": text} for text in texts), tmp_path / "built")
    everygram.convert(folder, tmp_path / "index", "bytes")
    assert files_of(tmp_path / "index") == files_of(tmp_path / "built")


def test_in_blocks_it_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("everygram.building.external_sort.MIN_BLOCK", 20)
    monkeypatch.setattr("everygram.building.external_sort.MAX_BLOCK", 40)
    folder = write_folder(tmp_path / "v4", some_documents("u16", 60), "u16", 3)
    stages = []
    everygram.convert(
        folder, tmp_path / "blocks", **SMALL, progress=lambda p: stages.append(p.stage)
    )
    assert [*dict.fromkeys(stages)] == ["read", "sort", "merge", "count", "write", "publish"]
    monkeypatch.undo()
    everygram.convert(folder, tmp_path / "index")
    assert files_of(tmp_path / "blocks") == files_of(tmp_path / "index")


def test_documents_are_numbered_by_folders_and_shards(tmp_path):
    documents = some_documents("u16", 40)
    places = []
    for number in range(3):
        mine = documents[number * 18 : number * 18 + 18]
        metadata = None if number == 1 else [{"folder": number}] * len(mine)
        # Eleven shards: 10 comes after 9.
        write_folder(
            tmp_path / f"{number}", mine, "u16", [11, 1, 1][number], metadata, [4, 4, 6][number]
        )
        places.append(tmp_path / f"{number}")
    everygram.convert(places, tmp_path / "index")
    with everygram.open(tmp_path / "index") as index:
        found = [(ids.tolist(), data) for _, ids, data in index.engine.documents()]
    assert [ids for ids, _ in found] == documents
    folders = [data["metadata"]["folder"] if data else 1 for _, data in found]
    assert folders == [number // 18 for number in range(len(documents))]


def test_checks_go_over_the_bounds_of_pieces(tmp_path, monkeypatch):
    documents = some_documents("u16", 50)
    folder = write_folder(tmp_path / "v4", documents, "u16", 2)
    everygram.convert(folder, tmp_path / "whole")
    for most in ({"DOCUMENTS": 1}, {"DOCUMENTS": 3, "TOKENS": 5}, {"TOKENS": 1}):
        for name, value in most.items():
            monkeypatch.setattr(f"everygram.corpus.infini_gram.ShardCorpus.{name}", value)
        path = tmp_path / str(most)
        everygram.convert(folder, path)
        assert files_of(path) == files_of(tmp_path / "whole")


DOCUMENTS = [[1, 2, 3], [], [256, 1], [1, 2, 3], [7]]


def offsets(change):
    def apply(folder):
        path = folder / "offset.0"
        numbers = np.fromfile(path, "<u8")
        change(numbers)
        numbers.tofile(path)

    return apply


def tokens(change):
    def apply(folder):
        path = folder / "tokenized.0"
        ids = np.fromfile(path, "<u2")
        change(ids)
        ids.tofile(path)

    return apply


def put(place, value):
    def change(numbers):
        numbers[place] = value

    return change


def swapped(numbers):
    numbers[[1, 2]] = numbers[[2, 1]]


# What is done to a folder of these documents, and what is said of it.
DAMAGE = {
    "a separator inside a document": (
        tokens(put(2, 65535)),
        r"tokenized.0: token 2: a separator, but no document begins there",
    ),
    "a separator that is gone": (tokens(put(5, 9)), r"tokenized.0"),
    "a document that begins elsewhere": (offsets(put(2, 8)), r"offset.0|tokenized.0"),
    "an odd offset": (offsets(put(2, 11)), r"offset.0"),
    "an offset past the end": (offsets(put(4, 1 << 20)), r"offset.0"),
    "an offset past all numbers": (offsets(put(2, 2**64 - 2)), r"offset.0"),
    "documents in another order": (offsets(swapped), r"offset.0"),
    "a document twice": (offsets(put(2, 8)), r"offset.0|tokenized.0"),
    "no first document": (offsets(put(0, 2)), r"offset.0"),
    "no table": (lambda folder: (folder / "table.0").unlink(), r"table.0: missing"),
    "a table cut off": (
        lambda folder: (folder / "table.0").write_bytes(b"\0"),
        r"table.0: 1 bytes do not go with tokenized.0",
    ),
    "fewer documents": (
        lambda folder: np.fromfile(folder / "offset.0", "<u8")[:-1].tofile(folder / "offset.0"),
        r"tokenized.0: token 12: a separator, but no document begins there by offset.0",
    ),
}


@pytest.mark.parametrize("looked_at", [2, 64])
@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_refused(tmp_path, monkeypatch, name, looked_at):
    # With 2, what is looked at when a folder is opened finds little of it.
    monkeypatch.setattr("everygram.storage.infini_gram.LOOKED_AT", looked_at)
    folder = write_folder(tmp_path / "v4", DOCUMENTS, "u16", 1)
    damage, said = DAMAGE[name]
    damage(folder)
    with pytest.raises(FormatError, match=said):
        everygram.convert(folder, tmp_path / "index")
    assert not (tmp_path / "index").exists()


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"[1]\n", "metadata.0:2: expected a JSON object, found an array"),
        (b'{"a": }\n', "metadata.0:2: not a JSON record"),
        (b'{"a": "\xff"}\n', "metadata.0:2: not UTF-8"),
        (
            b'{"a": "\\ud800"}\n',
            "metadata.0:2: a lone surrogate .*move metadata.N and metaoff.N away",
        ),
        (b'{"a": ' + b"[" * 400 + b"]" * 400 + b"}\n", "metadata.0:2: .*nested at most 300 deep"),
        (b'{"a": 1}', "metadata.0: document 1: expected one line from byte 3 to 11"),
        (b'{"a":\n1}\n', "metadata.0: document 1: expected one line"),
        (b"", "metadata.0: document 1: expected one line from byte 3 to 3"),
    ],
)
def test_metadata_that_is_none(tmp_path, line, error):
    folder = write_folder(tmp_path / "v4", [[1], [2], [3]], "u16", 1)
    lines = [b"{}\n", line, b"{}\n"]
    (folder / "metadata.0").write_bytes(b"".join(lines))
    np.cumsum([0, *map(len, lines[:-1])]).astype("<u8").tofile(folder / "metaoff.0")
    with pytest.raises((CorpusError, FormatError), match=error):
        everygram.convert(folder, tmp_path / "index")
    assert not (tmp_path / "index").exists()
    for name in ("metadata.0", "metaoff.0"):
        (folder / name).unlink()
    assert everygram.convert(folder, tmp_path / "index").num_documents == 3


def test_what_was_attached_is_known(tmp_path):
    """The tokenizer; and the folder, for an attachment in another place."""
    one = write_folder(tmp_path / "one", DOCUMENTS, "u16", 2)
    two = write_folder(tmp_path / "two", DOCUMENTS[:2], "u16", 1)
    tokenizer = words(tmp_path, range(600))
    everygram.attach(one, tokenizer=tokenizer)
    everygram.attach(two, out=tmp_path / "made")
    report = everygram.convert([one, tmp_path / "made"], tmp_path / "index")
    assert report.num_documents == len(DOCUMENTS) + 2
    with everygram.open(tmp_path / "index") as index, everygram.open(one) as attached:
        assert index.info()["tokenizer_sha256"] == attached.info()["tokenizer_sha256"]
    (tmp_path / "of-another").mkdir()
    everygram.attach(two, tokenizer=words(tmp_path / "of-another", range(700)))
    with pytest.raises(OptionError, match="attached with different tokenizers; name the one"):
        everygram.convert([one, two], tmp_path / "new")
    everygram.convert([one, two], tmp_path / "new", tokenizer)


def test_what_cannot_be_converted_together(tmp_path):
    first = write_folder(tmp_path / "first", DOCUMENTS, "u16", 1)
    other = write_folder(tmp_path / "other", DOCUMENTS, "u32", 1)
    everygram.convert(first, tmp_path / "index")
    for given, error, said in (
        ([first, other], FormatError, "has u32 tokens, .* u16: expected the same in all"),
        ([first, first], CorpusError, "the same file is read already; name it once"),
        ([first, tmp_path / "none"], FormatError, "or an index folder.*found no such folder"),
        (tmp_path, FormatError, "or an index folder of infini-gram's.*found no such files"),
        (tmp_path / "index", OptionError, "kind: expected the kind that everygram.s index"),
        ([first, tmp_path / "index"], OptionError, "is an everygram index: expected it alone"),
        ([], CorpusError, "expected at least one index folder"),
        (3, OptionError, "folders: expected a path, or a list of paths, found 3"),
        ([first, 3], OptionError, "folders: expected a path, found 3"),
    ):
        with pytest.raises(error, match=said):
            everygram.convert(given, tmp_path / "new")
        assert not (tmp_path / "new").exists()
    with pytest.raises(BuildError, match="already holds an index"):
        everygram.convert(first, tmp_path / "index")


def test_ids_that_the_tokenizer_does_not_have(tmp_path):
    folder = write_folder(tmp_path / "v4", DOCUMENTS, "u16", 1)
    tokenizer = words(tmp_path, range(256))
    with pytest.raises(CorpusError, match=r"tokenized.0: token 6 is 256, which is outside the voc"):
        everygram.convert(folder, tmp_path / "index", tokenizer)
    with pytest.raises(OptionError, match="token ids hold no text to train on"):
        everygram.convert(folder, tmp_path / "index", "train:300")
    with pytest.raises(TokenizerError):
        everygram.convert(folder, tmp_path / "index", tmp_path / "none.json")
    assert not (tmp_path / "index").exists()


def test_a_file_that_changes_meanwhile(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "v4", DOCUMENTS, "u16", 1)

    def change(progress):
        if progress.stage == "read":
            (folder / "offset.0").touch()

    with pytest.raises(CorpusError, match=r"offset.0: changed while it was read"):
        everygram.convert(folder, tmp_path / "index", progress=change)
    assert not (tmp_path / "index").exists()


def interrupted(folder, out, stage, **options):
    def interrupt(progress):
        if progress.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        everygram.convert(folder, out, progress=interrupt, **options)


def test_what_is_finished_is_not_done_again(tmp_path):
    folder = write_folder(tmp_path / "v4", some_documents("u16", 30), "u16", 2)
    out, stages = tmp_path / "index", []
    interrupted(folder, out, "count")
    with pytest.raises(BuildError, match="holds an interrupted conversion with other arguments"):
        everygram.convert(folder, out, document_counts=False)
    with pytest.raises(BuildError, match=r"holds an interrupted conversion of '.*v4'"):
        everygram.build(folder / "tokenized.0", out, pretokenized="u16", separator_id=65535)
    everygram.convert(folder, out, progress=lambda progress: stages.append(progress.stage))
    assert "read" not in stages
    everygram.convert(folder, tmp_path / "whole")
    assert files_of(out) == files_of(tmp_path / "whole")
    shutil.rmtree(out)
    interrupted(folder, out, "write")
    (folder / "offset.1").touch()
    with pytest.raises(BuildError, match="interrupted conversion with other inputs"):
        everygram.convert(folder, out)
    everygram.convert(folder, out, restart=True)
    assert files_of(out) == files_of(tmp_path / "whole")


def test_the_command(run, tmp_path):
    folder = write_folder(tmp_path / "v4", DOCUMENTS, "u16", 2, [{"n": n} for n in range(5)])
    everygram.convert(folder, tmp_path / "index")
    code, out, err = run("convert", folder, "--out", tmp_path / "other")
    assert code == 0, err
    assert "2 × infini-gram" in err
    assert "documents               5\n" in out
    assert "ask it: everygram count" in out
    assert files_of(tmp_path / "other") == files_of(tmp_path / "index")
    assert run("count", tmp_path / "other", "--ids", "1,2")[1].startswith("count     2\n")
    code, out, err = run(
        "convert", folder, "--out", tmp_path / "json", "--json", "--no-document-counts"
    )
    assert (code, json.loads(out)["num_documents"]) == (0, 5)
    assert not list((tmp_path / "json").rglob(fmt.DOCUMENT_COUNTS))
    assert run("convert", folder, "--out", tmp_path / "json")[0] == 1
    assert run("convert", tmp_path / "no", "--out", tmp_path / "new")[0] == 1
    assert run("convert", "--out", tmp_path / "new")[0] == 2
    code, _, err = run("convert", folder, "--out", tmp_path / "new", "--memory", "lots")
    assert (code, not (tmp_path / "new").exists()) == (2, True)
    assert "--memory: expected a size" in err
