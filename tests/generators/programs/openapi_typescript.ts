// Runs a job with the types that openapi-typescript made, and openapi-fetch.
import createClient from "openapi-fetch";
import type { paths } from "./gateway.js";

const headers = { Authorization: `Bearer ${process.env.GATEWAY_API_KEY}` };
const api = createClient<paths>({ baseUrl: process.env.GATEWAY_URL!, headers });
const path = { model_id: "kling/kling-3.0/standard/image-to-video" };
const body = { prompt: "a cliff", start_image_url: "https://example.com/a.png" };
const key = () => ({ "Idempotency-Key": crypto.randomUUID() });
const SUBMIT = "/v1/models/{model_id}";

const dry = await api.POST(SUBMIT, { params: { path, query: { dry_run: true } }, body });
if (!dry.data || !("dry_run" in dry.data)) throw new Error(JSON.stringify(dry.error));
const submitted = await api.POST(SUBMIT, { params: { path, header: key() }, body });
if (!submitted.data || "model_id" in submitted.data) throw new Error(submitted.error?.code);
const header = { ...key(), Prefer: "wait=50" };
const waited = await api.POST(SUBMIT, { params: { path, header }, body });
if (!waited.data || !("billed" in waited.data)) throw new Error(waited.error?.code);
const { request_id } = submitted.data;
const ended = await api.GET("/v1/requests/{request_id}/result", {
  params: { path: { request_id }, header: { Prefer: "wait=50" } },
});
console.log(ended.data?.gateway_status, JSON.stringify(ended.data?.output));
