"""Build hook: the wheel and the sdist carry the commit that they were built from (`epochcost --version` prints it)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "_commit.txt"
PACKAGE = Path("exporter") / "epochcost"


class CommitHook(BuildHookInterface):  # type: ignore[type-arg, misc, unused-ignore]
    """Adds ``epochcost/_commit.txt``."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the file aside and have it included; an sdist brings its own."""
        if version == "editable" or (Path(self.root) / PACKAGE / NAME).exists():
            return
        commit = os.environ.get("EPOCHCOST_COMMIT", "") or self._of_git()
        if not commit:
            return
        file = Path(self.directory) / NAME
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{commit}\n", encoding="ascii")
        inside = f"epochcost/{NAME}" if self.target_name == "wheel" else str(PACKAGE / NAME)
        build_data["force_include"][str(file)] = inside

    def _of_git(self) -> str:
        if not (Path(self.root) / ".git").exists():  # a copy inside somebody else's repository
            return ""
        command = ["git", "-C", self.root, "rev-parse", "--short=12", "HEAD"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
        except OSError:  # no git here
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""
