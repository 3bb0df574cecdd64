"""What the exposition of a dcgm-exporter says, as samples: pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from epochcost.gpus.label import printable
from epochcost.model import GpuReading, GpuSample

MIB = 1024 * 1024
BLANKS = frozenset(
    first + reason for first in (0x7FFFFFF0, 0x7FFFFFFFFFFFFFF0, 1 << 47) for reason in range(4)
)  # of 32 bits, of 64 bits, and of a double: blank, not found, not supported, not permitted
LEAST_INT64_BLANK = 9.2e18
"""As a double, all blanks of 64 bits are 2^63."""
WHOLE_SLICES = 7
WHOLE_SLICES_OF_A30 = 4

FIELDS = (
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_FB_RESERVED",
    "DCGM_FI_DEV_FB_TOTAL",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL",
    "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
    "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
    "DCGM_FI_PROF_SM_ACTIVE",
    "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
    "DCGM_FI_PROF_DRAM_ACTIVE",
)
"""What is read; lines of other metrics are not even parsed."""


class ExpositionError(ValueError):
    """An answer is no exposition of a dcgm-exporter; the text says why."""


@dataclass(slots=True)
class Entity:
    """One GPU, or one slice of it (``slice_id`` not empty), and its figures by field."""

    index: str
    uuid: str
    model: str
    slice_id: str = ""
    profile: str = ""
    figures: dict[str, float] = field(default_factory=dict)


def parse_exposition(text: str) -> GpuReading:
    """All GPUs and slices that ``text`` tells of, in order of their index; ``t`` is 0.

    Raises:
        ExpositionError: when it tells of none, is cut off, has a line that cannot be read, or tells of two machines.
    """
    lines = [line for line in text.splitlines() if line.startswith(FIELDS)]
    if not lines:
        raise ExpositionError("no DCGM_FI_ figure of a GPU in the answer; is that a dcgm-exporter?")
    if not text.endswith("\n"):
        raise ExpositionError("the answer breaks off within a line")
    entities: dict[tuple[str, str], Entity] = {}
    hosts, versions = set(), set()
    for labels, name, value in _samples(lines):
        hosts.add(labels.get("hostname") or labels.get("Hostname") or "")
        versions.add(labels.get("DCGM_FI_DRIVER_VERSION", ""))
        _take(entities, labels, name, value)
    if len(hosts) > 1:
        raise ExpositionError(f"figures of {len(hosts)} machines; expected those of this one alone")
    if not entities:
        raise ExpositionError("no figure in the answer names its GPU by a label UUID")
    return GpuReading(0.0, tuple(_described(entities.values())), printable(max(versions)))


def _samples(lines: Iterable[str]) -> Iterable[tuple[Mapping[str, str], str, float]]:
    from prometheus_client.parser import text_string_to_metric_families

    for line in lines:
        try:
            for family in text_string_to_metric_families(line):
                for sample in family.samples:
                    if sample.name in FIELDS:
                        yield sample.labels, sample.name, sample.value
        except (ValueError, IndexError, KeyError) as err:  # noqa: PERF203 - the bad line is named
            raise ExpositionError(f"a line cannot be read: {printable(line[:120])!r}: {err}") from None


def _take(entities: dict[tuple[str, str], Entity], labels: Mapping[str, str], name: str, value: float) -> None:
    uuid = printable(labels.get("UUID") or labels.get("uuid") or "")
    if not uuid:
        return
    part = printable(labels.get("GPU_I_ID", ""))
    entity = entities.get((uuid, part))
    if entity is None:
        index, model = printable(labels.get("gpu", "")), printable(labels.get("modelName", ""))
        profile = printable(labels.get("GPU_I_PROFILE", ""))
        entity = entities[uuid, part] = Entity(index, uuid, model, part, profile)
    if not is_blank(value):
        entity.figures.setdefault(name, value)  # a GPU that pods share is told once for each of them


def is_blank(value: float) -> bool:
    """Whether DCGM means "no figure" by it."""
    return not math.isfinite(value) or value in BLANKS or value >= LEAST_INT64_BLANK


def _described(entities: Iterable[Entity]) -> list[GpuSample]:
    by_gpu: dict[str, list[Entity]] = {}
    for entity in entities:
        by_gpu.setdefault(entity.uuid, []).append(entity)
    gpus = sorted(by_gpu.values(), key=lambda group: (len(group[0].index), group[0].index, group[0].uuid))
    return [sample for group in gpus for sample in _gpu(group)]


def _gpu(group: list[Entity]) -> list[GpuSample]:
    """One GPU and its slices; not readable where DCGM has no figure of it, as when it fell off the bus.

    The exporter may tell of the slices alone: what they leave over is the GPU's all the same.
    """
    slices = sorted((e for e in group if e.slice_id), key=lambda e: (len(e.slice_id), e.slice_id))
    own = next((e for e in group if not e.slice_id), None)
    if not slices:
        return [replace(_whole(e), readable=bool(e.figures)) for e in group]
    whole = own or Entity(slices[0].index, slices[0].uuid, slices[0].model, figures=_of_the_board(slices[0]))
    sizes = [_size(e) for e in slices]
    scale = max(1.0, sum(sizes))
    samples = [_slice(e, size / scale) for e, size in zip(slices, sizes, strict=True)]
    left_over = 1.0 - sum(sizes) / scale
    return [
        replace(_whole(whole), utilization_ratio=None, mig=True, gpu_fraction=left_over if left_over > 1e-9 else 0.0),  # noqa: PLR2004
        *samples,
    ]


def _of_the_board(entity: Entity) -> dict[str, float]:
    """Of a slice's figures those that DCGM reads from the whole GPU."""
    board = ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_TEMP")
    return {name: entity.figures[name] for name in board if name in entity.figures}


