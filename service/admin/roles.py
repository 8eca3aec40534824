"""The role that each act of an operator needs: one table for the admin API and the command."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from core.operators.operator import Role


class Act(NamedTuple):
    """What an operator can do, as an operation of the admin API and as a command.

    `operation` is its id in the API reference without `admin_`. '' where there is none.
    """

    role: Role
    operation: str
    command: str = ""


ACTS: Final = (
    Act(Role.READ, "list_tenants", "tenant list"),
    Act(Role.READ, "show_tenant", "tenant show"),
    Act(Role.READ, "usage", "tenant usage"),
    Act(Role.READ, "report_usage", "usage report"),
    Act(Role.READ, "", "usage statement"),
    Act(Role.READ, "", "usage reconcile"),
    Act(Role.READ, "list_keys", "key list"),
    Act(Role.READ, "list_requests", "job list"),
    Act(Role.READ, "list_all_requests"),
    Act(Role.READ, "detail"),
    Act(Role.READ, "", "job unreadable"),
    Act(Role.READ, "list_endpoints", "webhook list"),
    Act(Role.READ, "show_endpoint"),
    Act(Role.READ, "list_deliveries", "webhook deliveries"),
    Act(Role.READ, "", "webhook unreadable"),
    Act(Role.READ, "show_limits", "limits show"),
    Act(Role.READ, "list_circuits", "circuit list"),
    Act(Role.READ, "list_doubts", "doubt list"),
    Act(Role.READ, "list_catalogue_changes", "model changes"),
    Act(Role.READ, "list_model_pins", "model pins"),
    Act(Role.READ, "list_operators", "operator list"),
    Act(Role.READ, "audit", "audit list"),
    Act(Role.READ, "export_audit", "audit export"),
    Act(Role.READ, "verify_audit", "audit verify"),
    Act(Role.READ, "", "archive check"),
    Act(Role.READ, "", "console link"),
    Act(Role.OPERATE, "pause", "pause"),
    Act(Role.OPERATE, "resume", "resume"),
    Act(Role.OPERATE, "reset_circuit", "circuit reset"),
    Act(Role.OPERATE, "", "job requeue"),
    Act(Role.OPERATE, "backfill_archive", "archive backfill"),
    Act(Role.OPERATE, "", "archive repair"),
    Act(Role.OPERATE, "", "tenant disable"),
    Act(Role.OPERATE, "delete_tenant", "tenant delete"),
    Act(Role.OPERATE, "create_key", "key create"),
    Act(Role.OPERATE, "revoke_key", "key revoke"),
    # Who may create a key can sign in as its tenant.
    Act(Role.OPERATE, "", "console tenant-link"),
    Act(Role.OPERATE, "rotate_webhook_secret", "webhook rotate"),
    Act(Role.OPERATE, "retire_webhook_secret", "webhook retire"),
    Act(Role.OPERATE, "create_endpoint", "webhook add"),
    Act(Role.OPERATE, "change_endpoint", "webhook enable"),
    Act(Role.OPERATE, "", "webhook disable"),
    Act(Role.OPERATE, "delete_endpoint"),
    Act(Role.OPERATE, "resend_delivery", "webhook resend"),
    Act(Role.OPERATE, "", "webhook requeue"),
    Act(Role.OPERATE, "replay_deliveries", "webhook replay"),
    Act(Role.OPERATE, "test_webhook", "webhook test"),
    Act(Role.MONEY, "create_tenant", "tenant create"),
    Act(Role.MONEY, "change_tenant", "tenant change"),
    Act(Role.MONEY, "add_top_up", "tenant topup"),
    Act(Role.MONEY, "end_top_ups"),
    Act(Role.MONEY, "apply_tenants", "tenant apply"),
    Act(Role.MONEY, "", "tenant enable"),
    Act(Role.MONEY, "change_limits", "limits set"),
    Act(Role.MONEY, "pin_model", "model pin"),
    Act(Role.MONEY, "unpin_model", "model unpin"),
    Act(Role.MONEY, "resolve_doubt", "doubt resolve"),
    Act(Role.ALL, "create_operator", "operator create"),
    Act(Role.ALL, "revoke_operator", "operator revoke"),
    Act(Role.ALL, "", "encryption rewrite"),
    Act(Role.ALL, "", "store show"),
    Act(Role.ALL, "", "store init"),
    Act(Role.ALL, "", "store adopt"),
    Act(Role.ALL, "", "store reconcile"),
    Act(Role.ALL, "", "store replace-journal"),
    Act(Role.ALL, "", "store restored"),
)

ROLE_OF_OPERATION: Final[Mapping[str, Role]] = {
    act.operation: act.role for act in ACTS if act.operation
}
ROLE_OF_COMMAND: Final[Mapping[str, Role]] = {act.command: act.role for act in ACTS if act.command}
COMMANDS_WITHOUT_ROLE: Final = frozenset(
    {"serve", "work", "settings", "doctor", "encryption new-key", "store acl"}
)
"""They read and change nothing in the store for an operator."""
