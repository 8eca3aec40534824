"""The arguments of the admission script."""

from dataclasses import replace
from datetime import timedelta

import pytest

from core.jobs.timeline import admitted_entry
from core.store.admission import AdmissionScriptCall, admission_arguments
from core.store.booking import DEFAULT_USAGE_RETENTION
from core.store.codecs import TIMELINE_ENTRY_CODEC
from core.tenants.windows import UTC_CALENDAR
from tests.support.records import NOW
from tests.support.store_steps import admission_of, new_job


@pytest.mark.parametrize("microseconds", [0, 5, 120_000, 999_999])
def test_the_first_timeline_entry_is_as_its_codec_writes_it(microseconds: int) -> None:
    at = NOW + timedelta(microseconds=microseconds)
    job = replace(new_job(at), created_at=at)
    call = AdmissionScriptCall((admission_of(job),), DEFAULT_USAGE_RETENTION)
    written = TIMELINE_ENTRY_CODEC.encode(admitted_entry(at))
    assert written in admission_arguments(call, UTC_CALENDAR, at + timedelta(seconds=1))
