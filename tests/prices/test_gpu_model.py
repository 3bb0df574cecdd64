"""One spelling for each GPU model."""

from __future__ import annotations

import io
import logging
from importlib.resources import files

import pytest

from epochcost.prices.gcp.gcp_gpus import GPUS
from epochcost.prices.gpu_model import canonical, is_made_with
from epochcost.prices.price_list import Row, parse

GIB = 1024**3
SPELLINGS = {
    "H100": "NVIDIA H100 80GB HBM3|H100 SXM|nvidia_h100|H100|H100 (80 GB SXM5)|nvidia-h100-80gb|nvidia-h100-mega-80gb|"
    "NVIDIA H100 80GB Plus|Nvidia H100 80GB GPU",
    "H100 PCIe": "NVIDIA H100 PCIe|H100 PCIE|H100 (80 GB PCIe)",
    "H100 NVL": "NVIDIA H100 NVL|H100 NVL|H100 94GB",
    "H200": "NVIDIA H200|H200 SXM|nvidia-h200-141gb|H200 141GB",
    "H200 NVL": "NVIDIA H200 NVL",
    "GH200": "NVIDIA GH200 480GB|GH200 (96 GB)",
    "B200": "NVIDIA B200|B200 (180 GB SXM6)|nvidia-b200",
    "GB200": "NVIDIA GB200|nvidia-gb200",
    "B300": "NVIDIA B300|B300",
    "A100 40GB": "A100-SXM4-40GB|NVIDIA A100-SXM4-40GB|A100 (40 GB SXM4)|NVIDIA A100-PCIE-40GB",
    "A100 80GB": "NVIDIA A100 80GB PCIe|NVIDIA A100-SXM4-80GB|nvidia-a100-80gb|Nvidia Tesla A100 80GB GPU",
    "A100": "A100 SXM4|A100 PCIE|nvidia-tesla-a100|A100",
    "V100": "V100|Tesla V100",
    "V100 16GB": "Tesla V100-SXM2-16GB|Tesla V100-PCIE-16GB|V100 (16 GB)|Tesla V100-SXM2-16GB-ECC",
    "V100 32GB": "Tesla V100-SXM2-32GB",
    "K80": "Tesla K80|NVIDIA Tesla K80|K80|nvidia-tesla-k80",
    "K520": "GRID K520|K520",
    "M60": "Tesla M60|M60",
    "P100": "Tesla P100-PCIE-16GB|nvidia-tesla-p100",
    "P4": "Tesla P4|P4",
    "T4": "T4|Tesla T4|NVIDIA Tesla T4|nvidia-tesla-t4|NVIDIA T4",
    "T4G": "T4g",
    "L4": "L4|NVIDIA L4|nvidia-l4|nvidia-l4-vws",
    "L40S": "NVIDIA L40S|L40S|nvidia_l40s",
    "A10": "NVIDIA A10|A10 (24 GB PCIe)",
    "A10G": "NVIDIA A10G|A10G",
    "A40": "NVIDIA A40",
    "RTX 4090": "RTX 4090|NVIDIA GeForce RTX 4090|RTX4090",
    "RTX 4090 D": "NVIDIA GeForce RTX 4090 D|RTX 4090D",
    "RTX 4070 Ti SUPER": "NVIDIA GeForce RTX 4070 Ti SUPER|RTX 4070S Ti",
    "RTX 3080 Laptop": "NVIDIA GeForce RTX 3080 Laptop GPU",
    "GTX 1070 Ti": "GTX 1070 Ti|NVIDIA GeForce GTX 1070 Ti",
    "RTX A6000": "NVIDIA RTX A6000|RTX A6000|A6000 (48 GB)",
    "RTX 6000 Ada": "NVIDIA RTX 6000 Ada Generation|RTX 6000Ada|nvidia_rtx6000_ada|RTX 6000 Ada|RTX 6000 48GB",
    "RTX 4000 Ada": "nvidia_rtx4000_ada|NVIDIA RTX 4000 SFF Ada Generation",
    "Quadro RTX 6000": "Quadro RTX 6000|RTX 6000 (24 GB)|Q RTX 6000",
    "Quadro RTX 8000": "Q RTX 8000|Quadro RTX 8000",
    "Quadro P4000": "Quadro P4000|NVIDIA Quadro P4000",
    "RTX PRO 6000": "NVIDIA RTX PRO 6000 Blackwell Server Edition|RTX PRO 6000 WS|RTX PRO 6000 S|"
    "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition|RTX PRO Server 6000|RTX 6000 96GB",
    "MI300X": "AMD Instinct MI300X|AMD MI300X|amd_mi300x|MI300X|AMD Instinct MI300X OAM|AMD Instinct MI300X VF",
    "MI325X": "amd_mi325x",
    "MI25": "AMD Instinct MI25",
    "Radeon Pro V520": "Radeon Pro V520",
    "Gaudi": "Gaudi HL-205",
    "Gaudi3": "Intel Gaudi 3",
    "Trainium2": "Trainium2|AWS Trainium2",
    "Inferentia2": "Inferentia2",
    "TITAN Xp": "NVIDIA TITAN Xp",
    "TPU v2": "TPU v2|Tpu-v2|v2-8",
    "TPU v3": "Tpu-v3|Tpu-v3 Pod|v3-32",
    "TPU v4": "TPU v4",
    "TPU v5e": "TpuV5e|tpu-v5-lite-podslice|v5litepod-8|ct5lp-hightpu-4t|TPU v5e",
    "TPU v5p": "TpuV5p|tpu-v5p-slice|v5p-8|ct5p-hightpu-4t",
    "TPU v6e": "TpuV6e|tpu-v6e-slice|ct6e-standard-8t|v6e-16",
}


