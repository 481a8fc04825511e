"""Whether a service ends because its terminal was closed: SIGHUP says so, and also reloads."""

import errno
import os
import signal

# The terminal that a process was started from, if it has one.
PATH = "/dev/tty"
# Seconds within which a terminal's end is followed by its signal. A service that has lived on for
# longer (a shell was told to let it go) has no terminal any more.
SOON = 5.0


class Terminal:
    """The terminal of this process.

    Only one that is there from the start counts, and none if SIGHUP is ignored then (nohup).
    """

    def __init__(self) -> None:
        self._counts = signal.getsignal(signal.SIGHUP) != signal.SIG_IGN and not _missing()
        self._gone: float | None = None

    def look(self, now: float) -> None:
        """See whether it is there at this time, in seconds. To be called about every second."""
        if self._counts and self._gone is None and _missing():
            self._gone = now

    def closed(self, now: float) -> bool:
        """Whether a SIGHUP at this time says that it was closed."""
        self.look(now)
        return self._gone is not None and now - self._gone < SOON


def _missing() -> bool:
    try:
        os.close(os.open(PATH, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
    return False
