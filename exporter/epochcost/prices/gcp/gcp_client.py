"""The Cloud Billing catalogue: every SKU of a service, page by page, in bounded time, errors without secrets."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from epochcost.prices.collector_pause import no_collection, set_aside
from epochcost.prices.gcp.gcp_odd_skus import can_be_left_out, leave_out
from epochcost.prices.gcp.gcp_skus import SERVICES
from epochcost.prices.one_at_a_time import awaited, waiting
from epochcost.prices.price_source import NotConfiguredError, PriceSourceError
from epochcost.shown_text import one_line

GOOGLE_URL = "https://cloudbilling.googleapis.com"
PAGE_SIZE = 2000
"""The API returns up to 5000, for which this process would need 10 MiB more; Compute Engine has about 36,000 SKUs."""
_MOST_CHARACTERS = 300
_UNREACHABLE = re.compile(r"errors resolving|hostname lookup|Connection refused|Network is unreachable", re.IGNORECASE)
"""gRPC errors when the host is unreachable. The schedule retries; waiting a minute here does not help."""


class UnreadablePageError(PriceSourceError):
    """A page that is not a page, or contains a SKU that is not one."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the catalogue may take, in seconds: one attempt at a page, all attempts at it, a whole service."""

    attempt: float = 20.0
    page: float = 60.0
    service: float = 300.0
    first_pause: float = 0.5


def google_client(api_key: str, url: str = "") -> Any:  # noqa: ANN401 - the client has no types
    """The real client; without a key it finds application default credentials.

    It speaks gRPC to Google's own endpoint, and REST if another one is configured (``url``) or the environment names a
    proxy: gRPC respects only some of the usual variables, and works through few proxies.
    """
    from google.api_core.client_options import ClientOptions
    from google.cloud.billing_v1 import CloudCatalogClient

    parts = urlsplit(url)
    plain = url if parts.scheme == "http" else parts.netloc  # the client puts https:// before a bare host
    options = ClientOptions(api_key=api_key or None, api_endpoint=plain or None)
    by_rest = bool(url) or _by_proxy(url or GOOGLE_URL)
    return CloudCatalogClient(client_options=options, transport="rest" if by_rest else "grpc")


