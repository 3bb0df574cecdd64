"""The simulated fleets of the dashboards' tests and previews. Every name and figure is simulated."""

from __future__ import annotations

from dataclasses import replace

from tests.grafana.simulated_fleet import (
    GIB,
    HOUR,
    SimulatedFleet,
    SimulatedNode,
    SimulatedOffer,
    SimulatedRun,
    Stretch,
)

from epochcost.model import State

LENGTH = 6 * HOUR
FOREVER = LENGTH + 2 * HOUR
U = State.USEFUL

RUNS = (
    SimulatedRun("llm-7b-4417", "llm-7b", 40, 96_000, nodes=2, world=16, budget_usd=400),
    SimulatedRun("vit-large-901", "vit-large", 90, 1_281_167, world=8),
    SimulatedRun("vit-large-902", "vit-large", 90, 1_281_167, world=8),
    SimulatedRun("char-lm-31", "char-lm", 40, 53_040, framework="numpy"),
    SimulatedRun("char-lm-cpu-7", "char-lm", 25, 53_040, framework="numpy"),
    SimulatedRun("diffusion-55", "diffusion", 60, 50_000),
    SimulatedRun("resnet-12", "resnet", 30, 1_281_167),
)


def _llm(slower: float) -> tuple[Stretch, ...]:
    run = "llm-7b-4417"
    return (
        Stretch(0, 300, State.BOOT),
        Stretch(300, 1200, State.STARTUP, run, memory_fill=0.3),
        Stretch(1200, 9000, U, run, 0.86 - slower, 0.05, 5.2, 64, 0.58),
        Stretch(9000, 9900, State.REPLAY, run, 0.85, 0.02, 5.2, 64, 0.58, rewind=1.3),
        Stretch(9900, 15000, U, run, 0.88 - slower, 0.06, 5.2, 64, 0.58),
        Stretch(15000, FOREVER, U, run, 0.94 - slower, 0.03, 6.6, 96, 0.83),
    )


_P4D = SimulatedNode(
    "sim-a100-01", "aws", "us-east-1", "us-east-1a", "p4d.24xlarge", "spot",
    ((0, 11.57), (7000, 13.9), (14000, 12.2)), _llm(0), 8, "NVIDIA A100-SXM4-40GB", 40 * GIB, 32.7726,
)  # fmt: skip

H100 = SimulatedNode(
    "sim-h100-01", "gcp", "us-central1", "", "a3-highgpu-8g", "on_demand", ((0, 88.25),),
    (
        Stretch(0, 600, State.STARTUP, "vit-large-901", memory_fill=0.1),
        Stretch(600, 2400, State.VACANT),
        Stretch(2400, 3300, State.STARTUP, "vit-large-902", memory_fill=0.1),
        Stretch(3300, FOREVER, U, "vit-large-902", 0.46, 0.12, 9.1, 256, 0.31),
    ),
    8, "NVIDIA H100 80GB HBM3", 80 * GIB, 88.25, price_source="gcp", watts_per_device=650,
)  # fmt: skip

G5 = SimulatedNode(
    "sim-g5-01", "aws", "eu-west-1", "eu-west-1b", "g5.xlarge", "spot", ((0, 0.42), (12000, 0.61)),
    (
        Stretch(0, 240, State.STARTUP, "char-lm-31", memory_fill=0.1),
        Stretch(240, 8000, U, "char-lm-31", 0.71, 0.08, 3.4, 20, 0.22),
        Stretch(8000, 9400, State.REPLAY, "char-lm-31", 0.7, 0.03, 3.4, 20, 0.22, rewind=1.3),
        Stretch(9400, FOREVER, U, "char-lm-31", 0.82, 0.05, 6.0, 100, 0.64),
    ),
    1, "NVIDIA A10G", 24 * GIB, 1.124, watts_per_device=220, notice_at=7880,
)  # fmt: skip

LEFT_ON = SimulatedNode(
    "sim-p3-02", "aws", "us-east-1", "us-east-1b", "p3.2xlarge", "on_demand", ((0, 3.06),),
    (
        Stretch(0, 200, State.STARTUP, "resnet-12", memory_fill=0.2),
        Stretch(200, 11000, U, "resnet-12", 0.9, 0.04, 10, 256, 0.8),
        Stretch(11000, FOREVER, State.FINISHED),
    ),
    1, "Tesla V100-SXM2-16GB", 16 * GIB, 3.06, agent_knows_price=False, clock_jumps=2, refused_events=12,
)  # fmt: skip

