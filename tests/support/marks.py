"""Marks of tests that need more than Python; they are skipped where it is missing."""

import shutil
import sys
from typing import Final

import pytest

from deploy.grafana.live_prometheus import is_available
from tests.support.typescript import COMPILER


def _needs(*commands: str) -> pytest.MarkDecorator:
    """Skip a test where a command is missing, and name it: `make test` needs only Python."""
    missing = [command for command in commands if shutil.which(command) is None]
    reason = f"{', '.join(missing)}: not installed"
    return pytest.mark.skipif(bool(missing), reason=reason)  # `make test` needs only Python


PROMETHEUS: Final = pytest.mark.skipif(  # a bare Debian lacks it; `.ci/run` installs it
    not is_available(), reason="Prometheus is not installed"
)
PROMTOOL: Final = _needs("promtool")
AMTOOL: Final = _needs("amtool")
NODE: Final = _needs("node", "npm")
TYPESCRIPT: Final = pytest.mark.skipif(  # npm installs the compiler, which a bare Debian lacks
    not COMPILER.exists() or shutil.which("node") is None,
    reason="`npm ci` in clients/typescript has not run",
)
GO: Final = _needs("go")
HAPROXY: Final = _needs("haproxy")
HELM: Final = _needs("helm")
MAKE: Final = _needs("make")
SYSTEMD_ANALYZE: Final = _needs("systemd-analyze")
LINUX: Final = pytest.mark.skipif(  # the signal on a parent's death has no like elsewhere
    sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's"
)
