"""Operators' tokens, and what roles permit."""

import pytest

from core.observability.logs import redact
from core.operators.operator import (
    Role,
    build_operator_token,
    operator_named_by,
    operator_token_digest,
    permits,
)

TOKEN = build_operator_token("ada-b", b"\1" * 32)


@pytest.mark.parametrize("held", Role)
@pytest.mark.parametrize("needed", Role)
def test_what_a_role_permits(held: Role, needed: Role) -> None:
    expected = needed is Role.READ or held is Role.ALL or held is needed
    assert permits(frozenset({held}), needed) is expected


def test_no_role_permits_nothing() -> None:
    assert not any(permits(frozenset(), role) for role in Role)


def test_several_roles_permit_what_each_does() -> None:
    roles = frozenset({Role.OPERATE, Role.MONEY})
    assert [role for role in Role if permits(roles, role)] == [Role.READ, Role.OPERATE, Role.MONEY]


def test_a_token_names_its_operator() -> None:
    assert operator_named_by(TOKEN) == "ada-b"
    assert len(operator_token_digest(TOKEN)) == 64


@pytest.mark.parametrize(
    "text", ["", "rco_", TOKEN[:-1], TOKEN + "A", TOKEN.lower(), TOKEN.replace("rco", "rcg"), "\n"]
)
def test_what_is_no_token_names_nobody(text: str) -> None:
    assert operator_named_by(text) is None


def test_no_log_line_has_a_token() -> None:
    assert redact(f"bad token {TOKEN}!") == "bad token rco_ada-b_***!"
