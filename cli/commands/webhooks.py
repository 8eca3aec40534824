"""`gateway webhook …`: arguments in, JSON out. See `cli.commands.webhook_operations`."""

import json
from types import ModuleType
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Endpoints, secrets and callbacks of a tenant.")

TenantArgument = Annotated[str, typer.Argument(help="The tenant's name.")]
EndpointArgument = Annotated[str, typer.Argument(help="`default`, or `ep_…`.")]
CompactJsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, without blanks.")
]
StatusOption = Annotated[str | None, typer.Option(help="pending, delivered, failed or held.")]
SinceOption = Annotated[str | None, typer.Option(help="An instant, such as 2026-11-22T08:00:00Z.")]
UntilOption = Annotated[str | None, typer.Option(help="An instant; now unless told.")]


def _webhook_commands() -> ModuleType:
    from cli.commands import webhook_operations as mailroom  # noqa: PLC0415 - `--help` must not wait for the store's libraries

    return mailroom


def _without_none(**fields: str | float | None) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _print_json(document: object, *, as_json: bool) -> None:
    print(json.dumps(document, indent=None if as_json else 2, ensure_ascii=False))


@app.command()
def endpoints(tenant: TenantArgument, *, as_json: CompactJsonOption = False) -> None:
    """List a tenant's endpoints."""
    _print_json(_webhook_commands().endpoints(tenant), as_json=as_json)


@app.command()
def add(
    tenant: TenantArgument,
    url: Annotated[str, typer.Argument(help="https://…, or stream:<name>[@<sink>].")],
    *,
    event: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    payload: Annotated[str | None, typer.Option(help="full or thin.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one attempt.")] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """Make an endpoint. The first is the default."""
    fields = _without_none(url=url, payload=payload, timeout=timeout)
    fields |= {"events": event} if event else {}
    _print_json(_webhook_commands().add(tenant, fields), as_json=as_json)


@app.command()
def enable(
    tenant: TenantArgument, endpoint_id: EndpointArgument, *, as_json: CompactJsonOption = False
) -> None:
    """Enable an endpoint: it is sent what it missed."""
    _print_json(_webhook_commands().change(tenant, endpoint_id, {"enabled": True}), as_json=as_json)


@app.command()
def disable(
    tenant: TenantArgument, endpoint_id: EndpointArgument, *, as_json: CompactJsonOption = False
) -> None:
    """Disable an endpoint: what it misses is held for it."""
    _print_json(
        _webhook_commands().change(tenant, endpoint_id, {"enabled": False}), as_json=as_json
    )


@app.command("deliveries")
def list_deliveries(
    tenant: TenantArgument,
    *,
    status: StatusOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="`next_cursor` of the page before.")] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """List a tenant's callbacks, newest first."""
    fields = _without_none(status=status, since=since, until=until, limit=str(limit), cursor=cursor)
    _print_json(_webhook_commands().deliveries(tenant, fields), as_json=as_json)


@app.command()
def resend(
    tenant: TenantArgument,
    delivery_id: Annotated[str, typer.Argument(help="`msg_…`")],
    *,
    as_json: CompactJsonOption = False,
) -> None:
    """Send one callback anew."""
    _print_json(_webhook_commands().resend(tenant, delivery_id), as_json=as_json)


@app.command()
def replay(
    tenant: TenantArgument,
    *,
    since: Annotated[str, typer.Option(help="An instant, such as 2026-11-22T08:00:00Z.")],
    until: UntilOption = None,
    status: StatusOption = None,
    endpoint: Annotated[str | None, typer.Option(help="Only of this endpoint.")] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """Send a stretch of callbacks anew, a few each second; by default what was missed."""
    fields = _without_none(since=since, until=until, status=status, endpoint_id=endpoint)
    _print_json(_webhook_commands().replay(tenant, fields), as_json=as_json)


@app.command("test")
def send_test(
    tenant: TenantArgument,
    *,
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint.")] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """Send a test event."""
    _print_json(_webhook_commands().test(tenant, endpoint), as_json=as_json)


@app.command()
def rotate(
    tenant: TenantArgument,
    *,
    kind: Annotated[str | None, typer.Option(help="hmac or ed25519.")] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Seconds for which the old one still counts; a day.")
    ] = None,
    as_json: CompactJsonOption = False,
) -> None:
    """Make a new secret, which is shown here and never again; of a key the public half."""
    _print_json(
        _webhook_commands().rotate(tenant, _without_none(kind=kind, overlap=overlap)),
        as_json=as_json,
    )
