"""When each source is polled: at its own pace, soon after a failure, and at once for what an agent newly requests."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from epochcost.poller.demand import RequestedTypes, TooManyWantsError
from epochcost.poller.snapshot import SourceHealth
from epochcost.poller.source_poller import SourcePoller
from epochcost.poller.source_thread import SourceThread
from epochcost.prices.price_source import Source, Want
from epochcost.prices.store import PriceStore

_RANDOM = random.Random()  # noqa: S311 - spreads requests; its own, so that no thread moves the program's

RETRY_SECONDS = 15.0
LONGEST_RETRY_SECONDS = 3600.0
SKIPPED_RETRY_SECONDS = 300.0
"""How soon to look again whether a skipped source has been configured (credentials may come later)."""
CONFIRM_SECONDS = 300.0
"""Delay before the next request after an implausible response."""
MOST_JITTER_SECONDS = 30.0
STOP_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Lookup:
    """The result of requesting a machine type.

    Attributes:
        pending: names of the sources that have yet to respond.
        tried: a sentence for each source that could have it, or one that none could.
    """

    pending: tuple[str, ...]
    tried: tuple[str, ...]


class Schedule:
    """Runs ``sources`` into ``store``, each in a thread of its own.

    Args:
        sources: with distinct names, which ``store`` knows.
        store: takes their responses.
        clock: seconds since the Unix epoch; dates the responses. The pace itself follows real time.
        retry_seconds: after a first failure; doubles with each further one, up to an hour or the source's own pace.
        watched: what to request always, beside what the sources watch and agents request.
        changed: called, by any thread, after the store was given a response.
    """

    def __init__(  # noqa: PLR0913 - the rest are for tests and for the watch list
        self,
        sources: Sequence[Source],
        store: PriceStore,
        clock: Callable[[], float],
        retry_seconds: float = RETRY_SECONDS,
        *,
        watched: Iterable[Want] = (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._watched = frozenset(watched).union(*(source.watched for source in sources))
        self._wants = RequestedTypes(_known(sources, store), clock(), watched)
        self._attempts = {source.name: SourcePoller(source, store, self._wants, clock, changed) for source in sources}
        self._failed_in_a_row = dict.fromkeys(self._attempts, 0)
        self._threads = {name: SourceThread(name) for name in self._attempts}
        self._scheduler = BackgroundScheduler(
            timezone=timezone.utc,
            executors=self._threads,
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )

    @property
    def wanted(self) -> frozenset[Want]:
        """What is in use, or watched by name."""
        return self._watched | self._wants.all(self._clock())

    @property
    def health(self) -> Mapping[str, SourceHealth]:
        """How each source fares now, by name."""
        return {name: attempts.health for name, attempts in self._attempts.items()}

    def start(self) -> None:
        """Poll every source now and from then on."""
        for name, attempts in self._attempts.items():
            seconds = attempts.source.refresh_seconds
            self._scheduler.add_job(
                self._refresh,
                IntervalTrigger(seconds=seconds, jitter=min(seconds / 10, MOST_JITTER_SECONDS), timezone=timezone.utc),
                args=(name,),
                id=name,
                executor=name,
                next_run_time=datetime.now(timezone.utc),
            )
        self._scheduler.start()

    def stop(self) -> None:
        """Stop polling; an attempt in progress is waited for only briefly, and its response is discarded."""
        for attempts in self._attempts.values():
            attempts.stop()
        self._scheduler.shutdown(wait=False)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))

    def ask(self, want: Want) -> Lookup:
        """Keep ``want`` wanted, and have it fetched now where it is new."""
        able = [attempts for attempts in self._attempts.values() if want.provider == attempts.source.provider != ""]
        if not able:
            return Lookup((), (f"no source has prices of {want.provider or 'an unnamed provider'}",))
        now = self._clock()
        try:
            self._wants.touch(want, now)
        except TooManyWantsError as err:
            return Lookup((), (str(err),))
        for attempts in able:
            if attempts.enqueue(want):
                name = attempts.source.name
                self._scheduler.add_job(self._fill, args=(name,), executor=name)
        pending = tuple(attempts.source.name for attempts in able if attempts.pending(want))
        return Lookup(pending, tuple(attempts.tried(want, now) for attempts in able))

    def _refresh(self, name: str) -> None:
        attempts = self._attempts[name]
        good = attempts.refresh()
        self._failed_in_a_row[name] = 0 if good else self._failed_in_a_row[name] + 1
        if not good:
            self._again_in(name, self._retry_seconds * 2.0 ** min(self._failed_in_a_row[name] - 1, 20))
        elif attempts.health.success is None:
            self._again_in(name, SKIPPED_RETRY_SECONDS)
        elif attempts.health.held:
            self._again_in(name, CONFIRM_SECONDS)

    def _fill(self, name: str) -> None:
        if not self._attempts[name].fill():
            self._again_in(name, self._retry_seconds)

    def _again_in(self, name: str, seconds: float) -> None:
        """Bring the next refresh forward, unless its own pace is quicker."""
        wait = min(seconds, LONGEST_RETRY_SECONDS, self._attempts[name].source.refresh_seconds)
        wait *= _RANDOM.uniform(0.9, 1.0)  # so that pollers that failed together do not retry together
        try:
            job = self._scheduler.get_job(name)
            when = datetime.now(timezone.utc) + timedelta(seconds=wait)
            if job is not None and job.next_run_time > when:
                self._scheduler.modify_job(name, next_run_time=when)
        except JobLookupError:  # stopped meanwhile
            return


def _known(sources: Sequence[Source], store: PriceStore) -> set[Want]:
    """What was requested before a restart: the subjects of the last good prices."""
    return {
        Want(key.provider, key.region, key.instance_type)
        for source in sources
        if source.provider
        for key in store.merged.shelves[source.name].prices
    }
