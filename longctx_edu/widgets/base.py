"""What every interactive view shares: its browser part, its static picture, its saved forms.

Python owns the data and the state (traits); the browser draws. State travels as traits,
so that a display that opens late finds it; bulk numbers travel as one binary message for
each settled wish of the browser. No part of a view is fetched from a network.
"""

import base64
import hashlib
import html
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path

import anywidget
import traitlets

from longctx_edu.errors import LongctxError
from longctx_edu.widgets.parts import module, script, style_sheet
from longctx_edu.widgets.plots import png, svg

SUFFIXES = (".png", ".svg", ".html")


class View(anywidget.AnyWidget):
    """An interactive view with a static twin.

    A subclass names its browser part (``_part = "weights"`` for ``static/weights.js``, which
    declares ``render``), and says what it shows: ``describe`` in words, ``picture`` as a
    matplotlib figure. ``answer`` gives numbers that the browser asks for. Its synced traits
    are its whole state.

    Where outputs are saved without live views (GitHub, a notebook without its kernel) the
    picture stands, with the description as its alternative text.
    """

    theme = traitlets.Enum(["auto", "light", "dark"], default_value="auto").tag(sync=True)
    """``auto`` follows JupyterLab, or else the reader's system."""

    # ipywidgets 7 would display without the picture through this.
    _ipython_display_ = None

    def __init_subclass__(cls, **options):
        if "_part" in cls.__dict__:
            cls._esm = module(cls._part)
            cls._css = style_sheet(cls._part)
        super().__init_subclass__(**options)

    def __init__(self, **state):
        super().__init__(**state)
        self.on_msg(self._reply)

    # ----------------------------------------------------------------- what a subclass says

    def describe(self) -> str:
        """Say in one line what there is to see now."""
        raise NotImplementedError(f"{type(self).__name__} does not say what it shows.")

    def picture(self):
        """Draw the static twin of what is shown now, as a matplotlib figure."""
        raise NotImplementedError(f"{type(self).__name__} has no static picture.")

    def answer(self, ask: dict) -> tuple[dict, list[bytes]]:
        """Answer one thing that the browser asks for: facts, and buffers of numbers.

        Raises:
            LongctxError: if it asks for something that there is not.
        """
        raise LongctxError(f"{type(self).__name__} has no answer to {ask!r}.")

    def variants(self) -> tuple[list[str], dict[tuple, dict]]:
        """Return what a file without a kernel holds besides the present state.

        Returns:
            names of traits that the reader may change there, and, for each tuple of values
            that the file holds, the state that Python would set.
        """
        return [], {}

    def saved_asks(self) -> list[dict]:
        """Return what the browser may ask for in a file without a kernel."""
        return []

    # ----------------------------------------------------------------- display

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.describe()}"

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        if bundle is None:  # a view that was closed
            return None
        data, metadata = bundle
        picture = base64.b64encode(png(self._closed_picture())).decode("ascii")
        facts = {**metadata, "image/png": {"alt": self.describe()}}
        return {**data, "text/plain": repr(self), "image/png": picture}, facts

    def _closed_picture(self):
        import matplotlib.pyplot as plt

        figure = self.picture()
        plt.close(figure)  # pyplot would show it a second time
        return figure

    # ----------------------------------------------------------------- messages

    def _reply(self, _, message, buffers) -> None:
        if isinstance(message, dict) and isinstance(message.get("asks"), list):
            self.send(*self._answered(message))

    def _answered(self, message: dict) -> tuple[dict, list[bytes]]:
        """Answer a whole message at once: all facts in order, then all buffers in order."""
        answers, buffers = [], []
        try:
            for ask in message["asks"]:
                facts, own = self.answer(ask)
                answers.append({**facts, "buffers": len(own)})
                buffers.extend(own)
        except LongctxError as error:
            return {"id": message.get("id"), "error": str(error)}, []
        return {"id": message.get("id"), "answers": answers}, buffers

    # ----------------------------------------------------------------- files

    def save(self, path: str | os.PathLike) -> Path:
        """Write the view as it stands to a file, in one step, and return its path.

        Args:
            path: ends in ``.png`` or ``.svg`` for the static picture, or in ``.html`` for
                one interactive file that needs neither a kernel nor a network.

        Raises:
            LongctxError: for another ending, or if the file cannot be written.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind == ".html":
            content = self.to_html().encode()
        elif kind in SUFFIXES:
            content = (png if kind == ".png" else svg)(self._closed_picture())
        else:
            raise LongctxError(
                f"A view is saved as {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}, not as "
                f"{path.name!r}; choose one of these endings."
            )
        write_file(path, content)
        return path

    def to_html(self) -> str:
        """Return the view as one file: the same browser part, on a model without a kernel.

        The file's own policy forbids every connection, and all text in it is data.
        """
        run = f"{script(self._part, 'standalone')}openSaved();\n"
        style = f"{self._css}{_PAGE_STYLE}"
        policy = (
            f"default-src 'none'; script-src {_hash(run)}; style-src {_hash(style)}; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        )
        words = html.escape(self.describe())
        picture = base64.b64encode(png(self._closed_picture())).decode("ascii")
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{words}</title>\n<style>{style}</style>\n</head>\n<body>\n"
            '<main id="view"></main>\n'
            f'<noscript><img src="data:image/png;base64,{picture}" alt="{words}"></noscript>\n'
            f'<script type="application/json" id="saved">{_inert(self._saved())}</script>\n'
            f'<script type="module">{run}</script>\n</body>\n</html>\n'
        )

    def _saved(self) -> dict:
        names, states = self.variants()
        answers = {}
        for ask in self.saved_asks():
            facts, buffers = self.answer(ask)
            answers[_key(ask, sort=True)] = {
                "facts": {**facts, "buffers": len(buffers)},
                "buffers": [_writable(one) for one in buffers],
            }
        values = {_key(list(key)): _all_writable(state) for key, state in states.items()}
        return {
            "state": _all_writable({name: getattr(self, name) for name in self._state_names()}),
            "variants": {"names": names, "values": values},
            "answers": answers,
        }

    def _state_names(self) -> list[str]:
        """Return the traits that make up the state, without those of widgets in general."""
        general = anywidget.AnyWidget.class_trait_names()
        own = set(type(self).class_trait_names(sync=True)) - set(general)
        return sorted(name for name in own if not name.startswith("_"))


_PAGE_STYLE = (
    "body { margin: 0; background: #ffffff; }\n"
    "#view { max-width: 1280px; margin: 0 auto; }\n"
    "body:has(.lx[data-theme=dark]) { background: #161616; }\n"
)


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _key(value, *, sort: bool = False) -> str:
    """Write as JavaScript's JSON.stringify does, so that both sides find the same entry."""
    return json.dumps(value, separators=(",", ":"), sort_keys=sort, ensure_ascii=False)


def _inert(value) -> str:
    """Write as JSON in which nothing can end the script element that holds it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _writable(value):
    if isinstance(value, (bytes, memoryview)):
        return {"$bytes": base64.b64encode(value).decode("ascii")}
    return value


def _all_writable(state: dict) -> dict:
    return {name: _writable(value) for name, value in state.items()}


def write_file(path: Path, content: bytes) -> None:
    """Write a file in one step, so that nobody ever finds half of it.

    Raises:
        LongctxError: if it cannot be written.
    """
    try:
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
            # A scratch file is for its owner alone; the kept one is as readable as before.
            os.chmod(scratch, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.replace(scratch, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(scratch)
            raise
    except OSError as error:
        raise LongctxError(
            f"{path} could not be written ({error.strerror}); name a file in a folder that "
            "exists and that you may write to."
        ) from error
