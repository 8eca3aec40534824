"""Which TLS failure is told in which words, and files that cannot be used."""

import ssl
from pathlib import Path

import pytest

from tests.support.tls import CertificateAuthority
from worker.tls import (
    FAILURES_BY_REASON,
    ClientCertificate,
    TlsFailure,
    create_tls_context,
    tls_failure_of,
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    """A certificate authority with one client certificate."""
    made = CertificateAuthority(tmp_path_factory.mktemp("ca"))
    made.create()
    return made


def failed_handshake(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}]")
    error.reason = reason
    return error


def wrapped(cause: Exception) -> Exception:
    outer = OSError("a library's own error")
    outer.__cause__ = cause
    return outer


@pytest.mark.parametrize("reason", FAILURES_BY_REASON)
def test_every_alert_has_words(reason: str) -> None:
    assert tls_failure_of(wrapped(failed_handshake(reason))) == FAILURES_BY_REASON[reason]


def test_an_alert_without_a_row_is_told_in_openssls_words() -> None:
    error = failed_handshake("TLSV1_ALERT_INTERNAL_ERROR")
    assert tls_failure_of(error) == TlsFailure("tlsv1 alert internal error")


@pytest.mark.parametrize(
    ("code", "setting"), [(20, "CA_FILE"), (19, "CA_FILE"), (10, None), (62, None)]
)
def test_only_a_missing_ca_is_mended_by_a_setting(code: int, setting: str | None) -> None:
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_message, error.verify_code = "certificate has expired", code
    assert tls_failure_of(wrapped(error)) == TlsFailure("certificate has expired", setting)


def test_other_errors_are_no_tls_failures() -> None:
    assert tls_failure_of(wrapped(ConnectionResetError())) is None


def test_context_trusts_the_file_beside_the_system(authority: CertificateAuthority) -> None:
    system, both = create_tls_context(), create_tls_context(authority.folder / "ca.pem")

    assert both.verify_mode is ssl.CERT_REQUIRED
    assert both.check_hostname
    assert both.cert_store_stats()["x509_ca"] == system.cert_store_stats()["x509_ca"] + 1


def test_client_certificate_is_loaded(authority: CertificateAuthority) -> None:
    create_tls_context(certificate=ClientCertificate(*authority.client("gateway")))


def test_unusable_files_are_named(authority: CertificateAuthority, tmp_path: Path) -> None:
    cert, key = authority.client("gateway")
    _, other_key = authority.client("other")
    missing, empty = tmp_path / "missing.pem", tmp_path / "empty.pem"
    empty.write_text("nothing")

    with pytest.raises(ValueError, match=r"missing\.pem: No such file"):
        create_tls_context(missing)
    with pytest.raises(ValueError, match=r"empty\.pem: holds no certificates"):
        create_tls_context(empty)
    with pytest.raises(ValueError, match=r"missing\.pem: No such file"):
        create_tls_context(certificate=ClientCertificate(cert, missing))
    for pair in ((cert, other_key), (key, cert), (cert, empty)):
        with pytest.raises(ValueError, match="are no certificate and its unencrypted key"):
            create_tls_context(certificate=ClientCertificate(*pair))
