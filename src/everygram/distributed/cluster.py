"""The Ray cluster that a program uses: its own on this machine, or one that is there.

Ray comes with the extra `everygram[ray]`.
"""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from everygram import arguments
from everygram.errors import MissingExtraError, OptionError

# What starts a cluster on this machine, in place of the address of one.
LOCAL = "local"
# Seconds to wait for an answer.
PATIENCE = 5


def ray_module() -> Any:
    """Ray. Raises MissingExtraError."""
    try:
        import ray
    except ImportError:
        raise MissingExtraError(
            "working on a cluster needs Ray: pip install 'everygram[ray]'"
        ) from None
    return ray


def check_reachable(address: str) -> None:
    """Raise what `connected` would, as far as that is known without a connection."""
    ray_module()
    _check_answers(arguments.string("ray", address))


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Ray, connected to the cluster at an address, "auto" for the one on this machine, or "local"
    for a new one, which ends with the context. A program that is connected already stays so.

    Raises OptionError if there is none, MissingExtraError.
    """
    arguments.string("ray", address)
    ray = ray_module()
    if ray.is_initialized():
        _check_same(ray, address)
        yield ray
        return
    _check_answers(address)
    given: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}
    if address == LOCAL:
        given["include_dashboard"] = False
    try:
        ray.init(address, **given)
    except Exception as error:  # of many kinds, also bare ones
        raise _none(address, _first_line(error)) from None
    try:
        yield ray
    finally:
        ray.shutdown()


def machines(ray: Any) -> list[tuple[int, int]]:
    """The processors and the memory (bytes) of each machine that has processors. Raises OptionError
    if there is none."""
    found = [
        (int(each["Resources"].get("CPU", 0)), int(each["Resources"].get("memory", 0)))
        for each in ray.nodes()
        if each["Alive"]
    ]
    found = [(cpus, memory) for cpus, memory in found if cpus]
    if not found:
        raise OptionError("ray: expected a cluster with processors, found none in it")
    return found


# The connection that open indexes share, and how many hold it.
_connection, _holders, _changing = ExitStack(), 0, threading.Lock()


def hold(address: str) -> Any:
    """`connected` until as many calls of `let_go`. Raises as `connected`."""
    global _holders
    with _changing:
        if not _holders:
            _connection.enter_context(connected(address))
        else:
            _check_same(ray_module(), address)
        _holders += 1
    return ray_module()


def let_go() -> None:
    """End what `hold` began; the connection ends with the last."""
    global _holders
    with _changing:
        _holders -= 1
        if not _holders:
            _connection.close()


def _check_same(ray: Any, address: str) -> None:
    """Raise OptionError if this program is connected to another cluster."""
    there = ray.get_runtime_context().gcs_address
    if address in (LOCAL, "auto", there) or address.startswith("ray://"):
        return
    (host, _, port), (its_host, _, its_port) = address.rpartition(":"), there.rpartition(":")
    try:
        hosts = {found[4][0] for found in socket.getaddrinfo(host, None)} if host else set()
    except OSError:
        hosts = set()
    if port != its_port or its_host not in hosts:
        raise OptionError(
            f"ray: this program is connected to the cluster at {there!r} already, and cannot be to "
            f"{address!r} too"
        )


def _check_answers(address: str) -> None:
    """Raise OptionError if nothing answers at HOST:PORT. (Ray would wait for minutes.)"""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise _none(address, str(error)) from None


def _none(address: str, why: str) -> OptionError:
    return OptionError(
        f"ray: no cluster answers at {address!r} ({why}); start one with 'ray start --head', or "
        "leave the address out for one on this machine"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
