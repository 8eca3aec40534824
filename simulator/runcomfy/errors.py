"""RunComfy's numeric error codes and the body that carries them."""

from enum import IntEnum

from simulator.script_fields import Json


class Code(IntEnum):
    """The codes that are known from RunComfy's documentation."""

    BAD_ID = 400001
    NO_BALANCE = 400002
    BAD_TOKEN = 400004
    NOT_YOURS = 403001
    NOT_FOUND = 404001
    INVALID = 422001
    INTERNAL = 500001


HTTP_STATUS = {
    Code.BAD_ID: 400,
    Code.NO_BALANCE: 402,
    Code.BAD_TOKEN: 401,
    Code.NOT_YOURS: 403,
    Code.NOT_FOUND: 404,
    Code.INVALID: 422,
    Code.INTERNAL: 500,
}
_CODE_OF = {status: code for code, status in HTTP_STATUS.items()}


def error_document(code: int, message: str, detail: list[Json] | None = None) -> Json:
    """``detail`` is the list of a 422: ``loc``, ``msg``, ``type`` for each."""
    document: Json = {"error_code": int(code), "error_message": message}
    return document if detail is None else {**document, "detail": detail}


def plain_error(status: int) -> Json:
    """A body for any HTTP status; without a code where none is known."""
    code = _CODE_OF.get(status)
    message = f"Simulated error {status}"
    return {"message": message} if code is None else error_document(code, message)
