"use strict";
// The units that stay on one side of a threshold, and the other places where they do.

const MOST_PLACES = 40;

/** Returns whether a value is on the wanted side. NaN is on neither side. */
function passes(value, { side, threshold }) {
  return side === "above" ? value > threshold : value < threshold;
}

/** The units that pass at every unmasked step of a span, and the number of such steps. */
function unitsThroughout(signal, mask, query) {
  const steps = [];
  for (let step = query.start; step <= query.stop; step += 1) {
    if (!mask || mask[step]) steps.push(step);
  }
  const units = [];
  for (let unit = 0; unit < signal.units && steps.length; unit += 1) {
    if (steps.every((step) => passes(signal.at(step, unit), query))) units.push(unit);
  }
  return { units, steps: steps.length };
}

/** The runs of unmasked steps at which all units pass, each with its first and last step. */
function runs(signal, mask, units, query, steps) {
  const found = [];
  let start = -1;
  for (let step = 0; step <= steps; step += 1) {
    const on =
      step < steps &&
      (!mask || mask[step]) &&
      units.every((unit) => passes(signal.at(step, unit), query));
    if (on && start < 0) start = step;
    if (!on && start >= 0) {
      found.push({ start, stop: step - 1, length: step - start });
      start = -1;
    }
  }
  return found;
}

/** Every other place on the page where the units pass for at least this long, sorted. */
async function placesElsewhere(layer, units, length, query) {
  const found = [];
  for (let item = 0; item < layer.items.length; item += 1) {
    const signal = await loadSignal(layer, query.signal, item, query.moment);
    const mask = await loadMask(layer, item);
    for (const run of runs(signal, mask, units, query, layer.steps)) {
      const same =
        item === query.item && run.start <= query.stop && run.stop >= query.start;
      if (run.length >= length && !same) found.push({ item, ...run });
    }
  }
  return found.sort((a, b) => b.length - a.length || a.item - b.item);
}
