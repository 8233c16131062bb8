"""`python -m tests.fuzz --minutes N [--targets csv pt ...]`: fuzz every reader, keep what was fatal."""

from __future__ import annotations

import argparse
import hashlib
import logging
import random
import sys
import time

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, Target
from tests.fuzz.trial import SEEDS, attempt, files

CASES_OF_A_ROUND = 100


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for all targets together")
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=None, help="repeats a run; default: another each time")
    options = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    generator = random.Random(options.seed)
    each = 60 * options.minutes / len(options.targets)
    failures = 0
    print(f"{'target':20}{'cases':>8}{'read':>8}{'failures':>10}")
    for name in options.targets:
        cases, read, found = _fuzz(name, TARGETS[name], time.monotonic() + each, generator)
        failures += len(found)
        print(f"{name:20}{cases:8}{read:8}{len(found):10}", flush=True)
        for text in found:
            print(f"    {text}")
    return 1 if failures else 0


def _fuzz(name: str, target: Target, until: float, generator: random.Random) -> tuple[int, int, list[str]]:
    """(cases, of which were read, failures) until the time is up."""
    counts = {"cases": 0, "read": 0}
    fatal: dict[str, bytes] = {}

    def once(content: bytes) -> None:
        if time.monotonic() > until:
            return
        counts["cases"] += 1
        try:
            counts["read"] += attempt(target, content)
        except AssertionError as error:
            smallest = fatal.get(str(error)[:60])
            if smallest is None or len(content) < len(smallest):
                fatal[str(error)[:60]] = content

    while time.monotonic() < until:
        run = settings(
            max_examples=CASES_OF_A_ROUND,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )(given(st.one_of(files(target)))(once))
        seed(generator.getrandbits(32))(run)()
    folder = SEEDS / name
    found = []
    for text, content in fatal.items():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha256(content).hexdigest()[:12]
        path.write_bytes(content)
        found.append(f"{text} ({path})")
    return counts["cases"], counts["read"], found


if __name__ == "__main__":
    sys.exit(main())
