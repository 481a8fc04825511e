"""Rates: how many requests pass, when the next one does, and what that takes of memory."""

import itertools
import subprocess
import sys
import tracemalloc
from datetime import UTC, datetime

import pytest

from everygram.server import rates as module
from everygram.server.keys import Key
from everygram.server.rates import Rates
from everygram.server.settings import Settings


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def rates_of(**settings):
    clock = Clock()
    return Rates(Settings(**settings), clock), clock


def key_of(letter, rate=None):
    digest = letter * 64
    created = datetime(2026, 1, 1, tzinfo=UTC)
    return Key(id=digest[:8], name=letter, sha256=digest, scopes={}, rate=rate, created=created)


def passed(rates, number, key=None, address="10.0.0.1"):
    """How many of so many requests at once pass."""
    return sum(rates.check(key, address) is None for _ in range(number))


@pytest.mark.parametrize(
    ("rate", "amount", "seconds"),
    [("1/second", 1, 1), ("100/second", 100, 1), ("7/minute", 7, 60), ("5000/hour", 5000, 3600),
     ("9 per day", 9, 86400), ("3/2 minutes", 3, 120)],
)  # fmt: skip
def test_so_many_pass_at_once_and_then_one_each_nth_of_the_time(rate, amount, seconds):
    rates, clock = rates_of(rate_per_address=rate)
    assert passed(rates, amount + 5) == amount
    clock.now += seconds / amount * 1.001
    assert passed(rates, 5) == 1
    clock.now += seconds / amount * 3.001
    assert passed(rates, 5) == min(3, amount)
    clock.now += seconds * 100
    assert passed(rates, amount + 5) == amount


def test_after_the_time_that_is_told_a_request_passes():
    rates, clock = rates_of(rate_per_address="2/minute")
    passed(rates, 2)
    wait = rates.check(None, "10.0.0.1")
    assert wait == 30.0
    # (Refused requests take nothing.)
    assert passed(rates, 100) == 0
    clock.now += wait - 0.5
    assert rates.check(None, "10.0.0.1") == 1.0
    clock.now += 0.5
    assert rates.check(None, "10.0.0.1") is None


def test_the_time_that_is_told_is_a_whole_number_of_seconds():
    rates, _ = rates_of(rate_per_address="1000/second")
    passed(rates, 1000)
    assert rates.check(None, "10.0.0.1") == 1.0


def test_without_rates_all_pass():
    rates, _ = rates_of()
    assert passed(rates, 1000) == 1000
    assert passed(rates, 1000, key_of("a")) == 1000


def test_a_key_has_its_own_rate_or_that_of_all_keys_wherever_it_is_sent_from():
    rates, _ = rates_of(rate_per_key="3/hour", rate_per_address="2/hour")
    own, plain, other = key_of("a", "5/hour"), key_of("b"), key_of("c")
    assert passed(rates, 4, own, "10.0.0.1") == 4
    assert passed(rates, 4, own, "10.0.0.2") == 1
    assert passed(rates, 9, plain) == 3
    assert passed(rates, 9, other) == 3
    assert passed(rates, 9) == 2


def test_a_key_of_its_own_rate_where_others_have_none():
    rates, _ = rates_of()
    assert passed(rates, 9, key_of("a", "5/hour")) == 5
    assert passed(rates, 9, key_of("b")) == 9


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::2:3:4:5", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("", "unix", False),
        ("", "", True),
    ],
)
def test_which_addresses_are_one(first, second, same):
    rates, _ = rates_of(rate_per_address="1/hour")
    assert passed(rates, 1, address=first) == 1
    assert passed(rates, 1, address=second) == (0 if same else 1)


def test_many_addresses_take_no_more_memory_and_those_that_ask_most_are_not_forgotten():
    rates, _ = rates_of(rate_per_address="5/day")
    assert passed(rates, 9, address="10.0.0.1") == 5
    # (Caches are full after the first of these.)
    numbers = itertools.count()
    tracemalloc.start()
    try:
        taken = []
        for _ in range(3):
            for _ in range(20_000):
                rates.check(None, f"2001:db8:{next(numbers):x}::1")
            taken.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert taken[2] - taken[1] < 10_000
    assert len(rates._table) == 2 << 20
    assert passed(rates, 9, address="10.0.0.1") == 0


def test_a_full_table_forgets_who_has_asked_least_and_refuses_nobody(monkeypatch):
    monkeypatch.setattr(module, "SLOTS", 8)
    rates, _ = rates_of(rate_per_address="5/day")
    assert passed(rates, 9, address="10.0.0.1") == 5
    for number in range(2, 200):
        assert rates.check(None, f"10.0.0.{number}") is None
    assert passed(rates, 9, address="10.0.0.1") == 0


# (In a process of its own: one with threads, as tests' may be, had better not be forked.)
FORKS = """
import os
from everygram.server.rates import Rates
from everygram.server.settings import Settings

rates = Rates(Settings(rate_per_address="100/day"))
for _ in range(3):
    process = os.fork()
    if process == 0:
        os._exit(sum(rates.check(None, "10.0.0.1") is None for _ in range(40)))
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
print(rates.check(None, "10.0.0.1") is None)
"""


def test_processes_that_are_forked_share_a_rate():
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True)
    assert done.stdout.split() == ["40", "40", "20", "False"], done.stderr
