"""Indexes asked over actors of a Ray cluster of two nodes: the answers of an index that is here."""

import math
import os
import pickle
import random
import shutil
import signal
import threading
import time

import pytest
import ray

import everygram
from campaign import sized
from everygram import OptionError, QueryError, UnreachableSegmentError
from everygram.distributed import actors as actors_module
from everygram.storage import format as fmt
from naive import NaiveIndex
from test_union import ASKED, LISTED, answered, plain
from test_union import make as make_index

KINDS = [fmt.SUFFIX_ARRAY_KIND, fmt.SELF_INDEX_KIND]
LETTERS = [*b"aAb ", *"é".encode()]


@pytest.fixture
def make(monkeypatch):
    """`make` of unions' tests; of segments of these kinds in turn."""

    def made(path, documents, segments=1, deleted=(), kinds=KINDS):
        monkeypatch.setattr("conftest.KINDS", kinds)
        return make_index(path, documents, segments, deleted)

    return made


def some_documents(seed, number):
    rng = random.Random(seed)
    return [rng.choices(LETTERS, k=rng.randrange(9)) for _ in range(number)]


def some_queries(seed, number):
    rng = random.Random(seed)
    return [rng.choices([*LETTERS, 255], k=rng.randrange(5)) for _ in range(number)]


def opened(path, **options):
    return everygram.open(path, ray="auto", **options)


CASES = {
    "one": {"segments": 1},
    "suffix-arrays": {"segments": 3, "kinds": KINDS[:1]},
    "self-indexes": {"segments": 3, "kinds": KINDS[1:]},
    "both": {"segments": 4},
    "deleted": {"segments": 3, "deleted": [1, 4, 5]},
}


@pytest.mark.parametrize("case", sized(["deleted"], list(CASES)))
def test_answers_of_the_index_here(connected, tmp_path, make, case):
    make(tmp_path / "index", some_documents(3, 14), **CASES[case])
    rng = random.Random(5)
    with everygram.open(tmp_path / "index") as here, opened(tmp_path / "index") as far:
        for query in some_queries(1, 2):
            text = "".join(rng.choices("aAb é", k=rng.randrange(1, 4)))
            for name, ask in (*ASKED, *LISTED):
                expected = plain(answered(ask, here, query, text))
                assert plain(answered(ask, far, query, text)) == expected, (name, query, text)
        numbers = sorted({each.document for each in here.find([], limit=None).occurrences})
        assert plain(far.documents(numbers)) == plain(here.documents(numbers))
        assert far.missing_segments == ()
        assert far.disturbed() is None


@pytest.mark.parametrize("case", sized(["both"], list(CASES)))
def test_the_oracle(connected, tmp_path, make, case):
    documents = some_documents(8, 30)
    make(tmp_path / "index", documents, **CASES[case])
    deleted = CASES[case].get("deleted", ())
    naive = NaiveIndex([d for i, d in enumerate(documents) if i not in deleted], 255)
    queries = some_queries(2, 60)
    with opened(tmp_path / "index", actors=2) as index:
        assert index.count_batch(queries).counts.tolist() == [naive.count(q) for q in queries]
        found = index.document_count_batch(queries).document_counts.tolist()
        assert found == [naive.document_count(q) for q in queries]
        for query in queries[:15]:
            assert index.count(query).count == naive.count(query)
            prob = index.prob(query, 97)
            expected = naive.prob(query, 97)
            assert (prob.prompt_count, prob.continuation_count) == expected[:2]
            assert prob.prob == expected[2] or (math.isnan(prob.prob) and math.isnan(expected[2]))
            longest = index.infgram_prob(query, 97)
            assert longest.suffix_len == naive.suffix_len(query)


def test_drafts_that_repeat_their_context(connected, tmp_path, make):
    make(tmp_path / "index", [[97, 98, 32] * 9, [97, 32]], segments=2)
    with everygram.open(tmp_path / "index") as here, opened(tmp_path / "index") as far:
        for context in ([97, 98, 32, 97], [98, 98, 98], [], [65, 65]):
            for lookback in (0, 2, 8):
                drafts = [index.draft(context, lookback=lookback) for index in (here, far)]
                assert drafts[0] == drafts[1]


