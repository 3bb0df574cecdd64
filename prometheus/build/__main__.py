"""Write the rules: ``python prometheus/build``; ``--check`` says whether they are current.

``--keep cluster,team --to DIR`` writes them with other labels to keep, into another place. The version in the
links of rule tests in that place follows the rules.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from every_rule_file import FILES
from rule_labels import Labels
from rule_text import RUNBOOKS

RULES = Path(__file__).resolve().parents[1] / "rules"


def main(argv: list[str]) -> int:
    """Exit status 1 when ``--check`` finds a file that is not what the code builds."""
    parser = argparse.ArgumentParser(prog="prometheus/build", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, say what is not current")
    parser.add_argument("--keep", default=",".join(Labels().keep), help="labels that split the bill, with commas")
    parser.add_argument("--to", type=Path, default=RULES, help="the directory of the files")
    args = parser.parse_args(argv)
    labels = Labels(tuple(filter(None, args.keep.split(","))))
    stale = []
    current = {args.to / f"{name}.yml": file.text(labels) for name, file in FILES.items()}
    for path in sorted(args.to.glob("tests/*.yml")):
        current[path] = re.sub(r"/blob/[^/]+/docs/runbooks/", RUNBOOKS, path.read_text(encoding="utf-8"))
    for path, text in current.items():
        if not args.check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        print(f"not what the code builds: {', '.join(stale)}; run: python prometheus/build")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
