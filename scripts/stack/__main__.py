"""``scripts/up``: flags, and the order in which things happen."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
from pathlib import Path

from scripts.stack import containers, native
from scripts.stack.machine import Machine, look_at_this_machine
from scripts.stack.processes import Stack, still_running, stop_recorded
from scripts.stack.show import Pointers, print_pointers, train_and_show

ROOT = Path(__file__).resolve().parents[2]
HOME = Path(os.environ.get("EPOCHCOST_UP_HOME", ROOT / ".up"))
"""Logs, data and what is left running; elsewhere for tests."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/up",
        description="Start agent, price poller, Prometheus, Alertmanager and (where it can be had) Grafana on this "
        "machine, train a small model for real, and show what one epoch of it costs.",
    )
    parser.add_argument("--detach", action="store_true", help="leave it running; `scripts/up --stop` ends it")
    parser.add_argument("--stop", action="store_true", help="end what an earlier --detach left running")
    parser.add_argument("--no-example", action="store_true", help="start the parts only")
    parser.add_argument("--mode", choices=("auto", "native", "containers"), default="auto")
    parser.add_argument("--epochs", type=int, default=25, help="epochs of the example (default 25)")
    parser.add_argument("--batch-size", type=int, default=20, help="batch size of the example (default 20)")
    parser.add_argument("--samples", type=int, default=12000, help="samples of one epoch of the example")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    stack = Stack(HOME)
    if args.stop:
        return stop_recorded(HOME)
    if running := still_running(HOME):
        print(f"scripts/up: {', '.join(running)} of an earlier --detach run still; scripts/up --stop ends them")
        return 1
    machine = look_at_this_machine(os.environ)
    print(machine.sentence)
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        pointers = start(args, stack, machine)
        print_pointers(pointers)
        if not args.no_example:
            train_and_show(stack, pointers, args, done)
        if args.detach and not done.is_set():
            stack.leave_running()
            print("\nLeft running. End it with: scripts/up --stop")
            return 0
        if not done.is_set():
            print("\nRunning until Ctrl-C.", flush=True)
        stack.watch(done)
    except native.StartError as err:
        print(f"scripts/up: {err}", file=sys.stderr)
        return 1
    finally:
        stack.stop()
    return 0


def start(args: argparse.Namespace, stack: Stack, machine: Machine) -> Pointers:
    """Containers where they work and their images are here, else processes of this machine."""
    if args.mode != "native":
        reason = containers.cannot(ROOT)
        if not reason:
            return containers.start(ROOT, stack, machine)
        if args.mode == "containers":
            raise native.StartError(reason)
        print(f"Without containers: {reason}.")
    missing = [name for name in ("prometheus", "prometheus-alertmanager") if not shutil.which(name)]
    if missing:
        print(f"Not installed: {', '.join(missing)}. Agent, price poller and live page run all the same.")
    return native.start(ROOT, stack, machine)


if __name__ == "__main__":
    sys.exit(main())
