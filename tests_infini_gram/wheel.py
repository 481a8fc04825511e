"""infini-gram's engine of one index, in a process of its own (`wheel_side.py`)."""

import ast
import json
import os
import subprocess
from pathlib import Path

# Where `bench/peers.sh` has installed infini-gram.
HERE = Path(__file__).parent
PEERS = Path(os.environ.get("PEERS") or HERE.parent / "bench" / ".peers").absolute()


class Wheel:
    """Answers calls. It is started again after it has ended itself."""

    DIED = "died"

    def __init__(self, kind: str, arguments: list, named: dict) -> None:
        self._opening = {"open": kind, "arguments": arguments, "named": named}
        self._process = None

    def __call__(self, name: str, arguments: list, named: dict):
        """The answer of a method; ("raised", the error's type); or "died"."""
        if self._process is None:
            self._process = subprocess.Popen(
                [PEERS / "bin" / "python", HERE / "wheel_side.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert self._ask(self._opening) is None, "infini-gram does not open its index"
        return self._ask({"call": name, "arguments": arguments, "named": named})

    def _ask(self, request: dict):
        print(json.dumps(request), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            self.close()
            return self.DIED
        said = json.loads(line)
        return ast.literal_eval(said["answer"]) if "answer" in said else ("raised", said["raised"])

    def close(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.stdout.close()
            self._process.wait()
            self._process = None
