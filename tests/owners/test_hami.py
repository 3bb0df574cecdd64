"""HAMi assigns other GPUs than those known to the kubelet: the assignment is in annotations of the pods."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.nodes.clouds import Cloud, Reply, Request
from tests.owners.kubelet import Kubelet

from epochcost.model import GpuSample
from epochcost.owners import combined
from epochcost.owners.hami import ALLOCATED, Part, parts_of
from epochcost.owners.owner_source import OwnerError
from epochcost.owners.pod_annotations import METADATA_ONLY, PodAnnotations
from epochcost.owners.pod_resources import PodResources

A, B = "GPU-0fc3eda5-e98b-a25b-5b0d-cf5c855d1448", "GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec"
GPUS = [GpuSample("0", A), GpuSample("1", B)]


class Pods(Cloud):
    """The part of an API server that lists the pods of a node, by their metadata."""

    def __init__(self) -> None:
        super().__init__()
        self.annotations: dict[tuple[str, str], dict[str, str]] = {}
        self.body: bytes | None = None
        self.status = 200

    def reply(self, request: Request) -> Reply:
        assert request.path == "/api/v1/pods"
        assert request.query["fieldSelector"] == ["spec.nodeName=gpu-7"]
        assert (request.headers["accept"], request.headers["authorization"]) == (METADATA_ONLY, "Bearer sesame")
        items = [
            {"metadata": {"namespace": namespace, "name": name, "annotations": annotations}}
            for (namespace, name), annotations in self.annotations.items()
        ]
        document = {"kind": "PartialObjectMetadataList", "metadata": {}, "items": [*items, {"metadata": None}, 7]}
        return Reply(self.status, json.dumps(document).encode() if self.body is None else self.body)


@pytest.fixture
def kubelet() -> Kubelet:
    return Kubelet()


@pytest.fixture
def pods() -> Iterator[Pods]:
    pods = Pods()
    with pods.serving():
        yield pods


@pytest.fixture
def source(kubelet: Kubelet, pods: Pods, tmp_path: Path) -> Iterator[PodResources]:
    account = tmp_path / "account"
    account.mkdir()
    (account / "token").write_text("sesame\n")
    with kubelet.serving(tmp_path / "k.sock") as path:
        yield PodResources(path, tmp_path, PodAnnotations(pods.url, "gpu-7", account))


def kubelet_devices(*numbers: int) -> dict[str, list[str]]:
    """The kubelet's devices: meaningless parts of GPUs."""
    return {"nvidia.com/gpu": [f"GPU-ffffffff-0000-0000-0000-000000000000-{number}" for number in numbers]}


def shares(source: PodResources) -> dict[tuple[str, str, str], float]:
    owners = combined([source.owners(GPUS)])
    return {(o.uuid, o.owner, o.container): round(o.share_ratio, 6) for o in owners}


def test_parts_of_a_gpu_belong_to_their_containers_by_the_memory_given(
    kubelet: Kubelet, pods: Pods, source: PodResources
) -> None:
    kubelet.pods = [
        ("train", "a", {"log": {}, "main": kubelet_devices(0), "side": kubelet_devices(1)}),
        ("infer", "b", {"main": kubelet_devices(0, 3)}),
        ("whole", "b", {"main": {"nvidia.com/gpu": [B]}}),
    ]
    pods.annotations = {
        ("a", "train"): {ALLOCATED: f";{A},NVIDIA,3000,30:;{A},NVIDIA,5000,0:;"},
        ("b", "infer"): {ALLOCATED: f"{A},NVIDIA,2000,20:{B},NVIDIA,2000,20:;", "other": "x"},
        ("b", "elsewhere"): {ALLOCATED: "nonsense"},
    }
    assert shares(source) == {
        (A, "train", "main"): 0.3,
        (A, "train", "side"): 0.5,
        (A, "infer", "main"): 0.2,
        (B, "infer", "main"): 0.5,
        (B, "whole", "main"): 0.5,
    }
    assert not source.not_understood


