"""The comparison with other views of attention: what is measured, and README's table of it."""

import json
from types import SimpleNamespace

import peers
import psutil
import pytest

from longctx_edu import attention, models
from longctx_edu.teaching import tables

ROWS = [
    dict(view="A", tokens=32, layers=30, seconds=2.24, page_bytes=6.4e6, peak_rss_bytes=3e8)
    | dict(hover_seconds=0.305, none=None),
    dict(view="A", tokens=8192, layers=30, seconds=None, page_bytes=None, peak_rss_bytes=None)
    | dict(hover_seconds=None, none="Python needs over 6 GiB"),
    dict(view="A", tokens=8192, layers=1, seconds=50.0, page_bytes=5e7, peak_rss_bytes=2e9)
    | dict(hover_seconds=None, none=None),
    dict(view="B", tokens=32, layers=30, seconds=None, page_bytes=1e6, peak_rss_bytes=3e8)
    | dict(hover_seconds=None, none="none in 60 s"),
]


def test_the_table_has_a_row_for_each_view_and_the_last_try_of_each_length():
    said, _, header, _, first, second = tables._peer_table(ROWS).splitlines()
    assert peers.COMMAND in said
    assert header == "| View | 32 tokens | 8,192 tokens |"
    assert first == (
        "| A | 2.2 s, 6.4 MB, 0.3 GB, 305 ms | 50.0 s, 50.0 MB, 2.0 GB (1 of 30 layers) |"
    )
    assert second == "| B | none in 60 s |  |"


def test_our_page_stands_in_the_table_as_one_layer(monkeypatch, tmp_path):
    def attend(*_, **__):
        (tmp_path / "32.pt").touch()
        return SimpleNamespace(stdout="30\n")

    cells = dict(seconds=2.0, page_bytes=1e6, peak_rss_bytes=3e8, hover_seconds=0.1, none=None)
    monkeypatch.setattr(peers.subprocess, "run", attend)
    monkeypatch.setattr(peers, "measured", lambda *_: cells)
    views = ("BertViz head_view", "AttentionView")
    found = list(peers.rows(tmp_path, {}, [32], views))
    assert [row["layers"] for row in found] == [30, 1]
    said, *_, theirs, ours = tables._peer_table(found).splitlines()
    assert "a saved page of `AttentionView` holds one layer, pooled" in said
    assert theirs.endswith("100 ms |")
    assert ours.endswith("100 ms (1 of 30 layers) |")


def test_readmes_table_is_made_once_the_peers_are_recorded(tmp_path):
    folder = tmp_path / "notebooks"
    (folder / "results").mkdir(parents=True)
    marks = [
        f"<!-- {name}:{end} -->" for name in ("notebooks", "peers") for end in ("begin", "end")
    ]
    readme = tmp_path / "README.md"
    readme.write_text("\n".join(marks))
    assert "| A |" not in tables.render_tables(tmp_path)[readme]
    content = dict(schema="longctx_edu/result/1", command=peers.COMMAND, versions={}, seed=None)
    content |= dict(machine={}, rows=[{"table": "peers", "rows": ROWS}])
    (folder / tables.PEERS).write_text(json.dumps(content))
    assert "| A | 2.2 s" in tables.render_tables(tmp_path)[readme]


@pytest.mark.browser
def test_our_own_page_is_drawn_and_pointed_at(chromium, tmp_path):
    import torch

    record = attention.capture(models.tiny("llama"), list(range(3, 15)))
    attended, page = tmp_path / "12.pt", tmp_path / "page.html"
    torch.save({"record": record, "pieces": [f" {n}" for n in range(12)]}, attended)
    peers.write_page("AttentionView", attended, 1, page)
    seen = peers._drawn("AttentionView", page, tmp_path)
    assert 0 < seen["seconds"] < peers.LIMIT
    assert 0 < seen["hover_seconds"] < peers.LIMIT


@pytest.mark.browser
def test_a_page_that_never_draws_is_none(chromium, tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "LIMIT", 2)
    page = tmp_path / "page.html"
    page.write_text("<!doctype html><script>for (;;) {}</script>")
    assert peers._drawn("AttentionView", page, tmp_path) is None
    assert psutil.Process().children(recursive=True) == []  # nor is a browser left behind
