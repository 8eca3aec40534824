// Reads [{secret, headers, body}] from stdin, writes ["ok" | the library's refusal] to stdout.
// A `whpk_` key is checked by Node's own ed25519: the library knows `v1` alone.
import { createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const asymmetric = ({ secret, headers, body }) => {
  const x = Buffer.from(secret.slice("whpk_".length), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
  const matches = headers["webhook-signature"]
    .split(" ")
    .filter((signature) => signature.startsWith("v1a,"))
    .some((signature) => verify(null, signed, key, Buffer.from(signature.slice(4), "base64")));
  return matches ? "ok" : "No matching signature found";
};

const verdict = (given) => {
  if (given.secret.startsWith("whpk_")) return asymmetric(given);
  const { secret, headers, body } = given;
  try {
    new Webhook(secret).verify(body, headers);
    return "ok";
  } catch (error) {
    return error.message;
  }
};

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(verdict)));
