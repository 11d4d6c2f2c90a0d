// The page: a photo in, its answer and its reasons out. No text from outside ever becomes markup: textContent alone.

import { drawNetwork } from "./network.js";
import { $, ask, attempt, element, giveUp, short, takeToken, tell } from "./parts.js";
import { preferred, say, speak } from "./words.js";

const LARGEST = 20 * 2 ** 20;
const state = {
  models: [], methods: {}, configurations: [], networks: new Map(),
  photo: null, second: null, // which the first is compared with, where a model makes vectors
  network: null, chosen: 0, // the place of the layer
  answers: [], reasons: null, maps: null, // kept, to be told in another language
};
const query = (given) => new URLSearchParams(Object.entries(given).filter(([, value]) => value)).toString();
const model = () => state.models.find(({ name }) => name === $("model").value); // none before the server has told them

// -- the photo -----------------------------------------------------------------------------------------------------

/** Whether a file can be a photo; tells beside the work for it where it cannot. */
function check(file, work) {
  const isPhoto = /^image\/(jpeg|png|webp)$/.test(file?.type ?? "");
  if (!isPhoto || file.size > LARGEST) tell(work, say(isPhoto ? "tooLarge" : "notPhoto"));
  return isPhoto && file.size <= LARGEST;
}

function take(file) {
  if (!check(file, answer)) return;
  for (const work of [film, explain, showMaps]) giveUp(work);
  state.photo = file;
  forget();
  drawMaps(null);
  offerMaps();
  URL.revokeObjectURL($("shown").src);
  $("shown").src = URL.createObjectURL(file);
  $("stage").hidden = false;
  attempt(answer);
}

/** A photo to compare the first with. */
function takeSecond(file) {
  if (!check(file, explain)) return;
  state.second = file;
  URL.revokeObjectURL($("second-shown").src);
  $("second-shown").src = URL.createObjectURL(file);
  $("second-shown").hidden = false;
  attempt(explain);
}

/** Gives the photo its room, and outlines the square that the model's preprocessing cuts out, if it cuts one. */
function outline() {
  const image = $("shown");
  const { naturalWidth: width, naturalHeight: height } = image;
  $("stage").style.maxWidth = `${(24 * width) / height}rem`; // so it is 24rem high at most
  const isCut = model()?.preprocessing.fit === "crop" && model().task !== "segment"; // else all of it is looked at
  $("crop-box").hidden = !isCut;
  if (!isCut) return;
  const { resize, crop } = model().preprocessing;
  const side = (Math.min(width, height) * crop * image.clientWidth) / width / resize;
  Object.assign($("crop-box").style, {
    width: `${side}px`, height: `${side}px`,
    left: `${(image.clientWidth - side) / 2}px`, top: `${(image.clientHeight - side) / 2}px`,
  });
}

/** Encloses what the first answer's best class is about, where the model says so. */
function enclose() {
  const { naturalWidth: width, naturalHeight: height } = $("shown");
  const box = state.answers[0]?.answer.predictions?.[0].box;
  $("found-box").hidden = !box;
  const mask = state.answers[0]?.answer.mask;
  $("mask").hidden = !mask;
  if (mask) $("mask").src = `data:image/png;base64,${mask}`;
  if (!box) return;
  Object.assign($("found-box").style, {
    left: `${(100 * box.left) / width}%`, width: `${(100 * (box.right - box.left)) / width}%`,
    top: `${(100 * box.top) / height}%`, height: `${(100 * (box.bottom - box.top)) / height}%`,
  });
}

async function film() {
  $("camera").disabled = true; // a second stream would be one that nothing ends
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    await $("video").play();
  } catch {
    endFilm();
    throw new Error(say("noCamera"));
  }
  $("live").hidden = false;
  $("shoot").focus();
}

function endFilm() {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("live").hidden = true;
  $("camera").disabled = false;
  $("camera").focus();
}

