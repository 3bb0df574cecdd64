"""The fleet of the demo: every name and figure is simulated; prices are of the order of what such machines cost."""

from __future__ import annotations

from dataclasses import replace

from epochcost.demo.scenario import (
    FOREVER,
    GIB,
    HOUR,
    Attempt,
    Job,
    Kind,
    Machine,
    Offer,
    PlannedKeep,
    Script,
    Steps,
    Stranger,
)
from epochcost.model import PurchaseOption

DAY = 24 * HOUR
ON_DEMAND, SPOT, OWNED = PurchaseOption.ON_DEMAND, PurchaseOption.SPOT, PurchaseOption.OWNED

P4D = Kind("aws", "p4d.24xlarge", 8, "NVIDIA A100-SXM4-40GB", 40 * GIB, 96, 1152 * GIB, 380)
A3 = Kind("gcp", "a3-highgpu-8g", 8, "NVIDIA H100 80GB HBM3", 80 * GIB, 208, 1872 * GIB, 650, profiled=True)
G5 = Kind("aws", "g5.xlarge", 1, "NVIDIA A10G", 24 * GIB, 4, 16 * GIB, 250)
P3 = Kind("aws", "p3.2xlarge", 1, "Tesla V100-SXM2-16GB", 16 * GIB, 8, 61 * GIB, 280)
G2 = Kind("gcp", "g2-standard-8", 1, "NVIDIA L4", 24 * GIB, 8, 32 * GIB, 70)
LAMBDA = Kind("lambda", "gpu_1x_h100_sxm5", 1, "NVIDIA H100 80GB HBM3", 80 * GIB, 26, 225 * GIB, 650, profiled=True)
A2 = Kind("gcp", "a2-highgpu-1g", 1, "NVIDIA A100-SXM4-40GB", 40 * GIB, 12, 85 * GIB, 380)
C7I = Kind("aws", "c7i.8xlarge", vcpus=32)
DESK = Kind("owned", "workstation-4090", 1, "NVIDIA GeForce RTX 4090", 24 * GIB, 16, 64 * GIB, 420)
NC24 = Kind("azure", "Standard_NC24ads_A100_v4", 1, "NVIDIA A100 80GB PCIe", 80 * GIB, 24, 220 * GIB, 300)

LAB = "simulated-lab"
LANGUAGE, VISION, RESEARCH = "language", "vision", "research"

JOBS = (
    Job("llm-7b-4417", "llm-7b", 40, 96_000, nodes=2, world=16, budget_usd=120, team=LANGUAGE, user="lin"),
    Job("vit-large-902", "vit-large", 300, 1_281_167, world=8, team=VISION, user="vera"),
    Job("char-lm-31", "char-lm", 40, 53_040, team=LANGUAGE, user="lin"),
    Job("resnet-12", "resnet", 30, 1_281_167, team=VISION, user="vera"),
    Job("diffusion-55", "diffusion", 60, 50_000, user="omar"),
    Job("tabular-6", "tabular", 12, 53_040, framework="numpy"),
    Job("tabular-7", "tabular", 40, 53_040, framework="numpy"),
    Job("detector-8", "detector", 90, 118_287, team=VISION, user="omar"),
    Job("speech-3", "speech", 50, 281_241, team=LANGUAGE, user="lin"),
    Job("bert-tiny-2", "bert-tiny", 200, 96_000, team=LANGUAGE, user="lin"),
    Job("translator-4", "translator", 60, 160_000, user="raj"),
    *(Job(f"sweep-lr-{trial}", "sweep-lr", 100, 53_040, user="raj") for trial in range(1, 6)),
)
"""Some report their team, the others belong to that of their machine, or to none."""


def _llm(load: float, rank: int = 0) -> tuple[Attempt, ...]:
    """A crash at 2.5 h, and on from the last checkpoint, with a larger batch."""
    first = Attempt(
        "llm-7b-4417", 300, 1200, 9000, 5.2, load, 0.58, 64, status="lost", rank=rank,
    )  # fmt: skip
    checkpoint = first.position(9000) - 1.4
    second = Attempt("llm-7b-4417", 9060, 9300, DAY, 6.6, load + 0.06, 0.83, 96, from_epoch=checkpoint, rank=rank)
    return first, second


