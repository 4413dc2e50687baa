"use strict";
// Which signal stands where, in which colours and in which order of units.

function pairOf(name, kind) {
  return PAGE.pairs.find((pair) => pair[kind === "GRU" ? 1 : 0] === name);
}

/** The signal of a layer, or what follows from it, by the name of its row. */
function signalOf(side, name) {
  if (name !== PAGE.written) return side.signals[name];
  return side.signals[PAGE.update]?.written();
}

function cellOf(side, name, paired) {
  const signal = signalOf(side, name);
  const kind = side.layer.kind;
  const title = (paired && PAGE.pairTitles[name]) || PAGE.titles[name];
  if (signal) return { side, name, signal, title };
  if (kind === "GRU" && name === PAGE.cell) {
    return { words: "A GRU has no cell state: its hidden state is its memory." };
  }
  return { words: `“${title}” was not captured.` };
}

/** Rows of two cells: of one layer, gates and states; of two, what does the same. */
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
      rows.push(pair.map((name) => (name ? cellOf(left, name, false) : null)));
    }
    return rows;
  }
  const shown = [left, right].filter((side) => side.signals);
  const differ = left.layer.kind !== right.layer.kind;
  for (const pair of PAGE.pairs) {
    const name = (side) => pair[side.layer.kind === "GRU" ? 1 : 0];
    const derived = !differ && name(left) === PAGE.written;
    if (!derived && shown.some((side) => signalOf(side, name(side)))) {
      rows.push([left, right].map((s) => (s.signals ? cellOf(s, name(s), differ) : null)));
    }
  }
  return rows;
}

/** The colours of cells, and the values at their ends. */
function scaleOf(there) {
  const base = ({ name }) => (name === PAGE.written ? PAGE.update : name);
  const limits = there.map((cell) => cell.side.layer.signals[base(cell)].limits);
  const gate = PAGE.gates.includes(base(there[0]));
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

/** A time step in words: its label, where there is one, or its number. */
const stepWords = (layer, step) => layer.times?.[step] ?? `${step}`;

/** Where the right layer has the sample that the left one shows; -1 if nowhere. */
function itemBeside(left, right, item) {
  const [sample, frame] = left.items[item];
  const same = right.items.findIndex(([s, f]) => s === sample && f === frame);
  return same >= 0 ? same : right.items.findIndex(([s]) => s === sample);
}
