"""An APScheduler executor of one daemon thread: a hung source delays neither another one nor the end of the program."""

from __future__ import annotations

import queue
import sys
import threading
from typing import Any

from apscheduler.executors.base import BaseExecutor, run_job


class SourceThread(BaseExecutor):  # type: ignore[misc]
    """Runs its jobs one after another. The pools of APScheduler would join a hung thread when the program ends."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._jobs: queue.SimpleQueue[tuple[Any, Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=f"prices-{name}", daemon=True)

    def start(self, scheduler: Any, alias: str) -> None:  # noqa: ANN401 - APScheduler has no types
        """Begin to take jobs."""
        super().start(scheduler, alias)
        self._thread.start()

    def shutdown(self, wait: bool = True) -> None:  # noqa: ARG002, FBT001, FBT002 - the signature of APScheduler
        """Take no more jobs. It never waits: the scheduler holds its locks here, and a job may need them to end."""
        self._jobs.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the job under way, but not for long."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _do_submit_job(self, job: Any, run_times: Any) -> None:  # noqa: ANN401 - APScheduler has no types
        self._jobs.put((job, run_times))

    def _run(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, run_times = item
            try:
                events = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001 - as its own executors do
            except BaseException:  # noqa: BLE001 - as its own executors do: the error is logged, the thread goes on
                self._run_job_error(job.id, *sys.exc_info()[1:])
            else:
                self._run_job_success(job.id, events)
