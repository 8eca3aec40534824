"""Limits of the whole gateway, pauses and the account balance."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from core.billing.balance import AccountBalance
from core.clock import Clock, from_ms, to_ms
from core.money import MicroUsd
from core.operators.pauses import Pause
from core.store import keys
from core.store.client import Argument, RedisClient
from core.store.scripts import LuaScripts
from core.store.wake_queue import dispatch_arguments
from core.tenants.limits import GlobalLimits

_MODEL_LIMIT_PREFIX: Final = "model:"
_DEFAULT_LIMIT_PREFIX: Final = "default:"
_GLOBAL_LIMIT_FIELDS: Final = ("running", "submits_per_second", "polls_per_second")
_BALANCE_FIELDS: Final = ("balance", "read_at", "burn_per_hour")
_MINIMUM_FIELD: Final = "minimum"


@dataclass(frozen=True, slots=True)
class UnreadableJob:
    """A job whose record this release cannot read, and since when it is set aside."""

    job_id: str
    since: datetime


class AdminStore:
    """Operators' settings and state of the whole gateway, in Redis."""

    def __init__(self, client: RedisClient, scripts: LuaScripts, clock: Clock) -> None:
        """Send commands through `client`; `clock` gives every instant that a script compares."""
        self._client = client
        self._scripts = scripts
        self._clock = clock

    async def load_limits(self) -> GlobalLimits:
        """Return the limits of the whole gateway."""
        flat = await self._client.execute("HGETALL", keys.LIMITS)
        fields = {n.decode(): v.decode() for n, v in zip(flat[::2], flat[1::2], strict=True)}
        return GlobalLimits(
            running=int(fields["running"]) if "running" in fields else None,
            submits_per_second=_parse_rate(fields.get("submits_per_second")),
            polls_per_second=_parse_rate(fields.get("polls_per_second")),
            models=_named_numbers(fields, _MODEL_LIMIT_PREFIX),
            tenant_defaults=_named_numbers(fields, _DEFAULT_LIMIT_PREFIX),
        )

    async def set_limits(self, limits: GlobalLimits, base: GlobalLimits | None = None) -> None:
        """Put limits in force and dispatch jobs to the slots that they free.

        Only the differences from `base` are written, the limits that `limits` were made from (None:
        those in force), so that a concurrent change of another limit is kept. A limit below the
        number of running jobs stops none of them: no more are dispatched until the number fits.
        """
        before, after = _limit_fields(base or await self.load_limits()), _limit_fields(limits)
        changed: list[Argument] = []
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                changed += [name, after.get(name, "")]
        await self._scripts.call(
            "set_limits", [keys.LIMITS], [*self._dispatch_arguments(), *changed]
        )

    async def list_pauses(self) -> Sequence[Pause]:
        """Return all pauses, sorted by target."""
        names = await self._client.execute("HKEYS", keys.PAUSES)
        return [Pause(name) for name in sorted(name.decode() for name in names)]

    async def pause(self, pause: Pause) -> bool:
        """Stop dispatching the target's jobs; return False if they are paused already.

        They wait; running jobs go on.
        """
        return await self._set_pause(pause, "1")

    async def resume(self, pause: Pause) -> bool:
        """Dispatch the target's jobs again; return False if they are not paused."""
        return await self._set_pause(pause, "0")

    async def dispatch(self) -> int:
        """Dispatch waiting jobs to free slots; return how many slots are in use.

        It also ends the pauses of deleted tenants of which no job waits any more.
        """
        in_use = await self._scripts.call("dispatch", [keys.RUNNING], self._dispatch_arguments())
        return int(in_use)

    async def load_balance(self) -> AccountBalance:
        """Return RunComfy's account balance as last read, with the minimum balance."""
        row = await self._client.execute(
            "HMGET", keys.ACCOUNT_BALANCE, *_BALANCE_FIELDS, _MINIMUM_FIELD
        )
        balance, read_at, burn, minimum = (int(value) if value else None for value in row)
        return AccountBalance(
            balance=None if balance is None else MicroUsd(balance),
            read_at=None if read_at is None else from_ms(read_at),
            minimum=None if minimum is None else MicroUsd(minimum),
            burn_per_hour=None if burn is None else MicroUsd(burn),
        )

    async def store_balance(self, balance: AccountBalance) -> None:
        """Store a balance as read. The minimum balance, an operator's setting, is left as it is."""
        read_at = None if balance.read_at is None else to_ms(balance.read_at)
        await self._set_balance_fields(
            dict(
                zip(_BALANCE_FIELDS, (balance.balance, read_at, balance.burn_per_hour), strict=True)
            )
        )

    async def set_minimum_balance(self, minimum: MicroUsd | None) -> None:
        """Reject submits from now on while the balance is below `minimum`; None: never."""
        await self._set_balance_fields({_MINIMUM_FIELD: minimum})

    async def _set_balance_fields(self, fields: Mapping[str, int | None]) -> None:
        # The admission script compares fields that exist, so an unknown amount must be absent.
        known: list[Argument] = []
        for name, value in fields.items():
            known += [] if value is None else [name, int(value)]
        unknown = [name for name, value in fields.items() if value is None]
        if known:
            await self._client.execute("HSET", keys.ACCOUNT_BALANCE, *known)
        if unknown:
            await self._client.execute("HDEL", keys.ACCOUNT_BALANCE, *unknown)

    async def _set_pause(self, pause: Pause, paused: str) -> bool:
        changed = await self._scripts.call(
            "set_pause", [keys.PAUSES], [pause.target, paused, *self._dispatch_arguments()]
        )
        return bool(changed)

    def _dispatch_arguments(self) -> tuple[Argument, ...]:
        now = self._clock.now()
        return (
            to_ms(now),
            *dispatch_arguments(now),
        )

    async def list_unreadable(self, limit: int) -> Sequence[UnreadableJob]:
        """Return jobs that `claim_due` has set aside, the longest first."""
        flat = await self._client.execute("ZRANGE", keys.UNREADABLE, 0, limit - 1, "WITHSCORES")
        since = [from_ms(int(float(score))) for score in flat[1::2]]
        return [UnreadableJob(name.decode(), at) for name, at in zip(flat[::2], since, strict=True)]

    async def requeue_unreadable(self, job_id: str) -> bool:
        """Have a job claimed again; return False if it is not set aside.

        It is set aside again if it is still unreadable.
        """
        if await self._client.execute("ZSCORE", keys.UNREADABLE, job_id) is None:
            return False
        await self._scripts.write_always("ZADD", keys.DUE, to_ms(self._clock.now()), job_id)
        await self._client.execute("ZREM", keys.UNREADABLE, job_id)
        return True


def _parse_rate(text: str | None) -> float | None:
    return None if text is None else float(text)


def _named_numbers(fields: Mapping[str, str], prefix: str) -> tuple[tuple[str, int], ...]:
    return tuple(
        (name.removeprefix(prefix), int(value))
        for name, value in sorted(fields.items())
        if name.startswith(prefix)
    )


def _limit_fields(limits: GlobalLimits) -> dict[str, Argument]:
    plain = {name: getattr(limits, name) for name in _GLOBAL_LIMIT_FIELDS}
    known = {name: value for name, value in plain.items() if value is not None}
    models = {_MODEL_LIMIT_PREFIX + name: number for name, number in limits.models}
    defaults = {_DEFAULT_LIMIT_PREFIX + name: number for name, number in limits.tenant_defaults}
    return {**known, **models, **defaults}
