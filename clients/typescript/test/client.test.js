import assert from "node:assert/strict";
import { test } from "node:test";
import {
    Client,
    ConnectionFailed,
    GatewayError,
    RequestEndedWithoutOutput,
    WaitTimeout,
} from "runcomfy-gateway-client";
import { fakeGateway, ID, MODEL, ok, problem, result, status } from "./fake_gateway.js";

const INPUT = { prompt: "é" };

test("a submit has the input as its body and the options as its query", async () => {
    const { client, calls } = fakeGateway(status("in_queue"));
    const labels = { team: "growth", app: "web" };
    const request = await client.submit(MODEL, INPUT, {
        max_cost: 1.5,
        webhook_intermediate_status: true,
        labels,
    });
    assert.equal(request.id, ID);
    const [call] = calls;
    assert.equal(call?.url.pathname, `/base/v1/models/${MODEL}`);
    assert.equal(
        call?.url.search,
        "?max_cost=1.5&webhook_intermediate_status=true&label=team%3Agrowth&label=app%3Aweb",
    );
    assert.equal(call?.body, '{"prompt":"é"}');
    assert.equal(call?.headers.get("authorization"), "Bearer rcg_1");
});

test("lists and reports have their filters as the query", async () => {
    const { client, calls } = fakeGateway(ok({}), ok({}), ok({}), ok({}), ok({}));
    await client.listRequests({ status: "failed", label: ["team:a", "app:b"], limit: 5 });
    await client.listRequests();
    await client.models({ search: "kling", offset: 50 });
    await client.usageReport({ from: "2026-11-01", by: "model" });
    await client.usageReport();
    assert.deepEqual(
        calls.map(({ url }) => url.pathname.replace("/base/v1", "") + url.search),
        [
            "/requests?status=failed&label=team%3Aa&label=app%3Ab&limit=5",
            "/requests",
            "/models?search=kling&offset=50",
            "/usage?from=2026-11-01&by=model",
            "/usage?by=day",
        ],
    );
});

test("any model id becomes a path", async () => {
    const { client, calls } = fakeGateway(ok({}), ok({}));
    await client.model("minimax/Hailuo Video 01 Live");
    await client.model("a/b?c#d");
    const paths = calls.map((call) => call.url.pathname);
    assert.deepEqual(paths, [
        "/base/v1/models/minimax/Hailuo%20Video%2001%20Live",
        "/base/v1/models/a/b%3Fc%23d",
    ]);
});

test("each submit has a key of its own unless one is given", async () => {
    const { client, calls } = fakeGateway(
        status("in_queue"),
        status("in_queue"),
        status("in_queue"),
    );
    await client.submit(MODEL, INPUT);
    await client.submit(MODEL, INPUT);
    await client.submit(MODEL, INPUT, { idempotencyKey: "order-7" });
    const keys = calls.map((call) => call.headers.get("idempotency-key"));
    assert.equal(new Set(keys).size, 3);
    assert.equal(keys[2], '"order-7"');
    assert.equal(calls[2]?.url.search, "");
});

test("a repeated submit has the same key, and pauses grow", async () => {
    const { client, calls, pauses } = fakeGateway(
        new TypeError("fetch failed"),
        problem("store_silent", 503, { retryable: true }),
        new Response("<html>", { status: 502 }),
        status("in_queue"),
    );
    await client.submit(MODEL, INPUT);
    assert.equal(calls.length, 4);
    assert.equal(new Set(calls.map((call) => call.headers.get("idempotency-key"))).size, 1);
    assert.deepEqual(pauses, [0.5, 1, 2]);
});

test("nothing is repeated that the gateway calls final", async () => {
    const errors = [{ path: "/a", message: "is wrong" }];
    const { client, calls } = fakeGateway(problem("invalid_input", 422, { errors }));
    await assert.rejects(client.run(MODEL, INPUT), (error) => {
        assert.ok(error instanceof GatewayError);
        assert.deepEqual(
            [error.code, error.status, error.retryable, error.billed],
            ["invalid_input", 422, false, "no"],
        );
        assert.deepEqual(error.fields, errors);
        assert.match(error.message, /\/a: is wrong/);
        return true;
    });
    assert.equal(calls.length, 1);
});

test("an answer that is no JSON, and a redirection, are errors", async () => {
    const moved = new Response(null, {
        status: 307,
        headers: { location: "https://other.example" },
    });
    const { client } = fakeGateway(new Response("<html>no", { status: 404 }), moved);
    await assert.rejects(client.usage(), { code: "http_404" });
    await assert.rejects(client.usage(), { code: "http_307" });
});

test("Retry-After is honoured; hours are the caller's decision", async () => {
    const reached = { retryable: true, "violated-policies": ["requests_per_day"] };
    const soon = fakeGateway(problem("limit_reached", 429, reached, "12"), status("in_queue"));
    await soon.client.submit(MODEL, INPUT);
    assert.deepEqual(soon.pauses, [12]);
    const late = fakeGateway(problem("limit_reached", 429, reached, "7200"));
    await assert.rejects(late.client.submit(MODEL, INPUT), {
        code: "limit_reached",
        retryAfter: 7200,
        violatedPolicies: ["requests_per_day"],
    });
});

