// Compile schemas with AJV in strict mode and check their examples: node ajv.mjs SCHEMAS EXAMPLES; prints JSON.
import { readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

const [schemas, examples] = process.argv.slice(2);
const read = (path) => JSON.parse(readFileSync(path, "utf8"));
const counts = { schemas: 0, examples: 0 };
const problems = [];

for (const file of readdirSync(schemas).filter((name) => name.startsWith("duewatch.")).sort()) {
  const type = basename(file, ".json");
  const ajv = new Ajv2020.default({ strict: true, allErrors: true });
  addFormats.default(ajv);
  let validate;
  try {
    validate = ajv.compile(read(join(schemas, file)));
  } catch (error) {
    problems.push(`${file}: ${error.message}`);
    continue;
  }
  counts.schemas += 1;
  for (const example of readdirSync(join(examples, type)).sort()) {
    counts.examples += 1;
    if (!validate(read(join(examples, type, example)).data)) {
      problems.push(`${type}/${example}: ${ajv.errorsText(validate.errors)}`);
    }
  }
}
console.log(JSON.stringify({ problems, counts }));
