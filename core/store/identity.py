"""The identity of the store, and its position: how far it has come.

The position moves with each claim of a submit, in the claim's own script. A store whose position
is behind one that was seen before has forgotten what happened since: it went back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from core.clock import from_ms, to_ms
from core.runcomfy_account import bind
from core.store import keys
from core.store.client import RedisClient
from core.store.schema import WRITES
from core.store.scripts import LuaScripts

KEPT_CLAIMS: Final = 1_000
"""How many claims the store's log keeps (`count_claim.lua`)."""
RESTORED_CLAIM: Final = "restored"
"""The last word of the claim of a restored job (`restore_job.lua`)."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StorePosition:
    """Which store this is, and how far it has come.

    `claims` counts the claims of submits, and the jobs that were restored. `epoch` counts how often
    the store went back and was reconciled.
    """

    store_id: str
    epoch: int = 1
    claims: int = 0
    last_claim: str = ""
    """The last claim: job, time in microseconds, and whether it is of a job that was restored."""
    has_known: bool = True
    """Whether the store still has the last claim of the position that the reader knew."""
    account: str = ""
    """Which RunComfy account pays for the jobs (`core.runcomfy_account`)."""
    compare_since: datetime | None = None
    """The store is known to have gone back: no submit leaves until it was compared with what the
    journal has since then."""
    journal_id: str = ""
    """The journal that the submits of this store's jobs are written to; "": none is known."""
    journal_since: datetime | None = None
    """Claims before then may lack their entry: there was no journal, or it was lost. None: none."""
    newest_entry: str = ""
    """The name of the journal's entry that was noted last: a journal without it went back."""
    lost_entry: str = ""
    """The name of an entry that a worker did not find in the journal."""
    doubt_until: datetime | None = None
    """The store went back to before its journal had every claim: jobs that were admitted until
    then and are queued may have been submitted without an entry. None: no such job."""
    complete_since: datetime | None = None
    """What was stored before then may lack its record: the store was empty, or went back."""

    @property
    def claimed_at(self) -> datetime | None:
        """When the last submit was claimed."""
        return None if not self.last_claim else claim_time(self.last_claim)

    def is_behind(self, other: "StorePosition") -> bool:
        """Return whether this store has forgotten something that `other`, the same store, knew."""
        return not self.has_known or (self.epoch, self.claims) < (other.epoch, other.claims)


def claim_time(claim: str) -> datetime:
    """Return when a submit was claimed."""
    return _EPOCH + timedelta(microseconds=int(claim.split(" ")[1]))


def claimed_job(claim: str) -> str:
    """Return the job of a claim."""
    return claim.partition(" ")[0]


def is_of_restored(claim: str) -> bool:
    """Return whether a claim is that of a job that was restored: it has the time of the first."""
    return claim.endswith(f" {RESTORED_CLAIM}")


class StoreIdentityRepository(Protocol):
    """The identity of the store. See `StoreIdentity`."""

    @property
    def connections(self) -> int: ...

    async def load(self, known: StorePosition | None = None) -> StorePosition | None: ...

    async def list_claims(self) -> Sequence[str]: ...

    async def replace_journal(self, held: str, journal_id: str, since: datetime | None) -> bool: ...

    async def note_entry(self, job_id: str, number: int, name: str, journal_id: str) -> bool: ...

    async def load_noted_entry(self, job_id: str) -> int | None: ...

    async def replace_lost_entry(self, before: StorePosition, lost: str) -> bool: ...

    async def create(self, position: StorePosition) -> bool: ...

    async def mark_went_back(
        self, compare_since: datetime, doubt_until: datetime | None = None
    ) -> None: ...

    async def settle(self, before: StorePosition, after: StorePosition) -> bool: ...

    async def load_account(self) -> str: ...

    async def replace_account(self, held: str, account: str) -> bool: ...

    async def disconnect(self) -> None: ...


async def bind_account(identity: StoreIdentityRepository, own: str) -> str:
    """Give a store without an account the account `own`; return the account that it has.

    Raises `StoreUnavailable`.
    """
    while True:
        held = await identity.load_account()
        bound = bind(held, own)
        if bound == held or await identity.replace_account(held, bound):
            return bound


