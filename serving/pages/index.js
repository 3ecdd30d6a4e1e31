const SCORE = "/v1/score?features=true&reasons=true";
const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;
const TONES = { approve: "yes", review: "maybe", decline: "no" };
const WORDS = { approve: "Approve", review: "Review", decline: "Decline" };
const DURATIONS = [[172800, 86400, "days"], [3600, 3600, "h"], [60, 60, "min"], [0, 1, "s"]];
const DAY_MS = 86400000;
let event = { properties: {}, required: [] };
let hints = { asks_for_key: true, keys: [], digits: {}, looks_back: "", known: {}, newest: "" };
let opened = 0;
let described = { version: null, features: new Map() };

const typesOf = (property) => [property.type ?? "string"].flat();
const mayBe = (property, type) => typesOf(property).includes(type);

async function begin() {
  const answer = await showState();
  if (answer.status !== 200) return showProblem(answer);
  event = answer.body.components.schemas.Event;
  hints = answer.body.info["x-by-hand"] ?? hints;
  opened = Date.now();
  const names = Object.keys(event.properties ?? {});
  byId("score").disabled = byId("another").disabled = !names.length;
  byId("about").textContent = names.length
    ? `It is scored as any other: it goes into the decision log, and counts in the features of later events. ${history()}`
    : "No model is deployed yet, so nobody knows what an event is made of.";
  byId("access").hidden = !hints.asks_for_key;
  byId("fields").replaceChildren(...names.map(field));
  another();
}

/** Where the features of the event that is offered come from, if they need others. */
function history() {
  const [known, unknown] = [hints.keys.filter((name) => name in hints.known), hints.keys.filter((name) => !(name in hints.known))];
  const parts = [];
  if (known.length) parts.push(`What stands in ${known.join(" and ")} has a history here${behind() ? ", and the event happens right after it" : ""}.`);
  if (unknown.length) parts.push(`What stands in ${unknown.join(" and ")} is made up: nothing is known of it, as at a first event. Put in one that has a history${within()}.`);
  return parts.join(" ");
}

/** Which moments have that history in sight: features look back from the event's time, not from now. */
function within() {
  const time = event["x-event-time"];
  return time && hints.looks_back ? `, and in ${time} a moment soon after its last events: features look back from there, ${hints.looks_back} at most` : "";
}

/** How long ago the history ended, if it did not go on until now: one that is replayed. */
function behind() {
  const ago = hints.newest ? Date.now() - Date.parse(hints.newest) : 0;
  return ago > DAY_MS ? ago : 0;
}

/** The time now, or, where history ended long ago, as long after its end as the page is open. */
function moment() {
  const at = behind() ? Date.parse(hints.newest) + 60000 + (Date.now() - opened) : Date.now();
  return `${new Date(at).toISOString().slice(0, 19)}Z`;
}

/** Show which model answers and whether it is ready; the answer to `/openapi.json`. */
async function showState() {
  const [ready, document_] = await Promise.all([ask("GET", "/readyz"), ask("GET", "/openapi.json")]);
  const model = document_.body.info?.["x-model"];
  const parts = [el("span", { class: `pill ${ready.status === 200 ? "yes" : "no"}` }, ready.status === 200 ? "Ready" : "Not ready")];
  if (model) parts.push(el("span", {}, el("b", {}, model.name), " version ", el("b", {}, model.version)));
  const { refused, store, keys, draining, detail } = ready.body;
  if (refused) parts.push(el("span", { class: "no" }, `Version ${refused.version} was refused: ${refused.reason}`));
  if (store) parts.push(el("span", { class: "no" }, `Store: ${store}`));
  if (keys) parts.push(el("span", { class: "no" }, `API keys: ${keys}`));
  if (draining) parts.push(el("span", {}, "The service is ending."));
  if (detail) parts.push(el("span", { class: "no" }, detail));
  byId("state").replaceChildren(...parts);
  return document_;
}

function field(name) {
  const property = event.properties[name];
  const unit = property["x-unit"] ? el("span", { class: "unit" }, ` ${property["x-unit"]}`) : "";
  const input = inputOf(name, property);
  input.addEventListener("input", () => { clearError(name); showCurl(); });
  return el(
    "div",
    { class: "field" },
    el("label", { htmlFor: `field-${name}` }, name, unit),
    input,
    el("small", { id: `more-${name}` }, [property.description, event.required.includes(name) ? "" : "may be left out"].filter(Boolean).join("; ")),
    el("span", { class: "error", id: `error-${name}` }),
  );
}

