// Receives the gateway's webhooks and verifies their signatures. Node's standard library only.
//
//     WEBHOOK_SECRET=whsec_... node webhook_receiver.mjs
//
// `verify` is the part to copy: it takes the headers and the raw body, and needs no web framework.
// PORT (9000) and HOST (127.0.0.1) can be set. The scheme is https://www.standardwebhooks.com.
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

// Seconds that a timestamp may differ from our clock. It bounds how long a copy can be replayed.
const TOLERANCE = 5 * 60;
// The gateway accepts results of up to 8 MiB from RunComfy.
const MAX_BODY = 10 * 1024 * 1024;
// Webhook ids that are remembered.
const MAX_SEEN = 100_000;

class InvalidSignature extends Error {}

/** Returns the key of a `whsec_...` secret. */
export function decodeSecret(secret) {
  const match = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(secret ?? "");
  if (!match) throw new Error("WEBHOOK_SECRET must be the whsec_... secret of your tenant");
  return Buffer.from(match[1], "base64");
}

/**
 * Checks one request and returns its `webhook-id`; throws `InvalidSignature`.
 *
 * `headers` have lower-case names, as Node's do. `body` is a Buffer, exactly as received: parsed
 * and serialized again, it would differ. `now` is in seconds since 1970.
 */
export function verify(key, headers, body, now) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  const signatures = headers["webhook-signature"];
  if (!id || !signatures || !/^[0-9]{1,10}$/.test(timestamp ?? "")) {
    throw new InvalidSignature("a header is missing or malformed");
  }
  if (Math.abs(now - Number(timestamp)) > TOLERANCE) {
    throw new InvalidSignature("the timestamp is too old or too new");
  }
  const hmac = createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body);
  const expected = Buffer.from(`v1,${hmac.digest("base64")}`);
  // While a secret is being rotated there is one signature for each secret.
  const matches = signatures.split(" ").some((signature) => {
    const candidate = Buffer.from(signature);
    // timingSafeEqual takes the same time wherever the first difference is; it needs equal lengths.
    return candidate.length === expected.length && timingSafeEqual(candidate, expected);
  });
  if (!matches) throw new InvalidSignature("no signature matches");
  return id;
}

// Ids of events that were handled. The gateway sends an event again, under the same id, if it did
// not see our 2xx. In production, insert the id into a table with a unique constraint, in the same
// transaction as the work: a restart then forgets nothing.
const seen = new Set();

/** Your code goes here. Return quickly: the gateway waits 20 seconds for the answer. */
function show({ type, data }) {
  const subject = data.request_id ?? data.batch_id;
  console.log(["verified", type, subject, data.output?.video].filter(Boolean).join(" "));
}

/** Handles an event once. If `show` throws, the id is not remembered and the event comes again. */
function accept(id, body) {
  if (seen.has(id)) {
    console.log(`duplicate ${id}`);
    return;
  }
  show(JSON.parse(body));
  seen.add(id);
  if (seen.size > MAX_SEEN) seen.delete(seen.values().next().value);
}

/** Reads the raw body; null if it is too large. */
async function readBody(request) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MAX_BODY) return null;
    parts.push(part);
  }
  return Buffer.concat(parts);
}

/** Returns the status to answer. Any other than 2xx makes the gateway retry. */
async function receive(key, request) {
  if (request.method !== "POST") return 405;
  const body = await readBody(request);
  if (body === null) return 413;
  try {
    accept(verify(key, request.headers, body, Date.now() / 1000), body);
    return 204;
  } catch (error) {
    console.log(`${error instanceof InvalidSignature ? "rejected" : "failed"}: ${error.message}`);
    return error instanceof InvalidSignature ? 401 : 500;
  }
}

function main() {
  const key = decodeSecret(process.env.WEBHOOK_SECRET);
  const host = process.env.HOST ?? "127.0.0.1";
  const server = createServer(async (request, response) => {
    try {
      response.writeHead(await receive(key, request)).end();
    } catch {
      response.destroy(); // the sender went away while it was sending
    }
  });
  server.requestTimeout = 10_000;
  server.listen(Number(process.env.PORT ?? 9000), host, () => {
    console.log(`listening on http://${host}:${server.address().port}`);
  });
}

main();
