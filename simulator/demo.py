"""Shows one real request travel through the whole stack, step by step: `make demo`.

Knows the gateway as its callers do, by HTTP and by its command line.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from simulator.console import Console, supports_colour
from simulator.example import load_kling_example
from simulator.private_redis import URL_VARIABLE, RedisMissing, RedisNotStarted
from simulator.signals import StopRequested, stop_on_signal
from simulator.stack import Stack, StackFailed, StackPlan, run_stack, without_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.example import Example
    from simulator.stack import TenantCredentials

NAME: Final = "demo"
# Long enough to see each status, short enough to wait for.
SIMULATOR_OPTIONS: Final = ("--queue-seconds", "2..3", "--run-seconds", "3..5", "--seed", "7")
FINAL_STATUSES: Final = frozenset({"completed", "failed", "cancelled"})

_JOB_TIMEOUT: Final = timedelta(seconds=45)
_WEBHOOK_TIMEOUT: Final = timedelta(seconds=15)
_POLL_INTERVAL: Final = timedelta(milliseconds=200)
_MAX_TEXT_LENGTH: Final = 90


class DemoFailed(RuntimeError):
    """A step did not show what it had to; the message says which and what was seen."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One run: a stack that stands, somebody to tell, and an HTTP client."""

    stack: Stack
    console: Console
    http: httpx.Client
    name: str
    """Of the tenant and its hook."""

    def run(self, example: Example) -> None:
        """Walk through the steps.

        Raises:
            DemoFailed, StackFailed, httpx.HTTPError: a step went wrong.
        """
        self.show_stack()
        tenant = self.create_tenant()
        request_id = self.submit(example, tenant)
        self.watch_status(request_id, tenant)
        self.show_result(request_id, tenant)
        self.show_webhook(request_id)
        self.show_ledger(example)

    def show_stack(self) -> None:
        """Show what runs where."""
        stack = self.stack
        server = "private, append-only file on" if stack.redis else "as GATEWAY_REDIS_URL says"
        self.console.print_step("The stack stands; every port is on loopback")
        self.console.print_table(
            [
                ("redis", stack.redis_url, server),
                ("runcomfy", stack.runcomfy_url, "simulated: no key, no money"),
                ("receiver", stack.receiver.url, "takes webhooks, checks signatures"),
                ("service", stack.url, "gateway serve"),
                ("worker", stack.workers[0].url, "gateway work (its metrics)"),
            ]
        )

    def create_tenant(self) -> TenantCredentials:
        """Make a tenant as an operator would."""
        self.console.print_step("A tenant is created: gateway tenant create")
        tenant = self.stack.create_tenant(self.name)
        self.console.print_table(
            [
                ("tenant", tenant.name, ""),
                ("key", f"{tenant.key[:16]}…", "shown once, kept as a hash"),
                (
                    "webhook",
                    self.stack.webhook_url(self.name),
                    "signed with the tenant's own secret",
                ),
            ]
        )
        return tenant

    def submit(self, example: Example, tenant: TenantCredentials) -> str:
        """Send the request and return its id."""
        self.console.print_step("The request of RunComfy's API page is sent to the gateway")
        shown = example.curl(self.stack.url, "$KEY", max_length=_MAX_TEXT_LENGTH)
        self.console.print_detail(shown)
        answer = self.http.post(
            f"{self.stack.url}/v1/models/{example.model_id}",
            headers=tenant.auth_header,
            json=example.input,
        )
        self.console.print_detail(f"\n{answer.status_code} {answer.reason_phrase}")
        self.console.print_detail(json.dumps(answer.json(), indent=2))
        expect(answer.status_code == httpx.codes.ACCEPTED, f"expected 202: {answer.text[:500]}")
        return str(answer.json()["request_id"])

    def watch_status(self, request_id: str, tenant: TenantCredentials) -> None:
        """Show each change of status until the end."""
        self.console.print_step("The worker submits it to RunComfy and follows it")
        url = f"{self.stack.url}/v1/requests/{request_id}/status"
        began, before = time.monotonic(), ""

        def at_end() -> str | None:
            nonlocal before
            document = self._get(url, tenant)
            seen = _status_line(document)
            if seen != before:
                self.console.print_detail(f"{time.monotonic() - began:5.1f} s  {seen}")
                before = seen
            return document["status"] if document["status"] in FINAL_STATUSES else None

        status = wait_for(at_end, _JOB_TIMEOUT, "the end of the job")
        expect(status == "completed", f"the job ended as {status}, not as completed")

    def show_result(self, request_id: str, tenant: TenantCredentials) -> None:
        """Show what came out, what it cost, and that the file is there."""
        self.console.print_step("The result")
        url = f"{self.stack.url}/v1/requests/{request_id}/result?include_cost=true"
        document = self._get(url, tenant)
        video = str((document.get("output") or {}).get("video"))
        expect(video.startswith("http"), f"no video in the result: {document}")
        file = self.http.get(video)
        expect(file.is_success, f"the video answers {file.status_code}")
        kind = file.headers.get("content-type", "?")
        self.console.print_table(
            [
                ("status", document["status"], ""),
                ("video", video, f"{kind}, {len(file.content)} bytes"),
                ("cost", f"{document.get('cost')} USD", f"billed: {document.get('billed')}"),
            ]
        )
        expect(document.get("billed") == "yes", "a completed job must say that it was billed")

    def show_webhook(self, request_id: str) -> None:
        """Show the callback and that its signature holds."""
        self.console.print_step("The webhook")
        url = f"{self.stack.receiver.url}/_recv/calls?name={self.name}"
        call = wait_for(
            lambda: _find_webhook(self._get(url), request_id), _WEBHOOK_TIMEOUT, "a callback"
        )
        self.console.print_table(
            [
                ("path", call["path"], ""),
                ("type", json.loads(call["body"])["type"], ""),
                ("webhook-id", call["webhook_id"], "the same on every attempt"),
            ]
        )
        expect(call["verified"], f"the signature does not verify: {call['reason']}")
        self.console.print_success("signature verified (Standard Webhooks)")

    def show_ledger(self, example: Example) -> None:
        """Show what RunComfy would have charged for."""
        self.console.print_step("The simulated RunComfy's ledger")
        ledger = self._get(f"{self.stack.runcomfy_url}/_sim/ledger")
        for entry in ledger["entries"]:
            self.console.print_detail(
                f"{entry['received_at']}  {entry['model_id']}  {entry['charge']} USD"
            )
        expect(ledger["total"] == 1, f"expected one paid submission, found {ledger['total']}")
        same = ledger["entries"][0]["input"] == example.input
        expect(same, "the input that RunComfy got differs from the one that was sent")
        self.console.print_success("one paid submission, its input exactly as it was sent")

    def _get(self, url: str, tenant: TenantCredentials | None = None) -> dict[str, Any]:
        answer = self.http.get(url, headers=tenant.auth_header if tenant else {})
        expect(answer.is_success, f"GET {url}: {answer.status_code} {answer.text[:500]}")
        document = answer.json()
        expect(isinstance(document, dict), f"GET {url}: no JSON object")
        return dict(document)


