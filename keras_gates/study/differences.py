"""The difference of two architectures, taken within pairs, and its interval."""

from __future__ import annotations

import bisect
import dataclasses
import math
import re
from typing import TYPE_CHECKING

import numpy as np

from keras_gates import stats
from keras_gates.checks import real_number, share_of
from keras_gates.models.shown_text import ShownAsText

if TYPE_CHECKING:
    import xarray

_HIGHER = re.compile(r"(^|_)(acc|accuracy|auc|precision|recall|f\d?|r2|score)", re.I)


def higher_is_better(metric: str) -> bool:
    """Returns whether higher is better, by the name of the metric, as in Keras."""
    return bool(_HIGHER.search(metric))


@dataclasses.dataclass(frozen=True)
class Difference(ShownAsText):
    """The difference of two architectures, computed within pairs of equal seed.

    Attributes:
        a: The first architecture.
        b: The second one, which is subtracted.
        metric: The metric that was compared.
        mean: Mean of `a - b` over the seeds, in the units of the metric.
        low: Lower end of the 95 % interval of that mean.
        high: Its upper end. All three are NaN if a run has no finite value.
        seeds: The number of pairs.
        p_value: The p-value of the paired t test (`scipy.stats.ttest_1samp` of the
            differences).
        prob_a_better: The probability that `a` is better than `b` with one more seed,
            as Student's t distribution predicts from the differences of these seeds.
            Better is lower, or higher for a metric such as accuracy.
        std: Standard deviation of the differences.
        pairs: The difference of each seed, in the order of the study.
    """

    a: str
    b: str
    metric: str
    mean: float
    low: float
    high: float
    seeds: int
    p_value: float
    prob_a_better: float
    std: float
    pairs: tuple[float, ...]

    @property
    def significant(self) -> bool:
        """Whether a difference was shown: the interval does not contain zero."""
        return not (math.isnan(self.mean) or self.low <= 0 <= self.high)

    @property
    def better(self) -> str | None:
        """The name of the architecture that was shown to be better, or `None`."""
        if not self.significant:
            return None
        return self.a if self.prob_a_better > 0.5 else self.b

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return f"{self.a} - {self.b}: not known, because a value is not finite"
        if not self.significant:
            verdict = "no difference shown"
        else:
            verdict = f"{self.a} is {'lower' if self.mean < 0 else 'higher'}"
        numbers = f"{interval_text(self.low, self.high)}; p = {self.p_value:.2g}"
        return f"{self.a} - {self.b}: {self.mean:.3g} ({numbers}): {verdict}"

    def seeds_needed(self, size: float, *, power: float = 0.8) -> int:
        """Returns the number of seeds that would show a difference of a given size.

        This is the smallest number of pairs for which the two-sided paired t test at
        5 % finds a mean difference of `size` with the probability `power`, if the
        differences have the standard deviation of these pairs. It is computed with the
        non-central t distribution (`scipy.stats.nct`).

        Args:
            size: A difference, in the units of the metric.
            power: The probability of finding it.

        Returns:
            The number of seeds, at least 2.

        Raises:
            ValueError: If `size` is 0 or not finite, `power` is not between 0 and 1,
                or the deviation is not known.
        """
        import scipy.stats

        size, power = real_number("size", size), share_of("power", power)
        if not size:
            raise ValueError("`size` must be a finite number, not 0; got 0.")
        if not math.isfinite(self.std):
            raise ValueError(
                "The standard deviation of the differences is not known, because a "
                "value is not finite."
            )
        if self.std == 0:
            return 2

        def found(seeds: int) -> bool:
            edge = scipy.stats.t.ppf(0.975, seeds - 1)
            shift = abs(size) / self.std * math.sqrt(seeds)
            # SciPy 1.13 divides by zero on its way to the right result.
            with np.errstate(divide="ignore"):
                return scipy.stats.nct.sf(edge, seeds - 1, shift) >= power

        most = 2
        while not found(most):
            most *= 2
        few = max(2, most // 2)
        return few + bisect.bisect_left(range(few, most), True, key=found)


def paired(
    a: str, b: str, metric: str, values: xarray.DataArray, higher: bool
) -> Difference:
    """Returns the difference of two architectures, taken within pairs.

    Args:
        a: The first architecture.
        b: The architecture to subtract.
        metric: The name of the values.
        values: A value for each run, `(architecture, seed)`.
        higher: Whether higher values are better.
    """
    import scipy.stats

    pairs = values.sel(architecture=a) - values.sel(architecture=b)
    mean, low, high = (float(end) for end in stats.mean_interval(pairs, "seed"))
    deviation = float(pairs.std("seed", ddof=1, skipna=False))
    if deviation > 0:
        p = float(scipy.stats.ttest_1samp(pairs, 0).pvalue)
        spread = deviation * math.sqrt(1 + 1 / pairs.size)
        below = float(scipy.stats.t.cdf(-mean / spread, pairs.size - 1))
    else:  # Every pair differs by the same amount, or a value is not finite.
        p = mean if math.isnan(mean) else float(mean == 0)
        below = float(1 - np.sign(mean)) / 2
    better = 1 - below if higher else below
    each = tuple(pairs.values.tolist())
    ends = (mean, low, high, len(each))
    return Difference(a, b, metric, *ends, p, better, deviation, each)


def interval_text(low: float, high: float) -> str:
    """Returns both ends of an interval as text."""
    return f"{low:.3g} to {high:.3g}"
