/** A tenant's client of one gateway. */
import {
    type Batch,
    type BatchEntry,
    type BatchOptions,
    type CallOptions,
    type DryRun,
    isFinal,
    type Model,
    type ModelFilters,
    type ModelInput,
    type Models,
    type ReportOptions,
    type RequestFilters,
    type Requests,
    type Result,
    type StoredFile,
    type Submitted,
    type SubmitOptions,
    type Usage,
    type UsageReport,
    type WaitOptions,
} from "./documents.ts";
import { WaitTimeout } from "./errors.ts";
import {
    type Call,
    FIRST_PAUSE_SECONDS,
    Http,
    MAX_PAUSE_SECONDS,
    type Query,
    REAL,
    type Surroundings,
} from "./http.ts";
import { Outputs } from "./outputs.ts";
import { expectOutput, GatewayRequest } from "./requests.ts";

/** Seconds; a picture or video takes longer than a document. */
const UPLOAD_SECONDS = 600;
const MAX_BATCH_PAGE = 1000;

export interface ClientOptions {
    /** Of the gateway, without `/v1`. Left out: the variable `GATEWAY_URL`. */
    baseUrl?: string | undefined;
    /** Of the tenant. Left out: the variable `GATEWAY_API_KEY`. */
    apiKey?: string | undefined;
    /** In place of the global one, such as for a proxy. */
    fetch?: typeof fetch;
    /** For tests. */
    surroundings?: Surroundings;
}

export class Client {
    readonly outputs: Outputs;
    readonly #http: Http;

    /** @throws {TypeError} neither the option nor the variable is set. */
    constructor(options: ClientOptions = {}) {
        const environment = environmentVariables();
        const url = options.baseUrl ?? environment["GATEWAY_URL"];
        const key = options.apiKey ?? environment["GATEWAY_API_KEY"];
        if (!url || !key)
            throw new TypeError("set baseUrl and apiKey, or GATEWAY_URL and GATEWAY_API_KEY");
        // A browser's `fetch` must be called as a function of the window.
        const send = options.fetch ?? ((input, init) => fetch(input, init));
        this.#http = new Http(url, key, send, options.surroundings ?? REAL);
        this.outputs = new Outputs(this.#http);
    }

    /**
     * Submits, waits for the end, and returns the result.
     *
     * @throws {GatewayError} the submit was refused; `code` tells why.
     * @throws {RequestEndedWithoutOutput} it ended as `failed` or `cancelled`.
     * @throws {WaitTimeout} it goes on; `request(error.requestId)` continues to wait.
     */
    async run(
        modelId: string,
        input: ModelInput,
        options: SubmitOptions & WaitOptions = {},
    ): Promise<Result> {
        const { wait, onProgress, ...submitOptions } = options;
        const answer = await this.#http.json<Submitted>(submitCall(modelId, input, submitOptions));
        if ("model_id" in answer && isFinal(answer.gateway_status)) return expectOutput(answer);
        if (!("model_id" in answer)) onProgress?.(answer);
        const request = this.request(answer.request_id);
        return request.wait({ wait, onProgress, signal: options.signal });
    }

    /** Submits, and returns the request without waiting for its end. */
    async submit(
        modelId: string,
        input: ModelInput,
        options: SubmitOptions = {},
    ): Promise<GatewayRequest> {
        const answer = await this.#http.json<Submitted>(submitCall(modelId, input, options));
        return this.request(answer.request_id);
    }

    /** Returns the request of this id, also if another process submitted it. Calls nothing. */
    request(requestId: string): GatewayRequest {
        return new GatewayRequest(requestId, this.#http);
    }

    /** Returns what a submit would lead to and cost; nothing is stored or spent. */
    dryRun(modelId: string, input: ModelInput, options: SubmitOptions = {}): Promise<DryRun> {
        const call = submitCall(modelId, input, options);
        return this.#http.json({ ...call, query: { ...call.query, dry_run: true } });
    }

    /** Submits up to 1,000 requests in one call. */
    batch(entries: readonly BatchEntry[], options: BatchOptions = {}): Promise<Batch> {
        const { admit, reference, idempotencyKey, signal } = options;
        return this.#http.json({
            method: "POST",
            path: "/v1/batches",
            headers: submitHeaders(idempotencyKey),
            body: JSON.stringify({ items: entries, admit, reference }),
            signal,
        });
    }

