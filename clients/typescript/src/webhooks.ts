/**
 * Verifies webhooks (Standard Webhooks), in any web framework.
 *
 * Parse nothing before the signature is verified. An event comes again until it is answered with
 * 2xx: store `event.id` in the transaction that handles it, and do nothing for one that is stored.
 */
import type { GatewayEvent } from "./documents.ts";

const TOLERANCE_SECONDS = 300;
const SECRET_PREFIX = "whsec_";
const SCHEME = "v1,";

/** The body is not known to be from the gateway: answer 401, and do not use it. */
export class InvalidSignature extends Error {
    override readonly name = "InvalidSignature";
}

/** Headers as frameworks have them: `Headers`, or an object such as Node's. */
export type GivenHeaders =
    Headers | Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Returns the event in a body that was signed with one of the secrets.
 *
 * @param secrets `whsec_…`; several while a secret is being rotated.
 * @param headers of the request; names in any case.
 * @param body exactly as it was received: parsed and written again, it would differ.
 * @param now seconds since 1970.
 * @throws {InvalidSignature} signature, timestamp or a header is missing, wrong, or there twice.
 * @throws {TypeError} a secret is not one, or the body was parsed.
 */
export async function verify(
    secrets: string | readonly string[],
    headers: GivenHeaders,
    body: string | Uint8Array<ArrayBuffer>,
    now: number = Date.now() / 1000,
): Promise<GatewayEvent> {
    if (typeof body !== "string" && !(body instanceof Uint8Array)) {
        throw new TypeError("the body must be as it was received, such as by express.raw()");
    }
    const given = readHeaders(headers);
    const id = given.get("webhook-id");
    const timestamp = given.get("webhook-timestamp") ?? "";
    checkTimestamp(timestamp, now);
    if (!id) throw new InvalidSignature("the id is missing");
    const content = typeof body === "string" ? new TextEncoder().encode(body) : body;
    const signed = concatenate(new TextEncoder().encode(`${id}.${timestamp}.`), content);
    const signatures = (given.get("webhook-signature") ?? "").split(" ");
    for (const secret of typeof secrets === "string" ? [secrets] : secrets) {
        if (await isSigned(signed, secret, signatures)) {
            return { ...JSON.parse(new TextDecoder().decode(content)), id };
        }
    }
    throw new InvalidSignature("no signature matches");
}

/** Returns the headers of a delivery, by their names in lower case. */
function readHeaders(headers: GivenHeaders): { get(name: string): string | null | undefined } {
    if (headers instanceof Headers) return headers;
    const read = new Map<string, string>();
    for (const [given, value] of Object.entries(headers)) {
        const name = given.toLowerCase();
        if (!name.startsWith("webhook-") || value === undefined) continue;
        // The gateway sends each once. Of two, a framework may read the other one.
        if (typeof value !== "string" || read.has(name)) {
            throw new InvalidSignature(`${name} is there twice`);
        }
        read.set(name, value);
    }
    return read;
}

function checkTimestamp(timestamp: string, now: number): void {
    if (!/^[0-9]{1,10}$/.test(timestamp)) {
        throw new InvalidSignature("the timestamp is missing or malformed");
    }
    // An old body may be a recorded one that is sent again.
    if (Math.abs(now - Number(timestamp)) > TOLERANCE_SECONDS) {
        throw new InvalidSignature("the timestamp is too old or too new");
    }
}

async function isSigned(
    signed: Uint8Array<ArrayBuffer>,
    secret: string,
    signatures: readonly string[],
): Promise<boolean> {
    const hmac = { name: "HMAC", hash: "SHA-256" };
    const key = await crypto.subtle.importKey("raw", decodeSecret(secret), hmac, false, ["sign"]);
    // Once, not by `verify` for each signature: a sender can name thousands.
    const expected = new Uint8Array(await crypto.subtle.sign(hmac, key, signed));
    return signatures
        .filter((one) => one.startsWith(SCHEME))
        .map((one) => decode(one.slice(SCHEME.length)))
        .some((bytes) => bytes !== undefined && isEqual(expected, bytes));
}

/** Takes the same time wherever the first difference is: WebCrypto has no such comparison. */
function isEqual(expected: Uint8Array, given: Uint8Array): boolean {
    if (expected.length !== given.length) return false;
    return expected.reduce((all, byte, index) => all | (byte ^ given[index]!), 0) === 0;
}

function decodeSecret(secret: string): Uint8Array<ArrayBuffer> {
    if (!secret.startsWith(SECRET_PREFIX))
        throw new TypeError("a webhook secret begins with whsec_");
    const key = decode(secret.slice(SECRET_PREFIX.length));
    if (key === undefined || key.length === 0)
        throw new TypeError("the webhook secret is not base64");
    return key;
}

function decode(base64: string): Uint8Array<ArrayBuffer> | undefined {
    try {
        return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
    } catch {
        return undefined;
    }
}

function concatenate(
    first: Uint8Array<ArrayBuffer>,
    second: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
    const whole = new Uint8Array(first.length + second.length);
    whole.set(first);
    whole.set(second, first.length);
    return whole;
}
