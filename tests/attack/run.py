"""`python -m tests.attack.run`: attack a real stack beside a tenant that goes on with its work.

For each attack the bystander's times are taken without it and with it, in turns. Exits 1 if a
process ended, passed its memory, or a call of the bystander was not answered. On a machine that
has other work, start it as root, in a session of its own (`setsid -w`): it then goes before that.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Final

from simulator.stack import Stack, StackPlan, TenantCredentials, run_stack, without_settings
from tests.attack.attacker import READY
from tests.attack.attacks import ATTACKS, Attack
from tests.attack.bystander import Answers, Bystander
from tests.attack.processes import (
    HIGH_PRIORITY,
    LIMIT_MIB,
    LOWEST_PRIORITY,
    MachineWatch,
    MemoryLimits,
    ProcessWatch,
    set_priority,
)
from tests.attack.target import Target
from tests.support.stack import AMPLE_BALANCE

MAX_RATIO: Final = 2.0
"""By how much an attack may lengthen the bystander's 99th percentile."""
FULL_MACHINE: Final = 0.05
"""Of all cores, what is idle at least where they are not the limit."""
CONTROL: Final = "control"
_END_TIMEOUT_SECONDS: Final = 120
_SETTLING_SECONDS: Final = 1.0
_SETTINGS: Final = {
    "GATEWAY_MAX_SUBSCRIPTIONS": "1000",
    "GATEWAY_MAX_SUBSCRIPTIONS_PER_TENANT": "500",
    "GATEWAY_POLL__INITIAL_DELAY": "0.5",
    "GATEWAY_CONSOLE__ENABLED": "true",
    "GATEWAY_MCP__ENABLED": "true",
}
_ATTACKERS_LIMITS: Final = (
    *("--requests-per-minute", "600", "--calls-per-minute", "1200"),
    *("--webhook-actions-per-minute", "10", "--stored-bytes", "50000000"),
    *("--usd-per-day", "1000", "--cache", "use", "--burst", "100"),
)


@dataclass(frozen=True, slots=True)
class Size:
    """How long each attack and each time without one is, and how often they take turns."""

    seconds: float
    rounds: int


@dataclass(slots=True)
class Finding:
    """What one attack did."""

    attack: Attack
    quiet: Answers = field(default_factory=Answers)
    attacked: Answers = field(default_factory=Answers)
    ratios: list[float] = field(default_factory=list)
    """Of each round: the bystander's 99th percentile with the attack by the one without."""
    idle_shares: list[float] = field(default_factory=list)
    """Of each round: of all cores, while attacked."""
    counts: Counter[str] = field(default_factory=Counter)
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)
    """By process: MiB before, and at most."""
    cpu: dict[str, float] = field(default_factory=dict)
    """By process: the mean share of a core that it used while it was attacked."""
    ended: list[str] = field(default_factory=list)

    @property
    def ratio(self) -> float:
        """The median of the rounds: one slow second of the machine is in one round only."""
        return median(self.ratios)

    def add_round(self, quiet: Answers, attacked: Answers) -> None:
        """Add the answers without the attack, and those with it."""
        self.ratios.append(attacked.percentile_ms(0.99) / quiet.percentile_ms(0.99))
        self.quiet.add(quiet)
        self.attacked.add(attacked)

    @property
    def has_full_machine(self) -> bool:
        """Whether the cores had nothing left: then the machine is measured, not the gateway."""
        return mean(self.idle_shares) < FULL_MACHINE

    def violations(self) -> list[str]:
        """What must not be, apart from times."""
        name, found = self.attack.name, [f"{self.attack.name}: {one} ended" for one in self.ended]
        if not self.attacked.all_answered:
            failed = dict(self.attacked.failed)
            webhooks = f"{self.attacked.webhooks_received} of {self.attacked.webhooks_sent}"
            found.append(f"{name}: the bystander got {failed or 'answers'}, {webhooks} test events")
        found += [
            f"{name}: {process} took {peak} MiB"
            for process, (_, peak) in self.memory.items()
            if peak > LIMIT_MIB and process != "redis"
        ]
        allowed = self.attack.forbidden & self.counts.keys()
        return found + [f"{name}: {self.counts[one]} answers {one}" for one in sorted(allowed)]


