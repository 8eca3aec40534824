"""`gateway webhook …`: a tenant's endpoints, secrets and deliveries."""

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from cli.output import CursorOption, JsonOption, print_document, print_next_page, print_table
from cli.run_command import EXIT_FAILED, run_admin, run_command
from core.clock import iso
from core.representations.webhooks import delivery_representation
from core.webhooks.delivery import DeliveryState
from service.admin.unreadable import requeue_deliveries
from service.parsing.request_models import parse_model
from service.webhooks import audited_webhooks, representations
from service.webhooks.requests import (
    DeliveryQuery,
    EndpointChange,
    EndpointRequest,
    ReplayRequest,
    SecretRotation,
)

if TYPE_CHECKING:
    from cli.command_session import CommandContext

app = typer.Typer(no_args_is_help=True, add_completion=False)

TenantArgument = Annotated[str, typer.Argument(help="Tenant name.")]
EndpointArgument = Annotated[str, typer.Argument(help="`default`, or `ep_…`.")]
StatusOption = Annotated[
    str | None, typer.Option(metavar="pending|delivered|failed|held", help="Delivery status.")
]
SinceOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="Such as 2026-11-22T08:00:00Z.")
]
UntilOption = Annotated[str | None, typer.Option(metavar="TIME", help="Default: now.")]


_ENDPOINT_COLUMNS: Final = (
    "id",
    "enabled",
    "kind",
    "url",
    "events",
    "payload",
    "disabled_reason",
    "failing_since",
    "held_back_until",
    "last_failure",
)
_DELIVERY_COLUMNS: Final = (
    "id",
    "created_at",
    "event",
    "endpoint_id",
    "status",
    "attempts",
    "last_outcome",
    "next_attempt_at",
)
_TEST_COLUMNS: Final = ("endpoint_id", "status", "outcome", "http_status", "took_ms", "answer")
_TEST_POLL_INTERVAL: Final = timedelta(milliseconds=200)


def _without_none(**fields: str | float | None) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@app.command("list")
def list_endpoints(tenant: TenantArgument, *, as_json: JsonOption = False) -> None:
    """List a tenant's endpoints."""
    found = run_command(lambda context: context.webhooks.list_endpoints(tenant))
    rows = representations.endpoints_representation(found)["endpoints"]
    print_table(rows, _ENDPOINT_COLUMNS, as_json=as_json)


