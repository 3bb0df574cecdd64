"""Stores with a simulated history: samples of a simulated fleet in a real Prometheus or VictoriaMetrics."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.grafana.simulated_fleet import SimulatedFleet
from tests.waiting import wait_for

from epochcost.demo.history import LONG_BLOCKS

EVERY = 120.0
"""Seconds between two scrapes."""
Sample = tuple[float, str, Mapping[str, str], float]
"""Seconds since the start of the simulation, name, labels, value."""
Change = Callable[[Iterable[Sample]], Iterable[Sample]]


def past(fleet: SimulatedFleet, length: float, *changes: Change) -> Iterator[Sample]:
    """Samples as scraped, after the given changes."""
    plain = (
        (t, name, labels, float(value))
        for t in (EVERY * k for k in range(1, int(length / EVERY) + 1))
        for name, labels, value in fleet.samples(t)
    )
    changed: Iterable[Sample] = plain
    for change in changes:
        changed = change(changed)
    yield from changed


def lines(samples: Iterable[Sample], epoch_ts: float, *, milliseconds: bool = False) -> Iterator[str]:
    for t, name, labels, value in samples:
        inner = ",".join(f"{k}={json.dumps(v)}" for k, v in labels.items())
        stamp = f"{(epoch_ts + t) * 1000:.0f}" if milliseconds else f"{epoch_ts + t:.3f}"
        yield f"{name}{{{inner}}} {value!r} {stamp}\n"


def write(data: Path, samples: Iterable[Sample], epoch_ts: float) -> None:
    """Write samples as blocks of a Prometheus data directory."""
    data.mkdir(parents=True)
    text = data.parent / f"{data.name}.om"
    with text.open("w") as out:
        out.writelines(lines(samples, epoch_ts))
        out.write("# EOF\n")
    command = ["promtool", "tsdb", "create-blocks-from", LONG_BLOCKS, "openmetrics", str(text), str(data)]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stderr
    text.unlink()


def victoria_metrics() -> str | None:
    return shutil.which("victoria-metrics")


@contextmanager
def victoria(data: Path, samples: Iterable[Sample], epoch_ts: float) -> Iterator[str]:
    """A real VictoriaMetrics that holds ``samples``; yields its URL."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = int(s.getsockname()[1])
    command = [
        victoria_metrics() or "victoria-metrics", f"-storageDataPath={data}", f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=100y", "-memory.allowedBytes=256MB",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _is_healthy(f"{url}/health"), 30, "VictoriaMetrics answering")
            body = "".join(lines(samples, epoch_ts, milliseconds=True)).encode()
            with urllib.request.urlopen(f"{url}/api/v1/import/prometheus", data=body, timeout=60):
                pass
            with urllib.request.urlopen(f"{url}/internal/force_flush", timeout=60):
                pass
            yield url
        finally:
            process.terminate()
            process.wait(20)


def _is_healthy(url: str) -> bool:
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as response:
        return response.status == 200
    return False
