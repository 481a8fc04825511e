"""How many requests a key, or an address, may send in a time.

In: who asks. Out: how long to wait. Rates are written as `limits` reads them. Of who asks only a
hash and a time are kept, in a table of a fixed size: however many addresses ask, it grows no
larger, and needs no cleaning. The table is shared with processes that are forked later, so that a
rate holds for all workers together. (The library's own store in memory is a process's own, keeps
every address for the length of the window, and starts a thread that goes through all of them up to
100 times a second.) Knows nothing of HTTP.
"""

import functools
import ipaddress
import math
import mmap
import struct
import time
from collections.abc import Callable

import limits

from everygram.server.keys import Key
from everygram.server.settings import Settings

# Slots of the table: two MiB. Who asks may stand in any of this many, from where its hash says.
SLOTS, NEIGHBOURS = 1 << 17, 8
# A slot: the hash of who asks (0: it is free), and the time at which nothing is left of what it has
# used up.
SLOT = struct.Struct("=Qd")


class Rates:
    """The rates of a service, and what has been used up of them.

    A rate of N in a time lets N requests through at once and then one each Nth of that time: the
    generic cell rate algorithm. Two processes that count the same request of two at once may let
    one more through.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds, the same in all processes."""
        self._per_key, self._per_address = settings.rate_per_key, settings.rate_per_address
        self._clock = clock
        self._table = mmap.mmap(-1, SLOTS * SLOT.size)

    def check(self, key: Key | None, address: str) -> float | None:
        """Count a request: None if it may pass, else the whole seconds after which one may.

        With a key its own rate counts, or that of all keys; else the rate of addresses.
        """
        if key is None:
            rate, who = self._per_address, f"address {_network(address)}"
        else:
            rate, who = key.rate or self._per_key, f"key {key.id}"
        if rate is None:
            return None
        amount, seconds = _parsed(rate)
        now = self._clock()
        # (Python's hashes are keyed: nobody can choose addresses that share a slot.)
        tag = hash(who) & (1 << 64) - 1 or 1
        place, until = self._found(tag)
        # The time that is used up, with this request.
        until = max(until, now) + seconds / amount
        wait = until - now - seconds
        # (Rounding of large times must not refuse the last of N.)
        if wait > seconds * 1e-9 + 1e-6:
            return float(math.ceil(wait))
        SLOT.pack_into(self._table, place, tag, until)
        return None

    def _found(self, tag: int) -> tuple[int, float]:
        """Where who asks stands, or is to stand, in the table, and its time."""
        found, least = 0, math.inf
        for number in range(tag, tag + NEIGHBOURS):
            place = number % SLOTS * SLOT.size
            there, until = SLOT.unpack_from(self._table, place)
            if there == tag:
                return place, until
            # Whoever has used up least makes room: it gets back that much, and nobody is refused.
            if until < least:
                found, least = place, until
        return found, 0.0


@functools.lru_cache(1 << 10)
def _parsed(rate: str) -> tuple[int, int]:
    """(requests, seconds) of a rate."""
    parsed = limits.parse(rate)
    return parsed.amount, parsed.get_expiry()


@functools.lru_cache(1 << 12)
def _network(address: str) -> str:
    """What stands for an address: of IPv6 its /64, any of which one client can have."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.version == 4:
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else parsed.packed[:8].hex()
