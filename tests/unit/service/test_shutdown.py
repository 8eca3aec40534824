from datetime import timedelta

from service.shutdown import Shutdown

SECOND = timedelta(seconds=1)


def test_without_a_delay_it_is_due_when_it_is_announced() -> None:
    assert not Shutdown().is_announced
    assert not Shutdown().is_due(SECOND)
    shutdown = Shutdown()
    shutdown.announce(SECOND)
    assert shutdown.is_announced
    assert shutdown.is_due(SECOND)


def test_it_is_due_after_the_delay() -> None:
    shutdown = Shutdown(5 * SECOND)
    shutdown.announce(10 * SECOND)
    assert shutdown.is_announced
    assert not shutdown.is_due(14 * SECOND)
    assert shutdown.is_due(15 * SECOND)


def test_a_second_announcement_ends_the_delay() -> None:
    shutdown = Shutdown(5 * SECOND)
    assert shutdown.announce(10 * SECOND)
    assert shutdown.announce(11 * SECOND)
    assert shutdown.is_due(11 * SECOND)


def test_a_repeat_within_a_second_changes_nothing() -> None:
    shutdown = Shutdown(5 * SECOND)
    shutdown.announce(10 * SECOND)
    for tenths in (0, 1, 9):
        assert not shutdown.announce(10 * SECOND + tenths * SECOND / 10)
    assert not shutdown.is_due(14 * SECOND)
    assert shutdown.is_due(15 * SECOND)


def test_a_late_repeat_puts_nothing_off() -> None:
    shutdown = Shutdown(5 * SECOND)
    shutdown.announce(10 * SECOND)
    shutdown.announce(20 * SECOND)
    assert shutdown.is_due(15 * SECOND)
