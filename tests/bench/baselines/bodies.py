"""The body that the baselines validate, written with pydantic in the usual way."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """One of several prompts."""

    prompt: str
    duration: int = Field(5, ge=3, le=15)


class Element(BaseModel):
    """A reference of the video."""

    frontal_image_url: str
    reference_image_urls: list[str] = []


class Kling(BaseModel):
    """The input of the Kling model."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    start_image_url: str
    multi_prompt: list[Part] = Field([], max_length=20)
    duration: int = Field(10, ge=3, le=15)
    generate_audio: bool = True
    elements: list[Element] = Field([], max_length=3)
    shot_type: Literal["customize"] = "customize"
    negative_prompt: str | None = None
    cfg_scale: float = Field(0.5, ge=0, le=1)


class AcceptedResponse(BaseModel):
    """The answer."""

    request_id: str
    status: str
    status_url: str
    result_url: str
    cancel_url: str


def accepted_response(job_id: str) -> AcceptedResponse:
    """The answer for a new job."""
    root = f"http://127.0.0.1/v1/requests/{job_id}"
    return AcceptedResponse(
        request_id=job_id,
        status="in_queue",
        status_url=f"{root}/status",
        result_url=f"{root}/result",
        cancel_url=f"{root}/cancel",
    )
