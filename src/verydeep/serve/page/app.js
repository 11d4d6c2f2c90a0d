// The page: a photo in, its answer and its reasons out. No text from outside ever becomes markup: textContent alone.

import { drawNetwork } from "./network.js";
import { $, ask, attempt, element, short, takeToken } from "./parts.js";
import { preferred, say, speak } from "./words.js";

const LARGEST = 20 * 2 ** 20;
const CONFIGURATIONS = ["A", "A-LRN", "B", "C", "D", "E"];
const state = { photo: null, models: [], networks: new Map(), network: null, layer: null, turn: 0, reason: 0 };
const query = (given) => new URLSearchParams(Object.entries(given).filter(([, value]) => value)).toString();

// -- the photo -----------------------------------------------------------------------------------------------------

function take(file) {
  if (!/^image\/(jpeg|png|webp)$/.test(file?.type ?? "")) return void ($("trouble").textContent = say("notPhoto"));
  if (file.size > LARGEST) return void ($("trouble").textContent = say("tooLarge"));
  state.photo = file;
  state.turn += 1;
  state.reason += 1;
  $("answers").replaceChildren(element("p", "hint", "…"));
  $("seen-stage").hidden = $("maps-shown").hidden = true;
  $("explained").textContent = "";
  URL.revokeObjectURL($("shown").src);
  $("shown").src = URL.createObjectURL(file);
  $("shown").alt = say("photoAlt");
  $("stage").hidden = false;
  offerMaps();
  attempt(answer);
}

/** Outlines the square that the model's preprocessing cuts out. */
function outline() {
  const image = $("shown");
  const { resize, crop } = model().preprocessing;
  const scale = image.clientWidth / image.naturalWidth;
  const side = (Math.min(image.naturalWidth, image.naturalHeight) * crop * scale) / resize;
  Object.assign($("crop-box").style, {
    width: `${side}px`, height: `${side}px`,
    left: `${(image.clientWidth - side) / 2}px`, top: `${(image.clientHeight - side) / 2}px`,
  });
}

async function film() {
  try {
    $("video").srcObject = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    await $("video").play();
    $("live").hidden = false;
    $("shoot").focus();
  } catch {
    $("trouble").textContent = say("noCamera");
  }
}

function endFilm() {
  for (const track of $("video").srcObject?.getTracks() ?? []) track.stop();
  $("live").hidden = true;
}

function shoot() {
  const video = $("video");
  const canvas = Object.assign(document.createElement("canvas"), { width: video.videoWidth, height: video.videoHeight });
  canvas.getContext("2d").drawImage(video, 0, 0);
  endFilm();
  canvas.toBlob(take, "image/jpeg", 0.95);
}

// -- the answer ----------------------------------------------------------------------------------------------------

const model = () => state.models.find(({ name }) => name === $("model").value);

async function answer() {
  if (!state.photo) return;
  const turn = ++state.turn; // a later photo overtakes this one
  outline();
  const names = [...new Set([$("model").value, $("other").value].filter(Boolean))];
  const found = await Promise.all(names.map(timed));
  if (turn !== state.turn) return;
  $("answers").replaceChildren(...found.map(drawAnswer));
  await explain();
}

async function timed(name) {
  const start = performance.now();
  const [answer] = (await ask(`predict?${query({ model: name })}`, state.photo)).photos;
  return { name, answer, ms: Math.round(performance.now() - start) };
}

function drawAnswer({ name, answer, ms }) {
  const box = element("div", "answer");
  box.append(element("h3", "", name));
  for (const { label, probability } of answer.predictions) {
    const row = element("div", "score");
    const bar = element("span", "bar");
    bar.append(Object.assign(document.createElement("i"), { style: `width: ${100 * probability}%` }));
    row.append(element("span", "", label), bar, element("span", "", `${(100 * probability).toFixed(1)} %`));
    box.append(row);
  }
  if (!answer.is_known) box.append(element("p", "unknown", say("unknown")));
  box.append(element("p", "hint", say("took", { ms })));
  return box;
}

// -- why -----------------------------------------------------------------------------------------------------------

async function explain() {
  if (!state.photo) return;
  const turn = ++state.reason;
  const method = $("method").value;
  const layer = $("layer").disabled ? "" : $("layer").value;
  const found = await ask(
    `explain?${query({ model: $("model").value, method, label: $("class").value, layer })}`,
    state.photo,
  );
  if (turn !== state.reason) return; // something else has been chosen meanwhile
  Object.assign($("seen"), { src: found.seen, alt: say("seenAlt") });
  Object.assign($("heat"), { src: found.panel, alt: say("heatAlt", { method: $("method").selectedOptions[0].text }) });
  $("seen-stage").hidden = false;
  const place = found.half_in === null
    ? say("nowhere")
    : say("where", { share: Math.round(100 * found.half_in), place: say(`place${found.most_in}`) });
  $("explained").textContent = `${found.label}, ${(100 * found.probability).toFixed(1)} % · ${say(method)} · ${place}`;
}

