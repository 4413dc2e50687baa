"""The rule of thumb that is taught for choosing between an LSTM and a GRU."""

from __future__ import annotations

import dataclasses

from keras_gates.cells.kinds.gru import GRU
from keras_gates.cells.kinds.lstm import LSTM
from keras_gates.checks import one_of, whole_number
from keras_gates.models.shown_text import ShownAsText

LONG, FEW = 500, 1000
"""Above the first number of time steps, a sequence counts as long. Below the second
number of samples, data count as limited. The rule itself names only the first."""

PRIORITIES = ("speed", "accuracy")


@dataclasses.dataclass(frozen=True)
class RuleOfThumb(ShownAsText):
    """The result of `rule_of_thumb`. Printing it shows the reasons.

    Attributes:
        architecture: "LSTM" or "GRU".
        reasons: The decisions of the rule, a sentence for each.
    """

    architecture: str
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.architecture}, according to the rule of thumb:",
                *(f"  - {reason}" for reason in self.reasons),
                "This is folklore: it is taught, but we know of no controlled study.",
                "To measure it on your own data, call keras_gates.compare.",
            ]
        )


def rule_of_thumb(
    *, timesteps: int, samples: int, priority: str = "accuracy"
) -> RuleOfThumb:
    """Returns the advice that is commonly taught: LSTM or GRU, and why.

    For sequences of more than 500 steps, the rule recommends an LSTM. For up to
    500 steps, it recommends a GRU if data are limited or speed matters, and an LSTM if
    accuracy matters.

    This is folklore. The rule is stated here so that it can be compared with a
    measurement: `print(study)` shows whether `compare` agreed. Theory makes a different
    statement, that an LSTM can count and a GRU cannot: Weiss, Goldberg and Yahav
    (2018), https://arxiv.org/abs/1805.04908.

    Args:
        timesteps: Length of a sequence.
        samples: The number of sequences to train on. Fewer than 1,000 count as limited
            data; the rule as it is taught gives no number.
        priority: "speed" of training and inference, or "accuracy".

    Returns:
        A `RuleOfThumb` with the architecture and the reasons.

    Raises:
        ValueError: A number is below 1, or `priority` is another word.
        TypeError: A number is not whole.

    Example:
        >>> import keras_gates
        >>> advice = keras_gates.rule_of_thumb(timesteps=50, samples=4000)
        >>> advice.architecture
        'LSTM'
    """
    timesteps = whole_number("timesteps", timesteps, at_least=1)
    samples = whole_number("samples", samples, at_least=1)
    one_of("priority", priority, PRIORITIES)
    if timesteps > LONG:
        reason = (
            f"{timesteps:,} time steps are more than {LONG}: the cell of an LSTM is "
            "said to keep information that a GRU loses."
        )
        return RuleOfThumb(LSTM.name, (reason,))
    short = (
        f"{timesteps:,} time steps are at most {LONG}: both are said to remember this "
        "long."
    )
    if samples < FEW:
        reason = (
            f"{samples:,} samples are limited data (under {FEW:,}): fewer parameters "
            "are said to overfit less."
        )
        return RuleOfThumb(GRU.name, (short, reason))
    enough = f"{samples:,} samples are enough for both."
    if priority == "speed":
        reason = "Speed matters: a GRU has three matrix products, and an LSTM four."
        return RuleOfThumb(GRU.name, (short, enough, reason))
    reason = "Accuracy matters: an LSTM has one more gate, and is said to benefit."
    return RuleOfThumb(LSTM.name, (short, enough, reason))
