"""The longer answers of `gateway tenant …` for people: use by window, and what a file changes."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from cli.output import show_many, show_one
from cli.run_command import Room, perform, perform_in_room, read_toml
from core.billing.usage import Usage
from service.api.admin.representations import step_document
from service.operator_context import Desk
from service.tenants import apply_file as declared
from service.tenants.tenants import usage_of
from service.tenants.usage import usage_document

_SIGNS: Final[Mapping[str, str]] = {"create": "+", "change": "~", "keep": " ", "unlisted": "?"}
_COLUMNS: Final = ("window", "model", "jobs", "used_usd", "settled_usd", "reserved_usd", "limit")


def usage(name: str, *, as_json: bool) -> None:
    """A tenant's windows."""
    document = perform_in_room(partial(_usage, name))
    if as_json:
        show_one(document, as_json=True)
        return
    for field in ("running", "waiting"):
        print(f"{field}: {document[field]['used']} of {_limit(document[field]['limit'])}")
    rows = [row for window in document["windows"] for row in _rows(window)]
    show_many(rows, _COLUMNS, as_json=False)
    for lost in document["disabled_endpoints"]:
        since = f"{lost['reason']} since {lost['disabled_at']}"
        print(f"endpoint {lost['endpoint_id']} is disabled: {since}, {lost['owed']} callbacks wait")


async def _usage(name: str, room: Room) -> dict[str, Any]:
    read: Usage = await usage_of(room.desk, name)
    silent = await room.mailroom.silent(name)
    return usage_document(name, read, room.desk.clock.now(), silent)


def _rows(window: Mapping[str, Any]) -> list[dict[str, object]]:
    jobs, money = window["jobs"], window["usd"]
    limit = f"{_limit(jobs['limit'])} jobs, {_limit(money['limit'])} USD"
    total = {"model": "all", "jobs": jobs["used"], "limit": limit, **_amounts(money)}
    models = (
        {"model": model, "jobs": use["jobs"], **_amounts(use["usd"])}
        for model, use in window["models"].items()
    )
    return [{"window": window["window"], **row} for row in (total, *models)]


def _amounts(money: Mapping[str, float]) -> dict[str, object]:
    return {f"{name}_usd": f"{money[name]:.6f}" for name in ("used", "settled", "reserved")}


def _limit(value: object) -> str:
    return "no limit" if value is None else str(value)


def apply(file: Path, *, dry_run: bool, as_json: bool) -> None:
    """Carry out, or only show, what a file says."""
    steps = perform(lambda desk: _apply(desk, file, dry_run=dry_run))
    if as_json:
        show_many([step_document(step) for step in steps], (), as_json=True)
        return
    for step in steps:
        print("\n".join(_lines(step)))
    if dry_run:
        print("Nothing was changed (--dry-run).")


async def _apply(desk: Desk, file: Path, *, dry_run: bool) -> Sequence[declared.Step]:
    act = declared.preview if dry_run else declared.apply
    return await act(desk, read_toml(file))


def _lines(step: declared.Step) -> list[str]:
    once = {"key": step.key, "webhook_secret": step.webhook_secret}
    return [
        f"{_SIGNS[step.action]} {step.tenant} ({step.action})",
        *(f"    {change}" for change in step.changes),
        *(f"    {name}: {text}" for name, text in once.items() if text is not None),
    ]
