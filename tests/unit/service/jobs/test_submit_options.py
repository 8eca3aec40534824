"""The cache options of a submit. The other options are tested through the API."""

from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.errors import MalformedRequest
from core.tenants.cache_policy import CacheOption
from core.webhooks.url_policy import TargetPolicy
from service.api.jobs.parameters import SUBMIT_PARAMETERS
from service.jobs.submit_options import (
    SUBMIT_OPTIONS,
    Deadlines,
    OptionPolicy,
    SubmitOptions,
    parse_options,
)
from tests.support.app import AppHarness

DEADLINES = Deadlines(timedelta(hours=2))
POLICY = OptionPolicy(DEADLINES, DEADLINES, TargetPolicy())


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("", {"cache": None, "dry_run": False}),
        ("cache=use", {"cache": CacheOption.USE}),
        ("cache=refresh", {"cache": CacheOption.REFRESH}),
        ("cache=off", {"cache": CacheOption.OFF}),
        ("dry_run=true", {"dry_run": True}),
        ("dry_run=1", {"dry_run": True}),
        ("dry_run=False", {"dry_run": False}),
        ("dry_run=true&cache=off", {"dry_run": True, "cache": CacheOption.OFF}),
    ],
)
def test_what_is_asked_of_reuse_is_read(query: str, options: dict[str, Any]) -> None:
    assert parse_options(query, POLICY) == SubmitOptions(**options)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("cache=on", "must be one of use, refresh, off"),
        ("cache=Use", "must be one of use, refresh, off"),
        ("cache=", "must be one of use, refresh, off"),
        ("dry_run=", "must be true or false"),
        ("dry_run=2", "must be true or false"),
        ("dryrun=true", "is not an option; did you mean dry_run?"),
    ],
)
def test_a_wrong_wish_is_refused_in_words(query: str, message: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        parse_options(query, POLICY)
    assert [error.message for error in refused.value.fields] == [message]


OPTION_NAMES = set(SUBMIT_OPTIONS)
ITEM_OPTION_NAMES = {name for name, option in SUBMIT_OPTIONS.items() if option.for_items} | {
    "labels"
}


def test_every_option_has_a_field_and_a_parameter() -> None:
    described = {known["name"] for known in SUBMIT_PARAMETERS if known["in"] == "query"}
    assert described == OPTION_NAMES
    assert {one.name for one in fields(SubmitOptions)} == OPTION_NAMES


async def test_an_item_of_a_batch_has_every_option_that_is_meant_for_it(app: AppHarness) -> None:
    async with app.client() as caller:
        document = (await caller.get("/openapi.json")).json()
    item = document["components"]["schemas"]["BatchSubmitItem"]
    assert set(item["properties"]) - {"model_id", "input"} == ITEM_OPTION_NAMES


def test_every_option_of_an_item_is_in_the_docs() -> None:
    page = (Path(__file__).parents[4] / "docs" / "batches.md").read_text()
    assert [name for name in ITEM_OPTION_NAMES if f"`{name}`" not in page] == []
