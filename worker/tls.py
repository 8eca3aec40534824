"""TLS of outgoing connections: whom the worker trusts, which certificate it shows, what failed.

Trust is the operating system's store, where a company's own CA is installed; OpenSSL's variables
`SSL_CERT_FILE` and `SSL_CERT_DIR` replace it. A setting adds a file.
"""

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import certifi


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """The PEM files of a certificate, with its chain, and of its unencrypted key."""

    cert: Path
    key: Path


def create_tls_context(
    ca_file: Path | None = None, certificate: ClientCertificate | None = None
) -> ssl.SSLContext:
    """Return a context that trusts the system's CAs and those of `ca_file`.

    `certificate` is shown to servers that request one. Building a context takes some 30 ms.

    Raises `ValueError`, with the file's name, for a file that cannot be used.
    """
    context = ssl.create_default_context()
    if not _has_system_store(context):
        context.load_verify_locations(certifi.where())
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ValueError(f"{ca_file}: {_file_error(error)}") from error
    if certificate is not None:
        _load_certificate(context, certificate)
    return context


def _load_certificate(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    for path in (certificate.cert, certificate.key):
        try:
            path.open("rb").close()
        except OSError as error:
            raise ValueError(f"{path}: {_file_error(error)}") from error
    try:
        # Without `password` OpenSSL would prompt for it on the terminal.
        context.load_cert_chain(certificate.cert, certificate.key, password=lambda: "")
    except ssl.SSLError as error:
        pair = f"{certificate.cert} and {certificate.key}"
        raise ValueError(f"{pair} are no certificate and its unencrypted key") from error


def _has_system_store(context: ssl.SSLContext) -> bool:
    """Return whether OpenSSL finds CAs; a minimal image without `ca-certificates` has none."""
    # Those of a folder are loaded when they are needed, and not counted before.
    folder = ssl.get_default_verify_paths().capath
    in_folder = bool(folder) and any(Path(folder).iterdir())
    return in_folder or context.cert_store_stats()["x509_ca"] > 0


def _file_error(error: OSError) -> str:
    return "holds no certificates" if isinstance(error, ssl.SSLError) else str(error.strerror)


@dataclass(frozen=True, slots=True)
class TlsFailure:
    """Why a TLS session failed, for people, and the setting that may fix it (without prefix)."""

    cause: str
    setting: str | None = None


CA_FILE: Final = "CA_FILE"
CLIENT_CERTIFICATES: Final = "CLIENT_CERTIFICATES"
_WANTS_CERTIFICATE: Final = TlsFailure(
    "the server requires a client certificate", CLIENT_CERTIFICATES
)
_REFUSES_CERTIFICATE: Final = TlsFailure(
    "the server does not accept the client certificate", CLIENT_CERTIFICATES
)
_NO_COMMON_PROTOCOL: Final = TlsFailure("the server supports none of the gateway's TLS versions")

# OpenSSL's names: https://docs.openssl.org/3.0/man3/SSL_alert_type_string/
FAILURES_BY_REASON: Final[Mapping[str, TlsFailure]] = {
    # Before TLS 1.3 a server without the certificate sends "handshake failure" (RFC 5246, 7.4.6).
    "SSLV3_ALERT_HANDSHAKE_FAILURE": TlsFailure(
        "the server refuses the handshake; it may want a client certificate", CLIENT_CERTIFICATES
    ),
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": _REFUSES_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_REVOKED": _REFUSES_CERTIFICATE,
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": _REFUSES_CERTIFICATE,
    "SSLV3_ALERT_BAD_CERTIFICATE": _REFUSES_CERTIFICATE,
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": _REFUSES_CERTIFICATE,
    "TLSV1_ALERT_UNKNOWN_CA": _REFUSES_CERTIFICATE,
    "TLSV1_ALERT_ACCESS_DENIED": _REFUSES_CERTIFICATE,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": _WANTS_CERTIFICATE,
    "TLSV1_ALERT_PROTOCOL_VERSION": _NO_COMMON_PROTOCOL,
    "UNSUPPORTED_PROTOCOL": _NO_COMMON_PROTOCOL,
    "NO_PROTOCOLS_AVAILABLE": _NO_COMMON_PROTOCOL,
    "WRONG_VERSION_NUMBER": TlsFailure("the server does not speak TLS at this port"),
    "HTTP_REQUEST": TlsFailure("the server does not speak TLS at this port"),
    "RECORD_LAYER_FAILURE": TlsFailure("the server does not speak TLS at this port"),
    "TLSV1_UNRECOGNIZED_NAME": TlsFailure("the server knows no certificate for this name"),
}

# X509_V_ERR_… of OpenSSL: no path to a trusted CA. The others, such as a wrong name or an expired
# certificate, are fixed at the server only.
_UNTRUSTED: Final = frozenset({2, 18, 19, 20, 21, 27})


def tls_failure_of(error: BaseException) -> TlsFailure | None:
    """Return why TLS failed; None if something else did. Reads the causes of `error` too."""
    for cause in cause_chain(error):
        # aiohttp's subclasses lack the attributes; their cause, the real error, has them.
        words = getattr(cause, "verify_message", None)
        reason = getattr(cause, "reason", None) if isinstance(cause, ssl.SSLError) else None
        if isinstance(words, str) and words:
            code = getattr(cause, "verify_code", None)
            return TlsFailure(words, CA_FILE if code in _UNTRUSTED else None)
        if isinstance(reason, str) and reason:
            named = TlsFailure(reason.lower().replace("_", " "))
            return FAILURES_BY_REASON.get(reason, named)
    return None


def cause_chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, its cause, the cause of that, and so on; httpcore sets the context only."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
