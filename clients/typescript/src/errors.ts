/** Errors: one class for every answer, told apart by `code`, and one for each other failure. */
import type { KeptOutput, Result } from "./documents.ts";
import type { components, ErrorCode } from "./schema.ts";

export type Problem = Partial<components["schemas"]["Problem"]>;
export type Billed = components["schemas"]["BillingStatus"];

/** One wrong field. `path` is a JSON pointer into the input, or `?name` for an option. */
export interface FieldError {
    readonly path: string;
    readonly message: string;
}

interface AboutAnswer {
    readonly status?: number;
    readonly retryAfter?: number | undefined;
    readonly cause?: unknown;
}

/** A call that the gateway refused, or that failed otherwise. All errors of this package are it. */
export class GatewayError extends Error {
    override readonly name: string = "GatewayError";
    /** A stable word. A code that this version does not know is a plain string. */
    readonly code: ErrorCode | (string & {});
    /** The HTTP status; undefined: no answer came. */
    readonly status: number | undefined;
    /** The same call may succeed later, and is not paid for twice. The client has retried it. */
    readonly retryable: boolean;
    /** Seconds after which the gateway wants to be asked again. */
    readonly retryAfter: number | undefined;
    readonly billed: Billed;
    readonly requestId: string | undefined;
    /** The limits that refused a submit. */
    readonly violatedPolicies: readonly string[];
    /** Each wrong field of an input. */
    readonly fields: readonly FieldError[];
    /** The whole document (RFC 9457). */
    readonly problem: Problem;

    constructor(problem: Problem, about: AboutAnswer = {}) {
        const code = problem.code ?? "error";
        const fields = problem.errors ?? [];
        const lines = fields.map((field) => `\n  ${field.path}: ${field.message}`);
        super(`${code}: ${problem.detail ?? ""}${lines.join("")}`, { cause: about.cause });
        this.code = code;
        this.status = about.status;
        this.retryAfter = about.retryAfter;
        this.retryable = problem.retryable ?? false;
        this.billed = problem.billed ?? "unknown";
        this.requestId = problem.request_id;
        this.violatedPolicies = problem["violated-policies"] ?? [];
        this.fields = fields;
        this.problem = problem;
    }
}

/** No answer came from the gateway, also not to the last retry. */
export class ConnectionFailed extends GatewayError {
    override readonly name = "ConnectionFailed";

    constructor(cause: unknown) {
        const detail = reasonOf(cause);
        super({ code: "connection_failed", detail, retryable: true }, { cause });
    }
}

/** The request was accepted, and ended as `failed` or `cancelled`. `code` is the result's. */
export class RequestEndedWithoutOutput extends GatewayError {
    override readonly name = "RequestEndedWithoutOutput";
    readonly result: Result;

    constructor(result: Result) {
        super({
            code: result.error?.code ?? `request_${result.gateway_status}`,
            detail: result.error?.message ?? `The request ended as ${result.gateway_status}.`,
            billed: result.billed,
            request_id: result.request_id,
        });
        this.result = result;
    }
}

/** It has not ended in the time that the caller waits. It goes on: wait for it again by its id. */
export class WaitTimeout extends GatewayError {
    override readonly name = "WaitTimeout";

    /** `id`: of the request, or of the batch. */
    constructor(id: string, seconds: number) {
        const detail = `It has not ended within ${seconds} s. It goes on.`;
        super({ code: "wait_timeout", detail, request_id: id });
    }
}

/** The gateway does not keep an output that is to be downloaded; `code` is the output's `error`. */
export class OutputNotKept extends GatewayError {
    override readonly name = "OutputNotKept";

    /** `output`: the one that is not kept; left out, the request has none. */
    constructor(requestId: string, output?: KeptOutput) {
        const which = output === undefined ? "no output" : `no output ${output.index}`;
        super({
            code: output?.error ?? "output_not_kept",
            detail: `The gateway keeps ${which} of the request.`,
            request_id: requestId,
        });
    }
}

/** What arrived is not the content that the gateway keeps: its size or checksum is another. */
export class ContentMismatch extends GatewayError {
    override readonly name = "ContentMismatch";

    constructor(requestId: string, output: KeptOutput) {
        super({
            code: "content_mismatch",
            detail: `Output ${output.index} does not have its size and checksum.`,
            request_id: requestId,
        });
    }
}

function reasonOf(cause: unknown): string {
    if (!(cause instanceof Error)) return String(cause);
    // `fetch failed` says nothing; its cause does.
    const inner = cause.cause instanceof Error ? `: ${cause.cause.message}` : "";
    return `${cause.name}: ${cause.message}${inner}`;
}