class AttackRun:
    """Runs attacks against a running stack."""

    def __init__(self, stack: Stack, size: Size, attackers_priority: int) -> None:
        self._stack = stack
        self._size = size
        self._attackers_priority = attackers_priority
        self._processes = {one.name: one for one in (*stack.services, *stack.workers)}
        self._pids = {name: one.pid or 0 for name, one in self._processes.items()}
        if stack.redis:
            self._pids["redis"] = stack.redis.pid or 0

    async def run(
        self, attacks: Sequence[Attack], target: Target, bystanders: TenantCredentials
    ) -> list[Finding]:
        """Run the attacks, one after the other, and print each finding."""
        bystander = Bystander(self._stack, bystanders)
        await bystander.prepare()
        await bystander.run(self._size.seconds)  # the first calls load code and scripts
        findings = []
        for attack in attacks:
            finding = Finding(attack)
            for _ in range(self._size.rounds):
                quiet = await bystander.run(self._size.seconds)
                finding.add_round(quiet, await self._attack(finding, target, bystander))
                await asyncio.sleep(_SETTLING_SECONDS)
            print(line(finding), flush=True)
            findings.append(finding)
        return findings

    async def _attack(self, finding: Finding, target: Target, bystander: Bystander) -> Answers:
        with ExitStack() as watching:
            watches = {
                name: watching.enter_context(ProcessWatch(pid)) for name, pid in self._pids.items()
            }
            async with self._attacker(finding.attack, target) as attacker:
                with MachineWatch() as machine:
                    attacked = await bystander.run(self._size.seconds)
                finding.counts += await _counts_of(attacker)
        finding.idle_shares.append(machine.idle_share)
        for name, watch in watches.items():
            finding.cpu[name] = finding.cpu.get(name, 0.0) + watch.cpu_share / self._size.rounds
            first, peak = finding.memory.get(name, (watch.before, 0))
            finding.memory[name] = (first, max(peak, watch.peak))
        finding.ended += [name for name, one in self._processes.items() if one.pid is None]
        return attacked

    @asynccontextmanager
    async def _attacker(self, attack: Attack, target: Target) -> AsyncIterator[Process]:
        """Start an attack in a process of its own; the block begins when it does."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.attack.attacker"),
            *(attack.name, str(self._size.seconds), str(self._attackers_priority)),
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,
        )
        try:
            stdin, stdout = process.stdin, process.stdout
            assert stdin is not None
            assert stdout is not None
            assert (await stdout.readline()).decode().strip() == READY
            stdin.write(f"{target.to_json()}\n".encode())
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _counts_of(attacker: Process) -> Counter[str]:
    output, _ = await asyncio.wait_for(attacker.communicate(), _END_TIMEOUT_SECONDS)
    if attacker.returncode:
        raise RuntimeError(f"the attacker exited with {attacker.returncode}")
    return Counter(json.loads(output))


def create_target(stack: Stack) -> Target:
    """Create the attacker's tenants and keys."""
    tenant = stack.create_tenant("attacker", *_ATTACKERS_LIMITS)
    created = stack.run_gateway("key", "create", "attacker", "--scopes", "submit", "--json")
    return Target(
        port=port_of(stack.url),
        service_metrics_port=port_of(stack.service_metrics_urls[0].removesuffix("/metrics")),
        worker_metrics_port=port_of(stack.workers[0].url),
        key=tenant.key,
        unlimited_key=stack.create_tenant("unlimited", "--cache", "use").key,
        submit_key=str(json.loads(created)["key"]),
    )


def port_of(url: str) -> int:
    """The port of a URL without a path."""
    return int(url.rpartition(":")[2])


