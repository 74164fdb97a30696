// Read an AsyncAPI document as AsyncAPI's own parser does, and check its examples with AJV, strict, in draft 7, as which
// AsyncAPI means its schemas: node asyncapi.mjs DOCUMENT; prints JSON.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const ERROR_OR_WARNING = 1; // severities: 0 is an error, 1 a warning, 2 and 3 are hints

function problemsOfExamples(message) {
  const ajv = new Ajv.default({ strict: true, allErrors: true });
  addFormats.default(ajv);
  ajv.addVocabulary(["x-schema-id", "x-parser-schema-id"]);
  const check = (part, schema, values) => {
    const validate = ajv.compile(schema);
    return values.filter((value) => !validate(value)).map(() => `${message.name()}: ${part}: ${ajv.errorsText(validate.errors)}`);
  };
  const examples = message.examples().all();
  try {
    return [
      ...check("headers", message.headers().json(), examples.map((example) => example.headers())),
      ...check("payload", message.payload().json(), examples.map((example) => example.payload())),
    ];
  } catch (error) {
    return [`${message.name()}: ${error.message}`];
  }
}

const [path] = process.argv.slice(2);
const { document, diagnostics } = await new Parser().parse(readFileSync(path, "utf8"), { source: path });
const problems = diagnostics
  .filter((diagnostic) => diagnostic.severity <= ERROR_OR_WARNING)
  .map((diagnostic) => `${diagnostic.path.join("/")}: ${diagnostic.message}`);
let counts = null;
if (document !== undefined) {
  const messages = document.messages().all();
  problems.push(...messages.flatMap(problemsOfExamples));
  counts = {
    channels: document.channels().all().length,
    operations: document.operations().all().length,
    messages: messages.length,
    examples: messages.reduce((sum, message) => sum + message.examples().all().length, 0),
  };
}
console.log(JSON.stringify({ problems, counts }));
