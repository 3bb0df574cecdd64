"""The lines of one attempt of a run, from its start to its end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from epochcost.training.memory import MemoryPeak
from epochcost.training.position import Position
from epochcost.training.reported import ReportedValues
from epochcost.training.run_metadata import RunMetadata
from epochcost.training.writer import Writer

_wall, _monotonic = time.time, time.monotonic


class EventEmitter:
    """Makes lines and hands them to a writer; without a writer it is silent.

    Not for several threads at once: its run holds a lock.

    Attributes:
        facts: of the run, as known by now.
        reported: numbers that go with the lines.
    """

    def __init__(self, facts: RunMetadata, make_writer: Callable[[str], Writer] | None, memory: MemoryPeak) -> None:
        self.facts = facts
        self._make_writer = make_writer
        self._memory = memory
        self.reported = ReportedValues()
        self._writer: Writer | None = None
        self._start_head = ""
        self._fragments: dict[bool, str] = {}
        self._run_key = f'"run":{json.dumps(facts.run)}'

    @property
    def has_emitted(self) -> bool:
        """Whether anything was written."""
        return self._writer is not None and bool(self._writer.name)

    @property
    def silent(self) -> bool:
        """Whether nothing will be written from now on."""
        return self._writer is None or self._writer.dead

    def begin(self, position: Position) -> None:
        """A new attempt, in a file of its own."""
        self._writer = self._make_writer(self.facts.run) if self._make_writer else None
        self._start_head = self.head("start")
        self._fragments.clear()
        self.emit("start", position, "startup", head=self._start_head)

    def head(self, kind: str) -> str:
        """The beginning of an event that happens now."""
        return f'{{"v":1,"ev":"{kind}","ts":{_wall():.6f},"mono":{_monotonic():.6f},{self._run_key}'

    def emit(self, kind: str, position: Position, phase: str, extra: str = "", *, head: str = "") -> None:
        """Write a boundary, with all facts, so that a line lost before it does no harm.

        Args:
            kind: of the event.
            position: the position to report.
            phase: that the run is in.
            extra: more keys as JSON, led by a comma.
            head: from an earlier `head`, for an event that happened then.
        """
        writer = self._writer
        if writer is None or writer.dead:
            return
        if writer.check():
            extra += self._opening(writer, kind)
        numbers = self.reported.fragment(complete=True)
        where = f'{position.fragment()},"phase":"{phase}"{extra}{self._memory.fragment()}{numbers}'
        writer.put(f"{head or self.head(kind)}{where}{self._fact_fields(writer)}}}\n".encode())

    def progress(self, position: Position, phase: str) -> bool:
        """Write the line of a second: the position alone, all in one place, for this is what a training run waits for.

        False when nothing will be written any longer.
        """
        writer = self._writer
        if writer is None or writer.dead:
            return False
        facts, fresh = "", writer.attach()
        if fresh:  # a file that does not know them
            facts = self._opening(writer, "progress") + self._fact_fields(writer)
        writer.put(
            f'{{"v":1,"ev":"progress","ts":{_wall():.6f},"mono":{_monotonic():.6f},{self._run_key}'
            f'{position.fragment()},"phase":"{phase}"{self._memory.fragment()}'
            f"{self.reported.fragment(complete=fresh)}{facts}}}\n".encode()
        )
        return not writer.dead

    def describe(self, facts: RunMetadata) -> None:
        """The facts as they are known by now; the run's id may change only before `begin`."""
        self.facts = facts
        self._fragments.clear()
        self._run_key = f'"run":{json.dumps(facts.run)}'

    def close(self) -> None:
        """The last line was written."""
        self.reported.clear()
        if self._writer is not None:
            self._writer.close()

    def mute(self) -> None:
        """In a forked child."""
        self._make_writer = None
        if self._writer is not None:
            self._writer.mute()

    def _fact_fields(self, writer: Writer) -> str:
        if writer.locked not in self._fragments:
            self._fragments[writer.locked] = self.facts.fragment(locked=writer.locked)
        return self._fragments[writer.locked]

    def _opening(self, writer: Writer, kind: str) -> str:
        """What a file must begin with; the start itself, if no earlier file took it."""
        if writer.replaces:
            return f',"continues":{json.dumps(writer.replaces)}'
        if kind != "start":
            writer.put(f"{self._start_head}{self._fact_fields(writer)}}}\n".encode())
        return ""
