/** What the gateway answers, as its API description has it, and the options of calls. */
import type { components, operations } from "./schema.ts";

type Schemas = components["schemas"];

export type Status = Schemas["Status"];
export type PublicStatus = Schemas["PublicStatus"];
export type Result = Schemas["Result"];
export type Submitted = Schemas["EndedRequest"] | Schemas["Status"];
export type DryRun = Schemas["DryRun"];
export type Details = Schemas["Detail"];
export type CancelOutcome = Schemas["CancelOutcome"];
export type Batch = Schemas["Batch"];
export type BatchItem = Schemas["BatchItem"];
export type BatchEntry = Schemas["BatchSubmitItem"];
export type Requests = Schemas["Requests"];
export type Usage = Schemas["Usage"];
export type UsageReport = Schemas["UsageReport"];
export type Model = Schemas["Model"];
export type Models = Schemas["Models"];
export type StoredFile = Schemas["File"];
export type KeptOutput = Schemas["KeptOutput"];
export type WebhookPayload = Schemas["WebhookPayload"];

/** What happened: from the stream of a request, or from a webhook. `type` tells what `data` has. */
export type GatewayEvent = WebhookPayload & {
    /** The same each time that the event is sent. */
    readonly id: string;
};

/** A model's input. `client.model(id)` returns its JSON Schema. */
export type ModelInput = Schemas["ModelInput"];

type QueryOf<Name extends "list_models" | "list_requests" | "submit"> = NonNullable<
    operations[Name]["parameters"]["query"]
>;

/** Options of every call. */
export interface CallOptions {
    /** Ends the call, and rejects with the signal's reason. It cancels no request. */
    signal?: AbortSignal | undefined;
}

/** Options of a submit. Those of the API have the API's names. */
export interface SubmitOptions extends Omit<QueryOf<"submit">, "dry_run" | "label">, CallOptions {
    /** Such as `{ team: "growth" }`; costs are grouped by them. */
    labels?: Readonly<Record<string, string>>;
    /**
     * The same key with the same input returns the same request, also from another process. Left
     * out, each call has a new one.
     */
    idempotencyKey?: string;
}

/** Which requests are listed, and the page. Filters are combined with *and*. */
export interface RequestFilters extends QueryOf<"list_requests">, CallOptions {}

/** Which models are listed, and the page. */
export interface ModelFilters extends QueryOf<"list_models">, CallOptions {}

/** The days of a report, and what its rows are. */
export interface ReportOptions extends CallOptions {
    /** The first day, such as `2026-11-01`; left out, the first of the month. */
    from?: string;
    /** The last day, included; left out, today. */
    to?: string;
    by?: Schemas["GroupBy"];
}

/** Options of a call that waits for an end. */
export interface WaitOptions extends CallOptions {
    /** Seconds at most; left out, as long as it takes. */
    wait?: number | undefined;
    /** Called with each status. */
    onProgress?: ((status: Status) => unknown) | undefined;
}

/** Options of a batch. */
export interface BatchOptions extends CallOptions {
    /** `all`: all items or none; `fit`: each that its input and the limits allow. */
    admit?: "all" | "fit";
    reference?: string;
    /** As in `SubmitOptions`, for the batch as a whole. */
    idempotencyKey?: string;
}

const FINAL: readonly PublicStatus[] = ["completed", "failed", "cancelled"];

/** Returns whether a request with this status has ended. */
export function isFinal(status: PublicStatus): boolean {
    return FINAL.includes(status);
}
