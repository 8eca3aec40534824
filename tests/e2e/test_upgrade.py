"""Two releases that follow each other run side by side: docs/upgrading.md, "The rule"."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from simulator.stack import ManagedProcess, Stack
from tests.support.releases import Release, check_out, last_tag
from tests.support.stack import TenantClient, running_stack, tenant_client

TAG: Final = last_tag()
pytestmark = pytest.mark.skipif(  # until the first release there is nothing to compare with
    TAG is None, reason="there is no tag vX.Y.Z yet"
)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """The last release."""
    assert TAG is not None
    return check_out(TAG, tmp_path_factory.mktemp("release"))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """A stack of this tree."""
    with running_stack(tmp_path) as stack:
        yield stack


def replace_by(
    process: ManagedProcess, command: tuple[str, ...], environment: Mapping[str, str]
) -> None:
    """Stop a process, and start another in its place."""
    process.stop()
    process.command, process.environment = command, environment
    process.start()
    process.wait_until_ready()


def replace_by_release(process: ManagedProcess, release: Release) -> None:
    """Replace a process by the same of the release."""
    environment = {**process.environment, **release.environment}
    replace_by(process, release.command(process.command[-1]), environment)


def assert_a_request_is_served_and_paid_once(caller: TenantClient) -> None:
    paid = caller.paid_submits()
    assert caller.wait_for_end(caller.submitted()) == "completed"
    assert caller.paid_submits() == paid + 1


def test_the_releases_processes_are_the_releases(release: Release) -> None:
    for module in ("core.settings.definitions", "service.app", "worker.main"):
        assert release.file_of(module).is_relative_to(release.source)


@pytest.mark.parametrize("kind", ["service", "worker"])
def test_one_process_of_the_last_release_beside_one_of_this(
    release: Release, stack: Stack, kind: str
) -> None:
    old = {"service": stack.services, "worker": stack.workers}[kind][0]
    replace_by_release(old, release)
    stack.services[0].wait_until_ready("/readyz?for=submit")
    with tenant_client(stack, "upgrade", cache="off") as caller:
        assert_a_request_is_served_and_paid_once(caller)


def test_what_one_release_wrote_the_other_goes_on_with(release: Release, stack: Stack) -> None:
    processes = (*stack.workers, *stack.services)
    own = [(one, one.command, one.environment) for one in processes]
    with tenant_client(stack, "upgrade", cache="off") as caller:
        for process in processes:
            written = caller.submitted()
            replace_by_release(process, release)
            assert caller.wait_for_end(written) == "completed"
        for process, command, environment in own:
            written = caller.submitted()
            replace_by(process, command, environment)
            assert caller.wait_for_end(written) == "completed"
        assert_a_request_is_served_and_paid_once(caller)
