"""Operators' records: pauses and the audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

EVERYTHING: Final = "all"


@dataclass(frozen=True, slots=True)
class Pause:
    """What is paused: everything (`all`), one tenant (`tenant:x`) or one model (`model:y`)."""

    target: str

    @classmethod
    def everything(cls) -> "Pause":
        """All dispatching."""
        return cls(EVERYTHING)

    @classmethod
    def tenant(cls, name: str) -> "Pause":
        """One tenant's jobs."""
        return cls(f"tenant:{name}")

    @classmethod
    def model(cls, model_id: str) -> "Pause":
        """One model's jobs."""
        return cls(f"model:{model_id}")

    @property
    def tenant_name(self) -> str | None:
        """The tenant whose jobs it stops, if it stops one's."""
        kind, _, name = self.target.partition(":")
        return name if kind == "tenant" else None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act of an operator. `change` is a sentence without secrets."""

    at: datetime
    actor: str
    action: str
    subject: str
    change: str = ""
