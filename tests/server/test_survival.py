"""A service whose indexes are pulled from under it, and whose processes are killed: it goes on."""

import contextlib
import fcntl
import os
import shutil
import signal
import termios
import threading
import time

import psutil
import pytest
from abuse import ATTRIBUTE, FOX, PATIENCE, Service, check_problem, request, slow

import everygram
from conftest import write_jsonl

SETTINGS = {"runners": 1, "max_seconds": 8, "grace_seconds": 2, "follow_seconds": 0.2}
DOCUMENTS = 2000


def made(path, word):
    """An index in which `word` occurs as often as it has documents."""
    records = [
        {"text": f"word{i} " * 3 + f"the quick brown {word} jumps"} for i in range(DOCUMENTS)
    ]
    everygram.build(write_jsonl(path.with_suffix(".jsonl"), records), path, "bytes")


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    for name, word in (("corpus", "fox"), ("other", "fox"), ("next", "hare")):
        made(folder / name, word)
    return folder


@pytest.fixture(scope="module")
def running(originals, tmp_path_factory):
    """One service for all tests; each has `corpus` as it was, again."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("corpus", "other"):
        shutil.copytree(originals / name, folder / name)
    with Service(folder, [folder / "corpus", folder / "other"], **SETTINGS) as service:
        yield service, folder


@pytest.fixture
def service(request, running, originals):
    service, folder = running
    yield service
    if "corpus" not in request.fixturenames:
        return
    shutil.rmtree(folder / "corpus", ignore_errors=True)
    shutil.copytree(originals / "corpus", folder / "new")
    (folder / "new").rename(folder / "corpus")
    # (What was mapped before answers until it is seen that it is gone.)
    time.sleep(5 * SETTINGS["follow_seconds"])
    service.until(lambda: counted(service) == DOCUMENTS)


@pytest.fixture
def corpus(running):
    return running[1] / "corpus"


def count(service, index="corpus", word="fox"):
    """The answer to a count: None where the connection breaks."""
    try:
        return service.ask(f"/v1/indexes/{index}/count", {"query": word})
    except OSError:
        return None


def counted(service, index="corpus", word="fox"):
    reply = count(service, index, word)
    return reply.json()["count"] if reply is not None and reply.status == 200 else None


def through_a_runner(service, index="corpus"):
    """The answer to a query that is not answered at once."""
    return service.ask(f"/v1/indexes/{index}/attribute", {"text": "the quick brown fox jumps"})


def check_goes_on(service):
    """The other index answers, at once and through a runner; the service says that it lives."""
    service.until(lambda: counted(service, "other") == DOCUMENTS)
    assert through_a_runner(service, "other").status == 200
    assert service.ask("/health/live", method="GET").status == 200
    assert service.ask("/health/ready", method="GET").status == 200
    assert service.process.poll() is None


def check_unavailable(service):
    """Queries of the index get a problem that says so."""
    for _ in range(20):
        reply = count(service)
        if reply is not None and reply.status != 200:
            check_problem(reply, 503, "index-unavailable")
            assert str(reply.json()).find("/served") < 0
    reply = through_a_runner(service)
    if reply.status != 200:
        check_problem(reply, 503, "index-unavailable")


def biggest(folder):
    return max(
        (each for each in folder.rglob("*") if each.is_file()), key=lambda f: f.stat().st_size
    )


def files(folder):
    return [each for each in folder.rglob("*") if each.is_file()]


# Indexes.


def test_an_index_that_is_deleted(service, corpus):
    shutil.rmtree(corpus)
    time.sleep(1)
    check_unavailable(service)
    check_goes_on(service)


def test_an_index_that_is_deleted_and_then_the_worker_is(service, corpus):
    shutil.rmtree(corpus)
    time.sleep(1)
    for each in service.workers():
        each.kill()
    check_goes_on(service)
    service.until(lambda: count(service) is not None)
    check_problem(count(service), 503, "index-unavailable")


@pytest.mark.parametrize("size", [0, 4096])
def test_an_index_that_is_cut_off(service, corpus, size):
    """Reading what is gone ends a process; the others, and the other index, do not notice."""
    for each in files(corpus):
        if each.stat().st_size > size:
            os.truncate(each, size)
    replies = [count(service, word=word) for word in ("fox", "quick", "word1", "zebra") * 5]
    assert any(reply is None or reply.status == 503 for reply in replies)
    check_goes_on(service)
    check_unavailable(service)
    check_goes_on(service)
    service.until(lambda: len(service.workers()) == 1)


def test_a_file_that_is_cut_off_under_a_runner(service, corpus):
    """Metadata, or texts: what counts do not read."""
    assert through_a_runner(service).status == 200
    os.truncate(biggest(corpus), 0)
    reply = through_a_runner(service)
    if reply.status != 200:
        check_problem(reply, 503, "index-unavailable")
    check_goes_on(service)


def test_an_index_that_is_overwritten(service, corpus):
    """What is answered then is not promised; that something is, and that the rest is right, is."""
    for each in files(corpus):
        data = each.read_bytes()
        with each.open("r+b") as file:
            file.write(bytes(255 - byte for byte in data[:100_000]))
    time.sleep(1)
    for word in ("fox", "quick", "zebra"):
        reply = count(service, word=word)
        assert reply is None or reply.status in (200, 500, 503)
    assert through_a_runner(service).status in (200, 500, 503)
    check_goes_on(service)


def test_an_index_that_is_replaced(service, corpus, originals):
    """Another one under the same name is served as soon as it is seen; no query fails."""
    before = count(service).json()["index_version"]
    aside = corpus.with_name("aside")
    shutil.copytree(originals / "next", corpus.with_name("new"))
    corpus.rename(aside)
    corpus.with_name("new").rename(corpus)
    replies = []

    def renewed():
        replies.append(count(service, word="hare"))
        return replies[-1].json()["count"] == DOCUMENTS

    service.until(renewed, 10)
    shutil.rmtree(aside)
    assert {each.status for each in replies} == {200}
    after = count(service).json()
    assert after["count"] == 0 and after["index_version"] != before
    service.until(
        lambda: through_a_runner(service).json()["index_version"] == after["index_version"], 5
    )


def test_an_index_that_grows(service, corpus):
    everygram.add(corpus, write_jsonl(corpus.with_name("more.jsonl"), [{"text": "a fox"}] * 3))
    service.until(lambda: counted(service) == DOCUMENTS + 3, 10)
    reply = service.ask("/v1/indexes/corpus/attribute", {"text": " fox", "density": None})
    assert [each["count"] for each in reply.json()["spans"]] == [DOCUMENTS + 3]


# Processes.


def test_a_worker_that_is_killed(service):
    service.until(lambda: len(service.workers()) == 1)
    [worker] = service.workers()
    with service.client() as client:
        client.send(request(ATTRIBUTE, slow(8)))
        service.until(service.busy, 5)
        orphans = service.busy()
        worker.kill()
        assert client.reply() is None
    service.until(lambda: counted(service) == DOCUMENTS)
    service.until(lambda: len(service.workers()) == 1)
    [new] = service.workers()
    assert new.pid != worker.pid
    # What the old one had asked for has no reader any more.
    service.until(lambda: not any(each.is_running() for each in orphans), 15)
    check_goes_on(service)


def test_a_worker_that_is_killed_again_and_again(service):
    for _ in range(3):
        for each in service.workers():
            each.kill()
        service.until(lambda: counted(service) == DOCUMENTS)
    check_goes_on(service)


def test_workers_that_are_killed_before_they_serve(service):
    """Those of a service that has served start again, however often."""
    killed, end = 0, time.monotonic() + 3
    while time.monotonic() < end:
        for each in service.workers():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
                killed += 1
        time.sleep(0.02)
    assert killed >= 3
    service.until(lambda: counted(service) == DOCUMENTS)
    check_goes_on(service)


def test_a_runner_that_is_killed(service):
    with service.client() as client:
        client.send(request(ATTRIBUTE, slow(8)))
        service.until(service.busy, 5)
        for each in service.busy():
            each.kill()
        check_problem(client.reply(), 503, "index-unavailable")
        client.send(request(ATTRIBUTE, {"text": "the quick brown fox"}))
        assert client.reply().status == 200
    check_goes_on(service)


def test_runners_that_are_killed_while_they_wait(service):
    assert through_a_runner(service).status == 200
    for each in service.runners():
        each.kill()
    time.sleep(0.2)
    assert through_a_runner(service).status == 200
    check_goes_on(service)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_service_whose_first_process_ends(originals, tmp_path, end):
    with Service(tmp_path, [originals / "other"], **SETTINGS) as service:
        assert through_a_runner(service, "other").status == 200
        left = service.workers() + service.runners()
        assert len(left) >= 2
        service.signal(end)
        assert service.process.wait(10) == (0 if end == signal.SIGTERM else -end)
        service.until(lambda: not any(each.is_running() for each in left), 15)


# Reloading.


def test_a_reload_loses_no_request(service):
    """Clients ask on, over connections that are kept and over new ones, while settings are read
    again three times."""
    done, failures, answered = threading.Event(), [], []

    def ask_on(keep, body, path):
        try:
            client = service.client()
            while not done.is_set():
                client.send(request(path, body))
                reply = client.reply()
                if reply is None or reply.status != 200:
                    failures.append(reply)
                    return
                answered.append(reply.status)
                if not keep or reply.headers.get("connection") == "close":
                    client.socket.close()
                    client = service.client()
            client.socket.close()
        except OSError as error:
            failures.append(error)

    one = "/v1/indexes/corpus/count", "/v1/indexes/other/attribute"
    asking = [
        threading.Thread(target=ask_on, args=each)
        for each in (
            (True, FOX, one[0]),
            (False, FOX, one[0]),
            (True, {"text": "the quick brown fox"}, one[1]),
            (False, {"text": "the quick brown fox"}, one[1]),
        )
    ]
    for each in asking:
        each.start()
    try:
        for _ in range(3):
            old = {each.pid for each in service.workers()}
            service.signal(signal.SIGHUP)
            service.until(lambda old=old: not old & {each.pid for each in service.workers()})
            assert service.workers()
    finally:
        done.set()
        for each in asking:
            each.join()
    assert not failures, failures
    assert len(answered) > 50


def test_a_worker_that_dies_while_settings_are_read_again_makes_no_more_workers(service):
    for _ in range(3):
        old = service.workers()
        service.signal(signal.SIGHUP)
        old[0].kill()
        ids = {each.pid for each in old}
        service.until(lambda ids=ids: service.workers() and not _ids(service) & ids)
        time.sleep(1.5)
        assert len(service.workers()) == 1
    check_goes_on(service)


def test_many_reloads_at_once_start_few_workers(service):
    old, most, end = _ids(service), 0, time.monotonic() + 3
    while time.monotonic() < end:
        service.signal(signal.SIGHUP)
        time.sleep(0.02)
        most = max(most, len(service.workers()))
        assert counted(service) == DOCUMENTS
    assert most <= 6
    service.until(lambda: len(service.workers()) == 1 and not _ids(service) & old)
    check_goes_on(service)


def _ids(service):
    return {each.pid for each in service.workers()}


def test_a_hang_up_kills_no_process(service):
    """(A terminal that is closed says so to all of them.)"""
    assert through_a_runner(service).status == 200
    mine = service.known.children(recursive=True)
    assert len(mine) > 1
    for each in mine:
        each.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert all(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in mine)
    check_goes_on(service)


@contextlib.contextmanager
def of_a_terminal(folder, index, nohup=False):
    """A service that was started from a terminal, and what closes that."""
    ours, theirs = os.openpty()

    def take():
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
        signal.signal(signal.SIGHUP, signal.SIG_IGN if nohup else signal.SIG_DFL)

    service = Service(folder, [index])
    service.options = {"stdin": theirs, "start_new_session": True, "preexec_fn": take}
    with contextlib.ExitStack() as open_here:
        open_here.callback(os.close, ours)
        with service:
            os.close(theirs)
            yield service, open_here.close


def reloaded(service):
    """Whether a signal sent by hand makes it read its settings again."""
    old = _ids(service)
    service.signal(signal.SIGHUP)
    service.until(lambda: service.workers() and not _ids(service) & old)
    return service.process.poll() is None


def test_a_service_ends_with_its_terminal(originals, tmp_path):
    with of_a_terminal(tmp_path, originals / "corpus") as (service, close):
        assert reloaded(service)
        mine = service.known.children(recursive=True)
        close()
        service.process.wait(PATIENCE)
        assert not psutil.wait_procs(mine, timeout=PATIENCE)[1]


def test_a_service_outlives_a_terminal_that_it_is_not_to_end_with(originals, tmp_path):
    with of_a_terminal(tmp_path, originals / "corpus", nohup=True) as (service, close):
        close()
        assert reloaded(service) and reloaded(service)


def test_a_reload_under_which_an_index_is_broken_changes_nothing(service, corpus):
    aside = corpus.with_name("kept")
    corpus.rename(aside)
    try:
        before = len(service.log.read_text())
        service.signal(signal.SIGHUP)
        service.until(lambda: "the settings stay as they were" in service.log.read_text()[before:])
        check_goes_on(service)
        said = service.log.read_text()[before:].splitlines()
        (line,) = [each for each in said if "as they were" in each]
        assert line.startswith(f"ERROR: the settings stay as they were: index '{corpus}'"), line
        assert not any("Traceback" in each for each in said)
    finally:
        aside.rename(corpus)
    service.until(lambda: counted(service) == DOCUMENTS)
