"""Pictures of the service's page for the README: a run on movielens-small, looked at in a real Chromium.

``make screenshots``. Debian: ``apt-get install chromium fonts-dejavu-core``. Pictures are PNGs of 256 colours.
"""

from __future__ import annotations

import argparse
import io
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
COLOURS, SIZE = 256, {"width": 1400, "height": 860}


def main() -> None:
    """Makes both pictures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--out", type=Path, default=Path("docs/pictures"))
    options.add_argument("--data", default="movielens-small")
    options.add_argument("--runs", type=Path, default=Path("runs"))
    given = options.parse_args()
    chromium = next((path for name in NAMES if (path := shutil.which(name))), None)
    if chromium is None:
        sys.exit("no chromium here; Debian: apt-get install chromium fonts-dejavu-core")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["play", given.data, "--out", str(given.runs), "--full", "--no-open", "--port", str(port)]
    service = subprocess.Popen([sys.executable, "-m", "interlingua", *command])
    try:
        _wait(service, port)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            _taken(browser, f"http://127.0.0.1:{port}/", "light", given.out / "page-lists.png", lists)
            _taken(browser, f"http://127.0.0.1:{port}/#items", "dark", given.out / "page-map.png", new_item)
            browser.close()
    finally:
        service.terminate()
        service.wait(30)


def lists(page: Page) -> None:
    """Lists after a like, with the evidence of a word."""
    page.locator(".list.served .why").nth(9).wait_for()
    page.locator(".list.served .like").nth(1).click()
    page.locator(".status:not(:empty)").wait_for()
    page.locator(".list.served .why").nth(9).wait_for()
    page.wait_for_timeout(500)
    page.locator(".list.served .row:nth-child(2) .held").nth(2).hover()


def new_item(page: Page) -> None:
    """The map with an item that has just been put in."""
    page.locator(".legend button").first.wait_for()
    page.get_by_label("Title").fill("The Lighthouse at the Edge of Orbit")
    page.get_by_label("Description").fill("A slow, quiet science fiction about a keeper alone in deep space")
    page.get_by_label("Categories").first.fill("Sci-Fi, Drama")
    page.get_by_role("button", name="Put it in").click()
    page.locator(".detail .meter").first.wait_for()
    page.wait_for_timeout(500)


def _taken(browser: Any, address: str, scheme: str, place: Path, act: Any) -> None:
    page = browser.new_page(color_scheme=scheme, viewport=SIZE)
    page.set_default_timeout(120_000)
    page.goto(address)
    act(page)
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("RGB").quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
        place, optimize=True
    )
    print(f"{place}: {place.stat().st_size / 1024:.0f} kB")
    page.close()


def _wait(service: subprocess.Popen[bytes], port: int) -> None:
    while service.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(1)
    sys.exit(f"the service ended with {service.returncode}")


if __name__ == "__main__":
    main()
