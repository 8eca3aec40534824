"""The receiver's memory, signature check (Standard Webhooks) and scripted behaviours."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import orjson
from standardwebhooks.webhooks import (
    EmptyWebhookSecretError,
    Webhook,
    WebhookVerificationError,
)

from simulator.script_fields import Fields, ScriptError
from simulator.script_rules import RuleFrequency, RuleList

DEFAULT_DELAY = timedelta(seconds=5)
DEFAULT_SIZE = 64 * 1024 * 1024


class ResponseMode(StrEnum):
    """How the receiver responds to a webhook."""

    ANSWER = "answer"
    SLOW = "slow"
    HANG = "hang"
    CLOSE = "close"
    RESET = "reset"
    HUGE = "huge"


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The response to webhooks at one path; ``name`` None: at every path."""

    mode: ResponseMode = ResponseMode.ANSWER
    name: str | None = None
    status: int = 200
    retry_after: str | None = None
    delay: timedelta = DEFAULT_DELAY
    size: int = DEFAULT_SIZE


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
        """Accept signatures with a ``whsec_`` secret at one path or at all. Raises ScriptError."""
        try:
            self._secrets.append((name, Webhook(secret)))
        except (ValueError, EmptyWebhookSecretError) as error:
            text = f"secret: {error}"
            raise ScriptError(text) from error

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


def parse_behaviours(documents: object) -> list[tuple[Behaviour, RuleFrequency]]:
    """Parse behaviours, one object or a list. Raises ScriptError."""
    rows = documents if isinstance(documents, list) else [documents]
    return [_parse_behaviour(row) for row in rows]


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


def _parse_behaviour(document: object) -> tuple[Behaviour, RuleFrequency]:
    fields = Fields(document)
    retry_after = fields.raw("retry_after")
    behaviour = Behaviour(
        mode=fields.choice("manner", ResponseMode) or ResponseMode.ANSWER,
        name=fields.text("name"),
        status=fields.integer_or_default("status", 200),
        retry_after=None if retry_after is None else str(retry_after),
        delay=fields.duration_or_default("seconds", DEFAULT_DELAY),
        size=fields.integer_or_default("size", DEFAULT_SIZE),
    )
    frequency = RuleFrequency.parse(fields)
    fields.reject_unknown()
    return behaviour, frequency