A100 = Machine(
    "sim-a100-01", P4D, "us-east-1", "us-east-1a", SPOT, boots=0, agent_starts=60, attempts=_llm(0.86)
)  # fmt: skip
H100 = Machine(
    "sim-h100-01", A3, "us-central1", "us-central1-a", ON_DEMAND, team=VISION, guarded=True,
    attempts=(Attempt("vit-large-902", 3000, 5400, DAY, 9.1, 0.46, 0.31, 256, waiting_gpus=(5,)),),
)  # fmt: skip
_TAKEN = 7920.0
_ON_G5 = Attempt("char-lm-31", 60, 240, _TAKEN, 3.4, 0.71, 0.62, 20, status="lost")
G5_TAKEN = Machine(
    "sim-g5-01", G5, "eu-west-1", "eu-west-1b", SPOT, attempts=(_ON_G5,), rebalance=7200, notice=7800, gone=_TAKEN
)  # fmt: skip
G5_NEXT = Machine(
    "sim-g5-02", G5, "eu-west-1", "eu-west-1b", SPOT, boots=8100, agent_starts=8220,
    attempts=(
        Attempt("char-lm-31", 8280, 8400, DAY, 6.0, 0.82, 0.64, 100, from_epoch=int(_ON_G5.position(_TAKEN))),
    ),
)  # fmt: skip
LEFT_ON = Machine(
    "sim-p3-02", P3, "us-east-1", "us-east-1b", ON_DEMAND, priced=False, team=VISION,
    attempts=(Attempt("resnet-12", 60, 240, 11_040, 10, 0.9, 0.8, 256),),
)  # fmt: skip
HUNG = Machine(
    "sim-desktop", DESK, purchase_option=OWNED, team=VISION, guarded=True,
    attempts=(Attempt("diffusion-55", 60, 300, DAY, 8, 0.93, 0.88, 32, hangs_at=14_000),),
)  # fmt: skip
UNUSED = Machine("sim-desktop-2", DESK, purchase_option=OWNED, team=VISION, guarded=True)
CPU_ONLY = Machine(
    "sim-cpu-01", C7I, "us-east-1", "us-east-1a", ON_DEMAND,
    attempts=(
        Attempt("tabular-6", 60, 120, 9120, 4.8, 0.91, batch_size=20),
        Attempt("tabular-7", 9300, 9420, DAY, 2.9, 0.6, batch_size=20),
    ),
)  # fmt: skip
DEARER = Machine(
    "sim-l4-01", G2, "us-central1", "us-central1-b", SPOT, unreadable=((0, 12_000, 13_200),),
    contradicted=((6000, 7800),),
    attempts=(Attempt("detector-8", 60, 240, DAY, 5, 0.88, 0.75, 48),),
)  # fmt: skip
ASLEEP = Machine(
    "sim-lambda-01", LAMBDA, "us-west-2", "", ON_DEMAND, asleep=((16_000, 17_200),),
    attempts=(Attempt("speech-3", 60, 240, DAY, 4, 0.9, 0.7, 96),),
)  # fmt: skip
UNPRICED = Machine(
    "sim-azure-03", NC24, "westeurope", "", ON_DEMAND, priced=False, strangers=(Stranger(0, FOREVER, 0.6, 0.5, "ada"),)
)  # fmt: skip


def _notebook(user: str, until: float, every: float = 1800.0, busy: float = 300.0) -> tuple[Stranger, ...]:
    """A user who runs a cell now and then, and holds the GPU's memory in between."""
    cells = (k * every for k in range(int(until / every)))
    return tuple(
        one
        for t in cells
        for one in (Stranger(t, t + busy, 0.6, 0.4, user), Stranger(t + busy, t + every, 0.0, 0.4, user))
    )


