/** Downloads of the outputs that the gateway keeps: `client.outputs`. */
import type { CallOptions, KeptOutput } from "./documents.ts";
import { ContentMismatch, OutputNotKept, WaitTimeout } from "./errors.ts";
import { type Call, Failures, FIRST_PAUSE_SECONDS, type Http, MAX_PAUSE_SECONDS } from "./http.ts";
import { GatewayRequest, pathOf } from "./requests.ts";

const WAIT_SECONDS = 600;
const PARTIAL_CONTENT = 206;

/** An output that the gateway keeps. */
export type AvailableOutput = KeptOutput & Required<Pick<KeptOutput, "bytes" | "sha256">>;

/** A downloaded output, whose content has its size and checksum. */
export interface Download {
    readonly output: AvailableOutput;
    readonly content: Blob;
}

export interface KeptOptions extends CallOptions {
    /** Of the one output that is wanted; left out, all. */
    index?: number | undefined;
    /** Seconds at most until the gateway has kept them; 600 if left out. */
    wait?: number | undefined;
}

export interface DownloadOptions extends KeptOptions {
    /** Called with the number of bytes that have arrived. */
    onProgress?: ((output: AvailableOutput, received: number) => unknown) | undefined;
}

export class Outputs {
    readonly #http: Http;

    /** Made by `Client`. */
    constructor(http: Http) {
        this.#http = http;
    }

    /**
     * Returns the outputs of a request that has ended, after the gateway has kept them.
     *
     * @throws {OutputNotKept} one of them is not kept, and no longer tried; or there is none.
     * @throws {RequestEndedWithoutOutput} the request ended as `failed` or `cancelled`.
     * @throws {WaitTimeout} they are not kept in time; the gateway goes on.
     */
    async kept(requestId: string, options: KeptOptions = {}): Promise<AvailableOutput[]> {
        const { now, sleep } = this.#http.surroundings;
        const wait = options.wait ?? WAIT_SECONDS;
        const end = now() + wait;
        const request = new GatewayRequest(requestId, this.#http);
        for (let pause = FIRST_PAUSE_SECONDS; ; pause = Math.min(2 * pause, MAX_PAUSE_SECONDS)) {
            const result = await request.result(options);
            if (result.archive !== "pending") {
                return expectKept(requestId, options.index, result.outputs ?? []);
            }
            if (end - now() <= 0) throw new WaitTimeout(requestId, wait);
            await sleep(Math.min(pause, end - now()), options.signal);
        }
    }

    /**
     * Yields the content of an output in order. A transfer that breaks off continues where it was.
     * It has as many bytes as the output; compare the checksum, as `download` does.
     *
     * @throws {ContentMismatch} there are more bytes.
     */
    async *stream(
        requestId: string,
        output: AvailableOutput,
        { signal }: CallOptions = {},
    ): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
        const failures = new Failures();
        const path = `${pathOf(requestId)}/outputs/${output.index}`;
        let received = 0;
        while (received < output.bytes) {
            try {
                for await (const chunk of readFrom(
                    this.#http,
                    { method: "GET", path, signal },
                    received,
                )) {
                    failures.reset();
                    received += chunk.length;
                    if (received > output.bytes) throw new ContentMismatch(requestId, output);
                    yield chunk;
                }
                if (received < output.bytes) throw new Error("the content ended early");
            } catch (error) {
                failures.add(error, signal);
                await this.#http.surroundings.sleep(FIRST_PAUSE_SECONDS, signal);
            }
        }
    }

    /**
     * Returns the outputs of a request that has ended, in memory. In Node, `downloadTo` of
     * `runcomfy-gateway-client/node` writes them to files.
     *
     * @throws {ContentMismatch} what arrived is not what the gateway keeps.
     * @throws as `kept`.
     */
    async download(requestId: string, options: DownloadOptions = {}): Promise<Download[]> {
        const downloads: Download[] = [];
        for (const output of await this.kept(requestId, options)) {
            const content = await this.#collect(requestId, output, options);
            const digest = await crypto.subtle.digest("SHA-256", await content.arrayBuffer());
            if (hex(digest) !== output.sha256) throw new ContentMismatch(requestId, output);
            downloads.push({ output, content });
        }
        return downloads;
    }

    async #collect(
        requestId: string,
        output: AvailableOutput,
        options: DownloadOptions,
    ): Promise<Blob> {
        const chunks: Uint8Array<ArrayBuffer>[] = [];
        let received = 0;
        for await (const chunk of this.stream(requestId, output, options)) {
            chunks.push(chunk);
            received += chunk.length;
            options.onProgress?.(output, received);
        }
        return new Blob(chunks, { type: output.media_type ?? "" });
    }
}

/** Yields what one response has after the first `received` bytes. */
async function* readFrom(
    http: Http,
    call: Call,
    received: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>> {
    const range = received === 0 ? {} : { range: `bytes=${received}-` };
    const { response, touch, close } = await http.open({ ...call, headers: range });
    // Unless it is 206, the response has the content from its begin.
    let skip = response.status === PARTIAL_CONTENT ? 0 : received;
    try {
        for await (const chunk of response.body ?? []) {
            touch();
            const fresh = chunk.subarray(Math.min(skip, chunk.length));
            skip -= chunk.length - fresh.length;
            if (fresh.length > 0) yield fresh;
        }
    } finally {
        close();
    }
}

function expectKept(
    requestId: string,
    index: number | undefined,
    outputs: readonly KeptOutput[],
): AvailableOutput[] {
    const wanted = outputs.filter((output) => index === undefined || output.index === index);
    if (wanted.length === 0) throw new OutputNotKept(requestId);
    return wanted.map((output) => {
        if (!isAvailable(output)) throw new OutputNotKept(requestId, output);
        return output;
    });
}

function isAvailable(output: KeptOutput): output is AvailableOutput {
    return output.sha256 !== undefined && output.bytes !== undefined;
}

function hex(digest: ArrayBuffer): string {
    return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join(
        "",
    );
}
