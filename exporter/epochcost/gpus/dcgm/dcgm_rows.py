"""The exposition of a dcgm-exporter as samples: pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field, replace

from epochcost.gpus.gpu_plausibility import (
    ImplausibleError,
    activity,
    energy,
    errors,
    memory,
    or_none,
    percent,
    power,
    some_memory,
    temperature,
)
from epochcost.gpus.label import printable
from epochcost.gpus.mig_size import slice_ratio
from epochcost.model import GpuReading, GpuSample, is_number

MIB = 1024 * 1024
BLANKS = frozenset(
    first + reason for first in (0x7FFFFFF0, 0x7FFFFFFFFFFFFFF0, 1 << 47) for reason in range(4)
)  # of 32 bits, of 64 bits, and of a double: blank, not found, not supported, not permitted
MOST_ENTITIES = 1024
"""GPUs and slices of one machine; an exposition with more is not from a dcgm-exporter of it."""
LEAST_INT64_BLANK = 9.2e18
"""As a double, all blanks of 64 bits are 2^63."""

_INSTANCE = re.compile(r"\d{1,3}", re.ASCII)
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
    """A response is not an exposition of a dcgm-exporter; the text contains the reason."""


@dataclass(slots=True)
class Entity:
    """One GPU, or one slice of it (``slice_id`` not empty), and its figures by field."""

    index: str
    uuid: str
    model: str
    slice_id: str = ""
    profile: str = ""
    figures: dict[str, float] = field(default_factory=dict)


def parse_exposition(text: str, complaints: MutableMapping[str, str] | None = None) -> GpuReading:
    """All GPUs and slices in ``text``, in order of their index; ``t`` is 0.

    Args:
        text: the exposition.
        complaints: takes what was left out because it cannot be, by GPU and figure, for people.

    Raises:
        ExpositionError: when it has none, is cut off, has a line that cannot be read, or has two machines.
    """
    lines = [line for line in text.splitlines() if line.startswith(FIELDS)]
    if not lines:
        raise ExpositionError("the response contains no DCGM_FI_ metric of a GPU; is this a dcgm-exporter?")
    if not text.endswith("\n"):
        raise ExpositionError("the response ends in the middle of a line")
    entities: dict[tuple[str, str], Entity] = {}
    hosts, versions = set(), set()
    for labels, name, value in _samples(lines):
        hosts.add(labels.get("hostname") or labels.get("Hostname") or "")
        versions.add(labels.get("DCGM_FI_DRIVER_VERSION", ""))
        _take(entities, labels, name, value)
    if len(hosts) > 1:
        raise ExpositionError(f"metrics of {len(hosts)} machines; expected only this machine's")
    if not entities:
        raise ExpositionError("no metric in the response identifies its GPU by a label UUID")
    return GpuReading(
        0.0, tuple(_described(entities.values(), {} if complaints is None else complaints)), printable(max(versions))
    )


def _samples(lines: Iterable[str]) -> Iterable[tuple[Mapping[str, str], str, float]]:
    from prometheus_client.parser import text_string_to_metric_families

    for line in lines:
        try:
            for family in text_string_to_metric_families(line):
                for sample in family.samples:
                    if sample.name in FIELDS:
                        yield sample.labels, sample.name, sample.value
        except (ValueError, IndexError, KeyError) as err:  # noqa: PERF203 - the bad line is named
            why = printable(str(err)[:120])
            raise ExpositionError(f"a line cannot be read: {printable(line[:120])!r}: {why}") from None


def _take(entities: dict[tuple[str, str], Entity], labels: Mapping[str, str], name: str, value: float) -> None:
    uuid = printable(labels.get("UUID") or labels.get("uuid") or "")
    if not uuid:
        return
    part = printable(labels.get("GPU_I_ID", ""))
    entity = entities.get((uuid, part))
    if entity is None:
        if len(entities) >= MOST_ENTITIES:
            raise ExpositionError(f"more than {MOST_ENTITIES} GPUs and slices: no machine has that many")
        index, model = printable(labels.get("gpu", "")), printable(labels.get("modelName", ""))
        profile = printable(labels.get("GPU_I_PROFILE", ""))
        entity = entities[uuid, part] = Entity(index, uuid, model, part, profile)
    if not is_blank(value):
        entity.figures.setdefault(name, value)  # a GPU that pods share is reported once for each of them


def is_blank(value: float) -> bool:
    """Whether DCGM means "no figure" by it."""
    return not is_number(value) or value in BLANKS or value >= LEAST_INT64_BLANK


def _described(entities: Iterable[Entity], complaints: MutableMapping[str, str]) -> list[GpuSample]:
    by_gpu: dict[str, list[Entity]] = {}
    for entity in entities:
        by_gpu.setdefault(entity.uuid, []).append(entity)
    gpus = sorted(by_gpu.values(), key=lambda group: (len(group[0].index), group[0].index, group[0].uuid))
    return [sample for group in gpus for sample in _gpu(group, complaints)]


def _gpu(group: list[Entity], complaints: MutableMapping[str, str]) -> list[GpuSample]:
    """One GPU and its slices; not readable where DCGM has no figure of it, as when it fell off the bus.

    The exporter may report the slices alone: what they leave over is the GPU's all the same. Where it is not known
    how large one of them is, none has a part, and the whole GPU is one whose utilisation is not known.
    """
    slices = sorted((e for e in group if e.slice_id), key=lambda e: (len(e.slice_id), e.slice_id))
    own = next((e for e in group if not e.slice_id), None)
    if not slices:
        return [replace(_whole(e, complaints), readable=bool(e.figures)) for e in group]
    whole = own or Entity(slices[0].index, slices[0].uuid, slices[0].model, figures=_of_the_board(slices[0]))
    gpu = replace(_whole(whole, complaints), utilization_ratio=None)
    sizes = [slice_ratio(e.model, e.profile, _memory_of(e)) for e in slices]
    if None in sizes:
        unknown = next(e for e, size in zip(slices, sizes, strict=True) if size is None)
        complaints[f"{unknown.uuid} slices"] = (
            f"GPU {unknown.index}: the share of MIG profile {unknown.profile!r} in {unknown.model or 'the GPU'} "
            "is unknown, and so is the time of the GPU"
        )
        return [gpu, *(_slice(e, 0.0, complaints) for e in slices)]
    known = [size for size in sizes if size is not None]
    scale = max(1.0, sum(known))
    left_over = 1.0 - sum(known) / scale
    return [
        replace(gpu, mig=True, gpu_fraction=left_over if left_over > 1e-9 else 0.0),  # noqa: PLR2004
        *(_slice(e, size / scale, complaints) for e, size in zip(slices, known, strict=True)),
    ]


def _of_the_board(entity: Entity) -> dict[str, float]:
    """Of a slice's figures those that DCGM reads from the whole GPU."""
    board = ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_TEMP")
    return {name: entity.figures[name] for name in board if name in entity.figures}


