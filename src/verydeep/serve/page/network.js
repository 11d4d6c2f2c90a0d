// The picture of a network: a box for each layer, walked by pointer and by keys, and what is known of the chosen one.

import { $, bytes, element, number, pairs, shapeOf } from "./parts.js";
import { say } from "./words.js";

/** Draws the layers. onChoose: told each layer that is chosen. Returns the function that chooses by its index. */
export function drawNetwork(layers, onChoose = () => {}) {
  const boxes = $("layers");
  let chosen = 0;
  const choose = (index) => {
    chosen = index;
    show(index);
    onChoose(layers[index]);
  };
  const show = (index) => {
    for (const [place, box] of [...boxes.children].entries()) box.setAttribute("aria-selected", place === index);
    boxes.setAttribute("aria-activedescendant", `layer-${index}`);
    $("layer-facts").replaceChildren(...pairs(facts(layers[index])));
  };
  boxes.replaceChildren(...layers.map((layer, index) => drawLayer(layer, index, choose, show)));
  boxes.onpointerleave = () => show(chosen); // what is pointed at is shown in passing
  boxes.onkeydown = (event) => walk(event, choose);
  const kinds = [...new Set(layers.map(({ kind }) => kind))];
  $("kinds").replaceChildren(...kinds.map((kind) => {
    const key = element("span", "", say(kind));
    key.prepend(element("i", kind));
    return key;
  }));
  return choose;
}

/** A layer as a box: its height follows its map, its width its channels. */
function drawLayer(layer, index, choose, show) {
  const [channels, height] = layer.output_shape;
  const box = element("div", `layer ${layer.kind}`);
  const width = 4 + 2.6 * Math.log2(1 + channels);
  box.id = `layer-${index}`;
  box.setAttribute("role", "option");
  box.setAttribute("aria-label", `${layer.name}, ${shapeOf(layer.output_shape)}`);
  box.title = layer.name;
  Object.assign(box.style, { height: `${8 + 18 * Math.log2(1 + height)}px`, flexGrow: width, maxWidth: `${2.4 * width}px` });
  box.addEventListener("click", () => choose(index));
  box.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(index));
  return box;
}

function facts(layer) {
  const found = {
    name: layer.name, kind: say(layer.kind), shape: shapeOf(layer.output_shape),
    parameters: number(layer.parameters), macs: number(layer.macs),
    memory: bytes(4 * layer.activations), field: say("pixels", { n: layer.receptive_field }), stride: layer.stride,
    ...(layer.time_share === undefined ? {} : { share: `${(100 * layer.time_share).toFixed(1)} %` }),
  };
  return Object.entries(found).map(([key, value]) => [say(key), value]);
}

function walk(event, choose) {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  const boxes = [...$("layers").children];
  const here = boxes.findIndex((box) => box.getAttribute("aria-selected") === "true");
  choose(Math.min(boxes.length - 1, Math.max(0, here + step)));
}
