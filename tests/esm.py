"""A test bench for a view's browser part in headless Chromium, without Jupyter.

``open_page`` gives an empty page that can reach no other machine; ``display`` shows a real
view in it, on a stub of the front end's model: what the browser saves reaches the view's
traits, what it asks for is answered by the view itself, and ``tell`` brings to the page what
Python changed. It takes a second or two where JupyterLab takes twenty.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab import CHROMIUM_OPTIONS, Opened
from playwright.sync_api import Browser, Page, sync_playwright

from longctx_edu.widgets.parts import script

# As a front end does: the module is imported from a blob, bytes come as DataView.
_DISPLAY = """
async ({ esm, css, state }) => {
    const style = document.createElement("style");
    style.textContent = css;
    document.head.append(style);
    const revive = (value) => value?.$bytes === undefined ? value
        : new DataView(Uint8Array.from(atob(value.$bytes), (c) => c.charCodeAt(0)).buffer);
    const values = {};
    for (const [name, value] of Object.entries(state)) values[name] = revive(value);
    const handlers = {};
    const dirty = new Set();
    const model = {
        get: (name) => values[name],
        set: (name, value) => {
            if (values[name] === value) return;
            values[name] = value;
            dirty.add(name);
            model.emit(`change:${name}`);
        },
        on: (event, handler) => (handlers[event] ??= new Set()).add(handler),
        off: (event, handler) => handlers[event]?.delete(handler),
        emit: (event, ...all) => [...(handlers[event] ?? [])].forEach((one) => one(...all)),
        save_changes: async () => {
            const changed = Object.fromEntries([...dirty].map((name) => [name, values[name]]));
            dirty.clear();
            model.take(await window.savedToPython(changed));
        },
        send: async (message) => {
            const answer = await window.sentToPython(message);
            if (answer) model.hear(answer);
        },
        hear: ({ reply, buffers }) => model.emit("msg:custom", reply, buffers.map(revive)),
        // All values stand before the first handler hears of one.
        take: (changes) => {
            for (const [name, value] of Object.entries(changes)) values[name] = revive(value);
            for (const name of Object.keys(changes)) model.emit(`change:${name}`);
        },
        listening: () => Object.values(handlers).reduce((sum, some) => sum + some.size, 0),
    };
    const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
    const { default: widget } = await import(url);
    const el = document.createElement("div");
    document.body.append(el);
    window.model = model;
    window.cleanUp = await widget.render({ model, el });
}
"""

_TOO_FAINT = """() => {
    const light = (colour) => {
        const [r, g, b] = colour.match(/[\\d.]+/g).map((one) => Number(one) / 255)
            .map((x) => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const paper = (one) => {
        const colour = getComputedStyle(one).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" ? paper(one.parentElement) : colour;
    };
    return [...document.querySelectorAll(".lx *")]
        .filter((one) => [...one.childNodes].some((child) =>
            child.nodeType === 3 && child.data.trim()))
        .filter((one) => {
            const [a, b] = [light(getComputedStyle(one).color), light(paper(one))]
                .sort((x, y) => y - x);
            return (a + 0.05) / (b + 0.05) < 4.5;
        }).map((one) => one.className);
}"""


@dataclass
class Bench(Opened):
    """A page, what it did that it should not, and the view that it shows."""

    view: object = None
    messages: list[dict] = field(default_factory=list)
    kernel_answers: bool = True


@contextmanager
def open_browser(chromium: str) -> Iterator[Browser]:
    """Start a headless Chromium that ends with the block."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=list(CHROMIUM_OPTIONS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def open_page(browser: Browser, address: str = "about:blank", **options) -> Iterator[Bench]:
    """Open a page that notes errors, and notes and stops every request but for ``file:``.

    Args:
        browser: of ``open_browser``.
        address: what to open.
        options: of the browser context, such as ``color_scheme="dark"``.
    """
    context = browser.new_context(**{"viewport": {"width": 1100, "height": 900}, **options})
    try:
        page = context.new_page()
        bench = Bench(page)

        def refuse(route):
            bench.outside.append(route.request.url)
            route.abort()

        page.route(lambda url: not url.startswith(("file:", "data:", "blob:", "about:")), refuse)
        page.on("pageerror", lambda error: bench.errors.append(str(error)))
        page.on("console", lambda one: one.type == "error" and bench.errors.append(one.text))
        page.goto(address)
        yield bench
    finally:
        context.close()


def display(bench: Bench, view, **replaced) -> None:
    """Show a view in the page; ``replaced`` traits start with other values there."""
    bench.view = view
    bench.page.expose_function("savedToPython", lambda changed: _save(view, changed))
    bench.page.expose_function("sentToPython", lambda message: _answer(bench, message))
    state = {name: getattr(view, name) for name in view._state_names()}
    bench.page.evaluate(
        _DISPLAY, {"esm": view._esm, "css": view._css, "state": _writable({**state, **replaced})}
    )


def tell(bench: Bench, **changes) -> None:
    """Set traits of the view in Python, and bring all that changed by it to the page."""
    with _noted(bench.view) as noted:
        for name, value in changes.items():
            setattr(bench.view, name, value)
    bench.page.evaluate("(changes) => model.take(changes)", _writable(noted))


def answer_late(bench: Bench) -> None:
    """Answer all that the page has asked so far, as a kernel does that was busy."""
    for message in bench.messages:
        bench.page.evaluate("(answer) => model.hear(answer)", _answered(bench.view, message))


def settle(page: Page) -> None:
    """Wait until the page has shown what it was told."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")


def bring(bench: Bench) -> None:
    """Bring all of the view's state to the page, as the kernel does when traits change."""
    settle(bench.page)
    state = {name: getattr(bench.view, name) for name in bench.view._state_names()}
    bench.page.evaluate("(changes) => model.take(changes)", _writable(state))
    settle(bench.page)


def cut_off(page: Page, width: int) -> list[str]:
    """Return the classes of what reaches over the right edge of a page of a width."""
    return page.locator(".lx *:visible").evaluate_all(
        "(all, width) => all.filter((one) => one.getBoundingClientRect().right > width + 0.5"
        " && !one.closest('.lx-hidden')).map((one) => one.className)",
        width,
    )


def too_faint(page: Page) -> list[str]:
    """Return the classes of what is written with a contrast below 4.5."""
    return page.evaluate(_TOO_FAINT)


def load_parts(page: Page, *names: str) -> None:
    """Put parts into the page as they are, so that ``page.evaluate`` can call them."""
    page.add_script_tag(content=script(*names))


def picture_of(page: Page, path: Path, **options) -> Path:
    """Save what the page shows as PNG; return the path."""
    page.screenshot(path=path, caret="hide", animations="disabled", full_page=True, **options)
    return path


def _save(view, changed: dict) -> dict:
    with _noted(view) as noted:
        view.set_state(changed)
    return _writable({name: v for name, v in noted.items() if changed.get(name) != v})


def _answer(bench: Bench, message: dict) -> dict | None:
    bench.messages.append(message)
    return _answered(bench.view, message) if bench.kernel_answers else None


def _answered(view, message: dict) -> dict:
    reply, buffers = view._answered(message)
    return {"reply": reply, "buffers": [_written(one) for one in buffers]}


@contextmanager
def _noted(view) -> Iterator[dict]:
    """Collect the traits that change inside the block, with their new values."""
    noted: dict = {}

    def note(change):
        noted[change["name"]] = change["new"]

    view.observe(note, names=view._state_names())
    try:
        yield noted
    finally:
        view.unobserve(note, names=view._state_names())


def _written(value):
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    return value


def _writable(state: dict) -> dict:
    return {name: _written(value) for name, value in state.items()}
