"""What a process takes: measured all the time, and its memory limited where the machine can."""

import os
import resource
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from tests.attack.target import MIB

LIMIT_MIB: Final = 512
"""What the compose file and the Kubernetes manifests give to a process of the gateway."""
HIGH_PRIORITY: Final = -10
LOWEST_PRIORITY: Final = 19
_INTERVAL_SECONDS: Final = 0.02
_CGROUPS: Final = (
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    (Path("/sys/fs/cgroup"), "memory.max"),
)


def resident_mib(pid: int) -> int:
    """Resident memory of a process in MiB; 0 if it has ended."""
    with suppress(OSError):
        pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
        return pages * resource.getpagesize() // MIB
    return 0


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used; 0 if it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def machine_seconds() -> tuple[float, float]:
    """Processor time of all cores since the start of the machine: idle, and in all."""
    with suppress(OSError):
        times = [int(one) for one in Path("/proc/stat").read_text("ascii").split()[1:9]]
        return float(times[3] + times[4]), float(sum(times))
    return 0.0, 0.0


class MachineWatch:
    """Measures what the machine's cores have left until the block ends."""

    def __init__(self) -> None:
        self._began = machine_seconds()
        self.idle_share = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        idle, of_all = machine_seconds()
        self.idle_share = (idle - self._began[0]) / max(of_all - self._began[1], 1)


def set_priority(pid: int, nice: int) -> bool:
    """Set the priority of a process that leads a session. False: that is not allowed.

    Linux may share the processor between sessions first (`autogroup`): then the number counts only
    for the whole session.
    """
    try:
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    except OSError:
        return False
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice), "ascii")
    return True


class ProcessWatch:
    """Measures the resident memory and the processor time of a process until the block ends."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._measure, daemon=True)
        self.before = self.peak = resident_mib(pid)
        self._began = (time.monotonic(), cpu_seconds(pid))
        self.cpu_share = 0.0
        """Of one core, at the end of the block."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        at, used = self._began
        self.cpu_share = (cpu_seconds(self._pid) - used) / (time.monotonic() - at)

    def _measure(self) -> None:
        while not self._ended.wait(_INTERVAL_SECONDS):
            self.peak = max(self.peak, resident_mib(self._pid))


class MemoryLimits:
    """A cgroup with a limit for each process, which is killed beyond it.

    Needs a writable hierarchy of cgroups; without it processes run as they are, and `are_in_force`
    is False. Memory that a process took before it was added does not count.
    """

    def __init__(self) -> None:
        self._folders: list[Path] = []
        self.are_in_force = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the cgroups, whose processes have ended."""
        for folder in self._folders:
            with suppress(OSError):
                folder.rmdir()

    def add(self, name: str, pid: int) -> None:
        """Put a process under the limit."""
        self.are_in_force = any(
            self._limit(parent / f"{name}-{pid}", setting, pid) for parent, setting in _CGROUPS
        )

    def _limit(self, folder: Path, setting: str, pid: int) -> bool:
        try:
            folder.mkdir()
            self._folders.append(folder)
            (folder / setting).write_text(str(LIMIT_MIB * MIB), "ascii")
            (folder / "cgroup.procs").write_text(str(pid), "ascii")
        except OSError:
            return False
        return True
