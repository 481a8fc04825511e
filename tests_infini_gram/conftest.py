"""Tests with infini-gram 2.6.0: in bench/.peers, where `bench/peers.sh` installs it, or in the
environment that the variable PEERS names.
"""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.append(str(ROOT / "bench"))

from wheel import PEERS  # noqa: E402


@pytest.fixture(scope="session")
def peers() -> Path:
    assert (PEERS / "bin" / "python").exists(), f"no infini-gram in {PEERS}: run bench/peers.sh"
    return PEERS
