// The page of one configuration of the paper. Every number of its walk is of the server's accounts: none is typed in.

import { drawNetwork } from "./network.js";
import { $, ask, attempt, bytes, element, number, pairs, percent, shapeOf, short, takeToken } from "./parts.js";
import { preferred, say, speak } from "./words.js";

const NAME = decodeURIComponent(location.pathname.split("/").pop());
const BEFORE = { "A-LRN": "A", B: "A", C: "B", D: "C", E: "D" }; // what each was made from
const state = { network: null, all: [], chosen: 1 }; // chosen: the layer, by its place

/** A table: its head, and rows of texts or elements; the first of each row names it. */
function fill(table, head, rows) {
  const heads = element("tr");
  heads.append(...head.map((text) => Object.assign(element("th", "", text), { scope: "col" })));
  const top = element("thead");
  top.append(heads);
  const body = element("tbody");
  body.append(...rows.map((cells) => {
    const row = element("tr");
    row.append(...cells.map((cell, place) => {
      const made = element(place ? "td" : "th");
      made.append(cell);
      if (place) made.dataset.label = head[place];
      else made.scope = "row";
      return made;
    }));
    return row;
  }));
  table.replaceChildren(top, body);
}

// -- the network as a whole ----------------------------------------------------------------------------------------

function drawNames() {
  $("configurations").setAttribute("aria-label", say("aboutNetworks"));
  $("configurations").replaceChildren(...state.all.map(({ name }) => linkTo(name)));
}

function linkTo(name) {
  const link = Object.assign(element("a", "", name), { href: encodeURIComponent(name) });
  if (name === NAME) link.setAttribute("aria-current", "page");
  return link;
}

function drawTotals() {
  const { totals } = state.network;
  const before = state.all.find(({ name }) => name === BEFORE[NAME]);
  const counted = { layersWithWeights: "weight_layers", parameters: "parameters", macs: "macs", outputs: "activations" };
  const rows = Object.entries(counted).map(([word, key]) => {
    const shown = element("dd", "", key === "activations" ? bytes(4 * totals[key]) : number(totals[key]));
    if (before) shown.append(element("small", "", more(totals[key] - before.totals[key], key, before.name)));
    return [say(word), shown];
  });
  $("totals").replaceChildren(...pairs([
    ...rows,
    [say("fileSize"), bytes(totals.file_bytes)],
    [say("whereParameters"), say("inFc", { share: percent(totals.fc_parameters / totals.parameters) })],
    [say("whereMacs"), say("inConv", { share: percent(totals.conv_macs / totals.macs) })],
  ]));
}

function more(difference, key, name) {
  if (!difference) return say("asMany", { name });
  return say("moreThan", { name, more: key === "activations" ? bytes(4 * difference) : number(difference) });
}

function drawErrors() {
  const scale = (text) => text.replace("-", "–");
  fill($("errors"), ["trainedAt", "testedAt", "top1", "top5"].map((key) => say(key)), state.network.errors.map(
    (error) => [scale(error.train_scale), error.test_scales.join(", "), `${error.top1.toFixed(1)} %`, `${error.top5.toFixed(1)} %`],
  ));
  const head = ["configuration", "layersShort", "parameters", "macs", "top1"].map((key) => say(key));
  fill($("beside"), head, state.all.map(({ name, totals, errors }) => [
    linkTo(name), number(totals.weight_layers), short(totals.parameters), short(totals.macs), `${errors[0].top1.toFixed(1)} %`,
  ]));
  for (const row of $("beside").tBodies[0].rows) row.classList.toggle("here", row.cells[0].textContent === NAME);
}

// -- the walk ------------------------------------------------------------------------------------------------------

/** The layers with what goes into each, in the groups that the paper calls blocks; the input and the head are others. */
function group(layers) {
  const groups = new Map();
  layers.forEach((layer, index) => {
    const key = layer.kind === "input" ? "input" : layer.kind === "fc" ? "head" : layer.name.match(/\d/)[0];
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push({ ...layer, from: layers[index - 1]?.output_shape });
  });
  return groups;
}

