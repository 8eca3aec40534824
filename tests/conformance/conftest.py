"""One stack for all tests: a simulated RunComfy, and the gateway in front of it."""

from collections.abc import Iterator

import httpx
import pytest

from simulator.stack import Stack
from tests.conformance.runcomfy_client import RunComfyClient
from tests.support.stack import HTTP_TIMEOUT, create_tenant, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The processes. A worker polls often, so that no test waits for it."""
    with running_stack(tmp_path_factory.mktemp("conformance")) as stack:
        yield stack


@pytest.fixture(scope="session")
def tokens(stack: Stack) -> dict[str, str]:
    """Each API's token: the simulated RunComfy accepts any, the gateway a tenant's key."""
    return {"runcomfy": "any-token", "gateway": create_tenant(stack, "conformance").key}


@pytest.fixture(params=["documented", "alternative"])
def words(request: pytest.FixtureRequest, stack: Stack) -> Iterator[str]:
    """The status words that the simulated RunComfy uses."""
    _set_words(stack, request.param)
    yield request.param
    _set_words(stack, "documented")


@pytest.fixture(params=["runcomfy", "gateway"])
def client(
    request: pytest.FixtureRequest, stack: Stack, tokens: dict[str, str]
) -> Iterator[RunComfyClient]:
    """A client of each API: nothing but the base URL and the token differs."""
    base_url = stack.runcomfy_url if request.param == "runcomfy" else stack.url
    headers = {"Authorization": f"Bearer {tokens[request.param]}"}
    timeout = HTTP_TIMEOUT.total_seconds()
    with httpx.Client(base_url=base_url, headers=headers, timeout=timeout, trust_env=False) as http:
        yield RunComfyClient(http)


def _set_words(stack: Stack, words: str) -> None:
    url = f"{stack.runcomfy_url}/_sim/words"
    httpx.post(url, json={"words": words}, trust_env=False).raise_for_status()
