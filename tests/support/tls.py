"""A certificate authority, and a TLS proxy: the Redis from the wheel is built without TLS."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from simulator.private_redis import LOOPBACK

_PIECE: Final = 1 << 16


_WITHIN: Final = 10.0


@contextmanager
def tls_proxy(port: int, *, certificate: Path, key: Path) -> Iterator[int]:
    """Terminate TLS at the yielded port and forward to `port`, both on loopback.

    Runs in its own thread, so that it does not depend on a test's event loop.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    front = _TlsProxy(port, context)
    thread = threading.Thread(target=asyncio.run, args=(front.serve(),))
    thread.start()
    try:
        yield front.opened.result(_WITHIN)
    finally:
        front.stop()
        thread.join()


@contextmanager
def refusing_server(context: ssl.SSLContext) -> Iterator[int]:
    """Yield the port of a TLS server that refuses its clients by an alert.

    Blocking sockets: asyncio's servers reset a connection whose handshake failed, and the alert is
    lost.
    """
    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=_refuse_clients, args=(listener, context))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _refuse_clients(listener: socket.socket, context: ssl.SSLContext) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            client.settimeout(_WITHIN)
            with context.wrap_socket(
                client, server_side=True, do_handshake_on_connect=False
            ) as tls:
                with suppress(ssl.SSLError):
                    tls.do_handshake()
                with suppress(OSError):
                    tls.shutdown(socket.SHUT_WR)
                    while tls.recv(_PIECE):
                        pass


class _TlsProxy:
    """The server, with a signal that it is open and one to stop it."""

    def __init__(self, port: int, context: ssl.SSLContext) -> None:
        self.opened: Future[int] = Future()
        self._port, self._context = port, context
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._meet, LOOPBACK, 0, ssl=self._context)
        self.opened.set_result(server.sockets[0].getsockname()[1])
        await self._ending.wait()
        server.close()

    def stop(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._ending.set)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        beyond = await asyncio.open_connection(LOOPBACK, self._port)
        try:
            await asyncio.gather(_pass_on(reader, beyond[1]), _pass_on(beyond[0], writer))
        finally:
            writer.transport.abort()
            beyond[1].transport.abort()


async def _pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while piece := await source.read(_PIECE):
            sink.write(piece)
            await sink.drain()
    sink.close()


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    """A name in OpenSSL's form: `DNS:hooks.example`, `IP:127.0.0.1`."""
    kind, _, value = name.partition(":")
    return x509.DNSName(value) if kind == "DNS" else x509.IPAddress(ip_address(value))


CA_NAME: Final = _common_name("Test CA")


@dataclass(frozen=True)
class CertificateAuthority:
    """A throw-away CA and one server context per set of names."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=_new_key)

    def create(self) -> None:
        usage = x509.KeyUsage(
            digital_signature=False,
            content_commitment=False,
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=True,
            crl_sign=False,
            encipher_only=False,
            decipher_only=False,
        )
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        self._issue("ca", CA_NAME, self.key, constraints, usage)

    def server(self, *names: str) -> ssl.SSLContext:
        stem = "-".join(names).replace(":", "_")
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        self._issue(stem, _common_name("server"), _new_key(), alternatives)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / f"{stem}.pem", self.folder / f"{stem}.key")
        return context

    def server_for_clients(self, *names: str) -> ssl.SSLContext:
        """A server context that accepts only clients with a certificate of this CA."""
        context = self.server(*names)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.folder / "ca.pem")
        return context

    def client(self, stem: str) -> tuple[Path, Path]:
        """Return the files of a client's certificate and its key."""
        self._issue(stem, _common_name(stem), _new_key())
        return self.folder / f"{stem}.pem", self.folder / f"{stem}.key"

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.folder / "ca.pem")

    def _issue(
        self,
        stem: str,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *extensions: x509.ExtensionType,
    ) -> None:
        """Write a certificate for two days as `<stem>.pem`, and its key as `<stem>.key`."""
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder(CA_NAME, name, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=2))
        )
        # Python 3.13 verifies strictly (VERIFY_X509_STRICT), which requires both identifiers.
        subject = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        for extension in (subject, issuer, *extensions):
            critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, critical=critical)
        certificate = builder.sign(self.key, hashes.SHA256())
        (self.folder / f"{stem}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        (self.folder / f"{stem}.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
