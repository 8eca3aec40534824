"""Runs one request through the whole stack and prints each step: `make demo`.

Uses the gateway as callers and operators do, by HTTP and by its command line.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from argparse import ArgumentParser
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx

from simulator.console import Console, supports_colour
from simulator.example import load_kling_example
from simulator.media import media_path
from simulator.private_redis import RedisMissing, RedisNotStarted
from simulator.signals import StopRequested, stop_on_signal
from simulator.stack import Stack, StackFailed, StackPlan, run_stack, without_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from simulator.example import Example
    from simulator.stack import TenantCredentials

NAME: Final = "demo"
# Long enough to show each status.
SIMULATOR_OPTIONS: Final = ("--queue-seconds", "2..3", "--run-seconds", "3..5", "--seed", "7")
FINAL_STATUSES: Final = frozenset({"completed", "failed", "cancelled"})

_JOB_TIMEOUT: Final = timedelta(seconds=45)
_WEBHOOK_TIMEOUT: Final = timedelta(seconds=15)
_POLL_INTERVAL: Final = timedelta(milliseconds=200)
_MAX_TEXT_LENGTH: Final = 90


@dataclass(frozen=True, slots=True)
class Demo:
    """One run: a started stack, a console and an HTTP client."""

    stack: Stack
    console: Console
    http: httpx.Client
    name: str
    """Name of the tenant and of its webhook path."""

    def run(self, example: Example) -> None:
        """Run every step.

        Raises:
            AssertionError, StackFailed, httpx.HTTPError: a step failed.
        """
        self.show_stack()
        tenant = self.create_tenant()
        self.upload(example, tenant)
        request_id = self.submit(example, tenant)
        self.watch_status(request_id, tenant)
        self.show_result(request_id, tenant)
        self.show_archive(request_id, tenant)
        self.show_webhook(request_id)
        self.show_ledger(example)

    def show_stack(self) -> None:
        """Print the address of each process."""
        stack = self.stack
        self.console.print_step("The stack is up; every port is on loopback")
        self.console.print_table(
            [
                ("redis", stack.redis_url, "private, with append-only file"),
                ("runcomfy", stack.runcomfy_url, "simulated: needs no key, costs nothing"),
                ("receiver", stack.receiver.url, "receives webhooks, verifies signatures"),
                ("service", stack.url, "gateway serve"),
                ("worker", stack.workers[0].url, "gateway work (its metrics)"),
            ]
        )

    def create_tenant(self) -> TenantCredentials:
        """Create a tenant as an operator does."""
        self.console.print_step("A tenant is created: gateway tenant create")
        tenant = self.stack.create_tenant(self.name)
        self.console.print_table(
            [
                ("tenant", tenant.name, ""),
                ("key", f"{tenant.key[:16]}…", "shown once, stored as a hash"),
                (
                    "webhook",
                    self.stack.webhook_url(self.name),
                    "signed with the tenant's own secret",
                ),
            ]
        )
        return tenant

    def upload(self, example: Example, tenant: TenantCredentials) -> None:
        """Upload a picture, and show by a dry run how RunComfy would get it."""
        self.console.print_step("A picture without a public address is uploaded")
        content = media_path("output.png").read_bytes()
        self.console.print_detail(
            f'curl {self.stack.url}/v1/files -H "Authorization: Bearer $KEY" -T picture.png -X POST'
        )
        answer = self.http.post(
            f"{self.stack.url}/v1/files", headers=tenant.auth_header, content=content
        )
        expect(answer.status_code == httpx.codes.CREATED, f"expected 201: {answer.text[:500]}")
        file = answer.json()
        same = hashlib.sha256(content).hexdigest() == file["sha256"]
        expect(same, "the upload has another checksum")
        planned = self.http.post(
            f"{self.stack.url}/v1/models/{example.model_id}?dry_run=true",
            headers=tenant.auth_header,
            json={**example.input, "start_image_url": file["uri"]},
        )
        expect(planned.is_success, f"the dry run answers {planned.text[:500]}")
        pixels = f"{file['width']} x {file['height']} pixels"
        self.console.print_table(
            [
                ("uri", file["uri"], "what a media field of an input takes"),
                (
                    "sha256",
                    file["sha256"],
                    f"{file['bytes']} bytes, {file['media_type']}, {pixels}",
                ),
                (
                    "delivery",
                    planned.json()["file_delivery"],
                    "how RunComfy would get it (dry run)",
                ),
            ]
        )

    def submit(self, example: Example, tenant: TenantCredentials) -> str:
        """Submit the request and return its id."""
        self.console.print_step("The request of RunComfy's API page is sent to the gateway")
        command = example.curl(self.stack.url, "$KEY", max_length=_MAX_TEXT_LENGTH)
        self.console.print_detail(command)
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
        """Print each change of status until the end."""
        self.console.print_step("The worker submits it to RunComfy and polls it")
        url = f"{self.stack.url}/v1/requests/{request_id}/status"
        started, previous = time.monotonic(), ""

        def at_end() -> str | None:
            nonlocal previous
            document = self._get(url, tenant)
            current = _status_line(document)
            if current != previous:
                self.console.print_detail(f"{time.monotonic() - started:5.1f} s  {current}")
                previous = current
            status = str(document["gateway_status"])
            return status if status in FINAL_STATUSES else None

        status = wait_for(at_end, _JOB_TIMEOUT, "the end of the job")
        expect(status == "completed", f"the job ended as {status}, not as completed")

    def show_result(self, request_id: str, tenant: TenantCredentials) -> None:
        """Print the result and its cost, and download the file."""
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
        expect(document.get("billed") == "yes", "a completed job must be billed")

    def show_archive(self, request_id: str, tenant: TenantCredentials) -> None:
        """Print where the gateway keeps the video, and compare its checksum."""
        self.console.print_step("The gateway keeps the video, which RunComfy deletes after a week")
        url = f"{self.stack.url}/v1/requests/{request_id}/result"

        def kept() -> dict[str, Any] | None:
            document = self._get(url, tenant)
            return document if document.get("archive") == "kept" else None

        output = wait_for(kept, _JOB_TIMEOUT, "the video in the archive")["outputs"][0]
        file = self.http.get(output["url"])
        expect(file.is_success, f"the kept video answers {file.status_code}")
        same = hashlib.sha256(file.content).hexdigest() == output["sha256"]
        expect(same, "the kept video has another checksum")
        self.console.print_table(
            [
                ("url", output["url"].partition("?")[0], "signed for a day: opens in a browser"),
                ("sha256", output["sha256"], f"{output['bytes']} bytes, {output['media_type']}"),
                ("kept until", output["kept_until"], "deleted with the request"),
            ]
        )
        self.console.print_success("downloaded again, with the same checksum")

    def show_webhook(self, request_id: str) -> None:
        """Print the webhook and verify its signature."""
        self.console.print_step("The webhook")
        url = f"{self.stack.receiver.url}/_recv/calls?name={self.name}"
        call = wait_for(
            lambda: _find_webhook(self._get(url), request_id), _WEBHOOK_TIMEOUT, "the webhook"
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
        """Print what RunComfy would have charged."""
        self.console.print_step("The simulated RunComfy's ledger")
        ledger = self._get(f"{self.stack.runcomfy_url}/_sim/ledger")
        for entry in ledger["entries"]:
            self.console.print_detail(
                f"{entry['received_at']}  {entry['model_id']}  {entry['charge']} USD"
            )
        expect(ledger["total"] == 1, f"expected one paid submission, found {ledger['total']}")
        same = ledger["entries"][0]["input"] == example.input
        expect(same, "the input that RunComfy received differs from the submitted one")
        self.console.print_success("one paid submission, with exactly the submitted input")

    def _get(self, url: str, tenant: TenantCredentials | None = None) -> dict[str, Any]:
        answer = self.http.get(url, headers=tenant.auth_header if tenant else {})
        expect(answer.is_success, f"GET {url}: {answer.status_code} {answer.text[:500]}")
        document = answer.json()
        expect(isinstance(document, dict), f"GET {url}: no JSON object")
        return dict(document)


def expect(condition: object, message: str) -> None:
    """Raise `AssertionError` unless the condition is true."""
    if not condition:
        raise AssertionError(message)


ValueT = TypeVar("ValueT")


def wait_for(poll: Callable[[], ValueT | None], timeout: timedelta, description: str) -> ValueT:
    """Call `poll` until it returns a value, and return that.

    Raises:
        AssertionError: there was none within the timeout.
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
    return f"{document['gateway_status']}" + ("" if position is None else f" (position {position})")


