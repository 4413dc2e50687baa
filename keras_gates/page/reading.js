"use strict";
// Values as text: at the pointer, and at a step chosen with the keyboard.

function inputAt(side, step) {
  if (!side.inputs) return [];
  const { tokens, values, features, total } = side.inputs;
  if (tokens) return tokens[step] ? [`token: ${visible(tokens[step])}`] : [];
  return features.map((feature, index) => {
    const value = values[step * features.length + index];
    return `${total > 1 ? `feature ${feature}` : "input"}: ${Number(value.toPrecision(5))}`;
  });
}

const isMasked = (side, step) => Boolean(side.mask && !side.mask[step]);

function valueAt(side, signal, step, unit) {
  return isMasked(side, step) ? "masked step" : signal.words(step, unit);
}

function placeAt(side, step, unit) {
  const where = [`step ${stepWords(side.layer, step)}`, `sample ${labelOf(side.layer, side.item)}`];
  where.unshift(`unit ${side.layer.units[unit]}`);
  if (side.layer.moments.length > 1) where.push(`training: ${side.layer.moments[side.moment]}`);
  return where.join(", ");
}

function drawReading() {
  const values = sides.flatMap((side, column) => {
    if (!side?.signals || state.step >= side.layer.steps) return [];
    const unit = state.units[column];
    const values = Object.entries(side.signals).map(
      ([name, signal]) => `${name} ${valueAt(side, signal, state.step, unit)}`,
    );
    const where = `${side.layer.name}, ${placeAt(side, state.step, unit)}`;
    const line = document.createElement("span");
    setText(line, [where, values.join(", "), ...inputAt(side, state.step)].join("; "));
    return [line];
  });
  find("reading").replaceChildren(...values);
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
  const { side, name, signal, step, unit } = cell;
  const value = `${name}: ${valueAt(side, signal, step, unit)}`;
  const lines = [value, placeAt(side, step, unit), ...inputAt(side, step)];
  return showTip(find(`cell-${row}-${column}`), event, lines);
}

function hoverLines(place, side, column, event) {
  const step = Math.round(event.x);
  if (!side?.signals || step < 0 || step >= side.layer.steps) return hideTip();
  const unit = state.units[sides[1] ? column : 0];
  const values = Object.entries(side.signals).map(
    ([name, signal]) => `${name}: ${valueAt(side, signal, step, unit)}`,
  );
  const lines = [placeAt(side, step, unit), ...values, ...inputAt(side, step)];
  return showTip(place, event, lines);
}
