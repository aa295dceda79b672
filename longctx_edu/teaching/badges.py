"""Links that open the course on Binder and Colab, and the cell that installs it on Colab.

A copy of the course does not know where it will be published, so the saved
notebooks carry markers only; ``write_badges`` fills them in for one GitHub
repository, as often as wanted. It asks no server whether the address exists.
"""

import re
from pathlib import Path

from longctx_edu.errors import LongctxError
from longctx_edu.teaching import canonical

MARKER = "<!-- badges -->"

_OWNER_REPO = re.compile(
    r"[A-Za-z0-9](?:[-_]?[A-Za-z0-9]){0,38}/(?!\.{1,2}$)(?!.*\.git$)[A-Za-z0-9._-]{1,100}"
)
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")
_BADGE_LINE = re.compile(rf"^(?:\[!\[.*\) )?{re.escape(MARKER)}$", re.MULTILINE)
_COURSE_LINE = re.compile(r'^course = ".*"$', re.MULTILINE)
_COLAB_CELL = """\
# Only Colab needs this cell: it installs the course's package there.
# The address in it is filled in by: longctx badges OWNER/REPO
import importlib.util
import sys

course = ""
missing = importlib.util.find_spec("longctx_edu") is None
if "google.colab" in sys.modules and missing and course:
    %pip install -q "longctx-edu @ {course}"
elif "google.colab" in sys.modules and missing:
    print("This copy does not say where its package can be installed from.")
    print("In the copy's folder run: longctx badges OWNER/REPO")
    print("Publish the changed notebooks there and open this one again.")"""


def colab_cell(course: str = "") -> str:
    """Return the source of the Colab cell; ``course`` is what pip installs, "" if not known."""
    return _COURSE_LINE.sub(f'course = "{course}"', _COLAB_CELL)


def is_colab_cell(source: str) -> bool:
    """Say whether the source is the Colab cell of the course, whatever its address."""
    return _COURSE_LINE.sub('course = ""', source) == _COLAB_CELL


def badge_line(text: str) -> str | None:
    """Return the badges in ``text``: "" for a bare marker, None where there is no marker."""
    match = _BADGE_LINE.search(text)
    return None if match is None else match[0].removesuffix(MARKER).strip()


def write_badges(owner_repo: str, root: str | Path, *, ref: str = "main") -> list[Path]:
    """Write the links of one GitHub repository into README.md, its table, and all notebooks.

    Written again with another repository or ref, they replace the former ones;
    nothing else in the files changes, and nothing at all if any file lacks its
    marker.

    Args:
        owner_repo: such as "example/longctx-edu".
        root: the folder that holds README.md and ``notebooks/``.
        ref: the branch or tag that the links open. A tag keeps a workshop's
            notebooks as they were announced.

    Returns:
        The files that changed.

    Raises:
        LongctxError: if ``owner_repo`` or ``ref`` is malformed, or a file has
            no line for the badges or no Colab cell.
    """
    # The tables show the badges and so read this module: imported here, not above.
    from longctx_edu.teaching.tables import course_notebooks, render_tables, write_tables

    _refuse_malformed(owner_repo, ref)
    root = Path(root)
    paths = course_notebooks(root / "notebooks")
    if not paths:
        raise LongctxError(
            f"There are no notebooks in {root / 'notebooks'}; run this in the course's folder."
        )
    texts = {path: _notebook_with_badges(path, owner_repo, ref) for path in paths}
    readme = root / "README.md"
    if readme.exists():
        text = readme.read_text(encoding="utf-8")
        texts[readme] = _with_badges(text, _badges(paths[0].name, owner_repo, ref), readme)
    render_tables(root)  # an error in a table shall come before anything is written
    changed = [path for path, text in texts.items() if canonical.write_text(path, text)]
    return list(dict.fromkeys([*changed, *write_tables(root)]))


def _notebook_with_badges(path: Path, owner_repo: str, ref: str) -> str:
    notebook = canonical.load(path)
    first = notebook["cells"][0]
    first["source"] = _with_badges(first["source"], _badges(path.name, owner_repo, ref), path)
    colab = [cell for cell in notebook["cells"] if is_colab_cell(cell["source"])]
    if not colab:
        raise LongctxError(
            f"{path} has no Colab cell; copy it from a notebook that "
            "`python -m longctx_edu.teaching.notebooks new NN_name` makes."
        )
    for cell in colab:
        cell["source"] = colab_cell(f"git+https://github.com/{owner_repo}@{ref}")
    return canonical.to_text(notebook)


def _with_badges(text: str, badges: str, path: Path) -> str:
    if badge_line(text) is None:
        raise LongctxError(
            f"{path} has no line for the badges; add a line {MARKER} under its first heading."
        )
    return _BADGE_LINE.sub(lambda _: f"{badges} {MARKER}", text, count=1)


def _badges(name: str, owner_repo: str, ref: str) -> str:
    # The marker stands last: a line that begins with a comment is HTML to
    # Markdown, and its links would not be links.
    binder_ref = ref.replace("/", "%2F")
    return (
        "[![Open on Binder](https://mybinder.org/badge_logo.svg)]"
        f"(https://mybinder.org/v2/gh/{owner_repo}/{binder_ref}"
        f"?urlpath=lab%2Ftree%2Fnotebooks%2F{name}) "
        "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
        f"(https://colab.research.google.com/github/{owner_repo}/blob/{ref}/notebooks/{name})"
    )


def _refuse_malformed(owner_repo: str, ref: str) -> None:
    if not isinstance(owner_repo, str) or not _OWNER_REPO.fullmatch(owner_repo):
        raise LongctxError(
            f"{owner_repo!r} does not name a GitHub repository; "
            "give OWNER/REPO, such as example/longctx-edu."
        )
    if not _REF.fullmatch(ref) or ".." in ref:
        raise LongctxError(f"{ref!r} does not name a branch or tag; give one such as main or v1.0.")
