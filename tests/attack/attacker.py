"""`python -m tests.attack.attacker NAME SECONDS PRIORITY`: one attack, in a process of its own.

Prints `READY`, attacks when the `Target` comes on standard input, and prints the counts. It has a
low priority, so that what it computes itself takes nothing from the service, and a limit of memory.
"""

import asyncio
import json
import os
import resource
import sys
import time
from collections import Counter
from typing import Final

from tests.attack.attacks import ATTACKS
from tests.attack.processes import set_priority
from tests.attack.target import Target

READY: Final = "ready"
_MAX_ADDRESS_SPACE: Final = 4 * 2**30


def main() -> None:
    """Run the command."""
    name, seconds, priority = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    set_priority(os.getpid(), priority)
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_ADDRESS_SPACE, _MAX_ADDRESS_SPACE))
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    attack = next(one for one in ATTACKS if one.name == name)
    counts: Counter[str] = Counter()
    print(READY, flush=True)
    target = Target.from_json(sys.stdin.readline())

    async def run() -> None:
        await attack.run(target, time.monotonic() + seconds, counts)

    asyncio.run(run())
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
