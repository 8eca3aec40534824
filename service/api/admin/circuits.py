"""Operators: the circuit breakers for submits to RunComfy."""

from typing import Any

from service.admin import circuits, representations
from service.api.admin.router import WRITE_PROBLEMS, admin_router
from service.api.admin.schemas import CircuitName, Circuits
from service.http.dependencies import Admin
from service.http.openapi import Tag

router = admin_router(Tag.ADMIN_LIMITS_AND_PAUSES)


@router.get("/circuits", response_model=Circuits)
async def list_circuits(admin: Admin) -> dict[str, Any]:
    """List the circuit breakers for submits.

    The account's and the balance's, and those of models with problems.
    """
    return representations.circuits_representation(await circuits.list_circuits(admin))


@router.post("/circuits/reset", response_model=Circuits, responses=WRITE_PROBLEMS)
async def reset_circuit(admin: Admin, target: CircuitName) -> dict[str, Any]:
    """Close a circuit breaker.

    The jobs that wait for it go on immediately. If RunComfy refuses again, it opens again: no job
    fails for that.
    """
    return representations.circuits_representation(
        await circuits.reset_circuit(admin, target.circuit)
    )