function shoot() {
  const video = $("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  endFilm();
  canvas.toBlob(take, "image/jpeg", 0.95);
}

// -- the answer ----------------------------------------------------------------------------------------------------

async function answer(signal) {
  if (!state.photo || !model()) return; // `begin` asks again
  giveUp(explain); // of the choice before
  outline();
  if (!state.answers.length) $("answers").replaceChildren(element("p", "hint", "…"));
  const names = [...new Set([$("model").value, $("other").value].filter(Boolean))];
  try {
    state.answers = await Promise.all(names.map((name) => timed(name, signal)));
  } catch (error) {
    if (!signal.aborted) forget();
    throw error;
  }
  drawAnswers();
  attempt(explain);
}

async function timed(name, signal) {
  const start = performance.now();
  const [answer] = (await ask(`predict?${query({ model: name })}`, { body: state.photo, signal })).photos;
  return { name, answer, ms: Math.round(performance.now() - start) };
}

/** What was found is of another photo or model, or there is none. */
function forget() {
  state.answers = [];
  state.reasons = null;
  drawAnswers();
  drawReasons();
}

function drawAnswers() {
  const none = element("p", "hint", say("noAnswer"));
  $("answers").replaceChildren(...(state.answers.length ? state.answers.map(drawAnswer) : [none]));
  enclose();
}

function drawAnswer({ name, answer, ms }) {
  const box = element("div", "answer");
  box.append(element("h3", "", name));
  if (answer.embedding) box.append(element("p", "hint", say("vector", { numbers: answer.embedding.length })));
  for (const { label, probability } of answer.predictions ?? []) box.append(drawScore(label, probability));
  for (const { label, share, colour } of answer.shares ?? []) box.append(drawScore(label, share, colour));
  if (answer.is_known === false) box.append(element("p", "unknown", say("unknown")));
  box.append(element("p", "hint", say("took", { ms })));
  return box;
}

/** A row with a bar. colour: of the class in the mask. */
function drawScore(label, share, colour = "") {
  const row = element("div", "score");
  const bar = element("span", "bar");
  const name = element("span", "", label);
  if (colour) {
    const swatch = element("i", "swatch");
    swatch.style.background = colour;
    name.prepend(swatch);
  }
  bar.append(Object.assign(document.createElement("i"), { style: `width: ${100 * share}%` }));
  row.append(name, bar, element("span", "", `${(100 * share).toFixed(1)} %`));
  return row;
}

// -- why -----------------------------------------------------------------------------------------------------------

async function explain(signal) {
  if (!state.photo || !model()) return;
  const isVector = model().task === "embed";
  if (isVector && !state.second) { // it has no reasons by itself
    state.reasons = null;
    return void drawReasons();
  }
  const method = $("method").value;
  const layer = $("layer").disabled ? "" : $("layer").value;
  const edge = $("edge").disabled ? "" : $("edge").value;
  const wanted = query({ model: $("model").value, method, label: isVector ? "" : $("class").value, layer, edge });
  const body = isVector ? pair(state.photo, state.second) : state.photo;
  try {
    state.reasons = { ...(await ask(`explain?${wanted}`, { body, signal })), method };
  } catch (error) {
    if (!signal.aborted) state.reasons = null;
    throw error;
  } finally {
    drawReasons();
  }
}

/** The form that asks what makes a photo like another one. */
function pair(photo, other) {
  const form = new FormData();
  form.append("photo", photo);
  form.append("similar_to", other);
  return form;
}

function drawReasons() {
  const found = state.reasons;
  $("seen-stage").hidden = !found;
  $("seen-hint").hidden = model()?.task === "segment"; // which gets the whole photo
  $("explained").textContent = "";
  if (!found) return;
  Object.assign($("seen"), { src: found.seen, alt: say("seenAlt") });
  Object.assign($("heat"), { src: found.panel, alt: say("heatAlt", { method: $("method").selectedOptions[0].text }) });
  const place = found.half_in === null
    ? say("nowhere")
    : say("where", { share: Math.round(100 * found.half_in), place: say(`place${found.most_in}`) });
  const what = "similarity" in found
    ? say("alike", { similarity: found.similarity.toFixed(3) })
    : `${found.label}, ${(100 * (found.share ?? found.probability)).toFixed(1)} %`;
  const part = found.edge ? say(`edge_${found.edge}`) : "";
  $("explained").textContent = [what, part, say(found.method), place].filter(Boolean).join(" · ");
}

/** Draws what the unit of the chosen layer sees whose field's middle is nearest to the pointer. */
function point(event) {
  const isOther = !state.network || state.network.name; // not of the model that explains
  if (isOther || model().task === "segment") return void ($("field").hidden = true);
  const layer = state.network.layers[state.chosen];
  const shape = layer.output_shape;
  const edge = $("seen").getBoundingClientRect();
  const scale = edge.width / state.network.side;
  const nearest = (pixel, count) => Math.min(count - 1, Math.max(0, Math.round((pixel / scale - layer.center) / layer.stride)));
  const middle = (index) => (layer.center + layer.stride * index) * scale;
  const side = layer.receptive_field * scale;
  const x = middle(nearest(event.clientX - edge.left, shape[2]));
  const y = middle(nearest(event.clientY - edge.top, shape[1]));
  $("field").hidden = false;
  Object.assign($("field").style, {
    left: `${x - side / 2}px`, top: `${y - side / 2}px`, width: `${side}px`, height: `${side}px`,
  });
}

// -- the network ---------------------------------------------------------------------------------------------------

/** Another network is chosen: of the one that is drawn, nothing is asked any more. */
function leaveNetwork() {
  giveUp(showMaps);
  state.network = null;
  drawMaps(null);
  offerMaps();
}

async function showNetwork(signal) {
  leaveNetwork();
  const name = $("shown-network").value; // of the paper; none: the model's own
  if (!name && !model()) return;
  const path = name ? `networks/${name}` : `models/${encodeURIComponent($("model").value)}/layers`;
  if (!state.networks.has(path)) state.networks.set(path, await ask(path, { signal }));
  const { layers } = state.networks.get(path);
  state.network = { name, layers, side: layers[0].output_shape[1] };
  state.chosen = Math.max(0, layers.findLastIndex(({ kind }) => kind === "conv"));
  drawShown();
}

function drawShown() {
  const { name, layers, side } = state.network;
  const sum = (key) => layers.reduce((total, layer) => total + layer[key], 0);
  $("network-text").textContent = [name && say(`text${name}`), say("networkText", {
    layers: layers.filter(({ weights }) => weights).length, side,
    parameters: short(sum("parameters")), macs: short(sum("macs")),
  })].filter(Boolean).join(" ");
  const configuration = name || model().architecture?.configuration;
  $("all-about").hidden = !state.configurations.includes(configuration);
  $("all-about").href = `network/${configuration}`;
  $("all-about").textContent = say(name ? "allAbout" : "builtOn", { name: configuration });
  $("maps").hidden = Boolean(name);
  const choose = drawNetwork(layers, (layer, index) => {
    if (index !== state.chosen) giveUp(showMaps);
    state.chosen = index;
    offerMaps();
  });
  choose(state.chosen);
}

function offerMaps() {
  $("maps").disabled = !state.photo || !state.network?.layers[state.chosen].has_map;
}

async function showMaps(signal) {
  const wanted = query({ model: $("model").value, layer: state.network.layers[state.chosen].name });
  drawMaps(await ask(`activations?${wanted}`, { body: state.photo, signal }));
}

function drawMaps(found) {
  state.maps = found;
  const { layer, channels: all, maps } = found ?? { maps: [] };
  $("maps-title").textContent = found ? say("mapsTitle", { layer, shown: maps.length, all }) : "";
  $("maps-picture").replaceChildren(...maps.map(({ channel, picture }) => {
    const tile = element("figure");
    tile.append(
      Object.assign(document.createElement("img"), { src: picture, alt: say("mapAlt", { channel, layer }) }),
      element("figcaption", "", channel),
    );
    return tile;
  }));
}

// -- small things --------------------------------------------------------------------------------------------------

function options(select, pairs) {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => Object.assign(document.createElement("option"), { value, text })));
  if (pairs.some(([value]) => value === before)) select.value = before;
}

