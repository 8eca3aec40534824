"""What a job's steps work with: every way out of the lifecycle, as ports."""

from dataclasses import dataclass

from core.clock import Clock
from core.events import Emit
from core.ids import IdSource
from worker.decisions.moves import Rules
from worker.ports import Gate, Jobs, Setups, Tenants, Upstream


@dataclass(frozen=True, slots=True)
class Hands:
    """What the lifecycle works with. `name` is this worker's own, unlike any other's."""

    name: str
    jobs: Jobs
    tenants: Tenants
    webhooks: Setups
    upstream: Upstream
    gate: Gate
    clock: Clock
    ids: IdSource
    emit: Emit
    rules: Rules