test("no answer to any attempt is an error of its own", async () => {
    const cause = new TypeError("fetch failed", { cause: new Error("ECONNREFUSED") });
    const { client, calls } = fakeGateway(...Array.from({ length: 6 }, () => cause));
    await assert.rejects(client.usage(), (error) => {
        assert.ok(error instanceof ConnectionFailed);
        assert.match(error.message, /ECONNREFUSED/);
        return error.retryable;
    });
    assert.equal(calls.length, 6);
});

test("a caller's signal ends a call and its retries with the signal's reason", async () => {
    const giveUp = new AbortController();
    const { client, calls } = fakeGateway(() => {
        giveUp.abort(new Error("enough"));
        return problem("store_silent", 503, { retryable: true });
    });
    await assert.rejects(client.submit(MODEL, INPUT, { signal: giveUp.signal }), {
        message: "enough",
    });
    assert.equal(calls.length, 1);
});

test("run waits for the end and reports each status", async () => {
    const { client, calls } = fakeGateway(
        status("in_queue"),
        status("in_progress"),
        status("completed"),
        result("completed", { output: { video: "v.mp4" } }),
    );
    /** @type {string[]} */
    const seen = [];
    const { output } = await client.run(MODEL, INPUT, {
        onProgress: (one) => seen.push(one.gateway_status),
    });
    assert.deepEqual(output, { video: "v.mp4" });
    assert.deepEqual(seen, ["in_queue", "in_progress", "completed"]);
    assert.equal(calls[1]?.headers.get("prefer"), "wait=5");
});

test("run takes an answer that is the result already", async () => {
    const { client, calls } = fakeGateway(result("completed", { output: 1 }));
    assert.equal((await client.run(MODEL, INPUT)).output, 1);
    assert.equal(calls.length, 1);
});

test("an end without output is an error with the result", async () => {
    const error = { code: "upstream_failed", message: "It failed." };
    const { client } = fakeGateway(status("failed"), result("failed", { error }));
    await assert.rejects(client.request(ID).wait(), (caught) => {
        assert.ok(caught instanceof RequestEndedWithoutOutput);
        assert.deepEqual(
            [caught.code, caught.billed, caught.requestId],
            ["upstream_failed", "yes", ID],
        );
        return caught.result.gateway_status === "failed";
    });
});

test("a wait that is over leaves the request going on", async () => {
    const without = () =>
        ok({ request_id: ID, gateway_status: "in_queue" }, { "retry-after": "4" });
    const { client, calls, pauses } = fakeGateway(without, without, without);
    await assert.rejects(client.request(ID).wait({ wait: 6 }), (error) => {
        assert.ok(error instanceof WaitTimeout);
        return error.requestId === ID;
    });
    assert.deepEqual(pauses, [4, 2]);
    assert.deepEqual(
        calls.map((call) => call.headers.get("prefer")),
        ["wait=6", "wait=2", null],
    );
});

test("a request is cancelled, shown and deleted", async () => {
    const { client, calls } = fakeGateway(
        ok({ outcome: "cancelled" }),
        ok({ request_id: ID }),
        new Response(null, { status: 204 }),
    );
    const request = client.request(ID);
    assert.equal(await request.cancel(), "cancelled");
    assert.equal((await request.details()).request_id, ID);
    await request.delete();
    assert.deepEqual(
        calls.map((call) => call.method),
        ["POST", "GET", "DELETE"],
    );
});

test("a batch is submitted with one key and waited for", async () => {
    const batch = { batch_id: "b1", status: "running", items: [] };
    const { client, calls, pauses } = fakeGateway(
        ok(batch),
        ok(batch),
        ok({ ...batch, status: "completed" }),
    );
    const { batch_id } = await client.batch([{ model_id: MODEL, input: INPUT }], { admit: "fit" });
    assert.equal((await client.waitForBatch(batch_id)).status, "completed");
    assert.deepEqual(JSON.parse(String(calls[0]?.body)), {
        items: [{ model_id: MODEL, input: INPUT }],
        admit: "fit",
    });
    assert.ok(calls[0]?.headers.has("idempotency-key"));
    assert.deepEqual(pauses, [0.5]);
});

test("a dry run, an upload, and a search", async () => {
    const { client, calls } = fakeGateway(
        ok({ estimated_cost: 1 }),
        ok({ uri: "gateway-file:1" }),
        ok({ models: [] }),
    );
    assert.equal((await client.dryRun(MODEL, INPUT)).estimated_cost, 1);
    assert.equal((await client.upload(new Uint8Array([1, 2]))).uri, "gateway-file:1");
    await client.models({ search: "kling" });
    assert.deepEqual(
        calls.map((call) => call.url.search),
        ["?dry_run=true", "", "?search=kling"],
    );
});

test("a client without URL or key is refused", () => {
    assert.throws(() => new Client({ baseUrl: "https://gateway.example" }), TypeError);
});
