"""All that the look-alike remembers: requests, ledger, balance, counters and rules.

Knows no HTTP. Time, chance and ids come from outside. Money is in micro-dollars.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson

from simulator.runcomfy.catalogue import Catalogue, Model
from simulator.runcomfy.faults import Call, Moment, Rule
from simulator.runcomfy.job import Job, Outcome, Pace, Twist
from simulator.runcomfy.prompt_triggers import Triggers
from simulator.script_fields import Json
from simulator.script_rules import Script

IdSource = Callable[[], str]
_LONGEST_QUEUE = 12


@dataclass(frozen=True, slots=True)
class Setup:
    """How a world starts. ``token`` None takes any; ``enforce_balance`` refuses what is unpaid."""

    pace: Pace
    seed: int = 0
    token: str | None = None
    cost_delay: timedelta = timedelta(0)
    balance: int = 100_000_000
    enforce_balance: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """One paid submission. Equal inputs to one model have equal fingerprints."""

    request_id: str
    model_id: str
    received_at: datetime
    given: Json
    price: int
    fingerprint: str
    marker: str | None


@dataclass(frozen=True, slots=True)
class Order:
    """A valid submission: the model, its input, and what the script has in store for it."""

    model: Model
    given: Json
    triggers: Triggers
    twist: Twist | None = None


class World:
    """One account at RunComfy."""

    def __init__(self, setup: Setup, catalogue: Catalogue, ids: IdSource) -> None:
        """Start empty."""
        self.catalogue = catalogue
        self._ids = ids
        self._start = setup
        self.reset()

    def reset(self) -> None:
        """Back to the start: nothing remembered, no rules, the dice as they were."""
        self.setup = self._start
        self.jobs: dict[str, Job] = {}
        self.ledger: list[Entry] = []
        self.calls: Counter[Call] = Counter()
        self.faulty_calls: Counter[Call] = Counter()
        self.rules: Script[Rule] = Script(random.Random(f"faults {self.setup.seed}"))
        self._chance = random.Random(f"pace {self.setup.seed}")
        self._triggered: Counter[str] = Counter()

    def adjust(self, setup: Setup) -> None:
        """Change settings for what comes, until the next reset."""
        self.setup = setup

    @property
    def exhausted(self) -> bool:
        """Whether a submit is to be refused for want of money."""
        return self.setup.enforce_balance and self.setup.balance <= 0

    def choose(self, moment: Moment) -> Rule | None:
        """The scripted rule for a call, used up by asking."""
        if moment.request_id in self.jobs:
            model_id = self.jobs[moment.request_id].model_id
            moment = replace(moment, model_id=model_id)
        return self.rules.pick(lambda rule: rule.fits(moment))

    def trigger(self, triggers: Triggers, prompt: str) -> Rule | None:
        """The rule that a prompt carries, as often as the prompt allows."""
        if triggers.rule is None:
            return None
        self._triggered[prompt] += 1
        spent = triggers.times is not None and self._triggered[prompt] > triggers.times
        return None if spent else triggers.rule

    def submit(self, order: Order, now: datetime) -> Job:
        """Accept and book a request. Its delays are the next of the seeded row."""
        pace = order.triggers.pace(self.setup.pace)
        starts_at = now + pace.queue.draw(self._chance)
        job = Job(
            request_id=self._ids(),
            model_id=order.model.model_id,
            product=order.model.product_of(order.given),
            price=order.model.price_of(order.given),
            submitted_at=now,
            starts_at=starts_at,
            ends_at=starts_at + pace.run.draw(self._chance),
            place=self._chance.randint(2, _LONGEST_QUEUE),
            twist=order.twist,
        )
        self.jobs[job.request_id] = job
        self._book(job, order)
        return job

    def cancel(self, job: Job, now: datetime) -> tuple[Job, Outcome]:
        """Cancel while it waits, and give the money back."""
        changed, outcome = job.cancel(now)
        self.jobs[job.request_id] = changed
        self._charge(changed.charge - job.charge)
        return changed, outcome

    def _book(self, job: Job, order: Order) -> None:
        text = orjson.dumps([job.model_id, order.given], option=orjson.OPT_SORT_KEYS)
        entry = Entry(
            request_id=job.request_id,
            model_id=job.model_id,
            received_at=job.submitted_at,
            given=order.given,
            price=job.price,
            fingerprint=hashlib.sha256(text).hexdigest()[:16],
            marker=order.triggers.marker,
        )
        self.ledger.append(entry)
        self._charge(job.charge)

    def _charge(self, amount: int) -> None:
        if amount:
            self.setup = replace(self.setup, balance=self.setup.balance - amount)
