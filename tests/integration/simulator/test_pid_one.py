"""Commands that tests run as process 1."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support import marks
from tests.support.pid_one import is_possible, wrapped

_READY_THEN_WAIT = "print('ready', flush=True); import time; time.sleep(300)"


@marks.LINUX
@pytest.mark.timeout(120)
def test_the_command_ends_with_the_process_that_runs_it() -> None:
    """A stack kills what is left of it: services and workers went on for hours, as nobody's."""
    if not is_possible():
        pytest.skip("this machine does not allow PID namespaces")
    reading, writing = os.pipe()
    command = wrapped((sys.executable, "-c", _READY_THEN_WAIT))
    wrapper = subprocess.Popen(command, stdout=writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as output:
        assert output.readline() == b"ready\n"
        wrapper.send_signal(signal.SIGKILL)
        wrapper.wait()
        assert output.read() == b""  # nobody holds the other end any more
