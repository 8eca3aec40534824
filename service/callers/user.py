"""Who calls the API's operations in this process: from a page of the console, or by MCP."""

from dataclasses import dataclass, replace
from typing import Final

from core.operators.operator import permits
from core.tenants.api_keys import Credential, Scope
from service.admin.operators import Login
from service.admin.roles import ROLE_OF_OPERATION
from service.http.scopes import SCOPE_OF_OPERATION

ADMIN_PREFIX: Final = "admin_"
"""Of the ids of operators' operations."""


@dataclass(frozen=True, slots=True)
class User:
    """Who calls: a tenant by a key, or an operator. `csrf` and what follows: of a session."""

    identity: Credential | Login
    scopes: frozenset[Scope] = frozenset()
    """Those of the key."""
    csrf: str = ""
    operator: str | None = None
    token_digest: str = ""
    """Of an operator's token."""

    @property
    def is_operator(self) -> bool:
        """Return whether an operator is signed in."""
        return isinstance(self.identity, Login)

    @property
    def tenant(self) -> str:
        """The tenant of the key; "" for an operator."""
        return self.identity.tenant if isinstance(self.identity, Credential) else ""

    @property
    def name(self) -> str:
        """The name that the audit log has."""
        return self.identity.actor

    def uncounted(self) -> "User":
        """Return the same user, whose reads do not count in the tenant's rates of calls."""
        if isinstance(self.identity, Login):
            return self
        return replace(self, identity=replace(self.identity, is_counted=False))

    def may(self, operation: str) -> bool:
        """Return whether the API lets this user call the operation with this id."""
        if isinstance(self.identity, Login):
            needed = ROLE_OF_OPERATION.get(operation.removeprefix(ADMIN_PREFIX))
            is_admin = operation.startswith(ADMIN_PREFIX)
            return is_admin and needed is not None and permits(self.identity.roles, needed)
        return SCOPE_OF_OPERATION.get(operation) in self.scopes
