"""The person whom an authenticating proxy names, and what that person's groups may do. Pure.

The headers are believed from trusted proxies alone. A proxy that adds its header beside one of the
caller's would let callers name themselves: a header that comes twice names no person.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

from starlette.datastructures import Headers

from core.operators.operator import Role
from core.tenants.api_keys import KEY_ID_LENGTH
from core.tenants.tenant import NAME_PATTERN
from service.parsing.forwarded import TrustedProxies

HEADER_PATTERN: Final = r"[A-Za-z0-9-]{1,64}"
_PERSON: Final = re.compile(r"[!-+\--:<-~]{1,128}")
"""Printable ASCII without spaces, commas and semicolons: the name goes into the audit log."""
_GRANT: Final = re.compile(
    rf"role:(?P<role>{'|'.join(Role)})"
    rf"|tenant:(?P<tenant>{NAME_PATTERN})(?:/(?P<key_id>[0-9a-f]{{{KEY_ID_LENGTH}}}))?"
)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a group may do: act as an operator with a role, or as a tenant.

    `key_id`: the key with which it acts as the tenant; None: the newest one.
    """

    role: Role | None = None
    tenant: str = ""
    key_id: str | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `role:NAME`, `tenant:NAME` or `tenant:NAME/KEY_ID`. Raises `ValueError`."""
        found = _GRANT.fullmatch(text)
        if found is None:
            raise ValueError(f"must be role:NAME or tenant:NAME, not {text[:100]}")
        role = found["role"]
        return cls(Role(role) if role else None, found["tenant"] or "", found["key_id"])

    @property
    def choice(self) -> str:
        """What a person chooses at the sign-in: the tenant, with the key's id if it has one."""
        return self.tenant if self.key_id is None else f"{self.tenant}/{self.key_id}"


@dataclass(frozen=True, slots=True)
class Identity:
    """A person, and what their groups may do: `tenants` has the grants by `Grant.choice`."""

    person: str
    roles: frozenset[Role] = frozenset()
    tenants: Mapping[str, Grant] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """The headers that name a person and the person's groups, and what each group may do."""

    header: str = ""
    """'': no person signs in by a proxy."""
    groups_header: str = ""
    grants: Mapping[str, Grant] = field(default_factory=dict)

    def identity_of(
        self, headers: Headers, peer: str | None, proxies: TrustedProxies
    ) -> Identity | None:
        """Return whom `peer`, the address of the connection, names; None unless it is trusted."""
        if not self.header or peer is None or not proxies.contains(peer):
            return None
        persons, groups = headers.getlist(self.header), headers.getlist(self.groups_header)
        if len(persons) != 1 or len(groups) > 1 or _PERSON.fullmatch(persons[0]) is None:
            return None
        names = [name.strip() for text in groups for name in text.split(",")]
        grants = [self.grants[name] for name in names if name in self.grants]
        return Identity(
            persons[0],
            frozenset(grant.role for grant in grants if grant.role is not None),
            {grant.choice: grant for grant in grants if grant.tenant},
        )
