"""A Zarr store on object storage, which is shown when it is complete.

Object storage has neither renaming nor locks. So the metadata of the root, without
which no reader can open the store, are written last. Until then, a mark identifies the
writer.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from keras_gates.stores import growing, metadata
from keras_gates.stores.growing import Growing
from keras_gates.stores.paths import METADATA

if TYPE_CHECKING:
    import xarray

MARK = ".unfinished"
_PROTOCOL = re.compile(r"(?:[a-z][a-z0-9+.-]*::)*[a-z][a-z0-9+.-]+://", re.IGNORECASE)


def new_url(url: str) -> str:
    """Returns a URL at which a new store can be written, or raises an error.

    Raises:
        FileExistsError: If there is already something at the URL.
        ValueError: If it is not a URL that `fsspec` knows.
        OSError: If the URL cannot be read.
    """
    if not _PROTOCOL.match(url):
        raise ValueError(
            f"`store` must be a path or a URL; got '{url}'. Write a URL as a str, with "
            "two slashes, such as 's3://bucket/gates.zarr'."
        )
    files, root = _files(url)
    if not root.strip("/") or url.endswith("://"):
        raise ValueError(
            f"`store` must be a URL with the name of the store; got '{url}'. Add the "
            "name to the URL."
        )
    url = url.rstrip("/")
    with _refusals(url):
        files.invalidate_cache()
        _refuse_inside(files, root, url)
        there = files.exists(root)
        complete = there and files.exists(f"{root}/{METADATA}")
    if there:
        what = "exists already" if complete else "holds data that are not a store"
        killed = "" if complete else ", perhaps the remains of a killed capture"
        raise FileExistsError(
            f"`store` must be a new URL; '{url}' {what}{killed}. Remove it, or choose "
            "another URL."
        )
    return url


def _refuse_inside(files: Any, root: str, url: str) -> None:
    """Refuses a place inside another store, which would show parts of this one."""
    names = root.split("/")
    for end in range(1, len(names)):
        above = "/".join(names[:end])
        if above and files.exists(f"{above}/{METADATA}"):
            raise ValueError(
                f"`store` must not be inside another Zarr store; '{url}' is in "
                f"'{above}'. Choose a URL outside it."
            )


def _files(url: str) -> tuple[Any, str]:
    """Returns the file system of a URL, and the path in it."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)
    # The errors of its many file systems have no common type.
    except Exception as error:
        raise ValueError(
            f"`store` must be a path or a URL that `fsspec` opens; got '{url}': "
            f"{type(error).__name__}: {error}"
        ) from error


@contextlib.contextmanager
def _refusals(url: str) -> Iterator[None]:
    """Adds the URL of the store to the errors of a file system."""
    try:
        yield
    except (ValueError, BlockingIOError):
        raise
    except Exception as error:
        number = getattr(error, "errno", None) or errno.EIO
        reason = f"{type(error).__name__}: {error}"
        message = f"The store cannot be written ({reason}). Choose another URL"
        raise OSError(number, message, url) from error


class RemoteStore(Growing):
    """A new store at a URL, which is shown when `show` is called.

    Args:
        url: A URL from `new_url`.

    Raises:
        OSError: If the URL cannot be written.
    """

    def __init__(self, url: str):
        super().__init__(url)
        self._shown = metadata.empty({"keras_gates": ""})
        self._files, self._root = _files(url)
        self._own = uuid.uuid4().hex.encode()
        with _refusals(url):
            self._files.pipe_file(f"{self._root}/{MARK}", self._own)
            self._check()

    def show(self) -> None:
        """Makes the store, which is complete, visible to readers."""
        self._check()
        with _refusals(str(self.place)):
            shown = json.dumps(self._shown).encode()
            self._files.pipe_file(f"{self._root}/{METADATA}", shown)
            self._files.rm_file(f"{self._root}/{MARK}")

    def remove(self) -> None:
        """Removes the whole store, unless another process began one there."""
        with _refusals(str(self.place)):
            self._files.invalidate_cache()
            if self._files.cat_file(f"{self._root}/{MARK}") == self._own:
                self._files.rm(self._root, recursive=True)

    def _check(self) -> None:
        try:
            found = self._files.cat_file(f"{self._root}/{MARK}")
        except FileNotFoundError:
            found = None
        if found != self._own:
            raise BlockingIOError(
                f"The store '{self.place}' was removed while it was being written, or "
                "another process began a store there. Choose another URL."
            )

    def _begin(self, group: str, tree: xarray.DataTree, dim: str) -> None:
        import zarr

        laid_out: dict[str, Any] = {}
        memory = zarr.storage.MemoryStore(laid_out)
        growing.lay_out(memory, group, tree, dim)
        growing.consolidate(memory)
        self._shown = json.loads(laid_out.pop(METADATA).to_bytes())
        with _refusals(str(self.place)):
            files = {f"{self._root}/{k}": v.to_bytes() for k, v in laid_out.items()}
            self._files.pipe(files)

    def _write(self, shown: dict) -> None:
        self._shown = shown
