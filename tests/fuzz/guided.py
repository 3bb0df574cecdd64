"""``python -m tests.fuzz.guided READER RUNS SEED``: inputs that reach new code are changed further (atheris)."""

from __future__ import annotations

import logging
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["epochcost"], enable_loader_override=False):
    from tests.fuzz.readers import READERS

LONGEST_INPUT = 8192


def main(name: str, runs: str, seed: str) -> None:
    """Does not return: libFuzzer ends the process, with 0 when nothing broke."""
    logging.getLogger("epochcost").setLevel(logging.CRITICAL)
    reader = READERS[name]
    folder = Path(tempfile.mkdtemp(prefix="epochcost-guided-"))
    (folder / "seeds").mkdir()
    for number, good in enumerate(reader.seeds):
        (folder / "seeds" / str(number)).write_bytes(good)

    def one(data: bytes) -> None:
        try:
            reader.read(data)
        except reader.refuses:
            return

    limits = [f"-runs={runs}", f"-seed={seed}", f"-max_len={LONGEST_INPUT}", "-timeout=20", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(folder / "seeds")], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
