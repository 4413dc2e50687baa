"""Draws an LSTM's and a GRU's cell, for "Gates explained".

python docs/drawn_cells.py
"""

import pathlib

from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch

IMAGES = pathlib.Path(__file__).resolve().parent / "images"
GATE, STATE, LINE = "#eef4f9", "#e8f5f0", "0.25"
# As in the figures of the package, a little darker where words have the colour.
KEEP, INPUT, CANDIDATE, OUTPUT, RESET = (
    "#0072B2",
    "#a87000",
    "#00805d",
    "#D55E00",
    "#a8558a",
)


class Drawing:
    """A figure of the width of a column, with boxes, circles and arrows."""

    def __init__(self, height):
        self.figure = Figure(figsize=(7, 7 * height / 10))
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(0, 10), ylim=(0, height))
        self.axes.set_axis_off()

    def box(self, x, y, name, symbol, function, colour, fill=GATE):
        """Draws a gate or a candidate: its name, its symbol and its function."""
        self.axes.add_patch(
            FancyBboxPatch(
                (x - 0.62, y - 0.42),
                1.24,
                0.84,
                boxstyle="round,pad=0,rounding_size=0.12",
                facecolor=fill,
                edgecolor=colour,
                linewidth=1.4,
                zorder=3,
            )
        )
        self.text(x, y + 0.16, name, size=9.5, colour=colour, weight="bold")
        self.text(x, y - 0.2, f"{symbol} = {function}(...)", size=8.5)

    def circle(self, x, y, sign):
        """Draws an operation on each unit: a product, a sum, or a function."""
        self.axes.add_patch(
            Circle((x, y), 0.26, facecolor="w", edgecolor=LINE, zorder=3)
        )
        self.text(x, y, sign, size=13 if len(sign) == 1 else 7)

    def text(self, x, y, words, size=9, colour="k", align="center", weight="normal"):
        """Writes words, in the middle of a height."""
        self.axes.text(
            x,
            y,
            words,
            size=size,
            color=colour,
            ha=align,
            va="center",
            weight=weight,
            zorder=4,
        )

    def path(self, *points, colour=LINE, width=1.3, head=True):
        """Draws a line through points, with an arrow at its end."""
        xs, ys = zip(*points, strict=True)
        last = -1 if head else None
        self.axes.plot(xs[:last], ys[:last], color=colour, linewidth=width, zorder=1)
        if head:
            self.axes.annotate(
                "",
                points[-1],
                points[-2],
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": colour,
                    "linewidth": width,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
                zorder=1,
            )

    def dot(self, x, y):
        """Marks a place where a line branches."""
        self.axes.plot([x], [y], "o", color=LINE, markersize=4, zorder=2)


