/** The events of one request (server-sent events), over several connections if one breaks. */
import type { CallOptions, GatewayEvent } from "./documents.ts";
import { type Call, Failures, FIRST_PAUSE_SECONDS, type Http } from "./http.ts";

const FINAL: readonly string[] = ["request.completed", "request.failed", "request.cancelled"];
const NO_CONTENT = 204;

/** Where to begin. */
export interface EventOptions extends CallOptions {
    /** After this event; left out, with the first. */
    lastEventId?: string;
}

/** Yields each event once, in order, until the last. `path`: of the request. */
export async function* readEvents(
    http: Http,
    path: string,
    options: EventOptions,
): AsyncGenerator<GatewayEvent, void, undefined> {
    const failures = new Failures();
    let lastEventId = options.lastEventId ?? "";
    for (;;) {
        try {
            for await (const event of readConnection(http, callOf(path, lastEventId, options))) {
                if (event === null) return;
                failures.reset();
                lastEventId = event.id;
                yield event;
                if (FINAL.includes(event.type)) return;
            }
        } catch (error) {
            failures.add(error, options.signal);
        }
        await http.surroundings.sleep(FIRST_PAUSE_SECONDS, options.signal);
    }
}

function callOf(path: string, lastEventId: string, { signal }: CallOptions): Call {
    const after = lastEventId === "" ? {} : { "last-event-id": lastEventId };
    const headers = { accept: "text/event-stream", ...after };
    return { method: "GET", path: `${path}/events`, headers, signal };
}

/** Yields the events of one connection; null: none is left. */
async function* readConnection(http: Http, call: Call): AsyncGenerator<GatewayEvent | null> {
    const { response, touch, close } = await http.open(call);
    const decoder = new TextDecoder();
    let rest = "";
    try {
        if (response.status === NO_CONTENT || response.body === null) {
            yield null;
            return;
        }
        for await (const chunk of response.body) {
            touch();
            const blocks = (rest + decoder.decode(chunk, { stream: true })).split("\n\n");
            rest = blocks.pop() ?? "";
            for (const block of blocks) {
                const event = parseEvent(block);
                if (event !== undefined) yield event;
            }
        }
    } finally {
        close();
    }
}

/** Returns the event of one block; undefined for a comment or a block without data. */
export function parseEvent(block: string): GatewayEvent | undefined {
    const data: string[] = [];
    let id = "";
    for (const line of block.split("\n")) {
        const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
        if (name === "data") data.push(value);
        if (name === "id") id = value;
    }
    return data.length === 0 ? undefined : { ...JSON.parse(data.join("\n")), id };
}
