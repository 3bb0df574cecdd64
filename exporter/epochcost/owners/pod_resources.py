"""Owners by the kubelet's pod-resources socket: which container was given which device."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from epochcost.model import GpuOwner, GpuSample
from epochcost.owners.owner_source import OwnerError, label

SOCKET = Path("/var/lib/kubelet/pod-resources/kubelet.sock")
METHOD = "/v1.PodResourcesLister/List"
QUESTION_SECONDS = 3.0
MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""What the kubelet itself takes."""

MESSAGES: Mapping[str, tuple[tuple[str, int, str], ...]] = {
    "ListPodResourcesRequest": (),
    "ListPodResourcesResponse": (("pod_resources", 1, "PodResources"),),
    "PodResources": (("name", 1, ""), ("namespace", 2, ""), ("containers", 3, "ContainerResources")),
    "ContainerResources": (("name", 1, ""), ("devices", 2, "ContainerDevices"), ("claims", 5, "DynamicResource")),
    "ContainerDevices": (("resource_name", 1, ""), ("device_ids", 2, "string")),
    "DynamicResource": (("claim_name", 2, ""), ("claim_namespace", 3, ""), ("resources", 4, "ClaimResource")),
    "ClaimResource": (("driver_name", 2, ""), ("pool_name", 3, ""), ("device_name", 4, "")),
}
"""The part that is read of the kubelet's ``podresources/v1``: fields by name and number, and what they repeat."""

GKE_DEVICE = re.compile(r"nvidia(\d+)(?:/vgpu\d+)?")
"""Google's device plugin numbers the devices; NVIDIA's names them by UUID."""
DRA_DRIVER = "gpu.nvidia.com"
"""NVIDIA's driver for dynamic resource allocation; it names a whole GPU by the number of its device file, ``gpu-0``."""
REPLICA = re.compile(r"GPU-[0-9a-f-]{36}-\d+")
"""One of the parts that HAMi makes of a GPU."""
GPU_RESOURCE = re.compile(r"(?:nvidia|volcano)\.(?:com|sh)/(?:gpu|mig|vgpu)")
MINOR = re.compile(r"^Device Minor:\s*(\d+)", re.MULTILINE)
UUID = re.compile(r"^GPU UUID:\s*(\S+)", re.MULTILINE)
MAX_INFORMATION_BYTES = 4096


class PodResources:
    """Asks the kubelet behind ``socket``. Needs packages of the extra ``kubernetes``, and access to the socket."""

    name = "kubernetes"

    def __init__(self, socket: Path = SOCKET, proc: Path = Path("/proc")) -> None:
        self.not_understood: Mapping[str, int] = {}
        """Devices of the last answer that are a GPU, in a form that is not known, by how they were given."""
        self._socket = socket
        self._proc = proc

    def owners(self, gpus: Sequence[GpuSample]) -> list[GpuOwner]:
        """The containers that were given each GPU, by the number of devices where one is shared; see `OwnerSource`."""
        if not self._socket.is_socket():
            return []
        uuids = {gpu.uuid: gpu.uuid for gpu in gpus} | {f"nvidia{gpu.index}": gpu.uuid for gpu in gpus}
        minors = {f"gpu-{minor}": uuid for minor, uuid in device_minors(self._proc).items() if uuid in uuids}
        odd: Counter[str] = Counter()
        found = []
        for pod in self._list().pod_resources:
            for container in pod.containers:
                given = [*_by_plugins(container, uuids, odd), *_by_claims(container, minors, odd)]
                who = label(pod.name), 1.0, label(pod.namespace), label(container.name)
                found += [GpuOwner(uuid, self.name, *who) for uuid in given]
        self.not_understood = odd
        return found

    def _list(self) -> Any:  # noqa: ANN401 - the class is made below
        try:
            import grpc

            request, response = message_class("ListPodResourcesRequest"), message_class("ListPodResourcesResponse")
        except ImportError as err:
            raise OwnerError(f"{self._socket}: {err.name} is missing: pip install 'epochcost[kubernetes]'") from None
        options = [("grpc.max_receive_message_length", MAX_ANSWER_BYTES), ("grpc.enable_http_proxy", 0)]
        with grpc.insecure_channel(f"unix:{self._socket}", options=options) as channel:
            call = channel.unary_unary(
                METHOD, request_serializer=request.SerializeToString, response_deserializer=response.FromString
            )
            try:
                return call(request(), timeout=QUESTION_SECONDS)
            except grpc.RpcError as err:
                raise OwnerError(f"{self._socket}: {METHOD}: {_reason(err)}") from None


