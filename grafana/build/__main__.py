"""Write the dashboards: ``PYTHONPATH=exporter python grafana/build``; ``--check`` says whether they are current."""

from __future__ import annotations

import sys
from pathlib import Path

from every_board import BUILT

DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards"


def main(argv: list[str]) -> int:
    """Exit status 1 when ``--check`` finds a file that is not what the code builds."""
    stale = []
    for board, build in BUILT.items():
        name, text = f"{board}.json", build()
        path = DASHBOARDS / name
        if "--check" not in argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
    if stale:
        print(f"not what the code builds: {', '.join(stale)}; run: PYTHONPATH=exporter python grafana/build")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