def _find_webhook(calls: Mapping[str, Any], request_id: str) -> dict[str, Any] | None:
    for call in calls["calls"]:
        if json.loads(call["body"])["data"]["request_id"] == request_id:
            return dict(call)
    return None


def run_demo(console: Console, plan: StackPlan) -> int:
    """Start the stack, run the demo, stop everything, and return the exit code."""
    stack: Stack | None = None
    try:
        with run_stack(plan) as stack, httpx.Client(timeout=10, trust_env=False) as client:
            Demo(stack, console, client, NAME).run(load_kling_example())
    except StackFailed as error:
        console.print_failure(str(error), error.log)
    except (RedisMissing, RedisNotStarted) as error:
        console.print_failure(str(error), ())
    except (AssertionError, httpx.HTTPError) as error:
        console.print_failure(str(error), recent_logs(stack))
    else:
        return 0
    return 1


def recent_logs(stack: Stack | None) -> list[str]:
    """Return the last log lines of the product, each with its process's name."""
    product = [] if stack is None else [*stack.services, *stack.workers]
    return [f"{child.name}: {line}" for child in product for line in child.tail(15)]


def main() -> int:
    """Run the demo; return 0 if every step passed."""
    environment = dict(os.environ)
    console = Console(sys.stdout, supports_colour(sys.stdout, environment), total_steps=9)
    console.print_title(
        "runcomfy-gateway: one request of RunComfy's API page, end to end, simulated"
    )
    began = time.monotonic()
    try:
        with stop_on_signal(), tempfile.TemporaryDirectory(prefix="gw-demo-") as folder:
            plan = StackPlan(
                Path(folder),
                environment=without_settings(environment),
                runcomfy_options=SIMULATOR_OPTIONS,
                keeps_outputs=True,
            )
            code = run_demo(console, plan)
    except StopRequested as stop:
        console.print_text(f"\n{stop}: all processes stopped.")
        return stop.exit_code
    span = time.monotonic() - began
    if code == 0:
        console.print_done(f"Every step passed, in {span:.1f} s. All processes stopped.")
    else:
        console.print_text("\nAll processes stopped.")
    return code


if __name__ == "__main__":
    ArgumentParser(description=__doc__).parse_args()  # `--help` starts nothing
    sys.exit(main())
