// What the pages share: how they ask the server, and how they write. Texts become text alone, never markup.

import { say } from "./words.js";

const ROOT = new URL("../", import.meta.url); // also behind a proxy that serves it under a folder
export const $ = (id) => document.getElementById(id);

/** The JSON of an answer; an Error with the server's own sentence where it refuses. */
export async function ask(path, body) {
  const token = sessionStorage.getItem("token");
  const headers = { ...(body ? { "content-type": body.type } : {}), ...(token ? { authorization: `Bearer ${token}` } : {}) };
  let reply;
  try {
    reply = await fetch(new URL(path, ROOT), body ? { method: "POST", body, headers } : { headers });
  } catch {
    throw new Error(say("gone"));
  }
  const found = await reply.json().catch(() => ({ error: `${reply.status} ${reply.statusText}` }));
  if (reply.status === 401) $("key").hidden = false;
  if (!reply.ok) {
    const told = found.photos?.[0] ?? found;
    throw new Error([told.error, told.hint].filter(Boolean).join(" "));
  }
  $("key").hidden = true;
  return found;
}

/** Runs what may fail; the reason is told on the page. */
export async function attempt(work) {
  try {
    $("trouble").textContent = "";
    await work();
  } catch (error) {
    $("trouble").textContent = error.message;
  }
}

/** Begins anew with the token that is typed in. */
export function takeToken(begin) {
  $("key").addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("token", $("token").value);
    attempt(begin);
  });
}

export function element(kind, name = "", text = "") {
  const made = document.createElement(kind);
  if (name) made.className = name;
  made.textContent = text;
  return made;
}

/** Each pair of a name and a value for a <dl>. */
export function pairs(entries) {
  return entries.map(([name, value]) => {
    const pair = document.createElement("div");
    pair.append(element("dt", "", name), value instanceof Element ? value : element("dd", "", value));
    return pair;
  });
}

const language = () => document.documentElement.lang;
export const number = (value) => value.toLocaleString(language());
export const short = (value) => Intl.NumberFormat(language(), { notation: "compact", maximumSignificantDigits: 4 }).format(value);
export const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;
export const bytes = (count) => (count < 2 ** 20 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 2 ** 20).toFixed(1)} MiB`);
export const shapeOf = ([channels, height, width]) => (height * width > 1 ? `${height} × ${width} × ${channels}` : number(channels));
