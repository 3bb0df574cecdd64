"""The ZenML step that the program runs in: its pipeline run is the job, and the step which training of it this is."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple


class ZenmlStep(NamedTuple):
    """Names of the pipeline, of its run, and of the step."""

    pipeline: str
    run: str
    step: str

    @property
    def run_id(self) -> str:
        """The id of the first run in this step; a step that is tried again has the same."""
        return f"{self.run}.{self.step}"

    @property
    def experiment(self) -> str:
        """What can be compared: the same step of the same pipeline."""
        return f"{self.pipeline}/{self.step}"


def running_step() -> ZenmlStep | None:
    """The step whose function is running; None outside of one, or without ZenML. Nothing is imported for it."""
    module = sys.modules.get("zenml.steps.step_context")
    if module is None:
        return None
    try:
        context: Any = module.get_step_context()
        names = (context.pipeline.name, context.pipeline_run.name, context.step_run.name)
    except Exception:  # noqa: BLE001 - RuntimeError outside of a step; another version may have other names
        return None
    return ZenmlStep(*names) if all(isinstance(name, str) and name for name in names) else None
