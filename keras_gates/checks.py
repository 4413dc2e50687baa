"""Checks of arguments that several modules make."""

import operator


def whole_number(name: str, value: int, *, at_least: int) -> int:
    """Returns `value` as an int, or says what `name` must be."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(
            f"`{name}` must be a whole number; got {value!r}. Use an int of at least "
            f"{at_least}."
        ) from None
    if number < at_least:
        raise ValueError(
            f"`{name}` must be at least {at_least}; got {number}. Use {at_least} or "
            "more."
        )
    return number
