"use strict";
// Reads the values packed by `encoding.py`. Nothing is unpacked before it is needed.

const PAGE = JSON.parse(document.getElementById("page-data").textContent);
const TOP = PAGE.top;
const MINUS_INFINITY = TOP + 1;
const PLUS_INFINITY = TOP + 2;
const MOST_BYTES_KEPT = 2 ** 27;

/** The values of one signal in one sample, at one step of training. */
class Signal {
  constructor(codes, packed, units, complement = false) {
    this.codes = codes;
    this.offset = packed.offset;
    this.span = packed.span;
    this.units = units;
    this.complement = complement; // Whether to return 1 - value.
  }

  at(step, unit) {
    const code = this.codes[step * this.units + unit];
    if (code > TOP) {
      if (code === PLUS_INFINITY) return Infinity;
      return code === MINUS_INFINITY ? -Infinity : NaN;
    }
    const value = this.offset[unit] + (code / TOP) * this.span[unit];
    return this.complement ? 1 - value : value;
  }

  complemented() {
    return new Signal(this.codes, this, this.units, true);
  }

  /** The value as text, with the digits that are certain. */
  words(step, unit) {
    const value = this.at(step, unit);
    if (Number.isNaN(value)) return "NaN";
    if (!Number.isFinite(value)) return value > 0 ? "infinite" : "−infinite";
    const certain = Math.floor(-Math.log10(this.span[unit] / TOP || 1e-8));
    const digits = Math.abs(value) < 0.01 ? 6 : 4;
    if (Math.abs(value) >= 1e6) return value.toPrecision(4);
    return value.toFixed(Math.max(0, Math.min(certain, digits))).replace("-", "−");
  }
}

/** Converts a line of text to the original bytes, least significant first. */
async function unpack(text, width) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const inflated = new Blob([packed])
    .stream()
    .pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(inflated).arrayBuffer());
  const count = planes.length / width;
  const bytes = new Uint8Array(planes.length);
  for (let plane = 0; plane < width; plane += 1) {
    for (let index = 0; index < count; index += 1) {
      bytes[index * width + plane] = planes[plane * count + index];
    }
  }
  return bytes.buffer;
}

const texts = new Map();

/** The lines of a block, still packed. */
function packedLines(block) {
  if (!texts.has(block)) {
    texts.set(block, document.getElementById(block).textContent.split("\n"));
  }
  return texts.get(block);
}

const kept = new Map();
let bytesKept = 0;

/** Unpacks a line of a block, and keeps the lines that were used last. */
function line(block, item, width) {
  const key = `${block}/${item}`;
  let entry = kept.get(key);
  if (entry) {
    kept.delete(key);
  } else {
    const text = packedLines(block)[item];
    entry = { bytes: text.length, buffer: unpack(text, width) };
    bytesKept += entry.bytes;
  }
  kept.set(key, entry);
  for (const [oldest, { bytes }] of kept) {
    if (bytesKept <= MOST_BYTES_KEPT || oldest === key) break;
    kept.delete(oldest);
    bytesKept -= bytes;
  }
  return entry.buffer;
}

async function loadSignal(layer, name, item, moment) {
  const packed = layer.signals[name];
  const buffer = await line(`signal-${layer.index}-${name}-${moment}`, item, 2);
  return new Signal(new Uint16Array(buffer), packed, layer.units.length);
}

/** A byte for each step, 1 if it is unmasked; null if the mask is not known. */
async function loadMask(layer, item) {
  if (!layer.masked) return null;
  return new Uint8Array(await line(`mask-${layer.index}`, item, 1));
}

/** The inputs of the layer: tokens, or numbers of dimensions (step, feature). */
async function loadInputs(layer, item) {
  const inputs = layer.inputs;
  if (!inputs) return null;
  if (inputs.tokens) return { tokens: inputs.tokens[item] };
  const buffer = await line(`input-${layer.index}`, item, 4);
  return { ...inputs, values: new Float32Array(buffer) };
}

/** Everything that is drawn of one layer; without signals if it lacks the sample. */
async function loadSide(layer, item, moment) {
  if (item < 0) return { layer, item };
  const names = Object.keys(layer.signals);
  const signals = await Promise.all(
    names.map((name) => loadSignal(layer, name, item, moment)),
  );
  return {
    layer,
    item,
    moment,
    signals: Object.fromEntries(names.map((name, i) => [name, signals[i]])),
    mask: await loadMask(layer, item),
    inputs: await loadInputs(layer, item),
  };
}

/** A token with visible white space. */
function visible(token) {
  const shown = token.replace(/ /g, "␣").replace(/\n/g, "↵").replace(/\t/g, "⇥");
  return shown === "" ? "∅" : shown;
}
