"""Make a client by each generator, compile it, and run a job with it against a stack.

`python -m tests.generators.run` from the root of the repository, or `make generators`. It installs
the tools into `.generators/`. One line for each generator; exit code 1 if one failed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from simulator.stack import ROOT
from tests.generators.generators import (
    CHEAP,
    GENERATORS,
    Generator,
    GeneratorFailed,
    Workplace,
    install,
)
from tests.support.stack import running_stack

TOOLS: Final = ROOT / ".generators"


def main() -> int:
    """Return 1 if a generator failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="a part of the name of a generator")
    parser.add_argument("--install-cheap", action="store_true", help="install two and stop")
    arguments = parser.parse_args()
    if arguments.install_cheap:
        install(TOOLS, CHEAP)
        return 0
    wanted = [one for one in GENERATORS if (arguments.only or "") in one.name]
    install(TOOLS, wanted)
    with tempfile.TemporaryDirectory() as name:
        return _run(wanted, Path(name))


def _run(wanted: list[Generator], folder: Path) -> int:
    with running_stack(folder / "stack") as stack:
        tenant = stack.create_tenant("generators")
        given = {"GATEWAY_URL": stack.url, "GATEWAY_API_KEY": tenant.key}
        document = folder / "openapi.json"
        document.write_bytes(fetch_description(stack.url))
        failed = 0
        for number, generator in enumerate(wanted):
            at = Workplace(TOOLS, folder / str(number), document)
            at.folder.mkdir()
            told = _try(generator, at, given)
            failed += told is None
        return 1 if failed else 0


def _try(generator: Generator, at: Workplace, given: dict[str, str]) -> str | None:
    """Return what the job printed, or why it was skipped; None: it failed."""
    began = time.monotonic()
    missing = generator.missing(at.tools)
    try:
        told = f"skipped: {missing}" if missing else make_and_run(generator, at, given)
    except GeneratorFailed as error:
        print(f"{generator.name:36} FAILED {error}", flush=True)
        return None
    print(f"{generator.name:36} {time.monotonic() - began:5.0f} s  {told.strip()}", flush=True)
    return told


def make_and_run(generator: Generator, at: Workplace, given: dict[str, str]) -> str:
    """Return what the job printed. Raises `GeneratorFailed`."""
    return at.run(*generator.make(at), **given)


def fetch_description(url: str) -> bytes:
    """Return the gateway's API description."""
    return httpx.get(f"{url}/openapi.json", trust_env=False, timeout=60).raise_for_status().content


if __name__ == "__main__":
    sys.exit(main())
