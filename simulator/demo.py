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

from simulator.console import Teller, coloured
from simulator.example import kling
from simulator.private_redis import URL_VARIABLE, RedisMissing, RedisNotStarted
from simulator.signals import Stopped, stoppable
from simulator.stack import Plan, Stack, StackFailed, running, without_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.example import Example
    from simulator.stack import Tenant

NAME: Final = "demo"
# Long enough to see each status, short enough to wait for.
SIMULATED: Final = ("--queue-seconds", "2..3", "--run-seconds", "3..5", "--seed", "7")
FINAL: Final = frozenset({"completed", "failed", "cancelled"})

_JOB_WITHIN: Final = timedelta(seconds=45)
_CALLBACK_WITHIN: Final = timedelta(seconds=15)
_LOOK_EVERY: Final = timedelta(milliseconds=200)
_TEXT_SHOWN: Final = 90


class DemoFailed(RuntimeError):
    """A step did not show what it had to; the message says which and what was seen."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One run: a stack that stands, somebody to tell, and an HTTP client."""

    stack: Stack
    tell: Teller
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
        self.follow(request_id, tenant)
        self.show_result(request_id, tenant)
        self.show_webhook(request_id)
        self.show_ledger(example)

    def show_stack(self) -> None:
        """Show what runs where."""
        stack = self.stack
        server = "private, append-only file on" if stack.redis else "as GATEWAY_REDIS_URL says"
        self.tell.step("The stack stands; every port is on loopback")
        self.tell.facts(
            [
                ("redis", stack.redis_url, server),
                ("runcomfy", stack.runcomfy_url, "simulated: no key, no money"),
                ("receiver", stack.receiver.url, "takes webhooks, checks signatures"),
                ("service", stack.url, "gateway serve"),
                ("worker", stack.workers[0].url, "gateway work (its metrics)"),
            ]
        )

    def create_tenant(self) -> Tenant:
        """Make a tenant as an operator would."""
        self.tell.step("A tenant is created: gateway tenant create")
        tenant = self.stack.new_tenant(self.name)
        self.tell.facts(
            [
                ("tenant", tenant.name, ""),
                ("key", f"{tenant.key[:16]}…", "shown once, kept as a hash"),
                ("webhook", self.stack.hook(self.name), "signed with the tenant's own secret"),
            ]
        )
        return tenant

    def submit(self, example: Example, tenant: Tenant) -> str:
        """Send the request and return its id."""
        self.tell.step("The request of RunComfy's API page is sent to the gateway")
        shown = example.curl(self.stack.url, "$KEY", shorten_to=_TEXT_SHOWN)
        self.tell.fact(shown)
        answer = self.http.post(
            f"{self.stack.url}/v1/models/{example.model_id}",
            headers=tenant.bearer,
            json=example.input,
        )
        self.tell.fact(f"\n{answer.status_code} {answer.reason_phrase}")
        self.tell.fact(json.dumps(answer.json(), indent=2))
        expect(answer.status_code == httpx.codes.ACCEPTED, f"expected 202: {answer.text[:500]}")
        return str(answer.json()["request_id"])

    def follow(self, request_id: str, tenant: Tenant) -> None:
        """Show each change of status until the end."""
        self.tell.step("The worker submits it to RunComfy and follows it")
        url = f"{self.stack.url}/v1/requests/{request_id}/status"
        began, before = time.monotonic(), ""

        def at_end() -> str | None:
            nonlocal before
            document = self._get(url, tenant)
            seen = _status_line(document)
            if seen != before:
                self.tell.fact(f"{time.monotonic() - began:5.1f} s  {seen}")
                before = seen
            return document["status"] if document["status"] in FINAL else None

        status = wait_for(at_end, _JOB_WITHIN, "the end of the job")
        expect(status == "completed", f"the job ended as {status}, not as completed")

    def show_result(self, request_id: str, tenant: Tenant) -> None:
        """Show what came out, what it cost, and that the file is there."""
        self.tell.step("The result")
        url = f"{self.stack.url}/v1/requests/{request_id}/result?include_cost=true"
        document = self._get(url, tenant)
        video = str((document.get("output") or {}).get("video"))
        expect(video.startswith("http"), f"no video in the result: {document}")
        file = self.http.get(video)
        expect(file.is_success, f"the video answers {file.status_code}")
        kind = file.headers.get("content-type", "?")
        self.tell.facts(
            [
                ("status", document["status"], ""),
                ("video", video, f"{kind}, {len(file.content)} bytes"),
                ("cost", f"{document.get('cost')} USD", f"billed: {document.get('billed')}"),
            ]
        )
        expect(document.get("billed") == "yes", "a completed job must say that it was billed")

    def show_webhook(self, request_id: str) -> None:
        """Show the callback and that its signature holds."""
        self.tell.step("The webhook")
        url = f"{self.stack.receiver.url}/_recv/calls?name={self.name}"
        call = wait_for(
            lambda: _callback_about(self._get(url), request_id), _CALLBACK_WITHIN, "a callback"
        )
        self.tell.facts(
            [
                ("path", call["path"], ""),
                ("type", json.loads(call["body"])["type"], ""),
                ("webhook-id", call["webhook_id"], "the same on every attempt"),
            ]
        )
        expect(call["verified"], f"the signature does not verify: {call['reason']}")
        self.tell.good("signature verified (Standard Webhooks)")

    def show_ledger(self, example: Example) -> None:
        """Show what RunComfy would have charged for."""
        self.tell.step("The simulated RunComfy's ledger")
        ledger = self._get(f"{self.stack.runcomfy_url}/_sim/ledger")
        for entry in ledger["entries"]:
            self.tell.fact(f"{entry['received_at']}  {entry['model_id']}  {entry['charge']} USD")
        expect(ledger["total"] == 1, f"expected one paid submission, found {ledger['total']}")
        same = ledger["entries"][0]["input"] == example.input
        expect(same, "the input that RunComfy got differs from the one that was sent")
        self.tell.good("one paid submission, its input exactly as it was sent")

    def _get(self, url: str, tenant: Tenant | None = None) -> dict[str, Any]:
        answer = self.http.get(url, headers=tenant.bearer if tenant else {})
        expect(answer.is_success, f"GET {url}: {answer.status_code} {answer.text[:500]}")
        document = answer.json()
        expect(isinstance(document, dict), f"GET {url}: no JSON object")
        return dict(document)