@app.command()
def add(
    tenant: TenantArgument,
    url: Annotated[str, typer.Argument(help="https://…, or stream:<name>[@<sink>].")],
    *,
    event: Annotated[
        list[str] | None, typer.Option(help="Event type; may be repeated. Default: all.")
    ] = None,
    payload: Annotated[str | None, typer.Option(metavar="full|thin")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds per attempt.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Add an endpoint. The first one is the default."""
    fields = _without_none(url=url, payload=payload, timeout=timeout)
    fields |= {"events": event} if event else {}
    endpoint = run_command(
        lambda context: audited_webhooks.add_endpoint(
            context.admin, context.webhooks, tenant, parse_model(EndpointRequest, fields)
        )
    )
    print_document(representations.endpoint_representation(endpoint), as_json=as_json)


@app.command()
def enable(
    tenant: TenantArgument, endpoint_id: EndpointArgument, *, as_json: JsonOption = False
) -> None:
    """Enable an endpoint. Deliveries held while it was disabled are sent."""
    _set_enabled((tenant, endpoint_id), enabled=True, as_json=as_json)


@app.command()
def disable(
    tenant: TenantArgument, endpoint_id: EndpointArgument, *, as_json: JsonOption = False
) -> None:
    """Disable an endpoint. Its deliveries are held until it is enabled."""
    _set_enabled((tenant, endpoint_id), enabled=False, as_json=as_json)


def _set_enabled(endpoint_ref: tuple[str, str], *, enabled: bool, as_json: bool) -> None:
    endpoint = run_command(
        lambda context: audited_webhooks.change_endpoint(
            context.admin, context.webhooks, endpoint_ref, EndpointChange(enabled=enabled)
        )
    )
    print_document(representations.endpoint_representation(endpoint), as_json=as_json)


@app.command("deliveries")
def list_deliveries(
    tenant: TenantArgument,
    *,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(help="Deliveries per page.")] = 50,
    cursor: CursorOption = None,
    as_json: JsonOption = False,
) -> None:
    """List a tenant's deliveries, newest first."""
    fields = _without_none(status=status, since=since, until=until, limit=str(limit), cursor=cursor)
    page = run_command(
        lambda context: context.webhooks.list_deliveries(tenant, parse_model(DeliveryQuery, fields))
    )
    document = representations.deliveries_representation(page.items)
    if as_json:
        print_document(document | {"next_cursor": page.cursor}, as_json=True)
        return
    rows = [{**row, "attempts": len(row["attempts"])} for row in document["deliveries"]]
    print_table(rows, _DELIVERY_COLUMNS, as_json=False)
    print_next_page(page.cursor)


@app.command("unreadable")
def list_unreadable(
    *,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of deliveries.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List deliveries whose record this release cannot read, the longest first.

    No worker sends them.
    """
    deliveries = run_admin(lambda admin: admin.stores.deliveries.list_unreadable(limit))
    rows = [
        {"id": each.delivery_id, "tenant": each.tenant, "since": iso(each.since)}
        for each in deliveries
    ]
    print_table(rows, ("id", "tenant", "since"), as_json=as_json)


@app.command()
def requeue(
    delivery_ids: Annotated[list[str], typer.Argument(help="Ids of unreadable deliveries.")],
) -> None:
    """Have workers claim unreadable deliveries again, after the newer release is back."""
    print(f"requeued: {run_admin(lambda admin: requeue_deliveries(admin, delivery_ids))}")


@app.command()
def resend(
    tenant: TenantArgument,
    delivery_id: Annotated[str, typer.Argument(help="`msg_…`")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Send one delivery again."""
    delivery = run_command(
        lambda context: audited_webhooks.resend(
            context.admin, context.webhooks, tenant, delivery_id
        )
    )
    print_document(delivery_representation(delivery, ()), as_json=as_json)


@app.command()
def replay(
    tenant: TenantArgument,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="Such as 2026-11-22T08:00:00Z.")],
    until: UntilOption = None,
    status: StatusOption = None,
    endpoint: Annotated[str | None, typer.Option(help="Only for this endpoint.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Send the deliveries of a period again, a few per second: by default failed and held ones."""
    fields = _without_none(since=since, until=until, status=status, endpoint_id=endpoint)

    async def run(context: "CommandContext") -> dict[str, object]:
        period = parse_model(ReplayRequest, fields).range(context.webhooks.clock.now())
        queue = await audited_webhooks.replay(context.admin, context.webhooks, tenant, period)
        return {"tenant": tenant, "waiting": len(queue.ranges)}

    print_document(run_command(run), as_json=as_json)


@app.command("test")
def send_test(
    tenant: TenantArgument,
    *,
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint.")] = None,
    wait: Annotated[
        float, typer.Option(min=0, max=300, help="Seconds to wait for the first attempts.")
    ] = 30,
    as_json: JsonOption = False,
) -> None:
    """Send a test event to each endpoint, and show what became of it. Exit 1: not delivered."""

    async def run(context: "CommandContext") -> list[dict[str, Any]]:
        sent = await audited_webhooks.send_test(context.admin, context.webhooks, tenant, endpoint)
        ids = [delivery.id for delivery in sent]
        return await _attempted(context, ids, timedelta(seconds=wait))

    documents = run_command(run)
    if as_json:
        print(json.dumps(documents))
    else:
        print_table([_test_row(each) for each in documents], _TEST_COLUMNS, as_json=False)
    if not all(each["attempts"] for each in documents):
        print("gateway: some had no attempt yet; is a worker running?", file=sys.stderr)
    if any(each["status"] != DeliveryState.DELIVERED for each in documents):
        raise typer.Exit(EXIT_FAILED)


async def _attempted(
    context: "CommandContext", ids: Sequence[str], wait: timedelta
) -> list[dict[str, Any]]:
    """Return the deliveries once each has had an attempt, or after `wait`."""
    clock = context.webhooks.clock
    deadline = clock.monotonic() + wait
    while True:
        deliveries = await context.webhooks.load_deliveries(ids)
        if all(each.attempts for each in deliveries) or clock.monotonic() >= deadline:
            rows = await context.webhooks.with_attempts(deliveries)
            return [delivery_representation(each, attempts) for each, attempts in rows]
        await clock.sleep(_TEST_POLL_INTERVAL)


def _test_row(document: Mapping[str, Any]) -> dict[str, Any]:
    latest = document["attempts"][-1] if document["attempts"] else {}
    return {**latest, "endpoint_id": document["endpoint_id"], "status": document["status"]}


@app.command()
def rotate(
    tenant: TenantArgument,
    *,
    kind: Annotated[str | None, typer.Option(metavar="hmac|ed25519")] = None,
    overlap: Annotated[
        float | None,
        typer.Option(help="Seconds for which the previous secret stays valid; default: a day."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Create a new signing secret, shown only once; of a key pair, the public key is shown."""

    async def run(context: "CommandContext") -> dict[str, Any]:
        rotation = parse_model(SecretRotation, _without_none(kind=kind, overlap=overlap))
        secret, _ = await audited_webhooks.rotate_secret(
            context.admin, context.webhooks, tenant, rotation
        )
        return representations.secret_representation(rotation.kind, secret)

    print_document(run_command(run), as_json=as_json)


@app.command()
def retire(tenant: TenantArgument, *, as_json: JsonOption = False) -> None:
    """End all secrets and key pairs but the newest now, before their overlap has passed."""
    config = run_command(
        lambda context: audited_webhooks.retire_secrets(context.admin, context.webhooks, tenant)
    )
    document = {"tenant": tenant, "webhook_secrets": len(config.secrets)}
    print_document(document, as_json=as_json)
