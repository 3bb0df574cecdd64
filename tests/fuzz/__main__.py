"""``python -m tests.fuzz --inputs N --seed S``: so many inputs, shared out over all readers."""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time

from tests.fuzz.mutations import mutated
from tests.fuzz.readers import READERS

SLOW_SECONDS = 2.0


def say(text: str) -> None:
    """A line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """0 when no reader broke, 1 with the input that broke one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--reader", choices=[*READERS], default="")
    told = parser.parse_args()
    logging.getLogger("epochcost").setLevel(logging.CRITICAL)
    chosen = {name: reader for name, reader in READERS.items() if told.reader in ("", name)}
    for name, reader in chosen.items():
        rng, began, slowest = random.Random(f"{told.seed} {name}"), time.monotonic(), 0.0
        for number in range(told.inputs // len(chosen)):
            data = mutated(rng.choice(reader.seeds), rng)
            start = time.monotonic()
            try:
                reader.read(data)
            except reader.refuses:
                pass
            except Exception as err:  # noqa: BLE001 - whatever it is, it is the find
                say(f"{name}: seed {told.seed}, input {number}: {type(err).__name__}: {err}\n{data[:2000]!r}")
                return 1
            slowest = max(slowest, time.monotonic() - start)
        say(f"{name}: {number + 1} inputs in {time.monotonic() - began:.0f} s, slowest {slowest * 1e3:.1f} ms")
        if slowest > SLOW_SECONDS:
            return 1
    return 0


sys.exit(main())