DESK = SimulatedNode(
    "sim-desktop", "owned", "office", "", "workstation-4090", "owned", ((0, 0.1566771),),
    (
        Stretch(0, 100, State.STARTUP, "diffusion-55", memory_fill=0.2),
        Stretch(100, 17500, U, "diffusion-55", 0.93, 0.04, 8, 32, 0.88),
        Stretch(17500, FOREVER, State.STALLED, "diffusion-55", 0.99, 0, 0, 32, 0.88),
    ),
    1, "NVIDIA GeForce RTX 4090", 24 * GIB, None, price_source="owned", watts_per_device=420,
)  # fmt: skip

CPU_ONLY = SimulatedNode(
    "sim-cpu-01", "aws", "us-east-1", "", "c7i.8xlarge", "on_demand", ((0, 1.428),),
    (
        Stretch(0, 60, State.STARTUP, "char-lm-cpu-7"),
        Stretch(60, FOREVER, U, "char-lm-cpu-7", 0.91, 0.05, 2.6, 20),
    ),
    on_demand_usd_per_hour=1.428, price_source="listed",
)  # fmt: skip

UNPRICED = SimulatedNode(
    "sim-azure-03", "azure", "westeurope", "", "Standard_NC24ads_A100_v4", "on_demand", (),
    (Stretch(0, FOREVER, State.UNATTRIBUTED, "", 0.6, 0.1, memory_fill=0.5),),
    1, "NVIDIA A100 80GB PCIe", 80 * GIB, user="ada",
)  # fmt: skip

NO_PRICE_RUN = replace(
    G5, node="sim-unpriced", provider="", region="", zone="", instance_type="", purchase_option="", prices=(),
    on_demand_usd_per_hour=None,
)  # fmt: skip


def _offers(
    location: tuple[str, str, str], gpu: tuple[int, str, int], on_demand: float, **spot: float
) -> list[SimulatedOffer]:
    """One machine type on demand and as spot by zone (``_`` stands for ``-``; an empty zone is ``regional``)."""
    provider, region, kind = location
    prices = [("", "on_demand", on_demand)]
    prices += [("" if zone == "regional" else zone.replace("_", "-"), "spot", usd) for zone, usd in spot.items()]
    count, model, memory = gpu
    return [
        SimulatedOffer(provider, region, zone, kind, option, ((0, usd),), count, model, memory * GIB)
        for zone, option, usd in prices
    ]


ARTICLE_OFFERS = (
    *_offers(("gcp", "us-central1", "n1-standard-16+p4"), (1, "Tesla P4", 8), 1.36, regional=0.38),
    *_offers(("azure", "eastus", "Standard_NV6"), (1, "Tesla M60", 8), 1.14, regional=0.20),
    *_offers(("aws", "us-east-1", "g3.4xlarge"), (1, "Tesla M60", 8), 1.14, us_east_1a=0.34),
)
"""The three configurations of January 2021 that REFERENCE compares: savings of 72.06, 82.46 and 70.18 %."""

OFFERS = (
    *ARTICLE_OFFERS,
    *_offers(
        ("aws", "us-east-1", "p4d.24xlarge"),
        (8, "NVIDIA A100-SXM4-40GB", 40),
        32.7726,
        us_east_1b=9.83,
        us_east_1d=14.4,
    ),
    *_offers(("gcp", "us-central1", "a3-highgpu-8g"), (8, "NVIDIA H100 80GB HBM3", 80), 88.25, regional=36.4),
    *_offers(("aws", "eu-west-1", "g5.xlarge"), (1, "NVIDIA A10G", 24), 1.124, eu_west_1a=0.49, eu_west_1c=0.38),
)

ARTICLE_RUNS = tuple(
    SimulatedRun(f"sim-lstm-{name}", "lstm-char", 25, 26_520, framework="tensorflow")
    for name in ("c4", "g2", "p2-batch20", "p2-batch100", "p3")
)


def _article(
    name: str, kind: str, usd: float, gpu: tuple[int, str, int], *runs: tuple[str, float, int, float]
) -> SimulatedNode:
    """A node of the article; its runs, ``(name, epoch seconds, batch size, memory fill)``, share the time evenly."""
    each = LENGTH / len(runs)
    stretches: list[Stretch] = []
    for i, (run, seconds, batch, fill) in enumerate(runs):
        begin = i * each
        end = FOREVER if i + 1 == len(runs) else begin + each
        stretches.append(Stretch(begin, begin + 60, State.STARTUP, run, batch_size=batch))
        stretches.append(Stretch(begin + 60, end, U, run, 0.9, 0, HOUR / seconds, batch, fill))
    return SimulatedNode(
        name, "aws", "us-east-1", "", kind, "on_demand", ((0, usd),), tuple(stretches),
        gpu[0], gpu[1], gpu[2] * GIB, usd, watts_per_device=150,
    )  # fmt: skip


