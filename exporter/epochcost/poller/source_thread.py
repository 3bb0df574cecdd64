"""An APScheduler executor of one daemon thread: a hung source delays neither another one nor the end of the program."""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections.abc import Callable
from typing import Any

from apscheduler.executors.pool import BasePoolExecutor


class DaemonPool(concurrent.futures.Executor):
    """A pool of one daemon thread, which is not joined when the program ends.

    The threads of `concurrent.futures.ThreadPoolExecutor` are joined at exit, which a hung request would delay.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def submit(
        self,
        fn: Callable[..., Any],
        /,
        *args: Any,  # noqa: ANN401 - the signature of concurrent.futures
        **kwargs: Any,  # noqa: ANN401
    ) -> concurrent.futures.Future[Any]:
        """Run ``fn`` after all that was submitted before."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = fn(*args, **kwargs)
            except BaseException as err:  # noqa: BLE001 - delivered through the future; the thread continues
                future.set_exception(err)
            else:
                future.set_result(result)

        self._work.put(work)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002, FBT001, FBT002
        """Take no more work. It never waits: the scheduler holds its locks here, and a job may need them to end."""
        self._work.put(None)

    def join(self, seconds: float) -> None:
        """Wait for the work under way, at most ``seconds``."""
        if self._thread.ident is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class SourceThread(BasePoolExecutor):  # type: ignore[misc]
    """Runs the jobs of one source one after another, on a thread of its own."""

    def __init__(self, name: str) -> None:
        self._thread = DaemonPool(f"prices-{name}")
        super().__init__(self._thread)

    def start(self, scheduler: Any, alias: str) -> None:  # noqa: ANN401 - APScheduler has no types
        """Begin to take jobs."""
        super().start(scheduler, alias)
        self._thread.start()

    def join(self, seconds: float) -> None:
        """Wait for the job under way, at most ``seconds``."""
        self._thread.join(seconds)
