"""Clients made by generators of others, and a job with each, against a real gateway."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simulator.stack import Stack
from tests.generators.generators import GENERATORS, Generator, Workplace
from tests.generators.run import TOOLS, fetch_description, make_and_run
from tests.support.stack import create_tenant, running_stack

CASES = [
    pytest.param(
        one,
        id=one.name,
        marks=pytest.mark.skipif(  # Java, Go and npm are not on a bare Debian
            one.missing(TOOLS) is not None, reason=f"{one.name}: {one.missing(TOOLS)}"
        ),
    )
    for one in GENERATORS
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for all generators."""
    with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest.fixture(scope="module")
def given(stack: Stack) -> dict[str, str]:
    """The variables of a tenant's programs."""
    tenant = create_tenant(stack, "generators")
    return {"GATEWAY_URL": stack.url, "GATEWAY_API_KEY": tenant.key}


@pytest.mark.timeout(900)  # generating and compiling on a busy machine
@pytest.mark.parametrize("generator", CASES)
def test_a_generated_client_compiles_and_runs_a_job(
    stack: Stack, given: dict[str, str], generator: Generator, tmp_path: Path
) -> None:
    document = tmp_path / "openapi.json"
    document.write_bytes(fetch_description(stack.url))
    at = Workplace(TOOLS, tmp_path / "work", document)
    at.folder.mkdir()
    assert "completed" in make_and_run(generator, at, given)
