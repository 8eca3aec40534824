"""The check of an input against a pin whose model has changed since."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from core.clock import iso
from core.errors import FieldError
from core.models.changes import ModelChange
from core.models.pins import ModelPin, is_touched
from service.errors import PinnedModelChanged


@dataclass(frozen=True, slots=True)
class PinState:
    """A pin, and what RunComfy has changed since that can change what an input means."""

    pin: ModelPin
    changes: tuple[ModelChange, ...]

    def check(self, value: Mapping[str, object], errors: Iterable[FieldError]) -> None:
        """Raise `PinnedModelChanged` if one of the changes concerns this input.

        `errors` are the input's by the model's present schema.
        """
        wrong = frozenset(error.path.split("/")[1] if error.path else "" for error in errors)
        touching = [one for one in self.changes if is_touched(one, self.pin, value, wrong)]
        if touching:
            raise self._error(touching)

    def describe(self) -> str:
        """Return the changes for operators."""
        who = f"for the tenant {self.pin.tenant} " if self.pin.tenant else ""
        named = "; ".join(map(describe_change, self.changes))
        return f"{self.pin.model_id} is pinned {who}and has changed since: {named}."

    def _error(self, changes: list[ModelChange]) -> PinnedModelChanged:
        named = "; ".join(map(describe_change, changes))
        fields = tuple(FieldError(f"/{one.subject}", describe_change(one)) for one in changes)
        at: datetime = self.pin.pinned_at
        return PinnedModelChanged(
            f"{self.pin.model_id} is pinned as it was at {iso(at)}, and RunComfy has changed it in "
            f"a way that concerns this input: {named}. An operator can pin it as it is now.",
            fields=fields if all(one.subject for one in changes) else (),
        )


def describe_change(change: ModelChange) -> str:
    """Return a change for people: `duration: default changed (5 -> 10)`."""
    what = change.kind.replace("_", " ")
    detail = f" ({change.detail})" if change.detail else ""
    return f"{change.subject}: {what}{detail}" if change.subject else f"{what}{detail}"