NOTEBOOK = Machine(
    "sim-lab-01", G5, "eu-west-1", "eu-west-1a", ON_DEMAND, cluster=LAB, team=RESEARCH, guarded=True,
    strangers=_notebook("grace", DAY), keeps=(PlannedKeep(3600, DAY, "grace", "a notebook is open until tonight"),),
)  # fmt: skip
COMPILING = Machine(
    "sim-lab-02", P3, "us-east-1", "us-east-1b", ON_DEMAND, cluster=LAB, team=RESEARCH, guarded=True,
    attempts=(Attempt("translator-4", 600, 3000, DAY, 4, 0.91, 0.8, 64, compiles=True),),
)  # fmt: skip
SWEEP = Machine(
    "sim-lab-03", G5, "eu-west-1", "eu-west-1a", ON_DEMAND, cluster=LAB, team=RESEARCH, guarded=True,
    attempts=(
        Attempt("sweep-lr-1", 60, 150, 2400, 12, 0.85, 0.7, 20, status="failed"),
        Attempt("sweep-lr-2", 2460, 2550, 5400, 12, 0.85, 0.7, 20, status="failed"),
        Attempt("sweep-lr-3", 5460, 5550, 9000, 12, 0.85, 0.7, 20),
        Attempt("sweep-lr-4", 9060, 9150, 10_800, 12, 0.85, 0.7, 20, status="failed"),
        Attempt("sweep-lr-5", 10_860, 10_950, DAY, 12, 0.85, 0.7, 20),
    ),
)  # fmt: skip
SMALL = Machine(
    "sim-a2-01", A2, "us-central1", "us-central1-a", ON_DEMAND, team=LANGUAGE,
    attempts=(Attempt("bert-tiny-2", 60, 240, DAY, 10, 0.97, 0.08, 64),),
)  # fmt: skip

LONG_AGO = -40 * DAY


def _offers(source: str, kind: Kind, region: str, on_demand: float | None, **spot: float | Steps) -> tuple[Offer, ...]:
    """One machine type on demand and as spot by zone (``_`` for ``-``; ``everywhere``: one for the region)."""
    offers = []
    if on_demand is not None:
        offers.append(
            Offer(source, kind.provider, region, "", kind.instance_type, ON_DEMAND, Steps(((LONG_AGO, on_demand),)))
        )
    for zone, usd in spot.items():
        price = usd if isinstance(usd, Steps) else Steps(((LONG_AGO, usd),))
        place = "" if zone == "everywhere" else zone.replace("_", "-")
        offers.append(Offer(source, kind.provider, region, place, kind.instance_type, SPOT, price))
    return tuple(offers)


OFFERS = (
    *_offers(
        "aws", P4D, "us-east-1", 32.7726,
        us_east_1a=Steps(((LONG_AGO, 11.57), (7200, 13.9), (14_280, 12.2))), us_east_1b=12.83, us_east_1d=14.4,
    ),
    *_offers("aws", P4D, "us-west-2", 32.7726, us_west_2a=15.1, us_west_2b=16.9),
    *_offers(
        "aws", G5, "eu-west-1", 1.123,
        eu_west_1a=0.49, eu_west_1b=Steps(((LONG_AGO, 0.42), (12_000, 0.61))), eu_west_1c=0.38,
    ),
    *_offers("aws", P3, "us-east-1", 3.06),
    *_offers("aws", C7I, "us-east-1", 1.428),
    *_offers("gcp", A3, "us-central1", 88.25, everywhere=36.4),
    *_offers("gcp", A2, "us-central1", 3.673),
    *_offers("gcp", G2, "us-central1", 0.8536, everywhere=Steps(((LONG_AGO, 0.34), (9000, 0.79), (15_000, 0.91)))),
    Offer("owned", "owned", "", "", DESK.instance_type, OWNED, Steps(((LONG_AGO, 0.1566771),))),
    Offer(
        "listed", "lambda", "us-west-2", "", LAMBDA.instance_type, ON_DEMAND, Steps(((-200 * DAY, 4.29),)),
        dated=-200 * DAY,
    ),
    *_offers("vast", replace(G5, provider="vast", instance_type="1x RTX 4090", gpu_model=DESK.gpu_model), "", 0.41),
)  # fmt: skip
"""A market of its own for every source; no machine uses `vast`, which fails for an hour."""

FLEET = Script(
    machines=(
        A100, replace(A100, name="sim-a100-02", attempts=_llm(0.84, rank=8)),
        H100, G5_TAKEN, G5_NEXT, LEFT_ON, HUNG, UNUSED, CPU_ONLY, DEARER, ASLEEP, UNPRICED,
        SMALL, NOTEBOOK, COMPILING, SWEEP,
    ),
    jobs=JOBS,
    offers=OFFERS,
    kinds=(P4D, A3, A2, G5, P3, G2, LAMBDA, C7I, DESK),
    failing=(("vast", 5100, 8700),),
    refused=(("gcp", "a3-highgpu-8g", 10_200, 13_200),),
    credits=(("vast", 100.0, Steps(((LONG_AGO, 1.0), (11_000, 10.0), (14_000, 1.0)))),),
    poller_down=((18_000, 18_900),),
    budget_usd_per_month=4000,
)  # fmt: skip
