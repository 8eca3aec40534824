"""Marks of tests that need more than Python; they are skipped where it is missing."""

import shutil
import sys
from typing import Final

import pytest

from deploy.grafana.live_prometheus import is_available

PROMETHEUS: Final = (
    pytest.mark.skipif(  # `make test` needs only Python; .ci/run installs Prometheus
        not is_available(), reason="Prometheus is not installed"
    )
)
PROMTOOL: Final = pytest.mark.skipif(  # as for Prometheus, which includes it
    shutil.which("promtool") is None, reason="promtool is not installed"
)
AMTOOL: Final = pytest.mark.skipif(  # part of Alertmanager, which the gateway does not need
    shutil.which("amtool") is None, reason="amtool is not installed"
)
NODE: Final = pytest.mark.skipif(  # `make test` needs only Python, which verifies the same
    shutil.which("node") is None or shutil.which("npm") is None,
    reason="node or npm is not installed",
)
GO: Final = pytest.mark.skipif(  # `make test` needs only Python
    shutil.which("go") is None, reason="go is not installed"
)
MAKE: Final = pytest.mark.skipif(  # CONTRIBUTING.md says how to run the tests without it
    shutil.which("make") is None, reason="make is not installed"
)
SYSTEMD_ANALYZE: Final = pytest.mark.skipif(  # it judges units; no process of ours needs systemd
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)
LINUX: Final = pytest.mark.skipif(  # PR_SET_PDEATHSIG exists only on Linux
    sys.platform != "linux", reason="only Linux kills the child for us"
)
