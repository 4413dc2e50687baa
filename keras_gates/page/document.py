"""The page as one HTML text: the figures, the sentences and the packed values."""

from __future__ import annotations

import math
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_gates import vocabulary as v
from keras_gates.cells import pairing, registry
from keras_gates.page import bokeh_frames, encoding, thinning
from keras_gates.page.input_rows import Inputs
from keras_gates.page.overview import Overview, diagnosis
from keras_gates.page.packing import pack_layer
from keras_gates.page.page_layers import Layer
from keras_gates.page.thinning import Part
from keras_gates.plots import canvas
from keras_gates.trees.dimensions import longest_sequence

if TYPE_CHECKING:
    pass

# The order matters: each script uses functions of those before it.
SCRIPTS = (
    "data.js",
    "search.js",
    "draw.js",
    "arrange.js",
    "view.js",
    "reading.js",
    "answers.js",
    "page.js",
)


def write(
    layers: list[Layer],
    parts: list[Part],
    overviews: list[Overview],
    inputs: list[Inputs | None],
    origins: list[str],
) -> str:
    """Returns the whole page as HTML."""
    import jinja2
    from bokeh.embed import components
    from bokeh.resources import Resources

    blocks: dict[str, str] = {}
    described = [
        pack_layer(index, *one, blocks)
        for index, one in enumerate(zip(layers, parts, overviews, inputs, strict=True))
    ]
    script, places = components(_together(bokeh_frames.figures(layers, overviews)))
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    ).from_string(_file("template.html"))
    return template.render(
        title=_title(layers, origins),
        origins=origins,
        diagnosis=diagnosis(overviews),
        trained=any(v.STEP in layer.data.dims for layer in layers),
        left_out=thinning.sentences(layers, parts),
        layers=list(map(_overview_words, layers, overviews)),
        table=_table(overviews),
        page_data=encoding.as_json(_page(described, layers)),
        blocks=blocks,
        figures=places,
        rows=range(bokeh_frames.ROWS),
        masked=bokeh_frames.MASKED_COLOUR,
        infinite=bokeh_frames.INFINITE,
        library=Resources(mode="inline", components=["bokeh"]).js_raw,
        figures_script=script,
        style=_file("page.css"),
        scripts=list(map(_file, SCRIPTS)),
    )


def _together(drawn: dict[str, Any]) -> dict[str, Any]:
    """Puts the figures into one document."""
    from bokeh.document import Document

    document = Document()
    # Without `freeze`, the document checks all its figures after each new one.
    with document.models.freeze():
        for figure in drawn.values():
            document.add_root(figure)
    return drawn


def _file(name: str) -> str:
    return resources.files("keras_gates.page").joinpath(name).read_text("utf-8")


def _title(layers: list[Layer], origins: list[str]) -> str:
    models = dict.fromkeys(layer.model for layer in layers if layer.model)
    if models:
        return f"Gates of {', '.join(models)}"
    return f"Gates of {origins[0].split(', Keras')[0] if origins else layers[0].name}"


def _page(described: list[dict], layers: list[Layer]) -> dict:
    """Returns the settings and the data of the page for the scripts."""
    return {
        "top": encoding.TOP,
        "rows": bokeh_frames.ROWS,
        "layers": described,
        # If several models were given, the first two are shown side by side.
        "first": [0, _first_beside(layers)],
        "gates": registry.gates(),
        "pairs": _pairs(layers),
        "titles": registry.long_names(),
        "colours": registry.colours(),
        "inputColours": ["#1b1f24", *canvas.OTHER_COLOURS],
        "palettes": bokeh_frames.palettes(),
    }


def _pairs(layers: list[Layer]) -> dict[str, dict[str, list[list[Any]]]]:
    """Returns the signals to show side by side, for each pair of kinds of cells."""
    kinds = {layer.kind.name: layer.kind for layer in layers}

    def side(place: pairing.Place | str | None) -> Any:
        return place._asdict() if isinstance(place, pairing.Place) else place

    return {
        left: {
            right: [[side(row.left), side(row.right)] for row in pairing.rows(one, two)]
            for right, two in kinds.items()
        }
        for left, one in kinds.items()
    }


def _first_beside(layers: list[Layer]) -> int:
    """Returns the first layer of the second model, or -1 if there is one model."""
    others = [i for i, layer in enumerate(layers) if layer.model != layers[0].model]
    return others[0] if others else -1


def _longest(layer: Layer) -> int:
    signals = layer.last()
    return longest_sequence(signals[layer.signals[0]])


def _overview_words(layer: Layer, overview: Overview) -> dict[str, Any]:
    """Returns the facts above the two figures of a layer, and their captions."""
    facts = [
        layer.kind.name,
        *(
            f"{layer.size(dim):,} {word}{'s' if layer.size(dim) > 1 else ''}"
            for dim, word in (
                (v.UNIT, "unit"),
                (v.SAMPLE, "sample"),
                (v.FRAME, "frame"),
                (v.TIME, "time step"),
                (v.STEP, "step"),
            )
            if dim in layer.data.dims
        ),
    ]
    if v.STEP in layer.data.dims:
        facts[-1] += " of training (these figures show the last)"
    if layer.backward:
        facts.append("reads backward, drawn in the order of the input")
    if layer.kind.convention is not None:
        facts.append(layer.kind.convention)
    return {
        "name": layer.name,
        "facts": ", ".join(facts),
        "saturation": _saturation_words(layer, overview),
        "timescale": _timescale_words(layer, overview),
        "keep": layer.kind.keep,
        "steps": _longest(layer),
    }


def _saturation_words(layer: Layer, overview: Overview) -> str:
    """Returns the reason why there is no figure of saturation."""
    if overview.saturation:
        return ""
    if not layer.kind.gates:
        return pairing.without(layer.kind, "gates")
    return "No gate was captured."


def _timescale_words(layer: Layer, overview: Overview) -> str:
    """Returns which units are not in the figure of time scales, and why."""
    if layer.kind.keep is None:
        return pairing.without(layer.kind, "gate that keeps the old state")
    if overview.timescale is None:
        return f"'{layer.kind.keep}' was not captured."
    steps = overview.timescale
    cases = {
        "keep everything (infinite)": np.isposinf(steps),
        "erase everything at some step (0)": steps == 0,
        "amplify (negative)": steps < 0,
        "have no value": np.isnan(steps),
    }
    left_out = [
        f"{which.sum()} {words}" for words, which in cases.items() if which.any()
    ]
    return (
        f"Not drawn: of {len(steps)} units, {', '.join(left_out)}." if left_out else ""
    )


def _table(overviews: list[Overview]) -> list[list[str]]:
    """Returns the rows of the summary, as text."""
    return [
        [name, signal, *map(_number, row)]
        for one in overviews
        for (name, signal), row in zip(
            one.summary.index, one.summary.itertuples(index=False), strict=True
        )
    ]


def _number(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.4g}"