class StoreIdentity:
    """The identity of the store, in Redis. The claims are counted by the jobs' scripts."""

    def __init__(self, client: RedisClient, scripts: LuaScripts) -> None:
        """Send commands through `client`."""
        self._client = client
        self._scripts = scripts

    @property
    def connections(self) -> int:
        """How many connections to the store this process has opened.

        Read directly after an answer, it is the number of the connection that the answer came over:
        another number, and the server may be another one, or may have been restarted.
        """
        return self._client.connections

    async def load(self, known: StorePosition | None = None) -> StorePosition | None:
        """Return the position; None if the store has no identity: it is new, or lost everything.

        `known` is the furthest position that the caller has seen.
        """
        held = ("", "", "") if known is None else (known.epoch, known.claims, known.last_claim)
        found = await self._scripts.call("read_position", [keys.STORE, keys.STORE_CLAIMS], held)
        if not found:
            return None
        name, epoch, claims, compare_since, account, last_claim, has_known, *journal = found
        return StorePosition(
            name.decode(),
            int(epoch),
            int(claims),
            last_claim.decode(),
            bool(has_known),
            account.decode(),
            from_ms(int(compare_since)) if compare_since else None,
            journal[0].decode(),
            from_ms(int(journal[1])) if journal[1] else None,
            journal[2].decode(),
            journal[3].decode(),
            from_ms(int(journal[4])) if journal[4] else None,
            from_ms(int(journal[5])) if journal[5] else None,
        )

    async def list_claims(self) -> Sequence[str]:
        """Return the last `KEPT_CLAIMS` claims, oldest first."""
        found = await self._client.execute("LRANGE", keys.STORE_CLAIMS, 0, -1)
        return [claim.decode() for claim in found]

    async def replace_journal(self, held: str, journal_id: str, since: datetime | None) -> bool:
        """Note which journal this store's submits are written to from now on; "": none.

        Returns False, and changes nothing, if the store's journal is not `held`.
        """
        begun = "" if since is None else to_ms(since)
        replaced = await self._scripts.call(
            "replace_journal", [keys.STORE], [held, journal_id, begun]
        )
        return bool(replaced)

    async def note_entry(self, job_id: str, number: int, name: str, journal_id: str) -> bool:
        """Note that a claimed submit has its entry, which a journal that went back lacks.

        Returns False, and changes nothing, if the store has no such job, or another journal.
        """
        noted = await self._scripts.call(
            "note_entry", [keys.STORE, keys.job(job_id)], [journal_id, name, number]
        )
        return bool(noted)

    async def load_noted_entry(self, job_id: str) -> int | None:
        """Return the number of the entry of a job's last claim; None: it has noted none."""
        held = await self._client.execute("HGET", keys.job(job_id), "journal_entry")
        return None if held is None else int(held)

    async def replace_lost_entry(self, before: StorePosition, lost: str) -> bool:
        """Note an entry that the journal lacks; "": it lacks none.

        Returns False, and changes nothing, if that or the journal is no longer as in `before`.
        """
        since = "" if before.journal_since is None else to_ms(before.journal_since)
        held = (before.lost_entry, before.journal_id, since)
        replaced = await self._scripts.call("replace_lost_entry", [keys.STORE], [*held, lost])
        return bool(replaced)

    async def create(self, position: StorePosition) -> bool:
        """Give the store an identity; return False if it has one."""
        created = await self._client.execute("HSETNX", keys.STORE, "id", position.store_id)
        if created:
            since = "" if position.complete_since is None else to_ms(position.complete_since)
            fields = ("epoch", position.epoch, "claims", position.claims, "complete_since", since)
            await self._client.execute("HSET", keys.STORE, *fields)
            if position.account:
                await self._client.execute("HSETNX", keys.STORE, "account", position.account)
        return bool(created)

    async def mark_went_back(
        self, compare_since: datetime, doubt_until: datetime | None = None
    ) -> None:
        """Stop the submits of all workers until `settle`.

        The earliest `compare_since` and the latest `doubt_until` of several count. The journal
        proves nothing of claims until `doubt_until`, whatever the store knew of it.
        """
        doubt = "" if doubt_until is None else to_ms(doubt_until)
        await self._scripts.call("mark_went_back", [keys.STORE], [to_ms(compare_since), doubt])

    async def settle(self, before: StorePosition, after: StorePosition) -> bool:
        """Let submits leave again at the position `after`, which is behind none that was seen.

        Returns False, and changes nothing, if the position is no longer `before`.
        """
        since = "" if before.compare_since is None else to_ms(before.compare_since)
        complete = "" if after.complete_since is None else to_ms(after.complete_since)
        doubt = "" if before.doubt_until is None else to_ms(before.doubt_until)
        held = (before.epoch, before.claims, before.last_claim, since, doubt)
        settled = await self._scripts.call(
            "settle_position",
            [keys.STORE, keys.STORE_CLAIMS],
            [*held, after.epoch, after.claims, complete],
        )
        return bool(settled)

    async def load_account(self) -> str:
        """Return the account that pays for this store's jobs; "" if none uses it yet."""
        held = await self._client.execute("HGET", keys.STORE, "account")
        return "" if held is None else held.decode()

    async def replace_account(self, held: str, account: str) -> bool:
        """Replace the account `held`; return False, and change nothing, if it is another one."""
        return bool(await self._scripts.call("replace_account", [keys.STORE], [held, account]))

    async def record_schema(self) -> None:
        """Note what this release writes, unless a newer one did; see `core.store.schema`."""
        await self._scripts.call("record_schema", [keys.STORE], [WRITES])

    async def disconnect(self) -> None:
        """Drop the connection: the next one is refused if the store is another account's."""
        await self._client.disconnect()
