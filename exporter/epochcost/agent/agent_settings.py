"""The agent's settings."""

from __future__ import annotations

from dataclasses import dataclass

from epochcost.model import PurchaseOption
from epochcost.prices.allowances import Credit, parse_balance
from epochcost.prices.extras import Extra, parse_charged
from epochcost.settings import (
    SettingsError,
    above_0_to,
    absolute_patterns,
    address,
    between,
    boolean,
    choice,
    http_url,
    interfaces,
    option,
    optional,
    positive,
    ratio,
    some_of,
)
from epochcost.store.store_settings import StoreSettings, same_option

OWNER_SOURCES = ("run", "kubernetes", "slurm", "container", "user")
DEFAULT_ADDRESS = ("127.0.0.1", 10835)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """What the agent can be told: each a flag, an environment variable and a YAML key of section ``agent``."""

    web_listen_address: tuple[str, int] = option(
        "web.listen-address", DEFAULT_ADDRESS, "HOST:PORT of /metrics and the live page", parse=address
    )
    web_config_file: str = option("web.config.file", "", "TLS and basic auth, in the exporter-toolkit format")
    events_dir: str = option(
        "events.dir",
        "",
        "directory of the training processes' event files; empty: use the search order of the training "
        "processes (docs/events.md)",
    )
    events_user_dirs: tuple[str, ...] = option(
        "events.user-dirs",
        (),
        "additional event directories of one user each, as created by a platform: comma-separated paths or patterns "
        "(/run/epochcost-users/*)",
        parse=absolute_patterns,
    )
    intake_token_file: str = option(
        "intake.token-file", "", "file with the token that events over HTTP must carry (POST /v1/events)"
    )
    state_dir: str = option(
        "state.dir",
        "",
        "directory of the ledger; empty: systemd's $STATE_DIRECTORY, else /var/lib/epochcost if the agent serves the "
        "whole machine and may write there, else state/ next to the events",
    )
    sample_interval: float = option(
        "sample.interval", 1.0, "interval between device samples", parse=between("100ms", "1m")
    )
    gpus_source: str = option(
        "gpus.source",
        "auto",
        "nvml, amd, tpu, dcgm (an exporter already running here), none, or auto: the first of nvml, amd and tpu that "
        "finds devices",
        parse=choice("auto", "nvml", "amd", "tpu", "dcgm", "none"),
    )
    dcgm_url: str = option(
        "dcgm.url", "http://127.0.0.1:9400/metrics", "URL of this node's dcgm-exporter, for source dcgm", parse=http_url
    )
    machine_name: str = option(
        "machine.name",
        "",
        "value of the label epochcost_machine, unique in the store; empty: the node name and a digest of the machine's "
        "identity",
    )
    node_name: str = option("node.name", "", "name of this machine; empty: its hostname")
    node_provider: str = option(
        "node.provider", "", "provider: aws, gcp, azure, ... or owned; empty: detected from the firmware"
    )
    node_region: str = option("node.region", "", "region code, such as us-east-1")
    node_zone: str = option("node.zone", "", "zone, such as us-east-1a")
    node_instance_type: str = option(
        "node.instance-type", "", "machine type, such as p4d.24xlarge, or a name of your own for an owned machine"
    )
    node_purchase_option: str = option(
        "node.purchase-option",
        "",
        "purchase option: on_demand, spot, reserved or owned",
        parse=choice("", *(p.value for p in PurchaseOption)),
    )
    node_reservation: str = option(
        "node.reservation",
        "",
        "id of the reservation (such as a capacity block) that this machine runs in, if it is priced by reservation",
    )
    node_session_limit: float | None = option(
        "node.session-limit",
        None,
        "time after boot at which the provider terminates this machine (12h, 24h), if it does",
        parse=optional(between("1m", "366d")),
    )
    node_credit: Credit | None = option(  # noqa: RUF009 - a frozen value
        "node.credit",
        None,
        "credit that pays for this machine, as its balance on a day, USD@DAY (10@2026-11-28); of the spend since then, "
        "this machine knows only its own",
        parse=optional(parse_balance),
    )
    node_team: str = option(
        "node.team", "", "team that pays for this machine, as label team; a run may name another (EPOCHCOST_TEAM)"
    )
    node_egress_interfaces: tuple[str, ...] = option(
        "node.egress-interfaces",
        (),
        "network interfaces whose outgoing traffic is billed by the GB (the Internet-facing one), comma-separated",
        parse=interfaces,
    )
    node_metadata: str = option(
        "node.metadata",
        "auto",
        "where to detect this machine's identity and preemption notices: auto (the cloud named by its firmware, and "
        "the Kubernetes API in a pod), aws, gcp, azure, kubernetes or off",
        parse=choice("auto", "aws", "gcp", "azure", "kubernetes", "off"),
    )
    node_metadata_url: str = option(
        "node.metadata-url",
        "",
        "base URL of the cloud's metadata service; empty: the cloud's default address",
        parse=http_url,
    )
    owners_sources: tuple[str, ...] = option(
        "owners.sources",
        OWNER_SOURCES,
        f"sources used to attribute GPUs to owners: any of {', '.join(OWNER_SOURCES)}; empty: none",
        parse=some_of(*OWNER_SOURCES),
    )
    owners_kubernetes_socket: str = option(
        "owners.kubernetes-socket",
        "/var/lib/kubelet/pod-resources/kubelet.sock",
        "path of the kubelet's pod-resources socket",
    )
    owners_hami: bool = option(
        "owners.hami",
        False,  # noqa: FBT003 - the default of an option
        "read HAMi's GPU shares from the annotations of the node's pods; requires permission to list pods",
        parse=boolean,
    )
    owners_slurm_dir: str = option(
        "owners.slurm-dir",
        "/run/epochcost-slurm",
        "directory in which Slurm's prolog records which job holds which GPU; writable by root only",
    )
    node_share: str = option(
        "node.share",
        "whole-node",
        "how the cost of unused GPUs is allocated: whole-node (to the runs on the node, as the provider bills) "
        "or per-gpu (to no run)",
        parse=choice("whole-node", "per-gpu"),
    )
    price_usd_per_hour: float | None = option(
        "price.usd-per-hour",
        None,
        "fixed hourly price of this machine in US dollars; use it instead of --prices.url",
        parse=optional(positive),
    )
    price_extras: tuple[Extra, ...] = option(
        "price.extras",
        (),
        "charges in addition to that price: disk=0.08*1000/gb-month, address=0.005/hour, licence=375/month, "
        "egress=0.09*50/gb (GB of a month), or egress=0.09/gb as counted on --node.egress-interfaces",
        parse=parse_charged,
    )
    prices_url: str = option("prices.url", "", "URL of the price poller, http://HOST:10836", parse=http_url)
    prices_interval: float = option(
        "prices.interval", 60.0, "interval between requests to the price poller", parse=between("100ms", "1d")
    )
    prices_password_file: str = option(
        "prices.password-file", "", "file with user:password for the poller's basic auth"
    )
    prices_account: str = option(
        "prices.account",
        "",
        "account or project whose rates (in the poller's adjustments) apply to this machine, and whose free hours it "
        "shares with others (read from --prometheus.url)",
    )
    prices_ca_file: str = option("prices.ca-file", "", "CA certificate to verify the poller's TLS certificate")
    prometheus_url: str = same_option("prometheus_url")
    prometheus_username: str = same_option("username")
    prometheus_password_file: str = same_option("password_file")
    prometheus_bearer_token_file: str = same_option("bearer_token_file")
    prometheus_ca_file: str = same_option("ca_file")
    prometheus_cert_file: str = same_option("cert_file")
    prometheus_key_file: str = same_option("key_file")
    prometheus_header: str = same_option("header")
    prometheus_timeout: float = option(
        "prometheus.timeout", 10.0, "timeout of one request to the store", parse=between("100ms", "1m")
    )
    prometheus_interval: float = option(
        "prometheus.interval",
        30.0,
        "interval between requests to the store at --prometheus.url, which has the totals of multi-machine runs",
        parse=between("1s", "1h"),
    )
    grafana_url: str = option(
        "grafana.url",
        "",
        "URL of the Grafana with epochcost's dashboards, as seen by browsers; the live page links to this machine and "
        "its runs there",
        parse=http_url,
    )
    energy_usd_per_kwh: float | None = option(
        "energy.usd-per-kwh",
        None,
        "price of electricity in US dollars per kWh, for an owned machine (the price of a rented one includes it)",
        parse=optional(above_0_to(10, "US dollars per kWh")),
    )
    grid_grams_per_kwh: float | None = option(
        "grid.grams-per-kwh",
        None,
        "carbon intensity of your grid in grams of CO2 per kWh, as published by its operator; if not given, no "
        "emissions are shown",
        parse=optional(above_0_to(3000, "grams per kWh")),
    )
    grid_listed: bool = option(
        "grid.listed",
        False,  # noqa: FBT003 - the default of an option
        "use the bundled, dated list of the provider's carbon intensities by region, if it includes this machine's "
        "region",
        parse=boolean,
    )
    busy_ratio: float = option(
        "states.busy-ratio",
        0.05,
        "minimum utilisation for a GPU without a run to count as unattributed instead of vacant",
        parse=ratio,
    )
    held_memory_bytes: int = option(
        "states.held-memory",
        268435456,
        "minimum device memory in use, in bytes, for a GPU to count as held by a process; more than an idle "
        "driver uses",
        parse=lambda text: int(positive(text)),
    )
    stall_seconds: float = option(
        "states.stall-after",
        120.0,
        "minimum time without progress before a run is marked stalled",
        parse=between("1s", "30d"),
    )
    silence_seconds: float = option(
        "states.lost-after",
        3600.0,
        "how long a run may send no events before it is marked lost, when its process cannot be monitored",
        parse=between("1s", "30d"),
    )
    keep_seconds: float = option(
        "runs.keep", 900.0, "how long a finished run stays exported", parse=between("1s", "30d")
    )
    guard_file: str = option(
        "guard.file",
        "",
        "YAML file of policies that end wasteful machines and runs (docs/guard.md); empty: none",
    )
    log_level: str = option(
        "log.level",
        "info",
        "log level: debug, info, warning or error",
        parse=choice("debug", "info", "warning", "error"),
    )

    def __post_init__(self) -> None:
        if self.price_extras and self.price_usd_per_hour is None:
            raise SettingsError(
                "--price.extras needs --price.usd-per-hour: a poller has extras of its own (docs/prices.md)"
            )
        counted = [extra.name for extra in self.price_extras if extra.counted]
        if counted and not self.node_egress_interfaces:
            raise SettingsError(
                f"--price.extras: {counted[0]} is by the GB: name what is counted by --node.egress-interfaces"
            )

    @property
    def store(self) -> StoreSettings:
        """The store that has whole runs."""
        return StoreSettings(
            self.prometheus_url,
            self.prometheus_username,
            self.prometheus_password_file,
            self.prometheus_bearer_token_file,
            self.prometheus_ca_file,
            self.prometheus_cert_file,
            self.prometheus_key_file,
            self.prometheus_header,
            self.prometheus_timeout,
        )
