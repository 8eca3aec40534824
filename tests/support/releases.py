"""The last release, checked out beside this tree, and how its processes are started."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.processes import ROOT

LOCK: Final = "requirements.runtime.lock"


def _git(*words: str) -> bytes | None:
    command = shutil.which("git")
    if command is None:
        return None
    done = subprocess.run([command, *words], cwd=ROOT, capture_output=True, check=False)
    return None if done.returncode else done.stdout


def last_tag() -> str | None:
    """The newest tag `vX.Y.Z` before this commit; None without one, or without git's history."""
    found = _git("describe", "--tags", "--abbrev=0", "--match", "v[0-9]*", "HEAD")
    return None if found is None else found.decode().strip()


@dataclass(frozen=True, slots=True)
class Release:
    """A release's source, and a Python that has what it needs."""

    tag: str
    source: Path
    python: Path

    def command(self, subcommand: str) -> tuple[str, ...]:
        """The command line of `gateway SUBCOMMAND` of this release."""
        # `-P`: the working directory is this tree, whose modules have the same names.
        return (str(self.python), "-P", "-m", "cli.main", subcommand)

    @property
    def environment(self) -> dict[str, str]:
        """Variables for its processes; it may not know the newest settings."""
        return {"PYTHONPATH": str(self.source), "GATEWAY_ALLOW_UNKNOWN_SETTINGS": "true"}

    def file_of(self, module: str) -> Path:
        """The file that its processes import as `module`."""
        script = f"import {module}; print({module}.__file__)"
        words = [str(self.python), "-P", "-c", script]
        environment = {**os.environ, **self.environment}
        done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, check=True)
        return Path(done.stdout.decode().strip())


def check_out(tag: str, folder: Path) -> Release:
    """Write a release's source into `folder`; with an environment if its packages are others.

    Raises:
        subprocess.CalledProcessError: its packages could not be installed.
    """
    source = folder / "source"
    archive = _git("archive", "--format=tar", tag)
    if archive is None:
        raise ValueError(f"git has no {tag}")
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(source, filter="data")
    python = Path(sys.executable)
    if (source / LOCK).read_bytes() != (ROOT / LOCK).read_bytes():
        python = _environment(folder / "venv", source / LOCK)
    return Release(tag, source, python)


def _environment(folder: Path, lock: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin/python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", str(lock)]
    subprocess.run(pip, check=True)
    return python
