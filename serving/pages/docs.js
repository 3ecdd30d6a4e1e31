let api = {};

/** What a `$ref` refers to; anything else as it is. */
function resolved(value) {
  if (!value?.$ref) return value;
  return value.$ref.slice(2).split("/").reduce((at, part) => at[part], api);
}

async function begin() {
  const answer = await ask("GET", "/openapi.json");
  if (answer.status !== 200) {
    byId("state").replaceChildren(el("span", { class: "no" }, answer.body.detail ?? "The document cannot be read."));
    return;
  }
  api = answer.body;
  const { title, version, description } = api.info;
  const model = api.info["x-model"], hints = api.info["x-by-hand"];
  document.title = title;
  byId("title").textContent = title;
  byId("state").replaceChildren(el("span", {}, `API ${version}, OpenAPI ${api.openapi}`), model ? el("span", {}, `model ${model.name} version ${model.version}`) : hints ? "" : el("span", { class: "maybe" }, "no model is deployed yet"));
  byId("about").replaceChildren(...prose(description));
  byId("access").hidden = hints?.asks_for_key === false;
  const operations = Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })));
  const groups = api.tags.map((tag) => ({ ...tag, operations: operations.filter((operation) => operation.tags.includes(tag.name)) }));
  byId("operations").replaceChildren(...groups.flatMap(({ description: text, operations: members }) => [el("h2", { class: "group" }, text), ...members.map(card)]));
  byId("schemas").replaceChildren(el("h2", { class: "group" }, "Schemas"), ...Object.entries(api.components.schemas).map(schemaCard));
  byId("menu").replaceChildren(...groups.flatMap(menuOf), el("h2", {}, "schemas"), el("div", { class: "named" }, ...Object.keys(api.components.schemas).map((name) => el("a", { href: `#schema-${name}` }, name))));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

const menuOf = ({ name, operations }) => [el("h2", {}, name), ...operations.map((operation) => el("a", { href: `#${operation.operationId}` }, badge(operation.method), operation.path))];

const badge = (method) => el("span", { class: `method ${method.toLowerCase()}` }, method);

/** Paragraphs, with `code` in backquotes. */
function prose(text) {
  return (text ?? "").split("\n\n").filter(Boolean).map((paragraph) => el("p", {}, ...paragraph.split("`").map((part, place) => (place % 2 ? el("code", {}, part) : part))));
}

function card(operation) {
  const body = operation.requestBody?.content["application/json"];
  const parts = [
    el("h2", {}, badge(operation.method), el("span", { class: "path" }, operation.path)),
    el("p", {}, el("b", {}, operation.summary)),
    ...prose(operation.description),
  ];
  if (operation.parameters) parts.push(el("h3", {}, "Parameters"), parameterTable(operation.parameters));
  if (body) parts.push(el("h3", {}, "Body"), el("p", {}, ...typeOf(body.schema)), ...examplesOf(body));
  parts.push(el("h3", {}, "Answers"), ...responsesOf(operation.responses), tryIt(operation, body));
  return el("article", { class: "card operation", id: operation.operationId }, ...parts);
}

function parameterTable(parameters) {
  return fieldTable(parameters.map(({ name, schema, in: place, description }) => [name, el("div", { class: "limits" }, ...typeOf(schema), ` in the ${place}`), description]));
}

/** Names with what they are below them, and their descriptions. */
function fieldTable(rows) {
  return el("table", { class: "fields" }, el("tbody", {}, ...rows.map(([name, ...parts]) => {
    const text = prose(parts.pop()).flatMap((paragraph) => [...paragraph.childNodes]);
    return el("tr", {}, el("td", {}, named(name), ...parts), el("td", {}, ...text));
  })));
}

/** JSON with a button that copies it. */
function block(value) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return el("div", { class: "block" }, el("pre", { tabIndex: 0 }, text), copyButton(() => text));
}

/** A schema's type in words, with links to the named ones. */
function typeOf(schema) {
  if (schema.$ref) {
    const name = schema.$ref.split("/").pop();
    return [el("a", { href: `#schema-${name}` }, name)];
  }
  if (schema.oneOf) return schema.oneOf.flatMap((part, place) => (place ? [" or ", ...typeOf(part)] : typeOf(part)));
  if ("const" in schema) return [JSON.stringify(schema.const)];
  const types = [schema.type ?? (schema.enum ? "" : "anything")].flat();
  const words = types.filter((type) => type !== "array").join(" or ");
  if (types.includes("array")) return [words ? `${words} or ` : "", ...listOf(schema)];
  return [words];
}

/** A list in words, with how many it holds; one of lists, row by row. */
function listOf({ items = {}, minItems, maxItems }) {
  const count = !maxItems ? "" : `${minItems === maxItems ? "exactly" : "at most"} ${maxItems.toLocaleString("en")}`;
  if (items.type === "array") return ["rows", count && `, ${count}`, "; a row is a ", ...listOf(items)];
  if (typeof items.type === "string") return ["list of ", count && `${count} `, `${items.type}s`];
  return ["list of ", ...typeOf(items), count && `, ${count}`];
}

/** What a value of the schema may be, in words. */
function limitsOf(schema) {
  const parts = [];
  if (schema.enum) parts.push(schema.enum.map((value) => JSON.stringify(value)).join(", "));
  if (schema.format) parts.push(schema.format);
  const huge = (limit) => limit === undefined || Math.abs(limit) >= 2 ** 53;
  if (!huge(schema.minimum) && !huge(schema.maximum)) parts.push(`${schema.minimum} to ${schema.maximum}`);
  else if (!huge(schema.minimum)) parts.push(`at least ${schema.minimum}`);
  else if (!huge(schema.maximum)) parts.push(`at most ${schema.maximum}`);
  if (schema["x-unit"]) parts.push(schema["x-unit"]);
  return parts.join("; ");
}

