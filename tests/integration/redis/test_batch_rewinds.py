"""A batch that is admitted in parts by a store that goes back to a moment between two of them."""

from dataclasses import replace
from itertools import combinations
from typing import Any, Final

import orjson
import pytest

from core.batches import BatchCounts
from core.errors import StoreTimeout
from core.store.batches import BatchStore
from core.store.client import RedisClient
from core.store.scripts import LuaScripts
from core.tenants.limits import Limits
from core.transactions.admission import Admission, BatchAdmission
from core.transactions.job_update import Change, WriteResult
from service.jobs.cancel import decide_cancel
from tests.support.batches import PART_ITEMS, SCRIPTS, SHARING, BatchHarness
from tests.support.journalled_worker import STEP, JournalledWorker
from tests.support.redis import StoreCopy, copy_store, put_back
from tests.support.store_steps import admission_of

NAMES: Final = "abcdefgh"
ACCEPTED: Final = range(5, 9)
"""Four parts are stored, the fifth script decides, four parts are written."""
NOT_ACCEPTED: Final = range(5)


def plain_batch(gateway: BatchHarness, idempotency: str | None = None) -> BatchAdmission:
    return gateway.batch(*(one(gateway, name) for name in NAMES), idempotency=idempotency)


def one(gateway: BatchHarness, name: str) -> Admission:
    admission = admission_of(gateway.job(name, next_run_at=gateway.backend.clock.now()))
    return replace(admission, input=orjson.dumps({"prompt": name}))


async def go_back_after(
    gateway: BatchHarness, worker: JournalledWorker, calls: int, slots: int = 2
) -> None:
    """Admit the batch and submit what has a slot; then the store is as after `calls` scripts."""
    admission = plain_batch(gateway)
    with pytest.raises(StoreTimeout):
        await gateway.dying(calls).admit(admission)
    copy = await copy_store(gateway.wire)
    if calls < min(ACCEPTED):
        await gateway.backend.batches.admit(admission)
    else:
        await gateway.backend.batches.write_rest("bat_1")
    gateway.backend.clock.shift(STEP)  # after which a wake-up is not waited for
    await worker.run_due()
    assert worker.upstream.paid.total() == slots
    await put_back(gateway.wire, copy)


@pytest.mark.parametrize("calls", ACCEPTED)
@pytest.mark.parametrize("steps_before", [0, 4], ids=["runs", "has_ended"])
async def test_an_accepted_batch_is_paid_for_once_and_completed(
    gateway: BatchHarness, worker: JournalledWorker, calls: int, steps_before: int
) -> None:
    await go_back_after(gateway, worker, calls)
    await worker.reconcile()
    worker.upstream.ends_runs = True
    for _ in range(steps_before):  # before a worker writes the rest
        gateway.backend.clock.shift(STEP)
        await worker.run_due()
    await gateway.finish()
    assert await gateway.inconsistencies() == []
    await worker.run_until_idle()
    assert await gateway.inconsistencies() == []
    assert worker.upstream.paid == {orjson.dumps({"prompt": name}): 1 for name in NAMES}
    view = await gateway.backend.batches.load("bat_1")
    assert view is not None
    assert view.counts == BatchCounts(completed=len(NAMES))
    assert view.finished_at is not None


@pytest.mark.parametrize("calls", NOT_ACCEPTED)
async def test_what_was_paid_of_a_batch_that_is_forgotten_ends_without_it(
    gateway: BatchHarness, worker: JournalledWorker, calls: int
) -> None:
    await go_back_after(gateway, worker, calls)
    assert len(await worker.reconcile()) == 2
    assert await gateway.backend.batches.load("bat_1") is None
    worker.upstream.ends_runs = True
    await worker.run_until_idle()
    assert await gateway.backend.probe.states() == {"succeeded": 2}
    assert await gateway.inconsistencies() == []


async def test_a_slot_that_a_restored_job_had_reserved_goes_to_the_next(
    gateway: BatchHarness, worker: JournalledWorker
) -> None:
    await gateway.set_limits(Limits(running=len(NAMES)))
    await go_back_after(gateway, worker, min(ACCEPTED), slots=len(NAMES))
    await worker.reconcile()
    worker.upstream.ends_runs = True
    for _ in range(4):
        gateway.backend.clock.shift(STEP)
        await worker.run_due()
    waiting = one(gateway, "waiting")
    assert not (await gateway.backend.jobs.admit(waiting)).has_slot
    await gateway.finish()
    assert await gateway.inconsistencies() == []


class RewindingScripts(LuaScripts):
    """Puts the store back to the end of `kept` calls just before the call number `at`."""

    def __init__(self, wire: RedisClient, kept: int, at: int) -> None:
        """Nothing was called yet."""
        super().__init__(wire, SCRIPTS)
        self.calls = 0
        self._kept, self._at = kept, at
        self._copy: StoreCopy = {}

    async def call(self, *call: Any, **options: Any) -> Any:  # noqa: ANN401 - as the method's own
        if self.calls == self._kept:
            self._copy = await copy_store(self._client)
        if self.calls == self._at:
            await put_back(self._client, self._copy)
        self.calls += 1
        return await super().call(*call, **options)


@pytest.mark.parametrize(("kept", "at"), [*combinations(range(max(ACCEPTED) + 1), 2)])
async def test_a_store_that_goes_back_under_an_admission_admits_all_or_nothing(
    gateway: BatchHarness, kept: int, at: int
) -> None:
    scripts = RewindingScripts(gateway.wire, kept, at)
    batches = BatchStore(gateway.wire, scripts, gateway.backend.clock, max_part_items=PART_ITEMS)
    result = await batches.admit(plain_batch(gateway, "k"))
    assert scripts.calls > at
    await gateway.finish()
    is_there = await gateway.backend.batches.load("bat_1") is not None
    assert (await gateway.backend.probe.states()).get("queued", 0) == len(NAMES) * is_there
    assert await gateway.inconsistencies() == []
    assert is_there == (kept >= min(ACCEPTED) or at < min(ACCEPTED))
    if result.stored:
        assert len(result.results) == len(NAMES)


async def test_a_promoted_item_stays_in_its_batch_whose_promotion_is_forgotten(
    gateway: BatchHarness, worker: JournalledWorker
) -> None:
    same = [
        replace(one(gateway, name), cache=SHARING, input=name.encode())
        for name in ("same", "same2")
    ]
    same = [replace(each, job=replace(each.job, fingerprint="1:same")) for each in same]
    assert (await gateway.backend.batches.admit(gateway.batch(*same))).stored
    copy = await copy_store(gateway.wire)
    leader = await gateway.backend.jobs.load("req_same")
    assert leader is not None
    after = decide_cancel(leader.job, gateway.backend.clock.now()).after
    assert after is not None
    assert await gateway.backend.jobs.store(Change(leader.job, after)) is WriteResult.STORED
    for _ in range(3):
        gateway.backend.clock.shift(STEP)
        await worker.run_due()
    assert worker.upstream.paid == {b"same2": 1}
    await put_back(gateway.wire, copy)
    await worker.reconcile()
    assert await gateway.inconsistencies() == []
    worker.upstream.ends_runs = True
    await worker.run_until_idle()
    assert worker.upstream.paid == {b"same": 1, b"same2": 1}
    view = await gateway.backend.batches.load("bat_1")
    assert view is not None
    assert view.counts == BatchCounts(completed=2)
    assert view.finished_at is not None
    assert await gateway.inconsistencies() == []
