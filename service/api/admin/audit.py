"""Operators: the audit log."""

from typing import Annotated, Any, Final

from fastapi import Query
from starlette.responses import Response, StreamingResponse

from service.admin.audit import check_log_name, export_log, verify_log
from service.admin.representations import verification_representation
from service.api.admin.router import admin_router
from service.api.admin.schemas import Audit, AuditLogQuery, AuditQuery, AuditVerification
from service.http.dependencies import Admin
from service.http.openapi import Responses, Tag, problem_responses

router = admin_router(Tag.ADMIN_OPERATORS)
_JSON_LINES: Final = "application/jsonl"
_EXAMPLE_LINE: Final = (
    '{"entry":{"at":"2025-11-22T14:58:34Z","actor":"operator:ada",…},"previous":"","digest":"9f…"}'
)
_EXPORT: Final[Responses] = {
    200: {
        "description": "One record per line, oldest first.",
        "content": {_JSON_LINES: {"schema": {"type": "string"}, "example": _EXAMPLE_LINE}},
    }
}


@router.get("/audit", response_model=Audit, responses=problem_responses(400), name="audit")
async def list_audit_entries(admin: Admin, query: Annotated[AuditQuery, Query()]) -> dict[str, Any]:
    """List what operators did, newest first.

    With `tenant`: what the tenant itself did with its keys.
    """
    check_log_name(query.tenant)
    return {"entries": await admin.stores.audit.list_entries(query.limit, query.tenant)}


@router.get(
    "/audit/export",
    response_class=StreamingResponse,
    responses={**_EXPORT, **problem_responses(400)},
)
async def export_audit(admin: Admin, query: Annotated[AuditLogQuery, Query()]) -> Response:
    """Export the audit log.

    As JSON lines, oldest first: `entry`, `previous` and `digest`, the SHA-256 of `previous`, a line
    feed and `entry`.
    """
    check_log_name(query.tenant)
    return StreamingResponse(export_log(admin, query.tenant), media_type=_JSON_LINES)


@router.get("/audit/verify", response_model=AuditVerification, responses=problem_responses(400))
async def verify_audit(admin: Admin, query: Annotated[AuditLogQuery, Query()]) -> dict[str, Any]:
    """Find out whether the audit log was changed.

    Every record holds the digest of the one before. Keep an export elsewhere and compare it with
    `gateway audit verify --export FILE`: who can write to Redis can compute a whole new chain.
    """
    check_log_name(query.tenant)
    return verification_representation(await verify_log(admin, query.tenant))
