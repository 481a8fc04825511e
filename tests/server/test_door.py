"""The door of a worker: who comes in, who is turned away, and what that leaves behind."""

import asyncio
import json
import socket
from typing import ClassVar

import psutil

from everygram.server import door
from everygram.server.door import Door

MOST = 3


class Inside(asyncio.Protocol):
    """A connection that was let in says so."""

    all: ClassVar = set()

    def connection_made(self, transport):
        self.transport = transport
        Inside.all.add(self)
        transport.write(b"in")

    def connection_lost(self, error):
        Inside.all.discard(self)


class House:
    """A door, and those who come."""

    def __init__(self, **more):
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.refused, self.came = [], []
        given = {"most": MOST, "refused": self.refused.append, "tls": None, "tls_seconds": 1.0}
        self.door = Door([self.listening], Inside, Inside.all, **(given | more))

    async def __aenter__(self):
        Inside.all.clear()
        self.door.open()
        return self

    async def __aexit__(self, *_):
        self.door.close()
        for each in self.came:
            each.close()
        for each in [*Inside.all]:
            each.transport.abort()
        self.listening.close()
        await asyncio.sleep(0.05)

    async def come(self, sent=b"POST / HTTP/1.1\r\n"):
        # (What it sends is there before anybody looks.)
        client = socket.create_connection(self.listening.getsockname())
        client.sendall(sent)
        reader, writer = await asyncio.open_connection(sock=client)
        self.came.append(writer)
        return reader, writer

    async def told(self, sent=b"POST / HTTP/1.1\r\n"):
        reader, writer = await self.come(sent)
        async with asyncio.timeout(10):
            said = await reader.read(2) if sent.startswith(b"GET /h") else await reader.read()
        writer.close()
        return said


async def fill(house):
    inside = [await house.come() for _ in range(MOST)]
    for reader, _ in inside:
        assert await reader.read(2) == b"in"
    return inside


def test_those_beyond_are_turned_away_and_room_is_made_when_one_leaves():
    async def run():
        async with House() as house:
            inside = await fill(house)
            ids = set()
            for _ in range(20):
                head, _, body = (await house.told()).partition(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 503 ")
                assert b"retry-after: 1" in head and b"connection: close" in head
                problem = json.loads(body)
                assert problem["type"] == "urn:everygram:problem:too-many-connections"
                ids.add(problem["request_id"])
            assert len(ids) == 20 and door.NOBODY not in ids
            assert house.refused == ["too-many-connections"] * 20
            assert len(Inside.all) == MOST
            inside[0][1].close()
            await asyncio.sleep(0.1)
            reader, writer = await house.come()
            assert await reader.read(2) == b"in"
            writer.close()

    asyncio.run(run())


def test_questions_for_its_health_come_in_and_so_do_those_who_say_nothing_so_far(monkeypatch):
    monkeypatch.setattr(door, "SPARE_CONNECTIONS", 4)

    async def run():
        async with House() as house:
            inside = await fill(house)
            for method in (b"GET", b"HEAD"):
                reader, writer = await house.come(method + b" /health/live HTTP/1.1\r\n")
                assert await reader.read(2) == b"in"
                inside.append((reader, writer))
            silent = [await house.come(b"") for _ in range(3)]
            assert await silent[0][0].read(2) == b"in"
            assert await silent[1][0].read(2) == b"in"
            # Beyond these, nobody.
            assert (await silent[2][0].read()).startswith(b"HTTP/1.1 503 ")
            assert (await house.told(b"GET /health HTTP/1.1\r\n\r\n")).startswith(b"HT")
            assert len(Inside.all) == MOST + 4

    asyncio.run(run())


def test_nothing_is_left_of_those_who_were_turned_away(monkeypatch):
    monkeypatch.setattr(door, "KEPT", 10)
    monkeypatch.setattr(door, "KEPT_SECONDS", 0.2)

    async def run():
        async with House() as house:
            inside = await fill(house)
            files = psutil.Process().num_fds()
            away = [await house.come() for _ in range(40)]
            for reader, _ in away:  # who never close
                assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
            assert psutil.Process().num_fds() <= files + 40 + 10
            await asyncio.sleep(0.6)
            # No more than their own ends: what other tests left may be closed meanwhile.
            assert psutil.Process().num_fds() <= files + 40
            for _, writer in (*away, *inside):
                writer.close()

    asyncio.run(run())


def test_a_system_without_files_left(monkeypatch):
    """Who comes then waits until there are some again."""

    class Listening:
        def __init__(self, real):
            self.real, self.failures = real, 3

        def accept(self):
            if self.failures:
                self.failures -= 1
                raise OSError(24, "Too many open files")
            return self.real.accept()

        def __getattr__(self, name):
            return getattr(self.real, name)

    async def run():
        async with House() as house:
            house.door.close()
            house.listening = Listening(house.listening)
            house.door = Door(
                [house.listening], Inside, [], most=MOST, refused=print, tls=None,
                tls_seconds=1,
            )  # fmt: skip
            house.door.open()
            reader, writer = await house.come()
            async with asyncio.timeout(10):
                assert await reader.read(2) == b"in"
            assert house.listening.failures == 0
            writer.close()

    asyncio.run(run())


def test_turning_away_leaves_time_for_others(monkeypatch):
    """However many come, most of the time is for those who are in."""

    async def run():
        async with House() as house:
            inside = await fill(house)
            loop, turns, away = asyncio.get_running_loop(), [], []
            monkeypatch.setattr(door, "_may_be_health", lambda _: False)
            real = house.door._turn_away

            def slow(connection, now):
                begin = loop.time()
                while loop.time() - begin < 0.01:
                    pass
                away.append(loop.time() - begin)
                real(connection, now)

            monkeypatch.setattr(house.door, "_turn_away", slow)
            coming = [socket.create_connection(house.listening.getsockname()) for _ in range(60)]
            begin = loop.time()
            while len(away) < 60:
                await asyncio.sleep(0)
                turns.append(loop.time())
            assert loop.time() - begin > (door.PARTS - 1) * sum(away) * 0.5
            for each in coming:
                each.close()
            for _, writer in inside:
                writer.close()

    asyncio.run(run())


def test_a_client_that_says_nothing_in_tls_does_not_stay(tmp_path):
    import ssl
    import subprocess

    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-keyout", tmp_path / "k.pem", "-out", tmp_path / "c.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")

    async def run():
        async with House(tls=tls, tls_seconds=0.3) as house:
            reader, writer = await house.come(b"")
            async with asyncio.timeout(5):
                assert await reader.read() == b""
            writer.close()
            trusting = ssl.create_default_context(cafile=tmp_path / "c.pem")
            host, port = house.listening.getsockname()
            reader, writer = await asyncio.open_connection(
                host, port, ssl=trusting, server_hostname="localhost"
            )
            assert await reader.read(2) == b"in"
            writer.close()

    asyncio.run(run())
