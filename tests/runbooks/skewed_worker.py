"""`gateway work` on a host whose clock is ahead."""

from datetime import UTC, datetime, timedelta
from typing import Final

from cli.main import main
from core.clock import SystemClock

AHEAD: Final = timedelta(seconds=5)


def read_ahead(_: SystemClock) -> datetime:
    """Return the wrong time."""
    return datetime.now(UTC) + AHEAD


if __name__ == "__main__":
    SystemClock.now = read_ahead  # type: ignore[method-assign,assignment]  # the host's clock itself
    main()
