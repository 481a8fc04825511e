"""An index in an object store, asked from here: the answers are the oracle's, or an error."""

import os
import pickle
import random
import re
import shutil
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

import everygram
import stores
from conftest import write_index, written_as
from everygram import DamagedIndexError, EverygramError, FormatError, OptionError, QueryError
from everygram.kernels import INTERPRETED
from everygram.storage import caching
from everygram.storage import format as fmt
from everygram.storage.store import Store
from naive import NaiveIndex
from naive_text import text_spans

TEXTS = ["the cat sat on the mat", "", "the dog", "mat and cat and dog " * 20, "the Cat", "a dog"]
GONE = [2]


@pytest.fixture(scope="module")
def bucket():
    with stores.serving() as bucket:
        yield bucket


@pytest.fixture
def place(tmp_path):
    """A new address for each test. (To load what S3 takes costs a process two seconds.)"""
    return f"file://{tmp_path}/there"


@pytest.fixture
def s3_place(bucket, request):
    return f"{bucket}/{re.sub('[^a-z0-9]', '-', request.node.name)}"


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def large():
    """Documents of a few letters: the suffix array has many blocks."""
    rng = random.Random(5)
    return [bytes(rng.choices(b"abcd", k=rng.randrange(12_000))) for _ in range(40)]


@pytest.fixture(scope="module")
def large_index(large, tmp_path_factory):
    folder = tmp_path_factory.mktemp("large") / "index"
    everygram.build((document.decode() for document in large), folder)
    return folder


@pytest.fixture(scope="module")
def large_place(bucket, large_index):
    everygram.push(large_index, f"{bucket}/large")
    return f"{bucket}/large"


