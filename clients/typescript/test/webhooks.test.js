import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { mock, test } from "node:test";
import { webhooks } from "runcomfy-gateway-client";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const NOW = 1_764_000_000;
const BODY =
    '{"type":"request.completed","timestamp":"2025-11-24T16:00:00Z","data":{"reference":"é 🎬"}}';

/** @param {{ secret?: string, id?: string, at?: string | number }} [given] */
function headersOf({ secret = SECRET, id = "msg_1", at = NOW } = {}) {
    const key = Buffer.from(secret.slice("whsec_".length), "base64");
    const signature = createHmac("sha256", key).update(`${id}.${at}.${BODY}`).digest("base64");
    return {
        "webhook-id": id,
        "webhook-timestamp": String(at),
        "webhook-signature": `v1,${signature}`,
    };
}

/** @type {[string, webhooks.GivenHeaders, string | Uint8Array<ArrayBuffer>][]} */
const GOOD = [
    ["text", headersOf(), BODY],
    ["bytes", headersOf(), new TextEncoder().encode(BODY)],
    ["Headers", new Headers(headersOf()), BODY],
    [
        "names in capitals",
        Object.fromEntries(Object.entries(headersOf()).map(([n, v]) => [n.toUpperCase(), v])),
        BODY,
    ],
    [
        "another secret's signature before",
        {
            ...headersOf(),
            "webhook-signature": `v1a,x ${headersOf({ secret: OTHER })["webhook-signature"]} ${headersOf()["webhook-signature"]}`,
        },
        BODY,
    ],
    ["299 s old", headersOf({ at: NOW - 299 }), BODY],
];
for (const [name, headers, body] of GOOD) {
    test(`a signed body is an event: ${name}`, async () => {
        const event = await webhooks.verify(SECRET, headers, body, NOW);
        assert.deepEqual(
            [event.id, event.type, event.timestamp],
            ["msg_1", "request.completed", "2025-11-24T16:00:00Z"],
        );
        assert.deepEqual(event.data, { reference: "é 🎬" });
    });
}

test("either secret is good while one is rotated", async () => {
    assert.equal((await webhooks.verify([OTHER, SECRET], headersOf(), BODY, NOW)).id, "msg_1");
});

/** @param {ReturnType<typeof headersOf>} headers */
function shortened(headers) {
    const signature = headers["webhook-signature"].slice("v1,".length);
    const part = Buffer.from(signature, "base64").subarray(0, 31).toString("base64");
    return { ...headers, "webhook-signature": `v1, v1,${part}` };
}

/** @type {[string, webhooks.GivenHeaders, string][]} */
const BAD = [
    ["another body", headersOf(), `${BODY} `],
    ["another secret", headersOf({ secret: OTHER }), BODY],
    ["another id", { ...headersOf(), "webhook-id": "msg_2" }, BODY],
    ["another time", { ...headersOf(), "webhook-timestamp": String(NOW + 1) }, BODY],
    ["301 s old", headersOf({ at: NOW - 301 }), BODY],
    ["301 s ahead", headersOf({ at: NOW + 301 }), BODY],
    ["no time", headersOf({ at: "now" }), BODY],
    ["an endless time", headersOf({ at: "9".repeat(40) }), BODY],
    ["no id", headersOf({ id: "" }), BODY],
    ["no base64", { ...headersOf(), "webhook-signature": "v1,*** v1, v1" }, BODY],
    [
        "another scheme",
        {
            ...headersOf(),
            "webhook-signature": headersOf()["webhook-signature"].replace("v1,", "v2,"),
        },
        BODY,
    ],
    ["a header twice", { ...headersOf(), "webhook-id": ["msg_1", "msg_1"] }, BODY],
    ["a header under two names", { ...headersOf(), "Webhook-Id": "msg_2" }, BODY],
    ["a header twice, joined", { ...headersOf(), "webhook-id": "msg_1, msg_2" }, BODY],
    ["text that no header can have", { ...headersOf(), "webhook-id": "\ud800 🎬\n" }, BODY],
    ["a part of the signature", shortened(headersOf()), BODY],
    ["no header", {}, BODY],
];
for (const [name, headers, body] of BAD) {
    test(`it is refused: ${name}`, async () => {
        await assert.rejects(
            webhooks.verify(SECRET, headers, body, NOW),
            webhooks.InvalidSignature,
        );
    });
}

test("what is no secret is the receiver's mistake", async () => {
    for (const secret of ["", "secret", "whsec_", "whsec_***"]) {
        await assert.rejects(webhooks.verify(secret, headersOf(), BODY, NOW), TypeError);
    }
});

test("thousands of signatures cost no more than one", async () => {
    const sign = mock.method(crypto.subtle, "sign");
    const many = { ...headersOf(), "webhook-signature": `${"v1,AAAA ".repeat(5000)}v1,AAAA` };
    await assert.rejects(webhooks.verify(SECRET, many, BODY, NOW), webhooks.InvalidSignature);
    assert.equal(sign.mock.callCount(), 1);
    mock.restoreAll();
});

test("a body that was parsed is the receiver's mistake", async () => {
    const parsed = JSON.parse(BODY);
    await assert.rejects(webhooks.verify(SECRET, headersOf(), parsed, NOW), /express.raw/);
});
