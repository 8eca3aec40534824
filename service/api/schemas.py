"""The error that callers read, and the headers of every submit, for the API's description."""

from typing import Annotated, Final

from pydantic import Field, WithJsonSchema

from core.jobs.job import BillingStatus
from core.quotas import QuotaPolicy
from service.parsing.request_models import Document, optional, without_null


class _FieldProblem(Document):
    path: str
    message: str


class Problem(Document):
    """An error (RFC 9457)."""

    type: Annotated[str, WithJsonSchema({"type": "string", "format": "uri"})]
    title: str
    status: int
    detail: str
    code: str = Field(description="A stable word; `docs/errors.md` lists them.")
    retryable: bool
    billed: BillingStatus
    request_id: str | None = optional()
    errors: list[_FieldProblem] | None = optional()
    violated_policies: list[QuotaPolicy] | None = Field(
        None, alias="violated-policies", json_schema_extra=without_null
    )
    retry_after: int | None = optional("Seconds; of an item of a batch.")


RATELIMIT_HEADERS: Final = {
    "RateLimit-Policy": {
        "description": "The tenant's limits (draft-ietf-httpapi-ratelimit-headers-11).",
        "schema": {"type": "string"},
        "example": '"requests-per-minute";q=60;w=60, "usd-per-day";q=25000000;qu="microdollars";'
        "w=86400",
    },
    "RateLimit": {
        "description": "What is left of each.",
        "schema": {"type": "string"},
        "example": '"requests-per-minute";r=59;t=1, "usd-per-day";r=24370000;t=32486',
    },
}
