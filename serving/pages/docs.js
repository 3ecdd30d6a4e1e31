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
  const model = api.info["x-model"];
  document.title = title;
  byId("title").textContent = title;
  byId("state").replaceChildren(el("span", {}, `API ${version}, OpenAPI ${api.openapi}`), model ? el("span", {}, `model ${model.name} version ${model.version}`) : el("span", { class: "maybe" }, "no model is deployed yet"));
  byId("about").replaceChildren(...prose(description));
  const operations = Object.entries(api.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method: method.toUpperCase(), ...operation })));
  const groups = api.tags.map((tag) => ({ ...tag, operations: operations.filter((operation) => operation.tags.includes(tag.name)) }));
  byId("operations").replaceChildren(...groups.flatMap(({ description: text, operations: members }) => [el("h2", { class: "group" }, text), ...members.map(card)]));
  byId("schemas").replaceChildren(el("h2", { class: "group" }, "Schemas"), ...Object.entries(api.components.schemas).map(schemaCard));
  byId("menu").replaceChildren(...groups.flatMap(menuOf), el("h2", {}, "Schemas"), ...Object.keys(api.components.schemas).map((name) => el("a", { href: `#schema-${name}` }, name)));
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
  if (body) parts.push(el("h3", {}, "Body"), typeLine(body.schema), examplesOf(body));
  parts.push(el("h3", {}, "Answers"), responseTable(operation.responses), tryIt(operation, body));
  return el("article", { class: "card operation", id: operation.operationId }, ...parts);
}

function parameterTable(parameters) {
  const rows = parameters.map((parameter) => el("tr", {}, el("td", { class: "mono" }, parameter.name), el("td", {}, `in the ${parameter.in}`), el("td", {}, ...typeOf(parameter.schema)), el("td", {}, parameter.description)));
  return el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, ...rows)));
}

const typeLine = (schema) => el("p", {}, ...typeOf(schema));

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
  if (types.includes("array")) return [words ? `${words} or a list of ` : "list of ", ...typeOf(schema.items ?? {}), schema.maxItems ? `, at most ${schema.maxItems}` : ""];
  return [words];
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
  const named = Object.values(content.examples ?? {});
  return el("div", {}, ...named.map((example) => {
    const text = JSON.stringify(example.value, null, 2);
    const head = el("div", { class: "bar" }, el("span", { class: "soft" }, example.summary ?? "Example"), copyButton(() => text));
    return el("details", { open: example === named[0] && named.length < 3 && text.length < 900 }, el("summary", {}, example.summary || "Example"), el("pre", {}, text), el("div", { class: "buttons" }, head.lastChild));
  }));
}

function responseTable(responses) {
  const rows = Object.entries(responses).sort().map(([status, reference]) => {
    const response = resolved(reference);
    const [type, content] = Object.entries(response.content ?? {})[0] ?? ["", {}];
    const headers = Object.keys(response.headers ?? {}).filter((name) => name !== "X-Request-Id");
    const cell = el("td", {}, ...(prose(response.description)[0]?.childNodes ?? []));
    if (content.schema && status < "300") cell.append(" ", el("span", { class: "limits" }, type, ": ", ...typeOf(content.schema)));
    if (headers.length) cell.append(el("div", { class: "limits" }, `with ${headers.join(", ")}`));
    if (content.examples) cell.append(el("details", {}, el("summary", {}, "example"), ...Object.values(content.examples).map((example) => el("pre", {}, JSON.stringify(example.value, null, 2)))));
    return el("tr", {}, el("td", { class: `status ${status < "300" ? "yes" : status < "500" ? "maybe" : "no"}` }, status), cell);
  });
  return el("table", {}, el("tbody", {}, ...rows));
}

function schemaCard([name, schema]) {
  const required = new Set(schema.required ?? []);
  const rows = Object.entries(schema.properties ?? {}).map(([field, property]) => {
    const limits = limitsOf(property);
    return el("tr", {},
      el("td", {}, el("span", { class: "mono" }, field), required.has(field) ? "" : el("div", { class: "limits" }, "may be missing")),
      el("td", {}, ...typeOf(property), limits ? el("div", { class: "limits" }, limits) : ""),
      el("td", {}, ...(prose(property.description)[0]?.childNodes ?? [])));
  });
  const example = schema.examples?.[0];
  return el("article", { class: "card", id: `schema-${name}` },
    el("h2", {}, name), ...prose(schema.description),
    rows.length ? el("div", { class: "scroll" }, el("table", {}, el("tbody", {}, ...rows))) : "",
    example ? el("details", {}, el("summary", {}, "Example"), el("pre", {}, JSON.stringify(example, null, 2))) : "");
}

/** Fields for the path, the query and the body, the line for a shell, and what the service answers. */
function tryIt(operation, body) {
  const { method, path, parameters = [], security } = operation;
  const prefix = `try-${operation.operationId}`;
  const example = Object.values(body?.examples ?? {})[0]?.value;
  const text = body ? el("textarea", { id: `${prefix}-body`, spellcheck: false, value: JSON.stringify(example ?? {}, null, 2) }) : null;
  const inPath = parameters.filter((parameter) => parameter.in === "path").map((parameter) => el("input", { id: `${prefix}-${parameter.name}`, name: parameter.name, value: parameter.example ?? "", spellcheck: false, autocomplete: "off" }));
  const flags = parameters.filter((parameter) => parameter.in === "query").map((parameter) => el("input", { type: "checkbox", name: parameter.name }));
  const target = () => {
    const filled = inPath.reduce((at, input) => at.replace(`{${input.name}}`, encodeURIComponent(input.value)), path);
    const asked = flags.filter((flag) => flag.checked).map((flag) => `${flag.name}=true`);
    return filled + (asked.length ? `?${asked.join("&")}` : "");
  };
  const line = el("pre", {});
  const reply = el("div", { class: "reply", role: "status" });
  const showLine = () => (line.textContent = curlLine(method, target(), { key: security.length > 0, body: text?.value }));
  const send = el("button", { type: "submit", class: "main" }, "Send");
  const form = el("form", { noValidate: true },
    ...inPath.flatMap((input) => [el("label", { htmlFor: input.id }, input.name), input]),
    flags.length ? el("div", { class: "checks" }, ...flags.map((flag) => el("label", {}, flag, flag.name))) : "",
    ...(text ? [el("label", { htmlFor: text.id }, "Body"), text] : []),
    el("div", { class: "buttons" }, send, copyButton(() => line.textContent)),
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
  return el("details", { class: "try" }, el("summary", {}, "Try it"), line, form);
}

begin();