function inputOf(name, property) {
  const common = { id: `field-${name}`, name, "aria-describedby": `more-${name} error-${name}` };
  const choices = property.enum ?? (mayBe(property, "boolean") ? [true, false] : null);
  if (choices) {
    const given = choices.filter((choice) => choice !== null && choice !== "");
    const options = given.map((choice) => el("option", { value: String(choice) }, String(choice)));
    return el("select", common, el("option", { value: "" }, "–"), ...options);
  }
  const numeric = mayBe(property, "number") || mayBe(property, "integer");
  const mode = numeric && !mayBe(property, "string") ? "decimal" : "text";
  return el("input", { ...common, type: "text", inputMode: mode, spellcheck: false, autocomplete: "off" });
}

/** A fresh id, a new time, and in every other field that has nothing in it a value with a history, or the example. */
function another() {
  for (const [name, property] of Object.entries(event.properties ?? {})) {
    const input = byId(`field-${name}`);
    const example = hints.known[name] ?? property.examples?.[0];
    if (name === event["x-event-id"]) input.value = freshId(property);
    else if (name === event["x-event-time"]) input.value = moment();
    else if (!input.value && example !== null && example !== undefined) input.value = String(example);
    clearError(name);
  }
  showCurl();
}

function freshId(property) {
  const random = crypto.getRandomValues(new Uint32Array(2));
  const number = BigInt(Date.now()) * 1000n + BigInt(random[0] % 1000);
  return typesOf(property)[0] === "integer" ? String(number) : `by-hand-${number.toString(36)}${random[1].toString(36)}`;
}

/** The event as JSON. A number is sent as it was typed, with all its digits; what is no number is sent as text. */
function body() {
  const pairs = Object.entries(event.properties ?? {}).flatMap(([name, property]) => {
    const text = byId(`field-${name}`).value;
    if (text === "") return [];
    return [`${JSON.stringify(name)}: ${literal(text, property)}`];
  });
  return `{${pairs.join(", ")}}`;
}

function literal(text, property) {
  if (mayBe(property, "boolean") && ["true", "false"].includes(text)) return text;
  if (typesOf(property)[0] !== "string" && NUMBER.test(text.trim())) return text.trim();
  return JSON.stringify(text);
}

function showCurl() {
  byId("curl").textContent = curlLine("POST", SCORE, { key: Boolean(byId("key").value), body: body() });
}

async function score(submitted) {
  submitted.preventDefault();
  for (const name of Object.keys(event.properties)) clearError(name);
  clearError("key");
  const key = byId("key").value.trim();
  byId("score").disabled = true;
  const answer = await ask("POST", SCORE, { key, body: body() });
  byId("score").disabled = false;
  if (answer.status !== 200) {
    showProblem(answer);
    if (answer.status === 503 || !answer.status) await showState();
    return;
  }
  await describeFeatures(answer.body.version, key);
  showAnswer(answer);
}

async function describeFeatures(version, key) {
  if (described.version === version) return;
  const model = await ask("GET", "/v1/model", { key });
  if (model.status !== 200) return;
  described = { version: model.body.version, features: new Map(model.body.features.map((feature) => [feature.name, feature])) };
  await showState();
}

function showAnswer({ body: answer, took }) {
  const parts = [el("h2", {}, "score" in answer ? "Score" : "Prediction"), verdict(answer)];
  if ("score" in answer) parts.push(gauge(answer.score));
  parts.push(facts({ event: answer.event_id, decision: answer.decision_id, model: `${answer.model} version ${answer.version}`, took: `${took.toFixed(1)} ms` }));
  parts.push(...reasonsOf(answer.reasons ?? []), ...featuresOf(answer.features ?? {}));
  showResult(parts);
  const cell = answer.decision ? el("span", { class: TONES[answer.decision] }, WORDS[answer.decision]) : "–";
  byId("rows").prepend(el("tr", {}, el("td", { class: "mono" }, String(answer.event_id)), el("td", { class: "number" }, figure(answer)), el("td", {}, cell)));
  byId("earlier").hidden = false;
}

/** The prediction, or the score, of which four digits are enough; a small one is written out. */
function figure({ score, prediction }) {
  if (score === undefined) return shown(prediction);
  return score > 0 && score < 1e-4 ? score.toFixed(Math.min(12, 2 - Math.floor(Math.log10(score)))) : brief(score);
}

function verdict(answer) {
  const pill = answer.decision ? el("span", { class: `pill ${TONES[answer.decision]}`, id: "decision" }, WORDS[answer.decision]) : "";
  return el("div", { class: "verdict" }, el("span", { class: "value", id: "value" }, figure(answer)), pill);
}

function gauge(value) {
  const bar = el("i");
  bar.style.width = `${100 * Math.min(Math.max(value, 0), 1)}%`;
  return el("div", { class: "gauge", "aria-hidden": "true" }, bar);
}