def _size(entity: Entity) -> float:
    found = re.match(r"(\d)g\.", entity.profile)
    return int(found[1] if found else 1) / (WHOLE_SLICES_OF_A30 if "A30" in entity.model else WHOLE_SLICES)


def _whole(entity: Entity) -> GpuSample:
    f = entity.figures
    percent = f.get("DCGM_FI_DEV_GPU_UTIL")
    busy = _ratio(percent / 100 if percent is not None else f.get("DCGM_FI_PROF_GR_ENGINE_ACTIVE"))
    ecc = {
        kind: int(f[name])
        for kind, name in (
            ("corrected", "DCGM_FI_DEV_ECC_SBE_VOL_TOTAL"),
            ("uncorrected", "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL"),
        )
        if f.get(name, -1) >= 0
    }
    millijoules = _at_least_0(f.get("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"))
    return replace(
        _common(entity),
        utilization_ratio=busy,
        power_watts=_at_least_0(f.get("DCGM_FI_DEV_POWER_USAGE")),
        energy_joules=None if millijoules is None else millijoules / 1000,
        temperature_celsius=f.get("DCGM_FI_DEV_GPU_TEMP"),
        ecc_errors=ecc or None,
    )


def _slice(entity: Entity, fraction: float) -> GpuSample:
    """A slice. DCGM has no utilisation of one (some versions say 0), so only what its engine counts is believed."""
    busy = _ratio(entity.figures.get("DCGM_FI_PROF_GR_ENGINE_ACTIVE"))
    return replace(
        _common(entity),
        index=f"{entity.index}:{entity.slice_id}",
        uuid=f"MIG-{entity.uuid}/{entity.slice_id}/0",
        model=f"{entity.model} MIG {entity.profile}".strip(),
        utilization_ratio=busy,
        parent_uuid=entity.uuid,
        gpu_fraction=fraction,
    )


def _common(entity: Entity) -> GpuSample:
    f = entity.figures
    used = _at_least_0(f.get("DCGM_FI_DEV_FB_USED"))
    free = _at_least_0(f.get("DCGM_FI_DEV_FB_FREE"))
    reserved = _at_least_0(f.get("DCGM_FI_DEV_FB_RESERVED"))
    total = f.get("DCGM_FI_DEV_FB_TOTAL")
    if total is None and used is not None and free is not None:
        total = used + free + (reserved or 0)
    return GpuSample(
        index=entity.index,
        uuid=entity.uuid,
        model=entity.model,
        memory_used_bytes=_bytes(used),
        memory_total_bytes=_bytes(total) or None,
        memory_reserved_bytes=_bytes(reserved),
        sm_active_ratio=_ratio(f.get("DCGM_FI_PROF_SM_ACTIVE")),
        tensor_active_ratio=_ratio(f.get("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE")),
        dram_active_ratio=_ratio(f.get("DCGM_FI_PROF_DRAM_ACTIVE")),
    )


def _ratio(value: float | None) -> float | None:
    return value if value is not None and 0 <= value <= 1 else None


def _at_least_0(value: float | None) -> float | None:
    return value if value is not None and value >= 0 else None


def _bytes(mebibytes: float | None) -> int | None:
    return None if mebibytes is None else int(mebibytes * MIB)
