/** A gateway that answers calls in turn, on a clock that advances only by sleeping. */
import { Client } from "runcomfy-gateway-client";

export const ID = "019aac77-eeb8-7a3d-9c1e-5b7f20d4e681";
export const MODEL = "kling/kling-3.0/standard/image-to-video";

/** @typedef {{ url: URL, method: string, headers: Headers, body: BodyInit | null }} Call */
/** @typedef {Response | Error | ((call: Call) => Response)} Answer */

/** @param {Answer[]} answers */
export function fakeGateway(...answers) {
    /** @type {Call[]} */
    const calls = [];
    /** @type {number[]} */
    const pauses = [];
    let clock = 0;
    const client = new Client({
        baseUrl: "https://gateway.example/base/",
        apiKey: "rcg_1",
        fetch: async (url, init = {}) => {
            init.signal?.throwIfAborted();
            const { method = "GET", body = null } = init;
            const call = {
                url: new URL(String(url)),
                method,
                headers: new Headers(init.headers),
                body,
            };
            calls.push(call);
            const answer = answers.shift();
            if (answer === undefined) throw new Error("the gateway has no more answers");
            if (answer instanceof Error) throw answer;
            return answer instanceof Response ? answer : answer(call);
        },
        surroundings: {
            now: () => clock,
            random: () => 0,
            sleep: async (seconds, signal) => {
                signal?.throwIfAborted();
                pauses.push(seconds);
                clock += seconds;
            },
        },
    });
    return { client, calls, pauses };
}

/** @param {unknown} document @param {Record<string, string>} [headers] */
export function ok(document, headers = {}) {
    return new Response(JSON.stringify(document), { headers });
}

/** @param {string} code @param {number} status @param {Record<string, unknown>} [fields] */
export function problem(code, status, fields = {}, retryAfter = "") {
    const document = { code, detail: "No.", retryable: false, billed: "no", ...fields };
    const headers = { "content-type": "application/problem+json", "retry-after": retryAfter };
    return new Response(JSON.stringify(document), { status, headers });
}

/** @param {string} word */
export function status(word) {
    const document = { request_id: ID, status: word, gateway_status: word };
    return ok(document, { "preference-applied": "wait=30" });
}

/** @param {string} word @param {Record<string, unknown>} [fields] */
export function result(word, fields = {}) {
    const own = { request_id: ID, gateway_status: word, model_id: MODEL, billed: "yes" };
    return ok({ ...own, ...fields });
}

/** A response whose body breaks off after the parts. @param {string[]} parts */
export function broken(...parts) {
    let next = 0;
    const body = new ReadableStream({
        pull: (controller) => {
            const part = parts[next++];
            if (part === undefined) controller.error(new TypeError("terminated"));
            else controller.enqueue(new TextEncoder().encode(part));
        },
    });
    return new Response(body);
}
