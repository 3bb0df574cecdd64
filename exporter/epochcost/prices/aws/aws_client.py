"""AWS clients for the price sources: credentials as boto3 finds them, bounded time, errors without secrets."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from typing import Any

from epochcost.prices.aws.aws_models import make_loader
from epochcost.prices.collector_pause import no_collection, set_aside
from epochcost.prices.one_at_a_time import TURNS, waiting
from epochcost.prices.price_source import NotConfiguredError, PriceSourceError
from epochcost.shown_text import one_line

CONNECT_TIMEOUT_SECONDS = 5
READ_TIMEOUT_SECONDS = 20
ATTEMPTS = 4
KEPT_CLIENTS = 4
"""By one source; each is of one region and takes 1.4 MiB. Where more regions are watched they are rebuilt in turn."""
_MOST_CHARACTERS = 300
_SIGNATURE_CODES = ("InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature")
"""Their messages repeat the signed request, session token included."""
_HOPELESS_CODES = (
    *_SIGNATURE_CODES,
    "AccessDenied",
    "AccessDeniedException",
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "MissingAuthenticationToken",
    "OptInRequired",
    "RequestExpired",
    "UnauthorizedOperation",
    "UnrecognizedClientException",
)


class AwsCallError(PriceSourceError):
    """A call to AWS failed; ``hopeless``: the next call to the same endpoint would fail the same way."""

    def __init__(self, sentence: str, *, hopeless: bool) -> None:
        super().__init__(sentence)
        self.hopeless = hopeless


@lru_cache(maxsize=1)
def _shared_loader() -> Any:  # noqa: ANN401 - boto3 has no types
    """One reader of service descriptions for all sources; it only ever reads."""
    return make_loader()


def _timestamp(value: Any) -> datetime | None:  # noqa: ANN401 - text or a number, as the service has it
    """As botocore reads it, a hundred times as fast where it is ISO 8601: a refresh of spot prices has thousands.

    None for a value that is not a time: botocore would reject the whole response.
    """
    try:
        read = datetime.fromisoformat(value.replace("Z", "+00:00"))
    except (AttributeError, ValueError):
        read = None
    if read is None or read.tzinfo is None:
        from botocore.utils import parse_timestamp

        try:
            read = parse_timestamp(value)
        except (ValueError, TypeError, OverflowError):
            return None
    return read


def _rest(**_: object) -> None:
    TURNS.rest()


def _resume(**_: object) -> None:
    TURNS.resume()


_WAITS = {
    "before-send": _rest,
    "before-parse": _resume,
    "needs-retry": _rest,  # after which it sleeps, or is done
    "after-call": _resume,
    "after-call-error": _resume,
}
"""Events of botocore between which a server is waited for, or another attempt."""


class AwsClients:
    """One source's clients, kept from fetch to fetch, forgotten after a failure so that new credentials are read."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._session: Any = None
        self._clients: dict[tuple[str, str], Any] = {}

    def forget(self) -> None:
        """Read credentials and create new clients next time."""
        for client in self._clients.values():
            client.close()
        self._session = None
        self._clients = {}

    def connect(self) -> None:
        """Find credentials.

        Raises:
            NotConfiguredError: without boto3 or without credentials.
        """
        if self._session is not None:
            return
        try:
            with no_collection():
                import boto3
                import botocore.session
                from botocore.exceptions import BotoCoreError
        except ImportError:
            raise NotConfiguredError(
                f"{self._source}: boto3 is not installed: pip install 'epochcost[prices,aws]'"
            ) from None
        set_aside("boto3")
        try:
            core = botocore.session.get_session()
            core.register_component("data_loader", _shared_loader())
            core.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_timestamp)
            session = boto3.Session(botocore_session=core)
            with waiting():
                has_credentials = session.get_credentials() is not None
        except BotoCoreError as err:  # a profile that does not exist, a credentials process that fails
            raise PriceSourceError(f"{self._source}: credentials cannot be read: {type(err).__name__}: {err}") from None
        if not has_credentials:
            raise NotConfiguredError(
                f"{self._source}: no AWS credentials found; give the poller a role or AWS_ACCESS_KEY_ID with "
                "pricing:GetProducts, ec2:DescribeSpotPriceHistory and ec2:DescribeInstanceTypes (docs/prices/aws.md)"
            )
        self._session = session

    def pages(
        self, service: str, region: str, operation: str, requested: str, **arguments: object
    ) -> list[dict[str, Any]]:
        """All pages of one paged operation; ``requested`` describes the request in an error.

        Raises:
            AwsCallError: naming source, operation, request and response.
        """
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        question = f"{self._source}: {operation} for {requested}"
        try:
            return list(self._client(service, region).get_paginator(operation).paginate(**arguments))
        except ClientError as err:
            code = str(err.response.get("Error", {}).get("Code", "?"))
            raise AwsCallError(f"{question}: {self._answer(err, code)}", hopeless=code in _HOPELESS_CODES) from None
        except (BotoCoreError, ResponseParserError) as err:  # the latter is not a BotoCoreError
            unreachable = type(err).__name__ in (
                "EndpointConnectionError",
                "ConnectTimeoutError",
                "ProxyConnectionError",
            )
            raise AwsCallError(
                f"{question}: {self._clean(f'{type(err).__name__}: {err}')}", hopeless=unreachable
            ) from None

    def _client(self, service: str, region: str) -> Any:  # noqa: ANN401 - boto3 has no types
        if (service, region) not in self._clients:
            from botocore.config import Config

            config = Config(
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                read_timeout=READ_TIMEOUT_SECONDS,
                retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
                user_agent_extra="epochcost",
            )
            while len(self._clients) >= KEPT_CLIENTS:
                self._clients.pop(next(iter(self._clients))).close()
            client = self._session.client(service, region_name=region, config=config)
            for event, handle in _WAITS.items():
                client.meta.events.register(event, handle)
            self._clients[service, region] = client
        return self._clients[service, region]

    def _answer(self, err: Any, code: str) -> str:  # noqa: ANN401 - boto3 has no types
        status = err.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
        message = "" if code in _SIGNATURE_CODES else str(err.response.get("Error", {}).get("Message", ""))
        return self._clean(f"HTTP {status} {code} {message}".strip())

    def _clean(self, text: str) -> str:
        from botocore.exceptions import BotoCoreError

        try:
            frozen = self._session.get_credentials().get_frozen_credentials()
        except BotoCoreError as err:  # they cannot be renewed, so what to redact is unknown
            return f"and its credentials cannot be read again: {type(err).__name__}"
        for secret in (frozen.secret_key, frozen.token, frozen.access_key):
            text = text.replace(secret, "(secret)") if secret else text
        return one_line(text, _MOST_CHARACTERS)


def listed(pages: list[dict[str, Any]], name: str, question: str) -> list[dict[str, Any]]:
    """What the pages list under ``name``.

    Raises:
        PriceSourceError: for a page without that list. botocore reads any well-formed XML, so also a page for people,
            as a response without anything in it.
    """
    entries: list[dict[str, Any]] = []
    for page in pages:
        if not isinstance(page.get(name), list):
            raise PriceSourceError(f"{question}: not a response of AWS: {name} is not in it")
        entries += page[name]
    return entries
