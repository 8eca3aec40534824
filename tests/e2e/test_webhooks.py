"""Webhooks by real processes: repetitions after a crash, actions of operators and tenants."""

import json
import os
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import httpx
import pytest

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import Stack, StackFailed
from tests.support.stack import create_tenant, running_stack

SOON: Final = timedelta(seconds=150)


class WebhookTenant:
    """A tenant whose webhooks go to the simulated receiver."""

    def __init__(self, stack: Stack, name: str, http: httpx.Client) -> None:
        self.stack = stack
        self.name = name
        self._http = http

    def call(self, method: str, path: str, **body: Any) -> Any:  # noqa: ANN401 - JSON
        answer = self._http.request(method, path, json=body or None)
        assert answer.is_success, answer.text
        return answer.json()

    def finish(self) -> str:
        """Submit a request and wait for its result. Returns its id."""
        example = load_kling_example()
        request_id: str = self.call("POST", f"/v1/models/{example.model_id}", **example.input)[
            "request_id"
        ]
        wait_for(
            lambda: self.call("GET", f"/v1/requests/{request_id}/result").get("output"),
            SOON,
            "the result",
        )
        return request_id

    def behave(self, **behaviour: Any) -> None:  # noqa: ANN401 - JSON
        self._receiver("POST", "behaviour", json={"name": self.name, **behaviour})

    def allow_target(self, secret: str) -> None:
        self._receiver("POST", "secret", json={"name": self.name, "secret": secret})

    def disallow_target(self) -> None:
        self._receiver("DELETE", "secret")

    def calls(self, event: str = "request.completed") -> list[dict[str, Any]]:
        """The requests that the receiver got, in order."""
        found = self._receiver("GET", "calls", params={"name": self.name})["calls"]
        return [call for call in found if json.loads(call["body"])["type"] == event]

    def await_calls(self, number: int, event: str = "request.completed") -> list[dict[str, Any]]:
        def look() -> list[dict[str, Any]] | None:
            found = self.calls(event)
            return found if len(found) >= number else None

        return wait_for(look, timedelta(seconds=60), f"{number} callbacks")

    def _receiver(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
        url = f"{self.stack.receiver.url}/_recv/{path}"
        return httpx.request(method, url, trust_env=False, **more).json()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all tests; each has a tenant of its own."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture
def tenant(stack: Stack) -> Iterator[WebhookTenant]:
    name = f"hooked-{secrets.token_hex(4)}"
    bearer = create_tenant(stack, name).auth_header
    with httpx.Client(base_url=stack.url, headers=bearer, timeout=60, trust_env=False) as http:
        yield WebhookTenant(stack, name, http)


@contextmanager
def stopped_process(pid: int) -> Iterator[None]:
    """Stop the process for the length of the block."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_a_worker_killed_after_the_receivers_200_sends_the_same_id_again(
    tenant: WebhookTenant,
) -> None:
    redis = tenant.stack.redis
    assert redis is not None
    assert redis.pid is not None
    worker = tenant.stack.workers[0]
    tenant.behave(manner="slow", seconds=1, times=1)
    request_id = tenant.finish()
    tenant.await_calls(1)
    with stopped_process(
        redis.pid
    ):  # the receiver answers meanwhile, and the worker cannot store that
        time.sleep(1.5)
        worker.kill()
    worker.start()
    first, second = tenant.await_calls(2)
    assert (first["webhook_id"], first["body"]) == (second["webhook_id"], second["body"])
    assert first["verified"]
    assert second["verified"]

    def delivered() -> Any | None:  # noqa: ANN401 - JSON
        (row,) = tenant.call("GET", f"/v1/requests/{request_id}/deliveries")["deliveries"]
        return row if row["status"] == "delivered" else None

    row = wait_for(delivered, SOON, "the record of the second")
    assert [attempt["outcome"] for attempt in row["attempts"]] == ["delivered"]


def test_what_an_endpoint_missed_while_it_was_disabled_arrives_when_it_is_enabled(
    tenant: WebhookTenant,
) -> None:
    off = json.loads(
        tenant.stack.run_gateway("webhook", "disable", tenant.name, "default", "--json")
    )
    assert off["enabled"] is False
    request_id = tenant.finish()
    (held,) = tenant.call("GET", "/v1/deliveries?status=held")["deliveries"]
    assert (held["request_id"], tenant.calls()) == (request_id, [])
    on = json.loads(tenant.stack.run_gateway("webhook", "enable", tenant.name, "default", "--json"))
    assert on["enabled"] is True
    (call,) = tenant.await_calls(1)
    assert call["webhook_id"] == held["id"]
    again = json.loads(
        tenant.stack.run_gateway("webhook", "resend", tenant.name, held["id"], "--json")
    )
    assert again["id"] == held["id"]
    assert {call["webhook_id"] for call in tenant.await_calls(2)} == {held["id"]}


def test_while_a_secret_is_rotated_both_verify(tenant: WebhookTenant) -> None:
    told = json.loads(tenant.stack.run_gateway("webhook", "rotate", tenant.name, "--json"))
    tenant.call("POST", "/v1/webhooks/test")
    (by_the_old,) = tenant.await_calls(1, "webhook.test")
    assert by_the_old["verified"]
    tenant.disallow_target()
    tenant.allow_target(told["secret"])
    tenant.call("POST", "/v1/webhooks/test")
    by_the_new = tenant.await_calls(2, "webhook.test")[1]
    assert by_the_new["verified"]
    assert len(by_the_new["headers"]["webhook-signature"].split()) == 2


def test_a_redis_stream_is_written_in_place_of_a_call(tenant: WebhookTenant) -> None:
    tenant.call("PATCH", "/v1/webhooks/endpoints/default", url="stream:jobs")
    request_id = tenant.finish()

    def look() -> Any | None:  # noqa: ANN401 - JSON
        (row,) = tenant.call("GET", f"/v1/requests/{request_id}/deliveries")["deliveries"]
        return row if row["status"] == "delivered" else None

    row = wait_for(look, SOON, "the event in the stream")
    assert row["url"] == "stream:jobs"
    assert tenant.calls() == []
    listed = json.loads(tenant.stack.run_gateway("webhook", "deliveries", tenant.name, "--json"))[
        "deliveries"
    ]
    assert [each["id"] for each in listed] == [row["id"]]


def test_a_test_event_by_command_shows_its_outcome(tenant: WebhookTenant) -> None:
    shown = tenant.stack.run_gateway("webhook", "test", tenant.name)
    head, row = (line.split() for line in shown.splitlines())
    assert head[:4] == ["endpoint_id", "status", "outcome", "http_status"]
    assert row[:4] == ["default", "delivered", "delivered", "200"]

    tenant.behave(status=301)
    with pytest.raises(StackFailed) as failed:
        tenant.stack.run_gateway("webhook", "test", tenant.name)
    row = failed.value.log[1].split()
    assert row[:4] == ["default", "pending", "redirect", "301"]
