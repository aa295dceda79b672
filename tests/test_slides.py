"""Every slide of both decks has a notebook, and every name on it a fate that holds."""

import re
from pathlib import Path

import pytest

from longctx_edu.errors import LongctxError
from longctx_edu.teaching import slides, tables
from longctx_edu.teaching.slides import Slide, SlideName
from longctx_edu.teaching.structure import notebook_faults
from longctx_edu.teaching.template import new_notebook

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
DECKS = [*(f"E{number}" for number in range(1, 15)), *(f"W{number}" for number in range(1, 16))]


def with_slide(monkeypatch, *names, place="01_attention_cost"):
    monkeypatch.setattr(slides, "slides", lambda: (Slide("E2", place, names=names),))


def test_every_slide_of_both_decks_stands_once_in_the_map():
    assert [slide.id for slide in slides.slides()] == DECKS


@pytest.mark.parametrize("slide", slides.slides(), ids=lambda slide: slide.id)
def test_a_slide_belongs_to_a_notebook_of_the_course(slide):
    assert slide.place in (*slides.planned_notebooks(), "REFERENCES.md")


def test_the_planned_notebooks_are_numbered_in_order_and_those_written_are_among_them():
    planned = slides.planned_notebooks()
    assert [name[:3] for name in planned] == [f"{number:02d}_" for number in range(18)]
    assert {path.stem for path in tables.course_notebooks(NOTEBOOKS)} <= set(planned)


def test_what_a_written_notebook_promises_can_be_imported():
    assert list(slides.broken_promises(NOTEBOOKS)) == []


def test_a_name_is_promised_once_its_notebook_is_there(tmp_path, monkeypatch):
    absorbed = SlideName("f", absorbed_by="longctx_edu.memory.no_such_function")
    with_slide(monkeypatch, SlideName("g", home="longctx_edu.read"), absorbed)
    assert list(slides.broken_promises(tmp_path)) == []
    (tmp_path / "01_attention_cost.ipynb").touch()
    (broken,) = slides.broken_promises(tmp_path)
    assert broken.startswith(
        "Slide E2: f should be at longctx_edu.memory.no_such_function, and nothing is"
    )


def test_a_path_leads_to_the_object_itself():
    from longctx_edu import models, readers

    assert SlideName("f", home="longctx_edu.models.load").resolve() is models.load
    asked = SlideName("f", absorbed_by="longctx_edu.readers.Reading.ask").resolve()
    assert asked is readers.Reading.ask
    assert SlideName("f", dropped="it does nothing").resolve() is None
    with pytest.raises(LongctxError, match="build it there or correct slides.toml"):
        SlideName("f", home="longctx_edu.no_such_room.f").resolve()


@pytest.mark.parametrize("fates", [{}, {"home": "a.b", "dropped": "why"}, {"home": ""}])
def test_a_name_has_one_fate(fates):
    with pytest.raises(ValueError, match="one of home, absorbed_by and dropped"):
        SlideName("f", **fates)


def test_methods_stand_under_a_class_of_their_slide():
    for slide in slides.slides():
        names = {name.name for name in slide.names}
        assert {name.partition(".")[0] for name in names} <= names, slide.id


def test_the_map_holds_facts_about_the_slides_and_none_of_their_code():
    text = slides.MAP.read_text(encoding="utf-8")
    assert not re.search(r"\bdef \w+\(|\bimport \w+$|```", text, re.MULTILINE)


def test_a_notebook_has_a_box_for_each_wrong_slide():
    notebook = new_notebook("06")
    said = "Slide E7 needs its box: a heading `### What the slide gets wrong (E7)`."
    assert said not in notebook_faults(notebook, "06")
    box = next(cell for cell in notebook["cells"] if "wrong (E7)" in cell["source"])
    box["source"] = box["source"].replace("(E7)", "(E77)")
    assert said in notebook_faults(notebook, "06")
    box["source"] = box["source"].replace("(E77)", "(E7, W99)")
    assert said not in notebook_faults(notebook, "06")


def test_the_table_of_slides_says_what_is_there_and_what_is_planned(tmp_path, monkeypatch):
    with_slide(
        monkeypatch,
        SlideName("f", home="longctx_edu.read"),
        SlideName("g", absorbed_by="longctx_edu.read"),
        SlideName("h", dropped="since it is empty"),
    )
    folder = tmp_path / "notebooks"
    folder.mkdir()
    instructor = folder / "INSTRUCTOR.md"
    instructor.write_text(
        "<!-- notebooks:begin --><!-- notebooks:end --><!-- slides:begin --><!-- slides:end -->"
    )
    fates = (
        "`f`: `longctx_edu.read`<br>`g`: absorbed by `longctx_edu.read`"
        "<br>`h`: left out, since it is empty"
    )
    tables.write_tables(tmp_path)
    assert f"| E2 | 01_attention_cost (planned) |  | {fates} |" in instructor.read_text()
    from longctx_edu.teaching import canonical

    canonical.save(new_notebook("01"), folder / "01_attention_cost.ipynb")
    tables.write_tables(tmp_path)
    link = "[01_attention_cost](01_attention_cost.ipynb)"
    assert f"| E2 | {link} |  | {fates} |" in instructor.read_text()
    assert tables.write_tables(tmp_path) == []
