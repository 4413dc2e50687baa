"""The notebook view of an object that is made to be printed."""

from __future__ import annotations

import html


class ShownAsText:
    """An object that a notebook shows as `print` does.

    Example:
        >>> class Answer(ShownAsText):
        ...     def __str__(self):
        ...         return "LSTM < GRU"
        >>> Answer()._repr_html_()
        '<pre>LSTM &lt; GRU</pre>'
    """

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"
