"""The process of `tests.support.s3_server`: `python -m tests.support.s3_process PORT`."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from random import Random
from threading import Lock
from typing import Any, Final

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

from simulator.private_redis import LOOPBACK
from tests.support.s3_server import FAULTS_PATH, S3Faults

SEED: Final = 1

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]


class FailingApplication:
    """moto's application behind the faults.

    Writes are made one after another: moto checks a condition and stores in two steps, S3 in one.
    """

    def __init__(self, application: Application, rng: Random) -> None:
        self._application = application
        self._rng = rng
        self._faults = S3Faults()
        self._failures = 0
        self._writing = Lock()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["PATH_INFO"] == FAULTS_PATH:
            self._faults = S3Faults(**json.loads(_body(environ)))
            return _answer(start_response, HTTPStatus.NO_CONTENT)
        faults = self._faults
        time.sleep(faults.delay_seconds)
        if self._rng.random() >= faults.rate:
            return self._serve(environ, start_response)
        self._failures += 1
        if self._failures % 2:
            self._serve(environ, lambda *_, **__: None)
        return _answer(start_response, HTTPStatus(faults.status))

    def _serve(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] != "PUT":
            return self._application(environ, start_response)
        with self._writing:
            return list(self._application(environ, start_response))


def _body(environ: Mapping[str, Any]) -> bytes:
    content: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    return content


def _answer(start_response: StartResponse, status: HTTPStatus) -> Iterable[bytes]:
    start_response(f"{status.value} {status.phrase}", [("Content-Length", "0")])
    return ()


def main() -> None:
    """Serve on the port that the command line names, until killed."""
    application = DomainDispatcherApplication(create_backend_app)
    run_simple(
        LOOPBACK,
        int(sys.argv[1]),
        FailingApplication(application, Random(SEED)),
        threaded=True,
        request_handler=MotoRequestHandler,
    )


if __name__ == "__main__":
    main()
