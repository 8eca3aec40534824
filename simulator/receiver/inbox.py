"""The receiver's memory, signature check (Standard Webhooks) and scripted behaviours."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import orjson
from pydantic import Field
from standardwebhooks.webhooks import (
    EmptyWebhookSecretError,
    Webhook,
    WebhookVerificationError,
)

from simulator.script import Count, Rule, RuleList, Seconds

DEFAULT_SECONDS = 5.0
DEFAULT_SIZE = 64 * 1024 * 1024


class ResponseMode(StrEnum):
    """How the receiver responds to a webhook."""

    ANSWER = "answer"
    SLOW = "slow"
    HANG = "hang"
    CLOSE = "close"
    RESET = "reset"
    HUGE = "huge"


class Behaviour(Rule):
    """The response to webhooks at one path; ``name`` None: at every path."""

    manner: ResponseMode = Field(ResponseMode.ANSWER, strict=False)
    name: str | None = None
    status: Count = 200
    retry_after: int | float | str | None = None
    seconds: Seconds = DEFAULT_SECONDS
    size: Count = DEFAULT_SIZE


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """One received webhook. ``rejection_reason``: why it was not verified."""

    name: str
    path: str
    received_at: datetime
    headers: Mapping[str, str]
    body: bytes
    rejection_reason: str | None
    behaviour: Behaviour

    @property
    def is_verified(self) -> bool:
        """Whether it is signed with a known secret."""
        return self.rejection_reason is None

    @property
    def webhook_id(self) -> str | None:
        """The delivery's id, the same in every attempt."""
        return self.headers.get("webhook-id")


class Inbox:
    """Secrets by path, webhooks in the order of arrival, and scripted behaviours."""

    def __init__(self, rng: random.Random) -> None:
        self.rules: RuleList[Behaviour] = RuleList(rng)
        self.webhooks: list[WebhookCall] = []
        self._secrets: list[tuple[str | None, Webhook]] = []

    def add_secret(self, secret: str, name: str | None = None) -> None:
        """Accept signatures with a ``whsec_`` secret at one path or at all. Raises `ValueError`."""
        try:
            self._secrets.append((name, Webhook(secret)))
        except (ValueError, EmptyWebhookSecretError) as error:
            text = f"secret: {error}"
            raise ValueError(text) from error

    def clear_secrets(self) -> None:
        """Remove all secrets."""
        self._secrets.clear()

    def reset(self) -> None:
        """Delete webhooks and behaviours; secrets stay."""
        self.webhooks.clear()
        self.rules.clear()

    def take_behaviour(self, name: str) -> Behaviour:
        """Return the scripted behaviour for a path and count it as used; by default a 200."""
        return self.rules.take_match(lambda rule: rule.name in {None, name}) or Behaviour()

    def verification_error(self, name: str, headers: Mapping[str, str], body: bytes) -> str | None:
        """Return why no secret verifies a webhook; None if one does.

        The library uses the system clock and rejects timestamps more than 5 minutes off.
        """
        reasons = [
            _verification_error(secret, headers, body)
            for hook, secret in self._secrets
            if hook in {None, name}
        ]
        if None in reasons:
            return None
        return reasons[-1] if reasons else "no secret is known for this path"


def summary_line(webhook: WebhookCall) -> str:
    """Return a log line: type, request, path and webhook id."""
    try:
        body = orjson.loads(webhook.body)
        kind, request_id = body["type"], body["data"]["request_id"]
    except (orjson.JSONDecodeError, KeyError, TypeError):
        kind, request_id = "unknown type", "-"
    return f"webhook verified: {kind} {request_id} hook={webhook.name} id={webhook.webhook_id}"


def _verification_error(secret: Webhook, headers: Mapping[str, str], body: bytes) -> str | None:
    try:
        secret.verify(body, dict(headers), json_parse=False)
    except (WebhookVerificationError, ValueError) as error:
        return str(error)
    return None
