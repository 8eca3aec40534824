"""A process that cannot listen ends with one line, which names the setting."""

import errno
import socket
from typing import NoReturn

import pytest

from cli.run_process import EXIT_CANNOT_LISTEN, exit_if_unable_to_listen
from core.http_server.listener import CannotListen, ListenAddress, open_listening_socket

ADDRESS = ListenAddress("127.0.0.1", 9100, "GATEWAY_WORKER_METRICS_PORT")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EADDRINUSE, "Address already in use; set GATEWAY_WORKER_METRICS_PORT"),
        (errno.EACCES, "Permission denied; set GATEWAY_WORKER_METRICS_PORT"),
        (errno.EADDRNOTAVAIL, "Cannot assign requested address"),
    ],
)
def test_the_reason_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int, text: str
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, "words of create_server")

    monkeypatch.setattr(socket, "create_server", refuse)
    with pytest.raises(SystemExit) as ended, exit_if_unable_to_listen():
        open_listening_socket(ADDRESS)
    assert ended.value.code == EXIT_CANNOT_LISTEN
    assert capsys.readouterr().err == f"gateway: cannot listen on 127.0.0.1:9100: {text}\n"


def test_another_error_is_not_taken_for_it() -> None:
    with pytest.raises(OSError, match="disk"), exit_if_unable_to_listen():
        raise OSError(errno.ENOSPC, "disk")
    assert issubclass(CannotListen, OSError)
