"""Which transitions of a job create deliveries, and to which endpoints."""

from dataclasses import replace
from datetime import datetime
from random import Random

import orjson
import pytest

from core.jobs.job import Job, JobState
from core.transactions.webhook_deliveries import (
    endpoint_disabled_deliveries,
    event_of_change,
    job_deliveries,
)
from core.webhooks.config import WebhookConfig
from core.webhooks.delivery import Delivery, DeliveryState, WebhookEventType
from core.webhooks.endpoint import DEFAULT_ENDPOINT_ID, DisabledReason, Endpoint, queue_of_url
from tests.support.ids import SeededIds
from tests.support.records import NOW, SECOND, job, webhook_config

S = JobState
LATER = NOW + SECOND
OWN, DEFAULT = "https://own.example/", "https://default.example/"
QUEUED, RUNNING = job(S.QUEUED), job(S.RUNNING, upstream_running=True)

STEPS: dict[str, tuple[Job, Job, bool, WebhookEventType | None]] = {
    "an end": (RUNNING, job(S.SUCCEEDED), False, WebhookEventType.COMPLETED),
    "a failure": (RUNNING, job(S.FAILED), False, WebhookEventType.FAILED),
    "out of time": (QUEUED, job(S.EXPIRED), False, WebhookEventType.FAILED),
    "a cancel": (QUEUED, job(S.CANCELLED), False, WebhookEventType.CANCELLED),
    "an end, when all are asked for": (RUNNING, job(S.SUCCEEDED), True, WebhookEventType.COMPLETED),
    "it runs": (job(S.RUNNING), RUNNING, True, WebhookEventType.IN_PROGRESS),
    "it runs, not asked for": (job(S.RUNNING), RUNNING, False, None),
    "back in RunComfy's queue": (RUNNING, job(S.RUNNING), True, WebhookEventType.IN_QUEUE),
    "a step that callers do not see": (QUEUED, job(S.SUBMITTING), True, None),
    "another such": (job(S.SUBMITTING), job(S.IN_DOUBT), True, None),
    "a cost read after the end": (job(S.SUCCEEDED), job(S.SUCCEEDED), True, None),
    "a late result": (job(S.EXPIRED), job(S.EXPIRED), False, None),
}


def deliveries_of(before: Job, after: Job, default: str | None) -> tuple[Delivery, ...]:
    """The deliveries of a transition, with or without a default endpoint of the tenant."""
    return notices_of(before, after, webhook_config(default), LATER)


def notices_of(
    before: Job, after: Job, config: WebhookConfig, now: datetime
) -> tuple[Delivery, ...]:
    """The deliveries of a transition to the endpoints of `config`."""
    event = event_of_change(before, after)
    return () if event is None else job_deliveries(after, event, config, now)


@pytest.mark.parametrize(("before", "after", "asked", "event"), STEPS.values(), ids=STEPS.keys())
def test_what_calls_for_a_callback(
    before: Job, after: Job, *, asked: bool, event: WebhookEventType | None
) -> None:
    after = job(after.state, upstream_running=after.upstream_running, webhook_intermediate=asked)
    found = deliveries_of(before, after, DEFAULT)
    assert [notice.event for notice in found] == ([event] if event else [])


@pytest.mark.parametrize(
    ("own", "default", "url"),
    [(OWN, DEFAULT, OWN), (OWN, None, OWN), (None, DEFAULT, DEFAULT), (None, None, None)],
)
def test_the_jobs_own_address_goes_before_the_tenants(
    own: str | None, default: str | None, url: str | None
) -> None:
    found = deliveries_of(RUNNING, job(S.SUCCEEDED, webhook=own), default)
    assert [notice.url for notice in found] == ([url] if url else [])


def test_a_notice_is_due_at_once_and_new() -> None:
    (notice,) = deliveries_of(RUNNING, job(S.SUCCEEDED), DEFAULT)
    assert (notice.created_at, notice.next_attempt_at) == (LATER, LATER)
    assert (notice.state, notice.attempts, notice.version) == (DeliveryState.PENDING, 0, 1)
    assert (notice.job_id, notice.tenant) == ("req_1", "video-team")
    assert notice.id.startswith("msg_")


E = WebhookEventType
PLAIN = Endpoint("ep_1", "https://plain.example/", NOW)
PROGRESS = Endpoint("ep_2", "https://way.example/", NOW, events=frozenset({E.IN_PROGRESS}))
FAILURES = Endpoint("ep_3", "https://failed.example/", NOW, events=frozenset({E.FAILED}))
ALL = (Endpoint(DEFAULT_ENDPOINT_ID, DEFAULT, NOW), PLAIN, PROGRESS, FAILURES)

