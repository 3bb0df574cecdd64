"""The price poller, wired: sources into the store, the store onto ``/metrics`` and ``/v1/price``."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry

from epochcost._version import __version__
from epochcost.guarded_collector import Guarded
from epochcost.poller.api import Terms, price_route
from epochcost.poller.collector import PollerCollector
from epochcost.poller.export_filter import Exported, parts_of, select
from epochcost.poller.footprint import keep_small
from epochcost.poller.poller_page import landing_route
from epochcost.poller.poller_settings import PollerSettings
from epochcost.poller.schedule import Schedule
from epochcost.poller.snapshot import PollerSnapshot
from epochcost.prices import make
from epochcost.prices.allowances import Credit
from epochcost.prices.merged_prices import MergedPrices
from epochcost.prices.price_source import NotConfiguredError, Source
from epochcost.prices.store import DEFAULT_PRECEDENCE, PriceStore, StoreRules
from epochcost.serve import Limits, Route, Server, WebConfigError, metrics_route
from epochcost.settings import SettingsError
from epochcost.shutdown import Ending

log = logging.getLogger("epochcost.poller")
STATE_FILE = "prices.json"


class PollerApp:
    """The whole poller; a test starts the real one.

    Args:
        settings: see `PollerSettings`.
        sources: instead of those that the settings name.
        clock: seconds since the Unix epoch, for dating responses.

    Raises:
        SettingsError: for a state directory that cannot be used.
        WebConfigError: for a bad ``web.config.yml``.
    """

    def __init__(
        self,
        settings: PollerSettings,
        sources: Sequence[Source] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = clock
        used = make_sources(settings) if sources is None else sources
        _warn_of_other_names(settings, used)
        path = state_file(settings.state_dir, os.environ)
        rules = StoreRules(
            settings.prices_precedence, settings.prices_max_age, settings.prices_accept, settings.adjustments
        )
        self._store = PriceStore(path, [source.name for source in used], rules)
        self._settings = settings
        watched = [want for watch in settings.prices_watch if (want := watch.want) is not None]
        self._schedule = Schedule(used, self._store, clock, watched=watched, changed=self._renew)
        self._exported = Exported()
        self._merged = MergedPrices()
        self._renewing = threading.Lock()
        self._warned_of_limit = False
        self._collector = PollerCollector(self.snapshot)
        self._renew()
        registry = CollectorRegistry()
        registry.register(Guarded(self._collector, "prices", log))
        self._server = Server(
            settings.web_listen_address,
            {
                "/": landing_route(self.snapshot),
                "/metrics": metrics_route(registry),
                "/v1/price": self._price_route(poller_id(settings.web_listen_address, path)),
            },
            settings.web_config_file,
            ready=self._waiting_for,
            limits=Limits(shed_paths=("/v1/price",)),
        )

    def _price_route(self, poller: str) -> Route:
        known = self._settings
        terms = Terms(known.extras, known.adjustments, known.limits, self._credits)
        return price_route(lambda: self._merged, self._schedule.ask, self._clock, terms, poller)

    def routes(self) -> list[tuple[str, str, str]]:
        """Method, path and response of every route."""
        return self._server.described()

    @property
    def port(self) -> int:
        """The port listened on."""
        return self._server.port

    @property
    def url(self) -> str:
        """Its URL, seen from this machine."""
        return self._server.url

    def snapshot(self) -> PollerSnapshot:
        """Everything exported now."""
        return self._snapshot(self._exported)

    def _snapshot(self, exported: Exported) -> PollerSnapshot:
        return PollerSnapshot(
            self._clock(),
            exported.prices,
            exported.facts,
            self._schedule.health,
            self._settings.extras,
            exported.zones,
            {"unwatched": exported.unwatched, "limit": exported.over_limit},
            exported.parts,
            self._settings.credits,
            self._settings.limits,
        )

    def _credits(self) -> Sequence[Credit]:
        return [
            *self._settings.credits,
            *(each for health in self._schedule.health.values() for each in health.credits),
        ]

    def _renew(self) -> None:
        """What is exported after the prices have changed; built by the source that changed them, not by a scrape."""
        with self._renewing:
            merged = self._store.merged
            exported = select(
                merged, self._settings.prices_watch, self._schedule.wanted, self._settings.prices_max_series
            )
            exported = replace(
                exported, parts=parts_of(exported.prices, merged, self._settings.adjustments, self._clock())
            )
            self._collector.prepare(self._snapshot(exported))
            self._exported = exported
            self._merged = merged  # the last, so that a scrape agrees with `/v1/price`
        if exported.over_limit and not self._warned_of_limit:
            log.warning(
                "%d prices are not exported: more than --prices.max-series are in use or watched; "
                "raise it, or watch less (--prices.watch)",
                exported.over_limit,
            )
        self._warned_of_limit = bool(exported.over_limit)

    def start(self) -> None:
        """Listen, and start to poll the sources.

        Raises:
            OSError: when the address cannot be listened on.
        """
        self._server.start()
        self._schedule.start()

    def stop(self) -> None:
        """Stop both."""
        self._schedule.stop()
        self._server.stop()

    def _waiting_for(self) -> str | None:
        untried = [name for name, health in self._schedule.health.items() if health.duration_seconds is None]
        return f"no response yet from {', '.join(untried)}" if untried and not self._merged.prices else None


def _warn_of_other_names(settings: PollerSettings, used: Sequence[Source]) -> None:
    """A misspelt name of a source is otherwise a setting that silently does nothing."""
    known = {"*", *DEFAULT_PRECEDENCE, *(source.name for source in used)}
    for flag, names in (("precedence", settings.prices_precedence), ("accept", settings.prices_accept)):
        for name in names:
            if name not in known:
                log.warning("--prices.%s: no source in use is named %r", flag, name)


def poller_id(address: tuple[str, int], path: Path | None) -> str:
    """The same after a restart on this machine, another one for each poller beside it."""
    return hashlib.sha256(f"{socket.gethostname()}|{address}|{path}".encode()).hexdigest()[:12]


def make_sources(settings: PollerSettings) -> tuple[Source, ...]:
    """The sources that the settings name; one that has nothing to work with is skipped with a sentence in the log."""
    made, skipped = made_and_skipped(settings)
    for sentence in skipped:
        log.info("price source skipped: %s", sentence)
    return made


def made_and_skipped(settings: PollerSettings) -> tuple[tuple[Source, ...], tuple[str, ...]]:
    """The sources that the settings name, and of each that has nothing to work with what it would need."""
    made: list[Source] = []
    skipped: list[str] = []
    for name in settings.prices_sources:
        try:
            made += make(name, settings)
        except NotConfiguredError as err:  # noqa: PERF203 - one source leaves the others alone
            skipped.append(str(err))
    return tuple(made), tuple(skipped)


def state_file(state_dir: str, environ: Mapping[str, str]) -> Path | None:
    """Where the last good prices are kept, its directory made; None if no default place can be written.

    Raises:
        SettingsError: when the directory was configured and cannot be used.
    """
    if state_dir:
        try:
            return _usable(Path(state_dir)) / STATE_FILE
        except OSError as err:
            raise SettingsError(f"--state.dir: {state_dir!r} cannot be written: {err.strerror or err}") from None
    home = environ.get("XDG_STATE_HOME") or (f"{environ['HOME']}/.local/state" if environ.get("HOME") else "")
    for place in (environ.get("STATE_DIRECTORY"), f"{home}/epochcost" if home else ""):
        try:
            if place:
                return _usable(Path(place)) / STATE_FILE
        except OSError as err:  # noqa: PERF203 - the next place may do
            log.info("prices are not saved in %s: %s", place, err.strerror or err)
    log.warning("prices are not saved: set --state.dir to keep them across restarts")
    return None


def _usable(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError("no permission to write there")
    return directory


def quiet() -> None:
    """Log only warnings of the packages used: at debug, botocore logs signed requests."""
    for chatty in ("apscheduler", "botocore", "boto3", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def run(settings: PollerSettings) -> int:
    """Serve until SIGTERM or SIGINT; the exit code."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    quiet()
    keep_small()
    ending = Ending()
    try:
        app = PollerApp(settings)
        app.start()
    except (SettingsError, WebConfigError, OSError) as err:
        log.error("%s", err)  # noqa: TRY400 - the sentence is complete
        return 1
    log.info("epochcost prices %s at %s", __version__, app.url)
    ending.wait(threading.Event())
    app.stop()
    return 0
