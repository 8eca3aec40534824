"""Processes that have used the storage of objects."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from tests.support.processes import ROOT

PROCESSES: Final = 40
AT_ONCE: Final = 8
SOURCE: Final = """
import asyncio, sys
from datetime import timedelta
from core.objects.obstore_client import open_obstore

async def write_and_read(store):
    await asyncio.gather(*(store.put_async(f"object-{n}", b"1") for n in range(8)))
    await asyncio.gather(*(store.get_async(f"object-{n}") for n in range(8)))

asyncio.run(write_and_read(open_obstore(sys.argv[1], timedelta(seconds=60))))
"""


def test_a_process_that_used_the_storage_ends_with_its_own_exit_code(tmp_path: Path) -> None:
    """`gateway archive check` had done its work and ended with SIGABRT: see `open_obstore`."""

    def run(number: int) -> int:
        folder = f"file://{tmp_path}/{number}"
        return subprocess.run(
            [sys.executable, "-c", SOURCE, folder], cwd=ROOT, check=False
        ).returncode

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert set(pool.map(run, range(PROCESSES))) == {0}