def _by_proxy(url: str) -> bool:
    parts = urlsplit(url)
    proxies = getproxies()
    return (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(parts.hostname or "")


class GcpCatalogue:
    """Reads SKUs. The client is kept from fetch to fetch, and dropped after a failure: credentials are read again.

    Args:
        source: name of the source, for errors.
        api_key_file: path of a file that holds an API key; empty for application default credentials.
        make_client: makes the client from the key; a test redirects it to its own server.
        patience: how long to wait.
    """

    def __init__(
        self,
        source: str,
        api_key_file: str = "",
        make_client: Callable[[str], Any] = google_client,
        patience: Patience = Patience(),
    ) -> None:
        self._source = source
        self._api_key_file = api_key_file
        self._make_client = make_client
        self._patience = patience
        self._api_key = ""
        self._client: Any = None
        self.left_out: list[str] = []
        """Why each SKU of the last reading was left out that the client cannot read."""

    def forget(self) -> None:
        """Read credentials and create a new client next time."""
        if self._client is not None:
            self._client.transport.close()
        self._client = None

    def connect(self) -> None:
        """Find credentials.

        Raises:
            NotConfiguredError: without the library or without credentials.
            PriceSourceError: for credentials that are there and cannot be used.
        """
        if self._client is not None:
            return
        self._api_key = self._read_api_key()
        try:
            from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
        except ImportError:
            raise self._no_library() from None
        try:
            with waiting(), no_collection():  # it imports gRPC and the library, and may request credentials
                self._client = self._make_client(self._api_key)
        except ImportError:
            raise self._no_library() from None
        except DefaultCredentialsError as err:
            if key_file := os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
                raise PriceSourceError(
                    f"{self._source}: credentials {key_file} cannot be used: {self._clean(err)}"
                ) from None
            raise NotConfiguredError(
                f"{self._source}: no Google credentials found; give --gcp.api-key-file a file with an API key that may "
                "call the Cloud Billing API, or the poller a service account (docs/prices/gcp.md)"
            ) from None
        except GoogleAuthError as err:
            raise PriceSourceError(f"{self._source}: credentials cannot be read: {self._clean(err)}") from None
        set_aside("google-cloud-billing")

    def skus(self, service: str) -> Iterator[Any]:
        """Every SKU of ``service``, as protobuf messages; one page of them is in memory at a time.

        If one cannot be read they come once more, from the first on, without it, and `left_out` reports it.

        Raises:
            PriceSourceError: naming service, page and response.
        """
        self.left_out = []
        try:
            yield from self._skus(service)
        except UnreadablePageError:
            self.forget()
            self.connect()
            if not can_be_left_out(self._client):
                raise
            leave_out(self._client, self.left_out.append)
            try:
                yield from self._skus(service)
            finally:
                self.forget()  # the next reading is of another response

    def _skus(self, service: str) -> Iterator[Any]:
        from google.api_core.exceptions import GoogleAPICallError, RetryError
        from google.auth.exceptions import GoogleAuthError
        from google.protobuf.json_format import ParseError

        requested = f"{self._source}: ListSkus of {SERVICES[service]} (services/{service})"
        deadline = time.monotonic() + self._patience.service
        seen: set[str] = set()
        try:
            for page in self._pages(service):
                if not page.skus and not seen:  # any JSON without the field is read as a response without a SKU
                    raise PriceSourceError(f"{requested}: not a response of the Cloud Billing API: it contains no SKU")
                yield from page.skus
                if page.next_page_token in seen:
                    raise PriceSourceError(
                        f"{requested}, page {len(seen) + 1}: pagination loop: a page token was repeated"
                    )
                seen.add(page.next_page_token)
                if time.monotonic() > deadline:
                    raise PriceSourceError(
                        f"{requested}: timed out after {self._patience.service:g} s and {len(seen)} pages"
                    )
        except RetryError as err:
            waited = f"no response in {self._patience.page:g} s"
            raise PriceSourceError(
                f"{requested}, page {len(seen) + 1}: {waited}: {self._clean(err.cause or err)}"
            ) from None
        except (
            GoogleAPICallError,
            GoogleAuthError,
            OSError,
        ) as err:  # by REST the errors of requests, which are OSErrors
            raise PriceSourceError(f"{requested}, page {len(seen) + 1}: {self._clean(err)}") from None
        except (ValueError, ParseError) as err:  # by REST: a page for people, or another document
            raise UnreadablePageError(
                f"{requested}, page {len(seen) + 1}: not a response of the Cloud Billing API: {self._clean(err)}"
            ) from None

    def _pages(self, service: str) -> Iterator[Any]:
        from google.api_core import exceptions
        from google.api_core.retry import Retry, if_exception_type
        from google.cloud.billing_v1 import ListSkusRequest, ListSkusResponse

        passing = if_exception_type(
            exceptions.TooManyRequests,  # ResourceExhausted is one
            exceptions.ServerError,  # UNAVAILABLE, INTERNAL, DEADLINE_EXCEEDED, UNKNOWN: pages are only read
        )

        def may_pass(err: Exception) -> bool:
            return passing(err) and not _UNREACHABLE.search(str(err))

        retry = Retry(may_pass, initial=self._patience.first_pause, maximum=8.0, timeout=self._patience.page)
        request = ListSkusRequest(parent=f"services/{service}", page_size=PAGE_SIZE, currency_code="USD")
        with waiting():
            answers = self._client.list_skus(request=request, retry=retry, timeout=self._patience.attempt)
        for page in awaited(answers.pages):
            yield ListSkusResponse.pb(page)  # the plain message: the wrapper would cost a second copy of every SKU

    def _read_api_key(self) -> str:
        if not self._api_key_file:
            return ""
        try:
            key = Path(self._api_key_file).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as err:
            reason = err.strerror if isinstance(err, OSError) else "it is not ASCII"
            raise PriceSourceError(f"{self._source}: --gcp.api-key-file {self._api_key_file}: {reason}") from None
        if not key or len(key.split()) > 1:
            raise PriceSourceError(
                f"{self._source}: --gcp.api-key-file {self._api_key_file}: must hold one word, the key"
            )
        return key

    def _no_library(self) -> NotConfiguredError:
        return NotConfiguredError(
            f"{self._source}: google-cloud-billing is not installed: pip install 'epochcost[prices,gcp]'"
        )

    def _clean(self, err: Exception) -> str:
        text = f"{type(err).__name__}: {err}"
        text = text.replace(self._api_key, "(secret)") if self._api_key else text
        return one_line(text, _MOST_CHARACTERS)
