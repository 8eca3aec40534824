"""Which client certificate a webhook receiver is shown. Pure but for the contexts themselves."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ALL_RECEIVERS: Final = "*"


@dataclass(frozen=True, slots=True)
class ReceiverTls:
    """The TLS context of receivers, and contexts with a client certificate by pattern.

    A pattern is an endpoint (`tenant/endpoint id`), a host name, `*.suffix`, or `*`.
    """

    default: ssl.SSLContext
    by_pattern: Mapping[str, ssl.SSLContext] = field(default_factory=dict)

    def context_of(self, queue: str, host: str) -> ssl.SSLContext:
        """Return the context for a delivery of `queue` to `host`; an endpoint's own comes first."""
        own = self.by_pattern.get(queue)
        if own is not None:
            return own
        matching = (ctx for pattern, ctx in self.by_pattern.items() if _matches(pattern, host))
        return next(matching, self.default)


def _matches(pattern: str, host: str) -> bool:
    if pattern.startswith("*."):
        return host.endswith(pattern[1:].lower())
    return pattern == ALL_RECEIVERS or pattern.lower() == host
