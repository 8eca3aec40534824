"""`gateway webhook …`: arguments in, JSON out. See `cli.commands.webhook_operations`."""

import json
from types import ModuleType
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, help="Endpoints, secrets and callbacks of a tenant.")

Tenant = Annotated[str, typer.Argument(help="The tenant's name.")]
EndpointId = Annotated[str, typer.Argument(help="`default`, or `ep_…`.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document, without blanks.")]
Status = Annotated[str | None, typer.Option(help="pending, delivered, failed or held.")]
Since = Annotated[str | None, typer.Option(help="An instant, such as 2026-11-22T08:00:00Z.")]
Until = Annotated[str | None, typer.Option(help="An instant; now unless told.")]


def _mailroom() -> ModuleType:
    from cli.commands import webhook_operations as mailroom  # noqa: PLC0415 - `--help` must not wait for the store's libraries

    return mailroom


def _given(**fields: str | float | None) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _print(document: object, *, as_json: bool) -> None:
    print(json.dumps(document, indent=None if as_json else 2, ensure_ascii=False))


@app.command()
def endpoints(tenant: Tenant, *, as_json: AsJson = False) -> None:
    """List a tenant's endpoints."""
    _print(_mailroom().endpoints(tenant), as_json=as_json)


@app.command()
def add(
    tenant: Tenant,
    url: Annotated[str, typer.Argument(help="https://…, or stream:<name>[@<sink>].")],
    *,
    event: Annotated[list[str] | None, typer.Option(help="Only these; may be repeated.")] = None,
    payload: Annotated[str | None, typer.Option(help="full or thin.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one attempt.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make an endpoint. The first is the default."""
    fields = _given(url=url, payload=payload, timeout=timeout)
    fields |= {"events": event} if event else {}
    _print(_mailroom().add(tenant, fields), as_json=as_json)


@app.command()
def enable(tenant: Tenant, endpoint_id: EndpointId, *, as_json: AsJson = False) -> None:
    """Enable an endpoint: it is sent what it missed."""
    _print(_mailroom().change(tenant, endpoint_id, {"enabled": True}), as_json=as_json)


@app.command()
def disable(tenant: Tenant, endpoint_id: EndpointId, *, as_json: AsJson = False) -> None:
    """Disable an endpoint: what it misses is held for it."""
    _print(_mailroom().change(tenant, endpoint_id, {"enabled": False}), as_json=as_json)


@app.command("deliveries")
def list_deliveries(
    tenant: Tenant,
    *,
    status: Status = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="`next_cursor` of the page before.")] = None,
    as_json: AsJson = False,
) -> None:
    """List a tenant's callbacks, newest first."""
    fields = _given(status=status, since=since, until=until, limit=str(limit), cursor=cursor)
    _print(_mailroom().deliveries(tenant, fields), as_json=as_json)


@app.command()
def resend(
    tenant: Tenant,
    delivery_id: Annotated[str, typer.Argument(help="`msg_…`")],
    *,
    as_json: AsJson = False,
) -> None:
    """Send one callback anew."""
    _print(_mailroom().resend(tenant, delivery_id), as_json=as_json)


@app.command()
def replay(
    tenant: Tenant,
    *,
    since: Annotated[str, typer.Option(help="An instant, such as 2026-11-22T08:00:00Z.")],
    until: Until = None,
    status: Status = None,
    endpoint: Annotated[str | None, typer.Option(help="Only of this endpoint.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a stretch of callbacks anew, a few each second; by default what was missed."""
    fields = _given(since=since, until=until, status=status, endpoint_id=endpoint)
    _print(_mailroom().replay(tenant, fields), as_json=as_json)


@app.command("test")
def send_test(
    tenant: Tenant,
    *,
    endpoint: Annotated[str | None, typer.Option(help="Only to this endpoint.")] = None,
    as_json: AsJson = False,
) -> None:
    """Send a test event."""
    _print(_mailroom().test(tenant, endpoint), as_json=as_json)


@app.command()
def rotate(
    tenant: Tenant,
    *,
    kind: Annotated[str | None, typer.Option(help="hmac or ed25519.")] = None,
    overlap: Annotated[
        float | None, typer.Option(help="Seconds for which the old one still counts; a day.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a new secret, which is shown here and never again; of a key the public half."""
    _print(_mailroom().rotate(tenant, _given(kind=kind, overlap=overlap)), as_json=as_json)
