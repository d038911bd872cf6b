"""Every page of a built site in headless Chromium: what loads, how it looks, what keyboard and screen reader find.

python tests/browser.py results/mini/site --screenshots /tmp/pictures
"""

import argparse
import contextlib
import functools
import http.server
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, TimeoutError, sync_playwright

WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
MEGABYTE = 1_000_000
STOPS = 120  # presses of the tab key on one page, at most
REPEATED = {"exclude": [["tbody tr:nth-child(n+4)"]]}  # further rows look like the first three
STILL = "* { transition: none !important; animation: none !important }"
TOP = "() => { document.activeElement.blur(); scrollTo(0, 0) }"
TYPESET = "() => window.MathJax && MathJax.startup ? MathJax.startup.promise.then(() => true) : true"
RAW = """() => [...document.querySelectorAll('.math')].filter(e => !e.querySelector('mjx-container'))
  .map(e => e.textContent)"""
BROKEN = "() => [...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src)"
TITLES = "() => [...document.querySelectorAll('h1')].filter(h => h.checkVisibility()).length"
SPILLS = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1
    && !e.closest('pre, .output, .pst-scrollable-table-container'))
  .slice(0, 3).map(e => e.tagName + '.' + e.className)"""
SIDEWAYS = """() => [...document.querySelectorAll('.cell_input pre')].filter(e => e.scrollWidth > e.clientWidth + 1)
  .map(e => e.innerText.split('\\n').reduce((a, b) => a.length < b.length ? b : a))"""
FOCUSED = """() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const seen = [e, ...e.querySelectorAll('*'), e.parentElement].some(n => {
    const s = getComputedStyle(n);
    return (s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) > 0) || s.boxShadow !== 'none';
  });
  const box = e.getBoundingClientRect();
  const region = e.closest('#pst-skip-link, .bd-sidebar-primary, .bd-header-article, article,'
    + ' .prev-next-footer, .bd-sidebar-secondary, footer');
  return {name: (e.innerText || e.getAttribute('aria-label') || e.title || e.tagName).trim().slice(0, 50), seen,
    region: region ? region.id || region.className.split(' ')[0] || region.tagName : '',
    skip: !!e.closest('#pst-skip-link'),
    inside: e.closest('table, pre') !== null, hidden: box.width < 1 || box.height < 1, x: box.left,
    y: box.top + (region ? region.scrollTop - region.getBoundingClientRect().top : 0)};
}"""


@dataclass
class Report:
    """What is wrong, what the first page costs, and where the tab key stops on each page, from the top."""

    problems: list[str] = field(default_factory=list)
    pages: list[str] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0
    stops: dict[str, list[str]] = field(default_factory=dict)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The folder at an address of this machine."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()


def installed() -> str | None:
    """Where the machine's Chromium is, if it has one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextlib.contextmanager
