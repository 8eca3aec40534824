"""The simulated RunComfy's state: requests, ledger, balance, counters and rules.

Time, randomness and ids are arguments. Money is in micro-dollars.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import orjson

from simulator.runcomfy.catalogue import SimulatedCatalogue, SimulatedModel
from simulator.runcomfy.faults import CallContext, FaultRule, SimulatedOperation
from simulator.runcomfy.job import Anomaly, Pace, SimulatedCancelOutcome, SimulatedRequest
from simulator.runcomfy.prompt_triggers import PromptTriggers
from simulator.runcomfy.vocabulary import Vocabulary
from simulator.script_fields import Json
from simulator.script_rules import RuleList

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


@dataclass(frozen=True, slots=True)
class ValidatedSubmit:
    """A valid submit: the model, its input, and scripted triggers and anomalies."""

    model: SimulatedModel
    input: Json
    triggers: PromptTriggers
    anomaly: Anomaly | None = None


class RunComfyState:
    """One account at RunComfy."""

    def __init__(
        self, config: SimulatorConfig, catalogue: SimulatedCatalogue, ids: IdFactory
    ) -> None:
        self.catalogue = catalogue
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

    def take_rule(self, context: CallContext) -> FaultRule | None:
        """Return the rule for a call and count it as used; None if none applies."""
        if context.request_id in self.jobs:
            model_id = self.jobs[context.request_id].model_id
            context = replace(context, model_id=model_id)
        return self.rules.take_match(lambda rule: rule.matches(context))

    def take_triggered_rule(self, triggers: PromptTriggers, prompt: str) -> FaultRule | None:
        """Return the rule of a prompt, at most as often as the prompt allows."""
        if triggers.rule is None:
            return None
        self._trigger_counts[prompt] += 1
        spent = triggers.max_times is not None and self._trigger_counts[prompt] > triggers.max_times
        return None if spent else triggers.rule

    def submit(self, submit: ValidatedSubmit, now: datetime) -> SimulatedRequest:
        """Accept and charge a request. Its durations come from the seeded generator."""
        pace = submit.triggers.pace_or_default(self.config.pace)
        starts_at = now + pace.queue.sample(self._rng)
        job = SimulatedRequest(
            request_id=self._ids(),
            model_id=submit.model.model_id,
            product=submit.model.product_of(submit.input),
            price=submit.model.price_of(submit.input),
            submitted_at=now,
            starts_at=starts_at,
            ends_at=starts_at + pace.run.sample(self._rng),
            initial_queue_position=self._rng.randint(2, _MAX_QUEUE_POSITION),
            anomaly=submit.anomaly,
        )
        self.jobs[job.request_id] = job
        self._record_submit(job, submit)
        return job

    def cancel(
        self, job: SimulatedRequest, now: datetime
    ) -> tuple[SimulatedRequest, SimulatedCancelOutcome]:
        """Cancel a queued request and refund it."""
        changed, outcome = job.cancel(now)
        self.jobs[job.request_id] = changed
        self._charge(changed.charge - job.charge)
        return changed, outcome

    def _record_submit(self, job: SimulatedRequest, submit: ValidatedSubmit) -> None:
        text = orjson.dumps([job.model_id, submit.input], option=orjson.OPT_SORT_KEYS)
        entry = PaidSubmission(
            request_id=job.request_id,
            model_id=job.model_id,
            received_at=job.submitted_at,
            input=submit.input,
            price=job.price,
            fingerprint=hashlib.sha256(text).hexdigest()[:16],
            marker=submit.triggers.marker,
        )
        self.ledger.append(entry)
        self._charge(job.charge)

    def _charge(self, amount: int) -> None:
        if amount:
            self.config = replace(self.config, balance=self.config.balance - amount)