def test_a_compaction_before_a_refresh(connected, tmp_path, make):
    path = make(tmp_path / "index", some_documents(9, 20), segments=3)
    with opened(path, actors=1) as index:
        count = index.count([97]).count
        everygram.compact(path, full=True)
        (group,) = index.engine.actors.groups
        ray.kill(group._actors[0], no_restart=False)
        until(lambda: unreachable(index))
        with pytest.raises(UnreachableSegmentError, match=r"another version by now.* refresh\(\)"):
            index.count([97])
        assert index.refresh() and index.count([97]).count == count


def test_an_empty_index(connected, tmp_path, make):
    make(tmp_path / "index", [])
    with everygram.open(tmp_path / "index") as here, opened(tmp_path / "index") as far:
        for name, ask in (*ASKED, *LISTED):
            expected = plain(answered(ask, here, [97], "a"))
            assert plain(answered(ask, far, [97], "a")) == expected, name


def test_killed_actors_and_removed_nodes(connected, tmp_path, make):
    documents = some_documents(4, 40)
    make(tmp_path / "index", documents, segments=4)
    naive = NaiveIndex(documents, 255)
    queries = some_queries(6, 40)
    expected = [naive.count(query) for query in queries]
    node = connected.add()
    with opened(tmp_path / "index", actors=3) as index:
        answers, failures, done = [], [], threading.Event()

        def ask():
            try:
                while not done.is_set():
                    answers.append(index.count_batch(queries).counts.tolist())
                    answers.append([index.count(queries[3]).count])
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
        groups = index.engine.actors.groups
        for group, no_restart in ((groups[0], False), (groups[1], True)):
            before = len(answers)
            ray.kill(group._actors[0], no_restart=no_restart)
            until(lambda before=before: len(answers) > before + 2 or failures)
        connected.remove_node(node)
        before = len(answers)
        until(lambda: len(answers) > before + 2 or failures)
        done.set()
        for thread in threads:
            thread.join(60)
        assert not failures
        assert {tuple(a) for a in answers} == {tuple(expected), (expected[3],)}


def unreachable(index):
    try:
        index.count([97])
    except UnreachableSegmentError:
        return True
    return False


def until(done):
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_replicas(connected, tmp_path, make):
    make(tmp_path / "index", some_documents(4, 20), segments=2)
    with opened(tmp_path / "index", replicas=2, actors=1) as index:
        (group,) = index.engine.actors.groups
        assert len(group._actors) == 2
        count = index.count([97]).count
        ray.kill(group._actors[0], no_restart=True)
        assert [index.count([97]).count for _ in range(4)] == [count] * 4


def test_segments_whose_files_are_gone(connected, tmp_path, make, monkeypatch):
    documents = some_documents(9, 30)
    path = make(tmp_path / "index", documents, segments=3)
    index = opened(path, partial=True, actors=1)
    count = index.count([97]).count
    assert index.missing_segments == ()
    lost = index.manifest.segments[1]
    kept, gone = path / lost.name, tmp_path / "gone"
    shutil.move(kept, gone)
    for group in index.engine.actors.groups:
        ray.kill(group._actors[0], no_restart=False)
    until(lambda: unreachable(index))  # (A process that is told to end may answer once more.)
    with pytest.raises(UnreachableSegmentError, match=lost.name) as raised:
        index.count([97])
    assert raised.value.segments == (lost.name,)
    assert str(path) in str(raised.value)
    assert pickle.loads(pickle.dumps(raised.value)).segments == (lost.name,)
    with pytest.raises(UnreachableSegmentError, match=lost.name):
        opened(path, actors=1)

    assert index.refresh()
    assert index.missing_segments == (lost.name,)
    first, last = lost.first_document, lost.first_document + lost.num_documents
    naive = NaiveIndex([d for i, d in enumerate(documents) if not first <= i < last], 255)
    assert index.count([97]).count == naive.count([97])
    assert index.num_documents == len(documents) - lost.num_documents
    assert index.document(0).number == 0
    with pytest.raises(UnreachableSegmentError, match=f"document {first}: .*{lost.name}"):
        index.document(first)
    found = index.count([97])
    assert found.missing_segments == pickle.loads(pickle.dumps(found)).missing_segments
    assert found.as_dict()["missing_segments"] == [lost.name]
    assert index.count_batch([[97]]).missing_segments == (lost.name,)
    # A refresh that finds no more is none.
    assert not index.refresh()
    child = os.fork()
    if not child:
        try:
            index.count([97])
        except QueryError:
            os._exit(3)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    with pytest.raises(
        OptionError, match=r"connected to the cluster at .*, and cannot be to 'n:1'"
    ):
        everygram.open(path, ray="n:1")
    # The answer is whole again when it is there again.
    shutil.move(gone, kept)
    assert index.refresh()
    assert index.missing_segments == index.count([97]).missing_segments == ()
    assert "missing_segments" not in index.count([97]).as_dict()
    assert index.count([97]).count == count
    index.close()