# The step, the submit's own URL, whether it asked for the way -> which endpoints are told.
FAN_OUT: dict[str, tuple[Job, str | None, bool, list[str | None]]] = {
    "an end": (job(S.SUCCEEDED), None, False, ["default", "ep_1"]),
    "a failure": (job(S.FAILED), None, False, ["default", "ep_1", "ep_3"]),
    "own goes before the default alone": (job(S.SUCCEEDED), OWN, False, ["ep_1", None]),
    "own that is the default's": (job(S.SUCCEEDED), DEFAULT, False, ["default", "ep_1"]),
    "own that is another's": (job(S.SUCCEEDED), PLAIN.url, False, ["ep_1"]),
    "it runs": (RUNNING, None, False, ["ep_2"]),
    "it runs, asked for": (RUNNING, None, True, ["default", "ep_1", "ep_2"]),
}


@pytest.mark.parametrize(("after", "own", "asked", "told"), FAN_OUT.values(), ids=FAN_OUT.keys())
def test_each_endpoint_that_wants_an_event_gets_it_once(
    after: Job, own: str | None, *, asked: bool, told: list[str | None]
) -> None:
    after = replace(after, webhook=own, webhook_intermediate=asked)
    setup = WebhookConfig("video-team", endpoints=ALL)
    found = notices_of(QUEUED, after, setup, LATER)
    assert [notice.endpoint_id for notice in found] == told
    assert len({notice.id for notice in found}) == len(found)
    assert len({notice.queue for notice in found}) == len(found)


def test_an_end_that_is_sent_again_has_the_same_id() -> None:
    setup = WebhookConfig("video-team", endpoints=ALL)
    first = notices_of(RUNNING, job(S.SUCCEEDED, version=4), setup, LATER)
    again = notices_of(QUEUED, job(S.SUCCEEDED, version=9), setup, LATER + SECOND)
    other = notices_of(RUNNING, job(S.SUCCEEDED, id="req_2"), setup, LATER)
    failed = notices_of(RUNNING, job(S.FAILED), setup, LATER)
    assert [one.id for one in first] == [one.id for one in again]
    assert not {one.id for one in first} & {one.id for one in (*other, *failed)}


def test_a_status_that_is_reached_twice_before_the_end_has_two_ids() -> None:
    setup = WebhookConfig("video-team", endpoints=(PROGRESS,))
    started = job(S.RUNNING, upstream_running=True, webhook_intermediate=True)
    ids = {
        notices_of(QUEUED, replace(started, version=version), setup, LATER)[0].id
        for version in (3, 5)
    }
    assert len(ids) == 2


def test_what_a_disabled_endpoint_misses_is_held_for_it() -> None:
    lost = replace(PLAIN, disabled_reason=DisabledReason.GONE)
    setup = WebhookConfig("video-team", endpoints=(lost,))
    (notice,) = notices_of(RUNNING, job(S.SUCCEEDED), setup, LATER)
    assert (notice.state, notice.next_attempt_at) == (DeliveryState.HELD, None)


def test_urls_of_submits_share_a_channel_by_their_origin() -> None:
    one, two = (queue_of_url("a", f"https://x.example:8443/{n}?id={n}") for n in (1, 2))
    assert one == two == "a/https://x.example:8443"
    assert queue_of_url("b", "https://x.example:8443/1") != one
    assert queue_of_url("a", "https://x.example/1") != one


def test_the_others_are_told_of_a_lost_endpoint() -> None:
    lost = replace(PLAIN, disabled_reason=DisabledReason.FAILING, disabled_at=NOW)
    off = replace(FAILURES, events=None, disabled_reason=DisabledReason.BY_OWNER)
    setup = WebhookConfig("video-team", endpoints=(ALL[0], lost, PROGRESS, off))
    (told,) = endpoint_disabled_deliveries(setup, lost, SeededIds(Random(1)), LATER)
    assert (told.endpoint_id, told.event, told.job_id) == ("default", E.ENDPOINT_DISABLED, None)
    assert orjson.loads(told.data or "") == {
        "endpoint_id": "ep_1",
        "url": PLAIN.url,
        "reason": "failing",
        "disabled_at": "2026-03-01T12:00:00+00:00",
    }
