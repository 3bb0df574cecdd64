"""The kubelet's assignment of GPUs to containers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.owners.kubelet import CLAIMS, Kubelet

from epochcost.model import GpuOwner, GpuSample
from epochcost.owners.owner_source import OwnerError
from epochcost.owners.pod_resources import PodResources
from epochcost.owners.shares import combined

GPUS = [GpuSample("0", "GPU-aaa"), GpuSample("1", "GPU-bbb"), GpuSample("2", "MIG-ccc")]


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
def path(kubelet: Kubelet, tmp_path: Path) -> Iterator[Path]:
    with kubelet.serving(tmp_path / "k.sock") as path:
        yield path


def test_each_gpu_belongs_to_its_assigned_container(kubelet: Kubelet, path: Path):
    kubelet.pods = [
        ("train-0", "team-a", {"main": {"nvidia.com/gpu": ["GPU-aaa"], "rdma/hca": ["mlx5_0"]}, "log": {}}),
        ("infer-5", "team-b", {"server": {"nvidia.com/mig-1g.10gb": ["MIG-ccc"]}}),
        ("web-1", "team-b", {"nginx": {}}),
        ("gone-1", "team-b", {"x": {"nvidia.com/gpu": ["GPU-of-another-machine"]}}),
    ]
    assert PodResources(path).owners(GPUS) == [
        GpuOwner("GPU-aaa", "kubernetes", "train-0", 1.0, "team-a", "main"),
        GpuOwner("MIG-ccc", "kubernetes", "infer-5", 1.0, "team-b", "server"),
    ]


def test_a_time_shared_gpu_belongs_to_its_containers_by_their_shares(kubelet: Kubelet, path: Path):
    kubelet.pods = [
        ("a", "ns", {"c": {"nvidia.com/gpu.shared": ["GPU-aaa::0", "GPU-aaa::2", "GPU-aaa::3"]}}),
        ("b", "ns", {"c": {"nvidia.com/gpu.shared": ["GPU-aaa::1"]}}),
    ]
    shares = {owner.owner: owner.share_ratio for owner in combined([PodResources(path).owners(GPUS)])}
    assert shares == {"a": 0.75, "b": 0.25}


def test_googles_device_plugin_numbers_the_gpus(kubelet: Kubelet, path: Path):
    kubelet.pods = [("a", "ns", {"c": {"nvidia.com/gpu": ["nvidia1", "nvidia0/vgpu3", "nvidia0/gi4", "nvidia77"]}})]
    assert [owner.uuid for owner in PodResources(path).owners(GPUS)] == ["GPU-bbb", "GPU-aaa"]


def test_a_thousand_pods_are_one_response(kubelet: Kubelet, path: Path):
    devices = {f"example.com/{i}": [f"device-{i}"] * 20 for i in range(10)}
    kubelet.pods = [(f"pod-{i}", "ns", {"c": devices}) for i in range(1000)]
    kubelet.pods.append(("a", "ns", {"c": {"nvidia.com/gpu": ["GPU-aaa"]}}))
    assert [owner.owner for owner in PodResources(path).owners(GPUS)] == ["a"]


def test_without_a_socket_there_are_no_owners(tmp_path: Path):
    assert PodResources(tmp_path / "nothing.sock").owners(GPUS) == []
    (tmp_path / "file").write_text("")
    assert PodResources(tmp_path / "file").owners(GPUS) == []


def test_a_kubelet_that_hangs_is_an_error_in_time(kubelet: Kubelet, path: Path):
    kubelet.hang = True
    started_at = time.monotonic()
    with pytest.raises(OwnerError, match="DEADLINE_EXCEEDED"):
        PodResources(path).owners(GPUS)
    assert time.monotonic() - started_at < 5


def test_a_kubelet_that_rejects_the_request_is_an_error_with_the_reason(kubelet: Kubelet, path: Path):
    kubelet.denied = True
    with pytest.raises(OwnerError, match=r"k.sock: /v1.PodResourcesLister/List: RESOURCE_EXHAUSTED: rejected by rate"):
        PodResources(path).owners(GPUS)


def test_a_response_that_is_not_a_message_is_an_error(kubelet: Kubelet, path: Path):
    kubelet.raw = b"\x0a\xff\xff\xff\xff\x0fgarbage"
    with pytest.raises(OwnerError, match="List: "):
        PodResources(path).owners(GPUS)


def test_a_socket_without_a_server_is_an_error(tmp_path: Path):
    path = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(OwnerError, match=r"UNAVAILABLE|DEADLINE_EXCEEDED"):
        PodResources(path).owners(GPUS)


def test_a_hostile_name_stays_one_label(kubelet: Kubelet, path: Path):
    kubelet.pods = [('x"} 1\n# HELP', "n" * 5000, {"c\x00": {"nvidia.com/gpu": ["GPU-aaa"]}})]
    (owner,) = PodResources(path).owners(GPUS)
    assert (owner.owner, len(owner.namespace), owner.container) == ('x"} 1?# HELP', 200, "c?")


def information(proc: Path, minors: dict[int, str]) -> None:
    """NVIDIA's driver information on each GPU in ``/proc``."""
    for minor, uuid in minors.items():
        directory = proc / f"driver/nvidia/gpus/0000:{minor + 17:02x}:00.0"
        directory.mkdir(parents=True)
        text = f"Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 300\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n"
        (directory / "information").write_text(text)


