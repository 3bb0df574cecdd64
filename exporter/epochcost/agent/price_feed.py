"""Requests the price of this node on a thread of its own, so that no poller can delay the meter."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Protocol

from epochcost.agent.meter_inputs import Quote
from epochcost.agent.node_terms import on_timeline
from epochcost.agent.price_dates import PriceDates
from epochcost.agent.snapshot import CollectorHealth
from epochcost.asking_thread import AskingThread
from epochcost.model import ClockReading, Price
from epochcost.prices.quote import PriceTerms

_RANDOM = random.Random()  # noqa: S311 - spreads requests; its own, so that no thread moves the program's

log = logging.getLogger(__name__)
FREE = "free"
"""Source of a price of nothing, where no other price is known."""
FIRST_RETRY_SECONDS = 2.0
MOST_SECONDS = 10.0
"""No request takes longer."""
END_SECONDS = 6.0
"""How long `PriceFeed.stop` waits for a request in progress."""
SPREAD = (0.9, 1.1)
RETRY_SPREAD = (0.5, 1.5)
LATER_SPREAD = (1.0, 3.0)
"""Spread of retries, as a multiple of the requested ``Retry-After``: agents must not come back all at once."""
FIRST_SPREAD_SECONDS = 2.0
"""A new agent's first request is delayed by at most this, and so is its first dollar."""
KNOWN_SPREAD_SECONDS = 15.0
"""One that knows a price from before a restart has time."""
"""Agents that started, or failed, in the same instant drift apart: thousands at once are more than a poller serves."""


class Priced(Protocol):
    """A response: a price, and in $/h what on demand would cost."""

    @property
    def price(self) -> Price | None:
        """The price of the node; None if only its free hours are known."""
        ...

    @property
    def terms(self) -> PriceTerms:
        """What is known beside it."""
        ...

    @property
    def on_demand_usd_per_hour(self) -> float | None:
        """None if unknown or meaningless."""
        ...

    @property
    def clock(self) -> ClockReading | None:
        """The clock that dated it; None if it is not known."""
        ...


class Asks(Protocol):
    """The poller, or what stands in for it."""

    def fetch(self, now: float) -> Priced:
        """Return the price, or raise an exception whose text contains the reason."""
        ...


class PriceFeed(AskingThread):
    """Keeps the newest quote; after a failure it retries sooner, and the last quote stays with its age.

    Args:
        source: where prices are requested.
        interval: seconds between two requests.
        wall: the wall clock, in seconds since the Unix epoch.
        now: the node timeline; by default the wall clock.
    """

    def __init__(
        self, source: Asks, interval: float, wall: Callable[[], float], now: Callable[[], float] | None = None
    ) -> None:
        super().__init__("epochcost-price", END_SECONDS)
        self._source = source
        self._interval = interval
        self._wall = wall
        self._now = now or wall
        self.dates = PriceDates()
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._spread = 0.0
        self._contradictions = 0
        self._later = 0.0
        """``Retry-After`` of the poller's last response, in seconds."""
        self.quote: Quote | None = None
        self.error = "not polled yet"

    def start(self, spread: float = 0.0) -> None:
        """Send the first request within ``spread`` seconds: thousands of agents may have started at this very moment.

        It waits no longer than the interval between two requests.
        """
        self._spread = min(spread, self._interval)
        super().start()

    def stop(self) -> None:
        """Stop; waits for a request in progress, at most `END_SECONDS`."""
        self._stop.set()
        self._wake.set()
        super().stop()

    @property
    def health(self) -> CollectorHealth:
        """How the last request went."""
        error = self.error
        return CollectorHealth(not error, self.last_duration or 0.0, error, contradictions=self._contradictions)

    @property
    def started(self) -> bool:
        """Whether `start` was called."""
        return self._thread.ident is not None

    def ask_about(self, source: Asks) -> None:
        """Poll ``source`` from now on, at once: more is known of the machine, which earlier responses did not match."""
        with self._lock:
            self._source, self.quote = source, None
        self._wake.set()

    def _dated(self, answer: Priced, sent_t: float) -> Quote:
        wall, t, price = self._wall(), self._now(), answer.price
        # Half of what the response took is the way back; a clock that was set meanwhile does not measure it.
        back = (wall - sent_t) / 2 if 0 <= wall - sent_t <= MOST_SECONDS else 0.0
        self.dates.received(answer.clock, wall - back, t - back, back)
        terms = on_timeline(answer.terms, self.dates)
        if price is None:
            return Quote((), None, FREE, wall, t, terms)
        confirmed_t = min(t, self.dates.on_timeline(price.fetched_ts))
        steps = self.dates.steps(price.steps)
        return Quote(steps, answer.on_demand_usd_per_hour, price.source, price.fetched_ts, confirmed_t, terms)

    def _run(self) -> None:
        wait = FIRST_RETRY_SECONDS
        self._stop.wait(_RANDOM.uniform(0.0, self._spread))
        while not self._stop.is_set():
            if self.ask():
                wait, pause = FIRST_RETRY_SECONDS, self._interval * _RANDOM.uniform(*SPREAD)
            else:
                pause = self.pause_after_failure(wait)
                wait = min(wait * 2, self._interval)
            self._wake.wait(pause)
            self._wake.clear()

    def pause_after_failure(self, wait: float) -> float:
        """How long to wait, in seconds: ``wait``, or longer if the poller requested it."""
        pause = min(wait * _RANDOM.uniform(*RETRY_SPREAD), self._interval)
        return max(pause, self._later * _RANDOM.uniform(*LATER_SPREAD))

    def _ask(self) -> bool:
        began = time.perf_counter()
        error = ""
        self._later = 0.0
        source = self._source
        try:
            sent_t = self._wall()
            answer = source.fetch(sent_t)
            with self._lock:
                if source is not self._source:
                    return False
                self.quote = self._dated(answer, sent_t)
        except Exception as err:  # noqa: BLE001 - whatever a price source does wrong, metering continues without it
            error = str(err) or type(err).__name__
            self._later = float(getattr(err, "retry_after_seconds", 0.0))  # of `LaterError`
            self._contradictions += getattr(err, "contradicts", False) is True  # of `FollowedPoller`
            if error != self.error:
                log.warning("price: %s", error)
        if not error and self.error and self.quote is not None:
            usd = f"${self.quote.steps[-1].usd_per_hour:g} an hour" if self.quote.steps else "free hours"
            log.info("price: %s from %s", usd, self.quote.source)
        self.error, self.last_duration = error, time.perf_counter() - began
        return not error
