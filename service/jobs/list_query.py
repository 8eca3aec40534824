"""The query of a tenant's job list."""

from datetime import datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from core.jobs.job import PublicStatus
from core.jobs.query import DEFAULT_JOBS_PER_PAGE, MAX_JOBS_PER_PAGE, Cursor, JobQuery
from core.labels import Labels
from service.parsing.fields import MAX_REFERENCE_LENGTH, InvalidField, parse_printable
from service.parsing.labels import LABEL_SCHEMA, parse_label_option
from service.parsing.request_models import RequestModel, Timestamp, WholeNumberOption, optional


def _parse_cursor(text: object) -> Cursor:
    try:
        return Cursor.parse(str(text))
    except ValueError as error:
        raise InvalidField("must be the next_cursor of a previous page") from error


_Name = Annotated[
    str,
    AfterValidator(parse_printable),
    Field(json_schema_extra={"minLength": 1, "maxLength": MAX_REFERENCE_LENGTH}),
]


def _parse_labels(value: object) -> Labels:
    texts = value if isinstance(value, list | tuple) else [value]
    return parse_label_option(",".join(map(str, texts)))


_Labels = Annotated[Labels, BeforeValidator(_parse_labels), WithJsonSchema(LABEL_SCHEMA)]
_Cursor = Annotated[
    Cursor, BeforeValidator(_parse_cursor), WithJsonSchema({"type": "string", "minLength": 1})
]


class JobListQuery(RequestModel):
    """Filters, which are combined with *and*, and the page."""

    status: PublicStatus | None = optional("Only requests with this status.")
    model_id: _Name | None = optional("Only requests of this model.")
    reference: _Name | None = optional("Only requests with this `reference`.")
    label: _Labels = Field((), description="Only requests with all of these labels: `key:value`.")
    created_after: Timestamp | None = optional("Created at this time or later.")
    created_before: Timestamp | None = optional("Created before this time.")
    limit: Annotated[int, WholeNumberOption(1, MAX_JOBS_PER_PAGE)] = Field(
        DEFAULT_JOBS_PER_PAGE, description="Page size."
    )
    cursor: _Cursor | None = optional("`next_cursor` of the previous page.")

    @field_validator("created_before")
    @classmethod
    def _is_after_its_start(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("created_after")
        if value is not None and start is not None and start >= value:
            raise InvalidField("must be later than created_after")
        return value

    def job_query(self) -> JobQuery:
        """Return the query as the stores take it."""
        fields = dict(self)
        return JobQuery(labels=fields.pop("label"), **fields)
