"""`python -m service FD METRICS_FD [ADMIN_FD] SLOT`: a process on its parent's sockets."""

import os
import signal
import socket
import sys
import threading

from service.metrics.multiprocess import register_slot
from service.server.process_manager import SharedSockets
from service.server.run import run
from service.settings import ServiceSettings


def main() -> None:
    """Serve until SIGTERM, or until the parent ends."""
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    *descriptors, slot = map(int, sys.argv[1:])
    register_slot(slot)
    run(ServiceSettings(), SharedSockets(*(socket.socket(fileno=each) for each in descriptors)))


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
