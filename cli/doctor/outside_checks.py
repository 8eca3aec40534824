"""What the answers of the journal, RunComfy and receivers mean. Pure."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from cli.doctor.check import Check, fail, ok, warn
from core.money import MicroUsd, to_usd
from core.observability.outcomes import FaultKind
from worker.ports import Unreachable

_SHOWN_RECEIVERS: Final = 3


def check_creation(url: str, *, creates_once: bool) -> Check:
    """Return whether the journal can prevent a second payment: an entry is created only once."""
    if not creates_once:
        fix = "use a storage with conditional writes (S3: If-None-Match)"
        return fail("journal", f"{url} lets an entry be created twice", fix)
    return ok("journal", f"{url} can be written, and creates an entry once only")


def check_runcomfy(answer: object) -> Check:
    """Return whether RunComfy's Model API answers; `answer` is that of its catalogue."""
    if isinstance(answer, Unreachable):
        fix = "check GATEWAY_RUNCOMFY_URL, GATEWAY_RUNCOMFY__PROXY and GATEWAY_RUNCOMFY__CA_FILE"
        if answer.fault.kind == FaultKind.ACCOUNT_REJECTED:
            fix = "check GATEWAY_RUNCOMFY_TOKEN"
        return fail("runcomfy", answer.fault.message, fix)
    return ok("runcomfy", "the Model API answers")


def check_balance(answer: MicroUsd | Unreachable | None, minimum: MicroUsd | None) -> Check:
    """Return whether the account can pay. None: no account API is configured."""
    name = "runcomfy account"
    if answer is None:
        fix = "set GATEWAY_RUNCOMFY_ACCOUNT_URL to have the token and the balance checked"
        return warn(name, "no account API is configured", fix)
    if isinstance(answer, Unreachable):
        if answer.fault.kind == FaultKind.ACCOUNT_REJECTED:
            return fail(name, answer.fault.message, "check GATEWAY_RUNCOMFY_TOKEN")
        return fail(name, answer.fault.message, "check GATEWAY_RUNCOMFY_ACCOUNT_URL")
    shown = f"the token is accepted, balance {to_usd(answer):.2f} USD"
    if answer <= (minimum or 0):
        limit = f"{shown}, minimum {to_usd(minimum or MicroUsd(0)):.2f} USD"
        return fail(name, limit, "top the account up: submits are refused")
    return ok(name, shown)


def check_egress(unreachable: Mapping[str, str], total: int) -> Check:
    """Return whether webhooks' receivers can be connected to. URLs are shown by host only."""
    name = "webhook receivers"
    if not unreachable:
        return ok(name, f"{total} of {total} can be connected to")
    shown = [f"{urlsplit(url).hostname} ({reason})" for url, reason in unreachable.items()]
    detail = f"{len(unreachable)} of {total} cannot be connected to: "
    detail += ", ".join(shown[:_SHOWN_RECEIVERS])
    fix = "check the receiver, the firewall, GATEWAY_WEBHOOKS__ALLOWED_TARGETS and __PROXY"
    return warn(name, detail, fix)


def check_webhook_proxy(unreachable: Mapping[str, str]) -> Check:
    """Return whether webhooks' proxy can be connected to. Its URL has no password."""
    for url, reason in unreachable.items():
        return fail("webhook proxy", f"{url} ({reason})", "check GATEWAY_WEBHOOKS__PROXY")
    return ok("webhook proxy", "it can be connected to")
