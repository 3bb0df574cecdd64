"""Readers of a machine's services and users' files, each as a function of bytes."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tests.fuzz.reader import Reader
from tests.owners import kubelet

from epochcost.gpus.replay import RecordingError, parse_recording
from epochcost.gpus.tpu import tpu_wire
from epochcost.gpus.tpu.tpu_source import CHIPS, TpuSource, _samples
from epochcost.http_client import Answer
from epochcost.launch.other_writers import OtherWriters
from epochcost.launch.reading import files as training_files
from epochcost.launch.reading.patterns import OwnPatterns, own_rows
from epochcost.launch.reading.program_rows import RowError
from epochcost.launch.reading.tensorboard import NotRecordsError, progress_of, records
from epochcost.model import GpuSample
from epochcost.nodes import safe
from epochcost.nodes.aws import AwsMetadata
from epochcost.nodes.azure import AzureMetadata
from epochcost.nodes.exchange import MetadataError, Service
from epochcost.nodes.gcp import GcpMetadata
from epochcost.nodes.kubernetes import _mapping, _provider, node_of_labels
from epochcost.nodes.node_source import NodeError
from epochcost.owners.pod_resources import PodResources, message_class
from epochcost.progress.http_ingest import Intake, IntakeError
from epochcost.serve.web_config_file import read_policy
from epochcost.shown_text import is_name
from epochcost.training.cost import CostFile
from epochcost.training.notice import NoticeFile

FOLDER = Path(tempfile.mkdtemp(prefix="epochcost-fuzz-"))
GPUS = (GpuSample("0", "GPU-aa", "H100"),)


class CannedService(Service):
    """A metadata service whose every response is these bytes."""

    data = b""

    def ask(self, path: str, headers: Any, deadline: float, method: str = "GET") -> Answer:
        return Answer(200, {"date": CannedService.data[:40].decode("latin-1")}, CannedService.data)


def _metadata(kind: Any, data: bytes) -> None:
    CannedService.data = data
    source = kind()
    source._service = CannedService("metadata", "http://localhost")
    for ask in (source.identify, source.notice):
        try:
            identity = ask(1e18)
        except MetadataError:
            continue
        if ask == source.identify:
            _safe(identity)


def _safe(node: Any) -> None:
    try:
        good = safe(node, "metadata")
    except NodeError:
        return
    assert all(map(is_name, (good.region, good.zone, good.instance_type, good.reservation)))


def _kubernetes(data: bytes) -> None:
    labels = Service("Kubernetes", "http://localhost").held(Answer(200, {}, data), "/")
    _safe(node_of_labels(_mapping(_mapping(labels.get("metadata")).get("labels")), _provider(labels)))


class CannedKubelet(PodResources):
    """A kubelet whose response is these bytes."""

    data = b""

    def _list(self) -> Any:
        return message_class("ListPodResourcesResponse").FromString(self.data)


def _kubelet(data: bytes) -> None:
    source = CannedKubelet(Path("/proc/self/fd"))
    source.data = data
    for owner in _of_socket(source):
        assert all(map(is_name, (owner.owner, owner.namespace, owner.container)))


def _of_socket(source: CannedKubelet) -> Any:
    class Socket:
        def is_socket(self) -> bool:
            return True

    source._socket = Socket()  # type: ignore[assignment]
    return source.owners(GPUS)


def _tpu(data: bytes) -> None:
    response = tpu_wire.message_class("MetricResponse").FromString(data)
    figures = {}
    for each in response.metric.metrics:
        kind = each.gauge.WhichOneof("value")
        if kind is not None:
            figures[each.attribute.value.int_attr] = float(getattr(each.gauge, kind))
    metrics = dict.fromkeys(("tpu.runtime.tensorcore.dutycycle.percent", "tpu.runtime.hbm.memory.usage.bytes"), figures)
    assert TpuSource.name == "tpu"
    for sample in _samples([next(iter(CHIPS.values()))] * 2, metrics):
        assert sample.utilization_ratio is None or 0 <= sample.utilization_ratio <= 1


def _file_of(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def _cost(data: bytes) -> None:
    _file_of("r.cost.json", data)
    file = CostFile(lambda: FOLDER, "r")
    for name in ("cost_usd", "cost_per_epoch_usd", "projected_cost_usd"):
        value = file.figure(name)
        assert value is None or 0 <= value < 1e15
    file.part(3)
    assert file.machines() >= 1
    file.seconds_by_state()
    file.is_behind(5.0)


def _notice(data: bytes) -> None:
    _file_of("preemption.json", data)
    NoticeFile(lambda: FOLDER).notice()


def _web_config(data: bytes) -> None:
    read_policy(_file_of("web.yml", data))


def _patterns(data: bytes) -> None:
    rows = own_rows([], [data.decode("utf-8", "replace")])
    OwnPatterns(rows).parse(b"Epoch 3/10 loss 0.5")


def _tensorboard(data: bytes) -> None:
    for record in records(data).data:
        progress_of(record)
    progress_of(data)


def _files_of_trainings(data: bytes) -> None:
    training_files.results_csv(data)
    training_files.metrics_csv(data)
    training_files.trainer_state(data)


def _intake(data: bytes) -> None:
    network = FOLDER / "network"
    intake = Intake(network, lambda: 1.0, lambda: 1.0)
    try:
        intake.take("w", data)
    finally:
        for path in network.glob("*"):
            path.unlink()


def _recording(data: bytes) -> None:
    parse_recording(data.decode("utf-8", "replace").splitlines(), "recording")


def _neighbours(data: bytes) -> None:
    folder = Path(tempfile.mkdtemp(dir=FOLDER))
    try:
        other_writers = OtherWriters(folder, "r", os.getpid())
        (folder / "a.jsonl").write_bytes(data)
        other_writers.look()
    finally:
        (folder / "a.jsonl").unlink()
        folder.rmdir()


GOOD_NODE = (
    b'{"metadata":{"labels":{"topology.kubernetes.io/region":"us-east-1","topology.kubernetes.io/zone":"us-east-1a",'
    b'"node.kubernetes.io/instance-type":"p4d","karpenter.sh/capacity-type":"spot"}},"spec":{"providerID":"aws:///a/i"}}'
)
GOOD_AWS = (
    b'{"region":"us-east-1","availabilityZone":"us-east-1a","instanceType":"p4d","action":"stop",'
    b'"time":"2026-01-02T03:04:05Z"}'
)
GOOD_AZURE = (
    b'{"compute":{"location":"eastus","zone":"1","vmSize":"Standard_ND96","name":"n","priority":"Spot"},'
    b'"DocumentIncarnation":1,"Events":[{"EventType":"Preempt","NotBefore":"Mon, 19 Sep 2016 18:29:47 GMT",'
    b'"Resources":["n"],"EventId":"x"}]}'
)
GIVEN = {"nvidia.com/gpu": ["GPU-aa"], kubelet.CLAIMS: ["gpu.nvidia.com/gpu-0"]}
GOOD_POD = kubelet.response_bytes([("p", "ns", {"c": GIVEN})])
GOOD_TPU = b"\x0a\x10\x12\x0e\x0a\x06\x12\x04\x18\x01\x0a\x00\x12\x04\x11\x00\x00\x00"
GOOD_COST = b'{"v":1,"run":"r","scope":"machine","machines":2,"cost_usd":1.5,"states":{"useful":2},"ts":9}'
GOOD_NOTICE = b'{"v":1,"kind":"interruption","action":"stop","at_ts":1795249320.0,"seen_ts":5.0}'
GOOD_WEB = (
    b"basic_auth_users: {ann: $2y$10$" + b"a" * 53 + b"}\nhttp_server_config: {headers: {X-Frame-Options: deny}}\n"
)
GOOD_PATTERNS = b"[mine]\nhas = Epoch\nline = Epoch (?P<epoch>\\d+)/(?P<epochs>\\d+)\nform = head\n"
GOOD_RECORD = b'{"t":1.0,"gpus":[{"index":"0","uuid":"GPU-a","model":"H100"}],"driver_version":"1"}\n'
GOOD_STATE = b'{"epoch":1.5,"global_step":30,"num_train_epochs":3,"max_steps":60}'
GOOD_CSV = b"epoch,step,train_loss\n0,9,0.5\n1,19,0.4\n"

MACHINE_READERS: Mapping[str, Reader] = {
    "metadata of aws": Reader(lambda data: _metadata(AwsMetadata, data), (), (GOOD_AWS, b"spot")),
    "metadata of gcp": Reader(
        lambda data: _metadata(GcpMetadata, data), (), (b"projects/1/machineTypes/a3", b"TRUE", b"projects/1/zones/a-b")
    ),
    "metadata of azure": Reader(lambda data: _metadata(AzureMetadata, data), (), (GOOD_AZURE,)),
    "node of kubernetes": Reader(_kubernetes, (MetadataError,), (GOOD_NODE,)),
    "answer of a kubelet": Reader(_kubelet, (DecodeError,), (GOOD_POD,)),
    "answer of libtpu": Reader(_tpu, (DecodeError,), (GOOD_TPU,)),
    "cost file": Reader(_cost, (), (GOOD_COST,)),
    "notice of a preemption": Reader(_notice, (), (GOOD_NOTICE,)),
    "web config": Reader(_web_config, (ValueError,), (GOOD_WEB,)),
    "pattern file": Reader(_patterns, (RowError,), (GOOD_PATTERNS,)),
    "TensorBoard file": Reader(_tensorboard, (NotRecordsError,), (b"\x18" + b"\0" * 40,)),
    "files of trainings": Reader(_files_of_trainings, (), (GOOD_STATE, GOOD_CSV)),
    "events over the network": Reader(_intake, (IntakeError,), (b'{"v":1,"ev":"start","ts":1,"run":"r"}\n',)),
    "another training's file": Reader(_neighbours, (), (b'{"v":1,"ev":"start","ts":1,"mono":1,"run":"r","pid":5}\n',)),
    "recording of GPUs": Reader(_recording, (RecordingError,), (GOOD_RECORD,)),
}
