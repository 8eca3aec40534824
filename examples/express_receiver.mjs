// Receives the gateway's webhooks in Express. Needs `express` and `runcomfy-gateway-client`.
//
//     WEBHOOK_SECRET=whsec_... node express_receiver.mjs
//
// PORT (9000) and HOST (127.0.0.1) can be set.
import express from "express";
import { webhooks } from "runcomfy-gateway-client";

const SECRET = process.env.WEBHOOK_SECRET ?? "";
const HOST = process.env.HOST ?? "127.0.0.1";
// The gateway accepts results of up to 8 MiB from RunComfy.
const MAX_BODY = "10mb";

// Ids of events that were handled; an event comes again if its 2xx was not seen. In production,
// insert the id into a table with a unique constraint, in the same transaction as the work.
const seen = new Set();

/** Your code goes here. Return quickly: the gateway waits 20 seconds for the answer. */
function handle({ type, data }) {
  console.log(["verified", type, data.request_id, data.output?.video].filter(Boolean).join(" "));
}

const app = express();
// The raw body: parsed and serialized again, it would differ. Not after `express.json()`.
const raw = express.raw({ type: () => true, limit: MAX_BODY });
app.post("/hooks", raw, async (request, response) => {
  let event;
  try {
    event = await webhooks.verify(SECRET, request.headers, request.body ?? "");
  } catch (error) {
    if (!(error instanceof webhooks.InvalidSignature)) throw error;
    console.log(`rejected: ${error.message}`);
    return response.sendStatus(401);
  }
  if (seen.has(event.id)) {
    console.log(`duplicate ${event.id}`);
  } else {
    handle(event);
    seen.add(event.id);
  }
  // Only now: any other status than 2xx makes the gateway retry.
  response.sendStatus(204);
});

if (!SECRET.startsWith("whsec_")) {
  throw new Error("WEBHOOK_SECRET must be the whsec_... secret of your tenant");
}
const server = app.listen(Number(process.env.PORT ?? 9000), HOST, () => {
  console.log(`listening on http://${HOST}:${server.address().port}`);
});