def test_gpus_of_claims_are_found_by_the_number_of_their_device_file(kubelet: Kubelet, path: Path, tmp_path: Path):
    information(tmp_path, {0: "GPU-bbb", 1: "GPU-aaa", 2: "GPU-elsewhere"})  # not in the order of their indices
    kubelet.pods = [
        ("train-0", "team-a", {"main": {CLAIMS: ["gpu.nvidia.com/gpu-0", "gpu.nvidia.com/gpu-1"]}}),
        ("train-1", "team-a", {"main": {CLAIMS: ["gpu.nvidia.com/gpu-1", "nic.example.com/gpu-0"]}}),
    ]
    source = PodResources(path, tmp_path)
    shares = {(o.uuid, o.owner): o.share_ratio for o in combined([source.owners(GPUS)])}
    assert shares == {("GPU-bbb", "train-0"): 1.0, ("GPU-aaa", "train-0"): 0.5, ("GPU-aaa", "train-1"): 0.5}
    assert not source.not_understood


def test_devices_without_a_gpu_are_counted_and_have_no_owner(kubelet: Kubelet, path: Path, tmp_path: Path):
    hami = "GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448-7"
    kubelet.pods = [
        ("claim", "ns", {"c": {CLAIMS: ["gpu.nvidia.com/gpu-0", "gpu.nvidia.com/gpu-0-mig-1g10gb-0-1"]}}),
        ("hami", "ns", {"c": {"nvidia.com/gpu": [hami]}}),
        ("gke", "ns", {"c": {"nvidia.com/gpu": ["nvidia0/gi4"], "example.com/nic": ["eth0"]}}),
        ("other", "ns", {"c": {"nvidia.com/gpu": ["GPU-of-another-machine"]}}),
    ]
    source = PodResources(path, tmp_path)
    assert source.owners(GPUS) == []
    assert source.not_understood == {"dra": 2, "hami": 1, "device_plugin": 1}
    kubelet.pods = []
    source.owners(GPUS)
    assert not source.not_understood


def slices(*places: tuple[int, str, int | None, int | None]) -> list[GpuSample]:
    """GPU-aaa in slices: number of the instance, profile, number of the profile, first memory slice."""
    lines = [
        GpuSample(
            f"0:{number}",
            f"MIG-{number}",
            f"NVIDIA H100 80GB HBM3 MIG {profile}",
            parent_uuid="GPU-aaa",
            gpu_instance=number,
            instance_profile=profile_number,
            instance_start=start,
        )
        for number, profile, profile_number, start in places
    ]
    return [GpuSample("0", "GPU-aaa", mig=True), *lines]


