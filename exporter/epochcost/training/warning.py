"""Warnings of the library: each subject is logged once."""

from __future__ import annotations

_warned: set[str] = set()


def warn_once(subject: str, message: str) -> None:
    """Log ``message`` as a warning of logger ``epochcost``; only the first one about ``subject`` in this process.

    Without any logging set up, Python prints such a warning as one line on stderr.
    """
    _once("warning", subject, message)


def inform_once(subject: str, message: str) -> None:
    """The same at level INFO, shown by programs that log at that level."""
    _once("info", subject, message)


def _once(level: str, subject: str, message: str) -> None:
    if subject in _warned:
        return
    _warned.add(subject)
    try:
        import logging

        getattr(logging.getLogger("epochcost"), level)("epochcost: %s", message)
    except Exception:  # noqa: BLE001 - a handler of the user's that fails must not end the training
        return


def shown(value: object) -> str:
    """``repr`` of a value of the user's, short, whatever its ``__repr__`` does."""
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - the user's object, the user's exceptions
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004
