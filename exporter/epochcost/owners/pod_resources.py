"""Owners by the kubelet's pod-resources socket: which container has which device."""

from __future__ import annotations

import functools
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from epochcost.model import GpuOwner, GpuSample
from epochcost.owners.given_devices import GivenDevices
from epochcost.owners.hami import ALLOCATED, Part, owned, parts_of
from epochcost.owners.owner_source import OwnerError, label

if TYPE_CHECKING:
    from epochcost.owners.pod_annotations import PodAnnotations, PodName

log = logging.getLogger(__name__)

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


class PodResources:
    """Queries the kubelet behind ``socket``. Needs packages of the extra ``kubernetes``, and access to the socket.

    Args:
        socket: of the kubelet.
        proc: see `GivenDevices`.
        annotations: source of HAMi's allocations; None: not requested, and HAMi's parts are not understood.
    """

    name = "kubernetes"

    def __init__(
        self, socket: Path = SOCKET, proc: Path = Path("/proc"), annotations: PodAnnotations | None = None
    ) -> None:
        self.not_understood: Mapping[str, int] = {}
        """Devices of the last response that are a GPU, in an unknown format, by how they were allocated."""
        self._socket = socket
        self._proc = proc
        self._annotations = annotations
        self._error = ""

    def owners(self, gpus: Sequence[GpuSample]) -> list[GpuOwner]:
        """The containers with each GPU, by the number of devices if one is shared; see `OwnerSource`."""
        if not self._socket.is_socket():
            return []
        assigned = GivenDevices(gpus, self._proc)
        owners: list[GpuOwner] = []
        by_hami: dict[PodName, list[tuple[GpuOwner, int]]] = defaultdict(list)
        for pod in self._list().pod_resources:
            for container in pod.containers:
                who = GpuOwner("", self.name, label(pod.name), 1.0, label(pod.namespace), label(container.name))
                uuids = (*assigned.by_plugins(container), *assigned.by_claims(container))
                owners += [replace(who, uuid=uuid) for uuid in uuids]
                if parts := assigned.hami_parts(container):
                    by_hami[pod.namespace, pod.name].append((who, parts))
        owners += self._by_hami(by_hami, {gpu.uuid for gpu in gpus}, assigned.not_understood) if by_hami else []
        self.not_understood = assigned.not_understood
        return owners

    def _by_hami(
        self, containers: Mapping[PodName, list[tuple[GpuOwner, int]]], there: Collection[str], odd: Counter[str]
    ) -> list[GpuOwner]:
        """By what HAMi wrote into the annotations of each pod; a pod of which that is not known is counted."""
        annotations = self._annotated_by_hami()
        with_owners: list[tuple[Part, GpuOwner]] = []
        for pod, mine in containers.items():
            parts = parts_of(annotations.get(pod, "")) or []
            sure = [len(of_one) for of_one in parts] == [count for _, count in mine]
            known = sure and all(part.uuid in there for of_one in parts for part in of_one)
            if known:
                with_owners += [(part, who) for (who, _), of_one in zip(mine, parts, strict=True) for part in of_one]
            else:
                odd["hami"] += sum(count for _, count in mine)
        return owned(with_owners)

    def _annotated_by_hami(self) -> Mapping[PodName, str]:
        """Its annotations by pod; nothing, with a log line, where they cannot be read: other owners are known still."""
        error = ""
        annotations: Mapping[PodName, str] = {}
        try:
            annotations = self._annotations.named(ALLOCATED) if self._annotations is not None else {}
        except OwnerError as err:
            error = str(err)
        if error and error != self._error:
            log.warning("owners: HAMi: %s", error)
        self._error = error
        return annotations

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