def lstm():
    """Draws the cell of an LSTM."""
    draw = Drawing(height=5.4)
    top, row, bus = 4.5, 1.75, 0.6
    # The cell state, on which nothing but the forget gate acts.
    draw.path((0.3, top), (1.84, top), width=2.6)
    draw.path((2.36, top), (4.64, top), width=2.6)
    draw.path((5.16, top), (9.7, top), width=2.6)
    draw.text(0.3, top + 0.35, "c[t-1]", align="left")
    draw.text(9.7, top + 0.35, "c[t]", align="right")
    draw.text(5.0, top + 0.65, "cell state", weight="bold")
    draw.circle(2.1, top, "×")
    draw.circle(4.9, top, "+")
    # What every gate reads.
    draw.path((0.3, bus), (6.7, bus), head=False)
    draw.text(
        0.3,
        bus - 0.32,
        "x[t] and h[t-1], read by the gates and the candidate",
        align="left",
    )
    for x in (2.1, 3.9, 5.5):
        draw.path((x, bus), (x, row - 0.42))
        draw.dot(x, bus)
    draw.path((6.7, bus), (7.1, bus), (7.1, row - 0.42))
    draw.box(2.1, row, "forget", "f", "σ", KEEP)
    draw.box(3.9, row, "input", "i", "σ", INPUT)
    draw.box(5.5, row, "candidate", "g", "tanh", CANDIDATE, fill=STATE)
    draw.box(7.1, row, "output", "o", "σ", OUTPUT)
    draw.path((2.1, row + 0.42), (2.1, top - 0.26), colour=KEEP)
    draw.text(2.25, 3.2, "how much\nis kept", size=8.5, colour=KEEP, align="left")
    draw.circle(4.9, 3.2, "×")
    draw.path((3.9, row + 0.42), (3.9, 3.2), (4.64, 3.2), colour=INPUT)
    draw.path((5.5, row + 0.42), (5.5, 3.2), (5.16, 3.2), colour=CANDIDATE)
    draw.path((4.9, 3.46), (4.9, top - 0.26))
    draw.text(5.05, 3.85, "how much is written", size=8.5, colour=INPUT, align="left")
    # What is shown.
    draw.dot(8.4, top)
    draw.path((8.4, top), (8.4, 3.86))
    draw.circle(8.4, 3.6, "tanh")
    draw.path((8.4, 3.34), (8.4, 2.96))
    draw.circle(8.4, 2.7, "×")
    draw.path((7.1, row + 0.42), (7.1, 2.7), (8.14, 2.7), colour=OUTPUT)
    draw.path((8.66, 2.7), (9.7, 2.7), width=2.6)
    draw.text(9.7, 3.05, "h[t]", align="right")
    draw.text(9.7, 2.3, "hidden state", align="right", weight="bold")
    draw.text(6.95, 2.75, "how much\nis shown", size=8.5, colour=OUTPUT, align="right")
    return draw.figure


def gru():
    """Draws the cell of a GRU."""
    draw = Drawing(height=5.0)
    top, row, bus = 4.1, 1.75, 0.6
    draw.path((0.3, top), (2.84, top), width=2.6)
    draw.path((3.36, top), (7.14, top), width=2.6)
    draw.path((7.66, top), (9.7, top), width=2.6)
    draw.text(0.3, top + 0.35, "h[t-1]", align="left")
    draw.text(9.7, top + 0.35, "h[t]", align="right")
    draw.text(5.2, top + 0.55, "hidden state", weight="bold")
    draw.circle(3.1, top, "×")
    draw.circle(7.4, top, "+")
    draw.path((0.3, bus), (7.0, bus), head=False)
    draw.text(
        0.3,
        bus - 0.32,
        "x[t] and h[t-1], read by the gates and the candidate",
        align="left",
    )
    for x in (3.1, 5.2):
        draw.path((x, bus), (x, row - 0.42))
        draw.dot(x, bus)
    draw.path((7.0, bus), (7.4, bus), (7.4, row - 0.42))
    draw.box(3.1, row, "update", "z", "σ", KEEP)
    draw.box(5.2, row, "reset", "r", "σ", RESET)
    draw.box(7.4, row, "candidate", "g", "tanh", CANDIDATE, fill=STATE)
    draw.path((3.1, row + 0.42), (3.1, top - 0.26), colour=KEEP)
    draw.text(2.95, 3.3, "z: how much\nis kept", size=8.5, colour=KEEP, align="right")
    draw.circle(7.4, 2.9, "×")
    draw.path((3.1, 2.9), (7.14, 2.9), colour=KEEP)
    draw.dot(3.1, 2.9)
    draw.text(5.1, 3.2, "1 - z: how much is written", size=8.5, colour=KEEP)
    draw.path((7.4, row + 0.42), (7.4, 2.64), colour=CANDIDATE)
    draw.path((7.4, 3.16), (7.4, top - 0.26))
    draw.path((5.82, row), (6.78, row), colour=RESET)
    words = "r: how much of\nh[t-1] the\ncandidate sees"
    draw.text(8.15, row, words, size=8.5, colour=RESET, align="left")
    return draw.figure


def save():
    """Writes both drawings into the folder of pictures."""
    for draw in (lstm, gru):
        draw().savefig(IMAGES / f"{draw.__name__}-cell.png", dpi=200)


if __name__ == "__main__":
    save()
