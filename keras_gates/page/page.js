"use strict";
// What is chosen, and what happens when that changes.

const ROWS = PAGE.rows;
const find = (id) => document.getElementById(id);
const layers = PAGE.layers;

const state = {
  layer: PAGE.first[0],
  beside: PAGE.first[1],
  item: 0,
  moment: Infinity, // Each layer's last one.
  order: "number",
  units: [0, 0],
  step: 0,
  // Where the question was asked: "which units stay on here?"
  asked: { item: 0, start: 0, stop: 0 },
  // Where one of the answers is looked at.
  jump: null,
};

let sides = [null, null];
let cells = [];
let marked = [];
let turn = 0;

const time = () => model("time");
const longest = () => Math.max(...sides.map((side) => side?.layer.steps ?? 0));

// What stands where ------------------------------------------------------------------

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
    const gates = names.filter((name) => PAGE.gates.includes(name));
    const others = names.filter((name) => !PAGE.gates.includes(name));
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

/** Where the right layer has the sample that the left one shows; -1 if nowhere. */
function itemBeside(left, right, item) {
  const [sample, frame] = left.items[item];
  const same = right.items.findIndex(([s, f]) => s === sample && f === frame);
  return same >= 0 ? same : right.items.findIndex(([s]) => s === sample);
}

// Drawing ----------------------------------------------------------------------------

function setText(element, text) {
  element.textContent = text;
}

function describe(side) {
  const { layer } = side;
  const parts = [`${layer.kind}, ${layer.total.toLocaleString("en")} units`];
  if (layer.backward) parts.push("reads backward, drawn in the order of the input");
  if (layer.kind === "GRU") parts.push(`${PAGE.update}: ${PAGE.convention}`);
  return parts.join("; ");
}

function drawHeadings() {
  sides.forEach((side, column) => {
    const heading = find(`column-${column}`);
    heading.hidden = !side;
    if (!side) return;
    setText(heading.querySelector(".name"), side.layer.name);
    setText(heading.querySelector(".about"), describe(side));
    const missing = side.item < 0 ? "This sample is not on the page for this layer." : "";
    setText(heading.querySelector(".missing"), missing);
  });
}

function drawScale(element, scale) {
  const [low, high] = scale.limits;
  const digits = (value) => `${Number(value.toPrecision(3))}`.replace("-", "−");
  const stops = scale.palette.filter((_, index) => index % 15 === 0);
  element.hidden = false;
  setText(element.querySelector(".low"), digits(low) + (scale.gate ? " shut" : ""));
  setText(element.querySelector(".high"), digits(high) + (scale.gate ? " open" : ""));
  const bar = element.querySelector(".bar");
  bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
}

function drawCells() {
  const window = [time().start, time().end];
  let coarsest = [1, 1];
  for (let row = 0; row < ROWS; row += 1) {
    const there = (cells[row] ?? []).filter((cell) => cell?.signal);
    for (let column = 0; column < 2; column += 1) {
      const place = find(`cell-${row}-${column}`);
      const cell = cells[row]?.[column];
      place.hidden = !cells[row];
      place.classList.toggle("empty", !cell?.signal);
      setText(place.querySelector("h4 .title"), cell?.title ?? "");
      setText(place.querySelector(".words"), cell?.words ?? "");
      place.querySelector(".scale").hidden = true;
      if (!cell?.signal) continue;
      // What stands side by side has one scale.
      const scale = scaleOf(sides[1] ? there : [cell]);
      drawScale(place.querySelector(".scale"), scale);
      const name = `map-${row}-${column}`;
      const plot = place.querySelector(".plot");
      const order = orderOf(cell.side.layer);
      const look = Object.assign([...window], scale);
      const { clientWidth, clientHeight } = plot;
      const sizes = drawMap(name, cell.signal, cell.side, order, look, clientWidth, clientHeight);
      coarsest = coarsest.map((size, axis) => Math.max(size, sizes[axis]));
    }
  }
  const [steps, units] = coarsest;
  const many = [steps > 1 && `${steps} steps`, units > 1 && `${units} units`];
  const told = many.filter(Boolean).join(" and ");
  setText(find("coarse"), told && `A dot of the maps is the mean of ${told}. Zoom in for each.`);
  for (const column of [0, 1]) {
    const { layer } = sides[column] ?? sides[0];
    model(`units-${column}`).setv({ start: -0.5, end: layer.units.length - 0.5 });
  }
}

