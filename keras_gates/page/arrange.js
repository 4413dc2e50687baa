"use strict";
// The arrangement of the signals, their colours and the order of the units.

/** A place that shows a signal as it was captured. */
const plainPlace = (name) => ({ name, signal: name, complement: false, title: PAGE.titles[name] });

/** The signal of a layer that a place shows, or its complement. */
function signalOf(side, place) {
  const signal = side.signals[place?.signal];
  return place?.complement ? signal?.complemented() : signal;
}

function cellOf(side, place) {
  if (place === null) return null;
  if (typeof place === "string") return { words: place };
  const signal = signalOf(side, place);
  if (signal) return { side, name: place.name, base: place.signal, signal, title: place.title };
  return { words: `“${place.title}” was not captured.` };
}

/** Rows of two cells: gates and states of one layer, or matching signals of two layers. */
function arrange() {
  const [left, right] = sides;
  const rows = [];
  if (!right) {
    const names = Object.keys(left.signals);
    let gates = names.filter((name) => PAGE.gates.includes(name));
    let others = names.filter((name) => !PAGE.gates.includes(name));
    if (!gates.length || !others.length) {
      gates = names.filter((_, place) => place % 2 === 0);
      others = names.filter((_, place) => place % 2 === 1);
    }
    for (let row = 0; row < Math.max(gates.length, others.length); row += 1) {
      const pair = [gates[row], others[row]];
      rows.push(pair.map((name) => (name ? cellOf(left, plainPlace(name)) : null)));
    }
    return rows;
  }
  for (const places of PAGE.pairs[left.layer.kind][right.layer.kind]) {
    const pair = [left, right].map((side, column) => [side, places[column]]);
    if (pair.some(([side, place]) => side.signals && signalOf(side, place))) {
      rows.push(pair.map(([side, place]) => (side.signals ? cellOf(side, place) : null)));
    }
  }
  return rows;
}

/** The colours of cells, and the values at both ends of the scale. */
function scaleOf(drawn) {
  const limits = drawn.map((cell) => cell.side.layer.signals[cell.base].limits);
  const gate = PAGE.gates.includes(drawn[0].base);
  return {
    limits: [Math.min(...limits.map((l) => l[0])), Math.max(...limits.map((l) => l[1]))],
    palette: gate ? PAGE.palettes.gates : PAGE.palettes.states,
    gate,
  };
}

function orderOf(layer) {
  const chosen = layer.orders.find(({ key }) => key === state.order);
  return (chosen ?? layer.orders[0]).units;
}

function labelOf(layer, item) {
  const [sample, frame] = layer.items[item];
  return frame === null ? `${sample}` : `${sample}, frame ${frame}`;
}

/** A time step as text: its label, if it has one, or its number. */
const stepWords = (layer, step) => layer.times?.[step] ?? `${step}`;

/** The position in the right layer of the sample shown on the left; -1 if it has none. */
function itemBeside(left, right, item) {
  const [sample, frame] = left.items[item];
  const same = right.items.findIndex(([s, f]) => s === sample && f === frame);
  return same >= 0 ? same : right.items.findIndex(([s]) => s === sample);
}
