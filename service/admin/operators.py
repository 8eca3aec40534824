"""Use cases of operators: create, list, revoke, and find out who calls."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from core.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    NotPermitted,
    StoreUnknown,
    Unauthenticated,
)
from core.operators.operator import (
    OPERATOR_NAME_PATTERN,
    Operator,
    OperatorUsage,
    Role,
    build_operator_token,
    operator_named_by,
    operator_token_digest,
    permits,
)
from service.operator_context import AdminContext

_NAME: Final = re.compile(OPERATOR_NAME_PATTERN)
_ACTOR_PREFIX: Final = "operator:"


@dataclass(frozen=True, slots=True)
class Login:
    """Who acts, as the audit log has it, and what they may do."""

    actor: str
    roles: frozenset[Role]

    def check(self, needed: Role) -> None:
        """Raise `NotPermitted` without the role `needed`."""
        if not permits(self.roles, needed):
            held = ", ".join(sorted(self.roles))
            raise NotPermitted(f"This needs the role {needed}; {self.actor} has {held}.")


async def create_operator(
    admin: AdminContext, name: str, roles: frozenset[Role], expires_at: datetime | None
) -> tuple[str, Operator]:
    """Create an operator, and return the token, which is shown once, with the record.

    Raises `InvalidInput`, and `Conflict` for a taken name.
    """
    now = admin.clock.now()
    if _NAME.fullmatch(name) is None:
        raise InvalidInput("An operator's name is of lower-case letters, digits and inner hyphens.")
    if not roles:
        raise InvalidInput("An operator needs at least one role.")
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("expires_at must be in the future.")
    token = build_operator_token(name, admin.ids.secret())
    operator = Operator(name, operator_token_digest(token), roles, now, admin.actor, expires_at)
    if not await admin.stores.operators.add(operator):
        raise Conflict(f"There is an operator {name} already, or there are too many: revoke one.")
    expiry = "never" if expires_at is None else expires_at.isoformat()
    await admin.record_action(
        "operator.create", name, f"roles {','.join(sorted(roles))}; expires {expiry}"
    )
    return token, operator


async def list_operators(admin: AdminContext) -> Sequence[OperatorUsage]:
    """Return every operator by name, those whose token has expired too."""
    return await admin.stores.operators.list_all()


async def revoke_operator(admin: AdminContext, name: str) -> None:
    """Revoke an operator's token with immediate effect. Raises `NotFound`."""
    is_name = _NAME.fullmatch(name) is not None
    if not is_name or not await admin.stores.operators.revoke(name):
        raise NotFound("There is no operator of this name.")
    await admin.record_action("operator.revoke", name)


async def log_in(admin: AdminContext, token: str) -> Login:
    """Return whose token it is. Raises `Unauthenticated`: unknown, revoked or expired.

    Raises `StoreUnknown` for an unknown token if the store has lost everything, or is another one.
    """
    name = operator_named_by(token)
    return await log_in_by_digest(admin, name, operator_token_digest(token))


async def log_in_by_digest(admin: AdminContext, name: str | None, digest: str) -> Login:
    """As `log_in`, of the operator that the token names and the token's digest."""
    operator = None if name is None else await admin.stores.operators.find(name, digest)
    if operator is None and name is not None and await admin.stores.identity.load() is None:
        raise StoreUnknown
    if operator is None or operator.is_expired(admin.clock.now()):
        raise Unauthenticated("An operator's token is needed: `Authorization: Bearer …`.")
    return Login(f"{_ACTOR_PREFIX}{operator.name}", operator.roles)


def acting_as(admin: AdminContext, login: Login, address: str = "") -> AdminContext:
    """Return the context of what `login` does."""
    return replace(admin, actor=login.actor, address=address)