function facts(known) {
  const pairs = Object.entries(known).flatMap(([name, value]) => [el("dt", {}, name), el("dd", { class: "mono" }, String(value))]);
  return el("dl", { class: "facts" }, ...pairs);
}

function reasonsOf(reasons) {
  const most = Math.max(...reasons.map((reason) => Math.abs(reason.contribution)));
  const items = reasons.map((reason) => {
    const bar = el("i");
    bar.style.width = `${(100 * Math.abs(reason.contribution)) / most}%`;
    return el("li", { class: reason.contribution > 0 ? "raises" : "lowers" }, ...breaking(reason.text), el("div", { class: "track", "aria-hidden": "true" }, bar));
  });
  const none = el("p", { class: "quiet" }, "No feature moves this score away from those of the reference rows.");
  const about = el("p", { class: "soft" }, "The reference rows are a few real events, from a low score to a high one. They are what this event is compared with, not the range of what is usual.");
  return [el("h3", {}, "Reasons"), items.length ? el("ul", { class: "reasons", id: "reasons" }, ...items) : none, about];
}

function featuresOf(features) {
  const rows = Object.entries(features).map(([name, value]) => {
    const { unit = "", description = "" } = described.features.get(name) ?? {};
    const [number, measure] = quantity(value, unit);
    return el(
      "tr",
      {},
      el("td", {}, named(name), description ? el("div", { class: "soft" }, description) : ""),
      el("td", { class: "number" }, number, measure ? el("span", { class: "soft" }, ` ${measure}`) : ""),
    );
  });
  return rows.length ? [el("h3", {}, "Features"), el("table", { id: "features" }, el("tbody", {}, ...rows))] : [];
}

/** A number with four digits, or more before the point. */
const brief = (value) => shown(Math.abs(value) < 1000 ? Number(value.toPrecision(4)) : value);

/** A number and its unit as people say them: yes and no, per cent, durations in what suits them, money with its digits. */
function quantity(value, unit) {
  if (unit === "0/1" && (value === 0 || value === 1)) return [value ? "yes" : "no", ""];
  if (unit === "share") return [brief(100 * value), "%"];
  if (unit === "s") {
    const [, size, name] = DURATIONS.find(([least]) => Math.abs(value) >= least);
    return [brief(value / size), name];
  }
  const money = unit in hints.digits ? value.toFixed(hints.digits[unit]) : brief(value);
  if (unit === "currency") return [money, ""]; // whichever it is
  return [money, value === 1 ? singular(unit) : unit];
}

/** One of what a unit counts: of payments a payment, of entries an entry. What is no plain plural stays. */
function singular(unit) {
  if (/[^aeiou]ies$/.test(unit)) return unit.replace(/ies$/, "y");
  if (/(x|ch|sh|ss)es$/.test(unit)) return unit.replace(/es$/, "");
  return /[a-z]{2}[^sui]s$/.test(unit) ? unit.slice(0, -1) : unit;
}

/** A problem document: where the answer would stand, and next to the field that it names. Of a key it is said there alone. */
function showProblem({ status, body: problem, headers }) {
  const [, name] = /^(?:\[\d+\]\.?)?(.*)$/.exec(problem.field ?? "");
  const keyed = status === 401 || status === 403;
  const input = keyed ? byId("key") : byId(`field-${name}`);
  const wait = headers.get("retry-after");
  const head = status ? `${status} ${problem.title ?? ""}` : problem.title;
  const more = wait ? ` Try again in ${wait} s.` : "";
  const detail = status === 401 && !input.value.trim() ? "This service asks for an API key: put yours in here." : (problem.detail ?? String(problem).slice(0, 300));
  const text = keyed ? "" : el("p", {}, detail + more);
  showResult([el("div", { class: "alert", role: "alert", id: "problem" }, el("p", {}, el("b", {}, head)), text)]);
  if (!input) return;
  input.setAttribute("aria-invalid", "true");
  byId(input.id === "key" ? "key-error" : `error-${name}`).textContent = detail.replace(`${problem.field}: `, "");
  input.focus();
}

function clearError(name) {
  const input = name === "key" ? byId("key") : byId(`field-${name}`);
  input.removeAttribute("aria-invalid");
  byId(name === "key" ? "key-error" : `error-${name}`).textContent = "";
}

function showResult(parts) {
  byId("nothing").hidden = true;
  byId("result").hidden = false;
  byId("result").replaceChildren(...parts);
  const card = byId("answer");
  if (card.getBoundingClientRect().top > innerHeight * 0.7) card.scrollIntoView();
}

byId("form").addEventListener("submit", score);
byId("another").addEventListener("click", another);
byId("key").addEventListener("input", () => { clearError("key"); showCurl(); });
byId("copy").append(copyButton(() => byId("curl").textContent));
begin();
