"""Time as a live recording has it, in seconds from its beginning."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    def now(self) -> float: ...

    def wait_until(self, seconds: float) -> None:
        """Returns at once where that is past."""
        ...


class RealClock:
    """The one on the wall."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def now(self) -> float:
        return time.monotonic() - self._start

    def wait_until(self, seconds: float) -> None:
        time.sleep(max(0.0, seconds - self.now()))


class SimulatedClock:
    """Waiting takes no time, computing takes what it costs.

    cost: seconds that were computed so far; by default those of a CPU that this thread has had, whatever else
    the machine does.
    """

    def __init__(self, cost: Callable[[], float] = time.thread_time) -> None:
        self._cost = cost
        self._start = cost()
        self._waited = 0.0

    def now(self) -> float:
        return self._waited + self._cost() - self._start

    def wait_until(self, seconds: float) -> None:
        self._waited += max(0.0, seconds - self.now())
