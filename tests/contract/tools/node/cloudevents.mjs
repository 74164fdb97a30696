// Make Kafka messages of events with the JavaScript SDK: node cloudevents.mjs EXAMPLES; prints JSON, in both modes of CloudEvents.
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { CloudEvent, Kafka } from "cloudevents";

const [examples] = process.argv.slice(2);
const messages = [];

for (const type of readdirSync(examples).filter((name) => name.startsWith("duewatch.")).sort()) {
  for (const file of readdirSync(join(examples, type)).sort()) {
    const event = new CloudEvent(JSON.parse(readFileSync(join(examples, type, file), "utf8")));
    for (const mode of ["binary", "structured"]) {
      const { headers, key, value } = Kafka[mode](event);
      const sent = Object.fromEntries(Object.entries(headers).filter(([, text]) => text !== undefined));
      const body = typeof value === "string" || value instanceof Uint8Array ? value : JSON.stringify(value);
      messages.push({ type, file, mode, headers: sent, key: key ?? null, value: Buffer.from(body).toString("utf8") });
    }
  }
}
console.log(JSON.stringify(messages));
