"use strict";
// Puts values into the figures that `bokeh_frames.py` made.

const EDGE = 74; // Pixels to the left and right of the drawn part of a figure.
const MOST_POINTS = 6000;

let models;

function model(name) {
  if (!models) models = Bokeh.documents[0];
  return models.get_model_by_name(name);
}

/** Groups of steps, each at least a pixel wide, that cover the visible range. */
function groups({ from, to }, steps, pixels) {
  const first = Math.max(0, Math.floor(from + 0.5));
  const last = Math.min(steps - 1, Math.ceil(to - 0.5));
  const size = Math.max(1, Math.ceil((last - first + 1) / Math.max(1, pixels)));
  const start = Math.floor(first / size) * size;
  return { start, size, count: Math.max(0, Math.ceil((last + 1 - start) / size)) };
}

/**
 * The image of a signal. If there are more cells than pixels, each pixel is the mean of
 * its cells, so that no cell is left out.
 */
function imageOf(signal, order, across, up, steps, [low, high]) {
  const values = new Float32Array(across.count * up.count);
  for (let row = 0; row < up.count; row += 1) {
    const lastRow = Math.min(order.length, (row + 1) * up.size);
    for (let column = 0; column < across.count; column += 1) {
      const first = across.start + column * across.size;
      const last = Math.min(steps, first + across.size);
      let [sum, count, infinite] = [0, 0, false];
      for (let step = first; step < last; step += 1) {
        for (let place = row * up.size; place < lastRow; place += 1) {
          const value = signal.at(step, order[place]);
          if (Number.isFinite(value)) {
            sum += value;
            count += 1;
          } else if (!Number.isNaN(value)) {
            infinite = true;
          }
        }
      }
      const mean = count ? Math.min(high, Math.max(low, sum / count)) : NaN;
      values[row * across.count + column] = infinite ? Infinity : mean;
    }
  }
  return values;
}

/** Draws a heat map; returns the number of steps and units in a pixel. */
function drawMap(name, { signal, side }, order, view, [width, height]) {
  const { steps } = side.layer;
  nameSteps(name, side.layer);
  const across = groups(view, steps, width - EDGE);
  const up = groups({ from: 0, to: order.length - 1 }, order.length, height - 30);
  const [low, high] = view.limits;
  const source = model(`${name}-image`);
  const image = imageOf(signal, order, across, up, steps, [low, high]);
  const NDArray = source.data.image[0].constructor;
  model(`${name}-colours`).setv({ palette: view.palette, low, high });
  source.data = {
    image: [new NDArray(image, [up.count, across.count])],
    x: [across.start - 0.5],
    y: [-0.5],
    dw: [across.count * across.size],
    dh: [up.count * up.size],
  };
  model(`${name}-units`).major_label_overrides = new Map(
    order.map((unit, place) => [place, String(side.layer.units[unit])]),
  );
  return [across.size, up.size];
}

const named = new Map();

/** Writes the labels of the time steps, if there are any, under a figure. */
function nameSteps(name, layer) {
  if (named.get(name) === layer) return;
  named.set(name, layer);
  const labels = (layer.times ?? []).map((label, step) => [step, label]);
  const axis = model(`${name}-time`);
  axis.major_label_overrides = new Map(labels);
  if (axis.axis_label) axis.axis_label = layer.times ? "time" : "time (step)";
}

/** Marks units at the left end of a span. */
function drawMarks(name, order, units, start) {
  const places = units.map((unit) => order.indexOf(unit));
  model(`${name}-marks`).data = { x: places.map(() => start - 0.5), y: places };
}

function drawSpan(name, span) {
  const box = model(`${name}-span`);
  if (span) box.setv({ left: span.start - 0.5, right: span.stop + 0.5, visible: true });
  else box.setv({ visible: false });
}

/** The points of a line; of many steps only the lowest and highest of each group. */
function points(valueAt, shown, steps) {
  const { start, size, count } = groups(shown, steps, MOST_POINTS / 2);
  const [x, y] = [[], []];
  for (let group = 0; group < count; group += 1) {
    const first = start + group * size;
    const last = Math.min(steps, first + size);
    let [lowest, highest] = [first, first];
    for (let step = first; step < last; step += 1) {
      const value = valueAt(step);
      if (Number.isNaN(value)) continue;
      if (!(valueAt(lowest) <= value)) lowest = step;
      if (!(valueAt(highest) >= value)) highest = step;
    }
    for (const step of new Set([lowest, highest].sort((a, b) => a - b))) {
      const value = valueAt(step);
      x.push(step);
      y.push(Number.isFinite(value) ? value : NaN);
    }
  }
  return { x, y };
}

/** Draws lines, each `{valueAt, colour}`, on an axis that covers all of them. */
function drawLines(name, lines, shown, layer, limits) {
  const { steps } = layer;
  nameSteps(name, layer);
  const drawn = lines.map(({ valueAt }) => points(valueAt, shown, steps));
  model(`${name}-lines`).data = {
    x: drawn.map(({ x }) => x),
    y: drawn.map(({ y }) => y),
    colour: lines.map(({ colour }) => colour),
  };
  let [low, high] = limits ?? [Infinity, -Infinity];
  for (const { y } of limits ? [] : drawn) {
    for (const value of y) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) [low, high] = [0, 1];
  const margin = (high - low) * 0.06 || 1;
  model(`${name}-values`).setv({ start: low - margin, end: high + margin });
}

/** Writes the tokens if they fit, and returns 0; else the number of steps that would. */
function drawWords(name, tokens, { from, to }, width) {
  const first = Math.max(0, Math.ceil(from));
  const last = Math.min(tokens.length - 1, Math.floor(to));
  const shown = tokens.slice(first, last + 1).map((token) => token && visible(token));
  const upright = shown.every((token) => token.length <= 2);
  const room = Math.floor((width - EDGE) / (upright ? 11 : 15));
  const fits = last - first + 1 <= room;
  const words = fits ? shown : [];
  model(`${name}-words`).data = {
    x: words.map((_, index) => first + index - (upright ? 0.25 : 0)),
    text: words,
    angle: words.map(() => (upright ? 0 : Math.PI / 3)),
  };
  return fits ? 0 : room;
}
