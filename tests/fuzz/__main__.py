"""``python -m tests.fuzz --inputs N --seed S``: so many inputs, shared out over all readers."""

from __future__ import annotations

import argparse
import logging
import math
import random
import subprocess
import sys
import time

from tests.fuzz.mutations import mutated
from tests.fuzz.reader import Reader
from tests.fuzz.readers import READERS

SLOW_SECONDS = 2.0


def print_line(text: str) -> None:
    """Print a line, unbuffered."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    """Returns 0 when no reader failed, 1 with the failing input printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--reader", choices=[*READERS], default="")
    parser.add_argument("--guided", action="store_true", help="by coverage, where atheris is installed")
    parser.add_argument("--inputs-of-each", type=int, default=0, help="instead of --inputs")
    args = parser.parse_args()
    logging.getLogger("epochcost").setLevel(logging.CRITICAL)
    chosen = {name: reader for name, reader in READERS.items() if args.reader in ("", name)}
    counts = {name: args.inputs_of_each or math.ceil(args.inputs / len(chosen)) for name in chosen}
    feed = guided if args.guided else fed
    failures = [name for name, reader in chosen.items() if not feed(name, reader, counts[name], args.seed)]
    print_line(f"{sum(counts.values())} inputs, {len(chosen)} readers; broken: {', '.join(failures) or 'none'}")
    return int(bool(failures))


def fed(name: str, reader: Reader, count: int, seed: int) -> bool:
    """Whether the reader accepted or rejected ``count`` inputs; prints the first that it failed on."""
    rng, started_at, slowest = random.Random(f"{seed} {name}"), time.monotonic(), 0.0
    for number in range(count):
        data = mutated(rng.choice(reader.seeds), rng)
        start = time.thread_time()
        try:
            reader.read(data)
        except reader.refuses:
            pass
        except Exception as err:  # noqa: BLE001 - whatever it is, it is the find
            print_line(f"{name}: seed {seed}, input {number}: {type(err).__name__}: {err}\n{data[:2000]!r}")
            return False
        slowest = max(slowest, time.thread_time() - start)
    print_line(f"{name}: {count} inputs in {time.monotonic() - started_at:.0f} s, slowest {slowest * 1e3:.1f} ms")
    return slowest <= SLOW_SECONDS


def guided(name: str, _: Reader, count: int, seed: int) -> bool:
    """As `fed`, by a process of its own, whose inputs follow the code that they reach."""
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(count), str(seed % 2**32)]
    completed = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    messages = [line for line in completed.stderr.splitlines() if line.strip()]
    print_line(
        f"{name}: {count} guided inputs"
        if completed.returncode == 0
        else "\n".join([f"{name}: seed {seed}", *messages[-30:]])
    )
    return completed.returncode == 0


sys.exit(main())
