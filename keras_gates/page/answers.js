"use strict";
// The span, the threshold, and the units and places found with them.

let asks = 0;

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
  const steps = `steps ${stepWords(layer, start)} to ${stepWords(layer, stop)}`;
  return `sample ${labelOf(layer, item)}: ${steps}`;
}

/** Finds the units and the places. An outdated result is dropped. */
async function ask() {
  const mine = (asks += 1);
  busy(1);
  const { layer } = sides[0];
  const asked = query();
  const signal = await loadSignal(layer, asked.signal, asked.item, asked.moment);
  const found = unitsThroughout(signal, await loadMask(layer, asked.item), asked);
  const places = found.units.length
    ? await placesElsewhere(layer, found.units, found.steps, asked)
    : [];
  if (mine === asks) {
    marked = found.units;
    drawFound(layer, asked, found);
    drawPlaces(layer, asked, found, places);
    drawSpans();
  }
  busy(-1);
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
  const text = `${counted(places.length, "other place")} on the page where ${them} so for at least ${counted(steps, "step")}`;
  const more = places.length - MOST_PLACES;
  const rest = more > 0 ? `. The ${MOST_PLACES} longest are listed below.` : places.length ? ":" : ".";
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

/** Shows a place; the span stays where it was chosen. */
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
