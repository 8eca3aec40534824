// Runs one request with the TypeScript client. Needs `runcomfy-gateway-client`.
//
//     GATEWAY_URL=http://127.0.0.1:8000 GATEWAY_API_KEY=rcg_... node run_with_client.mjs
//
// A repetition with the same IDEMPOTENCY_KEY returns the request of the first run.
import { randomUUID } from "node:crypto";
import { Client, GatewayError } from "runcomfy-gateway-client";

const MODEL_ID = "kling/kling-3.0/standard/image-to-video";
const INPUT = {
  prompt: "She turns her head and breaks into a soft smile.",
  start_image_url:
    "https://playgrounds-storage-public.runcomfy.net/tools/7349/media-files/input.png",
};

const idempotencyKey = process.env.IDEMPOTENCY_KEY ?? randomUUID();
console.log("Idempotency-Key", idempotencyKey);
try {
  const onProgress = (status) => console.log(status.request_id, status.gateway_status);
  const result = await new Client().run(MODEL_ID, INPUT, { onProgress, idempotencyKey });
  console.log("output", JSON.stringify(result.output));
  console.log(`cost ${result.cost} USD, billed ${result.billed}`);
} catch (error) {
  if (!(error instanceof GatewayError)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