def chromium() -> Iterator[Page]:
    """A page of the machine's Chromium. Raises FileNotFoundError if there is none."""
    if not (path := installed()):
        raise FileNotFoundError("no chromium on this machine: install it, the site is looked at in it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser.new_page(viewport=WIDE, color_scheme="light")
        browser.close()


def listen(page: Page, home: str, say) -> None:
    """Report console errors, failed requests, requests to other hosts. Leaving a page ends what it still asks for."""
    page.on("console", lambda message: message.type == "error" and say(f"console: {message.text}"))
    page.on("pageerror", lambda error: say(f"script: {error}"))
    page.on("response", lambda answer: answer.status >= 400 and say(f"answer {answer.status}: {answer.url}"))

    def failed(request) -> None:
        if request.failure != "net::ERR_ABORTED":
            say(f"failed: {request.url} ({request.failure})")

    def asked(request) -> None:
        if not request.url.startswith((home, "data:")):
            say(f"asks another host: {request.url}")

    page.on("requestfailed", failed)
    page.on("request", asked)


def look(page: Page, say) -> None:
    """What a reader sees: pictures, equations, one title, nothing wider than a phone; axe in light and dark."""
    for what, script in (("equation not typeset", RAW), ("picture not loaded", BROKEN)):
        for each in page.evaluate(script):
            say(f"{what}: {each[:100]}")
    if (titles := page.evaluate(TITLES)) != 1:
        say(f"{titles} titles (h1)")
    page.evaluate("() => document.querySelectorAll('details').forEach(part => part.open = true)")
    for line in page.evaluate(SIDEWAYS):
        say(f"code scrolls sideways: {line[:100]}")
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        try:
            page.wait_for_function(
                "scheme => document.documentElement.dataset.theme === scheme", arg=scheme, timeout=2_000
            )
        except TimeoutError:
            say(f"does not follow the browser into {scheme} mode")
        judge(page, scheme, say)
    page.set_viewport_size(PHONE)
    for each in page.evaluate(SPILLS) or []:
        say(f"wider than a phone: {each}")
    page.set_viewport_size(WIDE)


def judge(page: Page, scheme: str, say) -> None:
    """The serious and critical rules of axe; in the dark only the colours are other ones."""
    only = {"runOnly": ["color-contrast"]} if scheme == "dark" else {}
    options = {"preload": False, "resultTypes": ["violations"], **only}
    for rule in Axe().run(page, REPEATED, options).response["violations"]:
        if rule["impact"] in ("serious", "critical"):
            nodes = [f"{node['target']} {node['html'][:120]}" for node in rule["nodes"][:3]]
            say(f"axe, {scheme}: {rule['id']} ({len(rule['nodes'])} x): {'; '.join(nodes)}")


def walk(page: Page, say) -> list[str]:
    """Press the tab key from the top: first the skip link, each stop visible, those of a region in reading order."""
    stops, before = [], {}
    page.evaluate(TOP)
    for _ in range(STOPS):
        page.keyboard.press("Tab")
        now = page.evaluate(FOCUSED)
        if now is None or (stops and now["skip"]):
            break
        if not stops and not now["skip"]:
            say(f"the first stop is {now['name']!r}, not the skip link")
        if now["hidden"] or not now["seen"]:
            say(f"focus is not visible on {now['name']!r}")
        last = before.get(now["region"])
        if last and not now["inside"] and now["y"] < last["y"] - 30 and now["x"] <= last["x"]:
            say(f"tab goes up from {last['name']!r} to {now['name']!r}")
        before[now["region"]] = now
        stops.append(f"{now['region']}: {now['name']}")
    return stops


def weigh(page: Page, address: str) -> tuple[int, float]:
    """Bytes of all answers of a first visit, and seconds until everything is loaded."""
    answers = []

    def note(request) -> None:
        answers.append(request)

    page.on("requestfinished", note)
    page.goto(address, wait_until="networkidle")
    page.remove_listener("requestfinished", note)
    seconds = page.evaluate("() => performance.getEntriesByType('navigation')[0].loadEventEnd / 1000")
    return sum(
        sum(request.sizes()[part] for part in ("responseBodySize", "responseHeadersSize")) for request in answers
    ), seconds


def search(page: Page, home: str, word: str, say) -> None:
    """Look for a word with the search page, and open what it finds first."""
    try:
        there = page.goto(f"{home}search.html?q={word}").ok
        page.wait_for_selector("#search-results li a", timeout=15_000 if there else 1)
    except TimeoutError:
        say(f"search does not find {word!r}")
        return
    page.click("#search-results li a")
    page.wait_for_load_state()
    if word.lower() not in page.inner_text("main").lower():
        say(f"the first page found for {word!r} does not have it")


def switch(page: Page, say) -> None:
    """Choose dark mode by the button; it must stay on the next page."""
    if not page.query_selector(".theme-switch-button"):
        say("has no button for dark mode")
        return
    page.click(".theme-switch-button")
    page.click(".theme-change-button[data-mode=dark]")
    page.reload()
    if page.evaluate("() => document.documentElement.dataset.theme") != "dark":
        say("the choice of dark mode does not last")
    page.evaluate("() => localStorage.clear()")


def photograph(page: Page, folder: Path, name: str) -> None:
    """The page as a reader meets it: at 1280 pixels in light and dark, and at 390."""
    page.evaluate(TOP)
    for suffix, size, scheme in (("wide", WIDE, "light"), ("dark", WIDE, "dark"), ("phone", PHONE, "light")):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=folder / f"{name}-{suffix}.png", full_page=True)
    page.set_viewport_size(WIDE)


def check(site: Path, screenshots: Path | None = None, word: str = "plasticity") -> Report:
    """Look at every page of a site, served from 127.0.0.1."""
    report = Report(pages=sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html")))
    if not report.pages:
        raise FileNotFoundError(f"{site} has no pages; `make site` makes them")
    where = "start"

    def say(problem: str) -> None:
        report.problems.append(f"{where}: {problem}")

    if screenshots:
        screenshots.mkdir(parents=True, exist_ok=True)
    with served(site) as home, chromium() as page:
        listen(page, home, say)
        report.bytes, report.seconds = weigh(page, home)
        if report.bytes >= MEGABYTE:
            say(f"the first page weighs {report.bytes:,} bytes, {MEGABYTE:,} or more")
        switch(page, say)
        for where in report.pages:
            page.goto(home + where)
            page.add_style_tag(content=STILL)
            page.evaluate(TYPESET)
            report.stops[where] = walk(page, say)
            if screenshots:
                photograph(page, screenshots, where.removesuffix(".html").replace("/", "-"))
            look(page, say)
        where = "search"
        search(page, home, word, say)
    return report


def main() -> int:
    """The command line. Exit 0: nothing is wrong; 1: something is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path)
    parser.add_argument("--screenshots", type=Path)
    parser.add_argument("--word", default="plasticity", help="what to search for")
    options = parser.parse_args()
    try:
        report = check(options.site, options.screenshots, options.word)
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n".join(report.problems) or "nothing is wrong")
    print(f"{len(report.pages)} pages; the first weighs {report.bytes:,} bytes and loads in {report.seconds:.2f} s")
    return bool(report.problems)


if __name__ == "__main__":
    sys.exit(main())
