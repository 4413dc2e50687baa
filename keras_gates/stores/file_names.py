"""Names of layers become names of files: each its own, on every file system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping

LONGEST = 200
"""Bytes of a name; most file systems take 255, and temporary files need some."""
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f"%*/:<>?\\|\ud800-\udfff]')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_ZARR = {"zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata"}


def keys(nodes: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Chooses a key in a store for each node of a tree.

    An ordinary name is its own key. Characters that some file system does not take
    are written as in a URL, `%3A` for a colon. Of two names in one folder that some
    file system does not distinguish, `"LSTM"` and `"lstm"`, the second one gets `~2`
    behind it.

    Args:
        nodes: Path of each node, to the names of what lies in it.

    Returns:
        Path to key, two paths never to keys that differ in their case only.

    Example:
        >>> keys({"encoder/LSTM": ["forget"], "encoder/lstm": ["forget"], "..": []})
        {'encoder/LSTM': 'encoder/LSTM', 'encoder/lstm': 'encoder/lstm~2', '..': '.%2E'}
    """
    parts: dict[str, tuple[str, ...]] = {
        path: tuple(path.split("/")) if path else () for path in nodes
    }
    # What lies in a node besides the nodes below it.
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
    """Writes a name in characters that every file system takes."""
    name = _FORBIDDEN.sub(lambda found: _percent(found[0]), name)
    if name.endswith((".", " ")):
        name = name[:-1] + _percent(name[-1])
    # Reserved by Windows, and by Zarr.
    if _DEVICES.fullmatch(name) or name.startswith("__"):
        name = _percent(name[0]) + name[1:]
    return _cut(name, LONGEST) or "%"


def _percent(character: str) -> str:
    # Also of a surrogate that stands alone, which is no text.
    code = character.encode("utf-8", "surrogatepass")
    return "".join(f"%{byte:02X}" for byte in code)


def _free(name: str, taken: set[str]) -> str:
    """Numbers a name until it is free, and takes it."""
    free, number = name, 1
    while _fold(free) in taken:
        number += 1
        free = f"{name}~{number}"
    taken.add(_fold(free))
    return free


def _fold(name: str) -> str:
    """Returns what is left of a name where neither case nor composition count."""
    name = unicodedata.normalize("NFKC", name).casefold()
    return unicodedata.normalize("NFKC", name)


def _cut(name: str, length: int) -> str:
    return name.encode()[:length].decode(errors="ignore")
