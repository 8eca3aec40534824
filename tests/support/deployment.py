"""Reads the deployment's files with the tools that use them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]


TOOLS: Final = Path(sys.executable).parent


TOKEN: Final = "a-token-that-costs-money"


def run_tool(name: str, *arguments: str, **environment: str) -> str:
    """Run one of the environment's tools and return its output. Its exit code must be 0."""
    done = subprocess.run(
        [TOOLS / name, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True)
class ComposeFile:
    """The compose file with all variables resolved."""

    document: dict[str, Any]

    @property
    def services(self) -> dict[str, dict[str, Any]]:
        """The services by name."""
        return dict(self.document["services"])

    @property
    def gateway_services(self) -> dict[str, dict[str, Any]]:
        """The services that run the gateway's image."""
        return {name: s for name, s in self.services.items() if "gateway" in s["image"]}

    def environment(self, service: str, dotenv: Mapping[str, str] = {}) -> dict[str, str]:
        """The variables of a service's process: from its files, then its own.

        `dotenv` stands for the operator's `.env`.
        """
        found: dict[str, str] = {}
        for file in self.services[service].get("env_file", ()):
            if isinstance(file, dict):
                assert (file["path"], file["required"]) == (".env", False)
                found |= dotenv
                continue
            lines = (ROOT / file).read_text().splitlines()
            found |= dict(line.split("=", 1) for line in lines if line[:1] not in {"", "#"})
        return found | dict(self.services[service].get("environment", {}))


def load_compose(**environment: str) -> ComposeFile:
    """Return docker-compose.yml as podman-compose resolves it; Podman itself is not needed."""
    # `config` runs Podman only for its version, which Python answers where Podman is missing.
    words = ("--podman-path", sys.executable, "config")
    return ComposeFile(yaml.safe_load(run_tool("podman-compose", *words, **environment)))
