"""The simulated fleets that the dashboards are looked at with. Every name and figure is simulated."""

from __future__ import annotations

from dataclasses import replace

from tests.grafana.simulated_fleet import GIB, HOUR, SimulatedFleet, SimulatedNode, SimulatedRun, Stretch

from epochcost.model import State

LENGTH = 6 * HOUR
FOREVER = LENGTH + 2 * HOUR
U = State.USEFUL

RUNS = (
    SimulatedRun("llm-7b-4417", "llm-7b", 40, 96_000, nodes=2, world=16, budget_usd=400),
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
        Stretch(0, 2400, State.VACANT),
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
    1, "NVIDIA A10G", 24 * GIB, 1.124, watts_per_device=220,
)  # fmt: skip

LEFT_ON = SimulatedNode(
    "sim-p3-02", "aws", "us-east-1", "us-east-1b", "p3.2xlarge", "on_demand", ((0, 3.06),),
    (
        Stretch(0, 200, State.STARTUP, "resnet-12", memory_fill=0.2),
        Stretch(200, 11000, U, "resnet-12", 0.9, 0.04, 10, 256, 0.8),
        Stretch(11000, FOREVER, State.FINISHED),
    ),
    1, "Tesla V100-SXM2-16GB", 16 * GIB, 3.06, agent_knows_price=False,
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
    1, "NVIDIA A100 80GB PCIe", 80 * GIB,
)  # fmt: skip

NO_PRICE_RUN = replace(
    G5, node="sim-unpriced", provider="", region="", zone="", instance_type="", purchase_option="", prices=(),
    on_demand_usd_per_hour=None,
)  # fmt: skip

FLEETS = {
    "many": SimulatedFleet(
        (
            _P4D,
            replace(_P4D, node="sim-a100-02", stretches=_llm(0.02)),
            H100, G5, LEFT_ON, DESK, CPU_ONLY, UNPRICED,
        ),
        RUNS,
    ),
    "one": SimulatedFleet((G5,), RUNS),
    "cpu": SimulatedFleet((CPU_ONLY,), RUNS),
    "unpriced": SimulatedFleet((NO_PRICE_RUN,), RUNS, with_poller=False),
    "empty": SimulatedFleet((), (), with_poller=False),
}  # fmt: skip