/** Fills the choices that depend on the model. */
function offer() {
  const { task, classes = [], layers_with_map: layers = [], edges = [] } = model() ?? {};
  options($("class"), [["", say("best")], ...classes.map((name) => [name, name])]);
  $("class-choice").hidden = task === "embed"; // a vector is of no class
  $("second").hidden = task !== "embed";
  options($("edge"), [["", say("edge_")], ...edges.map((name) => [name, say(`edge_${name}`)])]);
  $("edge-choice").hidden = !edges.length;
  const methods = Object.entries(state.methods).filter(([name]) => model()?.methods?.includes(name) ?? true);
  options($("method"), methods);
  options($("layer"), [["", say("last")], ...layers.map((name) => [name, name])]);
  $("layer").disabled = $("method").value !== "gradcam";
  $("edge").disabled = $("method").value === "occlusion"; // which tells what a class loses
}

/** Writes everything in the chosen language; nothing is asked anew. */
function translate() {
  speak($("language").value);
  $("shown").alt = say("photoAlt");
  $("second-shown").alt = say("secondAlt");
  options($("other"), [["", say("nobody")], ...state.models.map(({ name }) => [name, name])]);
  options($("shown-network"), [["", say("ofModel")], ...state.configurations.map((name) => [name, name])]);
  offer();
  drawAnswers();
  drawReasons();
  if (state.network) drawShown();
  drawMaps(state.maps);
}

