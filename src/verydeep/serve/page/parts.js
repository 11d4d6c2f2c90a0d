// What the pages share: how they ask the server, and how they write. Texts become text alone, never markup.

import { keep, kept } from "./kept.js";
import { say } from "./words.js";

const ROOT = new URL("../", import.meta.url); // also behind a proxy that serves it under a folder
export const $ = (id) => document.getElementById(id);

/** The JSON of an answer; an Error with the server's own sentence where it refuses. body: posted, a file or a form. */
export async function ask(path, { body, signal } = {}) {
  const token = kept("sessionStorage", "token");
  const headers = { ...(body?.type ? { "content-type": body.type } : {}), ...(token ? { authorization: bearer(token) } : {}) };
  const gone = () => new Error(say("gone"));
  const reply = await fetch(new URL(path, ROOT), { method: body ? "POST" : "GET", body, headers, signal })
    .catch(() => { throw gone(); });
  const found = await reply.json().catch(() => {
    if (reply.ok) throw gone(); // in the middle of its answer
    return { error: `${reply.status} ${reply.statusText}` };
  });
  if (reply.status === 401) $("key").hidden = false;
  if (!reply.ok) {
    const told = found.photos?.[0] ?? found;
    throw new Error([told.error, told.hint].filter(Boolean).join(" "));
  }
  $("key").hidden = true;
  return found;
}

/** A header's letters are bytes: those of UTF-8, as the server compares them. */
export const bearer = (token) => `Bearer ${String.fromCharCode(...new TextEncoder().encode(token))}`;

const running = new Map(); // each work that was begun -> what ends it
const troubles = new Map(); // each work that failed -> why

/** Runs a work (signal), which overtakes what it began before; where it fails, the reason is told on the page. */
export async function attempt(work) {
  const { signal } = giveUp(work);
  try {
    await work(signal);
  } catch (error) {
    if (!signal.aborted) tell(work, error.message);
  }
}

/** Something else was chosen: what a work asked for comes no more, and its trouble is none. Returns what ends the next. */
export function giveUp(work) {
  running.get(work)?.abort();
  running.set(work, new AbortController());
  tell(work, "");
  return running.get(work);
}

/** Tells why a work failed, beside the troubles of others. */
export function tell(work, text) {
  troubles.delete(work);
  if (text) troubles.set(work, text);
  const all = [...new Set(troubles.values())].join(" ");
  if ($("trouble").textContent !== all) $("trouble").textContent = all; // what stands there is not read out again
}

/** Begins anew with the token that is typed in. */
export function takeToken(begin) {
  $("key").addEventListener("submit", (event) => {
    event.preventDefault();
    keep("sessionStorage", "token", $("token").value);
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
const SHORT = { notation: "compact", minimumSignificantDigits: 4, maximumSignificantDigits: 4 };
export const short = (value) => Intl.NumberFormat(language(), SHORT).format(value);
export const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;
export const bytes = (count) => (count < 2 ** 20 ? `${(count / 1024).toFixed(1)} KiB` : `${(count / 2 ** 20).toFixed(1)} MiB`);
export const shapeOf = ([channels, height, width]) => (height * width > 1 ? `${height} × ${width} × ${channels}` : number(channels));
