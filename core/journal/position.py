"""Decides from the store's position whether submits may leave. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from core.journal.records import created_on
from core.runcomfy_account import account_issue
from core.store.identity import StorePosition, claim_time

CLOCK_MARGIN: Final = timedelta(minutes=2)
"""How much the clocks of workers and journal may differ."""
MAX_LOOKBACK: Final = timedelta(days=30)
"""How far back the journal is compared with a store that has no claim in common with it."""


class StoreStatus(StrEnum):
    """What a store is to a process that knows a position of it."""

    NEW = "new"
    """Neither this store nor the journal has an identity: both are used for the first time."""
    CURRENT = "current"
    UNKNOWN = "unknown"
    """It has no identity, and there should be one: it is empty, or another store altogether."""
    OTHER = "other"
    """It is another store than the one that the journal belongs to."""
    UNCOMPARED = "uncompared"
    """It was reached over a new connection: since the last check it may have forgotten what others
    submitted."""
    WENT_BACK = "went_back"
    """It has forgotten something that was known of it."""
    OTHER_JOURNAL = "other_journal"
    """The journal is not the one that this store's submits are written to: it may be empty."""
    JOURNAL_WENT_BACK = "journal_went_back"
    """The journal is an older copy of itself: it lacks entries of which the store knows."""
    OTHER_ACCOUNT = "other_account"
    """Its jobs are paid by another RunComfy account, or are simulated and this process is not."""


def status_of(
    position: StorePosition | None,
    known: StorePosition | None,
    account: str = "",
    journal_issue: StoreStatus | None = None,
) -> StoreStatus:
    """Return the status of a store at `position`, of which `known` is the furthest one seen.

    `account` is this process's (`core.runcomfy_account`); empty for a process that has none.
    `journal_issue`: why its journal cannot be used.
    """
    if position is None:
        return StoreStatus.NEW if known is None else StoreStatus.UNKNOWN
    if account_issue(position.account, account) is not None:
        return StoreStatus.OTHER_ACCOUNT
    if known is not None and known.store_id != position.store_id:
        return StoreStatus.OTHER
    if journal_issue is not None:
        return journal_issue
    if position.compare_since is not None or (known is not None and position.is_behind(known)):
        return StoreStatus.WENT_BACK
    return StoreStatus.CURRENT


def entries_to_find(
    position: StorePosition, remembered: Sequence[StorePosition | None], today: date
) -> Sequence[str]:
    """Return the entries that the journal must have, or it went back.

    `remembered`: earlier positions. The newest entry of one may be lost although the one noted last
    was written afterwards, and a store that went back with its journal has forgotten both. Old
    entries are left out: they may be deleted.
    """
    names = [position.lost_entry, position.newest_entry]
    names += [
        each.newest_entry
        for each in remembered
        if each is not None and _journal_of(each) == _journal_of(position)
    ]
    return [
        name for name in dict.fromkeys(names) if name and today - created_on(name) < MAX_LOOKBACK
    ]


def _journal_of(position: StorePosition) -> tuple[str, datetime | None]:
    return position.journal_id, position.journal_since


def doubt_until(position: StorePosition, known: StorePosition | None) -> datetime | None:
    """Return until when jobs of a store that went back may have been submitted without an entry.

    None: the journal has the entry of all that it forgot. Not so if it went back to before the
    journal began, or was replaced: what operators decided then is forgotten as well.
    """
    began = None if known is None or not position.is_behind(known) else known.journal_since
    if began is not None and (position.journal_since is None or position.journal_since < began):
        return max(began, position.doubt_until or began)
    return position.doubt_until


def after_reconciliation(
    position: StorePosition, known: StorePosition | None, now: datetime
) -> StorePosition:
    """Return the position of a reconciled store: behind none that was seen, in a new epoch."""
    epoch = max(position.epoch, known.epoch if known else 0) + 1
    claims = max(position.claims, known.claims if known else 0)
    return replace(
        position,
        epoch=epoch,
        claims=claims,
        compare_since=None,
        doubt_until=None,
        has_known=True,
        complete_since=now,
    )


def compare_since(claims: Sequence[str], known: StorePosition | None, now: datetime) -> datetime:
    """Return since when a store with these last claims may lack entries of the journal.

    Claims after the last known one do not count: they may be of a store that had gone back already.
    """
    last = None if known is None else known.claimed_at
    if last is None and known is not None:
        return now - MAX_LOOKBACK
    times = [claim_time(claim) for claim in claims]
    common = [at for at in times if last is None or at <= last]
    return max(common) - CLOCK_MARGIN if common else now - MAX_LOOKBACK
