"""`rcg usage`: what this key's tenant used."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Optional

import typer

from runcomfy_gateway_client.cli.output import JsonOption, print_json, print_table
from runcomfy_gateway_client.cli.session import gateway
from runcomfy_gateway_client.documents import Document

_WINDOW_COLUMNS = ("window", "jobs", "jobs_limit", "usd", "usd_limit", "usd_left", "resets_at")
_REPORT_COLUMNS = ("group", "jobs", "completed", "failed", "used_usd", "saved_usd")


def usage(
    context: typer.Context,
    *,
    first: Annotated[
        Optional[str], typer.Option("--from", help="First day (YYYY-MM-DD) of a report.")
    ] = None,
    last: Annotated[Optional[str], typer.Option("--to", help="Last day, included.")] = None,
    by: Annotated[
        Optional[str], typer.Option(help="Group of a report: day, model, … as in the API.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what was used, and what the budgets leave; or a report over days."""
    with gateway(context, as_json=as_json) as client:
        document = client.usage(first=first, last=last, by=by)
    if as_json:
        print_json(document)
    elif "rows" in document:
        total = {**document["total"], "group": "total"}
        print_table([*document["rows"], total], _REPORT_COLUMNS)
    else:
        print_table(list(_rows(document)), _WINDOW_COLUMNS)


def _rows(document: Document) -> Iterator[Mapping[str, Any]]:
    for window in document["windows"]:
        yield {
            "window": window["window"],
            "jobs": window["jobs"]["used"],
            "jobs_limit": window["jobs"]["limit"],
            "usd": window["usd"]["used"],
            "usd_limit": window["usd"]["limit"],
            "usd_left": window["usd"]["remaining"],
            "resets_at": window["resets_at"],
        }
