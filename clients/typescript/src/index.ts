/** Client of runcomfy-gateway: run RunComfy's models without paying twice. */
export { Client, type ClientOptions } from "./client.ts";
export type * from "./documents.ts";
export * from "./errors.ts";
export type { EventOptions } from "./event_stream.ts";
export type { Surroundings } from "./http.ts";
export type {
    AvailableOutput,
    Download,
    DownloadOptions,
    KeptOptions,
    Outputs,
} from "./outputs.ts";
export { GatewayRequest } from "./requests.ts";
export type { ErrorCode } from "./schema.ts";
export * as webhooks from "./webhooks.ts";
