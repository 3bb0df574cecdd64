"""What the build adds: the commit that a wheel was built from, and a readme whose links work on the package index."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

NAME = "_commit.txt"
PACKAGE = Path("exporter") / "epochcost"
LINK = re.compile(r"(!?)(\[(?:[^\[\]]|!\[[^\]]*\]\([^)]*\))*\]\()(?!https?:|mailto:|#)([^)\s]+)")
"""A link or picture of Markdown that leads to a place in the repository."""


class ReadmeHook(MetadataHookInterface):
    """The readme, its links led to this version's files in the repository: the package index knows no others."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme``."""
        repository = metadata["urls"]["Repository"]
        version = re.search(r'__version__ = "(.+)"', (Path(self.root) / PACKAGE / "_version.py").read_text("utf-8"))
        ref = f"v{version[1]}" if version else "main"
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        absolute = LINK.sub(lambda m: f"{m[1]}{m[2]}{repository}/{'raw' if m[1] else 'blob'}/{ref}/{m[3]}", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute}


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
