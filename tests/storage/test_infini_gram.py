"""infini-gram's index folders, opened as they are: every query, and every refusal."""

import json
import pickle
import random
import shutil
from unittest import mock

import pytest

import everygram
from campaign import sized
from conftest import write_index
from everygram import DamagedIndexError, FormatError, OptionError, QueryError, TokenizerError
from everygram.storage import infini_gram, shard
from everygram.storage.infini_gram import shards_of
from everygram.storage.verify import verify
from naive import NaiveIndex
from naive_drafts import naive_draft
from shards import write_shard
from test_union import ASKED, LISTED, answered, number_of, plain

# Ids whose little-endian bytes sort otherwise, and others.
ALPHABETS = {
    1: [[0], [0, 1], [97, 98, 254]],
    2: [[0, 1], [1, 255, 256, 257], [0, 1, 2, 255, 511, 512, 65534], list(range(300))],
    4: [[1, 256, 65_536, 1 << 24], [255, 256, 65_535, 65_537, 2**32 - 2], list(range(200, 300))],
}


def drawn_documents(draw, alphabet):
    """Documents of few different tokens, some empty, some copies, or the end of another."""
    longest = draw.choice([3, 8, 40])
    documents = [
        [draw.choice(alphabet) for _ in range(draw.randrange(longest))]
        for _ in range(draw.randint(1, 8))
    ]
    for chance, more in (
        (0.4, lambda: list(draw.choice(documents))),
        (0.3, lambda: draw.choice(documents)[-3:]),
        (0.3, lambda: [alphabet[0]] * draw.randint(1, 9)),
        (0.2, list),
    ):
        if draw.random() < chance:
            documents.append(more())
    return documents


def drawn_query(draw, documents, alphabet, separator):
    length = draw.randrange(6)
    document = draw.choice(documents)
    query = [draw.choice(alphabet) for _ in range(length)]
    if document and draw.random() < 0.7:
        at = draw.randrange(len(document))
        query = document[at : at + length]
    query = ([separator] if draw.random() < 0.2 else []) + query
    return query + ([separator] if draw.random() < 0.25 else [])


def check_query(index, naive, query, draw):
    assert index.count(query) == naive.count(query)
    assert index.document_count(query) == naive.document_count(query)
    following = index.ntd(query)
    for found, prompt in (
        (following, query),
        (index.infgram_ntd(query), naive.longest_suffix(query)),
    ):
        expected = sorted(naive.following(prompt).items())
        assert list(zip(found.next_ids.tolist(), found.counts.tolist(), strict=True)) == expected
    places = [(match.document, match.offset) for match in index.find(query, limit=None)]
    assert sorted(places) == naive.occurrences(query)
    if query:
        found = index.prob(query[:-1], query[-1])
        counts = naive.prob(query[:-1], query[-1])[:2]
        assert (found.prompt_count, found.continuation_count) == counts
        found = index.infgram_prob(query[:-1], query[-1])
        suffix = naive.longest_suffix(query[:-1])
        assert found.suffix_len == len(suffix)
        counts = naive.prob(suffix, query[-1])[:2]
        assert (found.prompt_count, found.continuation_count) == counts
        least = draw.choice([0.0, 0.1, 0.4])
        draft = index.draft(query, min_token_prob=least)
        expected = naive_draft(naive, query, min_token_prob=least)[2]
        assert list(zip(draft.token_ids, draft._table[1].tolist(), strict=True)) == expected


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("seed", range(sized(12, 200)))
def test_every_query_is_exact(tmp_path, width, seed):
    draw = random.Random(seed)
    alphabet = draw.choice(ALPHABETS[width])
    given = [drawn_documents(draw, alphabet) for _ in range(draw.randint(1, 4))]
    folder, separator = tmp_path / "v4", 256**width - 1
    for number, documents in enumerate(given):
        said = [{"n": n} for n in range(len(documents))] if draw.random() < 0.5 else None
        write_shard(folder, documents, width, f".{number}", said, draw.random() < 0.5)
    documents = [document for each in given for document in each]
    naive = NaiveIndex(documents, separator)
    opened = folder
    with mock.patch.object(shard, "FEW_FENCES", draw.choice([1, 3, 1024])):
        how = draw.randrange(3)
        if how:
            opened = None if how == 1 else tmp_path / "made"
            counts = draw.random() < 0.5
            opened = everygram.attach(folder, out=opened, document_counts=counts).path
            opened = folder if how == 1 else opened
        with everygram.open(opened, verify=True) as index:
            assert verify(opened, lambda done, total: None) == []
            assert index.num_documents == len(documents)
            assert index.num_tokens == sum(map(len, documents))
            queries = [drawn_query(draw, documents, alphabet, separator) for _ in range(25)]
            for query in queries:
                check_query(index, naive, query, draw)
            assert index.count_batch(queries).counts.tolist() == [*map(naive.count, queries)]
            text = [token for query in queries for token in query][:60]
            found = index.longest_matches(text)
            pairs = list(zip(found.lengths.tolist(), found.counts.tolist(), strict=True))
            assert pairs == naive.longest_matches(text)
            for number, document in enumerate(documents):
                assert index.document(number).token_ids.tolist() == document