@pytest.mark.parametrize(
    ("first", "second", "part"),
    [((0, 30), (4000, 10), 0.75), ((0, 0), (4000, 10), 0.5), ((0, 0), (0, 0), 0.5), ((6000, 0), (2000, 0), 0.75)],
)
def test_without_memory_cores_count_and_otherwise_parts_are_equal(
    kubelet: Kubelet,
    pods: Pods,
    source: PodResources,
    first: tuple[int, int],
    second: tuple[int, int],
    part: float,
) -> None:
    kubelet.pods = [("one", "n", {"c": kubelet_devices(0)}), ("two", "n", {"c": kubelet_devices(1)})]
    pods.annotations = {
        ("n", name): {ALLOCATED: f"{A},NVIDIA,{mib},{percent}:;"}
        for name, (mib, percent) in {"one": first, "two": second}.items()
    }
    assert shares(source)[A, "one", "c"] == part


@pytest.mark.parametrize(
    "text",
    [
        "",
        ";",
        "nonsense",
        f"{A},NVIDIA,3000:;",  # a field is missing
        f"{A},NVIDIA,-1,0:;",
        f"{A},NVIDIA,3000,101:;",
        f"{A},NVIDIA,3e3,0:;",
        f"{A},NVIDIA,\u0663,0:;",
        f"{A},NVIDIA,99999999999,0:;",
        f"{A}[0-1],NVIDIA,3000,0:;",  # a MIG slice that HAMi created: which one is unknown
        "GPU-of-another-machine,NVIDIA,3000,0:;",
        f"{A},NVIDIA,3000,0:{B},NVIDIA,3000,0:;",  # more than the kubelet knows
        f"{A},NVIDIA,3000,0:;{A},NVIDIA,3000,0:;",  # another container too: which one is unknown
        "x" * 100_000,
    ],
)
def test_an_inconsistent_annotation_makes_no_owner_and_is_counted(
    kubelet: Kubelet, pods: Pods, source: PodResources, text: str
) -> None:
    kubelet.pods = [("odd", "n", {"c": kubelet_devices(0)}), ("good", "n", {"c": kubelet_devices(1)})]
    pods.annotations = {("n", "odd"): {ALLOCATED: text}, ("n", "good"): {ALLOCATED: f"{B},NVIDIA,1000,0:;"}}
    assert shares(source) == {(B, "good", "c"): 1.0}
    assert source.not_understood == {"hami": 1}


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"items":3}', b"[" * 100_000, b"\xff"])
def test_an_api_server_without_a_list_affects_no_other_owner(
    kubelet: Kubelet, pods: Pods, source: PodResources, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    kubelet.pods = [("hami", "n", {"c": kubelet_devices(0)}), ("whole", "n", {"c": {"nvidia.com/gpu": [B]}})]
    pods.body = body
    for _ in range(3):
        assert shares(source) == {(B, "whole", "c"): 1.0}
    assert source.not_understood == {"hami": 1}
    assert [record.getMessage() for record in caplog.records if "HAMi" in record.getMessage()] == [
        f"owners: HAMi: Kubernetes: pods of this node: the response is not a list of pods: {body[:40]!r}"
    ]


def test_without_hami_the_api_server_is_not_queried(kubelet: Kubelet, pods: Pods, source: PodResources) -> None:
    kubelet.pods = [("whole", "n", {"c": {"nvidia.com/gpu": [B]}})]
    assert shares(source) == {(B, "whole", "c"): 1.0}
    assert pods.requests == []


def test_missing_permission_to_list_pods_is_reported(kubelet: Kubelet, pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sesame")
    pods.status, pods.body = 403, b'{"kind":"Status","code":403}'
    with pytest.raises(OwnerError, match="pods of this node: HTTP 403"):
        PodAnnotations(pods.url, "gpu-7", tmp_path).named(ALLOCATED)
    with pytest.raises(OwnerError, match=r"the service account in .* cannot be used"):
        PodAnnotations(pods.url, "gpu-7", tmp_path / "none").named(ALLOCATED)
    with pytest.raises(OwnerError, match="pods of this node: "):
        PodAnnotations("http://127.0.0.1:9", "gpu-7", tmp_path).named(ALLOCATED)


@given(st.lists(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 100)), max_size=4), max_size=4))
def test_hamis_annotations_are_read_back(containers: list[list[tuple[int, int]]]) -> None:
    text = "".join("".join(f"{A},NVIDIA,{mib},{percent}:" for mib, percent in one) + ";" for one in containers)
    assert parts_of(text) == [[Part(A, *amounts) for amounts in one] for one in containers if one]


@given(st.text())
def test_any_text_is_parts_or_none(text: str) -> None:
    parts = parts_of(text)
    assert parts is None or all(part.uuid and part.mib >= 0 for one in parts for part in one)
