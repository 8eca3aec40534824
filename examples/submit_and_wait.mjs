// Submits one request and waits for its result, without paying twice. Node 18 or newer, no packages.
//
//     GATEWAY_URL=http://127.0.0.1:8000 GATEWAY_API_KEY=rcg_... node submit_and_wait.mjs
//
// MODEL_ID and PROMPT can be set. A repetition with the same IDEMPOTENCY_KEY returns the request of
// the first run, also after this program was killed.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const { GATEWAY_URL, GATEWAY_API_KEY } = process.env;
const MODEL_ID = process.env.MODEL_ID ?? "kling/kling-3.0/standard/image-to-video";
const INPUT = {
  prompt: process.env.PROMPT ?? "She turns her head and breaks into a soft smile.",
  start_image_url:
    "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/input.png",
};
const FINAL = ["completed", "failed", "cancelled"];
// Seconds that one call waits on the server. The client's own time-out must be longer.
const WAIT = 30;
const ATTEMPTS = 6;

/** Returns the problem document (RFC 9457), or one made of what a proxy answered. */
async function readProblem(response) {
  const type = response.headers.get("content-type") ?? "";
  if (type.startsWith("application/problem+json")) return response.json();
  return { code: `http_${response.status}`, retryable: [502, 503, 504].includes(response.status) };
}

/**
 * Calls the gateway. Retries what may succeed later: no connection, 408, 409, 429, 503.
 * Safe for a submit only because it carries an `Idempotency-Key`.
 */
async function call(method, path, { headers = {}, body } = {}) {
  let failure;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    let pause = 2 ** attempt;
    try {
      const response = await fetch(GATEWAY_URL + path, {
        method,
        body,
        headers: { authorization: `Bearer ${GATEWAY_API_KEY}`, ...headers },
        signal: AbortSignal.timeout((WAIT + 10) * 1000),
      });
      if (response.ok) return await response.json();
      const problem = await readProblem(response);
      failure = new Error(`${problem.code}: ${problem.detail}`);
      if (!problem.retryable) break;
      pause = Number(response.headers.get("retry-after") ?? pause);
    } catch (error) {
      failure = error; // no connection, or no answer in time
    }
    if (attempt < ATTEMPTS) await sleep(pause * 1000);
  }
  throw failure;
}

async function submitAndWait(key) {
  const request = await call("POST", `/v1/models/${MODEL_ID}`, {
    body: JSON.stringify(INPUT),
    headers: { "content-type": "application/json", "idempotency-key": `"${key}"` },
  });
  console.log(request.request_id, request.gateway_status);
  for (;;) {
    const path = `/v1/requests/${request.request_id}/result?include_cost=true`;
    const result = await call("GET", path, { headers: { prefer: `wait=${WAIT}` } });
    if (FINAL.includes(result.gateway_status)) return result;
    console.log(result.request_id, result.gateway_status);
  }
}

const key = process.env.IDEMPOTENCY_KEY ?? randomUUID();
console.log("Idempotency-Key", key);
try {
  const result = await submitAndWait(key);
  console.log(result.request_id, result.gateway_status);
  console.log("output", JSON.stringify(result.output));
  console.log(`cost ${result.cost} USD, billed ${result.billed}`);
  if (result.gateway_status !== "completed") {
    console.error("error", JSON.stringify(result.error));
    process.exitCode = 1;
  }
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}
