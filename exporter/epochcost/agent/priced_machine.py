"""Which machine this is, what it is priced as, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from epochcost.agent.agent_settings import AgentSettings
from epochcost.agent.meter import Meter
from epochcost.agent.meter_inputs import Quote
from epochcost.agent.price_dates import PriceDates
from epochcost.agent.price_feed import FIRST_SPREAD_SECONDS, KNOWN_SPREAD_SECONDS, PriceFeed
from epochcost.agent.snapshot import CollectorHealth
from epochcost.agent.sources import identity_of, price_source
from epochcost.model import GpuSample, Node
from epochcost.nodes.machine_name import MachineName, machine_name
from epochcost.prices.gcp.gcp_gpus import with_accelerators
from epochcost.progress.clock import NodeClock

NO_PRICE_SOURCE = "no price and no poller configured"


@dataclass(frozen=True, slots=True)
class SavedMachine:
    """What an earlier agent knew of this machine.

    Attributes:
        known_as: all that its price depends on.
        name: of the machine.
        identities: what its metadata contained, by source; None in another boot.
        dates: how the poller's dates become this machine's.
    """

    known_as: tuple[str, ...]
    name: MachineName
    identities: Mapping[str, Node] | None
    dates: PriceDates


class PricedMachine:
    """This machine as it is known so far, the feed that learns more of it, and the feed of its price.

    Args:
        settings: see `AgentSettings`.
        environ: the environment, for the name of a Kubernetes node.
        clock: the node timeline.
        wall: seconds since the Unix epoch.
        gpus: the GPUs as last read: None if they have not been read yet, empty on a node without any.
    """

    def __init__(
        self,
        settings: AgentSettings,
        environ: Mapping[str, str],
        clock: NodeClock,
        wall: Callable[[], float],
        gpus: Callable[[], Sequence[GpuSample] | None],
    ) -> None:
        self._settings = settings
        self._gpus = gpus
        self.identity = identity_of(settings, environ)
        self.node = self._priced_node()
        self._name: MachineName = machine_name(self.node.node, settings.machine_name)
        self._known_as = priced_as(self.node)
        self._since = clock.now()
        """From when on it may be another machine than the one that it was known as."""
        self._restored = False
        """An earlier agent has known this machine, and so its price."""
        source = price_source(settings, self.node)
        self.prices = PriceFeed(source, settings.prices_interval, wall, clock.now) if source else None
        self._asks = False
        """Whether its feeds may send requests: not before the agent has started."""

    @property
    def name(self) -> str:
        """The value of the label ``epochcost_machine``; it never changes while an agent lives."""
        return self._name.name

    def start(self) -> None:
        """Start to identify this machine, and, where that does not depend on the result, to request its price."""
        self.identity.start()
        self._asks = True
        self._start_prices()

    def stop(self) -> None:
        """Stop the feeds."""
        for feed in (self.prices, self.identity):
            if feed is not None:
                feed.stop()

    def _start_prices(self) -> None:
        """Start to request the price once the machine is identified; a configured price does not depend on that."""
        if not self._asks or self.prices is None or self.prices.started:
            return
        if self._settings.price_usd_per_hour is not None:
            self.prices.start()
        elif self.identity.settled:
            self.prices.start(KNOWN_SPREAD_SECONDS if self._restored else FIRST_SPREAD_SECONDS)

    @property
    def quote(self) -> Quote | None:
        """The price as last received."""
        return self.prices.quote if self.prices else None

    def price_health(self) -> CollectorHealth:
        """How the last request for the price went."""
        if self.prices is None:
            return CollectorHealth(success=False, duration_seconds=0.0, error=NO_PRICE_SOURCE)
        return self.prices.health

    def learn(self, meter: Meter) -> None:
        """Apply what has become known of this machine since the last call."""
        self._start_prices()
        if (node := self._priced_node()) != self.node:
            self._become(node, meter)

    def _priced_node(self) -> Node:
        """This machine under the name that it is priced by: of Google's N1, the GPUs that are attached are part of it.

        Until the driver has reported which they are, its type is not known: without them its price would be wrong.
        """
        node = self.identity.node
        if node.provider != "gcp" or not node.instance_type.startswith("n1-"):
            return node
        gpus = self._gpus()
        if gpus is None:
            return replace(node, instance_type="")
        return replace(node, instance_type=with_accelerators(node.instance_type, [gpu.model for gpu in gpus]))

    def _become(self, node: Node, meter: Meter) -> None:
        """Learning more about the machine is not a change; learning that it is a different one is.

        A machine becomes another one while it is not running, so its price is not known from this boot on.
        """
        more = priced_as(node) != priced_as(self.node)
        self.node = meter.node = node
        known = priced_as(node)
        if any(was and is_now and was != is_now for was, is_now in zip(self._known_as, known, strict=True)):
            meter.node_changed(self._since)
            self._known_as = known
        else:
            self._known_as = tuple(is_now or was for was, is_now in zip(self._known_as, known, strict=True))
        if more and self.prices is not None and (source := price_source(self._settings, node)):
            self.prices.ask_about(source)

    def state(self) -> dict[str, Any]:
        """As JSON-able data."""
        dates = self.prices.dates.state() if self.prices is not None else []
        known = {"machine": self._name.state(), "priced_as": self._known_as, "identity": self.identity.state()}
        return {**known, "price_dates": dates}

    def restored(self, saved: Mapping[str, Any], *, same_boot: bool) -> SavedMachine:
        """What `state` described; nothing is applied yet.

        Args:
            saved: what `state` made.
            same_boot: what the machine's metadata contained still holds.

        Raises:
            AnotherMachineError: when it was saved on another machine.
            KeyError, TypeError, ValueError, AttributeError: when it is not what `state` makes.
        """
        known_as = tuple(map(str, saved["priced_as"]))
        if len(known_as) != len(self._known_as):
            raise ValueError(f"priced_as: {len(known_as)} parts, expected {len(self._known_as)}")
        name = self._name.restored(saved["machine"]) if "machine" in saved else self._name
        identities = self.identity.restored(saved.get("identity", {})) if same_boot else None
        dates = PriceDates()
        dates.restore(saved.get("price_dates", []))
        return SavedMachine(known_as, name, identities, dates)

    def take(self, saved: SavedMachine, meter: Meter, since: float) -> None:
        """Continue from ``saved``; ``meter`` is notified if this is another machine, as it may be from ``since`` on."""
        if saved.identities is not None:
            self.identity.take(saved.identities)
        if self.prices is not None:
            self.prices.dates.restore(saved.dates.state())
        self._name = saved.name
        meter.machine = saved.name.name
        self._restored = bool(meter.ledger.price.times)
        self._known_as, self._since = saved.known_as, since
        self._become(self._priced_node(), meter)


def priced_as(n: Node) -> tuple[str, ...]:
    """All that a price depends on."""
    return n.provider, n.region, n.zone, n.instance_type, n.purchase_option.value if n.purchase_option else ""
