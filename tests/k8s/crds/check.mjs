// Checks custom resources, a JSON list on stdin: values by their JSON schemas, names of fields by their types, as a
// schema of a custom resource lets unknown fields pass. Prints what is wrong, a line each.
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";

const PACKAGES = {
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
};
const resources = JSON.parse(readFileSync(0, "utf8"));
const imports = new Set();
const lines = [];
for (const [number, resource] of resources.entries()) {
  const { apiVersion, kind } = resource;
  const path = `${PACKAGES[apiVersion.split("/")[0]]}/${apiVersion}/${kind}`;
  const model = await import(path);
  try {
    new model[kind](resource).validate();
  } catch (error) {
    console.log(`${kind}: ${error.message}`);
  }
  imports.add(`import type { I${kind} } from "${path}";`);
  lines.push(`export const resource${number}: I${kind} = ${JSON.stringify(resource)};`);
}
writeFileSync("resources.ts", [...imports, ...lines].join("\n"));
try {
  execFileSync("node_modules/.bin/tsc", ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "resources.ts"]);
} catch (error) {
  console.log(`${error.stdout}`.trim());
}
