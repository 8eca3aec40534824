"""The simulated RunComfy's state: requests, ledger, balance, counters and rules.

Time, randomness and ids are arguments. Money is in micro-dollars.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson

from simulator.runcomfy.catalogue import SimulatedModel
from simulator.runcomfy.faults import FaultRule, SimulatedOperation
from simulator.runcomfy.job import Anomaly, Pace, SimulatedRequest
from simulator.runcomfy.prompt_triggers import NO_TRIGGERS, PromptTriggers
from simulator.runcomfy.vocabulary import Vocabulary
from simulator.script import Json, RuleList

IdFactory = Callable[[], str]
_MAX_QUEUE_POSITION = 12


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """Settings. ``token`` None: any is accepted; ``enforce_balance``: refuse when it is used up."""

    pace: Pace
    seed: int = 0
    token: str | None = None
    cost_delay: timedelta = timedelta(0)
    balance: int = 100_000_000
    enforce_balance: bool = False
    vocabulary: Vocabulary = Vocabulary.DOCUMENTED


@dataclass(frozen=True, slots=True)
class PaidSubmission:
    """One paid submission. Equal inputs to one model have equal fingerprints."""

    request_id: str
    model_id: str
    received_at: datetime
    input: Json
    price: int
    fingerprint: str
    marker: str | None


class RunComfyState:
    """One account at RunComfy."""

    def __init__(
        self, config: SimulatorConfig, models: Mapping[str, SimulatedModel], ids: IdFactory
    ) -> None:
        self.models = models
        self._ids = ids
        self._initial_config = config
        self.reset()

    def reset(self) -> None:
        """Restore the initial state, including the seeds."""
        self.config = self._initial_config
        self.jobs: dict[str, SimulatedRequest] = {}
        self.ledger: list[PaidSubmission] = []
        self.calls: Counter[SimulatedOperation] = Counter()
        self.faulty_calls: Counter[SimulatedOperation] = Counter()
        self.rules: RuleList[FaultRule] = RuleList(random.Random(f"faults {self.config.seed}"))
        self._rng = random.Random(f"pace {self.config.seed}")
        self._trigger_counts: Counter[str] = Counter()

    def update_config(self, config: SimulatorConfig) -> None:
        """Change the settings until the next reset."""
        self.config = config

    @property
    def is_out_of_balance(self) -> bool:
        """Whether a submit is refused because the balance is used up."""
        return self.config.enforce_balance and self.config.balance <= 0

    def take_rule(
        self, operation: SimulatedOperation, model_id: str | None, request_id: str | None
    ) -> FaultRule | None:
        """Return the rule for a call and count it as used; None if none applies."""
        if request_id in self.jobs:
            model_id = self.jobs[request_id].model_id
        return self.rules.take_match(lambda rule: rule.matches(operation, model_id, request_id))

    def take_triggered_rule(self, triggers: PromptTriggers, prompt: str) -> FaultRule | None:
        """Return the rule of a prompt, at most as often as the prompt allows."""
        if triggers.rule is None:
            return None
        self._trigger_counts[prompt] += 1
        spent = triggers.max_times is not None and self._trigger_counts[prompt] > triggers.max_times
        return None if spent else triggers.rule

    def submit(
        self,
        model: SimulatedModel,
        payload: Json,
        now: datetime,
        triggers: PromptTriggers = NO_TRIGGERS,
        anomaly: Anomaly | None = None,
    ) -> SimulatedRequest:
        """Accept and charge a valid request. Its durations come from the seeded generator."""
        pace = triggers.pace_or_default(self.config.pace)
        starts_at = now + pace.queue.sample(self._rng)
        job = SimulatedRequest(
            request_id=self._ids(),
            model_id=model.model_id,
            product=model.product_of(payload),
            price=model.price_of(payload),
            submitted_at=now,
            starts_at=starts_at,
            ends_at=starts_at + pace.run.sample(self._rng),
            initial_queue_position=self._rng.randint(2, _MAX_QUEUE_POSITION),
            anomaly=anomaly,
        )
        self.jobs[job.request_id] = job
        self._record_submit(job, payload, triggers.marker)
        return job

    def cancel(self, job: SimulatedRequest, now: datetime) -> SimulatedRequest:
        """Return the request after a cancel: one that was queued is cancelled and refunded."""
        changed = job.cancel(now)
        self.jobs[job.request_id] = changed
        self._charge(changed.charge - job.charge)
        return changed

    def _record_submit(self, job: SimulatedRequest, payload: Json, marker: str | None) -> None:
        text = orjson.dumps([job.model_id, payload], option=orjson.OPT_SORT_KEYS)
        entry = PaidSubmission(
            request_id=job.request_id,
            model_id=job.model_id,
            received_at=job.submitted_at,
            input=payload,
            price=job.price,
            fingerprint=hashlib.sha256(text).hexdigest()[:16],
            marker=marker,
        )
        self.ledger.append(entry)
        self._charge(job.charge)

    def _charge(self, amount: int) -> None:
        if amount:
            self.config = replace(self.config, balance=self.config.balance - amount)
