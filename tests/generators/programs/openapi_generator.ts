// Runs a job with the TypeScript client that openapi-generator made.
import { Configuration, RequestsApi } from "./client/index.js";

const { GATEWAY_URL, GATEWAY_API_KEY } = process.env;
const api = new RequestsApi(new Configuration({ basePath: GATEWAY_URL!, accessToken: GATEWAY_API_KEY! }));
const modelId = "kling/kling-3.0/standard/image-to-video";
const requestBody = { prompt: "a cliff", start_image_url: "https://example.com/a.png" };
const call = () => ({ modelId, requestBody, idempotencyKey: crypto.randomUUID() });

// It makes one type of the three answers, with all fields of each.
const dry = await api.submit({ modelId, requestBody, dryRun: true });
if (!dry.dryRun) throw new Error(JSON.stringify(dry));
const submitted = await api.submit(call());
const { requestId } = submitted;
if (submitted.modelId) throw new Error(JSON.stringify(submitted));
const waited = await api.submit({ ...call(), prefer: "wait=50" });
if (!waited.billed) throw new Error(JSON.stringify(waited));
const ended = await api.result({ requestId, prefer: "wait=50" });
console.log(ended.gatewayStatus, JSON.stringify(ended.output));