def damage(place, name, at):
    """Change a byte of a file there; returns what puts it back."""
    store = Store(place)
    name = next(each for each in store.sizes() if each.endswith(name))
    data = store.read(name)
    store.write(name, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    return lambda: store.write(name, data)


@pytest.mark.parametrize("kinds", ["suffix-array", "self-index", "mixture"])
def test_answers_are_the_oracles(tmp_path, s3_place, cache, kinds):
    """Three segments of both kinds, and deleted documents."""
    documents = [[*text.encode()] for text in TEXTS]
    with written_as(kinds):
        write_index(tmp_path / "index", documents, "u8", 3, 255, [GONE])
    everygram.push(tmp_path / "index", s3_place)
    left = {number: text for number, text in enumerate(TEXTS) if number not in GONE}
    naive = NaiveIndex([documents[number] for number in left], 255)
    numbers = [*left]
    rng = random.Random(0)
    with everygram.open(s3_place, cache=cache) as far:
        for query in ("the", "cat", "mat and", "dog ", "zebra", "", "c"):
            ids = [*query.encode()]
            assert far.count(ids).count == naive.count(ids)
            assert far.document_count(ids).document_count == naive.document_count(ids)
            found = far.find(ids, limit=None)
            assert sorted((each.document, each.offset) for each in found.occurrences) == [
                (numbers[document], offset) for document, offset in naive.occurrences(ids)
            ]
            token = rng.choice(b"abcdet ")
            prompts, counts = naive.count(ids), naive.count([*ids, token])
            prob = far.prob([*ids, token])
            if ids:
                assert (prob.prompt_count, prob.continuation_count) == (prompts, counts)
            following = naive.following(ids)
            table = far.ntd(ids)
            assert (
                dict(zip(table.next_ids.tolist(), table.counts.tolist(), strict=True)) == following
            )
            longest = naive.longest_suffix([*b"xx", *ids])
            assert far.infgram_ntd([*b"xx", *ids]).suffix_len == len(longest)
            known = far.infgram_prob([*b"xx", *ids, token])
            expected = len(longest), naive.count([*longest, token])
            assert (known.suffix_len, known.continuation_count) == expected
        batch = [[*document[:k]] for document in documents for k in (1, 3, 9)]
        assert far.count_batch(batch).counts.tolist() == [naive.count(ids) for ids in batch]
        for number, text in left.items():
            assert bytes(far.document(number).token_ids) == text.encode()
        with pytest.raises(QueryError, match="it was deleted"):
            far.document(GONE[0])
        text = [*b"the catty dog and"]
        scores = far.score(text)
        rows = scores.suffix_lens, scores.prompt_counts, scores.continuation_counts, scores.sparse
        columns = (column.tolist() for column in rows)
        assert [*zip(*columns, strict=True)] == naive.score(text)
        longest = naive.longest_matches(text)
        assert far.longest_matches(text).lengths.tolist() == [length for length, _ in longest]
        assert far.longest_matches(text).counts.tolist() == [count for _, count in longest]


@pytest.mark.parametrize("kind", ["suffix-array", "self-index"])
def test_texts_and_expressions(tmp_path, place, cache, kind):
    everygram.build(iter(TEXTS), tmp_path / "index", kind=kind)
    everygram.push(tmp_path / "index", place)
    with everygram.open(place, cache=cache) as far:
        for text, rules in (
            ("cat", {}),
            ("CAT", {"ignore_case": True}),
            ("the", {"whole_words": True}),
            ("o", {}),
            ("nothing", {}),
        ):
            asked = text, rules.get("ignore_case", False), rules.get("whole_words", False)
            expected = {
                number: len(spans)
                for number, data in enumerate(TEXTS)
                if (spans := text_spans(data.encode(), *asked))
            }
            assert far.count_text(text, **rules).count == sum(expected.values())
            found = far.find_text(text, limit=None, **rules)
            assert Counter(each.document for each in found) == expected
        for expression, documents in (
            ('"cat" AND "dog"', [3]),
            ('"the" AND NOT "dog"', [0, 4]),
            ('"dog" OR "mat"', [0, 2, 3, 5]),
        ):
            hits = far.search(expression)
            assert [hit.document for hit in hits.hits] == documents
        assert far.count("cat").tokens == ["c", "a", "t"]
        assert far.attribute("the cat sat on").spans


def test_a_cache_smaller_than_the_index(large, large_index, large_place, cache):
    """Several threads; every block comes from the store many times."""
    naive = NaiveIndex(large, 255)
    rng = random.Random(1)
    queries = [[*rng.choices(b"abcd", k=rng.randrange(1, 9))] for _ in range(16)]
    queries += [[*document[9:30]] for document in large[:8] if len(document) > 30]
    few = [*queries[:3], *queries[-3:]]
    size = sum(file.stat().st_size for file in large_index.rglob("*.bin"))
    assert size > 1.3 * (1 << 20)
    with (
        everygram.open(large_place, cache=cache, cache_bytes="1MiB") as far,
        everygram.open(large_index) as near,
        ThreadPoolExecutor(4) as threads,
    ):
        assert far.count_batch(few).counts.tolist() == [naive.count(ids) for ids in few]
        for name in ("count", "find", "infgram_prob", "ntd"):
            ask, expected = getattr(far, name), getattr(near, name)
            given = queries[:6] if name == "ntd" else queries
            for found, ids in zip(threads.map(ask, given), given, strict=True):
                assert found == expected(ids)
        for number in (0, 20, 39):
            assert far.document(number) == near.document(number)
        kept = sum(file.stat().st_size for file in (cache / "blocks").rglob("*") if file.is_file())
        assert 0 < kept <= 1 << 20


def test_two_processes_share_a_cache(large_index, large_place, cache):
    """Both throw out what the other has read."""
    rng = random.Random(2)
    queries = [[*rng.choices(b"abcd", k=rng.randrange(1, 9))] for _ in range(40)]
    both = [everygram.open(large_place, cache=cache, cache_bytes="1MiB") for _ in range(2)]
    with everygram.open(large_index) as near, ThreadPoolExecutor(4) as threads:
        expected = [near.find(ids) for ids in queries]
        asked = [(far, ids) for ids in queries for far in both]
        found = list(threads.map(lambda each: each[0].find(each[1]), asked))
        assert found[::2] == found[1::2] == expected
        assert near.count_batch(queries) == both[0].count_batch(queries)
    for far in both:
        far.close()


def test_what_is_in_the_cache_is_not_read_again(large_place, large_index, cache):
    """An index that is gone from the store is still answered from the cache, as far as it goes."""
    place = f"{large_place}-gone"
    everygram.push(large_index, place)
    with everygram.open(place, cache=cache) as far:
        expected = far.find([*b"abc"])
        store = Store(place)
        store.remove([name for name in store.sizes() if name.endswith(("array.bin", "tokens.bin"))])
        assert far.find([*b"abc"]) == expected
        with pytest.raises(FormatError, match=r"s3://bucket/.*: not there any more: the index has"):
            for ids in (b"dddddddd", b"cccccc", b"bcbcbc", b"acacac", b"adadad", b"dcdcdc"):
                far.find([*ids])
        with everygram.open(place, cache=cache) as again:  # (its small files are here)
            assert again.find([*b"abc"]) == expected


@pytest.mark.parametrize("name", [fmt.SUFFIX_ARRAY, fmt.TOKENS, fmt.METADATA])
def test_a_wrong_block_is_an_error(tmp_path, place, cache, name):
    records = "".join(f'{{"text": "{text}", "id": {i}}}\n' for i, text in enumerate(TEXTS))
    (tmp_path / "corpus.jsonl").write_text(records)
    everygram.build(tmp_path / "corpus.jsonl", tmp_path / "index")
    everygram.push(tmp_path / "index", place)
    repair = damage(place, name, 7)
    with everygram.open(place, cache=cache) as far:
        for _ in range(2):
            with pytest.raises(DamagedIndexError, match=rf"{place}/segment-000001/{name}: bytes 0"):
                far.find("the cat", context=3)
                far.document(0)
        repair()
        assert [each.document for each in far.find("the cat").occurrences] == [0]
        assert far.document(0).metadata["id"] == 0
    # What is kept of it here is verified, too.
    kept = [file for file in (cache / "blocks").rglob("*-0") if file.is_file()]
    assert len(kept) == 3
    for file in kept:
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    with everygram.open(place, cache=cache) as far:
        assert [each.document for each in far.find("the cat").occurrences] == [0]
        assert far.document(0).metadata["id"] == 0


@pytest.mark.parametrize("name", [fmt.FENCES, fmt.UNIGRAMS, fmt.DOCUMENT_COUNTS, fmt.CHECKSUMS])
def test_a_wrong_byte_in_what_is_copied(tmp_path, place, cache, name):
    everygram.build(iter(TEXTS), tmp_path / "index")
    everygram.push(tmp_path / "index", place)
    repair = damage(place, name, 5)
    with pytest.raises(DamagedIndexError, match=rf"{place}/segment-000001/{name}: content does"):
        everygram.open(place, cache=cache).count("cat")
    repair()
    with everygram.open(place, cache=cache) as far:
        assert far.count("cat").count == 21
    # One that was changed here is copied anew.
    (here,) = cache.glob(f"index-*/segment-000001/{name}")
    here.write_bytes(here.read_bytes()[:-1] + b"?")
    with everygram.open(place, cache=cache) as far:
        assert (far.count("cat").count, far.document_count("cat").document_count) == (21, 2)
    assert here.read_bytes() == (tmp_path / "index" / "segment-000001" / name).read_bytes()


def test_an_index_that_changes(tmp_path, place, cache):
    """It is as it was until it is refreshed; then files of its segments that are gone are, too."""
    index = tmp_path / "index"
    everygram.build(iter(TEXTS), index)
    everygram.push(index, place)
    with everygram.open(place, cache=cache) as far:
        assert (far.count("dog").count, far.changed(), far.refresh()) == (22, False, False)
        version = far.version
        assert far.latest() is far
        (tmp_path / "more.jsonl").write_text('{"text": "a new dog"}\n')
        everygram.add(index, tmp_path / "more.jsonl")
        everygram.delete(index, documents=[2])
        everygram.push(index, place)
        assert (far.count("dog").count, far.version) == (22, version)
        assert far.changed()
        with far.latest() as latest:
            assert latest.count("new dog").count == 1
        assert far.count("new dog").count == 0
        assert (far.refresh(), far.refresh()) == (True, False)
        assert (far.count("dog").count, far.num_documents) == (22, 6)
        assert far.version != version
        everygram.compact(index, full=True)
        everygram.push(index, place, prune=True)
        assert far.refresh()
        assert (far.count("dog").count, far.info()["num_segments"]) == (22, 1)
        assert len([*cache.glob("index-*/segment-*")]) == 1
        assert bytes(far.document(6).token_ids) == b"a new dog"


def test_a_store_that_breaks_off(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # it would try for ten seconds
    index = tmp_path / "index"
    everygram.build(iter(TEXTS), index)
    with stores.serving() as bucket:
        place = f"{bucket}/breaks-off"
        everygram.push(index, place)
        far = everygram.open(place, cache=cache)
        assert far.count("").count == 441 + 6
    with pytest.raises(FormatError, match="s3://bucket/breaks-off/segment-000001/"):
        far.find("the cat")
    assert far.count("").count == 441 + 6
    with pytest.raises(FormatError, match="s3://bucket/breaks-off"):
        far.refresh()
    far.close()


@pytest.mark.skipif(INTERPRETED, reason="there is no other process")
def test_a_process_that_is_killed(large_place, cache, monkeypatch):
    with everygram.open(large_place, cache=cache) as far:
        expected = far.count([*b"abca"])
        process = far._apart._there._process
        os.kill(process.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(far.count, [*b"abca"])
            process.kill()
            with pytest.raises(FormatError, match=r"the process .* has ended \(exit code -9\)"):
                waiting.result()
        assert far.count([*b"abca"]) == expected
        again = far._apart._there._process
        assert again.pid != process.pid
    assert again.wait(5) == 0


@pytest.mark.skipif(INTERPRETED, reason="there is no other process")
def test_a_process_that_is_killed_once_the_index_has_changed(tmp_path, place, cache):
    """Another version answers only who asks for it."""
    everygram.build(iter(TEXTS), tmp_path / "index")
    everygram.push(tmp_path / "index", place)
    with everygram.open(place, cache=cache) as index:
        count = index.count([*b"the"]).count
        (tmp_path / "more.jsonl").write_text('{"text": "the end"}\n')
        everygram.add(tmp_path / "index", tmp_path / "more.jsonl")
        everygram.push(tmp_path / "index", place)
        assert index.count([*b"the"]).count == count
        index._apart._there._process.kill()
        index._apart._there._process.wait()
        until_it_has_ended(index)
        for _ in range(2):
            with pytest.raises(FormatError, match=r"another version .* refresh\(\) opens it"):
                index.count([*b"the"])
        assert index.num_documents == len(TEXTS)
        assert index.refresh() and not index.refresh()
        assert index.count([*b"the"]).count == count + 1
        assert index.num_documents == len(TEXTS) + 1


def until_it_has_ended(index):
    while not index._apart._there.ended:
        time.sleep(0.01)


def test_another_index_at_the_address(tmp_path, place, cache, monkeypatch):
    """Files of the same name and size, as large as are not compared each time."""
    monkeypatch.setattr(caching, "CHECKED_AT_ONCE", 0)
    rng = random.Random(3)
    for number in range(3):
        texts = ["".join(rng.choices("abcd", k=9)) for _ in range(300)]
        shutil.rmtree(tmp_path / "index", ignore_errors=True)
        everygram.build(iter(texts), tmp_path / "index")
        shutil.rmtree(tmp_path / "there", ignore_errors=True)
        everygram.push(tmp_path / "index", place)
        with everygram.open(tmp_path / "index") as here:
            index = caching.StoredIndex(place, cache, 1 << 30)
            if number == 1:  # a run that was killed while it copied
                with monkeypatch.context() as patch, pytest.raises(TypeError):
                    patch.setattr(caching, "open_segment", None)
                    index.open((), False)
                continue
            _, segments, _ = index.open((), False)
            for name in ("fences", "unigrams"):
                path = f"{here.manifest.segments[0].name}/{name}.bin"
                assert (index.path / path).read_bytes() == (here.path / path).read_bytes()
            assert len(segments) == 1
            index.close()


def test_an_index_goes_to_other_processes(large_place, cache):
    with everygram.open(large_place, cache=cache) as far:
        expected = far.count("abca")
        with pickle.loads(pickle.dumps(far)) as again:
            assert again.count("abca") == expected
            assert repr(again) == repr(far)
        assert pickle.loads(pickle.dumps(expected)).tokens == ["a", "b", "c", "a"]
        if not INTERPRETED and (child := os.fork()) == 0:
            code = 1
            try:
                code = 0 if far.count("abca").count == expected.count else 2
                far.close()
            finally:
                os._exit(code)
        assert INTERPRETED or os.waitpid(child, 0)[1] == 0
        assert far.count("abca") == expected


def test_a_tokenizer(tmp_path, place, cache):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in TEXTS))
    everygram.build(tmp_path / "a.jsonl", tmp_path / "index", "train:300")
    everygram.push(tmp_path / "index", place)
    with everygram.open(place, cache=cache) as far, everygram.open(tmp_path / "index") as near:
        assert far.count("the cat") == near.count("the cat")
        assert far.encode("the cat").tolist() == near.encode("the cat").tolist()
        assert far.count("the cat").tokens == near.count("the cat").tokens
        assert far.tokenizer.decode(near.encode("cat")) == near.decode(near.encode("cat"))
        assert far.document(0).text == TEXTS[0]
        assert far.count_text("at").count == near.count_text("at").count
    shutil.rmtree(cache)
    store = Store(place)
    store.write(fmt.TOKENIZER, store.read(fmt.TOKENIZER) + b" ")
    with pytest.raises(DamagedIndexError, match="not the tokenizer the index was built with"):
        everygram.open(place, cache=cache).count("cat")


def test_what_is_refused(tmp_path, large_place, large_index, bucket, cache):
    def says(match, error=OptionError):
        return pytest.raises(error, match=match)

    with says("cache: expected a folder here"):
        everygram.open(large_place)
    with says("cache: goes with an address"):
        everygram.open(large_index, cache=cache)
    with says("cache_bytes: expected 1MiB or more"):
        everygram.open(large_place, cache=cache, cache_bytes=1000)
    with says("cache_bytes: expected a size"):
        everygram.open(large_place, cache=cache, cache_bytes="much")
    with says("preload: goes with folders.*everygram pull"):
        everygram.open(large_place, cache=cache, preload="all")
    with says("minus"):
        everygram.open(large_place, cache=cache, minus=large_index)
    with says("not an everygram index: expected manifest.json there", FormatError):
        everygram.open(f"{bucket}/nothing", cache=cache)
    with says("s3://no-such-bucket", FormatError):
        everygram.open("s3://no-such-bucket/index", cache=cache)
    (tmp_path / "file").write_text("")
    with says("cache '.*file': cannot be written", FormatError):
        everygram.open(large_place, cache=tmp_path / "file")
    with everygram.open(large_place, cache=cache) as far:
        with says("a language model needs the index's files here.*everygram pull s3://"):
            far.language_model()
        if not INTERPRETED:
            with says("needs the index's files here: copy them with 'everygram pull s3://"):
                everygram.export(far)
            with says("everygram pull"):
                far.engine.count([1])
        with says("token id 300 is outside the vocabulary", QueryError):
            far.count([300])
        with says("expected a flat list of token ids", QueryError):
            far.count(3)
        with pytest.raises(EverygramError):
            far.count(lambda: None)
        with pytest.raises(TypeError, match="unexpected keyword"):
            far.count("a", nothing=3)
    for ask in (lambda: far.count("a"), lambda: far.num_tokens, far.refresh):
        with says("is closed", QueryError):
            ask()
    assert "closed" in repr(far)


def test_an_index_without_checksums_of_blocks(tmp_path, place, cache, monkeypatch):
    from everygram.building import transfer
    from everygram.storage.directory import publish, read_manifest

    everygram.build(iter(TEXTS), tmp_path / "index")
    manifest = read_manifest(tmp_path / "index")
    (entry,) = manifest.segments
    del entry.files[fmt.CHECKSUMS]
    (tmp_path / "index" / entry.name / fmt.CHECKSUMS).unlink()
    publish(tmp_path / "index", manifest, None)
    everygram.push(tmp_path / "index", place)
    assert transfer.PUSHING not in Store(place).sizes()
    with pytest.raises(FormatError, match=r"has no checksums of its blocks.*everygram pull"):
        everygram.open(place, cache=cache)


def test_commands(run, large_place, cache):
    given = (large_place, "abca", "--cache", cache)
    code, out, err = run("count", *given, "--json")
    assert (code, err) == (0, "")
    with everygram.open(large_place, cache=cache) as far:
        assert f'"count": {far.count("abca").count}' in out
    code, out, _ = run("find", *given, "--cache-bytes", "2MiB")
    assert (code, "document" in out) == (0, True)
    code, out, _ = run("count", large_place, "-", "--cache", cache, stdin="abca\nd\n")
    assert (code, len(out.splitlines())) == (0, 2)
    code, out, _ = run("info", large_place, "--cache", cache)
    assert (code, large_place in out) == (0, True)
    code, _, err = run("count", large_place, "abca")
    assert (code, "expected --cache DIR" in err) == (2, True)
    code, _, err = run("verify", large_place)
    assert (code, f"everygram pull {large_place} --out" in err) == (2, True)
