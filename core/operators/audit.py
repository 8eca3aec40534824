"""Entries of the audit log, and the chain of digests that shows whether one was changed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One action of an operator or a tenant. `change` is a sentence without secrets.

    `address` is the caller's; '' for a command.
    """

    at: datetime
    actor: str
    action: str
    subject: str
    change: str = ""
    address: str = ""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """An entry as it is stored: its JSON, and its place in the chain."""

    document: bytes
    previous: str
    """The digest of the record before; '' for the first one."""
    digest: str

    @classmethod
    def following(cls, previous: str, document: bytes) -> "AuditRecord":
        """Return the record of `document` after the one whose digest is `previous`."""
        return cls(document, previous, audit_digest(previous, document))


def audit_digest(previous: str, document: bytes) -> str:
    """Return the SHA-256, in hex, of the previous digest, a line feed and the entry's JSON."""
    return hashlib.sha256(b"%s\n%s" % (previous.encode(), document)).hexdigest()


def find_break(records: Iterable[AuditRecord], previous: str | None = None) -> AuditRecord | None:
    """Return the first record that was changed, or before which one is missing; None if all fit.

    `previous` is the digest of the record before the first of `records`. None: it is not known, as
    older ones are removed when their time is over.
    """
    for record in records:
        fits = previous is None or record.previous == previous
        if not fits or record != AuditRecord.following(record.previous, record.document):
            return record
        previous = record.digest
    return None
