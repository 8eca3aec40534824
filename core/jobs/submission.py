"""What a job's record keeps beside the job for its submit. Values only."""

from dataclasses import dataclass

from core.money import MicroUsd


@dataclass(frozen=True, slots=True)
class IdempotencyRecord:
    """An idempotency key by its digest, and the fingerprint of the request that used it first."""

    digest: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Submission:
    """The input of a job, and what is needed to store the job again."""

    input: bytes
    """The body that the caller sent, byte for byte."""
    reserved: MicroUsd
    """What the job's admission reserved."""
    keeps_input: bool = True
    """Whether the tenant lets inputs be kept."""
    idempotency: IdempotencyRecord | None = None
    """What `Idempotency-Key` admitted the job, or its batch; None for none."""