ARTICLE = (
    _article("sim-c4", "c4.8xlarge", 1.675, (0, "", 0), ("sim-lstm-c4", 1404, 20, 0)),
    _article("sim-g2", "g2.2xlarge", 0.65, (1, "GRID K520", 4), ("sim-lstm-g2", 3779, 20, 0.8)),
    _article(
        "sim-p2", "p2.xlarge", 0.90, (1, "Tesla K80", 12),
        ("sim-lstm-p2-batch20", 428, 20, 0.3), ("sim-lstm-p2-batch100", 170, 100, 0.85),
    ),
    _article("sim-p3", "p3.2xlarge", 3.06, (1, "Tesla V100", 16), ("sim-lstm-p3", 60, 100, 0.7)),
)  # fmt: skip
"""The article "Cost of Machine Learning" played again: 65.325, 68.23, 10.70 and 4.25 cents an epoch; the p3 is ours."""


STUDY = {
    "sim-vast": ("vast", "1x GTX 1070 Ti", "on_demand", 0.065, (1, "NVIDIA GeForce GTX 1070 Ti", 8), 7.4),
    "sim-k80": ("aws", "p2.xlarge", "spot", 0.28, (1, "Tesla K80", 12), 20.0),
    "sim-k80x8": ("aws", "p2.8xlarge", "spot", 4.05, (8, "Tesla K80", 12), 16.0),
    "sim-v100x4": ("aws", "p3.8xlarge", "on_demand", 12.24, (4, "Tesla V100-SXM2-16GB", 16), 3.0),
}
"""The study of October 2018 (ResNet50 on cats against dogs): $/h and minutes to train, as one epoch.

The article gives the first three; of the four V100 it says that they were the fastest and the dearest: 3 minutes are
ours, the price is the list's.
"""


def _study() -> SimulatedFleet:
    nodes, runs = [], []
    for name, (provider, kind, option, usd, gpu, minutes) in STUDY.items():
        run = f"{name}-cats-dogs"
        stretches = (
            Stretch(0, 60, State.STARTUP, run),
            Stretch(60, FOREVER, U, run, 0.9, 0, 60 / minutes, 64, 0.6),
        )
        nodes.append(
            SimulatedNode(
                name, provider, "us-east-1", "", kind, option, ((0, usd),), stretches, gpu[0], gpu[1], gpu[2] * GIB
            )
        )
        runs.append(SimulatedRun(run, "cats-dogs", 500, 23_000))
    return SimulatedFleet(tuple(nodes), tuple(runs))


def _large() -> SimulatedFleet:
    """Two hundred nodes with long names, a run on every second one."""
    places = (
        ("us-east-1", "us-east-1a", "p4d.24xlarge"),
        ("eu-central-1", "eu-central-1b", "Standard_NC48ads_A100_v4"),
    )
    nodes, runs = [], []
    for n in range(200):
        region, zone, kind = places[n % 2]
        run = f"sim-pretraining-of-a-long-name-{n:03d}" if n % 2 == 0 else ""
        stretches = (
            Stretch(60, FOREVER, U, run, 0.4 + n / 400, 0.05, 3 + n % 7, 64, 0.5)
            if run
            else Stretch(0, FOREVER, State.VACANT)
        )
        start = (Stretch(0, 60, State.STARTUP, run),) if run else ()
        nodes.append(
            SimulatedNode(
                f"sim-10-0-{n // 16}-{n % 16}.{region}.compute.internal", "aws", region, zone, kind, "spot",
                ((0, 10 + n / 50),), (*start, stretches), 2, "NVIDIA A100-SXM4-40GB", 40 * GIB, 32.7726,
            )
        )  # fmt: skip
        if run:
            runs.append(SimulatedRun(run, f"sim-experiment-{n % 14:02d}-ablation", 40, 96_000, world=2))
    return SimulatedFleet(tuple(nodes), tuple(runs), offers=OFFERS)


FLEETS = {
    "many": SimulatedFleet(
        (
            _P4D,
            replace(_P4D, node="sim-a100-02", stretches=_llm(0.02)),
            H100, G5, LEFT_ON, DESK, CPU_ONLY, UNPRICED,
        ),
        RUNS,
        offers=OFFERS,
        failing_sources=("vast",),
        failed_runs=frozenset({"vit-large-901"}),
    ),
    "articles": SimulatedFleet(ARTICLE, ARTICLE_RUNS, offers=ARTICLE_OFFERS),
    "study": _study(),
    "one": SimulatedFleet((G5,), RUNS),
    "cpu": SimulatedFleet((CPU_ONLY,), RUNS),
    "unpriced": SimulatedFleet((NO_PRICE_RUN,), RUNS, with_poller=False),
    "empty": SimulatedFleet((), (), with_poller=False),
    "large": _large(),
}  # fmt: skip
