"""GPUs as reported by a dcgm-exporter on this node, so that the driver is not queried twice."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

from epochcost.gpus.dcgm.dcgm_rows import ExpositionError, parse_exposition
from epochcost.gpus.gpu_source import GpuError
from epochcost.http_client import (
    OK,
    Bounds,
    ConnectError,
    ExchangeError,
    InvalidRequestError,
    Request,
    TooLongError,
    ask,
    place_of,
)
from epochcost.model import GpuReading, GpuSample

log = logging.getLogger(__name__)

DEFAULT_URL = "http://127.0.0.1:9400/metrics"
PATIENCE_SECONDS = 2.0
MAX_ANSWER_BYTES = 16 << 20


class DcgmSource:
    """Queries the exporter at ``url`` at each reading; a GPU that it no longer reports is not readable.

    The figures are as old as the exporter's own interval, 30 s by default: it reports no times.
    """

    name = "dcgm"

    def __init__(self, url: str = DEFAULT_URL, patience_seconds: float = PATIENCE_SECONDS) -> None:
        path = urlsplit(url).path
        self._url = url if path.strip("/") else f"{url.rstrip('/')}/metrics"
        self._patience = patience_seconds
        self._answer = b""
        self._parsed: GpuReading | None = None
        """The readings in `_answer`; the exporter repeats itself literally between two of its own readings."""
        self._known: dict[str, GpuSample] = {}
        self._complained: set[str] = set()

    def read(self, t: float) -> GpuReading:
        """All GPUs now; see `GpuSource.read`."""
        try:
            answer = self._fetched()
            if self._parsed is None or answer != self._answer:
                complaints: dict[str, str] = {}
                self._parsed = parse_exposition(answer.decode("utf-8", "replace"), complaints)
                self._answer = answer
                self._complain(complaints)
        except ExpositionError as err:
            raise GpuError(f"{self._who()}: {err}") from None
        return replace(self._parsed, t=t, gpus=self._with_those_gone(self._parsed.gpus))

    def close(self) -> None:
        """Nothing is held: each request is a connection of its own."""

    def _complain(self, complaints: Mapping[str, str]) -> None:
        """Log each once for as long as it lasts."""
        for about in complaints.keys() - self._complained:
            log.warning("%s: %s", self._who(), complaints[about])
        self._complained = set(complaints)

    def _with_those_gone(self, gpus: tuple[GpuSample, ...]) -> tuple[GpuSample, ...]:
        named = {gpu.uuid for gpu in gpus}
        for gpu in gpus:
            if not gpu.parent_uuid:  # slices come and go as they are cut
                before = self._known.get(gpu.uuid)
                if gpu.readable and before is not None and not before.readable:
                    log.info("GPU %s (%s): reported again", gpu.index, gpu.uuid)
                elif not gpu.readable and (before is None or before.readable):
                    log.warning("GPU %s (%s): no metrics from %s", gpu.index, gpu.uuid, self._who())
                self._known[gpu.uuid] = gpu
        for uuid, gpu in self._known.items():
            if uuid not in named and gpu.readable:
                log.warning("GPU %s (%s): no longer reported by %s", gpu.index, uuid, self._who())
                self._known[uuid] = GpuSample(gpu.index, uuid, gpu.model, readable=False)
        return (*gpus, *(gpu for uuid, gpu in self._known.items() if uuid not in named))

    def _fetched(self) -> bytes:
        request = Request(self._url, headers={"Accept": "text/plain; version=0.0.4"}, by_proxy=False)
        try:
            answer = ask(request, Bounds.within(self._patience, MAX_ANSWER_BYTES))
        except (ConnectError, InvalidRequestError) as err:
            raise GpuError(f"{self._who()}: request failed: {err}") from None
        except TooLongError as err:
            raise GpuError(f"{self._who()}: {err}") from None
        except ExchangeError as err:
            raise GpuError(f"{self._who()}: the response was cut off: {err}") from None
        if answer.status != OK:  # a redirect to another machine is not followed
            raise GpuError(f"{self._who()}: HTTP {answer.status}")
        return answer.body

    def _who(self) -> str:
        return f"dcgm-exporter at {place_of(self._url)}"
