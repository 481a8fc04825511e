"""Where calls wait for runners, and what becomes of runners: with runners made here."""

import asyncio
import socket
import subprocess
import threading
from types import SimpleNamespace

import psutil
import pytest

from everygram.server import runner
from everygram.server.calls import Call
from everygram.server.pool import Runners
from everygram.server.problems import Refusal

CALL = Call("count", "corpus", b"{}")


def settings(**given):
    return SimpleNamespace(**{"runners": 1, "max_queue": 8, "max_seconds": 5.0} | given)


class Spawned:
    """Runners that are threads; their numbers are those of processes that sleep."""

    def __init__(self, answers):
        """answers: given a head, returns what is said of the answer; or None, to end."""
        self.answers, self.processes = answers, []
        self.started = asyncio.Event()

    async def __call__(self, niceness):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        process = subprocess.Popen(["sleep", "60"])
        self.processes.append(process)

        def work():
            with theirs:
                try:
                    while (frame := runner.receive(theirs)) is not None:
                        said = self.answers(frame[0])
                        if said is None:
                            return
                        head = {
                            "status": 200,
                            "headers": [],
                            "tokens": 0,
                            "kind": "",
                            "last": False,
                        }
                        runner.send(theirs, head | said, b"body")
                except OSError:
                    pass

        threading.Thread(target=work, daemon=True).start()
        self.started.set()
        return process.pid, ours

    def end(self):
        for each in self.processes:
            each.kill()
            each.wait()


def run(work, answers=lambda head: {}, **given):
    """Run `work`, given a pool and what spawns its runners."""

    async def main():
        spawned = Spawned(answers)
        try:
            made = Runners(spawned, SimpleNamespace(stamp="s"), settings(**given))
            await work(made, spawned)
            check_idle(made)
            made.close()
        finally:
            spawned.end()

    asyncio.run(main())


def check_idle(made, number=1):
    assert made.load() == (0, 0)
    for lane in (made._short, made._long):
        assert lane.free == number and not lane.waiting and not lane.busy


def test_who_leaves_the_queue_as_he_is_passed_over():
    """Cancelled, but not yet run, when another one lets the next in."""

    async def work(made, spawned):
        lane = made._short
        await lane.enter()
        first, second = (asyncio.ensure_future(lane.enter()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        lane.leave()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        lane.leave()

    run(work)


def test_who_leaves_the_queue_as_he_is_let_in():
    async def work(made, spawned):
        lane = made._short
        await lane.enter()
        first, second = (asyncio.ensure_future(lane.enter()) for _ in range(2))
        await asyncio.sleep(0)
        lane.leave()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        lane.leave()

    run(work)


def test_calls_that_are_given_up_at_any_moment():
    async def work(made, spawned):
        for turns in [*range(40)] * 3:
            asking = [asyncio.ensure_future(made.answer(CALL, 5)) for _ in range(3)]
            for _ in range(turns):
                await asyncio.sleep(0)
            for each in asking:
                each.cancel()
            done, _ = await asyncio.wait(asking)
            assert all(each.cancelled() or each.exception() is None for each in done)
            check_idle(made)
        assert (await made.answer(CALL, 5)).body == [b"body"]

    process = psutil.Process()
    before = process.num_fds()
    run(work)
    assert process.num_fds() <= before + 2


def test_deadlines_that_pass_in_the_queue():
    async def work(made, spawned):
        asking = [asyncio.ensure_future(made.answer(CALL, 0.05)) for _ in range(4)]
        await asyncio.wait(asking)
        for each in asking:
            assert each.exception().kind == "time-limit"

    def never(head):
        threading.Event().wait(0.5)

    run(work, never)


def test_a_runner_that_ended_is_not_killed():
    """Its number may be another process's by then."""

    async def work(made, spawned):
        await made.answer(CALL, 5)
        [first] = made._short.idle
        first.reader.feed_eof()  # as if its connection had been closed
        await made.answer(CALL, 5)
        assert len(spawned.processes) == 2 and spawned.processes[0].poll() is None

    run(work)


def test_a_runner_that_ends_over_a_call():
    async def work(made, spawned):
        with pytest.raises(Refusal) as raised:
            await made.answer(CALL, 5)
        assert raised.value.kind == "index-unavailable"
        assert spawned.processes[0].poll() is None

    run(work, lambda head: None)


def test_a_runner_that_has_grown_too_large():
    async def work(made, spawned):
        for _ in range(3):
            assert (await made.answer(CALL, 5)).body == [b"body"]
            assert not made._short.idle
        assert len(spawned.processes) == 3

    run(work, lambda head: {"last": True})


def test_a_runner_that_cannot_be_started():
    async def refused(niceness):
        raise OSError("no more processes")

    async def main():
        made = Runners(refused, SimpleNamespace(stamp="s"), settings())
        for _ in range(3):
            with pytest.raises(Refusal) as raised:
                await made.answer(CALL, 5)
            assert raised.value.kind == "overloaded"
        check_idle(made)

    asyncio.run(main())


def test_runners_that_do_not_hear_are_no_trouble_for_those_who_follow():
    stuck = threading.Event()

    def answers(head):
        if not head["operation"]:
            stuck.wait(2)
        return {}

    async def work(made, spawned):
        await made.answer(CALL, 5)
        made._settings.max_seconds = 0.1
        await made.follow()
        stuck.set()

    run(work, answers)
