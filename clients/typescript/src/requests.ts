/** A request that was submitted. It is known by its id: another process continues with it alone. */
import {
    type CallOptions,
    type CancelOutcome,
    type Details,
    type GatewayEvent,
    isFinal,
    type Result,
    type Status,
    type WaitOptions,
} from "./documents.ts";
import { RequestEndedWithoutOutput, WaitTimeout } from "./errors.ts";
import { type EventOptions, readEvents } from "./event_stream.ts";
import { type Http, readRetryAfter } from "./http.ts";

const LONG_POLL_SECONDS = 30;
/** How long one call waits on the server while someone watches the progress. */
const PROGRESS_SECONDS = 5;

export class GatewayRequest {
    readonly id: string;
    readonly #http: Http;

    /** Made by `client.submit` and `client.request`. */
    constructor(id: string, http: Http) {
        this.id = id;
        this.#http = http;
    }

    /** Returns the current status. */
    status({ signal }: CallOptions = {}): Promise<Status> {
        return this.#http.json({ method: "GET", path: `${pathOf(this.id)}/status`, signal });
    }

    /**
     * Returns the result after the end.
     *
     * @throws {RequestEndedWithoutOutput} it ended as `failed` or `cancelled`.
     * @throws {WaitTimeout} it has not ended in time; it goes on, and `wait` can be called again.
     */
    async wait(options: WaitOptions = {}): Promise<Result> {
        const { now, sleep } = this.#http.surroundings;
        const longest = options.onProgress === undefined ? LONG_POLL_SECONDS : PROGRESS_SECONDS;
        const end = options.wait === undefined ? Infinity : now() + options.wait;
        for (;;) {
            const seconds = Math.max(0, Math.floor(Math.min(longest, end - now())));
            const reply = await this.#http.exchange({
                method: "GET",
                path: `${pathOf(this.id)}/status`,
                headers: seconds > 0 ? { prefer: `wait=${seconds}` } : {},
                signal: options.signal,
            });
            const status = JSON.parse(reply.text) as Status;
            options.onProgress?.(status);
            if (isFinal(status.gateway_status)) return this.result(options);
            if (end - now() <= 0) throw new WaitTimeout(this.id, options.wait ?? 0);
            if (!reply.headers.has("preference-applied")) {
                const pause = readRetryAfter(reply.headers) ?? 1;
                await sleep(Math.min(pause, end - now()), options.signal);
            }
        }
    }

    /**
     * Returns the result of a request that has ended.
     *
     * @throws {RequestEndedWithoutOutput} it ended as `failed` or `cancelled`.
     */
    async result({ signal }: CallOptions = {}): Promise<Result> {
        const path = `${pathOf(this.id)}/result`;
        return expectOutput(await this.#http.json<Result>({ method: "GET", path, signal }));
    }

    /** Yields each status as it is reached, past ones first, until the end. */
    events(options: EventOptions = {}): AsyncGenerator<GatewayEvent, void, undefined> {
        return readEvents(this.#http, pathOf(this.id), options);
    }

    /** Cancels, and returns what came of it. */
    async cancel({ signal }: CallOptions = {}): Promise<CancelOutcome> {
        const path = `${pathOf(this.id)}/cancel`;
        const answer = await this.#http.json<{ outcome: CancelOutcome }>({
            method: "POST",
            path,
            signal,
        });
        return answer.outcome;
    }

    /** Returns everything that is known of it, with its timeline. */
    details({ signal }: CallOptions = {}): Promise<Details> {
        return this.#http.json({ method: "GET", path: pathOf(this.id), signal });
    }

    /** Deletes it with its input and output; only after its end. */
    async delete({ signal }: CallOptions = {}): Promise<void> {
        await this.#http.exchange({ method: "DELETE", path: pathOf(this.id), signal });
    }
}

/** Returns the path of a request. */
export function pathOf(requestId: string): string {
    return `/v1/requests/${encodeURIComponent(requestId)}`;
}

/** Returns the result if it has an output. Throws `RequestEndedWithoutOutput`. */
export function expectOutput(result: Result): Result {
    if (result.gateway_status === "completed") return result;
    throw new RequestEndedWithoutOutput(result);
}
