/** Calls of the gateway over `fetch`, repeated where that may help and costs nothing. */
import { ConnectionFailed, GatewayError, type Problem } from "./errors.ts";

export const MAX_ATTEMPTS = 6;
export const MAX_PAUSE_SECONDS = 30;
export const FIRST_PAUSE_SECONDS = 0.5;
/** A longer `Retry-After`, such as that of a day's limit, is the caller's decision. */
const MAX_RETRY_AFTER_SECONDS = 120;
/** Longer than a long poll and than the pause between two events of a stream. */
const TIMEOUT_SECONDS = 60;
const MAX_SHOWN_CHARACTERS = 200;
const PROXY_ERRORS: readonly number[] = [502, 503, 504];

export type Query = Readonly<
    Record<string, string | number | boolean | readonly string[] | undefined>
>;

/** One HTTP request. All of them may be repeated: a submit has an idempotency key. */
export interface Call {
    readonly method: "GET" | "POST" | "DELETE";
    readonly path: string;
    readonly query?: Query;
    readonly headers?: Readonly<Record<string, string>>;
    readonly body?: string | Blob | undefined;
    /** Seconds for one attempt; for a stream, without anything arriving. */
    readonly timeout?: number;
    readonly signal?: AbortSignal | undefined;
}

/** An answer that is not an error. */
export interface Reply {
    readonly headers: Headers;
    readonly text: string;
}

/** Time and chance, which tests replace. */
export interface Surroundings {
    /** Seconds of a clock that never goes back. */
    now(): number;
    sleep(seconds: number, signal: AbortSignal | undefined): Promise<void>;
    /** At least 0, less than 1. */
    random(): number;
}

export const REAL: Surroundings = {
    now: () => performance.now() / 1000,
    random: () => Math.random(),
    sleep: (seconds, signal) =>
        new Promise((resolve, reject) => {
            signal?.throwIfAborted();
            const wake = () => {
                signal?.removeEventListener("abort", stop);
                resolve();
            };
            const timer = setTimeout(wake, seconds * 1000);
            const stop = () => {
                clearTimeout(timer);
                reject(signal?.reason);
            };
            signal?.addEventListener("abort", stop, { once: true });
        }),
};

/** A gateway, as one tenant. */
export class Http {
    readonly surroundings: Surroundings;
    readonly #baseUrl: string;
    readonly #apiKey: string;
    readonly #fetch: typeof fetch;

    constructor(baseUrl: string, apiKey: string, send: typeof fetch, surroundings: Surroundings) {
        this.#baseUrl = baseUrl.replace(/\/+$/, "");
        this.#apiKey = apiKey;
        this.#fetch = send;
        this.surroundings = surroundings;
    }

    /** Returns the JSON of the answer to a call, which is repeated where that may help. */
    async json<T>(call: Call): Promise<T> {
        return JSON.parse((await this.exchange(call)).text) as T;
    }

    /**
     * Returns the answer to a call.
     *
     * @throws {GatewayError} the gateway refused it, now for the last time.
     * @throws {ConnectionFailed} no answer came to any attempt.
     */
    async exchange(call: Call): Promise<Reply> {
        for (let attempt = 1; ; attempt += 1) {
            const outcome = await this.#attempt(call);
            if (!(outcome instanceof GatewayError)) return outcome;
            const wanted = outcome.retryAfter;
            const isLast = attempt === MAX_ATTEMPTS || (wanted ?? 0) > MAX_RETRY_AFTER_SECONDS;
            if (isLast || !outcome.retryable) throw outcome;
            const pause = wanted ?? FIRST_PAUSE_SECONDS * 2 ** (attempt - 1);
            // Spread, so that callers who were refused together do not come back together.
            const spread = 1 + this.surroundings.random() / 4;
            await this.surroundings.sleep(pause * spread, call.signal);
        }
    }

    /** Returns an answer whose body is a stream, or the error that it is. `touch` when some came. */
    async open(call: Call): Promise<{ response: Response; touch: () => void; close: () => void }> {
        const idle = new AbortController();
        const stop = () => idle.abort(new DOMException("Nothing arrives.", "TimeoutError"));
        let timer = setTimeout(stop, TIMEOUT_SECONDS * 1000);
        const close = () => clearTimeout(timer);
        const touch = () => {
            close();
            timer = setTimeout(stop, TIMEOUT_SECONDS * 1000);
        };
        try {
            const response = await this.#send(call, idle.signal);
            if (response.ok) return { response, touch, close };
            throw refusalOf(response, await response.text());
        } catch (error) {
            close();
            throw error;
        }
    }

    async #attempt(call: Call): Promise<Reply | GatewayError> {
        const timeout = AbortSignal.timeout((call.timeout ?? TIMEOUT_SECONDS) * 1000);
        try {
            const response = await this.#send(call, timeout, "manual");
            const text = await response.text();
            return response.ok ? { headers: response.headers, text } : refusalOf(response, text);
        } catch (error) {
            call.signal?.throwIfAborted();
            return new ConnectionFailed(error);
        }
    }

    #send(
        call: Call,
        timeout: AbortSignal,
        redirect: RequestRedirect = "follow",
    ): Promise<Response> {
        const send = this.#fetch;
        return send(this.#baseUrl + call.path + queryText(call.query ?? {}), {
            method: call.method,
            headers: { ...call.headers, authorization: `Bearer ${this.#apiKey}` },
            body: call.body ?? null,
            redirect,
            signal: call.signal === undefined ? timeout : AbortSignal.any([call.signal, timeout]),
        });
    }
}

/** Counts failures in a row of a stream that is opened again. */
export class Failures {
    #count = 0;

    /** Something arrived. */
    reset(): void {
        this.#count = 0;
    }

    /** Throws if there were too many, if the caller gave up, or if it cannot help to go on. */
    add(error: unknown, signal: AbortSignal | undefined): void {
        signal?.throwIfAborted();
        this.#count += 1;
        if (error instanceof GatewayError) {
            if (!error.retryable || this.#count >= MAX_ATTEMPTS) throw error;
        } else if (this.#count >= MAX_ATTEMPTS) {
            throw new ConnectionFailed(error);
        }
    }
}

/** Returns the seconds of a `Retry-After`, if there is one. */
export function readRetryAfter(headers: Headers): number | undefined {
    const text = headers.get("retry-after") ?? "";
    return /^[0-9]{1,9}$/.test(text) ? Number(text) : undefined;
}

function refusalOf(response: Response, text: string): GatewayError {
    const retryAfter = readRetryAfter(response.headers);
    return new GatewayError(problemOf(response, text), { status: response.status, retryAfter });
}

function problemOf(response: Response, text: string): Problem {
    if (response.headers.get("content-type")?.startsWith("application/problem+json")) {
        return JSON.parse(text) as Problem;
    }
    // A proxy's own page. It says nothing about money.
    return {
        code: `http_${response.status}`,
        detail: text.slice(0, MAX_SHOWN_CHARACTERS),
        retryable: PROXY_ERRORS.includes(response.status),
    };
}

function queryText(query: Query): string {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(query)) {
        const values =
            typeof value === "object" ? value : value === undefined ? [] : [String(value)];
        for (const one of values) parameters.append(name, one);
    }
    const text = parameters.toString();
    return text && `?${text}`;
}
