"""Builders of records: readable defaults, keywords for what matters to a test."""

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from core.jobs.job import FINAL_STATES, BillingStatus, Job, JobState
from core.tenants.tenant import Tenant
from core.webhooks.config import WebhookConfig, initial_config
from core.webhooks.delivery import Delivery, WebhookEventType
from core.webhooks.endpoint import queue_of_url
from core.webhooks.secrets import encode_webhook_secret
from tests.support.clock import START
from worker.jobs.decisions.transition import DecisionContext
from worker.jobs.policies import LifecyclePolicy
from worker.ports import UpstreamFault

NOW: Final = START
SECOND: Final = timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)

POLICY: Final = LifecyclePolicy()

_SUBMIT_FIELDS: Final = {
    "attempts": 1,
    "lease_holder": "worker-a",
    "sent_at": NOW,
    "billed": BillingStatus.UNKNOWN,
}
_ACCEPTED_FIELDS: Final = _SUBMIT_FIELDS | {"upstream_id": "up-1", "running_since": NOW}

_BY_STATE: Final[dict[JobState, dict[str, Any]]] = {
    JobState.QUEUED: {},
    JobState.SUBMITTING: _SUBMIT_FIELDS | {"next_run_at": NOW + POLICY.lease},
    JobState.IN_DOUBT: _SUBMIT_FIELDS | {"in_doubt_since": NOW, "next_run_at": NOW},
    JobState.RUNNING: _ACCEPTED_FIELDS | {"next_run_at": NOW},
    JobState.CANCELLING: _ACCEPTED_FIELDS | {"next_run_at": NOW},
    JobState.COLLECTING: _ACCEPTED_FIELDS | {"next_run_at": NOW},
    JobState.ARCHIVING: _ACCEPTED_FIELDS | {"next_run_at": NOW},
}


class MidpointRandom(Random):
    """Every draw is the middle, so that waits with jitter are exact."""

    def random(self) -> float:
        """One half."""
        return 0.5


def job(state: JobState = JobState.QUEUED, **changes: Any) -> Job:  # noqa: ANN401 - fields of the record
    """A job in `state`: submitted and accepted at `NOW` where the state implies it."""
    plain = Job(
        id="req_1",
        tenant="video-team",
        model_id="kling/image-to-video",
        fingerprint="1:abc",
        created_at=NOW,
        updated_at=NOW,
        state=state,
    )
    ended = {"finished_at": NOW} if state in FINAL_STATES else {}
    return replace(plain, **_BY_STATE.get(state, _ACCEPTED_FIELDS | ended) | changes)


SECRET: Final = encode_webhook_secret(b"s" * 32)


def tenant(**changes: Any) -> Tenant:  # noqa: ANN401 - fields of the record
    """The tenant of `job()`."""
    return replace(Tenant(name="video-team", created_at=NOW), **changes)


def webhook_config(url: str | None = None, secret: str = SECRET) -> WebhookConfig:
    """The webhook config with which `tenant()` was created."""
    return initial_config("video-team", url, secret, NOW)


def delivery(**changes: Any) -> Delivery:  # noqa: ANN401 - fields of the record
    """A pending delivery of `job()`, due at `NOW`."""
    plain = Delivery(
        id="msg_1",
        job_id="req_1",
        tenant="video-team",
        event=WebhookEventType.COMPLETED,
        url="https://hooks.example/done",
        created_at=NOW,
        next_attempt_at=NOW,
    )
    return replace(plain, **changes)


def delivery_to(url: str, tenant: str, now: datetime, **changes: Any) -> Delivery:  # noqa: ANN401 - fields of the record
    """A delivery of no job, due `now`, in the queue of its URL."""
    own = {
        "job_id": None,
        "tenant": tenant,
        "event": WebhookEventType.TEST,
        "url": url,
        "created_at": now,
        "next_attempt_at": now,
        "queue": queue_of_url(tenant, url),
    }
    return delivery(**own | changes)


def fault(kind: str = "server_error", http_status: int | None = 500) -> UpstreamFault:
    """A fault of an upstream call."""
    return UpstreamFault(kind, f"RunComfy says {kind}", http_status)


def rules(policy: LifecyclePolicy = POLICY) -> DecisionContext:
    """The decisions' context, without jitter."""
    return DecisionContext("worker-a", policy, MidpointRandom())


def at(seconds: float) -> datetime:
    """The instant `seconds` after `NOW`."""
    return NOW + timedelta(seconds=seconds)
