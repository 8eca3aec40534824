"""`gateway tenant …`: arguments in, text or JSON out. What is done is in `cli.operations`."""

import json
from collections.abc import Mapping
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Create and show tenants.")

Name = Annotated[str, typer.Argument(help="Lower-case letters, digits, inner hyphens; at most 40.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def create(
    name: Name,
    *,
    webhook: Annotated[
        str | None, typer.Option(help="Where callbacks go that name no URL of their own.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a tenant with its first key. The key is shown here and never again."""
    from cli import operations  # noqa: PLC0415 - `--help` must not wait for the store's libraries

    made = operations.perform(lambda settings: operations.create_tenant(settings, name, webhook))
    document = {
        "tenant": made.tenant.name,
        "key": made.key,
        "webhook_secret": made.webhook_secret,
        "webhook": made.tenant.webhook,
    }
    _print(document, as_json=as_json)


@app.command()
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show a tenant, without its secrets."""
    from cli import operations  # noqa: PLC0415 - as above

    tenant = operations.perform(lambda settings: operations.load_tenant(settings, name))
    document = {
        "tenant": tenant.name,
        "created_at": tenant.created_at.isoformat(),
        "webhook": tenant.webhook,
        "disabled": tenant.disabled,
    }
    _print(document, as_json=as_json)


@app.command("list")
def list_all(*, as_json: AsJson = False) -> None:
    """List every tenant's name."""
    from cli import operations  # noqa: PLC0415 - as above

    names = operations.perform(operations.tenant_names)
    print(json.dumps(names) if as_json else "\n".join(names))


def _print(document: Mapping[str, str | bool | None], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(dict(document)))
        return
    width = max(map(len, document))
    for name, value in document.items():
        print(f"{name:<{width}}  {'-' if value is None else value}")
