"""RunComfy's numeric error codes and error body."""

from enum import IntEnum

from simulator.script import Json


class RunComfyErrorCode(IntEnum):
    """The codes in RunComfy's documentation."""

    INVALID_ID = 400001
    INSUFFICIENT_BALANCE = 400002
    INVALID_TOKEN = 400004
    FORBIDDEN = 403001
    NOT_FOUND = 404001
    VALIDATION_FAILED = 422001
    INTERNAL = 500001


HTTP_STATUS = {
    RunComfyErrorCode.INVALID_ID: 400,
    RunComfyErrorCode.INSUFFICIENT_BALANCE: 402,
    RunComfyErrorCode.INVALID_TOKEN: 401,
    RunComfyErrorCode.FORBIDDEN: 403,
    RunComfyErrorCode.NOT_FOUND: 404,
    RunComfyErrorCode.VALIDATION_FAILED: 422,
    RunComfyErrorCode.INTERNAL: 500,
}
_CODE_BY_STATUS = {status: code for code, status in HTTP_STATUS.items()}


def error_document(code: int, message: str, detail: list[Json] | None = None) -> Json:
    """Return an error body; ``detail`` is the list of a 422: ``loc``, ``msg``, ``type`` each."""
    document: Json = {"error_code": int(code), "error_message": message}
    return document if detail is None else {**document, "detail": detail}


def error_for_status(status: int) -> Json:
    """Return a body for any HTTP status; without a code if none is known."""
    code = _CODE_BY_STATUS.get(status)
    message = f"Simulated error {status}"
    return {"message": message} if code is None else error_document(code, message)
