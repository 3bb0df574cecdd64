"""Which id a run has that is reported over the network, for other processes of its job on this machine."""

from __future__ import annotations

from epochcost.training.writer import EventWriter

_BEGINS = (b'{"v":1,"ev":"start"', b'{"v":1,"ev":"end"')


class ClaimFile(EventWriter):
    """Takes the first and the last line of an attempt, and holds its lock in between; where it cannot, it is silent."""

    def note(self, line: bytes) -> None:
        """Take ``line`` if it is one of these."""
        if line.startswith(_BEGINS):
            self.check()
            self.put(line)

    def _say(self, err: OSError) -> None:
        """The run itself is reported all the same."""