PLACED = slices((1, "3g.40gb", 9, 0), (5, "1g.10gb", 19, 4), (6, "1g.10gb", 19, 5), (7, "1g.10gb+me", 20, 6))


@pytest.mark.parametrize(
    ("device", "uuid"),
    [
        ("gpu-0-mig-9-0-4", "MIG-1"),  # as releases until 2025 name them
        ("gpu-0-mig-19-4-1", "MIG-5"),
        ("gpu-0-mig-19-5-1", "MIG-6"),
        ("gpu-0-mig-3g40gb-9-0", "MIG-1"),  # as those since
        ("gpu-0-mig-1g10gb-19-5", "MIG-6"),
        ("gpu-0-mig-1g10gb-me-20-6", "MIG-7"),
        ("gpu-0-mig-19-6-1", ""),  # no slice is there
        ("gpu-0-mig-1g10gb-14-4", ""),
        ("gpu-1-mig-19-4-1", ""),
        ("gpu-0-mig-", ""),
        ("gpu-0-mig-1g10gb", ""),
        ("gpu-vfio-0", ""),
        ("gpu-99999999999999999999-mig-1-1-1", ""),
    ],
)
def test_a_slice_of_a_claim_is_found_by_its_placement_on_the_gpu(
    kubelet: Kubelet, path: Path, tmp_path: Path, device: str, uuid: str
):
    information(tmp_path, {0: "GPU-aaa"})
    kubelet.pods = [("a", "ns", {"c": {CLAIMS: [f"gpu.nvidia.com/{device}"]}})]
    source = PodResources(path, tmp_path)
    assert [owner.uuid for owner in source.owners(PLACED)] == ([uuid] if uuid else [])
    assert source.not_understood == ({} if uuid else {"dra": 1})


def test_without_placements_a_slice_of_a_unique_profile_is_found(kubelet: Kubelet, path: Path, tmp_path: Path):
    information(tmp_path, {0: "GPU-aaa"})
    unplaced = slices((1, "3g.40gb", None, None), (5, "1g.10gb", None, None), (6, "1g.10gb", None, None))
    devices = ("gpu-0-mig-3g40gb-9-0", "gpu-0-mig-1g10gb-19-4", "gpu-0-mig-9-0-4")
    kubelet.pods = [("a", "ns", {"c": {CLAIMS: [f"gpu.nvidia.com/{device}" for device in devices]}})]
    source = PodResources(path, tmp_path)
    assert [owner.uuid for owner in source.owners(unplaced)] == ["MIG-1"]
    assert source.not_understood == {"dra": 2}


def test_googles_slices_are_found_by_the_number_of_their_part(kubelet: Kubelet, path: Path, tmp_path: Path):
    devices = ["nvidia0/gi1", "nvidia0/gi5/vgpu2", "nvidia0/gi2", "nvidia1/gi1"]
    kubelet.pods = [("a", "ns", {"c": {"nvidia.com/gpu": devices}})]
    source = PodResources(path, tmp_path)
    assert [owner.uuid for owner in source.owners(PLACED)] == ["MIG-1", "MIG-5"]
    assert source.not_understood == {"device_plugin": 2}


@pytest.mark.parametrize("text", ["", "GPU UUID: GPU-aaa\n", "Device Minor: x\nGPU UUID: GPU-aaa\n", "\0" * 9000])
def test_without_device_file_information_claims_have_no_owner(kubelet: Kubelet, path: Path, tmp_path: Path, text: str):
    information(tmp_path, {0: "GPU-aaa"})
    next(tmp_path.glob("driver/nvidia/gpus/*/information")).write_text(text)
    kubelet.pods = [("a", "ns", {"c": {CLAIMS: ["gpu.nvidia.com/gpu-0"]}})]
    source = PodResources(path, tmp_path)
    assert source.owners(GPUS) == []
    assert source.not_understood == {"dra": 1}