/** Draws what the unit of the chosen layer sees whose field's middle is nearest to the pointer. */
function point(event) {
  const layer = state.layer;
  if (!layer || state.network.isOfPaper) return void ($("field").hidden = true);
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

async function showNetwork() {
  const chosen = $("shown-network").value;
  const path = chosen ? `networks/${chosen}` : `models/${encodeURIComponent($("model").value)}/layers`;
  state.wanted = path;
  if (!state.networks.has(path)) state.networks.set(path, await ask(path));
  if (state.wanted !== path) return; // another one has been chosen meanwhile
  const { layers } = state.networks.get(path);
  const side = layers[0].output_shape[1];
  state.network = { layers, side, isOfPaper: Boolean(chosen) };
  const sum = (key) => layers.reduce((total, layer) => total + layer[key], 0);
  $("network-text").textContent = [chosen && say(`text${chosen}`), say("networkText", {
    layers: layers.filter(({ weights }) => weights).length, side,
    parameters: short(sum("parameters")), macs: short(sum("macs")),
  })].filter(Boolean).join(" ");
  const configuration = chosen || model().architecture?.configuration;
  $("all-about").hidden = !CONFIGURATIONS.includes(configuration);
  $("all-about").href = `network/${configuration}`;
  $("all-about").textContent = say("allAbout", { name: configuration });
  $("maps").hidden = Boolean(chosen);
  $("maps-shown").hidden = true;
  const choose = drawNetwork(layers, (layer) => { state.layer = layer; offerMaps(); });
  choose(Math.max(0, layers.findLastIndex(({ kind }) => kind === "conv")));
}

function offerMaps() {
  $("maps").disabled = !state.layer?.has_map || !state.photo;
}

async function showMaps() {
  const { photo, layer: { name } } = state;
  const found = await ask(`activations?${query({ model: $("model").value, layer: name })}`, photo);
  if (photo !== state.photo) return; // another one has come meanwhile
  $("maps-title").textContent = say("mapsTitle", { layer: name, shown: found.maps.length, all: found.channels });
  $("maps-picture").replaceChildren(...found.maps.map(({ channel, picture }) => {
    const tile = element("figure");
    tile.append(
      Object.assign(document.createElement("img"), { src: picture, alt: say("mapAlt", { channel, layer: name }) }),
      element("figcaption", "", channel),
    );
    return tile;
  }));
  $("maps-shown").hidden = false;
}

// -- small things --------------------------------------------------------------------------------------------------

function options(select, pairs) {
  const before = select.value;
  select.replaceChildren(...pairs.map(([value, text]) => Object.assign(document.createElement("option"), { value, text })));
  if (pairs.some(([value]) => value === before)) select.value = before;
}

/** Fills the choices that depend on the model. */
function offer() {
  const { classes, layers_with_map: layers } = model();
  options($("class"), [["", say("best")], ...classes.map((name) => [name, name])]);
  options($("layer"), [["", say("last")], ...layers.map((name) => [name, name])]);
  $("layer").disabled = $("method").value !== "gradcam";
}

function translate(language) {
  speak(language);
  localStorage.setItem("language", language);
  options($("other"), [["", say("nobody")], ...state.models.map(({ name }) => [name, name])]);
  options($("shown-network"), [["", say("ofModel")], ...CONFIGURATIONS.map((name) => [name, name])]);
  offer();
}

async function begin() {
  const language = preferred();
  $("language").value = language;
  speak(language);
  const found = await ask("models");
  state.models = found.models;
  options($("model"), state.models.map(({ name }) => [name, name]));
  options($("method"), Object.entries(found.methods));
  translate(language);
  await showNetwork();
}

const on = (id, kind, work) => $(id).addEventListener(kind, work);
on("language", "change", () => { translate($("language").value); attempt(async () => { await showNetwork(); await answer(); }); });
on("choose", "click", () => $("file").click());
on("file", "change", () => { take($("file").files[0]); $("file").value = ""; });
on("camera", "click", film);
on("shoot", "click", shoot);
on("stop", "click", endFilm);
on("drop", "dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
on("drop", "dragleave", () => $("drop").classList.remove("over"));
on("drop", "drop", (event) => { event.preventDefault(); $("drop").classList.remove("over"); take(event.dataTransfer.files[0]); });
document.addEventListener("paste", (event) => event.clipboardData.files.length && take(event.clipboardData.files[0]));
on("model", "change", () => attempt(async () => { offer(); await showNetwork(); await answer(); }));
on("other", "change", () => attempt(answer));
for (const id of ["method", "class", "layer"]) on(id, "change", () => attempt(async () => { offer(); await explain(); }));
takeToken(begin);
on("opacity", "input", () => { $("heat").style.opacity = $("opacity").value / 100; });
on("seen-stage", "pointermove", point);
on("seen-stage", "pointerleave", () => { $("field").hidden = true; });
on("shown-network", "change", () => attempt(showNetwork));
on("maps", "click", () => attempt(showMaps));
on("shown", "load", outline);
addEventListener("resize", () => state.photo && outline());
attempt(begin);
