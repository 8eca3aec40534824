"""Whether RunComfy charges for runs that it refuses or fails, learned from their costs. Pure."""

from dataclasses import dataclass
from typing import Final

from core.jobs.job import BillingStatus, Job, JobState

RUN_FAILED_CODE: Final = "upstream_failed"
"""The error of a job whose run RunComfy ended as failed: a policy refusal, or a failure."""
_CHARGED: Final = {BillingStatus.YES: True, BillingStatus.NO: False}


@dataclass(frozen=True, slots=True)
class RefusalCosts:
    """How many of a model's failed runs with a known cost were charged, and how many were free."""

    charged: int = 0
    free: int = 0

    @property
    def charges(self) -> BillingStatus:
        """`yes` if one was charged, `no` if all were free, `unknown` before the first."""
        if self.charged:
            return BillingStatus.YES
        return BillingStatus.NO if self.free else BillingStatus.UNKNOWN


NO_REFUSALS: Final = RefusalCosts()


def refusal_charged(before: Job, after: Job) -> bool | None:
    """Return whether the failed run of a job was charged, at the write that settles its cost.

    None for every other write: each run counts once, and by the job that paid for it.
    """
    is_settled = after.cost is not None and before.cost is None
    run_failed = (
        after.state is JobState.FAILED
        and after.error is not None
        and after.error.code == RUN_FAILED_CODE
    )
    if not is_settled or not run_failed or after.leader is not None:
        return None
    return _CHARGED.get(after.billed)
