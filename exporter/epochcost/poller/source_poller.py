"""The attempts of one source: the only place that knows their time, outcome, log line and count."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

from epochcost.poller.demand import RequestedTypes
from epochcost.poller.snapshot import SourceHealth
from epochcost.prices.clean_catalogue import clean
from epochcost.prices.merged_prices import RequestScope
from epochcost.prices.one_at_a_time import computing
from epochcost.prices.plausibility import CheckResult
from epochcost.prices.price_source import (
    Catalogue,
    NotConfiguredError,
    PriceRequests,
    PriceSourceError,
    Source,
    Want,
    summary,
)
from epochcost.prices.store import PriceStore
from epochcost.prices.unpriced import Unpriced, sentences, unpriced

log = logging.getLogger("epochcost.poller")
MOST_LOGGED = 1000
"""Sentences that are remembered, so that each is logged once."""


class SourcePoller:
    """Polls ``source`` and puts its responses into ``store``; `refresh` and `fill` run in the source's own thread.

    Args:
        source: the price source.
        store: takes the responses.
        wants: what is in use or watched.
        clock: seconds since the Unix epoch.
        changed: called after the store was given a response.
    """

    def __init__(
        self,
        source: Source,
        store: PriceStore,
        wants: RequestedTypes,
        clock: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.source = source
        self._store = store
        self._wants = wants
        self._clock = clock
        self._changed = changed
        self._wanted_before: frozenset[Want] = frozenset()
        self._lock = threading.Lock()
        self._queued: set[Want] = set()
        self._tried: dict[Want, float] = {}
        self._unpriced: dict[Want, Unpriced] = {}
        self._logged: tuple[str, ...] = ()
        self._stopped = False
        self._health = SourceHealth(last_success_ts=store.merged.shelves[source.name].confirmed_ts)

    @property
    def health(self) -> SourceHealth:
        """How it fares now."""
        return replace(self._health, prices=len(self._store.merged.shelves[self.source.name].prices))

    def stop(self) -> None:
        """Throw away what an attempt still under way brings."""
        self._stopped = True

    def enqueue(self, want: Want) -> bool:
        """Whether ``want`` was never tried, so that `fill` has to run; it is pending until then."""
        with self._lock:
            if want in self._tried or want in self._queued:
                return False
            self._queued.add(want)
            return True

    def pending(self, want: Want) -> bool:
        """Whether the source has yet to respond for ``want``."""
        return want in self._queued

    def tried(self, want: Want, now: float) -> str:
        """What came of ``want``, for people."""
        if want in self._queued:
            return f"{self.source.name} is being queried"
        if self._health.sentence:
            return self._health.sentence
        seconds = max(0.0, now - self._tried.get(want, now))
        missing = self._unpriced.get(want)
        why = f" ({'; '.join(sentences(self.source.name, [missing]))})" if missing else ""
        return f"{self.source.name} was queried {seconds:.0f} s ago and has none{why}"

    def refresh(self) -> bool:
        """Request everything wanted; returns whether that succeeded (skipped counts as success)."""
        now = self._clock()
        requests = PriceRequests(self.source.watched | self._wants.current(self.source.provider, now))
        forgotten = self._wanted_before - requests.items
        with self._lock:
            self._tried = {want: ts for want, ts in self._tried.items() if want in requests.items}
            self._queued |= requests.items - self._tried.keys()  # so that they are not fetched a second time
        good = self._attempt(requests, now, partial=False, forgotten=forgotten)
        if good:
            self._wanted_before = requests.items
        return good

    def fill(self) -> bool:
        """Request only what is newly wanted, if anything is."""
        with self._lock:
            requests = PriceRequests(frozenset(self._queued))
        return not requests.items or self._attempt(requests, self._clock(), partial=True)

    def _attempt(
        self, requests: PriceRequests, now: float, *, partial: bool, forgotten: frozenset[Want] = frozenset()
    ) -> bool:
        began = time.monotonic()
        health = self._health
        try:
            with computing():
                catalogue = clean(self.source.name, self.source.fetch(requests, now))
                if self._stopped:
                    return True
                verdict = self._store.put(self.source.name, catalogue, now, RequestScope(partial, forgotten))
                health = self._held_back(self._health_after(catalogue, verdict, now, partial=partial), verdict)
                health = self._looked_through(health, catalogue, requests)
                self._changed()
        except NotConfiguredError as err:
            health = self._unconfigured(str(err))
        except PriceSourceError as err:
            health = self._failed(str(err))
        except Exception as err:  # whatever a source raises, the schedule must continue
            log.exception("unexpected error in price source %s", self.source.name)
            health = self._failed(f"{self.source.name}: {type(err).__name__}: {err}")
        finally:
            self._health = replace(health, duration_seconds=time.monotonic() - began)
            with self._lock:
                self._queued -= requests.items
                self._tried |= dict.fromkeys(requests.items, now)
        return self._health.success is not False

    def _health_after(self, catalogue: Catalogue, verdict: CheckResult, now: float, *, partial: bool) -> SourceHealth:
        if catalogue.problems:
            return self._failed(summary(catalogue.problems))
        if self._health.success is not True:
            log.info("price source %s responded: %d prices", self.source.name, len(catalogue.prices))
        full_ts = self._health.last_success_ts if partial or verdict.catalogue is None else now
        return replace(self._health, success=True, sentence="", last_success_ts=full_ts)

    def _looked_through(self, health: SourceHealth, catalogue: Catalogue, requests: PriceRequests) -> SourceHealth:
        """Note what was requested and is not in the response, and what is unknown in the response; log each once."""
        others = {want: each for want, each in self._unpriced.items() if want not in requests.items}
        current = self._wants.current(self.source.provider, self._clock()) | self.source.watched
        others = {want: each for want, each in others.items() if want in current}
        self._unpriced = {**others, **{each.want: each for each in unpriced(catalogue)}}
        messages = sentences(self.source.name, self._unpriced.values(), catalogue.problems)
        for sentence in (*messages, *catalogue.notes):
            self._say_once(sentence)
        for name in catalogue.unknown:
            self._say_once(f"{self.source.name}: a kind of price that is not known here: {name}; please report it")
        return replace(
            health,
            unpriced=len(self._unpriced),
            unpriced_sentences=messages,
            unknown=catalogue.unknown,
            credits=catalogue.credits,
            unknown_total=self._health.unknown_total + len(catalogue.unknown),
        )

    def _say_once(self, sentence: str) -> None:
        if sentence not in self._logged:
            self._logged = (*self._logged[-MOST_LOGGED:], sentence)
            log.warning("price source %s", sentence)

    def _held_back(self, health: SourceHealth, verdict: CheckResult) -> SourceHealth:
        """Count what is held back; log it once, however often it comes again."""
        if verdict.sentence and verdict.sentence != self._health.held_sentence:
            log.warning("price source %s: implausible, held back: %s", self.source.name, verdict.sentence)
        total = Counter(self._health.held_total) + Counter(verdict.held)
        return replace(health, held=verdict.held, held_total=total, held_sentence=verdict.sentence)

    def _unconfigured(self, sentence: str) -> SourceHealth:
        if self._store.merged.shelves[self.source.name].prices:  # it worked before, so something was lost
            return self._failed(sentence)
        if sentence != self._health.sentence:
            log.info("price source skipped: %s", sentence)
        return replace(self._health, success=None, sentence=sentence)

    def _failed(self, sentence: str) -> SourceHealth:
        if sentence != self._health.sentence:
            log.warning("price source failed: %s", sentence)
        return replace(self._health, success=False, sentence=sentence, failures=self._health.failures + 1)