def run_attacks(
    folder: Path, environment: Mapping[str, str], size: Size, attacks: Sequence[Attack] = ATTACKS
) -> list[Finding]:
    """Run attacks on a new stack in `folder`, and print a line for each."""
    plan = StackPlan(
        folder, environment={**environment, **_SETTINGS}, runcomfy_options=AMPLE_BALANCE
    )
    with MemoryLimits() as limits, run_stack(plan) as stack:
        for process in (*stack.services, *stack.workers):
            limits.add(process.name, process.pid or 0)
        priority = 0 if put_before_other_work(stack) else LOWEST_PRIORITY
        print(HEADING if limits.are_in_force else f"no cgroup to limit memory with\n{HEADING}")
        tenants = create_target(stack), stack.create_tenant("bystander")
        return asyncio.run(AttackRun(stack, size, priority).run(attacks, *tenants))


def put_before_other_work(stack: Stack) -> bool:
    """Give the stack and its caller a high priority, and the service a core. False: not allowed.

    What the machine does beside, and what an attacker's process takes, is not to be measured.
    """
    pids = [one.pid for one in stack.processes] + [stack.redis.pid if stack.redis else None]
    if os.getsid(0) == os.getpid():  # else it is the priority of a whole terminal
        pids.append(os.getpid())
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(cores) > 1:
        os.sched_setaffinity(stack.services[0].pid or 0, cores[:1])
        os.sched_setaffinity(0, cores[1:])
    allowed = [set_priority(pid, HIGH_PRIORITY) for pid in pids if pid]
    return all(allowed)


HEADING: Final = (
    f"{'attack':<17} {'p50':>7} {'attacked':>8} {'p99':>7} {'attacked':>8} {'ratio':>5} "
    f"{'of rounds':>10} {'own':>9} {'idle':>5} {'webhook':>7}  memory and share of a core, counts"
)


def line(finding: Finding) -> str:
    """A finding as a line: times in ms, of a test event in s, memory before and at most.

    `own` is by how much the bystander's process was late itself, without and with the attack; it is
    part of its times.
    """
    quiet, attacked = finding.quiet, finding.attacked
    memory = ", ".join(
        f"{name} {a}-{b} MiB {finding.cpu[name]:.0%}" for name, (a, b) in finding.memory.items()
    )
    counts = ", ".join(f"{name}: {number}" for name, number in sorted(finding.counts.items()))
    spread = f"{min(finding.ratios):.1f}-{max(finding.ratios):.1f}"
    own = f"{quiet.own_ms:.1f}/{attacked.own_ms:.1f}"
    return (
        f"{finding.attack.name:<17} {quiet.percentile_ms(0.5):>7.1f} "
        f"{attacked.percentile_ms(0.5):>8.1f} {quiet.percentile_ms(0.99):>7.1f} "
        f"{attacked.percentile_ms(0.99):>8.1f} {finding.ratio:>5.1f} "
        f"{spread:>10} {own:>9} {mean(finding.idle_shares):>5.0%} "
        f"{max(attacked.webhook_seconds, default=-1):>7.1f}  {memory}; {counts}"
    )


def slow_lines(findings: Sequence[Finding]) -> list[str]:
    """A line for each attack beyond `MAX_RATIO`, and what the machine alone makes of it."""
    control = next((one for one in findings if one.attack.name == CONTROL), None)
    beside = f"; any load on all cores: x{control.ratio:.1f}" if control else ""
    return [
        f"{one.attack.name}: p99 x{one.ratio:.1f}"
        + (f" (no core had time left{beside})" if one.has_full_machine else "")
        for one in findings
        if one.ratio > MAX_RATIO
    ]


def main() -> int:
    """Run the command. Returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5, help="of each attack, and without it")
    parser.add_argument("--rounds", type=int, default=3)
    names = [attack.name for attack in ATTACKS]
    parser.add_argument("--only", action="append", choices=names, help="only this attack")
    parser.add_argument("--keep", type=Path, help="keep logs and data in this new folder")
    given = parser.parse_args()
    attacks = [attack for attack in ATTACKS if not given.only or attack.name in given.only]
    with tempfile.TemporaryDirectory() as scratch:
        folder, environment = given.keep or Path(scratch), without_settings(os.environ)
        size = Size(given.seconds, given.rounds)
        findings = run_attacks(folder, environment, size, attacks)
    violations = [text for finding in findings for text in finding.violations()]
    slow = slow_lines(findings)
    print("\n".join([*(f"VIOLATION  {text}" for text in violations), *slow]) or "all held")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