@pytest.mark.parametrize(
    ("name", "spelling"), [(name, spelling) for spelling, names in SPELLINGS.items() for name in names.split("|")]
)
def test_every_name_of_a_gpu_has_one_spelling(name: str, spelling: str) -> None:
    assert canonical(name) == spelling


@pytest.mark.parametrize("spelling", [spelling for spelling in SPELLINGS if "6000" not in spelling])
def test_the_one_spelling_is_spelt_as_itself(spelling: str) -> None:
    assert canonical(spelling) == spelling


def test_the_lists_and_tables_of_this_project_use_the_one_spelling() -> None:
    listed = [row.facts for row in _rows_of_the_package()]
    models = {fact.gpu_model for fact in listed if fact.gpu_model} | {gpu.model for gpu in GPUS.values()}
    assert {model: canonical(model) for model in models if canonical(model) != model} == {}


def _rows_of_the_package() -> tuple[Row, ...]:
    text = (files("epochcost.prices") / "listed.csv").read_text(encoding="utf-8")
    return parse(io.StringIO(text, newline=""))


def test_known_memory_distinguishes_models_of_one_name() -> None:
    assert canonical("A100", 40960 * 1024**2) == "A100 40GB"
    assert canonical("A100 SXM4", 81920 * 1024**2) == "A100 80GB"
    assert canonical("A100", 24 * GIB) == "A100"
    assert canonical("V100", 32 * GIB) == "V100 32GB"
    assert canonical("H100", 94 * GIB) == "H100 NVL"
    assert canonical("RTX 6000", 24 * GIB) == "Quadro RTX 6000"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "RTX 6000",
        "Graphics Device",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "MIG 1g.24gb",
        "H1000",
        "A100 lookalike",
    ],
)
def test_a_name_outside_the_table_has_no_spelling(name: str) -> None:
    assert canonical(name) == ""


def test_an_unknown_name_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="epochcost.prices.gpu_model"):
        for _ in range(3):
            canonical("Quantum 9000\n")
    assert [record.getMessage() for record in caplog.records] == [
        r"GPU model 'Quantum 9000\n' is not in the table of names and is left out"
    ]


@pytest.mark.parametrize(
    ("name", "memory_gib", "model"),
    [
        ("NVIDIA B300 SXM6 AC", 288, "B300"),
        ("GB200 NVL72", 186, "GB200"),
        ("NVIDIA GB300 NVL72", None, "GB300"),
        ("Intel Data Center GPU Max 1550", None, "Max 1550"),
        ("Intel Arc Pro B60", None, "Arc B60"),
        ("AMD Radeon AI PRO R9700", None, "Radeon AI Pro R9700"),
        ("NVIDIA CMP 170HX", None, "CMP 170HX"),
        # A size in the name below the chip's memory is that of a partition.
        ("H100 20GB", None, ""),
        ("NVIDIA H100 64GB", None, ""),
        ("L4 12GB", None, ""),
        ("NVIDIA GH200 480GB", None, "GH200"),
        ("NVIDIA GH200 144G HBM3e", 144, "GH200"),
        ("NVIDIA H20-3e", 141, "H20"),
        ("NVIDIA GB10", 128, "GB10"),
        ("DGX Spark GB10", None, "GB10"),
        ("RTX PRO 6000 MaxQ", 96, "RTX PRO 6000"),
        ("RTX PRO 6000 WK", 96, "RTX PRO 6000"),
        ("RTXPRO6000BSE", 96, "RTX PRO 6000"),
        ("RTXPRO", 96, "RTX PRO 6000"),
        ("RTXPRO", None, ""),
        ("AMD Radeon RX 7900 XTX", 24, "RX 7900 XTX"),
        ("Radeon RX 7900 XT", 20, "RX 7900 XT"),
        ("AMD Radeon RX 7800", 16, "RX 7800"),
        ("A100-SXM-64GB", 64, ""),
        ("A100 PG509 200", 40, "A100 40GB"),
        ("V100 FHHL", 16, "V100 16GB"),
        ("Tesla V100-SXM2-16GB-N", 16, "V100 16GB"),
        ("Trainium2 (Trn2-Ultra)", 96, "Trainium2"),
        ("TPU v7", None, "TPU v7x"),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 10, ""),
        ("H100 1g.10gb", 10, ""),
    ],
)
def test_names_of_the_newest_drivers_and_lists(name: str, memory_gib: int | None, model: str) -> None:
    assert canonical(name, None if memory_gib is None else memory_gib * GIB) == model


@pytest.mark.parametrize(
    ("model", "gib", "expected"),
    [("H100", 80, True), ("H100", 640, False), ("A100 80GB", 40, True), ("MI355X", 288, True), ("NEW1", 80, False)],
)
def test_sizes_of_memory_in_which_a_model_is_made(model: str, gib: float, expected: bool) -> None:
    assert is_made_with(model, gib) is expected
