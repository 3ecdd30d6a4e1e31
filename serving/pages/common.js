"use strict";

/** An element with properties, or attributes where there is no such property, and children: elements or text. */
function el(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === "class") made.className = value;
    else if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const byId = (id) => document.getElementById(id);

/** Ask the service: status, the decoded body or its text, headers, and milliseconds. Without an answer, status 0. */
async function ask(method, path, { key = "", body = undefined } = {}) {
  const headers = {};
  if (key) headers.authorization = `Bearer ${key}`;
  if (body !== undefined) headers["content-type"] = "application/json";
  const started = performance.now();
  try {
    const response = await fetch(path, { method, headers, body, cache: "no-store", credentials: "omit" });
    const text = await response.text();
    const took = performance.now() - started;
    const json = /json/.test(response.headers.get("content-type") ?? "");
    return { status: response.status, body: json ? JSON.parse(text) : text, text, headers: response.headers, took };
  } catch (error) {
    const body = { title: "No answer", detail: `The service cannot be reached: ${error.message}` };
    return { status: 0, body, text: "", headers: new Headers(), took: performance.now() - started };
  }
}

/** A command line for a shell. */
function curlLine(method, path, { key = false, body = undefined } = {}) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const parts = [method === "GET" ? "curl" : `curl -X ${method}`, quoted(location.origin + path)];
  if (key) parts.push('-H "Authorization: Bearer $KEY"');
  if (body !== undefined) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(body)}`);
  return parts.join(" \\\n  ");
}

/** A button that copies what `text` gives. */
function copyButton(text) {
  const button = el("button", { type: "button", class: "small" }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}

/** A number as people read it: six significant digits. */
function shown(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e9)) return value.toExponential(3);
  return String(Number(value.toPrecision(6)));
}

/** Text whose names break between their words, if they must. */
const breaking = (text) => text.split(/(?<=\w_)(?=\w)/).flatMap((part, place) => (place ? [el("wbr"), part] : [part]));

const named = (name) => el("span", { class: "mono" }, ...breaking(name));