function drawSpans() {
  const { asked, jump } = state;
  const here = asked.item === state.item ? asked : null;
  const span = jump ?? here;
  for (let column = 0; column < 2; column += 1) {
    for (let row = 0; row < ROWS; row += 1) {
      const name = `map-${row}-${column}`;
      const cell = cells[row]?.[column];
      if (!cell?.signal) continue;
      drawSpan(name, span);
      const ours = span && cell.side === sides[0] ? marked : [];
      drawMarks(name, orderOf(cell.side.layer), ours, span?.start ?? 0);
    }
    for (const name of ["line-0", "line-1", "input"]) {
      drawSpan(`${name}-${column}`, span);
    }
  }
}

/** Which lines stand where: of one layer side by side, of two one below the other. */
function drawUnits() {
  const window = [time().start, time().end];
  for (const [row, group] of ["gates", "states"].entries()) {
    for (let column = 0; column < 2; column += 1) {
      const place = find(`unit-${row}-${column}`);
      const shown = sides[1] ? group : ["gates", "states"][column];
      const side = sides[1] ? sides[column] : sides[0];
      const names = Object.keys(side.signals ?? {}).filter(
        (name) => PAGE.gates.includes(name) === (shown === "gates"),
      );
      place.hidden = (!sides[1] && row > 0) || !names.length;
      if (place.hidden) continue;
      const unit = state.units[sides[1] ? column : 0];
      const lines = names.map((name) => ({
        valueAt: (step) => side.signals[name].at(step, unit),
        colour: PAGE.colours[name],
      }));
      const within = names.every((name) => side.layer.signals[name].unitary);
      const limits = shown === "gates" && within ? [0, 1] : null;
      drawLines(`line-${row}-${column}`, lines, window, side.layer.steps, limits);
      setText(place.querySelector(".title"), `Unit ${side.layer.units[unit]}`);
      drawLegend(place.querySelector(".legend"), names.map((name) => [name, PAGE.colours[name]]));
    }
  }
}

function drawLegend(element, entries) {
  element.replaceChildren(
    ...entries.map(([name, colour]) => {
      const entry = document.createElement("span");
      entry.style.setProperty("--colour", colour);
      setText(entry, name);
      return entry;
    }),
  );
}

function drawInputs() {
  const window = [time().start, time().end];
  for (let column = 0; column < 2; column += 1) {
    const place = find(`read-${column}`);
    const side = sides[column] ?? sides[0];
    place.hidden = !side?.inputs;
    if (place.hidden) continue;
    const { tokens, values, features, total } = side.inputs;
    const name = `input-${column}`;
    const steps = side.layer.steps;
    model(`${name}-axis`).visible = !tokens;
    if (tokens) {
      drawLines(name, [], window, steps, [0, 1]);
      const room = drawWords(name, tokens, window, place.querySelector(".plot").clientWidth);
      const many = room ? ` Zoom in to ${room} steps or fewer to read it here.` : "";
      setText(place.querySelector(".title"), `What was read.${many}`);
      drawLegend(place.querySelector(".legend"), []);
      continue;
    }
    const lines = features.map((_, index) => ({
      valueAt: (step) => values[step * features.length + index],
      colour: PAGE.inputColours[index],
    }));
    drawLines(name, lines, window, steps, null);
    const some = features.length < total;
    const title = some
      ? `What was read: the ${features.length} of ${total} features that vary the most`
      : "What was read";
    setText(place.querySelector(".title"), title);
    const names = features.map((feature, index) => [
      total > 1 ? `feature ${feature}` : "input",
      PAGE.inputColours[index],
    ]);
    drawLegend(place.querySelector(".legend"), names);
  }
}

/** Everything that depends on the part of the time axis that is looked at. */
function paint() {
  if (!sides[0]) return;
  drawCells();
  drawInputs();
  drawUnits();
  drawSpans();
  drawReading();
}

// Values in words --------------------------------------------------------------------

