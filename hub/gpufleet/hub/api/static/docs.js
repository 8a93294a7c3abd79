"use strict";
// Lists the endpoints of openapi.json; each can be tried out. Texts are set, never parsed as HTML.

const MAX_SHOWN = 200000;

function element(tag, text, parent) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}

// A text whose `marked` parts are code.
function prose(tag, text, parent) {
  const made = element(tag, "", parent);
  text.split("`").forEach((part, i) => (i % 2 ? element("code", part, made) : made.append(part)));
  return made;
}

async function attempt(path, inputs, shown) {
  const query = new URLSearchParams();
  let filled = path;
  for (const [parameter, input] of inputs) {
    if (parameter.in === "path") {
      const value = encodeURIComponent(input.value).replaceAll("%2F", "/");
      filled = filled.replace(`{${parameter.name}}`, value);
    } else if (input.value !== "") {
      query.set(parameter.name, input.value);
    }
  }
  const url = filled + (query.size ? `?${query}` : "");
  shown.textContent = `GET ${url}\n`;
  try {
    const response = await fetch(url);
    let text = await response.text();
    if ((response.headers.get("content-type") || "").includes("json")) {
      text = JSON.stringify(JSON.parse(text), null, 2);
    }
    const cut = text.length > MAX_SHOWN ? "\n… (cut)" : "";
    shown.textContent += `${response.status} ${response.statusText}\n\n${text.slice(0, MAX_SHOWN)}${cut}`;
  } catch (error) {
    shown.textContent += String(error);
  }
}

function endpoint(path, operation, parent) {
  const details = element("details", "", parent);
  const summary = element("summary", "", details);
  element("code", `GET ${path}`, summary);
  summary.append(" ");
  const [first, ...more] = (operation.description || "").split("\n\n");
  prose("span", first, summary);
  for (const text of more) prose("p", text, details);
  const form = element("form", "", details);
  const inputs = [];
  for (const parameter of operation.parameters || []) {
    const label = element("label", "", form);
    element("code", parameter.name, label);
    const input = element("input", "", label);
    input.required = parameter.in === "path";
    const value = parameter.schema && parameter.schema.default;
    if (value !== undefined && value !== null) input.placeholder = String(value);
    prose("small", parameter.description || "", label);
    inputs.push([parameter, input]);
  }
  if ("text/event-stream" in (operation.responses["200"].content || {})) {
    element("p", "A stream: try it with curl -N.", details);
    return;
  }
  element("button", "Try", form);
  const shown = element("pre", "", details);
  shown.hidden = true;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    shown.hidden = false;
    attempt(path, inputs, shown);
  });
}

async function main() {
  const description = await (await fetch("openapi.json")).json();
  document.getElementById("about").textContent =
    `Version ${description.info.version}. ${description.info.description}`;
  const groups = new Map();
  for (const [path, operations] of Object.entries(description.paths)) {
    const tag = (operations.get.tags || ["Other"])[0];
    if (!groups.has(tag)) groups.set(tag, []);
    groups.get(tag).push([path, operations.get]);
  }
  const parent = document.getElementById("endpoints");
  for (const [tag, list] of groups) {
    element("h2", tag, parent);
    for (const [path, operation] of list) endpoint(path, operation, parent);
  }
}

main();
