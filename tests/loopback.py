"""Real HTTP servers on loopback ports of the system's choice, for the far ends of an end-to-end test."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


class _Server:
    """A real HTTP server on a loopback port."""

    def __init__(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.address = f"127.0.0.1:{self._server.server_port}"
        self.url = f"http://{self.address}/"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port and wait for the thread; a second time does nothing."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


class WebhookReceiver(_Server):
    """Takes Alertmanager's notifications, as a chat bot would."""

    def __init__(self) -> None:
        self.notifications: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.notifications.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                """Print nothing."""

        super().__init__(Handler)

    def alerts(self, alertname: str, status: str = "firing") -> list[dict[str, Any]]:
        """Every alert of that name and status that has arrived, in order, with its labels and annotations."""
        arrived = [alert for notification in self.notifications for alert in notification["alerts"]]
        return [a for a in arrived if a["labels"]["alertname"] == alertname and a["status"] == status]

    def group_labels(self, alertname: str) -> dict[str, str]:
        """The group labels of the first notification of an alert of that name."""
        of_it = (n for n in self.notifications if any(a["labels"]["alertname"] == alertname for a in n["alerts"]))
        labels: dict[str, str] = next(of_it)["groupLabels"]
        return labels


class ExpositionServer(_Server):
    """A target that responds to every GET with the result of ``text``: for clearly simulated figures."""

    def __init__(self, text: Callable[[], str]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
                """Print nothing."""

        super().__init__(Handler)