    /** Returns a batch with all its items. */
    showBatch(batchId: string, { signal }: CallOptions = {}): Promise<Batch> {
        const path = `/v1/batches/${encodeURIComponent(batchId)}`;
        return this.#http.json({ method: "GET", path, query: { limit: MAX_BATCH_PAGE }, signal });
    }

    /**
     * Returns a batch after its last request has ended. `wait`: seconds at most.
     *
     * @throws {WaitTimeout} it has not ended in time; it goes on.
     */
    async waitForBatch(
        batchId: string,
        { wait, signal }: Pick<WaitOptions, "wait" | "signal"> = {},
    ): Promise<Batch> {
        const { now, sleep } = this.#http.surroundings;
        const end = wait === undefined ? Infinity : now() + wait;
        for (let pause = FIRST_PAUSE_SECONDS; ; pause = Math.min(2 * pause, MAX_PAUSE_SECONDS)) {
            const batch = await this.showBatch(batchId, { signal });
            if (batch.status === "completed") return batch;
            if (end - now() <= 0) throw new WaitTimeout(batchId, wait ?? 0);
            await sleep(Math.min(pause, end - now()), signal);
        }
    }

    /** Uploads a picture, video or sound; a media field of an input takes its `uri`. */
    upload(content: Blob | BufferSource, { signal }: CallOptions = {}): Promise<StoredFile> {
        return this.#http.json({
            method: "POST",
            path: "/v1/files",
            headers: { "content-type": "application/octet-stream" },
            body: content instanceof Blob ? content : new Blob([content]),
            timeout: UPLOAD_SECONDS,
            signal,
        });
    }

    /** Returns a page of the tenant's requests, newest first; `next_cursor` if there are more. */
    listRequests({ signal, ...query }: RequestFilters = {}): Promise<Requests> {
        return this.#http.json({ method: "GET", path: "/v1/requests", query, signal });
    }

    /** Returns what the tenant used today and this month, and its limits. */
    usage({ signal }: CallOptions = {}): Promise<Usage> {
        return this.#http.json({ method: "GET", path: "/v1/usage", signal });
    }

    /** Returns what the tenant used from one date to another, both included, by day or as `by`. */
    usageReport({ signal, by = "day", ...dates }: ReportOptions = {}): Promise<UsageReport> {
        const query = { ...dates, by };
        return this.#http.json({ method: "GET", path: "/v1/usage", query, signal });
    }

    /** Returns a page of models; `search`: words of their names. `offset`: those to skip. */
    models({ signal, ...query }: ModelFilters = {}): Promise<Models> {
        return this.#http.json({ method: "GET", path: "/v1/models", query, signal });
    }

    /** Returns a model with its price and the JSON Schema of its input. */
    model(modelId: string, { signal }: CallOptions = {}): Promise<Model> {
        return this.#http.json({ method: "GET", path: modelPath(modelId), signal });
    }
}

/** Returns the call of a submit, with a new idempotency key unless the options have one. */
export function submitCall(modelId: string, input: ModelInput, options: SubmitOptions): Call {
    const { idempotencyKey, labels, signal, ...query } = options;
    return {
        method: "POST",
        path: modelPath(modelId),
        query: { ...query, label: labelsOf(labels ?? {}) } satisfies Query,
        headers: submitHeaders(idempotencyKey),
        body: JSON.stringify(input),
        signal,
    };
}

function submitHeaders(idempotencyKey: string = crypto.randomUUID()): Record<string, string> {
    return { "idempotency-key": `"${idempotencyKey}"`, "content-type": "application/json" };
}

function labelsOf(labels: Readonly<Record<string, string>>): string[] {
    return Object.entries(labels).map(([name, value]) => `${name}:${value}`);
}

function modelPath(modelId: string): string {
    return `/v1/models/${modelId.split("/").map(encodeURIComponent).join("/")}`;
}

/** Returns the environment; a browser has none. */
function environmentVariables(): Readonly<Record<string, string | undefined>> {
    return (globalThis as { process?: { env?: Record<string, string> } }).process?.env ?? {};
}
