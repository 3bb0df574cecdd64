"""What the agent remembers over restarts: taken up at the start, saved now and then."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from epochcost.agent.agent_health import AgentHealth
from epochcost.agent.agent_state_file import StateError, StateFile
from epochcost.agent.host_sampling import HostSampling
from epochcost.agent.meter import Meter, MeterState
from epochcost.agent.priced_machine import PricedMachine, SavedMachine
from epochcost.agent.run_records import NOT_WHAT_WAS_SAVED, impossible_runs, without_runs
from epochcost.agent.snapshot import CollectorHealth
from epochcost.ledger.ledger import STATE_VERSION
from epochcost.ledger.state_check import ImpossibleStateError
from epochcost.ledger.time_shift import earlier
from epochcost.model import is_number
from epochcost.nodes.machine_name import AnotherMachineError
from epochcost.progress.clock import NodeClock, SavedClock
from epochcost.progress.event_sources import EventSources

if TYPE_CHECKING:
    from epochcost.agent.guarding import Guarding

log = logging.getLogger(__name__)
SAVE_SECONDS = (5.0, 60.0)
"""Least and most between two saves of the state."""
LATE_SECONDS = 60.0
"""Nothing may lie further in the future: after a boot the wall clock may not be quite right yet."""
SAVED_WITHIN_SECONDS = 15 * 60.0
"""Between the last accounted second and its saving: a sampling interval, and whatever delayed this process."""
SAVING_SHARE = 0.001
"""Saving takes no more of a core than this: a state with many thousand epochs is saved more seldom."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """The parts whose state outlives the process."""

    clock: NodeClock
    files: EventSources
    meter: Meter
    machine: PricedMachine
    guarding: Guarding | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)
    """Held while the meter is changed, saved or described: its snapshot is made on request."""


class AgentMemory:
    """The state of one agent in its file.

    Attributes:
        first: nothing is known of this boot of the machine yet: its ledger is to be opened.
        parts: whose state is saved.
    """

    def __init__(self, file: StateFile, parts: Remembered, host: HostSampling, health: AgentHealth) -> None:
        self.file = file
        self.first = True
        self.parts = parts
        self._host = host
        self._health = health
        self._save_at = 0.0
        self._took = 0.0
        """CPU seconds of the newest save, the cheaper of two: the first, or one that was disturbed, takes longer."""

    def resume(self) -> None:
        """Take up where an earlier agent left off."""
        self._take_up()
        if self.parts.guarding is not None:
            self.parts.guarding.resume(self.parts.clock.now())

    def _take_up(self) -> None:
        saved = self.file.load()
        if saved is None:
            return
        it = self.parts
        same_boot = saved.get("boot_id") == self._host.boot_id != ""
        try:
            if not same_boot:
                saved = self._before_this_boot(saved)
            clock, meter_state, machine = self._looked_through(saved, same_boot=same_boot)
        except NOT_WHAT_WAS_SAVED as err:
            it.files.clear()
            rest = self._but_for_some_runs(saved, same_boot=same_boot)
            if rest is None:
                another = isinstance(err, AnotherMachineError)
                self.file.set_aside(str(err) if another else f"{type(err).__name__}: {err}")
                it.files.clear()
                return
            saved, (clock, meter_state, machine) = rest
        it.meter.take(meter_state)
        it.clock.take(clock)
        now = it.clock.now()
        it.machine.take(machine, it.meter, now if same_boot else self._host.boot_ts(now))
        self.first = not same_boot
        if it.guarding is not None:
            it.guarding.restore(saved.get("guard"))

    def _looked_through(self, saved: dict[str, Any], *, same_boot: bool) -> tuple[SavedClock, MeterState, SavedMachine]:
        """All of it, if it can be true; but for the files nothing is applied yet.

        Raises:
            LookupError, TypeError, ValueError, AttributeError, OverflowError: when it cannot.
        """
        it = self.parts
        clock = it.clock.restored(saved["clock"])
        if saved["boot_id"] != saved["clock"]["boot"]:
            raise ImpossibleStateError("the clock belongs to another boot than the rest")
        meter_state = it.meter.restored(saved["meter"], clock.now + LATE_SECONDS)
        machine = it.machine.restored(saved, same_boot=same_boot)
        _check_times(clock, meter_state.ledger.cursor)
        it.files.restore(saved["files"])
        return clock, meter_state, machine

    def _but_for_some_runs(
        self, saved: dict[str, Any], *, same_boot: bool
    ) -> tuple[dict[str, Any], tuple[SavedClock, MeterState, SavedMachine]] | None:
        """``saved`` and what is in it without runs that cannot be; None if these are not all that is wrong."""
        try:
            latest = self.parts.clock.restored(saved["clock"]).now + LATE_SECONDS
            wrong = impossible_runs(saved["meter"]["ledger"], latest)
            rest = without_runs(saved, wrong) if wrong else None
            if rest is None:
                return None
            looked = self._looked_through(rest, same_boot=same_boot)
        except NOT_WHAT_WAS_SAVED:
            return None
        records = saved["meter"]["ledger"]["runs"]
        self.file.keep_aside({run: {"reason": why, "record": records[run]} for run, why in wrong.items()})
        return rest, looked

    def _before_this_boot(self, saved: dict[str, Any]) -> dict[str, Any]:
        """``saved`` by an earlier boot, whose clock may have been ahead: what it accounted lies before this boot.

        Raises:
            KeyError, TypeError, ValueError, IndexError: when it is not what `state` makes.
        """
        clock, meter = saved["clock"], saved["meter"]
        if meter["ledger"]["version"] != STATE_VERSION or not is_number(clock.get("mono")):
            return saved  # an older version wrote no time to go by
        saved_t, now, cursor = clock["mono"] + clock["offset"], self.parts.clock.now(), meter["ledger"]["cursor"]
        if cursor is None or saved_t <= now + LATE_SECONDS or abs(saved_t - cursor) > SAVED_WITHIN_SECONDS:
            return saved
        ahead = saved_t - self._host.boot_ts(now)
        log.warning("the clock of the previous boot was ahead: its accounting is moved back by %.0f s", ahead)
        writers = {writer: [shift and shift - ahead, t - ahead] for writer, (shift, t) in clock["writers"].items()}
        boot_ts = meter["boot_ts"] and meter["boot_ts"] - ahead
        dates = [[until, shift - ahead, error] for until, shift, error in saved.get("price_dates", [])]
        return {
            **saved,
            "clock": {**clock, "offset": clock["offset"] - ahead, "writers": writers},
            "price_dates": dates,
            "meter": {**meter, "boot_ts": boot_ts, "ledger": earlier(meter["ledger"], ahead)},
        }

    def state(self) -> dict[str, Any]:
        """Everything that must survive, as JSON-able data, all of one instant."""
        it = self.parts
        guard = {} if it.guarding is None else {"guard": it.guarding.state()}
        with it.lock:
            return {
                **guard,
                "boot_id": self._host.boot_id,
                **it.machine.state(),
                "clock": it.clock.state(),
                "files": it.files.state(),
                "meter": it.meter.state(),
            }

    def save_when_due(self) -> None:
        """Save, if the last time is long enough ago."""
        if self.parts.clock.now() >= self._save_at:
            self.save()

    def save(self) -> None:
        """Save now; a failure is logged once and tried again."""
        began, cpu = time.perf_counter(), time.thread_time()
        error = ""
        try:
            self.file.save(self.state())
        except StateError as err:
            error = str(err)
            if error != self._health.state.error:
                log.error("state: %s", error)  # noqa: TRY400 - the text is complete
        took, self._took = self._took, time.thread_time() - cpu
        self._save_at = self.parts.clock.now() + pause_after_saving(min(took, self._took))
        self._health.state = CollectorHealth(not error, time.perf_counter() - began, error)

    def close(self) -> None:
        """Release the state, which another agent may then use, and the event directories."""
        self.parts.files.close()
        self.file.close()


def _check_times(clock: SavedClock, cursor: float | None) -> None:
    """The ledger is saved right after it was written: a timeline that contradicts this is another one.

    Raises:
        ImpossibleStateError: when it does.
    """
    if clock.saved_t is not None and cursor is not None and abs(clock.saved_t - cursor) > SAVED_WITHIN_SECONDS:
        raise ImpossibleStateError(f"saved at {clock.saved_t!r} by its clock, but accounted until {cursor!r}")


def pause_after_saving(cpu_seconds: float) -> float:
    """Seconds until the state is saved again, given how long saving it took."""
    least, most = SAVE_SECONDS
    return min(most, max(least, cpu_seconds / SAVING_SHARE))
