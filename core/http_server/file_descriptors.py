"""How many connections the limit of open files allows, with a margin for everything else."""

import resource
from typing import Final, NamedTuple

RESERVED: Final = 64
"""Descriptors kept for Redis, logs, the metrics listener and the interpreter: without them a flood
of connections would also cut the process off from Redis."""

PER_CONNECTION: Final = 2
"""Its socket, and the file that its answer is read from: a caller who does not read keeps both
open. The API reference needs no key."""


class DescriptorPlan(NamedTuple):
    """The soft limit to set, and the connections that it allows."""

    soft_limit: int
    connections: int


def plan_descriptors(wanted: int, soft: int, hard: int) -> DescriptorPlan:
    """Return the plan for `wanted` connections under the limits of open files.

    The soft limit is raised as far as that needs and the hard limit allows.
    """
    if soft == resource.RLIM_INFINITY:
        return DescriptorPlan(soft, wanted)
    needed = PER_CONNECTION * wanted + RESERVED
    highest = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    limit = max(soft, highest)
    return DescriptorPlan(limit, max(1, min(wanted, (limit - RESERVED) // PER_CONNECTION)))


def available_connections(wanted: int) -> int:
    """Raise the soft limit of open files if needed; return the possible number of connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    plan = plan_descriptors(wanted, soft, hard)
    if plan.soft_limit != soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (plan.soft_limit, hard))
    return plan.connections