def expect(condition: object, message: str) -> None:
    """Raise `DemoFailed` saying what was seen instead, unless it is true."""
    if not condition:
        raise DemoFailed(message)


ValueT = TypeVar("ValueT")


def wait_for(poll: Callable[[], ValueT | None], timeout: timedelta, description: str) -> ValueT:
    """Look again and again until something is seen, and return it.

    Raises:
        DemoFailed: nothing was seen within the time.
    """
    deadline = time.monotonic() + timeout.total_seconds()
    while (seen := poll()) is None:
        expect(
            time.monotonic() < deadline,
            f"{description} did not come in {timeout.total_seconds():g} s",
        )
        time.sleep(_POLL_INTERVAL.total_seconds())
    return seen


def _status_line(document: Mapping[str, Any]) -> str:
    position = document.get("queue_position")
    return f"{document['status']}" + ("" if position is None else f" (position {position})")


def _find_webhook(calls: Mapping[str, Any], request_id: str) -> dict[str, Any] | None:
    for call in calls["calls"]:
        if json.loads(call["body"])["data"]["request_id"] == request_id:
            return dict(call)
    return None


def run_demo(console: Console, plan: StackPlan) -> int:
    """Start the stack, walk through the demo, stop all, and return the exit code."""
    stack: Stack | None = None
    try:
        with run_stack(plan) as stack, httpx.Client(timeout=10, trust_env=False) as client:
            # In somebody else's Redis an earlier demo's tenant may still be.
            name = NAME if stack.redis else f"{NAME}-{secrets.token_hex(3)}"
            Demo(stack, console, client, name).run(load_kling_example())
    except StackFailed as problem:
        console.print_failure(str(problem), problem.log)
    except (RedisMissing, RedisNotStarted) as problem:
        console.print_failure(str(problem), ())
    except (DemoFailed, httpx.HTTPError) as problem:
        console.print_failure(str(problem), recent_logs(stack))
    else:
        return 0
    return 1


def recent_logs(stack: Stack | None) -> list[str]:
    """What the processes of the product wrote last, each line with the process's name."""
    product = [] if stack is None else [*stack.services, *stack.workers]
    return [f"{child.name}: {line}" for child in product for line in child.tail(15)]


def main() -> int:
    """Run the demo on this machine; 0 when every step showed what it had to."""
    environment = dict(os.environ)
    tell = Console(sys.stdout, supports_colour(sys.stdout, environment), total_steps=7)
    tell.print_title("runcomfy-gateway: one request of RunComfy's API page, end to end, simulated")
    began = time.monotonic()
    try:
        with stop_on_signal(), tempfile.TemporaryDirectory(prefix="gw-demo-") as folder:
            plan = StackPlan(
                Path(folder),
                environment=demo_environment(environment),
                runcomfy_options=SIMULATOR_OPTIONS,
            )
            code = run_demo(tell, plan)
    except StopRequested as stop:
        tell.print_text(f"\n{stop}: all processes stopped.")
        return stop.exit_code
    span = time.monotonic() - began
    if code == 0:
        tell.print_done(f"Every step as it should be, in {span:.1f} s. All processes stopped.")
    else:
        tell.print_text("\nAll processes stopped.")
    return code


def demo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the surroundings less all settings but the Redis that the demo is to use."""
    kept = {URL_VARIABLE: url} if (url := environment.get(URL_VARIABLE)) else {}
    return {**without_settings(environment), **kept}


if __name__ == "__main__":
    sys.exit(main())
