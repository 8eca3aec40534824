import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ContentMismatch, OutputNotKept, WaitTimeout } from "runcomfy-gateway-client";
import { downloadTo } from "runcomfy-gateway-client/node";
import { broken, fakeGateway, ID, ok, problem, result } from "./fake_gateway.js";

const CONTENT = "0123456789";
const OUTPUT = {
    index: 0,
    field: "video",
    source_url: "https://storage.example/v.mp4",
    bytes: CONTENT.length,
    media_type: "video/mp4",
    sha256: createHash("sha256").update(CONTENT).digest("hex"),
};

/** @param {string} type @param {string} id */
function event(type, id) {
    const data = JSON.stringify({
        type,
        timestamp: "2025-11-22T14:58:34Z",
        data: { request_id: ID },
    });
    return `id: ${id}\nevent: ${type}\ndata: ${data}\n\n`;
}

/** @param {Record<string, unknown>} [fields] */
function kept(fields = {}) {
    return result("completed", { archive: "kept", outputs: [OUTPUT], ...fields });
}

/** @param {import("runcomfy-gateway-client").Client} client */
async function typesOf(client) {
    const types = [];
    for await (const one of client.request(ID).events()) types.push([one.id, one.type]);
    return types;
}

test("a stream that breaks is opened again after its last event", async () => {
    const first = event("request.in_queue", "0");
    const { client, calls } = fakeGateway(
        broken(
            ": hello\n\n",
            first.slice(0, 9),
            first.slice(9),
            event("request.in_progress", "1").slice(0, 20),
        ),
        new TypeError("fetch failed"),
        problem("store_silent", 503, { retryable: true }),
        new Response(event("request.in_progress", "1") + event("request.completed", "2")),
    );
    assert.deepEqual(await typesOf(client), [
        ["0", "request.in_queue"],
        ["1", "request.in_progress"],
        ["2", "request.completed"],
    ]);
    assert.deepEqual(
        calls.map((call) => call.headers.get("last-event-id")),
        [null, "0", "0", "0"],
    );
});

test("a stream ends where none is left, and at a refusal", async () => {
    const { client } = fakeGateway(new Response(null, { status: 204 }), problem("not_found", 404));
    assert.deepEqual(await typesOf(client), []);
    await assert.rejects(typesOf(client), { code: "not_found" });
});

test("a stream that never delivers is given up", async () => {
    const { client, calls } = fakeGateway(
        ...Array.from({ length: 6 }, () => new TypeError("fetch failed")),
    );
    await assert.rejects(typesOf(client), { code: "connection_failed" });
    assert.equal(calls.length, 6);
});

test("a download that breaks continues where it was", async () => {
    const { client, calls } = fakeGateway(
        kept({ archive: "pending" }),
        kept(),
        broken("012"),
        new Response("34", { status: 206 }),
        new Response(CONTENT), // a server without ranges
    );
    /** @type {number[]} */
    const seen = [];
    const [download] = await client.outputs.download(ID, {
        onProgress: (_, received) => seen.push(received),
    });
    assert.equal(await download?.content.text(), CONTENT);
    assert.equal(download?.content.type, "video/mp4");
    assert.deepEqual(
        calls.map((call) => call.headers.get("range")),
        [null, null, null, "bytes=3-", "bytes=5-"],
    );
    assert.deepEqual(seen, [3, 5, 10]);
});

test("content that is another is refused", async () => {
    const wrong = fakeGateway(kept(), new Response("9876543210"));
    await assert.rejects(wrong.client.outputs.download(ID), ContentMismatch);
    const long = fakeGateway(kept(), new Response(`${CONTENT}!`));
    await assert.rejects(long.client.outputs.download(ID), ContentMismatch);
});

test("what is not kept is told apart from what is not kept yet", async () => {
    const lost = { ...OUTPUT, sha256: undefined, error: "too_large" };
    const failed = fakeGateway(kept({ archive: "failed", outputs: [lost] }));
    await assert.rejects(failed.client.outputs.kept(ID), {
        name: "OutputNotKept",
        code: "too_large",
    });
    const none = fakeGateway(kept());
    await assert.rejects(none.client.outputs.kept(ID, { index: 7 }), OutputNotKept);
    const late = fakeGateway(kept({ archive: "pending" }), kept({ archive: "pending" }));
    await assert.rejects(late.client.outputs.kept(ID, { wait: 0.25 }), WaitTimeout);
});

test("in Node a file has its name only with the right content", async () => {
    const folder = await mkdtemp(join(tmpdir(), "outputs-"));
    try {
        const good = fakeGateway(kept(), broken("012"), new Response("3456789", { status: 206 }));
        const [path] = await downloadTo(good.client, ID, folder);
        assert.equal(path, join(folder, `${ID}-0.mp4`));
        assert.equal(await readFile(String(path), "utf8"), CONTENT);
        const bad = fakeGateway(
            kept({ outputs: [{ ...OUTPUT, index: 1 }] }),
            new Response("9876543210"),
        );
        await assert.rejects(downloadTo(bad.client, ID, folder), ContentMismatch);
        assert.deepEqual(await readdir(folder), [`${ID}-0.mp4`]);
    } finally {
        await rm(folder, { recursive: true });
    }
});

test("an event that is read for ever ends with the caller's signal", async () => {
    const giveUp = new AbortController();
    const { client } = fakeGateway(new Response(event("request.in_queue", "0")), ok({}));
    await assert.rejects(
        async () => {
            for await (const one of client.request(ID).events({ signal: giveUp.signal })) {
                giveUp.abort(new Error(`enough after ${one.id}`));
            }
        },
        { message: "enough after 0" },
    );
});