def test_no_partial_answers_with_deleted_documents(connected, tmp_path, make):
    path = make(tmp_path / "index", some_documents(9, 20), segments=3, deleted=[2, 3])
    shutil.rmtree(path / "segment-000001")
    with pytest.raises(UnreachableSegmentError, match=r"segment-000001.*compact"):
        opened(path, partial=True)


def test_no_process_answers(connected, tmp_path, make, monkeypatch):
    path = make(tmp_path / "index", some_documents(9, 20), segments=2)
    monkeypatch.setattr(actors_module, "PATIENCE", 0.5)
    with opened(path, actors=1) as index:
        (group,) = index.engine.actors.groups
        monkeypatch.setattr(group, "replace", lambda actor: None)
        ray.kill(group._actors[0], no_restart=True)
        with pytest.raises(UnreachableSegmentError) as raised:
            index.count([97])
        assert raised.value.segments == ("segment-000001", "segment-000002")


def test_a_process_that_hangs(connected, tmp_path, make, monkeypatch):
    """It is ended, and another answers; one that takes its time is waited for."""
    documents = some_documents(9, 20)
    path = make(tmp_path / "index", documents, segments=2)
    with opened(path, actors=1) as index:
        (group,) = index.engine.actors.groups
        monkeypatch.setattr(actors_module, "SILENCE", 1.0)
        (actor,) = group._actors
        count = NaiveIndex(documents, 255).count([97])

        def dawdle(holder):
            answer = type(holder).of_engine

            def slowly(*args):
                time.sleep(2.5)
                return answer(*args)

            type(holder).of_engine = slowly
            return os.getpid()

        process = ray.get(actor.__ray_call__.remote(dawdle))
        assert index.count([97]).count == count
        assert group._actors == [actor]
        os.kill(process, signal.SIGSTOP)
        assert index.count([97]).count == count
        assert group._actors != [actor]


def test_a_changed_index(connected, tmp_path, make):
    path = make(tmp_path / "index", some_documents(9, 20), segments=3)
    with opened(path) as index, everygram.open(path) as here:
        assert not index.refresh()
        everygram.delete(path, documents=[0, 7])
        assert index.refresh() and here.refresh()
        queries = some_queries(3, 20)
        assert plain(index.count_batch(queries)) == plain(here.count_batch(queries))
        assert pickle.loads(pickle.dumps(index)).count([97]).count == here.count([97]).count


def test_closed(connected, tmp_path, make):
    path = make(tmp_path / "index", some_documents(9, 20), segments=3)
    index = opened(path)
    index.close()
    index.close()
    with pytest.raises(QueryError, match="closed"):
        index.count([97])


@pytest.mark.parametrize(
    "options", [{"ray": 3}, {"ray": "local", "actors": 0}, {"replicas": 2}, {"partial": True}]
)
def test_options(tmp_path, make, options):
    path = make(tmp_path / "index", [[97]])
    with pytest.raises(OptionError):
        everygram.open(path, **options)


def test_not_of_a_union(tmp_path, make):
    path = make(tmp_path / "index", [[97]])
    with pytest.raises(OptionError, match="union"):
        everygram.open([path, path], ray="auto")
