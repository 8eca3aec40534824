// Reads [{secret, headers, body}] from stdin, writes ["ok" | the library's refusal] to stdout.
import { readFileSync } from "node:fs";
import { Webhook } from "standardwebhooks";

const verdict = ({ secret, headers, body }) => {
  try {
    new Webhook(secret).verify(body, headers);
    return "ok";
  } catch (error) {
    return error.message;
  }
};

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(verdict)));
