"""The exact JSON of a job for callers and receivers, in every state."""

from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import orjson
import pytest

from core.jobs.job import (
    FINAL_STATES,
    BillingStatus,
    CancelOutcome,
    Job,
    JobError,
    JobRecord,
    JobState,
    PublicStatus,
)
from core.jobs.timeline import TimelineEntry, TimelineKind
from core.money import MicroUsd
from core.representations.jobs import (
    Links,
    cancellation_to_json,
    job_details_to_json,
    result_to_json,
    status_to_json,
    submit_result_to_json,
)
from core.representations.webhooks import webhook_body, webhook_data
from core.webhooks.delivery import EVENT_OF_STATUS, WebhookEventType
from core.webhooks.endpoint import INTERMEDIATE_EVENTS, PayloadStyle
from tests.support.records import MINUTE, NOW, at, job

S = JobState
LINKS = Links("https://gateway.example")
URLS = {
    "status_url": "https://gateway.example/v1/requests/req_1/status",
    "result_url": "https://gateway.example/v1/requests/req_1/result",
    "cancel_url": "https://gateway.example/v1/requests/req_1/cancel",
}
CREATED = "2026-03-01T12:00:00Z"
OUTPUT = b'{"video":{"url":"https://cdn.example/a.mp4"},"seed":18446744073709551615}'
COST = MicroUsd(840_000)
DONE = job(
    S.SUCCEEDED,
    finished_at=NOW + MINUTE,
    billed=BillingStatus.YES,
    cost=COST,
    cost_source="runcomfy",
)
HEAD = {"request_id": "req_1", "model_id": "kling/image-to-video", "created_at": CREATED}


def result(record: Job, output: bytes | None = None, *, include_cost: bool = False) -> Any:  # noqa: ANN401 - JSON
    return orjson.loads(result_to_json(JobRecord(record, 0, output), include_cost=include_cost))


