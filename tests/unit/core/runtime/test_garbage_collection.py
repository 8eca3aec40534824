"""What a handled error no longer holds; when nothing is collected."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from core.runtime.garbage_collection import drop_frames, without_collection


class Body:
    """Something large that a frame holds."""


@pytest.fixture(autouse=True)
def without_collections() -> Iterator[None]:
    """Only the number of references ends an object here."""
    gc.disable()
    yield
    gc.enable()


def raise_from_a_variable(_: Body) -> None:
    refusal = ValueError("refused")
    raise refusal


def raise_with_a_cause(body: Body) -> None:
    try:
        raise_from_a_variable(body)
    except ValueError as error:
        raise RuntimeError from error


@pytest.mark.parametrize("fail", [raise_from_a_variable, raise_with_a_cause])
def test_what_an_error_that_was_raised_from_a_variable_held_is_free(fail: object) -> None:
    body = Body()
    alive = weakref.ref(body)
    assert callable(fail)
    try:
        fail(body)
    except (ValueError, RuntimeError) as error:
        drop_frames(error)
    del body
    assert alive() is None


def test_collections_go_on_after_the_body() -> None:
    gc.enable()
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
