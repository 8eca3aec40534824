"""`python -m service FD SLOT`: one of several service processes, on the socket of its parent."""

import os
import signal
import socket
import sys
import threading

from service.metrics.multiprocess import register_slot
from service.server.run import run
from service.settings import ServiceSettings


def main() -> None:
    """Serve until SIGTERM, or until the parent ends."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    descriptor, slot = map(int, sys.argv[1:])
    register_slot(slot)
    run(ServiceSettings(), [socket.socket(fileno=descriptor)])


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