@pytest.mark.parametrize(
    ("record", "gateway_status"),
    [
        (job(S.QUEUED), "in_queue"),
        (job(S.SUBMITTING), "in_queue"),
        (job(S.IN_DOUBT), "in_queue"),
        (job(S.RUNNING), "in_queue"),
        (job(S.RUNNING, upstream_running=True), "in_progress"),
        (job(S.CANCELLING), "in_queue"),
        (job(S.CANCELLING, upstream_running=True), "in_progress"),
        (job(S.COLLECTING), "in_progress"),
        (job(S.SUCCEEDED), "completed"),
        (job(S.FAILED), "failed"),
        (job(S.CANCELLED), "cancelled"),
        (job(S.EXPIRED), "failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.state,
)
def test_a_status_is_runcomfys_shape_with_our_urls(record: Job, gateway_status: str) -> None:
    assert orjson.loads(status_to_json(record, LINKS)) == {
        "request_id": "req_1",
        # RunComfy's status call reports a failed run as completed.
        "status": "completed" if gateway_status == "failed" else gateway_status,
        "gateway_status": gateway_status,
        **URLS,
    }


def test_the_order_of_fields_is_runcomfys() -> None:
    written = status_to_json(job(S.RUNNING, queue_position=3, reference="order-7"), LINKS)
    assert list(orjson.loads(written)) == [
        "request_id",
        "status",
        "queue_position",
        "status_url",
        "result_url",
        "cancel_url",
        "reference",
        "gateway_status",
    ]


def test_a_place_in_the_queue_is_told_while_there_is_one() -> None:
    first = job(S.RUNNING, queue_position=0)
    assert orjson.loads(status_to_json(first, LINKS))["queue_position"] == 0
    runs = replace(first, upstream_running=True)
    assert "queue_position" not in orjson.loads(status_to_json(runs, LINKS))


def test_before_the_end_a_result_is_the_present_status() -> None:
    assert result(job(S.QUEUED, reference="r")) == HEAD | {
        "status": "in_queue",
        "gateway_status": "in_queue",
        "billed": "no",
        "reference": "r",
    }
    running = job(S.RUNNING, upstream_running=True)
    assert result(running) == HEAD | {
        "status": "in_progress",
        "gateway_status": "in_progress",
        "billed": "unknown",
    }


def test_a_completed_result_carries_the_output_byte_for_byte() -> None:
    written = result_to_json(JobRecord(DONE, 5, OUTPUT), include_cost=False)
    assert b'"output":' + OUTPUT in written
    assert result(DONE, OUTPUT) == HEAD | {
        "status": "succeeded",
        "gateway_status": "completed",
        "output": orjson.loads(OUTPUT),
        "finished_at": "2026-03-01T12:01:00Z",
        "billed": "yes",
    }


def test_the_cost_is_told_when_asked_for() -> None:
    told = result(DONE, OUTPUT, include_cost=True)
    assert (told["cost"], told["cost_source"]) == (0.84, "runcomfy")
    free = result(replace(DONE, cost=MicroUsd(0)), OUTPUT, include_cost=True)
    assert free["cost"] == 0
    unread = result(replace(DONE, cost=None, cost_source=None), OUTPUT, include_cost=True)
    assert "cost" not in unread
    assert "cost_source" not in unread


def test_a_failed_result_says_why_in_our_word_and_runcomfys() -> None:
    error = JobError("upstream_failed", "The image is unreadable.", "4001")
    failed = job(S.FAILED, billed=BillingStatus.NO, error=error)
    assert result(failed) == HEAD | {
        "status": "failed",
        "gateway_status": "failed",
        "finished_at": CREATED,
        "billed": "no",
        "error": {
            "code": "upstream_failed",
            "message": "The image is unreadable.",
            "upstream_code": "4001",
        },
    }
    ours = replace(failed, error=JobError("start_timeout", "Too late."))
    assert result(ours)["error"] == {"code": "start_timeout", "message": "Too late."}


def test_an_expired_job_reads_failed_and_its_late_result_is_marked() -> None:
    expired = job(S.EXPIRED, error=JobError("timeout", "Time ran out."))
    assert result(expired) == HEAD | {
        "status": "failed",
        "gateway_status": "failed",
        "finished_at": CREATED,
        "billed": "unknown",
        "error": {"code": "timeout", "message": "Time ran out."},
    }
    late = result(replace(expired, late=True, billed=BillingStatus.YES), OUTPUT)
    assert late["late"] is True
    assert late["output"] == orjson.loads(OUTPUT)
    assert (late["status"], late["billed"]) == ("failed", "yes")


@pytest.mark.parametrize("outcome", CancelOutcome)
def test_a_cancel_is_answered_in_runcomfys_three_fields_and_ours(outcome: CancelOutcome) -> None:
    written = cancellation_to_json(job(S.CANCELLED), outcome)
    assert orjson.loads(written) == {
        "request_id": "req_1",
        "status": "cancelled",
        "gateway_status": "cancelled",
        "outcome": outcome.value,
    }


def test_an_event_is_standard_webhooks_around_the_result() -> None:
    record = JobRecord(DONE, 5, OUTPUT)
    data = webhook_data(record, WebhookEventType.COMPLETED)
    written = webhook_body(WebhookEventType.COMPLETED, NOW + MINUTE, data)
    assert orjson.loads(written) == {
        "type": "request.completed",
        "timestamp": "2026-03-01T12:01:00Z",
        "data": {
            **HEAD,
            "status": "completed",
            "output": orjson.loads(OUTPUT),
            "finished_at": "2026-03-01T12:01:00Z",
            "cost": 0.84,
            "cost_source": "runcomfy",
            "billed": "yes",
        },
    }


def test_the_answer_to_a_submit_of_what_has_ended_is_its_result_with_its_urls() -> None:
    written = submit_result_to_json(JobRecord(DONE, 5, OUTPUT), LINKS)
    assert orjson.loads(written) == result(DONE, OUTPUT, include_cost=True) | URLS


def test_a_thin_event_holds_the_id_the_status_and_the_callers_reference() -> None:
    record = JobRecord(replace(DONE, reference="order-7"), 5, OUTPUT)
    assert orjson.loads(webhook_data(record, WebhookEventType.COMPLETED, PayloadStyle.THIN)) == {
        "request_id": "req_1",
        "status": "completed",
        "reference": "order-7",
    }


@pytest.mark.parametrize("event", sorted(INTERMEDIATE_EVENTS))
def test_an_event_on_the_way_says_what_was_so_then(event: WebhookEventType) -> None:
    record = JobRecord(replace(DONE, reference="order-7"), 5, OUTPUT)
    assert orjson.loads(webhook_data(record, event)) == HEAD | {
        "status": event.removeprefix("request."),
        "reference": "order-7",
    }


def test_every_status_has_its_event() -> None:
    jobless = {
        WebhookEventType.ARCHIVED,
        WebhookEventType.BATCH_COMPLETED,
        WebhookEventType.BUDGET_THRESHOLD,
        WebhookEventType.ENDPOINT_DISABLED,
        WebhookEventType.TEST,
    }
    assert set(EVENT_OF_STATUS) == set(PublicStatus)
    assert set(EVENT_OF_STATUS.values()) == set(WebhookEventType) - jobless
    for status, event in EVENT_OF_STATUS.items():
        assert event == f"request.{status}"


def test_instants_keep_their_fraction_and_their_zone() -> None:
    told = result(job(created_at=NOW + timedelta(microseconds=123_456)))
    assert told["created_at"] == "2026-03-01T12:00:00.123456Z"


def test_the_detail_of_a_job_with_nothing_to_tell_has_no_empty_fields() -> None:
    written = job_details_to_json(JobRecord(job()), LINKS, (), ())
    assert orjson.loads(written) == HEAD | URLS | {
        "status": "in_queue",
        "state": "queued",
        "attempts": 0,
        "polls": 0,
        "billed": "no",
        "updated_at": CREATED,
        "deliveries": [],
        "timeline": [],
    }


def test_the_detail_tells_everything() -> None:
    record = job(
        S.CANCELLING,
        upstream_status="in_queue",
        upstream_error="server_error",
        upstream_error_since=at(5),
        webhook="https://hooks.example/",
        start_deadline=at(60),
        deadline=at(600),
        cancel_requested_at=at(4),
        cancel_outcome=CancelOutcome.REQUESTED,
        estimate=COST,
    )
    entry = TimelineEntry(
        at(5), TimelineKind.UPSTREAM, "server_error", S.CANCELLING, "sorry", 502, 2
    )
    told = orjson.loads(job_details_to_json(JobRecord(record, 7), LINKS, (entry,), ("msg_1",)))
    assert (
        told.items()
        >= {
            "state": "cancelling",
            "attempts": 1,
            "polls": 7,
            "upstream_request_id": "up-1",
            "upstream_status": "in_queue",
            "upstream_trouble": "server_error",
            "upstream_trouble_since": "2026-03-01T12:00:05Z",
            "webhook": "https://hooks.example/",
            "start_by": "2026-03-01T12:01:00Z",
            "finish_by": "2026-03-01T12:10:00Z",
            "cancel_asked_at": "2026-03-01T12:00:04Z",
            "cancel_outcome": "requested",
            "estimated_cost": 0.84,
        }.items()
    )
    assert told["deliveries"] == ["msg_1"]
    assert told["timeline"] == [
        {
            "at": "2026-03-01T12:00:05Z",
            "event": "upstream",
            "what": "server_error",
            "state": "cancelling",
            "detail": "sorry",
            "http_status": 502,
            "count": 2,
        }
    ]


def test_no_document_names_the_worker_or_the_fingerprint() -> None:
    secretive = job(S.RUNNING, lease_holder="host:1:secret", fingerprint="1:secret", trace="secret")
    written = job_details_to_json(JobRecord(secretive), LINKS, (), ())
    assert b"secret" not in written
    assert {field.name for field in fields(Job)} >= {"lease_holder", "fingerprint", "trace"}


@pytest.mark.parametrize("state", sorted(FINAL_STATES))
def test_each_final_state_reads_as_ended(state: JobState) -> None:
    assert result(job(state))["finished_at"] == CREATED
    assert result(job(state))["gateway_status"] in {"completed", "failed", "cancelled"}