function drawBlock([key, layers]) {
  const box = element("article", "block");
  const last = layers.at(-1);
  const path = [layers[0].from, last.output_shape].filter(Boolean).map(shapeOf).join(" → ");
  const title = element("h3", "", key > 0 ? say("block", { n: key }) : say(key === "head" ? "head" : "start"));
  title.append(element("span", "path", path));
  box.append(title, element("p", "", tell(key, layers)));
  if (key === "input") return box;
  const table = element("table");
  table.setAttribute("aria-label", title.firstChild.textContent);
  fill(table, ["name", "output", "memory", "parameters", "macs"].map((word) => say(word)), layers.map((layer) => [
    layer.name, shapeOf(layer.output_shape), bytes(4 * layer.activations),
    ...(layer.weights ? [counted(layer.parameters, formula(layer)), counted(layer.macs, positions(layer))] : ["0", "0"]),
  ]));
  box.append(table, share("parameters", layers), share("macs", layers));
  return box;
}

function counted(value, how) {
  const made = element("span", "", number(value));
  made.append(element("small", "", how));
  return made;
}

/** Where the parameters come from: "3 × 3 × 64 × 128 + 128". */
function formula({ kind, kernel, weights, biases, output_shape: [units] }) {
  const factors = [...(kind === "conv" || kernel > 1 ? [kernel, kernel] : []), weights / kernel ** 2 / units, units];
  return `${factors.map(number).join(" × ")} + ${number(biases)}`;
}

/** Where the multiply-adds come from: every weight is used once at every place. */
function positions({ weights, output_shape: [, height, width] }) {
  return height * width > 1 ? `${number(weights)} × ${height} × ${width}` : say("eachOnce");
}

function tell(key, layers) {
  const first = layers[0];
  const last = layers.at(-1);
  if (key === "input") return say("tellInput", { shape: shapeOf(first.output_shape), values: number(first.activations) });
  if (key === "head") {
    const [channels, height, width] = first.from;
    const values = number(channels * height * width);
    return say("tellHead", {
      shape: shapeOf(first.from), values, units: number(first.output_shape[0]), classes: number(last.output_shape[0]),
      share: percent(first.parameters / state.network.totals.parameters),
      first: first.name, second: layers.at(-2).name, last: last.name,
    });
  }
  const convolutions = layers.filter(({ kind }) => kind === "conv");
  const kernels = [...new Set(convolutions.map(({ kernel }) => `${kernel} × ${kernel}`))].join(say("and"));
  const [channels, side] = convolutions.at(-1).output_shape;
  return [
    say(convolutions.length > 1 ? "tellConvs" : "tellConv", { n: convolutions.length, kernels, channels, side, from: first.from[0] }),
    layers.some(({ kind }) => kind === "lrn") && say("tellLrn"),
    convolutions.some(({ kernel }) => kernel === 1) && say("tellOne"),
    say("tellPool", { side, half: last.output_shape[1], field: last.receptive_field, stride: last.stride }),
  ].filter(Boolean).join(say("between"));
}

/** What part of the whole network is in these layers, as a bar. */
function share(key, layers) {
  const part = layers.reduce((sum, layer) => sum + layer[key], 0) / state.network.totals[key];
  const row = element("div", "share");
  const bar = element("span", "bar");
  bar.append(Object.assign(element("i", key), { style: `width: ${100 * part}%` }));
  row.append(element("span", "", say(key)), bar, element("span", "", percent(part)));
  return row;
}

// -- the page ------------------------------------------------------------------------------------------------------

function show() {
  speak($("language").value);
  if (!state.network) return;
  document.querySelector("main").hidden = false;
  document.title = `${say("configurationTitle", { name: NAME })} · verydeep`;
  $("title").textContent = say("configurationTitle", { name: NAME });
  $("lead").textContent = say(`text${NAME}`);
  $("story").textContent = say(`story${NAME}`);
  drawNames();
  drawTotals();
  drawErrors();
  drawNetwork(state.network.layers, (_, index) => { state.chosen = index; })(state.chosen);
  $("blocks").replaceChildren(...[...group(state.network.layers)].map(drawBlock));
}

async function begin(signal) {
  const paths = [`networks/${encodeURIComponent(NAME)}`, "networks"];
  const [network, all] = await Promise.all(paths.map((path) => ask(path, { signal })));
  Object.assign(state, { network, all: all.networks });
  show();
}

$("language").value = preferred();
$("language").addEventListener("change", show);
show();
takeToken(begin);
attempt(begin);
