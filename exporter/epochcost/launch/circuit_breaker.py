"""Whatever fails on our side, the command continues; only its progress is no longer reported."""

from __future__ import annotations

from collections.abc import Callable


class CallUntilFailure:
    """Calls functions until one fails for the first time; never raises.

    Attributes:
        broken: what failed; empty as long as nothing did.
    """

    def __init__(self) -> None:
        self.broken = ""

    def __call__(self, do: Callable[..., None], *args: object) -> None:
        """Do it, unless something failed before."""
        if self.broken:
            return
        try:
            do(*args)
        except Exception as err:  # noqa: BLE001 - this is the guard
            self.broken = f"{type(err).__name__}: {err}"
