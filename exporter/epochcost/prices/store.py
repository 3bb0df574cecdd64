"""The last good prices: one immutable `MergedPrices`, swapped whole, kept on disk over restarts."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from pathlib import Path

from epochcost.model import Price
from epochcost.prices import price_state_file as state_file
from epochcost.prices.merged_prices import (
    DEFAULT_MAX_AGE,
    EVERYTHING,
    MaxAge,
    MergedPrices,
    RequestScope,
    SourcePrices,
    bind,
    stock,
)
from epochcost.prices.plausibility import ANY, WRITTEN, CheckResult, HeldPrice, judge
from epochcost.prices.price_source import Catalogue

DEFAULT_PRECEDENCE = ("listed_file", "owned", "*", "listed")
"""What the user wrote wins over a live API, and that over the list in the package."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreRules:
    """How responses become prices.

    Attributes:
        precedence: names of sources, best first; ``*`` for those not named.
        max_age: how old a price that its source no longer returns may become before it is dropped.
        accepted: names of sources whose responses are accepted whatever they contain; ``*`` for all.
        adjust: makes of a published price what is paid (see `epochcost.prices.merged_prices.bind`).
    """

    precedence: tuple[str, ...] = DEFAULT_PRECEDENCE
    max_age: MaxAge = DEFAULT_MAX_AGE
    accepted: Container[str] = ()
    adjust: Callable[[Price], Price | None] | None = None


DEFAULT_RULES = StoreRules()


class PriceStore:
    """Holds the prices. Any thread may read `merged`; sources `put` from their own threads.

    Args:
        path: of the state file; None keeps nothing on disk.
        sources: names of the sources in use; prices of others in the file are dropped.
        rules: how responses become prices.
    """

    def __init__(self, path: Path | None, sources: Iterable[str], rules: StoreRules = DEFAULT_RULES) -> None:
        self._path = path
        self._rules = rules
        self._doubts: dict[str, HeldPrice] = {}
        self._lock = threading.Lock()
        self._write_error = ""
        loaded = self._load()
        self._merged = bind(
            {name: loaded.get(name, SourcePrices()) for name in sources}, rules.precedence, rules.adjust
        )

    @property
    def merged(self) -> MergedPrices:
        """The prices now; a value that never changes."""
        return self._merged

    def put(
        self,
        source: str,
        catalogue: Catalogue,
        now: float,
        scope: RequestScope = EVERYTHING,
    ) -> CheckResult:
        """Take the plausible part of a response of ``source`` at ``now``: build the next prices aside, swap them in.

        Args:
            source: its name.
            catalogue: its response.
            now: seconds since the Unix epoch.
            scope: what was requested.

        Returns:
            What was accepted, and what is held back. The prices are on disk too when this returns, if they can be
            written.
        """
        with self._lock:
            shelf = self._merged.shelves.get(source, SourcePrices())
            verdict = self._judge(source, shelf, catalogue, scope)
            self._doubts[source] = verdict.doubt
            if verdict.catalogue is not None:
                fresh = stock(shelf, verdict.catalogue, now, scope, self._rules.max_age)
                self._merged = bind({**self._merged.shelves, source: fresh}, self._rules.precedence, self._rules.adjust)
                self._save()
            return verdict

    def _judge(self, source: str, shelf: SourcePrices, catalogue: Catalogue, scope: RequestScope) -> CheckResult:
        if source in WRITTEN or source in self._rules.accepted or ANY in self._rules.accepted:
            shelf = SourcePrices()  # nothing to compare with; zero is not a price
        held = self._doubts.get(source, HeldPrice())
        return judge(shelf, catalogue, held, partial=scope.partial, forgotten=scope.forgotten)

    def _load(self) -> dict[str, SourcePrices]:
        if self._path is None:
            return {}
        try:
            return state_file.read(self._path)
        except FileNotFoundError:
            return {}
        except state_file.StateFileError as err:
            aside = self._path.with_name(f"{self._path.name}.corrupt")
            _log.error(
                "%s is not a price state (%s): moved to %s, starting without prices", self._path, err, aside.name
            )
            self._move(aside)
        except OSError as err:
            _log.error("%s cannot be read (%s): starting without the last good prices", self._path, err)
        return {}

    def _move(self, aside: Path) -> None:
        assert self._path is not None  # noqa: S101 - for mypy: only called where a path was read
        try:
            self._path.replace(aside)
        except OSError as err:
            _log.error("%s cannot be moved aside: %s", self._path, err)

    def _save(self) -> None:
        if self._path is None:
            return
        try:
            state_file.write(self._path, self._merged.shelves)
            error = ""
        except OSError as err:
            error = err.strerror or type(err).__name__  # without the name of the file aside, which is new each time
            if error != self._write_error:
                _log.error("prices cannot be saved, and would be lost in a restart: %s: %s", self._path, error)
        self._write_error = error
