"""Records of operators' actions: pauses."""

from dataclasses import dataclass
from typing import Final

EVERYTHING: Final = "all"


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause of dispatching: of all jobs (`all`), a tenant (`tenant:x`) or a model (`model:y`)."""

    target: str

    @classmethod
    def everything(cls) -> "Pause":
        """Return the pause of all dispatching."""
        return cls(EVERYTHING)

    @classmethod
    def tenant(cls, name: str) -> "Pause":
        """Return the pause of one tenant's jobs."""
        return cls(f"tenant:{name}")

    @classmethod
    def model(cls, model_id: str) -> "Pause":
        """Return the pause of one model's jobs."""
        return cls(f"model:{model_id}")

    @property
    def tenant_name(self) -> str | None:
        """The paused tenant, if it is the pause of one tenant."""
        kind, _, name = self.target.partition(":")
        return name if kind == "tenant" else None
