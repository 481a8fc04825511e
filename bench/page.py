"""How large is the page, and how soon is it there on a phone?

    python bench/page.py --index INDEX [--runs 7] [--json FILE]

A phone's network and processor are Chromium's imitation of them: 1.6 Mbit/s, 150 ms for each round
trip, a processor four times as slow. Times are medians, in milliseconds from the start of loading.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from common import markdown_table, provenance

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "page"))
from served import launch, service

from everygram.server.routes.page import files

PHONE = {"width": 390, "height": 844}
NETWORK = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1_600_000 / 8,
    "uploadThroughput": 750_000 / 8,
}
SLOWER = 4
VIEWS = {
    "Count, nothing asked": ("count", ".state"),
    "Count, a text in the address": ("count?text=natural+language", ".figure"),
    "Next, a prompt in the address": ("next?prompt=natural+language", ".bars li"),
    "Sources, a text in the address": (
        "sources?text=natural+language+processing+is+a+field+of+computer+science",
        "article",
    ),
}
TOKENS = 10_000
SCROLL = """async () => {
    const box = document.querySelector(".text");
    const frames = [];
    let last = performance.now();
    for (let i = 0; i <= 120; i += 1) {
        box.scrollTop = (box.scrollHeight * i) / 120;
        await new Promise(requestAnimationFrame);
        frames.push(performance.now() - last);
        last = performance.now();
    }
    return frames.slice(1);
}"""
FIRST = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SENT = """performance.getEntriesByType('resource')
    .reduce((sum, each) => sum + each.transferSize,
            performance.getEntriesByType('navigation')[0].transferSize)"""


def phone(browser: Any) -> Any:
    """A tab with a phone's screen, network and processor."""
    page = browser.new_context(viewport=PHONE, device_scale_factor=3, has_touch=True).new_page()
    tools = page.context.new_cdp_session(page)
    tools.send("Network.enable")
    tools.send("Network.emulateNetworkConditions", NETWORK)
    tools.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    return page


def load(page: Any, address: str, shown: str) -> tuple[float, float, int]:
    """First paint, answer there, bytes that came."""
    page.goto(address)
    page.wait_for_selector(shown, timeout=60_000)
    there = page.evaluate("performance.now()")
    return page.evaluate(FIRST), there, page.evaluate(SENT)


def measured(browser: Any, url: str, runs: int) -> list[dict[str, Any]]:
    found = []
    for name, (view, shown) in VIEWS.items():
        cold, warm = [], []
        for _ in range(runs):
            page = phone(browser)
            address = f"{url}/#/corpus/{view}"
            cold.append(load(page, address, shown))
            page.goto("about:blank")
            warm.append(load(page, address, shown))
            page.context.close()
        for kind, times in (("first visit", cold), ("later", warm)):
            paint, there, sent = (statistics.median(each) for each in zip(*times, strict=True))
            found.append(
                {"view": name, "visit": kind, "paint": paint, "there": there, "bytes": int(sent)}
            )
    return found


def scrolled(browser: Any, url: str, index: Path) -> dict[str, float]:
    """Frames while a long text is scrolled through, on a computer; milliseconds."""
    import everygram

    with everygram.open(index) as opened:
        text, number = "", 0
        while len(opened.encode(text)) < TOKENS:
            text += opened.document(number).text
            number += 1
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    page.goto(f"{url}/#/corpus/text")
    page.get_by_label("Text", exact=True).fill(text)
    page.get_by_role("button", name="Look at it").click()
    page.wait_for_selector(".t", timeout=60_000)
    frames = sorted(page.evaluate(SCROLL))
    return {
        "tokens": len(text),
        "median": statistics.median(frames),
        "p99": frames[int(0.99 * len(frames))],
        "longest": frames[-1],
        "drawn": page.locator(".t").count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--index", type=Path, required=True, help="an index with a tokenizer")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the results here")
    given = parser.parse_args()
    size = sum(map(len, files().values()))
    with (
        tempfile.TemporaryDirectory() as folder,
        service(Path(folder), f"corpus={given.index}") as url,
        sync_playwright() as playwright,
    ):
        browser = launch(playwright)
        found = measured(browser, url, given.runs)
        frames = scrolled(browser, url, given.index)
        browser.close()
    facts = provenance()
    print(f"\n{facts['date']}, everygram at {facts['commit']}\n{facts['cpu']}\n")
    print(f"All files: {size:,} bytes (at most 150,000 wanted)\n")
    header = ["view", "visit", "first paint ms", "answer ms", "bytes"]
    rows = [
        [
            each["view"],
            each["visit"],
            f"{each['paint']:,.0f}",
            f"{each['there']:,.0f}",
            f"{each['bytes']:,}",
        ]
        for each in found
    ]
    print(markdown_table(header, rows, words=2))
    print(
        f"\nA text of {TOKENS:,} tokens, scrolled through: {frames['median']:.1f} ms a frame, p99 "
        f"{frames['p99']:.1f}, longest {frames['longest']:.1f}; {frames['drawn']:,} tokens drawn."
    )
    if given.json:
        said = facts | {"bytes": size, "views": found, "frames": frames}
        given.json.write_text(json.dumps(said, indent=1) + "\n")


if __name__ == "__main__":
    main()
