"use strict";
// The state of the page, and the functions that draw it.

const ROWS = PAGE.rows;
const find = (id) => document.getElementById(id);
const layers = PAGE.layers;

const state = {
  layer: PAGE.first[0],
  beside: PAGE.first[1],
  item: 0,
  moment: Infinity, // The last step of training of each layer.
  order: "number",
  units: [0, 0],
  step: 0,
  // The span in which units are searched.
  asked: { item: 0, start: 0, stop: 0 },
  // One of the places that were found, if it is shown.
  jump: null,
};

let sides = [null, null];
let cells = [];
let marked = [];
let turn = 0;
let working = 0;

const time = () => model("time");
const shown = () => ({ from: time().start, to: time().end });
const longest = () => Math.max(...sides.map((side) => side?.layer.steps ?? 0));

function setText(element, text) {
  element.textContent = text;
}

function describe(side) {
  const { layer } = side;
  const parts = [`${layer.kind}, ${layer.total.toLocaleString("en")} units`];
  if (layer.backward) parts.push("reads backward, drawn in the order of the input");
  if (layer.convention) parts.push(layer.convention);
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
  setText(element.querySelector(".low"), digits(low) + (scale.gate ? " closed" : ""));
  setText(element.querySelector(".high"), digits(high) + (scale.gate ? " open" : ""));
  const bar = element.querySelector(".bar");
  bar.style.background = `linear-gradient(to right, ${stops.join(",")})`;
}

function drawCells() {
  let coarsest = [1, 1];
  for (let row = 0; row < ROWS; row += 1) {
    const drawn = (cells[row] ?? []).filter((cell) => cell?.signal);
    for (let column = 0; column < 2; column += 1) {
      const place = find(`cell-${row}-${column}`);
      const cell = cells[row]?.[column];
      place.hidden = !cells[row];
      place.classList.toggle("empty", !cell?.signal);
      setText(place.querySelector("h4 .title"), cell?.title ?? "");
      setText(place.querySelector(".words"), cell?.words ?? "");
      place.querySelector(".scale").hidden = true;
      if (!cell?.signal) continue;
      // Two maps side by side share a scale.
      const scale = scaleOf(sides[1] ? drawn : [cell]);
      drawScale(place.querySelector(".scale"), scale);
      const name = `map-${row}-${column}`;
      const plot = place.querySelector(".plot");
      const order = orderOf(cell.side.layer);
      const size = [plot.clientWidth, plot.clientHeight];
      const sizes = drawMap(name, cell, order, { ...shown(), ...scale }, size);
      coarsest = coarsest.map((size, axis) => Math.max(size, sizes[axis]));
    }
  }
  const [steps, units] = coarsest;
  const many = [steps > 1 && `${steps} steps`, units > 1 && `${units} units`];
  const groups = many.filter(Boolean).join(" and ");
  setText(find("coarse"), groups && `Each point of the maps is the mean of ${groups}. Zoom in to see each value.`);
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

/** Draws the lines of a unit: side by side for one layer, in a column for each of two. */
function drawUnits() {
  for (const [row, group] of ["gates", "states"].entries()) {
    for (let column = 0; column < 2; column += 1) {
      const place = find(`unit-${row}-${column}`);
      const which = sides[1] ? group : ["gates", "states"][column];
      const side = sides[1] ? sides[column] : sides[0];
      const namesOf = ({ signals }) =>
        Object.keys(signals ?? {}).filter((name) => PAGE.gates.includes(name) === (which === "gates"));
      const names = namesOf(side);
      // If the other layer has lines, this column stays, even if it is empty.
      const beside = sides[1] && sides.some((one) => namesOf(one).length);
      place.hidden = (!sides[1] && row > 0) || !(names.length || beside);
      place.classList.toggle("empty", !names.length);
      if (!names.length) {
        setText(place.querySelector(".title"), "");
        drawLegend(place.querySelector(".legend"), []);
        continue;
      }
      const unit = state.units[sides[1] ? column : 0];
      const lines = names.map((name) => ({
        valueAt: (step) => side.signals[name].at(step, unit),
        colour: PAGE.colours[name],
      }));
      const within = names.every((name) => side.layer.signals[name].unitary);
      const limits = which === "gates" && within ? [0, 1] : null;
      drawLines(`line-${row}-${column}`, lines, shown(), side.layer, limits);
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
  for (let column = 0; column < 2; column += 1) {
    const place = find(`read-${column}`);
    const side = sides[column] ?? sides[0];
    place.hidden = !side?.inputs;
    if (place.hidden) continue;
    const { tokens, values, features, total } = side.inputs;
    const name = `input-${column}`;
    model(`${name}-axis`).visible = !tokens;
    model(`${name}-grid`).visible = !tokens;
    if (tokens) {
      drawLines(name, [], shown(), side.layer, [0, 1]);
      const width = place.querySelector(".plot").clientWidth;
      const room = drawWords(name, tokens, shown(), width);
      const many = room ? ` Zoom in to ${room} steps or fewer to read the tokens.` : "";
      setText(place.querySelector(".title"), `Input.${many}`);
      drawLegend(place.querySelector(".legend"), []);
      continue;
    }
    const lines = features.map((_, index) => ({
      valueAt: (step) => values[step * features.length + index],
      colour: PAGE.inputColours[index],
    }));
    drawLines(name, lines, shown(), side.layer, null);
    const some = features.length < total;
    const title = some
      ? `Input: the ${features.length} of ${total} features that vary the most`
      : "Input";
    setText(place.querySelector(".title"), title);
    const names = features.map((feature, index) => [
      total > 1 ? `feature ${feature}` : "input",
      PAGE.inputColours[index],
    ]);
    drawLegend(place.querySelector(".legend"), names);
  }
}

/** Draws everything that depends on the visible part of the time axis. */
function paint() {
  if (!sides[0]) return;
  hideTip(); // Its cell may no longer be visible.
  drawCells();
  drawInputs();
  drawUnits();
  drawSpans();
  drawReading();
}

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
