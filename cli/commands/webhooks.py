"""`gateway webhook …`: a tenant's endpoints, secrets and deliveries; every answer is JSON."""

import json
from datetime import datetime
from typing import Annotated, Any

import typer

from cli.run_command import CommandContext, run_command
from core.representations.webhooks import delivery_representation
from service.parsing.request_models import parse_model
from service.webhooks import audited_webhooks, representations
from service.webhooks.requests import (
    DeliveryQuery,
    EndpointChange,
    NewEndpoint,
    ReplayRequest,
    SecretRotation,
)

app = typer.Typer(no_args_is_help=True, add_completion=False)

TenantArgument = Annotated[str, typer.Argument(help="Tenant name.")]
EndpointArgument = Annotated[str, typer.Argument(help="`default`, or `ep_…`.")]
CompactJsonOption = Annotated[bool, typer.Option("--json", help="Print the JSON on one line.")]
StatusOption = Annotated[
    str | None, typer.Option(metavar="pending|delivered|failed|held", help="Delivery status.")
]
SinceOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="Such as 2026-11-22T08:00:00Z.")
]
UntilOption = Annotated[str | None, typer.Option(metavar="TIME", help="Default: now.")]


def _print_json(document: object, *, as_json: bool) -> None:
    indent = None if as_json else 2
    print(json.dumps(document, indent=indent, ensure_ascii=False, default=datetime.isoformat))


def _without_none(**fields: str | float | None) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


@app.command()
def endpoints(tenant: TenantArgument, *, as_json: CompactJsonOption = False) -> None:
    """List a tenant's endpoints."""
    config = run_command(lambda context: context.webhooks.load_config(tenant))
    _print_json(
        [representations.endpoint_representation(endpoint) for endpoint in config.endpoints],
        as_json=as_json,
    )


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
    as_json: CompactJsonOption = False,
) -> None:
    """Add an endpoint. The first one is the default."""
    fields = _without_none(url=url, payload=payload, timeout=timeout)
    fields |= {"events": event} if event else {}
    endpoint = run_command(
        lambda context: audited_webhooks.add_endpoint(
            context.admin, context.webhooks, tenant, parse_model(NewEndpoint, fields)
        )
    )
    _print_json(representations.endpoint_representation(endpoint), as_json=as_json)


@app.command()
def enable(
    tenant: TenantArgument, endpoint_id: EndpointArgument, *, as_json: CompactJsonOption = False
) -> None:
    """Enable an endpoint. Deliveries held while it was disabled are sent."""
    _set_enabled((tenant, endpoint_id), enabled=True, as_json=as_json)


@app.command()
def disable(
    tenant: TenantArgument, endpoint_id: EndpointArgument, *, as_json: CompactJsonOption = False
) -> None:
    """Disable an endpoint. Its deliveries are held until it is enabled."""
    _set_enabled((tenant, endpoint_id), enabled=False, as_json=as_json)


def _set_enabled(endpoint_ref: tuple[str, str], *, enabled: bool, as_json: bool) -> None:
    endpoint = run_command(
        lambda context: audited_webhooks.change_endpoint(
            context.admin, context.webhooks, endpoint_ref, EndpointChange(enabled=enabled)
        )
    )
    _print_json(representations.endpoint_representation(endpoint), as_json=as_json)


@app.command("deliveries")
def list_deliveries(
    tenant: TenantArgument,
    *,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(help="Deliveries per page.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="`next_cursor` of the previous page.")] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """List a tenant's deliveries, newest first."""
    fields = _without_none(status=status, since=since, until=until, limit=str(limit), cursor=cursor)
    page = run_command(
        lambda context: context.webhooks.list_deliveries(tenant, parse_model(DeliveryQuery, fields))
    )
    document = representations.deliveries_representation(page.items)
    _print_json(document | {"next_cursor": page.cursor}, as_json=as_json)


@app.command()
def resend(
    tenant: TenantArgument,
    delivery_id: Annotated[str, typer.Argument(help="`msg_…`")],
    *,
    as_json: CompactJsonOption = False,
) -> None:
    """Send one delivery again."""
    delivery = run_command(
        lambda context: audited_webhooks.resend(
            context.admin, context.webhooks, tenant, delivery_id
        )
    )
    _print_json(delivery_representation(delivery, ()), as_json=as_json)


@app.command()
def replay(
    tenant: TenantArgument,
    *,
    since: Annotated[str, typer.Option(metavar="TIME", help="Such as 2026-11-22T08:00:00Z.")],
    until: UntilOption = None,
    status: StatusOption = None,
    endpoint: Annotated[str | None, typer.Option(help="Only for this endpoint.")] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """Send the deliveries of a period again, a few per second: by default failed and held ones."""
    fields = _without_none(since=since, until=until, status=status, endpoint_id=endpoint)

    async def run(context: CommandContext) -> dict[str, object]:
        period = parse_model(ReplayRequest, fields).range(context.webhooks.clock.now())
        queue = await audited_webhooks.replay(context.admin, context.webhooks, tenant, period)
        return {"tenant": tenant, "waiting": len(queue.ranges)}

    _print_json(run_command(run), as_json=as_json)


@app.command("test")
def send_test(
    tenant: TenantArgument,
    *,
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint.")] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """Send a test event to each endpoint."""
    deliveries = run_command(
        lambda context: audited_webhooks.send_test(
            context.admin, context.webhooks, tenant, endpoint
        )
    )
    _print_json([delivery_representation(delivery, ()) for delivery in deliveries], as_json=as_json)


@app.command()
def rotate(
    tenant: TenantArgument,
    *,
    kind: Annotated[str | None, typer.Option(metavar="hmac|ed25519")] = None,
    overlap: Annotated[
        float | None,
        typer.Option(help="Seconds for which the previous secret stays valid; default: a day."),
    ] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """Create a new signing secret, shown only once; of a key pair, the public key is shown."""

    async def run(context: CommandContext) -> dict[str, Any]:
        rotation = parse_model(SecretRotation, _without_none(kind=kind, overlap=overlap))
        secret = await audited_webhooks.rotate_secret(
            context.admin, context.webhooks, tenant, rotation
        )
        return representations.secret_representation(rotation.kind, secret)

    _print_json(run_command(run), as_json=as_json)
