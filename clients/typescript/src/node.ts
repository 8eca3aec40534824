/** What needs Node's own modules, beside what runs wherever `fetch` is. */
import { createHash } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Client } from "./client.ts";
import { ContentMismatch } from "./errors.ts";
import type { AvailableOutput, DownloadOptions } from "./outputs.ts";

const EXTENSIONS: Readonly<Record<string, string>> = {
    "audio/mpeg": "mp3",
    "image/jpeg": "jpg",
    "image/svg+xml": "svg",
    "video/quicktime": "mov",
};

/**
 * Writes the outputs of a request that has ended to a folder, and returns their paths. A file has
 * its name only after its content was compared with the checksum.
 *
 * @throws as `client.outputs.download`.
 */
export async function downloadTo(
    client: Client,
    requestId: string,
    folder: string,
    options: DownloadOptions = {},
): Promise<string[]> {
    await mkdir(folder, { recursive: true });
    const paths: string[] = [];
    for (const output of await client.outputs.kept(requestId, options)) {
        const path = join(folder, fileName(requestId, output));
        const part = `${path}.part`;
        try {
            await write(client, requestId, output, part, options);
            await rename(part, path);
        } finally {
            await rm(part, { force: true });
        }
        paths.push(path);
    }
    return paths;
}

async function write(
    client: Client,
    requestId: string,
    output: AvailableOutput,
    path: string,
    options: DownloadOptions,
): Promise<void> {
    const hash = createHash("sha256");
    const file = await open(path, "w");
    let received = 0;
    try {
        for await (const chunk of client.outputs.stream(requestId, output, options)) {
            await file.writeFile(chunk);
            hash.update(chunk);
            received += chunk.length;
            options.onProgress?.(output, received);
        }
    } finally {
        await file.close();
    }
    if (hash.digest("hex") !== output.sha256) throw new ContentMismatch(requestId, output);
}

/** Returns a name without a path: id of the request, index and extension of the output. */
export function fileName(requestId: string, output: AvailableOutput): string {
    const type = output.media_type ?? "";
    const extension = EXTENSIONS[type] ?? (type.split("/")[1] ?? "").replace(/[^a-z0-9]/g, "");
    return `${encodeURIComponent(requestId)}-${output.index}.${extension || "bin"}`;
}
