"""The server ends at a signal, after the delay of its shutdown."""

import asyncio
import signal
from datetime import timedelta

from core.http_server.connections import Connections
from core.http_server.server import build_config
from service.server.run import ADMIN_POLICY, ServiceServer
from service.shutdown import Shutdown
from tests.support.clock import FakeClock


def server(delay: timedelta, clock: FakeClock) -> ServiceServer:
    """A server that does not listen."""
    connections = Connections(ADMIN_POLICY)
    config = build_config(lambda: None, connections)
    return ServiceServer(Shutdown(delay), clock, config, connections, admin=None)


def test_without_a_delay_the_signal_itself_ends_it() -> None:
    one = server(timedelta(0), FakeClock())
    one.handle_exit(signal.SIGTERM, None)
    assert one.should_exit


def test_with_a_delay_it_serves_on() -> None:
    clock = FakeClock()
    one = server(timedelta(seconds=5), clock)
    one.handle_exit(signal.SIGTERM, None)
    assert not asyncio.run(one.on_tick(1))
    clock.move(timedelta(seconds=5))
    assert asyncio.run(one.on_tick(2))


def test_a_second_signal_ends_the_delay() -> None:
    clock = FakeClock()
    one = server(timedelta(seconds=5), clock)
    one.handle_exit(signal.SIGTERM, None)
    clock.move(timedelta(seconds=1))
    one.handle_exit(signal.SIGTERM, None)
    assert one.should_exit


def test_the_same_stop_signalled_twice_is_one() -> None:
    """By the terminal or systemd, and by the parent of several processes."""
    patient, immediate = (server(timedelta(seconds=delay), FakeClock()) for delay in (5, 0))
    for number in (signal.SIGTERM, signal.SIGINT):
        patient.handle_exit(number, None)
        immediate.handle_exit(number, None)
    assert not patient.should_exit
    assert immediate.should_exit
    assert not immediate.force_exit
