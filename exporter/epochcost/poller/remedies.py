"""What to do about a request that failed, in a few words at the end of its error message."""

from __future__ import annotations

import re

from epochcost.poller.poller_settings import PollerSettings
from epochcost.settings import options

_CLOCK = re.compile(r"RequestExpired|RequestTimeTooSkewed|Signature expired|not yet current", re.IGNORECASE)
_REFUSED = re.compile(
    r"HTTP 40[13]\b|AuthFailure|InvalidClientTokenId|UnrecognizedClient|InvalidSignature|SignatureDoesNotMatch"
    r"|AccessDenied|UnauthorizedOperation|ExpiredToken|Unauthorized|Unauthenticated|PermissionDenied|Forbidden"
    r"|API key not valid|auth_error",
    re.IGNORECASE,
)
_UNREACHED = re.compile(
    r"the host cannot be asked|Could not connect"
    r"|ConnectTimeout|ProxyConnection|ProxyError|name resolution|errors resolving"
    r"|failed to connect|no response in|ServiceUnavailable: 503 (?:errors|failed)|no complete response in time",
    re.IGNORECASE,
)
_BUSY = re.compile(r"HTTP 429|Throttling|TooManyRequests|RequestLimitExceeded|ResourceExhausted", re.IGNORECASE)
_SIGNED = ("aws",)
"""Sources that sign their requests with the credentials of the environment."""


def with_remedy(sentence: str) -> str:
    """``sentence``, which begins with the name of a source, and what to do where that is known."""
    family = sentence.partition(":")[0].partition("_")[0]
    remedy = _remedy(family, sentence)
    return f"{sentence}; what to do: {remedy}" if remedy else sentence


def _remedy(family: str, sentence: str) -> str:
    if _CLOCK.search(sentence):
        return "set this machine's clock"
    if _REFUSED.search(sentence):
        return _access(family)
    if _UNREACHED.search(sentence):
        return "check the network, and HTTPS_PROXY if there is a proxy"
    return "try again later" if _BUSY.search(sentence) else ""


def _access(family: str) -> str:
    flag = f"{family}.api-key-file"
    if family in _SIGNED:
        return f"check AWS_ACCESS_KEY_ID and its secret, or the role, and its permissions (docs/prices/{family}.md)"
    if any(each.flag == flag for each in options(PollerSettings).values()):
        return f"check the key in --{flag}, and its permissions (docs/prices/{family}.md)"
    return "no key is needed there: something in between refuses the request, such as a proxy"
