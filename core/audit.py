"""What operators did: who, when, to what. Values only."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act of an operator. `change` is a sentence without secrets."""

    at: datetime
    actor: str
    action: str
    subject: str
    change: str = ""
