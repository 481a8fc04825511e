"""NDJSON over HTTP: what is held of it is counted, and its work ends when its client leaves."""

import asyncio
import json
import time

import pytest
from service_cases import build

from everygram.server import metrics
from everygram.server.app import create_app
from everygram.server.calls import Answer
from everygram.server.pool import Given
from everygram.server.problems import Refusal
from everygram.server.settings import Settings

COUNT = "/v1/indexes/corpus/count"
NDJSON, JSON = "application/x-ndjson", "application/json"
LINE = b'{"query": "language"}\n'


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return build(tmp_path_factory.mktemp("held"))


class Pool:
    """Answers each line with the same one, after a while. refusals: raised first."""

    def __init__(self, seconds=0.0, size=10, refusals=()):
        self.seconds, self.size, self.refusals = seconds, size, list(refusals)
        self.ended = self.begun = 0

    def check(self, call):
        pass

    async def answer(self, call, seconds):
        self.begun += 1
        try:
            await asyncio.sleep(self.seconds)
            if self.refusals and (refusal := self.refusals.pop(0)) is not None:
                raise refusal
        finally:
            self.ended += 1
        count = max(call.body.count(b"\n"), 1)
        return Given(Answer(200, b"", (), 1, ""), [b"x" * self.size + b"\n"] * count)

    async def follow(self):
        pass

    def load(self):
        return 0, 0


class Asked:
    """What a service says to a client that sends `messages`, and leaves after `leaves` seconds."""

    def __init__(self, messages, kind=NDJSON, path=COUNT, leaves=5.0, send_seconds=0.0, more=()):
        self.messages, self.leaves, self.send_seconds = list(messages), leaves, send_seconds
        self.sent, self.cut = [], False
        self.scope = {
            "type": "http",
            "http_version": "1.1",
            "scheme": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"localhost"), (b"content-type", kind.encode()), *more],
            "client": ("127.0.0.1", 1),
            "everygram.cut": self._cut,
        }

    def _cut(self):
        self.cut = True

    async def receive(self):
        await asyncio.sleep(0)
        if self.messages:
            body = self.messages.pop(0)
            return {"type": "http.request", "body": body, "more_body": bool(self.messages)}
        await asyncio.sleep(self.leaves)
        return {"type": "http.disconnect"}

    async def send(self, message):
        await asyncio.sleep(self.send_seconds)
        self.sent.append(message)

    @property
    def status(self):
        return self.sent[0]["status"] if self.sent else None

    @property
    def body(self):
        return b"".join(each.get("body", b"") for each in self.sent)


def serve(paths, pool, *askings, **settings):
    """Have a service answer all of them at once; nothing is held, and no task left, after it."""
    service = create_app(Settings(indexes=paths, **settings))
    service._pool = pool

    async def main():
        await asyncio.gather(*(service(each.scope, each.receive, each.send) for each in askings))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert service._held == 0
    assert service._metrics._cells[metrics._IN_FLIGHT] == 0
    return service


def test_lines_are_answered_in_groups(paths):
    sent = [LINE * 700] * 5
    asked = Asked(sent)
    pool = Pool()
    serve(paths, pool, asked)
    assert asked.status == 200 and asked.body.count(b"\n") == 3500
    assert 3 <= pool.begun <= 5


@pytest.mark.parametrize("messages", [[LINE], [LINE * 1000, LINE], [LINE * 1000] * 3])
def test_work_ends_when_the_client_of_lines_leaves(paths, messages):
    pool = Pool(seconds=10)
    asked = Asked(messages, leaves=0.1)
    begin = time.monotonic()
    serve(paths, pool, asked)
    assert time.monotonic() - begin < 8 and pool.begun == pool.ended == 1


def test_lines_that_come_while_others_are_answered_are_kept(paths):
    asked = Asked([LINE * 1000, *[LINE] * 4000])
    serve(paths, Pool(seconds=0.01), asked)
    assert asked.body.count(b"\n") == 5000


def test_long_lines_are_held(paths):
    """Many clients that send lines without an end hold no more than is allowed together."""
    limits = {"max_pending_bytes": 3 << 20, "max_body_bytes": 1 << 20}
    asking = [Asked([b"x" * 65536] * 12 + [b""]) for _ in range(8)]
    serve(paths, Pool(), *asking, **limits)
    statuses = sorted(each.status for each in asking)
    assert statuses[0] == 200 and statuses[-1] == 503, statuses


def test_answers_to_lines_are_held(paths):
    """Those of clients that have been answered before wait for room."""
    limits = {"max_pending_bytes": 4 << 20, "max_body_bytes": 1 << 20}
    asking = [Asked([LINE * 1000] * 4, send_seconds=0.0005) for _ in range(6)]
    serve(paths, Pool(size=1000), *asking, **limits)
    for each in asking:
        assert each.status in (200, 503)
        assert each.status == 503 or each.body.count(b"\n") == 4000
    assert any(each.status == 200 for each in asking)


def test_an_answer_to_lines_that_cannot_go_on_is_cut(paths):
    """A line that is too long, after others were answered: nothing else tells the client."""
    asked = Asked([LINE * 1000, b"x" * 700_000, b"x" * 700_000])
    serve(paths, Pool(), asked, max_body_bytes=1 << 20)
    assert asked.status == 200 and asked.cut
    assert asked.sent[-1]["more_body"]


OVERLOADED = Refusal("overloaded", "try again", headers=(("retry-after", "1"),))
LATE = Refusal("time-limit", "too long")


def test_lines_where_the_service_is_overloaded(paths):
    first = Asked([LINE])
    serve(paths, Pool(refusals=[OVERLOADED]), first)
    assert first.status == 503
    later = Asked([LINE * 1000] * 3)
    serve(paths, Pool(refusals=[None, OVERLOADED, OVERLOADED]), later)
    assert later.status == 200 and later.body.count(b"\n") == 3000
    late = Asked([LINE * 1000] * 3)
    serve(paths, Pool(refusals=[None, LATE]), late)
    assert late.body.count(b"\n") == 3000 and late.body.count(b"time-limit") == 1000


@pytest.mark.parametrize("refusal", [None, OVERLOADED, LATE, RuntimeError("a fault")])
@pytest.mark.parametrize("leaves", [0.0, 0.02, 5.0])
@pytest.mark.parametrize("size", [10, 5 << 20])
def test_nothing_is_held_after_a_query(paths, refusal, leaves, size):
    body = json.dumps({"text": "language", "batch": None}).encode()
    attribute = COUNT.replace("count", "attribute")
    asked = Asked([body[:5], body[5:]], JSON, attribute, leaves)
    pool = Pool(seconds=0.05, size=size, refusals=[refusal])
    serve(paths, pool, asked, max_pending_bytes=4 << 20)
    if leaves < 1:
        assert not asked.sent
    elif refusal is None:
        assert asked.status == (200 if size == 10 else 503)
    else:
        assert asked.status in (500, 503, 504)


def test_nothing_is_held_of_bodies_that_are_refused(paths):
    for kind in (JSON, NDJSON):
        for declared in ((), ((b"content-length", b"99999999"),)):
            asked = Asked([b"x" * 1000] * 3000, kind, more=declared)
            serve(paths, Pool(), asked, max_body_bytes=1 << 20)
            assert asked.status == 413 or kind == NDJSON
    left = Asked([], JSON, leaves=0.01)
    serve(paths, Pool(), left)
    assert not left.sent
