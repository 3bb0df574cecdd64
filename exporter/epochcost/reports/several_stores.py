"""Several stores behind one report: replicas, or the Prometheus servers of several clusters."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from epochcost.settings import words
from epochcost.store.promql_client import Prometheus, Series
from epochcost.store.store_access import connect
from epochcost.store.store_settings import StoreSettings

_NAMED = 5


@dataclass(slots=True)
class _StoreContent:
    """How many series a store has returned, and the machines on which it has runs."""

    series: int = 0
    machines: dict[str, set[str]] = field(default_factory=dict)

    def note(self, labels: Mapping[str, str]) -> None:
        self.series += 1
        if "run" in labels and "epochcost_machine" in labels:
            self.machines.setdefault(labels["run"], set()).add(labels["epochcost_machine"])


@dataclass(slots=True)
class SeveralStores:
    """Each query goes to all of ``stores``; one that fails fails the query, as a part is not the whole."""

    stores: Sequence[Prometheus]
    _contents: dict[str, _StoreContent] = field(default_factory=dict)
    """By URL."""

    @property
    def url(self) -> str:
        """All of them."""
        return ", ".join(store.url for store in self.stores)

    @property
    def warnings(self) -> set[str]:
        """What each returned, which of them hold nothing at all, and which runs may be several of one name."""
        warnings = {f"{store.url}: {warning}" for store in self.stores for warning in store.warnings}
        warnings |= {
            f"{url} has no epochcost series in this period"
            for url, content in self._contents.items()
            if not content.series
        }
        return warnings | set(self._shared())

    def _shared(self) -> Iterator[str]:
        """Replicas have a run's machines in common; two clusters have not."""
        for (one, here), (other, there) in itertools.combinations(self._contents.items(), 2):
            common = here.machines.keys() & there.machines.keys()
            if apart := sorted(run for run in common if here.machines[run].isdisjoint(there.machines[run])):
                more = f" and {len(apart) - _NAMED} more" if len(apart) > _NAMED else ""
                runs = ", ".join(apart[:_NAMED]) + more
                yield f"{one} and {other}: same run id on different machines, which count as one run: {runs}"

    @property
    def questions(self) -> int:
        """How many responded, of all of them."""
        return sum(store.questions for store in self.stores)

    def over(self, query: str, start: float, end: float, step_seconds: float) -> list[Series]:
        """The series of a range query from each of them; the same series may come more than once."""
        series_found: list[Series] = []
        for store in self.stores:
            series = store.over(query, start, end, step_seconds)
            content = self._contents.setdefault(store.url, _StoreContent())
            for one in series:
                content.note(one.labels)
            series_found += series
        return series_found


def connect_all(settings: StoreSettings) -> Prometheus | SeveralStores:
    """The store of ``settings``, or several whose URLs are given with commas; all with the same credentials.

    Raises:
        SettingsError: for an invalid URL, or one with a password.
        StoreError: for a file that cannot be read, or two ways to authenticate at once.
    """
    urls = list(dict.fromkeys(words(settings.prometheus_url)))
    if len(urls) <= 1:
        return connect(settings)
    return SeveralStores([connect(replace(settings, prometheus_url=url)) for url in urls])
