// Every route of openapi.json, in words.

import { kept } from "./kept.js";
import { bearer } from "./parts.js";

const element = (kind, text) => Object.assign(document.createElement(kind), { textContent: text });
const token = kept("sessionStorage", "token");
const reply = await fetch("openapi.json", token ? { headers: { authorization: bearer(token) } } : {});
const { paths, error } = await reply.json();
document.querySelector("#trouble").textContent = error ?? "";

for (const [path, methods] of Object.entries(paths ?? {})) {
  for (const [method, { description, parameters = [] }] of Object.entries(methods)) {
    const route = document.createElement("section");
    route.append(element("h2", `${method.toUpperCase()} ${path}`), element("p", description));
    const facts = document.createElement("dl");
    for (const { name, in: place, required, schema } of parameters) {
      const value = schema.default === undefined ? (required ? "needed" : "may be left out") : `otherwise ${schema.default}`;
      facts.append(element("dt", name), element("dd", `${place}, ${value}`));
    }
    if (parameters.length) route.append(facts);
    document.querySelector("#routes").append(route);
  }
}
