"""What the command writes, passed on as it comes: byte for byte, at once, and only then looked at."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from epochcost.launch.moment import Moment
from epochcost.launch.reading.lines import Lines
from epochcost.launch.terminal import OutputTerminal

READ_BYTES = 65536
WRITE_BYTES = 4096
"""What a ready pipe accepts without blocking (PIPE_BUF), so that the other stream is not delayed."""
TICK_MS = 100
LAST_WORDS_MS = 100
"""How long a terminal may take to hand over what was written into it before the command ended."""
IDLE_TICKS = 2


@dataclass(slots=True, eq=False)
class Stream:
    """One way from the command (``source``) to where our own output goes (``sink``)."""

    source: int
    sink: int
    lines: Lines = field(default_factory=Lines)
    terminal: OutputTerminal | None = None
    pending: bytes = b""
    open: bool = True
    read_at: Moment = field(default_factory=Moment.now)
    """When something came last."""

    def close(self) -> None:
        """The command sees a closed pipe, as it would have seen itself."""
        self.open, self.pending = False, b""
        os.close(self.source)

    def read(self) -> bytes:
        """What is there; empty at the end, which closes the stream."""
        try:
            data = os.read(self.source, READ_BYTES)
        except OSError:  # EIO: no process holds the terminal any more
            data = b""
        if not data:
            self.close()
            return data
        self.read_at = Moment.now()
        if self.terminal is not None:
            self.terminal.mirror()
        return data

    def write(self) -> None:
        """Pass on what is pending, as far as it goes without waiting."""
        try:
            while self.pending:
                if not _ready(self.sink):
                    return
                written = os.write(self.sink, self.pending[:WRITE_BYTES])
                self.pending = self.pending[written:]
        except BlockingIOError:
            return
        except OSError:  # the reader is gone
            self.close()


class Relay:
    """Passes the streams on until the command has ended and all that it wrote has been passed on.

    Args:
        streams: to be passed on.
        ended: becomes readable when the command has ended.
        on_lines: called with the lines of a stream, after they were passed on, and when they came.
        tick: called about ten times a second.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        ended: int,
        on_lines: Callable[[list[bytes], Moment], None],
        tick: Callable[[], None],
    ) -> None:
        self._streams = list(streams)
        self._ended = ended
        self._on_lines = on_lines
        self._tick = tick
        self._quiet = 0
        self._tick_due = 0.0

    @property
    def open(self) -> bool:
        """Whether any process still holds one of the streams."""
        return any(stream.open for stream in self._streams)

    def run(self) -> None:
        """Until the command has ended; then what it left."""
        while not self._turn(TICK_MS):
            pass
        self.drain()

    def drain(self) -> None:
        """Relay what is there now, and no more: other holders of the streams may write for ever."""
        patience = LAST_WORDS_MS if any(s.terminal is not None and s.open for s in self._streams) else 0
        while self.open:
            waiting = any(stream.pending for stream in self._streams)
            if not self._pass_on(None, TICK_MS if waiting else patience) and not waiting:
                return

    def forward(self) -> None:
        """To the end of all streams."""
        while self.open:
            self._pass_on(None, None)

    def _turn(self, wait_ms: int) -> bool:
        """One wait and what came of it; True when the command has ended."""
        ready = self._pass_on(self._ended, wait_ms)
        if not ready:
            self._quiet += 1
            if self._quiet == IDLE_TICKS:
                self._hear_unfinished()
        else:
            self._quiet = 0
        if (now := time.monotonic()) >= self._tick_due:
            self._tick_due = now + TICK_MS / 1000
            self._tick()
        return self._ended in ready

    def _hear_unfinished(self) -> None:
        """A bar is drawn without an end of line: when nothing follows for a while, it is whole."""
        for stream in self._streams:
            if rest := stream.lines.unfinished():
                self._on_lines([rest], stream.read_at)

    def _pass_on(self, also: int | None, wait_ms: int | None) -> set[int]:
        waiting = select.poll()
        if also is not None:
            waiting.register(also, select.POLLIN)
        for stream in self._streams:
            if stream.open and stream.pending:
                waiting.register(stream.sink, select.POLLOUT)
            elif stream.open:
                waiting.register(stream.source, select.POLLIN)
        ready = {fd for fd, _ in waiting.poll(wait_ms)}
        for stream in self._streams:
            if stream.open and stream.pending and stream.sink in ready:
                stream.write()
            elif stream.open and not stream.pending and stream.source in ready:
                self._take(stream)
        return ready

    def _take(self, stream: Stream) -> None:
        data = stream.read()
        if not data:
            return
        stream.pending = data
        stream.write()
        if lines := stream.lines.cut(data):
            self._on_lines(lines, stream.read_at)


def _ready(sink: int) -> bool:
    poller = select.poll()
    poller.register(sink, select.POLLOUT)
    return bool(poller.poll(0))