def _memory_of(entity: Entity) -> float | None:
    """Bytes of a slice."""
    used, free = (entity.figures.get(f"DCGM_FI_DEV_FB_{name}") for name in ("USED", "FREE"))
    return None if used is None or free is None else (used + free) * MIB


@dataclass(frozen=True, slots=True)
class _Figures:
    """The figures of one entity, each left out where it cannot be."""

    of: Entity
    complaints: MutableMapping[str, str]

    def get(self, name: str, check: Callable[[float], float], per_unit: float = 1.0) -> float | None:
        """Figure ``name`` in the unit of the model, of which DCGM's is ``per_unit``."""
        value = self.of.figures.get(name)
        reasons: dict[str, str] = {}
        checked = or_none(check, None if value is None else value * per_unit, name, reasons)
        if reasons:
            self.complain(name, reasons[name])
        return checked

    def complain(self, name: str, why: str) -> None:
        """Report that figure ``name`` was left out."""
        self.complaints[f"{self.of.uuid} {self.of.slice_id} {name}"] = f"GPU {self.of.index}: {name}: {why}: left out"

    def memory(self) -> tuple[int | None, int | None, int | None]:
        """Bytes in use, in all, and reserved."""
        f = self.of.figures
        used, free, total = (f.get(f"DCGM_FI_DEV_FB_{name}") for name in ("USED", "FREE", "TOTAL"))
        reserved = self.get("DCGM_FI_DEV_FB_RESERVED", some_memory, MIB)
        if total is None and used is not None and free is not None:
            total = used + free + (reserved or 0) / MIB
        if used is None or total is None:
            alone = self.get("DCGM_FI_DEV_FB_USED", some_memory, MIB)
            return None if alone is None else int(alone), None, None if reserved is None else int(reserved)
        try:
            both = memory(used * MIB, total * MIB)
        except ImplausibleError as err:
            self.complain("DCGM_FI_DEV_FB_USED", str(err))
            return None, None, None
        return *both, None if reserved is None or reserved > both[1] else int(reserved)


def _whole(entity: Entity, complaints: MutableMapping[str, str]) -> GpuSample:
    f = _Figures(entity, complaints)
    busy = f.get("DCGM_FI_DEV_GPU_UTIL", percent)
    if "DCGM_FI_DEV_GPU_UTIL" not in entity.figures:
        busy = f.get("DCGM_FI_PROF_GR_ENGINE_ACTIVE", activity)
    ecc = {
        "corrected": f.get("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", errors),
        "uncorrected": f.get("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", errors),
    }
    return replace(
        _common(entity, f),
        utilization_ratio=busy,
        power_watts=f.get("DCGM_FI_DEV_POWER_USAGE", power),
        energy_joules=f.get("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", energy, 1e-3),
        temperature_celsius=f.get("DCGM_FI_DEV_GPU_TEMP", temperature),
        ecc_errors={kind: int(count) for kind, count in ecc.items() if count is not None} or None,
    )


def _slice(entity: Entity, fraction: float, complaints: MutableMapping[str, str]) -> GpuSample:
    """A slice. DCGM has no utilisation of one (some versions report 0), so only what its engine counts is used."""
    f = _Figures(entity, complaints)
    return replace(
        _common(entity, f),
        index=f"{entity.index}:{entity.slice_id}",
        uuid=f"MIG-{entity.uuid}/{entity.slice_id}/0",
        model=f"{entity.model} MIG {entity.profile}".strip(),
        utilization_ratio=f.get("DCGM_FI_PROF_GR_ENGINE_ACTIVE", activity),
        parent_uuid=entity.uuid,
        gpu_fraction=fraction,
        gpu_instance=int(entity.slice_id) if _INSTANCE.fullmatch(entity.slice_id) else None,
    )


def _common(entity: Entity, f: _Figures) -> GpuSample:
    used, total, reserved = f.memory()
    return GpuSample(
        index=entity.index,
        uuid=entity.uuid,
        model=entity.model,
        memory_used_bytes=used,
        memory_total_bytes=total,
        memory_reserved_bytes=reserved,
        sm_active_ratio=f.get("DCGM_FI_PROF_SM_ACTIVE", activity),
        tensor_active_ratio=f.get("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", activity),
        dram_active_ratio=f.get("DCGM_FI_PROF_DRAM_ACTIVE", activity),
    )
