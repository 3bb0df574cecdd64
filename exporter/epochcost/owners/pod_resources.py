"""Owners by the kubelet's pod-resources socket: which container was given which device."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
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
    "ContainerResources": (("name", 1, ""), ("devices", 2, "ContainerDevices")),
    "ContainerDevices": (("resource_name", 1, ""), ("device_ids", 2, "string")),
}
"""The part that is read of the kubelet's ``podresources/v1``: fields by name and number, and what they repeat."""

GKE_DEVICE = re.compile(r"nvidia(\d+)(?:/vgpu\d+)?")
"""Google's device plugin numbers the devices; NVIDIA's names them by UUID."""


class PodResources:
    """Asks the kubelet behind ``socket``. Needs packages of the extra ``kubernetes``, and access to the socket."""

    name = "kubernetes"

    def __init__(self, socket: Path = SOCKET) -> None:
        self._socket = socket

    def owners(self, gpus: Sequence[GpuSample]) -> list[GpuOwner]:
        """The containers that were given each GPU, by the number of devices where one is shared; see `OwnerSource`."""
        if not self._socket.is_socket():
            return []
        uuids = {gpu.uuid: gpu.uuid for gpu in gpus} | {f"nvidia{gpu.index}": gpu.uuid for gpu in gpus}
        return [
            GpuOwner(uuid, self.name, label(pod.name), 1.0, label(pod.namespace), label(container.name))
            for pod in self._list().pod_resources
            for container in pod.containers
            for devices in container.devices
            for device in devices.device_ids
            if (uuid := uuids.get(_device(device)))
        ]

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
