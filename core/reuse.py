"""What a submit found of its like, so that it need not be paid for again. Words only."""

from enum import StrEnum


class Reuse(StrEnum):
    """What answers say in `Gateway-Cache`; the last is said by `Idempotency-Replayed`."""

    HIT = "hit"
    """A result of the same input was there."""
    JOINED = "joined"
    """A paid job of the same input was under way."""
    MISS = "miss"
    """Nothing was: a job of its own."""
    OFF = "off"
    """Nothing was looked for."""
    REPLAYED = "replayed"
    """The same `Idempotency-Key`: the first answer again, no new job."""
