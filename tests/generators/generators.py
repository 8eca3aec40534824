"""Tools of others that make a client of the API description: how each is installed and called."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.typescript import PACKAGE

PROGRAMS: Final = Path(__file__).parent / "programs"
PYTHON_TOOLS: Final = (
    "openapi-python-client==0.29.1",
    # What the Python client of openapi-generator imports.
    "pydantic>=2",
    "python-dateutil>=2.8.2",
    "typing-extensions>=4.7.1",
    "urllib3>=2.1",
)
JAR: Final = "openapi-generator-cli-7.25.0.jar"
ARTIFACT: Final = "org.openapitools:openapi-generator-cli:7.25.0"
TIMEOUT_SECONDS: Final = 280
_TAIL: Final = 2000
_STRICT: Final = ("--strict", "--skipLibCheck", "--target", "es2022", "--module", "nodenext")
_TYPES: Final = ("--types", "node", "--lib", "es2022,dom,dom.iterable")


class GeneratorFailed(Exception):
    """A command of a generator failed; the text has the end of its output."""


@dataclass(frozen=True)
class Workplace:
    """Where one client is made: of `document`, in the empty `folder`, with the `tools`."""

    tools: Path
    folder: Path
    document: Path

    @property
    def client(self) -> Path:
        """Where the generated files go."""
        return self.folder / "client"

    def run(self, *command: str | Path, **environment: str) -> str:
        """Return what a command prints. Raises `GeneratorFailed`."""
        path = f"{self.tools / 'python' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            command,
            cwd=self.folder,
            env={**os.environ, "PATH": path, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=TIMEOUT_SECONDS,
        )
        if done.returncode != 0:
            raise GeneratorFailed(f"{command[0]}: {done.returncode}\n{done.stdout[-_TAIL:]}")
        return done.stdout


@dataclass(frozen=True)
class Generator:
    """One tool. `make` generates and compiles, and returns the command that runs a job."""

    name: str
    commands: Sequence[str]
    tool: Callable[[Path], Path]
    make: Callable[[Workplace], Sequence[str | Path]]

    def missing(self, tools: Path) -> str | None:
        """Return what this machine lacks; None: the generator can be run."""
        lacking = [name for name in self.commands if shutil.which(name) is None]
        if lacking:
            return f"{', '.join(lacking)}: not installed"
        return None if self.tool(tools).exists() else "`make generators` has not installed it"


def install(tools: Path, wanted: Sequence[Generator]) -> None:
    """Install what is missing and can be had. What cannot is told by `Generator.missing`."""
    tools.mkdir(parents=True, exist_ok=True)
    for generator in wanted:
        if generator.tool(tools).exists():
            continue
        for command in _INSTALLATIONS[generator.tool](tools):
            if shutil.which(command[0]) is None or subprocess.run(command, check=False).returncode:
                break


def _python(tools: Path) -> Path:
    return tools / "python" / "bin" / "openapi-python-client"


def _jar(tools: Path) -> Path:
    return tools / JAR


def _node(_tools: Path) -> Path:
    return PACKAGE / "node_modules" / "openapi-fetch"


def _install_python(tools: Path) -> Sequence[Sequence[str]]:
    folder = tools / "python"
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check")
    return (
        (sys.executable, "-m", "venv", str(folder)),
        (*pip, "install", "--quiet", *PYTHON_TOOLS),
    )


def _install_jar(tools: Path) -> Sequence[Sequence[str]]:
    options = (f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={tools}")
    return (("mvn", "--quiet", "dependency:copy", *options),)


def _install_node(_tools: Path) -> Sequence[Sequence[str]]:
    return (("npm", "ci", "--prefix", str(PACKAGE), "--ignore-scripts", "--no-audit"),)


_INSTALLATIONS: Final = {_python: _install_python, _jar: _install_jar, _node: _install_node}


def _make_python_client(at: Workplace) -> Sequence[str | Path]:
    settings = at.folder / "settings.json"
    settings.write_text(json.dumps({"package_name_override": "generated"}))
    options = ("--path", at.document, "--output-path", at.client, "--config", settings)
    at.run(_python(at.tools), "generate", *options)
    return _python_command(at, "openapi_python_client.py")


def _make_openapi_generator_python(at: Workplace) -> Sequence[str | Path]:
    _openapi_generator(at, "python", "packageName=rcgw")
    return _python_command(at, "openapi_generator.py")


def _python_command(at: Workplace, program: str) -> Sequence[str | Path]:
    python = at.tools / "python" / "bin" / "python"
    at.run(python, "-m", "compileall", "-q", at.client)
    return ("env", f"PYTHONPATH={at.client}", python, PROGRAMS / program)


def _make_openapi_typescript(at: Workplace) -> Sequence[str | Path]:
    generator = PACKAGE / "node_modules" / ".bin" / "openapi-typescript"
    at.run(generator, at.document, "--output", "gateway.d.ts")
    return _typescript_command(at, "openapi_typescript.ts")


def _make_openapi_generator_typescript(at: Workplace) -> Sequence[str | Path]:
    _openapi_generator(at, "typescript-fetch", "importFileExtension=.js")
    return _typescript_command(at, "openapi_generator.ts")


def _typescript_command(at: Workplace, program: str) -> Sequence[str | Path]:
    shutil.copy(PROGRAMS / program, at.folder / "job.ts")
    (at.folder / "package.json").write_text(json.dumps({"type": "module"}))
    (at.folder / "node_modules").symlink_to(PACKAGE / "node_modules")
    at.run(PACKAGE / "node_modules" / ".bin" / "tsc", *_STRICT, *_TYPES, "job.ts")
    return ("node", "job.js")


def _make_openapi_generator_go(at: Workplace) -> Sequence[str | Path]:
    # Go has no enums: without the prefix `running` of two of them is one constant twice.
    _openapi_generator(at, "go", "packageName=rcgw,enumClassPrefix=true")
    (at.client / "job").mkdir()
    shutil.copy(PROGRAMS / "openapi_generator.go", at.client / "job" / "main.go")
    # Its tests, which are empty, have dependencies of their own.
    shutil.rmtree(at.client / "test", ignore_errors=True)
    at.run("go", "-C", at.client, "build", "-o", at.folder / "job", "./job", GOFLAGS="-mod=mod")
    return (at.folder / "job",)


def _openapi_generator(at: Workplace, language: str, properties: str) -> None:
    options = ("-i", at.document, "-g", language, "-o", at.client)
    properties = f"--additional-properties={properties}"
    at.run("java", "-jar", _jar(at.tools), "generate", *options, properties)


GENERATORS: Final = (
    Generator("openapi-python-client", (), _python, _make_python_client),
    Generator("openapi-typescript", ("node",), _node, _make_openapi_typescript),
    Generator("openapi-generator python", ("java",), _jar, _make_openapi_generator_python),
    Generator(
        "openapi-generator typescript-fetch",
        ("java", "node"),
        _jar,
        _make_openapi_generator_typescript,
    ),
    Generator("openapi-generator go", ("java", "go"), _jar, _make_openapi_generator_go),
)
CHEAP: Final = GENERATORS[:2]
"""Those that need neither Java nor minutes."""
