"""Conversion of layer names to file names, which are distinct on every file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

LONGEST = 200
"""Bytes of a name. Most file systems allow 255, and temporary names need some."""
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f"%*/:<>?\\|\ud800-\udfff]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_ZARR = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}


def keys(nodes: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Chooses a key in a store for each node of a tree.

    An ordinary name is its own key. Characters that some file system does not accept
    are written as in a URL, such as `%3A` for a colon. If some file system does not
    distinguish two names in one folder, such as `"LSTM"` and `"lstm"`, `~2` is appended
    to the second one.

    Args:
        nodes: Path of each node, to the names of its content.

    Returns:
        Path to key. Two keys never differ in their case only.

    Example:
        >>> keys({"encoder/LSTM": ["forget"], "encoder/lstm": ["forget"], "..": []})
        {'encoder/LSTM': 'encoder/LSTM', 'encoder/lstm': 'encoder/lstm~2', '..': '.%2E'}
    """
    parts: dict[str, tuple[str, ...]] = {
        path: tuple(path.split("/")) if path else () for path in nodes
    }
    # The content of a node besides the nodes below it.
    taken = {
        parts[path]: {*_ZARR, *map(_fold, variables)}
        for path, variables in nodes.items()
    }
    found: dict[tuple[str, ...], str] = {(): ""}
    for place in parts.values():
        for end in range(len(place)):
            above, here = place[:end], place[: end + 1]
            if here not in found:
                name = _free(_escape(here[-1]), taken.setdefault(above, set(_ZARR)))
                found[here] = f"{found[above]}/{name}".strip("/")
    return {path: found[place] for path, place in parts.items()}


def _escape(name: str) -> str:
    """Writes a name in characters that every file system accepts."""
    name = _FORBIDDEN.sub(lambda found: _percent(found[0]), name)
    if name.endswith((".", " ")):
        name = name[:-1] + _percent(name[-1])
    # Reserved by Windows, and by Zarr.
    if _DEVICES.fullmatch(name) or name.startswith("__"):
        name = _percent(name[0]) + name[1:]
    return _cut(name, LONGEST) or "%"


def _percent(character: str) -> str:
    # It may be a lone surrogate, which is not valid text.
    code = character.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in code)


def _free(name: str, taken: set[str]) -> str:
    """Numbers a name until it is free, and marks it as taken."""
    free, number = name, 1
    while _fold(free) in taken:
        number += 1
        free = f"{name}~{number}"
    taken.add(_fold(free))
    return free


def _fold(name: str) -> str:
    """Returns a form of a name without differences of case and composition."""
    name = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize("NFKC", name)


def _cut(name: str, length: int) -> str:
    return name.encode()[:length].decode(errors="ignore")