function inputAt(side, step) {
  if (!side.inputs) return [];
  const { tokens, values, features, total } = side.inputs;
  if (tokens) return tokens[step] ? [`read: ${visible(tokens[step])}`] : [];
  return features.map((feature, index) => {
    const value = values[step * features.length + index];
    return `${total > 1 ? `feature ${feature}` : "input"}: ${Number(value.toPrecision(5))}`;
  });
}

const isMasked = (side, step) => Boolean(side.mask && !side.mask[step]);

function valueAt(side, name, step, unit) {
  if (isMasked(side, step)) return "masked step";
  return signalOf(side, name).words(step, unit);
}

function placeAt(side, step, unit) {
  const where = [`step ${step}`, `sample ${labelOf(side.layer, side.item)}`];
  if (unit !== null) where.unshift(`unit ${side.layer.units[unit]}`);
  return where.join(", ");
}

function drawReading() {
  const told = sides.flatMap((side, column) => {
    if (!side?.signals || state.step >= side.layer.steps) return [];
    const unit = state.units[column];
    const values = Object.keys(side.signals).map(
      (name) => `${name} ${valueAt(side, name, state.step, unit)}`,
    );
    const where = `${side.layer.name}, ${placeAt(side, state.step, unit)}`;
    const line = document.createElement("span");
    setText(line, [where, values.join(", "), ...inputAt(side, state.step)].join("; "));
    return [line];
  });
  find("reading").replaceChildren(...told);
}

