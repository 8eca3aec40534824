"""What an attacker knows of the stack, as the JSON document that its process gets."""

import json
from dataclasses import asdict, dataclass, field
from typing import Final, Self

from core.tenants.api_keys import build_api_key
from simulator.example import load_kling_example

MODEL: Final = load_kling_example().model_id
SUBMIT_PATH: Final = f"/v1/models/{MODEL}"
ATTACKER_ADDRESS: Final = "127.0.0.2"
BYSTANDER_ADDRESS: Final = "127.0.0.3"
MIB: Final = 2**20


@dataclass(frozen=True, slots=True)
class Target:
    """The ports of the stack, and the keys of the attacker's own tenant."""

    port: int
    service_metrics_port: int
    worker_metrics_port: int
    key: str
    unlimited_key: str
    """Of another tenant, which has no limits."""
    submit_key: str
    """With the scope `submit` alone."""
    forged_key: str = field(default_factory=lambda: build_api_key("attacker", bytes(32)))
    """With right check digits where those can be computed; no tenant has it."""

    def to_json(self) -> str:
        """The document."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json`."""
        return cls(**json.loads(text))