/** After another choice of the model: its answer first, since its layers may have to be timed. */
async function renew() {
  offer();
  leaveNetwork();
  await attempt(answer);
  await attempt(showNetwork);
}

async function begin(signal) {
  const [{ models, methods }, { networks }] = await Promise.all([ask("models", { signal }), ask("networks", { signal })]);
  Object.assign(state, { models, methods, configurations: networks.map(({ name }) => name) });
  options($("model"), models.map(({ name }) => [name, name]));
  translate();
  renew();
}

const on = (id, kind, work) => $(id).addEventListener(kind, work);
on("language", "change", translate);
on("choose", "click", () => $("file").click());
on("file", "change", () => { take($("file").files[0]); $("file").value = ""; });
on("choose-second", "click", () => $("second-file").click());
on("second-file", "change", () => { takeSecond($("second-file").files[0]); $("second-file").value = ""; });
on("camera", "click", () => attempt(film));
on("shoot", "click", shoot);
on("stop", "click", endFilm);
for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault(); // beside the box, too: the browser would leave the page for the file
  $("drop").classList.toggle("over", kind === "dragover");
  if (kind === "drop") take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => event.clipboardData.files.length && take(event.clipboardData.files[0]));
on("model", "change", renew);
on("other", "change", () => attempt(answer));
for (const id of ["method", "class", "edge", "layer"]) on(id, "change", () => { offer(); attempt(explain); });
on("opacity", "input", () => { $("heat").style.opacity = $("opacity").value / 100; });
on("seen-stage", "pointermove", point);
on("seen-stage", "pointerleave", () => { $("field").hidden = true; });
on("shown-network", "change", () => attempt(showNetwork));
on("maps", "click", () => attempt(showMaps));
on("shown", "load", () => { outline(); enclose(); });
addEventListener("resize", outline);
$("language").value = preferred();
translate();
takeToken(begin);
attempt(begin);
