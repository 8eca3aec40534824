"""Run several prompts at the same time with the Python client in asyncio.

    GATEWAY_URL=http://127.0.0.1:8000 GATEWAY_API_KEY=rcg_... \
        python run_many_async.py "a cliff" "a bay"

One line of JSON for each prompt. Prompts that fail do not stop the others.
"""

from __future__ import annotations

import asyncio
import json
import sys

from runcomfy_gateway_client import AsyncClient, GatewayError

MODEL_ID = "kling/kling-3.0/standard/image-to-video"
IMAGE = "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/input.png"


async def run(client: AsyncClient, prompt: str) -> bool:
    """Print what became of one prompt, and return whether it has an output."""
    try:
        result = await client.run(MODEL_ID, {"prompt": prompt, "start_image_url": IMAGE})
    except GatewayError as error:
        print(json.dumps({"prompt": prompt, "error": error.code, "billed": error.billed}))
        return False
    print(json.dumps({"prompt": prompt, "output": result.output, "cost": result.cost}))
    return True


async def main() -> int:
    """Return 0 if every prompt has an output."""
    async with AsyncClient() as client:
        done = await asyncio.gather(*(run(client, prompt) for prompt in sys.argv[1:]))
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
