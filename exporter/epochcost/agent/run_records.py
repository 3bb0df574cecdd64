"""A run's record in a saved state that cannot be true: removed alone, if the rest of the state can be.

What the machine cost is in the node's ledger, not in the records of runs, and stays. The run's own event files are read
again from their beginnings, from which its record is rebuilt. Where that is impossible (a file has reported another run
as well, which would be counted twice), the whole state is unusable.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from epochcost.ledger.ledger import STATE_VERSION
from epochcost.ledger.run import RunAccount
from epochcost.ledger.state_check import check_run
from epochcost.model import RunId

WRITER, RUN = 1, 9
"""Where a row of `EventFileState.row` has them."""
NOT_WHAT_WAS_SAVED = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


def impossible_runs(ledger: Mapping[str, Any], latest: float) -> dict[str, str]:
    """Runs of a saved ledger whose records cannot be true, and why, given that nothing lies after ``latest``.

    Raises:
        KeyError, TypeError, AttributeError: when it is not a saved ledger.
    """
    if ledger["version"] != STATE_VERSION:
        return {}
    impossible = {}
    for run, record in ledger["runs"].items():
        try:
            check_run(RunAccount.restored(RunId(run), record), f"runs: {run}", latest)
        except NOT_WHAT_WAS_SAVED as err:  # noqa: PERF203 - each for itself
            impossible[str(run)] = f"{type(err).__name__}: {err}"
    return impossible


def without_runs(saved: Mapping[str, Any], runs: Collection[str]) -> dict[str, Any] | None:
    """``saved`` without the records of ``runs``, and as if their files had never been read; None if that cannot be.

    Raises:
        KeyError, TypeError, AttributeError, IndexError: when it is not a saved state.
    """
    files, clock, meter = saved["files"], saved["clock"], saved["meter"]
    records = {run: record for run, record in meter["ledger"]["runs"].items() if run not in runs}
    rows = [*files["files"], *files.get("network", {}).get("files", [])]
    writers = {row[WRITER] for row in rows if row[RUN] in runs}
    others = {name.partition("#")[0] for record in records.values() for name in record["members"]}
    if writers & others:
        return None

    def unread(listed: Mapping[str, Any]) -> dict[str, Any]:
        return {**listed, "files": [row for row in listed["files"] if row[RUN] not in runs]}

    network = {"network": unread(files["network"])} if "network" in files else {}
    anchors = {writer: anchor for writer, anchor in clock["writers"].items() if writer not in writers}
    return {
        **saved,
        "files": {**unread(files), **network},
        "clock": {**clock, "writers": anchors},
        "meter": {**meter, "ledger": {**meter["ledger"], "runs": records}},
    }