def followed(index, prompt):
    found = index.ntd(prompt)
    return dict(zip(found.next_ids.tolist(), found.counts.tolist(), strict=True))


WORDS = "the cat sat on a mat; The Cat's hat — naïve café 東京 the cat sat\n\n"


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """An index of text with more than 256 ids, its documents' ids, and its tokenizer's file."""
    folder = tmp_path_factory.mktemp("texts")
    draw = random.Random(3)
    words = WORDS.split(" ")
    documents = [" ".join(draw.choices(words, k=draw.randrange(30))) for _ in range(30)]
    documents += [documents[3], "", "the cat sat", documents[5]]
    corpus = folder / "c.jsonl"
    corpus.write_text("".join(json.dumps({"text": each}) + "\n" for each in documents))
    everygram.build(corpus, folder / "index", "train:330")
    with everygram.open(folder / "index") as index:
        ids = [index.document(n).token_ids.tolist() for n in range(len(documents))]
    assert max(map(max, filter(None, ids))) > 256
    return folder / "index", ids, str(folder / "index" / "tokenizer.json")


@pytest.mark.parametrize("attach", [False, True])
@pytest.mark.parametrize("shards", [1, 3])
def test_queries_of_texts_are_those_of_an_index_of_ours(tmp_path, texts, attach, shards):
    path, ids, tokenizer = texts
    cuts = [len(ids) * i // shards for i in range(shards + 1)]
    for number in range(shards):
        write_shard(tmp_path / "v4", ids[cuts[number] : cuts[number + 1]], 2, f".{number}")
    given = {"tokenizer": tokenizer}
    if attach:
        made = everygram.attach(tmp_path / "v4", tokenizer=tokenizer, document_counts=True)
        assert made.tokenizer == "index/tokenizer.json"
        given = {}
    questions = [([*ids[0][:3], 97], "the cat"), (ids[7][2:4], "a"), ([], "Cat's")]
    with everygram.open(path) as one, everygram.open(tmp_path / "v4", **given) as index:
        assert index.info()["tokenizer_sha256"] == one.info()["tokenizer_sha256"]
        for query, text in (*questions, (ids[9][:1], "sat\n")):
            for name, ask in ASKED:
                expected = plain(answered(ask, one, query, text))
                assert plain(answered(ask, index, query, text)) == expected, name
            for name, ask in LISTED:
                one_said, said = (
                    sorted((number_of(found), *each) for found, *each in ask(asked, query, text))
                    for asked in (one, index)
                )
                assert said == one_said, name
        assert list(everygram.export(index)) == list(everygram.export(one))


DOCUMENTS = [[1, 256, 2], [], [256, 2, 1, 255], [256, 2]]


@pytest.fixture
def v4(tmp_path):
    """Two shards, with metadata and unigrams."""
    for number in range(2):
        said = [{"url": f"{number}/{n}"} for n in range(2)]
        part = DOCUMENTS[2 * number : 2 * number + 2]
        write_shard(tmp_path / "v4", part, 2, f".{number}", said, unigrams=True)
    return tmp_path / "v4"


def test_documents_are_those_of_the_shards_in_order(v4):
    with everygram.open(v4) as index:
        assert [index.document(n).token_ids.tolist() for n in range(4)] == DOCUMENTS
        assert index.document(2).metadata == {
            "path": "c.jsonl",
            "linenum": 0,
            "metadata": {"url": "1/0"},
        }
        assert [each.name for each in index.manifest.segments] == ["shard.0", "shard.1"]
        said = index.info()
        assert (said["format"], said["format_version"]) == ("infini-gram", 0)
        assert (said["dtype"], said["separator"], said["vocab_size"]) == ("u16", 65_535, 65_535)
        assert said["num_segments"] == 2 and said["tokenizer"] == "none"
        assert said["bytes"] == sum(each.stat().st_size for each in v4.iterdir())


def test_files_are_optional(v4):
    for number in range(2):
        (v4 / f"unigram.{number}").unlink()
        (v4 / f"metadata.{number}").unlink()
        (v4 / f"metaoff.{number}").unlink()
    with everygram.open(v4) as index:
        assert index.document(0).metadata == {}
        ids, counts = index.engine.segments[0].unigrams_counted()
        assert (ids.tolist(), counts.tolist()) == ([1, 2, 256, 65_535], [1, 1, 1, 2])
        assert index.count([256, 2]) == 3


def test_version_6_has_a_folder_for_each_chunk(tmp_path):
    for number in range(2):
        write_shard(tmp_path / f"c{number}", DOCUMENTS[2 * number : 2 * number + 2], 2, "")
    naive = NaiveIndex(DOCUMENTS, 65_535)
    with everygram.open([tmp_path / "c0", tmp_path / "c1"]) as index:
        for query in ([256, 2], [256, 2, 65_535], [65_535], [], [1]):
            assert index.count(query) == naive.count(query)
            assert followed(index, query) == naive.following(query)
        assert index.document(1, index=1).token_ids.tolist() == [256, 2]
    everygram.attach(tmp_path / "c0", document_counts=True)
    with everygram.open(tmp_path / "c0", minus=tmp_path / "c1", missing_ok=True) as index:
        assert index.count([256, 2]) == 1
    with everygram.open(tmp_path / "c0") as index:
        assert [each.name for each in index.manifest.segments] == ["shard"]


def test_unions_with_indexes_of_ours(tmp_path):
    write_shard(tmp_path / "v4", DOCUMENTS, 2)
    write_index(tmp_path / "ours", DOCUMENTS[:3], "u16", vocab_size=65_535)
    both = NaiveIndex([*DOCUMENTS, *DOCUMENTS[:3]], 65_535)
    with everygram.open([tmp_path / "v4", tmp_path / "ours"]) as index:
        for query in ([256, 2], [2, 65_535], [255], [1, 256]):
            assert index.count(query) == both.count(query)
            assert followed(index, query) == both.following(query)
            drafted = index.draft(query, min_token_prob=0)
            assert drafted.token_ids == [
                token for token, _ in naive_draft(both, query, min_token_prob=0)[2]
            ]
    left = NaiveIndex(DOCUMENTS[3:], 65_535)
    with everygram.open(tmp_path / "v4", minus=tmp_path / "ours") as index:
        for query in ([256, 2], [2, 65_535], [255], [1, 256]):
            assert index.count(query) == left.count(query)
    with everygram.open(tmp_path / "ours", minus=[tmp_path / "v4"], missing_ok=True) as index:
        assert index.count([256]) == 0 and index.num_documents == 0


def changed(name, change):
    def do(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return do


def swapped(data, a, b, width):
    entries = [data[at : at + width] for at in range(0, len(data), width)]
    entries[a], entries[b] = entries[b], entries[a]
    return b"".join(entries)


REFUSED = {
    "no table": (lambda v4: (v4 / "table.1").unlink(), r"table\.1: missing: .*indexer has not fin"),
    "no tokens": (lambda v4: (v4 / "tokenized.0").unlink(), r"tokenized\.0: missing"),
    "no offsets": (lambda v4: (v4 / "offset.1").unlink(), r"offset\.1: missing"),
    "no shard": (
        lambda v4: [(v4 / f"{kind}.0").unlink() for kind in ("tokenized", "table", "offset")],
        r"no tokenized\.0, but tokenized\.1",
    ),
    "table cut off": (changed("table.0", lambda data: data[:-1]), r"table\.0: 4 bytes do not go"),
    "tokens cut off": (changed("tokenized.1", lambda data: data[:-4]), r"table\.1: .* do not go"),
    "offsets cut off": (changed("offset.0", lambda data: data[:-3]), r"offset\.0: 13 bytes: exp"),
    "no documents": (changed("offset.0", lambda data: b""), r"offset\.0: 0 bytes"),
    "offsets elsewhere": (
        changed("offset.0", lambda data: swapped(data, 0, 1, 8)),
        r"offset\.0: not the places",
    ),
    "offsets far away": (
        changed("offset.1", lambda data: data[:8] + b"\xff" * 8),
        r"offset\.1: not the places",
    ),
    "no separators": (
        changed("tokenized.0", lambda data: data.replace(b"\xff\xff", b"\x01\x00")),
        r"offset\.0: not the places of the all-ones tokens in tokenized\.0, which has u16",
    ),
    "out of order": (
        changed("table.1", lambda data: swapped(data, 0, 4, 1)),
        r"table\.1: .*(out of order|is not where it belongs).*convert",
    ),
    "pointers outside": (changed("table.0", lambda data: b"\xff" * len(data)), r"table\.0: .*conv"),
    "zeros": (changed("table.1", lambda data: bytes(len(data))), r"table\.1: .*convert"),
    "metadata lost": (
        lambda v4: (v4 / "metadata.0").unlink(),
        r"metadata\.0: missing, but metaoff",
    ),
    "metaoff lost": (lambda v4: (v4 / "metaoff.1").unlink(), r"metaoff\.1: missing, but metadata"),
    "metaoff short": (
        changed("metaoff.0", lambda data: data[:-8]),
        r"metaoff\.0: 8 bytes: exp.*16",
    ),
    "both versions": (
        lambda v4: [
            shutil.copy(v4 / f"{kind}.0", v4 / kind) for kind in ("tokenized", "table", "offset")
        ],
        "version 6 or those of its version 4, found both",
    ),
    "a folder": (
        lambda v4: ((v4 / "table.0").unlink(), (v4 / "table.0").mkdir()),
        r"table\.0: expected a file",
    ),
    "two dtypes": (
        lambda v4: write_shard(v4, [[1, 2]], 4, ".1", [{}], unigrams=True),
        r"shard 0 has u16 tokens, shard 1 has u32",
    ),
    "nothing in them": (
        lambda v4: [each.write_bytes(b"") for each in v4.iterdir()],
        "its files are empty",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_index_is_refused_with_the_reason(v4, case):
    change, said = REFUSED[case]
    change(v4)
    with pytest.raises(FormatError, match=said):
        everygram.open(v4)
    with pytest.raises(FormatError):
        everygram.attach(v4)
    assert not (v4 / "everygram").exists() and not (v4 / "everygram.tmp").exists()
    (problem,) = verify(v4, lambda done, total: None)
    assert problem


def test_a_random_byte_is_refused_or_harmless(v4):
    """Whatever byte is changed: an answer, or an error of ours; and verify says so of the index."""
    draw = random.Random(1)
    queries = [[], [256], [256, 2], [2, 65_535], [65_535], [255, 1]]
    for kind in ("tokenized", "table", "offset", "metadata", "metaoff", "unigram"):
        for _ in range(sized(40, 1000)):
            path = v4 / f"{kind}.{draw.randrange(2)}"
            sound = path.read_bytes()
            data = bytearray(sound)
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            path.write_bytes(data)
            try:
                with everygram.open(v4) as index:
                    for query in queries:
                        index.count(query), index.ntd(query), index.infgram_ntd(query)
                        list(index.find(query, limit=None))
                    for number in range(4):
                        index.document(number)
            except (FormatError, DamagedIndexError):
                pass
            if kind not in ("metadata", "unigram"):  # (other text may be as good)
                assert verify(v4, lambda done, total: None), (path, bytes(data))
            path.write_bytes(sound)
    assert verify(v4, lambda done, total: None) == []


@pytest.mark.parametrize("content", [b"", b"\x00", b"1 2 3", b"1 9\n2 9\n256 9\n65535 2\n"])
def test_verify_compares_the_unigrams(v4, content):
    (v4 / "unigram.0").write_bytes(content)
    (problem,) = verify(v4, lambda done, total: None)
    assert "unigram.0: not " in problem
    with everygram.open(v4) as index:  # nothing else reads them
        assert index.count([256]) == 3


def test_folders_that_are_none(tmp_path):
    with pytest.raises(FormatError, match="no such folder"):
        everygram.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="not an everygram index"):
        everygram.open(tmp_path / "empty")
    with pytest.raises(FormatError, match=r"expected an index folder of infini-gram's.*found none"):
        everygram.attach(tmp_path / "empty")
    with pytest.raises(FormatError, match="expected an index folder"):
        everygram.attach(tmp_path / "nothing")


def test_nothing_changes_it(v4):
    before = {path: path.read_bytes() for path in v4.iterdir()}
    for change in (
        lambda: everygram.add(v4, [[1]]),
        lambda: everygram.delete(v4, documents=0),
        lambda: everygram.compact(v4),
        lambda: everygram.upgrade(v4),
        lambda: everygram.prepare(v4),
    ):
        with pytest.raises(FormatError, match=r"read as it is and never changed.*convert"):
            change()
    with pytest.raises(everygram.BuildError):
        everygram.build([[1]], v4)
    with everygram.open(v4) as index, pytest.raises(QueryError, match="convert"):
        index.language_model("modified-kneser-ney").distribution([1])
    assert {path: path.read_bytes() for path in v4.iterdir()} == before


def test_a_tokenizer_is_named_or_asked_for(v4, texts):
    _, _, tokenizer = texts
    with (
        everygram.open(v4) as index,
        pytest.raises(TokenizerError, match=r"no tokenizer .unk.*attach"),
    ):
        index.count("a")
    named = v4.rename(v4.with_name("v4_pile_llama"))
    with everygram.open(named) as index:
        assert index.info()["tokenizer"] == "none"
        with pytest.raises(
            TokenizerError, match="unknown; llama by the folder's name; name it with 'every"
        ):
            index.count("a")
    with everygram.open(named, tokenizer=tokenizer) as index:
        assert index.vocab_size == 298 and index.count([256, 2]) == 3
        with pytest.raises(QueryError):
            index.count([298])
        again = pickle.loads(pickle.dumps(index))
        assert again.count("ab") == index.count("ab")
    with pytest.raises(OptionError, match="below 255, the index has 256"):
        everygram.open(named, tokenizer="bytes")
    with pytest.raises(OptionError, match="below 255, the index has 256"):
        everygram.attach(named, tokenizer="bytes")
    write_shard(named.with_name("u8"), [[1]], 1)
    with pytest.raises(OptionError, match="298 ids do not go into tokens of 8 bits"):
        everygram.open(named.with_name("u8"), tokenizer=tokenizer)
    with pytest.raises(OptionError, match="has been built with its own"):
        everygram.open(texts[0], tokenizer=tokenizer)


def test_an_attachment_is_for_its_files_alone(v4, tmp_path):
    made = everygram.attach(v4, out=tmp_path / "made", document_counts=True)
    assert made.as_dict()["num_shards"] == 2 and made.bytes == sum(
        each.stat().st_size for each in (tmp_path / "made").glob("shard.*/*")
    )
    with everygram.open(tmp_path / "made") as index:
        assert index.count([256, 2]) == 3 and index.info()["document_counts"]
        assert index.refresh() is False
        shutil.rmtree(tmp_path / "made")
        everygram.attach(v4, out=tmp_path / "made")
        assert index.refresh() is True and not index.info()["document_counts"]
    (tmp_path / "made" / "shard.0" / "fences.bin").write_bytes(b"")
    with pytest.raises(
        DamagedIndexError, match=r"fences\.bin: expected .*found 0; run 'everygram at"
    ):
        everygram.open(tmp_path / "made")
    everygram.attach(v4, out=tmp_path / "made")
    write_shard(v4, [[5]], 2, ".1", [{}], unigrams=True)
    with pytest.raises(FormatError, match=r"made for other files than those .*'shard\.1' differs"):
        everygram.open(tmp_path / "made")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(everygram.BuildError, match="is not what 'everygram attach' makes"):
        everygram.attach(v4, out=tmp_path / "taken")
    with pytest.raises(everygram.BuildError, match="cannot write in"):
        everygram.attach(v4, out=tmp_path / "no" / "where")


def test_an_index_that_names_no_tokenizer_goes_with_any(v4, tmp_path, texts):
    write_shard(tmp_path / "other", DOCUMENTS, 2)
    everygram.attach(v4, tokenizer=texts[2])
    for paths in ([v4, tmp_path / "other"], [tmp_path / "other", v4]):
        with everygram.open(paths) as index:
            assert index.count([256, 2]) == 6 and index.vocab_size == 298
            assert index.info()["tokenizer"] == "index/tokenizer.json"
    with everygram.open(v4, minus=tmp_path / "other") as index:
        assert index.count([256, 2]) == 0
    (tmp_path / "moved").mkdir()
    everygram.attach(v4, out=tmp_path / "made")
    v4.rename(tmp_path / "moved" / "v4")
    with pytest.raises(FormatError, match=r"attached to the index in .*v4', where none is now"):
        everygram.open(tmp_path / "made")


def test_attaching_again_keeps_the_tokenizer(v4, texts):
    everygram.attach(v4, tokenizer=texts[2])
    assert everygram.attach(v4, document_counts=True).tokenizer == "index/tokenizer.json"
    assert everygram.attach(v4).document_counts
    with everygram.open(v4) as index:
        assert index.info()["tokenizer"] == "index/tokenizer.json"
    (v4 / "everygram" / "attached.json").write_text("{}")
    with pytest.raises(DamagedIndexError, match=r"attached\.json: damaged: .*attach' again"):
        everygram.open(v4)
    with pytest.raises(everygram.BuildError, match=r"cannot keep the tokenizer .*name the tokeniz"):
        everygram.attach(v4)
    everygram.attach(v4, tokenizer=texts[2])
    with everygram.open(v4) as index:
        assert index.count([256, 2]) == 3


def test_any_byte_of_an_attachment_is_checked(v4):
    everygram.attach(v4, document_counts=True)
    draw = random.Random(2)
    for path in sorted(path for path in (v4 / "everygram").rglob("*") if path.is_file()):
        sound = path.read_bytes()
        for _ in range(20):
            if not sound:
                break
            data = bytearray(sound)
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            path.write_bytes(data)
            with pytest.raises((DamagedIndexError, FormatError)):
                everygram.open(v4, verify=True)
            try:
                with everygram.open(v4) as index:
                    for query in ([], [256, 2], [2, 65_535]):
                        index.count(query), index.ntd(query), index.document_count(query)
            except (DamagedIndexError, FormatError):
                pass
        path.write_bytes(sound)
    for path in sorted(path for path in (v4 / "everygram").rglob("*") if path.is_file()):
        path.rename(path.with_name("gone"))
        if path.name != "attached.json":
            with pytest.raises(DamagedIndexError, match=f"{path.name}: missing"):
                everygram.open(v4)
        path.with_name("gone").rename(path)


def test_a_long_repeat_at_the_end(tmp_path):
    """The last document is another's copy: every suffix of it stands elsewhere than in ours."""
    document = [token % 7 + token % 3 * 256 for token in range(500)]
    documents = [document, [*document, 1], [9], document]
    write_shard(tmp_path / "v4", documents, 2)
    naive = NaiveIndex(documents, 65_535)
    with everygram.open(tmp_path / "v4") as index:
        stretches = index.engine.segments[0].stretches
        assert stretches.shape[0] > 500
        for start in range(0, 500, 23):
            for query in (document[start:], [*document[start:], 65_535], document[start:-1]):
                assert index.count(query) == naive.count(query)
                assert followed(index, query) == naive.following(query)
    with (
        mock.patch.object(shard, "LONGEST_REPEAT", 400),
        pytest.raises(FormatError, match=r"last 400 tokens are also in another place.*convert"),
    ):
        everygram.open(tmp_path / "v4")


def test_pointers_of_many_widths(tmp_path):
    """As few bytes as the size takes; and files that are larger than one byte can say."""
    for width, size in ((1, 200), (1, 300), (2, 40_000), (4, 80_000)):
        draw = random.Random(size)
        documents = [[draw.randrange(200) for _ in range(size // width // 10)] for _ in range(9)]
        folder = tmp_path / f"{width}-{size}"
        write_shard(folder, documents, width)
        (found,) = shards_of(folder)
        expected = 1 if size == 200 else 3 if size == 80_000 else 2
        assert found.pointer_bytes == expected and found.dtype == f"u{8 * width}"
        naive = NaiveIndex(documents, 256**width - 1)
        with everygram.open(folder) as index:
            for document in documents:
                assert index.count(document[:2]) == naive.count(document[:2])


@pytest.mark.parametrize("pointer_bytes", [3, 4, 5, 6])
def test_pointers_of_larger_files(tmp_path, pointer_bytes):
    """As of tokens of up to 256 TiB, which no test writes."""
    draw = random.Random(pointer_bytes)
    documents = [[draw.randrange(250, 262) for _ in range(40)] for _ in range(9)]
    documents.append(documents[4][-6:])
    write_shard(tmp_path / "v4", documents, 2, unigrams=True, pointer_bytes=pointer_bytes)
    naive = NaiveIndex(documents, 65_535)
    with mock.patch.object(infini_gram, "pointer_bytes", lambda size: pointer_bytes):
        for attach in (False, True):
            if attach:
                everygram.attach(tmp_path / "v4", document_counts=True)
            with everygram.open(tmp_path / "v4") as index:
                for _ in range(40):
                    query = drawn_query(draw, documents, range(250, 262), 65_535)
                    check_query(index, naive, query, draw)
            assert verify(tmp_path / "v4", lambda done, total: None) == []


def test_the_command_line(v4, run, texts):
    code, out, _ = run("attach", v4, "--document-counts", "--json")
    assert code == 0 and json.loads(out)["document_counts"] is True
    code, out, _ = run("count", v4, "--ids", "256,2", "--json")
    assert code == 0 and json.loads(out)["count"] == 3
    assert run("count", v4, "a")[0] == 1
    code, out, _ = run("attach", v4, "--tokenizer", texts[2])
    assert code == 0 and "2 shards, 4 documents" in out and "everygram count" in out
    assert run("count", v4, "a", "--json")[0] == 0
    assert json.loads(run("info", v4, "--json")[1])["tokenizer"] == "index/tokenizer.json"
    assert run("verify", v4)[1].endswith("sound\n")
    assert run("verify", v4, "--quick")[0] == 0
    assert "convert" in run("delete", v4, "--documents", "0")[2]
    changed("table.0", lambda data: bytes(len(data)))(v4)
    code, _, said = run("attach", v4)
    assert code == 1 and "table.0" in said
    assert run("verify", v4)[0] == 1
    assert run("attach", v4.parent)[0] == 1
    assert run("attach")[0] == 2
