"use strict";
// The controls of the page, and their effects.

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

/** Updates the controls to the layers that are shown. */
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
    find(id).type = layer.times ? "text" : "number";
    find(id).max = layer.steps - 1;
    find(id).value = stepWords(layer, value);
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
  const numbered = layer.units.every(Number.isFinite);
  find(id).type = numbered ? "number" : "text";
  if (numbered) {
    find(id).min = Math.min(...layer.units);
    find(id).max = Math.max(...layer.units);
  }
  find(id).value = layer.units[state.units[column]];
}

/** Sets the range of the threshold to the values of the signal. */
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

/**
 * The position of the unit with a label. A number gives the nearest unit on the page; a
 * name that no unit has gives the unit chosen before.
 */
function unitNamed(layer, label, before) {
  if (!layer.units.every(Number.isFinite)) {
    const place = layer.units.indexOf(label.trim());
    return place < 0 ? before : place;
  }
  const far = layer.units.map((unit) => Math.abs(unit - Number(label)));
  return far.indexOf(Math.min(...far));
}

/** The step that was typed, or the step chosen before if no step has this label. */
function stepTyped(id, before) {
  const { times } = layers[state.layer];
  if (!times) return Number(find(id).value);
  const place = times.indexOf(find(id).value.trim());
  return place < 0 ? before : place;
}

/** Changes the selection. For a new layer or sample, the span is kept. */
function choose(change) {
  if ("layer" in change) {
    const [before, layer] = [layers[state.layer], layers[change.layer]];
    state.item = Math.max(0, itemBeside(before, layer, state.item));
    state.layer = change.layer;
    if (state.beside === change.layer) state.beside = -1;
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

/** Loads and draws the selection. An outdated selection is dropped. */
async function show() {
  const mine = (turn += 1);
  busy(1);
  fitControls();
  const loaded = await loadSides();
  if (mine === turn) {
    const before = sides[0] ? longest() : 0;
    sides = loaded;
    cells = arrange();
    find("maps").classList.toggle("two", Boolean(sides[1]));
    drawHeadings();
    if (longest() !== before) time().setv({ start: -0.5, end: longest() - 0.5 });
    paint();
    await ask();
  }
  busy(-1);
}

function loadSides() {
  const [left, right] = [layers[state.layer], layers[state.beside]];
  const last = (layer) => Math.min(state.moment, layer.moments.length - 1);
  return Promise.all([
    loadSide(left, state.item, last(left)),
    right && loadSide(right, itemBeside(left, right, state.item), last(right)),
  ]);
}

/** Shows screen readers, and tests, whether something is still being drawn. */
function busy(more) {
  working += more;
  find("explorer").setAttribute("aria-busy", String(working > 0));
}

function listen() {
  const on = (id, event, act) => find(id).addEventListener(event, act);
  const number = (id) => Number(find(id).value);
  on("controls", "submit", (event) => event.preventDefault());
  on("layer", "change", () => choose({ layer: number("layer") }));
  on("beside", "change", () => choose({ beside: number("beside") }));
  on("sample", "input", () => choose({ item: number("sample") }));
  on("moment", "input", () => choose({ moment: number("moment") }));
  on("order", "change", () => choose({ order: find("order").value }));
  const unit = (id, which, column) =>
    unitNamed(layers[state[which]], find(id).value, state.units[column]);
  on("unit", "change", () => choose({ unit: unit("unit", "layer", 0) }));
  on("unit-beside", "change", () =>
    choose({ unitBeside: unit("unit-beside", "beside", 1) }),
  );
  const last = () => layers[state.layer].steps - 1;
  const step = () => stepTyped("step", state.step);
  on("step", "change", () => choose({ step: Math.max(0, Math.min(last(), step())) }));
  const from = () => stepTyped("from", state.asked.start);
  const to = () => stepTyped("to", state.asked.stop);
  on("from", "change", () => setSpan(from(), Math.max(from(), to())));
  on("to", "change", () => setSpan(Math.min(from(), to()), to()));
  on("signal", "change", () => {
    fitThreshold();
    ask();
  });
  on("side", "change", ask);
  on("threshold", "input", () => {
    setText(find("threshold-name"), String(Number(number("threshold").toPrecision(3))));
    ask();
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
  let width = find("maps").clientWidth;
  const resized = new ResizeObserver(() => {
    if (find("maps").clientWidth === width) return; // Only its height changed.
    width = find("maps").clientWidth;
    paint();
  });
  resized.observe(find("maps"));
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

/** Waits for Bokeh, which builds its figures after the document is complete. */
function startWhenReady() {
  if (Bokeh.documents[0]?.is_idle) start();
  else setTimeout(startWhenReady, 10);
}

if (window.DecompressionStream) startWhenReady();
else setText(find("coarse"), "This browser cannot unpack the values. Use a browser from 2023 or later.");
