"""`rcg job …`: requests of this key's tenant."""

import sys
from typing import Annotated, Any, Optional, cast

import typer

from runcomfy_gateway_client.cli.downloads import save_outputs
from runcomfy_gateway_client.cli.input_values import build_input, parse_pairs, read_input
from runcomfy_gateway_client.cli.output import (
    JsonOption,
    Progress,
    print_fields,
    print_json,
    print_next_page,
    print_table,
)
from runcomfy_gateway_client.cli.session import gateway
from runcomfy_gateway_client.cli.submit_options import with_submit_options
from runcomfy_gateway_client.clients import Client
from runcomfy_gateway_client.documents import Result
from runcomfy_gateway_client.errors import ConnectionFailed, GatewayUnavailable
from runcomfy_gateway_client.options import RequestFilters, SubmitOptions

app = typer.Typer(no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The request's id.")]
OutputOption = Annotated[
    Optional[str],
    typer.Option("--output", "-o", help="Wait, and write the output here: a file or a folder."),
]
WaitLimitOption = Annotated[
    Optional[float], typer.Option(help="Seconds to wait at most; the request continues.")
]
InputOption = Annotated[
    str, typer.Option("--input", "-i", help="The input: JSON, @FILE, or - for stdin.")
]
FieldsOption = Annotated[
    Optional[list[str]],
    typer.Option("--set", "-s", help="A field: NAME=VALUE. The value is JSON, or else text."),
]
FilesOption = Annotated[
    Optional[list[str]],
    typer.Option("--file", "-f", help="A field: NAME=PATH of a file, which is uploaded."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Show what it would cost; nothing is spent.")
]
_COLUMNS = ("request_id", "status", "model_id", "reference", "created_at", "cost", "billed")
_RESULT_FIELDS = ("request_id", "status", "model_id", "cost", "billed", "output")


@app.command()
@with_submit_options
def submit(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="The model's id, or an alias of it.")],
    *,
    options: SubmitOptions,
    input_text: InputOption = "{}",
    fields: FieldsOption = None,
    files: FilesOption = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for the end.")] = False,
    wait_limit: WaitLimitOption = None,
    output: OutputOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Submit a request. Its id is printed, or with --wait or --output its result."""
    base = read_input(input_text)
    with gateway(context, as_json=as_json) as client:
        body = build_input(client, base, parse_pairs(fields or []), parse_pairs(files or []))
        if dry_run:
            _print(client.dry_run(model, body, **options), as_json=as_json)
            return
        request_id = _submit(client, model, body, options)
        if not wait and output is None:
            print_json({"request_id": request_id}) if as_json else print(request_id)
            return
        result = _wait(client, request_id, wait_limit)
        _show_result(context, client, result, output, as_json=as_json)


def _submit(client: Client, model: str, body: object, options: SubmitOptions) -> str:
    """Submit, and return the request's id. Without an answer the key of a repetition is printed."""
    try:
        return client.submit(model, body, **options).id
    except (ConnectionFailed, GatewayUnavailable):
        key = options["idempotency_key"]
        print(f"It may have arrived. Repeat it with: --idempotency-key {key}", file=sys.stderr)
        raise


def _wait(client: Client, request_id: str, limit: Optional[float]) -> Result:
    print(f"To continue after an interruption: rcg job watch {request_id}", file=sys.stderr)
    return client.request(request_id).wait(limit, Progress())


def _show_result(
    context: typer.Context,
    client: Client,
    result: Result,
    output: Optional[str],
    *,
    as_json: bool,
) -> None:
    document = dict(result.document)
    if output is not None:
        with context.obj.links() as links:
            paths = save_outputs(client, links, result, output)
        document["files"] = list(map(str, paths))
    if as_json:
        print_json(document)
        return
    shown = {name: getattr(result, name) for name in _RESULT_FIELDS}
    print_fields({**shown, "files": document.get("files")})


@app.command()
def watch(
    context: typer.Context,
    request_id: IdArgument,
    *,
    wait_limit: WaitLimitOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Wait for the end of a request, and print its result."""
    with gateway(context, as_json=as_json) as client:
        result = client.request(request_id).wait(wait_limit, Progress())
        _show_result(context, client, result, output, as_json=as_json)


@app.command()
def events(context: typer.Context, request_id: IdArgument) -> None:
    """Print each event of a request as a line of JSON, past ones first, until its end."""
    with gateway(context, as_json=True) as client:
        for event in client.request(request_id).events():
            print_json({"id": event.id, "type": event.type, "data": event.data})
            sys.stdout.flush()


@app.command()
def show(context: typer.Context, request_id: IdArgument, *, as_json: JsonOption = False) -> None:
    """Show everything that is known of a request."""
    with gateway(context, as_json=as_json) as client:
        document = client.request(request_id).details()
    if as_json:
        print_json(document)
        return
    print_fields({name: one for name, one in document.items() if name != "timeline"})
    print()
    print_table(document.get("timeline", ()), ("at", "event", "what", "state"))


@app.command()
def cancel(context: typer.Context, request_id: IdArgument, *, as_json: JsonOption = False) -> None:
    """Cancel a request; print `cancelled`, `requested` or `not_cancellable`."""
    with gateway(context, as_json=as_json) as client:
        outcome = client.request(request_id).cancel()
    print_json({"request_id": request_id, "outcome": outcome}) if as_json else print(outcome)


@app.command("list")
def list_all(
    context: typer.Context,
    *,
    status: Annotated[Optional[str], typer.Option(help="completed, failed, in_queue, …")] = None,
    model: Annotated[Optional[str], typer.Option(help="Model id.")] = None,
    reference: Annotated[Optional[str], typer.Option(help="Your reference.")] = None,
    label: Annotated[
        Optional[list[str]], typer.Option(help="NAME:VALUE or NAME=VALUE; repeatable: all of them.")
    ] = None,
    after: Annotated[Optional[str], typer.Option(help="Created at this time or later.")] = None,
    before: Annotated[Optional[str], typer.Option(help="Created before this time.")] = None,
    limit: Annotated[Optional[int], typer.Option(help="Requests per page.")] = None,
    cursor: Annotated[Optional[str], typer.Option(help="Cursor of the previous page.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List requests, newest first."""
    given: dict[str, Any] = {
        "status": status,
        "model_id": model,
        "reference": reference,
        # As they are listed too: no key or value has a `=`.
        "label": ",".join(one.replace("=", ":", 1) for one in label) if label else None,
        "created_after": after,
        "created_before": before,
        "limit": limit,
        "cursor": cursor,
    }
    filters = cast("RequestFilters", {name: one for name, one in given.items() if one is not None})
    with gateway(context, as_json=as_json) as client:
        page = client.list_requests(**filters)
    if as_json:
        print_json(page)
        return
    print_table(page["requests"], _COLUMNS)
    if page.get("next_cursor"):
        print_next_page("--cursor", page["next_cursor"])


def _print(document: object, *, as_json: bool) -> None:
    if as_json or not isinstance(document, dict):
        print_json(document)
        return
    print_fields(document)
