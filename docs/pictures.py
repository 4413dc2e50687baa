"""Makes the pictures that pages show of what their own code draws.

Runs the blocks of each page in an empty folder and keeps what they save.

    python docs/pictures.py
"""

import contextlib
import os
import pathlib
import re
import tempfile

DOCS = pathlib.Path(__file__).resolve().parent
SHOWN = {
    "first_steps": ["gates.png"],
    "howto/masks": ["masked.png"],
    "howto/text": ["text.png"],
    "howto/training": ["ridges.png"],
}
"""The pictures of each page that are shown on it."""


def make(page, pictures):
    """Runs a page's Python blocks and copies some of the pictures that they save."""
    text = (DOCS / f"{page}.md").read_text()
    code = "\n".join(re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S))
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        exec(compile(code, page, "exec"), {"__name__": "page"})
        for picture in pictures:
            target = DOCS / "images" / f"{pathlib.Path(page).name}-{picture}"
            target.write_bytes(pathlib.Path(picture).read_bytes())
            print(target.relative_to(DOCS.parent))


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    for name, wanted in SHOWN.items():
        make(name, wanted)
