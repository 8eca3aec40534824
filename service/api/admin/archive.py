"""Operators: keep outputs of requests that have ended."""

from service.admin.archive import BackfillRequest, BackfillResult, backfill_outputs
from service.api.admin.router import WRITE_PROBLEMS, admin_router
from service.http.dependencies import Admin
from service.http.openapi import Tag

router = admin_router(Tag.ADMIN_REQUESTS)


@router.post("/archive/backfill", response_model=BackfillResult, responses=WRITE_PROBLEMS)
async def backfill_archive(admin: Admin, request: BackfillRequest) -> BackfillResult:
    """Keep the outputs of requests that have ended.

    Whatever the mode in force; also those that were given up. Workers fetch what RunComfy has not
    deleted yet, and `request.archived` is sent for each.
    """
    return await backfill_outputs(admin, request)