def _by_plugins(container: Any, uuids: Mapping[str, str], odd: Counter[str]) -> Iterator[str]:  # noqa: ANN401
    """GPUs that device plugins gave. HAMi's ids name no GPU: it gives another one than the kubelet was told."""
    for devices in container.devices:
        for device in devices.device_ids:
            if uuid := uuids.get(_device(device)):
                yield uuid
            elif GPU_RESOURCE.match(devices.resource_name) and not device.startswith(("GPU-", "MIG-")):
                odd["device_plugin"] += 1
            elif REPLICA.fullmatch(device):
                odd["hami"] += 1


def _by_claims(container: Any, minors: Mapping[str, str], odd: Counter[str]) -> Iterator[str]:  # noqa: ANN401
    """GPUs that claims of dynamic resource allocation gave."""
    for claim in container.claims:
        for resource in claim.resources:
            if resource.driver_name != DRA_DRIVER:
                continue
            if uuid := minors.get(resource.device_name):
                yield uuid
            else:
                odd["dra"] += 1


def device_minors(proc: Path) -> Mapping[int, str]:
    """UUIDs of NVIDIA's GPUs by the number of their device file, as the driver says in ``/proc``; else nothing."""
    found: dict[int, str] = {}
    for path in sorted((proc / "driver/nvidia/gpus").glob("*/information")):
        try:
            with path.open("rb") as file:
                text = file.read(MAX_INFORMATION_BYTES).decode("utf-8", "replace")
        except OSError:  # taken away meanwhile
            continue
        minor, uuid = MINOR.search(text), UUID.search(text)
        if minor and uuid:
            found[int(minor[1])] = uuid[1]
    return found


def _device(device_id: str) -> str:
    """``GPU-...::3`` is the fourth part of a GPU that is shared in time."""
    plain = device_id.partition("::")[0]
    found = GKE_DEVICE.fullmatch(plain)
    return f"nvidia{found[1]}" if found else plain


def _reason(err: Any) -> str:  # noqa: ANN401 - grpc has no types
    code: Callable[[], Any] | None = getattr(err, "code", None)
    details: Callable[[], Any] | None = getattr(err, "details", None)
    text = f"{code().name if code else type(err).__name__}: {details() if details else err}"
    return label(" ".join(text.split()))


@functools.cache
def message_class(name: str) -> Any:  # noqa: ANN401 - made at run time
    """The class of one of `MESSAGES`, from descriptors of our own, so that no generated code has to be kept in step.

    Raises:
        ImportError: without the package protobuf.
    """
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"v1.{name}"))


@functools.cache
def _pool() -> Any:  # noqa: ANN401 - protobuf has no types here
    from google.protobuf import descriptor_pb2, descriptor_pool

    file = descriptor_pb2.FileDescriptorProto(name="epochcost/podresources.proto", package="v1", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, repeats in fields:
            is_message = repeats in MESSAGES
            message.field.add(
                name=field,
                number=number,
                label=kinds.LABEL_REPEATED if repeats else kinds.LABEL_OPTIONAL,
                type=kinds.TYPE_MESSAGE if is_message else kinds.TYPE_STRING,
                type_name=f".v1.{repeats}" if is_message else None,
            )
    # A pool of our own: another package in this process may know the same messages by generated code.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
