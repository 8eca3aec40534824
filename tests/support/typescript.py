"""The TypeScript client as a program finds it: compiled, in a folder of packages."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from simulator.stack import ROOT

PACKAGE: Final = ROOT / "clients" / "typescript"
NODE: Final = shutil.which("node") or "node"
COMPILER: Final = PACKAGE / "node_modules" / ".bin" / "tsc"


def compile_client(target: Path) -> None:
    """Write the package into `target`. Tests that run at the same time each have their own."""
    target.mkdir(parents=True)
    shutil.copy(PACKAGE / "package.json", target)
    options = ["-p", str(PACKAGE / "tsconfig.build.json"), "--outDir", str(target / "dist")]
    subprocess.run([COMPILER, *options], check=True)


def install_client(folder: Path) -> None:
    """Let the programs in `folder` import the client."""
    compile_client(folder / "node_modules" / "runcomfy-gateway-client")
