"""What devices and the machine reported at one instant, and the owners of GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GpuOwner:
    """The owner of one GPU, or of a part of it. Empty strings where unknown; the shares of one GPU sum to 1.

    Attributes:
        uuid: of the GPU.
        kind: how it is known: ``run``, ``kubernetes``, ``slurm``, ``container``, ``user``, or ``others``.
        owner: run id, pod, job id, container id or user name.
        share_ratio: part of the GPU, 0-1.
    """

    uuid: str
    kind: str
    owner: str
    share_ratio: float
    namespace: str = ""
    container: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU at one instant. None if not reported; ``readable`` False if it could not be read at all.

    Attributes:
        index: the driver's index, as a label ("0"); of a MIG slice the GPU's and its own ("0:1").
        uuid: ``GPU-...`` or ``MIG-...``.
        model: as the driver names it (``NVIDIA H100 80GB HBM3``).
        readable: False when reading the device failed; then every figure is None.
        utilization_ratio: share of the last sample period in which a kernel ran, 0-1.
        memory_used_bytes: allocated, reserved memory apart.
        memory_total_bytes: of the whole device.
        power_watts: current power.
        energy_joules: since the driver was loaded; where the card has no counter, the integral of its power since the
            agent's start.
        temperature_celsius: of the core.
        memory_reserved_bytes: held by the driver and the firmware, not usable by programs.
        sm_active_ratio, tensor_active_ratio, dram_active_ratio: activity since the sample before, 0-1.
        throttle_seconds: seconds in which the clocks were held down, by reason, since the agent's start.
        ecc_errors: memory errors by kind (``corrected``, ``uncorrected``) since the driver was loaded.
        xid_errors: critical errors that the driver reported, by Xid number, since the agent's start.
        mig: whether the GPU is in MIG mode, partitioned into slices.
        parent_uuid: of a slice, the GPU that it is a part of.
        gpu_fraction: its weight in a whole GPU; a partitioned one keeps what its slices leave over.
        gpu_instance: of a slice, the driver's number for its part of the GPU.
        instance_profile, instance_start: the number of that part's profile, and the memory slice it begins with.
        power_active: where a slice has no utilisation: whether its GPU draws more than at rest and the slice holds
            memory. A guess from the power of the whole GPU.
        stuck_call: the driver call that has not returned, if one is stuck.
        stuck_seconds: for how long.
    """

    index: str
    uuid: str
    model: str = ""
    readable: bool = True
    utilization_ratio: float | None = None
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    power_watts: float | None = None
    energy_joules: float | None = None
    temperature_celsius: float | None = None
    memory_reserved_bytes: int | None = None
    sm_active_ratio: float | None = None
    tensor_active_ratio: float | None = None
    dram_active_ratio: float | None = None
    throttle_seconds: Mapping[str, float] | None = None
    ecc_errors: Mapping[str, int] | None = None
    xid_errors: Mapping[str, int] | None = None
    mig: bool | None = None
    parent_uuid: str = ""
    gpu_fraction: float = 1.0
    gpu_instance: int | None = None
    instance_profile: int | None = None
    instance_start: int | None = None
    power_active: bool | None = None
    stuck_call: str = ""
    stuck_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class GpuReading:
    """All GPUs of the node at one instant, in the driver's order; ``t`` on the node timeline.

    Attributes:
        read_seconds: what reading took, of the slowest GPU where they are read side by side; None if unknown.
        slowest_call: of the driver, in that reading; empty if unknown.
        call_failures: results since the agent's start that were neither a figure nor a refusal, by call and code.
    """

    t: float
    gpus: tuple[GpuSample, ...]
    driver_version: str = ""
    read_seconds: float | None = None
    slowest_call: str = ""
    call_failures: Mapping[tuple[str, int], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostReading:
    """The machine itself at one instant.

    Attributes:
        t: on the node timeline.
        cpu_utilization_ratio: of all CPUs since the reading before, 0-1; None on the first reading.
        cpu_seconds: CPU-seconds since boot by state (user, system, idle, iowait, ...), summed over CPUs.
        memory_used_bytes: total - available.
        memory_total_bytes: of the machine.
        disk_read_bytes, disk_written_bytes: of all physical disks, since the agent's start.
        network_received_bytes, network_sent_bytes: of all physical interfaces, since the agent's start.
        sent_bytes_by_interface: of those that were named, since the boot, as the kernel counts.
    """

    t: float
    cpu_utilization_ratio: float | None
    cpu_seconds: Mapping[str, float] = field(default_factory=dict)
    memory_used_bytes: int | None = None
    memory_total_bytes: int | None = None
    disk_read_bytes: int | None = None
    disk_written_bytes: int | None = None
    network_received_bytes: int | None = None
    network_sent_bytes: int | None = None
    sent_bytes_by_interface: Mapping[str, int] = field(default_factory=dict)