function examplesOf(content) {
  return Object.values(content.examples ?? {}).map((example, place) => el("details", { open: place === 0 }, el("summary", {}, example.summary || "Example"), block(example.value)));
}

function responseTable(responses) {
  return el("table", { class: "answers" }, el("tbody", {}, ...responses.map(([status, reference]) => {
    const response = resolved(reference);
    const [type, content] = Object.entries(response.content ?? {})[0] ?? ["", {}];
    const headers = Object.keys(response.headers ?? {}).filter((name) => name !== "X-Request-Id");
    const cell = el("td", {}, ...prose(response.description).flatMap((paragraph) => [...paragraph.childNodes]));
    if (status < "300") cell.append(el("div", { class: "limits" }, type, ...(content.schema.$ref || content.schema.oneOf ? [": ", ...typeOf(content.schema)] : [])));
    if (headers.length) cell.append(el("div", { class: "limits" }, `with ${headers.join(", ")}`));
    const examples = Object.values(content.examples ?? {});
    if (examples.length) cell.append(el("details", {}, el("summary", {}, examples.length > 1 ? "Examples" : "Example"), ...examples.map((example) => block(example.value))));
    return el("tr", {}, el("td", { class: `status ${status < "300" ? "yes" : status < "500" ? "maybe" : "no"}` }, status), cell);
  })));
}

/** What is answered if all is well, and behind a line that names the others' statuses, those. */
function responsesOf(responses) {
  const all = Object.entries(responses).sort();
  const [well, refused] = [all.filter(([status]) => status < "300"), all.filter(([status]) => status >= "300")];
  return [responseTable(well), el("details", {}, el("summary", {}, `Refusals: ${refused.map(([status]) => status).join(", ")}`), responseTable(refused))];
}

function schemaCard([name, schema]) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([field, property]) => {
    const limits = [limitsOf(property), required.has(field) ? "" : "may be missing"].filter(Boolean).join("; ");
    return [field, el("div", { class: "limits" }, ...typeOf(property)), limits ? el("div", { class: "limits" }, limits) : "", property.description];
  });
  const example = schema.examples?.[0];
  return el("article", { class: "card", id: `schema-${name}` },
    el("h2", {}, name), ...prose(schema.description),
    rows.length ? fieldTable(rows) : "",
    example ? el("details", {}, el("summary", {}, "Example"), block(example)) : "");
}

/** Fields for the path, the query and the body, the line for a shell, and what the service answers. */
function tryIt(operation, body) {
  const { method, path, parameters = [], security, "x-effect": effect } = operation;
  const prefix = `try-${operation.operationId}`;
  const example = Object.values(body?.examples ?? {})[0]?.value;
  const given = JSON.stringify(example ?? {}, null, 2);
  const text = body ? el("textarea", { id: `${prefix}-body`, rows: Math.min(given.split("\n").length + 1, 24), spellcheck: false, value: given }) : null;
  const inPath = parameters.filter((parameter) => parameter.in === "path").map((parameter) => el("input", { id: `${prefix}-${parameter.name}`, name: parameter.name, value: parameter.example ?? "", spellcheck: false, autocomplete: "off" }));
  const flags = parameters.filter((parameter) => parameter.in === "query").map((parameter) => el("input", { type: "checkbox", name: parameter.name }));
  const target = () => {
    const filled = inPath.reduce((at, input) => at.replace(`{${input.name}}`, encodeURIComponent(input.value)), path);
    const asked = flags.filter((flag) => flag.checked).map((flag) => `${flag.name}=true`);
    return filled + (asked.length ? `?${asked.join("&")}` : "");
  };
  const line = el("pre", { tabIndex: 0 });
  const reply = el("div", { class: "reply", role: "status" });
  const showLine = () => (line.textContent = curlLine(method, target(), { key: security.length > 0, body: text?.value }));
  const send = el("button", { type: "submit", class: "main" }, "Send");
  const form = el("form", { noValidate: true },
    ...inPath.flatMap((input) => [el("label", { htmlFor: input.id }, input.name), input]),
    flags.length ? el("div", { class: "checks" }, ...flags.map((flag) => el("label", {}, flag, flag.name))) : "",
    ...(text ? [el("label", { htmlFor: text.id }, "Body"), text] : []),
    effect ? el("p", { class: "effect" }, `What is sent is real. ${effect}`) : "",
    el("div", { class: "buttons" }, send),
    reply);
  form.addEventListener("input", showLine);
  form.addEventListener("submit", async (submitted) => {
    submitted.preventDefault();
    send.disabled = true;
    const answer = await ask(method, target(), { key: security.length ? byId("key").value.trim() : "", body: text?.value });
    send.disabled = false;
    const shownText = typeof answer.body === "string" ? answer.body : JSON.stringify(answer.body, null, 2);
    const id = answer.headers.get("x-request-id");
    reply.replaceChildren(el("p", {}, el("b", { class: answer.status >= 200 && answer.status < 300 ? "yes" : "no" }, answer.status ? String(answer.status) : "No answer"), ` in ${answer.took.toFixed(1)} ms`, id ? `, request ${id}` : ""), el("pre", {}, shownText.slice(0, 20000)));
  });
  showLine();
  const shell = el("div", { class: "block" }, line, copyButton(() => line.textContent));
  return el("details", { class: "try" }, el("summary", {}, "Try it"), form, el("h3", {}, "From a command line"), shell);
}

byId("access").addEventListener("submit", (submitted) => submitted.preventDefault());
begin();
