"""The application context: everything that a request handler can use."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from pydantic import SecretStr
from starlette.types import Scope

from core.clock import Clock
from core.ids import IdSource
from core.jobs.run_times import HintPolicy
from core.observability.events import Emit
from core.observability.trace_context import SpanOf, passed_on
from core.store.run_times import HistoryShelf
from core.tenants.cache_policy import CachePolicy
from service.jobs.submit_options import OptionPolicy
from service.models.registry_cache import ModelShelf
from service.operator_context import Desk
from service.parsing.json_body import BodyLimits
from service.ports import (
    Batches,
    Breakers,
    Exposition,
    Health,
    Jobs,
    ListedJobs,
    Tenants,
    UsageOf,
)
from service.streaming.subscriptions import Waiters
from service.webhooks.webhook_service import Mailroom

ADMIN_API: Final = "admin-api"
"""Whom the audit log names for what came by HTTP: the token tells no persons apart."""


DISTRIBUTION: Final = "runcomfy-gateway"


SUBMIT_ROUTE: Final = "/v1/models/{model_id:path}"


PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})


@dataclass(frozen=True, slots=True)
class FacePolicy:
    """What the handlers go by. `public_url` None: links begin with the address that was called."""

    body: BodyLimits
    batch: BodyLimits
    options: OptionPolicy
    public_url: str | None
    worker_silence: timedelta
    hints: HintPolicy
    longest_wait: timedelta
    heartbeat: timedelta
    admin_token: SecretStr | None = None
    """None: the operators' API is off."""
    cache: CachePolicy = field(default_factory=CachePolicy)


@dataclass(frozen=True, slots=True)
class Resources:
    """What a handler can reach."""

    jobs: Jobs
    batches: Batches
    listed: ListedJobs
    tenants: Tenants
    usage: UsageOf
    breakers: Breakers
    desk: Desk
    health: Health
    shelf: ModelShelf
    histories: HistoryShelf
    waiters: Waiters
    figures: Exposition
    mailroom: Mailroom
    clock: Clock
    ids: IdSource
    policy: FacePolicy
    emit: Emit
    span_of: SpanOf = passed_on


def resources_of(scope: Scope) -> Resources:
    """What the lifespan opened."""
    resources: Resources = scope["state"]["resources"]
    return resources
