"""Makes the pictures that pages show of what their own code draws.

Runs the blocks of each page in an empty folder and keeps what they save. Of a page to
explore it takes a photograph, with Chromium, driven by Playwright. It also draws the
cells of "Gates explained".

    python docs/pictures.py
"""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile

import drawn_cells

DOCS = pathlib.Path(__file__).resolve().parent
SHOWN = {
    "first_steps": ["gates.png", "report.html"],
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
            if picture.endswith(".html"):
                picture = photograph(pathlib.Path(picture))
            target = DOCS / "images" / f"{pathlib.Path(page).name}-{picture}"
            target.write_bytes(pathlib.Path(picture).read_bytes())
            print(target.relative_to(DOCS.parent))


def photograph(page):
    """Opens a page in a browser and saves what is seen of it first."""
    from playwright.sync_api import sync_playwright

    picture = page.with_suffix(".png")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        window = browser.new_page(viewport={"width": 1200, "height": 1920})
        window.goto(page.resolve().as_uri())
        window.wait_for_timeout(2000)  # Until all is drawn.
        window.screenshot(path=picture)
        browser.close()
    return picture.name


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    drawn_cells.save()
    for name, wanted in SHOWN.items():
        make(name, wanted)
