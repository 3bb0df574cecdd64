"""Files that the package carries for others: rules, dashboards, units; written where the user wants them.

In a checkout they are those of the checkout, so that there is one copy of each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = Path(__file__).parent
CHECKOUT = PACKAGE.parents[1]


class ShippedError(Exception):
    """The files cannot be written; the text contains which and why."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file: what it is for, its patterns, and where it is in the package and in a checkout."""

    text: str
    patterns: tuple[str, ...]
    packaged: Path
    in_checkout: Path

    def files(self) -> list[Path]:
        """The files, by name."""
        folder = self.packaged if self.packaged.is_dir() else self.in_checkout
        return sorted(file for pattern in self.patterns for file in folder.glob(pattern))


KINDS: Mapping[str, Kind] = {
    "rules": Kind(
        "Prometheus recording rules and alerts, and the Alertmanager routes",
        ("rules/*.yml", "alertmanager.yml"),
        PACKAGE / "demo" / "prometheus",
        CHECKOUT / "prometheus",
    ),
    "dashboards": Kind(
        "Grafana dashboards", ("*.json",), PACKAGE / "shipped" / "dashboards", CHECKOUT / "grafana" / "dashboards"
    ),
    "unit": Kind(
        "systemd units, users, events directory and settings",
        ("epochcost*",),
        PACKAGE / "shipped" / "systemd",
        CHECKOUT / "deploy" / "systemd",
    ),
    "slurm": Kind(
        "Slurm prolog, epilog and task prolog, and the agent unit's settings for Slurm",
        ("*.sh", "*.conf"),
        PACKAGE / "shipped" / "slurm",
        CHECKOUT / "deploy" / "slurm",
    ),
    "helm-values": Kind(
        "values of the Helm chart, each with a description",
        ("values.yaml",),
        PACKAGE / "shipped" / "helm",
        CHECKOUT / "deploy" / "helm" / "epochcost",
    ),
}


def write(kind: str, out: Path, changed: Callable[[str], str] | None = None) -> list[Path]:
    """Write the files of ``kind`` into ``out``, made where missing; a file of yours that differs is never replaced.

    ``changed`` makes the text that is written of the one that is shipped.

    Raises:
        ShippedError: when one is there already with other content, or cannot be written.
    """
    files = KINDS[kind].files()
    if not files:
        raise ShippedError(f"{kind}: this installation contains none")
    texts = {out / file.name: _text(file, changed) for file in files}
    differing = [path for path, text in texts.items() if path.exists() and not _same(text, path)]
    if differing:
        raise ShippedError(f"{differing[0]} exists and differs: move it away, or choose another --out")
    try:
        import shutil

        out.mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.copy(file, out / file.name)
            if changed is not None:
                (out / file.name).write_bytes(texts[out / file.name])
        return list(texts)
    except OSError as err:
        raise ShippedError(f"{err.filename or out}: {err.strerror}") from None


def _text(file: Path, changed: Callable[[str], str] | None) -> bytes:
    return file.read_bytes() if changed is None else changed(file.read_text(encoding="utf-8")).encode()


def _same(ours: bytes, theirs: Path) -> bool:
    try:
        return ours == theirs.read_bytes()
    except OSError as err:
        raise ShippedError(f"{theirs}: {err.strerror}") from None
