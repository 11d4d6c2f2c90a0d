// The picture of a network: a box for each layer, walked by pointer and by keys, and what is known of the chosen one.

import { $, bytes, element, number, pairs, shapeOf } from "./parts.js";
import { say } from "./words.js";

/** Draws the layers. onChoose: told each layer that is chosen, and its index. Returns the function that chooses by it. */
export function drawNetwork(layers, onChoose = () => {}) {
  const boxes = $("layers");
  let chosen = 0;
  const choose = (index) => {
    chosen = index;
    for (const [place, box] of [...boxes.children].entries()) box.setAttribute("aria-selected", place === index);
    boxes.setAttribute("aria-activedescendant", `layer-${index}`);
    boxes.scrollLeft = boxes.children[index].offsetLeft - boxes.clientWidth / 2; // where they do not all fit
    show(index);
    onChoose(layers[index], index);
  };
  const show = (index) => $("layer-facts").replaceChildren(...pairs(facts(layers[index])));
  boxes.replaceChildren(...layers.map((layer, index) => drawLayer(layer, index, choose, show)));
  boxes.onpointerleave = () => show(chosen); // what is pointed at is shown in passing
  boxes.onkeydown = (event) => {
    const to = step(event.key, chosen, layers.length - 1);
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  };
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
  Object.assign(box.style, { height: `${8 + 18 * Math.log2(1 + height)}px`, flexGrow: width, maxWidth: `${4 * width}px` });
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

/** Where a key leads to from a place; undefined: nowhere. */
function step(key, from, last) {
  const next = Math.min(from + 1, last);
  const previous = Math.max(from - 1, 0);
  return { ArrowRight: next, ArrowDown: next, ArrowLeft: previous, ArrowUp: previous, Home: 0, End: last }[key];
}
