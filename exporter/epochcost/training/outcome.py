"""The status of a training run that ends by an exception."""

from __future__ import annotations

STOPS = ("TrialPruned",)
"""Exceptions by which a search ends a training run on purpose (Optuna's); known by name, for nothing is imported."""
SIGNALS = ("SIGTERMException",)
"""Exceptions by which a framework ends a training run after SIGTERM (Lightning's)."""


def status_of(error: BaseException | None) -> str:
    """``finished``, ``failed`` or ``preempted``."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names.intersection(SIGNALS):  # which may be a SystemExit too
        return "preempted"
    clean_exit = isinstance(error, SystemExit) and error.code in (None, 0)
    return "finished" if error is None or clean_exit or names.intersection(STOPS) else "failed"