def expect(true: object, otherwise: str) -> None:
    """Raise `DemoFailed` saying what was seen instead, unless it is true."""
    if not true:
        raise DemoFailed(otherwise)


Seen = TypeVar("Seen")


def wait_for(look: Callable[[], Seen | None], within: timedelta, what: str) -> Seen:
    """Look again and again until something is seen, and return it.

    Raises:
        DemoFailed: nothing was seen within the time.
    """
    deadline = time.monotonic() + within.total_seconds()
    while (seen := look()) is None:
        expect(time.monotonic() < deadline, f"{what} did not come in {within.total_seconds():g} s")
        time.sleep(_LOOK_EVERY.total_seconds())
    return seen


def _status_line(document: Mapping[str, Any]) -> str:
    position = document.get("queue_position")
    return f"{document['status']}" + ("" if position is None else f" (position {position})")


def _callback_about(calls: Mapping[str, Any], request_id: str) -> dict[str, Any] | None:
    for call in calls["calls"]:
        if json.loads(call["body"])["data"]["request_id"] == request_id:
            return dict(call)
    return None


def play(tell: Teller, plan: Plan) -> int:
    """Start the stack, walk through the demo, stop all, and return the exit code."""
    stack: Stack | None = None
    try:
        with running(plan) as stack, httpx.Client(timeout=10, trust_env=False) as client:
            # In somebody else's Redis an earlier demo's tenant may still be.
            name = NAME if stack.redis else f"{NAME}-{secrets.token_hex(3)}"
            Demo(stack, tell, client, name).run(kling())
    except StackFailed as problem:
        tell.failed(str(problem), problem.log)
    except (RedisMissing, RedisNotStarted) as problem:
        tell.failed(str(problem), ())
    except (DemoFailed, httpx.HTTPError) as problem:
        tell.failed(str(problem), last_words(stack))
    else:
        return 0
    return 1


def last_words(stack: Stack | None) -> list[str]:
    """What the processes of the product wrote last, each line with the process's name."""
    product = [] if stack is None else [*stack.services, *stack.workers]
    return [f"{child.name}: {line}" for child in product for line in child.tail(15)]


def main() -> int:
    """Run the demo on this machine; 0 when every step showed what it had to."""
    environment = dict(os.environ)
    tell = Teller(sys.stdout, coloured(sys.stdout, environment), steps=7)
    tell.title("runcomfy-gateway: one request of RunComfy's API page, end to end, simulated")
    began = time.monotonic()
    try:
        with stoppable(), tempfile.TemporaryDirectory(prefix="gw-demo-") as folder:
            plan = Plan(Path(folder), environment=demo_environment(environment), runcomfy=SIMULATED)
            code = play(tell, plan)
    except Stopped as stop:
        tell.plain(f"\n{stop}: all processes stopped.")
        return stop.exit_code
    span = time.monotonic() - began
    if code == 0:
        tell.done(f"Every step as it should be, in {span:.1f} s. All processes stopped.")
    else:
        tell.plain("\nAll processes stopped.")
    return code


def demo_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the surroundings less all settings but the Redis that the demo is to use."""
    kept = {URL_VARIABLE: url} if (url := environment.get(URL_VARIABLE)) else {}
    return {**without_settings(environment), **kept}


if __name__ == "__main__":
    sys.exit(main())
