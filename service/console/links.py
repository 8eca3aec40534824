"""Links that sign in to the console once, for the command."""

from typing import Final

from core.operators.operator import operator_named_by, operator_token_digest
from service.console.sessions import (
    CODE_LIFETIME,
    code_digest,
    find_key,
    key_document,
    new_token,
    operator_document,
)
from service.operator_context import AdminContext
from service.tenants.api_keys import key_id

_SIGN_IN: Final = "/console/sign-in?code="


async def create_operator_link(
    admin: AdminContext, address: str, token: str, *, is_named: bool
) -> str:
    """Return a link to the console at `address` for the operator who has `token`.

    `is_named` is False for `GATEWAY_ADMIN_TOKEN`.
    """
    name = operator_named_by(token) if is_named else None
    link = await _add_code(admin, operator_document(name, operator_token_digest(token)), address)
    await admin.record_action("console.link", name or "GATEWAY_ADMIN_TOKEN")
    return link


async def create_tenant_link(
    admin: AdminContext, address: str, tenant: str, chosen: str | None
) -> str:
    """Return a link to the console at `address` for a tenant with its key of the id `chosen`.

    None: its newest key. Raises `NotFound`: no such tenant, or no such key that is valid.
    """
    key = await find_key(admin, tenant, chosen)
    link = await _add_code(admin, key_document(tenant, key.digest, key.scopes), address)
    await admin.record_action("console.link", f"{tenant}/{key_id(key)}")
    return link


async def _add_code(admin: AdminContext, document: bytes, address: str) -> str:
    code = new_token(admin.ids.secret())
    await admin.stores.console_sessions.add(code_digest(code), document, CODE_LIFETIME)
    return f"{address}{_SIGN_IN}{code}"
