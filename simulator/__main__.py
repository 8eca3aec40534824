"""The command line: ``python -m simulator runcomfy`` and ``python -m simulator receiver``."""

import argparse
import random
import sys
import uuid
from collections.abc import Sequence
from datetime import timedelta

from simulator.clock import WallClock
from simulator.receiver.app import create_receiver_app as receiver_app
from simulator.receiver.inbox import Inbox
from simulator.runcomfy.app import create_runcomfy_app as runcomfy_app
from simulator.runcomfy.catalogue import load_catalogue
from simulator.runcomfy.documents import MICRO_PER_USD
from simulator.runcomfy.job import DurationRange, Pace
from simulator.runcomfy.state import RunComfyState, SimulatorConfig
from simulator.runcomfy.vocabulary import Vocabulary
from simulator.server import serve


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the server named by the first argument until a stop signal."""
    options = _build_parser().parse_args(arguments)
    options.run(options)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    commands = parser.add_subparsers(required=True)
    _add_runcomfy(commands.add_parser("runcomfy", help="a simulated RunComfy Model API"))
    _add_receiver(commands.add_parser("receiver", help="a webhook receiver"))
    return parser


def _add_runcomfy(parser: argparse.ArgumentParser) -> None:
    _add_address(parser, port=8100)
    parser.add_argument("--queue-seconds", type=_parse_range, default="1..2", metavar="LOW..HIGH")
    parser.add_argument("--run-seconds", type=_parse_range, default="2..6", metavar="LOW..HIGH")
    parser.add_argument("--cost-delay-seconds", type=_parse_seconds, default="0")
    parser.add_argument("--token", help="the only accepted token; default: any token")
    parser.add_argument("--balance-usd", type=float, default=100.0)
    parser.add_argument(
        "--enforce-balance", action="store_true", help="answer 402 when the balance is used up"
    )
    parser.add_argument(
        "--words",
        type=Vocabulary,
        choices=list(Vocabulary),
        default=Vocabulary.DOCUMENTED,
        help="status words: RunComfy's documented ones, or others that its clients accept",
    )
    parser.set_defaults(run=_run_runcomfy)


def _add_receiver(parser: argparse.ArgumentParser) -> None:
    _add_address(parser, port=8200)
    parser.add_argument(
        "--secret",
        action="append",
        type=_parse_secret,
        default=[],
        help="whsec_...; may be repeated",
    )
    parser.set_defaults(run=_run_receiver)


def _add_address(parser: argparse.ArgumentParser, *, port: int) -> None:
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=port, help="0: any free port")
    parser.add_argument("--seed", type=int, default=0)


def _run_runcomfy(options: argparse.Namespace) -> None:
    config = SimulatorConfig(
        pace=Pace(queue=options.queue_seconds, run=options.run_seconds),
        seed=options.seed,
        token=options.token,
        cost_delay=options.cost_delay_seconds,
        balance=round(options.balance_usd * MICRO_PER_USD),
        enforce_balance=options.enforce_balance,
        vocabulary=options.words,
    )
    # Ids are not seeded: two runs of the simulator must never return the same one.
    state = RunComfyState(config, load_catalogue(), ids=lambda: str(uuid.uuid4()))
    app = runcomfy_app(state, WallClock())
    serve(app, name="runcomfy", host=options.host, port=options.port, write_line=_write_line)


def _run_receiver(options: argparse.Namespace) -> None:
    inbox = Inbox(random.Random(options.seed))
    for secret in options.secret:
        inbox.add_secret(secret)
    app = receiver_app(inbox, WallClock(), _write_line)
    serve(app, name="receiver", host=options.host, port=options.port, write_line=_write_line)


def _parse_range(text: str) -> DurationRange:
    low, dots, high = text.partition("..")
    span = DurationRange(_parse_seconds(low), _parse_seconds(high if dots else low))
    if span.minimum > span.maximum:
        message = f"{text!r}: the lower bound is above the upper one"
        raise argparse.ArgumentTypeError(message)
    return span


def _parse_secret(text: str) -> str:
    try:
        Inbox(random.Random()).add_secret(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _parse_seconds(text: str) -> timedelta:
    try:
        span = timedelta(seconds=float(text))
    except ValueError:
        message = f"{text!r} is not a number of seconds"
        raise argparse.ArgumentTypeError(message) from None
    if span < timedelta(0):
        message = f"{text!r} is below 0"
        raise argparse.ArgumentTypeError(message)
    return span


def _write_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