function showTip(place, event, lines) {
  const tip = find("tip");
  tip.replaceChildren(
    ...lines.map((text) => {
      const element = document.createElement("div");
      setText(element, text);
      return element;
    }),
  );
  tip.hidden = false;
  const box = place.querySelector(".plot").getBoundingClientRect();
  const left = Math.min(box.left + event.sx + 14, window.innerWidth - tip.offsetWidth - 8);
  const below = box.top + event.sy + 16;
  const room = below + tip.offsetHeight < window.innerHeight;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${room ? below : below - tip.offsetHeight - 32}px`;
}

const hideTip = () => (find("tip").hidden = true);

/** The cell of a map under the pointer, or null. */
function cellAt(row, column, event) {
  const cell = cells[row]?.[column];
  if (!cell?.signal) return null;
  const order = orderOf(cell.side.layer);
  const [step, place] = [Math.round(event.x), Math.round(event.y)];
  if (step < 0 || step >= cell.side.layer.steps || !(place in order)) return null;
  return { ...cell, step, unit: order[place] };
}

function hoverMap(row, column, event) {
  const cell = cellAt(row, column, event);
  if (!cell) return hideTip();
  const { side, name, step, unit } = cell;
  const value = `${name}: ${valueAt(side, name, step, unit)}`;
  const lines = [value, placeAt(side, step, unit), ...inputAt(side, step)];
  return showTip(find(`cell-${row}-${column}`), event, lines);
}

function hoverLines(place, side, column, event) {
  const step = Math.round(event.x);
  if (!side?.signals || step < 0 || step >= side.layer.steps) return hideTip();
  const unit = state.units[sides[1] ? column : 0];
  const values = Object.keys(side.signals).map(
    (name) => `${name}: ${valueAt(side, name, step, unit)}`,
  );
  const lines = [placeAt(side, step, unit), ...values, ...inputAt(side, step)];
  return showTip(place, event, lines);
}

// The span and the threshold ---------------------------------------------------------

function query() {
  const { asked } = state;
  return {
    ...asked,
    moment: Math.min(state.moment, sides[0].layer.moments.length - 1),
    signal: find("signal").value,
    side: find("side").value,
    threshold: Number(find("threshold").value),
  };
}

const counted = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

function spanWords(layer, { item, start, stop }) {
  return `sample ${labelOf(layer, item)}: steps ${start} to ${stop}`;
}

async function search(mine) {
  const { layer } = sides[0];
  const asked = query();
  if (!layer.signals[asked.signal]) return;
  const signal = await loadSignal(layer, asked.signal, asked.item, asked.moment);
  const found = unitsThroughout(signal, await loadMask(layer, asked.item), asked);
  const places = found.units.length
    ? await placesElsewhere(layer, found.units, found.steps, asked)
    : [];
  if (mine !== turn) return;
  marked = found.units;
  drawFound(layer, asked, found);
  drawPlaces(layer, asked, found, places);
  drawSpans();
}

function drawFound(layer, asked, { units, steps }) {
  const where = spanWords(layer, asked);
  const which = `${asked.signal} ${asked.side} ${asked.threshold}`;
  const masked = asked.stop - asked.start + 1 - steps;
  let text = `${units.length} of ${counted(layer.units.length, "unit")} keep ${which} throughout ${where}`;
  text += masked ? ` (${counted(masked, "masked step")} left out).` : ".";
  if (!steps) text = `Every step of ${where} is masked: there is nothing to compare.`;
  setText(find("found"), text);
  find("units-found").replaceChildren(
    ...units.map((unit) =>
      button(`${layer.units[unit]}`, `Draw unit ${layer.units[unit]}`, () => choose({ unit })),
    ),
  );
}

function drawPlaces(layer, asked, { units, steps }, places) {
  const them = units.length === 1 ? "it does" : `all ${units.length} do`;
  const text = `Where else on the page ${them}, for at least ${counted(steps, "step")}: ${counted(places.length, "place")}`;
  const more = places.length - MOST_PLACES;
  const rest = more > 0 ? `, the ${MOST_PLACES} longest below.` : places.length ? ":" : ".";
  setText(find("elsewhere"), units.length ? text + rest : "");
  const buttons = places.slice(0, MOST_PLACES).map((place) => {
    const words = `${spanWords(layer, place)} (${place.length})`;
    const entry = document.createElement("li");
    entry.append(button(words, `Go to ${spanWords(layer, place)}`, () => goTo(place)));
    return entry;
  });
  find("places").replaceChildren(...buttons);
}

function button(text, label, act) {
  const made = document.createElement("button");
  made.type = "button";
  setText(made, text);
  made.setAttribute("aria-label", label);
  made.addEventListener("click", act);
  return made;
}

/** Looks at a place; the question stays where it was asked. */
function goTo(place) {
  state.item = place.item;
  state.jump = place;
  const width = place.stop - place.start + 1;
  const room = Math.max(2 * width, 20);
  if (time().end - time().start < longest()) look(place.start - room, place.stop + room);
  show();
}

function setSpan(start, stop) {
  const last = layers[state.layer].steps - 1;
  const inside = (step) => Math.max(0, Math.min(last, Math.round(step) || 0));
  const ends = [inside(start), inside(stop)].sort((a, b) => a - b);
  state.asked = { item: state.item, start: ends[0], stop: ends[1] };
  state.jump = null;
  show();
}

// The part of the time axis that is looked at ----------------------------------------

function look(from, to) {
  const last = longest() - 0.5;
  const width = Math.min(Math.max(to - from, 2), last + 0.5);
  const start = Math.max(-0.5, Math.min(from, last - width));
  time().setv({ start, end: start + width });
  paint();
}

function zoom(factor, centre = (time().start + time().end) / 2) {
  const { start, end } = time();
  look(centre - (centre - start) * factor, centre + (end - centre) * factor);
}

function move(share) {
  const by = (time().end - time().start) * share;
  look(time().start + by, time().end + by);
}

// Choosing ---------------------------------------------------------------------------

function options(select, entries, chosen) {
  select.replaceChildren(
    ...entries.map(([value, text]) => {
      const option = document.createElement("option");
      option.value = value;
      setText(option, text);
      return option;
    }),
  );
  select.value = chosen;
}

/** Fits what can be chosen to the layers that are shown. */
function fitControls() {
  const layer = layers[state.layer];
  const beside = layers[state.beside];
  const others = layers.filter(({ index }) => index !== state.layer);
  const names = (some) => some.map(({ index, name }) => [String(index), name]);
  options(find("layer"), names(layers), String(state.layer));
  options(find("beside"), [["-1", "nothing"], ...names(others)], String(state.beside));
  find("beside-row").hidden = layers.length < 2;
  slide("sample", state.item, layer.items.length, `sample ${labelOf(layer, state.item)}`);
  const moment = Math.min(state.moment, layer.moments.length - 1);
  slide("moment", moment, layer.moments.length, layer.moments[moment]);
  find("moment-row").hidden = Math.max(layer.moments.length, beside?.moments.length ?? 1) < 2;
  const orders = layer.orders.map(({ key, label }) => [key, label]);
  if (!orders.some(([key]) => key === state.order)) state.order = "number";
  options(find("order"), orders, state.order);
  fitUnit("unit", layer, 0);
  find("unit-beside-row").hidden = !beside;
  if (beside) fitUnit("unit-beside", beside, 1);
  const { asked } = state;
  for (const [id, value] of [["from", asked.start], ["to", asked.stop], ["step", state.step]]) {
    find(id).max = layer.steps - 1;
    find(id).value = value;
  }
  const signals = Object.keys(layer.signals);
  const before = find("signal").value;
  const signal = signals.includes(before) ? before : layer.threshold;
  options(find("signal"), signals.map((name) => [name, name]), signal);
  if (signal !== before) fitThreshold();
  find("back").hidden = !state.jump;
}

function slide(id, value, count, label) {
  const slider = find(id);
  slider.max = count - 1;
  slider.value = value;
  slider.disabled = count < 2;
  slider.setAttribute("aria-valuetext", label);
  setText(find(`${id}-name`), label);
}

function fitUnit(id, layer, column) {
  state.units[column] = Math.min(state.units[column], layer.units.length - 1);
  find(id).max = layer.units.at(-1);
  find(id).value = layer.units[state.units[column]];
}

/** A threshold within the values of the signal. */
function fitThreshold() {
  const slider = find("threshold");
  const [low, high] = layers[state.layer].signals[find("signal").value].limits;
  const gate = PAGE.gates.includes(find("signal").value);
  slider.min = low;
  slider.max = high;
  slider.step = gate && low === 0 && high === 1 ? 0.01 : "any";
  slider.value = gate && high === 1 ? 0.9 : Number((low + 0.75 * (high - low)).toPrecision(2));
  setText(find("threshold-name"), String(Number(Number(slider.value).toPrecision(3))));
}

/** The position of the unit of a number, or of the nearest one on the page. */
function unitNumbered(layer, number) {
  const far = layer.units.map((unit) => Math.abs(unit - number));
  return far.indexOf(Math.min(...far));
}

/** Changes what is shown. A new layer or sample takes the question along. */
function choose(change) {
  if ("layer" in change) {
    state.layer = change.layer;
    if (state.beside === change.layer) state.beside = -1;
    const layer = layers[state.layer];
    state.item = Math.min(state.item, layer.items.length - 1);
    const last = layer.steps - 1;
    const { start, stop } = state.asked;
    state.asked = { item: state.item, start: Math.min(start, last), stop: Math.min(stop, last) };
    state.jump = null;
  }
  if ("item" in change) {
    state.item = change.item;
    state.asked = { ...state.asked, item: change.item };
    state.jump = null;
  }
  if ("beside" in change) state.beside = change.beside;
  if ("moment" in change) state.moment = change.moment;
  if ("order" in change) state.order = change.order;
  if ("unit" in change) state.units[0] = change.unit;
  if ("unitBeside" in change) state.units[1] = change.unitBeside;
  if ("step" in change) state.step = change.step;
  show();
}

/** Loads and draws what is chosen. What was chosen since then is drawn instead. */
async function show() {
  const mine = (turn += 1);
  find("explorer").setAttribute("aria-busy", "true");
  fitControls();
  const [left, right] = [layers[state.layer], layers[state.beside]];
  const last = (layer) => Math.min(state.moment, layer.moments.length - 1);
  const loaded = [await loadSide(left, state.item, last(left)), null];
  if (right) {
    const item = itemBeside(left, right, state.item);
    loaded[1] = await loadSide(right, item, last(right));
  }
  if (mine !== turn) return;
  const before = sides[0] ? longest() : 0;
  sides = loaded;
  cells = arrange();
  find("maps").classList.toggle("two", Boolean(right));
  drawHeadings();
  if (longest() !== before) time().setv({ start: -0.5, end: longest() - 0.5 });
  paint();
  await search(mine);
  if (mine === turn) find("explorer").setAttribute("aria-busy", "false");
}

// Wiring -----------------------------------------------------------------------------

function listen() {
  const on = (id, event, act) => find(id).addEventListener(event, act);
  const number = (id) => Number(find(id).value);
  on("controls", "submit", (event) => event.preventDefault());
  on("layer", "change", () => choose({ layer: number("layer") }));
  on("beside", "change", () => choose({ beside: number("beside") }));
  on("sample", "input", () => choose({ item: number("sample") }));
  on("moment", "input", () => choose({ moment: number("moment") }));
  on("order", "change", () => choose({ order: find("order").value }));
  on("unit", "change", () => choose({ unit: unitNumbered(layers[state.layer], number("unit")) }));
  on("unit-beside", "change", () =>
    choose({ unitBeside: unitNumbered(layers[state.beside], number("unit-beside")) }),
  );
  const last = () => layers[state.layer].steps - 1;
  on("step", "change", () => choose({ step: Math.max(0, Math.min(last(), number("step"))) }));
  on("from", "change", () => setSpan(number("from"), Math.max(number("from"), number("to"))));
  on("to", "change", () => setSpan(Math.min(number("from"), number("to")), number("to")));
  on("signal", "change", () => {
    fitThreshold();
    show();
  });
  on("side", "change", show);
  on("threshold", "input", () => {
    setText(find("threshold-name"), String(Number(number("threshold").toPrecision(3))));
    show();
  });
  on("back", "click", () => choose({ item: state.asked.item }));
  on("zoom-in", "click", () => zoom(0.5));
  on("zoom-out", "click", () => zoom(2));
  on("earlier", "click", () => move(-0.5));
  on("later", "click", () => move(0.5));
  on("whole", "click", () => look(-0.5, longest() - 0.5));
  on("to-span", "click", () => {
    const { start, stop } = state.jump ?? state.asked;
    look(start - 0.5, stop + 0.5);
  });
  window.addEventListener("scroll", hideTip, { passive: true });
  new ResizeObserver(paint).observe(find("maps"));
}

function listenToFigure(name, place, hover, select) {
  const figure = model(name);
  let pointed = null;
  figure.on_event("mousemove", (event) => {
    pointed = event.x;
    hover(event);
  });
  figure.on_event("mouseleave", hideTip);
  figure.on_event("selectiongeometry", ({ final, geometry }) => {
    if (final && geometry.type === "rect") setSpan(geometry.x0, geometry.x1);
  });
  if (select) figure.on_event("tap", select);
  const turned = (event) => {
    if (!event.ctrlKey || pointed === null) return;
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, pointed);
  };
  place.querySelector(".plot").addEventListener("wheel", turned, { passive: false });
}

function listenToFigures() {
  for (let column = 0; column < 2; column += 1) {
    for (let row = 0; row < ROWS; row += 1) {
      const select = (event) => {
        const cell = cellAt(row, column, event);
        if (!cell) return;
        const unit = cell.side === sides[0] ? { unit: cell.unit } : { unitBeside: cell.unit };
        choose({ ...unit, step: cell.step });
      };
      const hover = (event) => hoverMap(row, column, event);
      listenToFigure(`map-${row}-${column}`, find(`cell-${row}-${column}`), hover, select);
    }
    const side = () => sides[column] ?? sides[0];
    const places = { "line-0": "unit-0", "line-1": "unit-1", input: "read" };
    for (const [figure, id] of Object.entries(places)) {
      const place = find(`${id}-${column}`);
      const hover = (event) => hoverLines(place, side(), column, event);
      listenToFigure(`${figure}-${column}`, place, hover);
    }
  }
}

function start() {
  const { steps } = layers[state.layer];
  const middle = Math.floor(steps / 2);
  const half = Math.floor(Math.min(steps, 200) / 20);
  state.asked = { item: 0, start: Math.max(0, middle - half), stop: Math.min(steps - 1, middle + half) };
  listen();
  listenToFigures();
  show();
}

/** Bokeh builds its figures when the document is complete, and a little later. */
function whenReady(act) {
  if (window.Bokeh?.documents[0]?.is_idle) act();
  else setTimeout(() => whenReady(act), 10);
}

whenReady(start);
