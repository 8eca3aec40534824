"""A whole gateway of real processes beside a simulated RunComfy, and a tenant that calls it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import httpx

from simulator.demo import wait_for
from simulator.example import load_kling_example
from simulator.stack import Stack, StackPlan, TenantCredentials, run_stack
from tests.support.processes import marked_processes

FINAL_STATUSES: Final = frozenset({"completed", "failed", "cancelled"})
END_TIMEOUT: Final = timedelta(seconds=60)
HTTP_TIMEOUT: Final = timedelta(seconds=30)
SUBMIT_PATH: Final = f"/v1/models/{load_kling_example().model_id}"


def runcomfy_pace(queue_seconds: str, run_seconds: str) -> tuple[str, ...]:
    """Options of the simulated RunComfy: how long requests wait, then run, as `LEAST..MOST`."""
    return ("--queue-seconds", queue_seconds, "--run-seconds", run_seconds)


FAST: Final = runcomfy_pace("0..0.2", "0.2..0.5")
AMPLE_BALANCE: Final = ("--balance-usd", "1000000")
"""Options of the simulated RunComfy whose account no attack uses up."""


@contextmanager
def running_stack(
    folder: Path,
    environment: dict[str, str] | None = None,
    **plan: Any,  # noqa: ANN401 - fields of `StackPlan`
) -> Iterator[Stack]:
    """One service, one worker and a fast RunComfy, unless `plan` says otherwise.

    Processes that outlive the block are killed.
    """
    with marked_processes() as marked:
        surroundings = {**marked.environment, **(environment or {})}
        fields = {"runcomfy_options": FAST} | plan
        with run_stack(StackPlan(folder, environment=surroundings, **fields)) as stack:
            yield stack


@dataclass(frozen=True, slots=True)
class TenantClient:
    """A tenant's HTTP client. It calls the first service unless a number selects another."""

    stack: Stack
    http: httpx.Client
    options: dict[str, str] = field(default_factory=dict)
    """Query parameters of every submit."""

    def submit(self, service: int = 0, **options: Any) -> httpx.Response:  # noqa: ANN401 - query parameters
        """Submit the example input."""
        return self.http.post(
            self.stack.services[service].url + SUBMIT_PATH,
            params=self.options | options,
            json=load_kling_example().input,
        )

    def submitted(self) -> str:
        """The id of a new request."""
        return str(self.submit().json()["request_id"])

    def status(self, request_id: str) -> str:
        """The request's status, in the gateway's words."""
        return str(self.http.get(f"/v1/requests/{request_id}/status").json()["gateway_status"])

    def wait_for_status(self, request_id: str, *statuses: str) -> str:
        """The first of `statuses` that the request reaches."""

        def poll() -> str | None:
            status = self.status(request_id)
            return status if status in statuses else None

        return wait_for(poll, END_TIMEOUT, f"{request_id} with status {statuses}")

    def wait_for_end(self, request_id: str) -> str:
        """The request's final status."""
        return self.wait_for_status(request_id, *FINAL_STATUSES)

    def paid_submits(self) -> int:
        """How many submits RunComfy has taken, of all tenants."""
        return paid_submits(self.stack)


def paid_submits(stack: Stack) -> int:
    """How many submits the simulated RunComfy has taken."""
    answer = httpx.get(f"{stack.runcomfy_url}/_sim/ledger/summary", trust_env=False)
    return int(answer.json()["submissions"])


def create_tenant(stack: Stack, name: str) -> TenantCredentials:
    """Create a tenant as `Stack.create_tenant` does, by the admin API instead of a command.

    A command costs a second of imports, and each test has a tenant of its own.
    """
    made = httpx.post(
        f"{stack.url}/admin/v1/tenants",
        json={"tenant": name, "webhook": stack.webhook_url(name)},
        headers={"Authorization": f"Bearer {stack.environment['GATEWAY_ADMIN_TOKEN']}"},
        trust_env=False,
        timeout=HTTP_TIMEOUT.total_seconds(),
    )
    made.raise_for_status()
    tenant = TenantCredentials(name, made.json()["key"], made.json()["webhook_secret"])
    document = {"name": name, "secret": tenant.webhook_secret}
    httpx.post(f"{stack.receiver.url}/_recv/secret", json=document, trust_env=False)
    return tenant


@contextmanager
def tenant_client(stack: Stack, name: str, *flags: str, **options: str) -> Iterator[TenantClient]:
    """Create a tenant, with `flags` of `gateway tenant create`; `options` go with every submit."""
    tenant = stack.create_tenant(name, *flags) if flags else create_tenant(stack, name)
    bearer = tenant.auth_header
    timeout = HTTP_TIMEOUT.total_seconds()
    with httpx.Client(base_url=stack.url, headers=bearer, timeout=timeout, trust_env=False) as http:
        yield TenantClient(stack, http, options)
