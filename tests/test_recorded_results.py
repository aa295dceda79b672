"""What was recorded can be read, says where it comes from, and still holds."""

import io
from pathlib import Path

import pytest

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation import bench_foundation, bench_start
from longctx_edu.evaluation.figures import bench_names, figures_of
from longctx_edu.evaluation.recorded import recorded
from longctx_edu.widgets.pictures import README_PICTURE, right_and_read
from longctx_edu.widgets.plots import png

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", bench_names())
def test_every_bench_was_recorded_by_its_command(name):
    result = recorded(name)
    assert result.command == f"longctx bench {name} --record"
    assert set(result.figures) == {figure.id for figure in figures_of(name)}
    assert {"python", "torch", "transformers"} <= set(result.versions)
    assert result.machine["cores"] >= 1


def test_what_was_never_recorded_is_told_how_to():
    with pytest.raises(LongctxError, match="longctx bench nothing --record"):
        recorded("nothing")


@pytest.mark.model
def test_a_recorded_answer_comes_out_again():
    from longctx_edu import read
    from longctx_edu.text import lighthouse_log

    asked = bench_start.sample()
    rows = recorded("start").tables["answers.retrieval"]
    row = next(row for row in rows if row["question"] == asked.question)
    answer = read(lighthouse_log(), method="retrieval").ask(
        asked.question, answer_prefix=asked.answer_prefix, max_new_tokens=12
    )
    assert (asked.gold in answer.text) == row["right"]
    assert answer.ledger.prefilled + answer.ledger.decoded == row["tokens_read"]


def test_readmes_picture_shows_what_was_recorded():
    from PIL import Image

    drawn = Image.open(io.BytesIO(png(right_and_read(recorded("start")))))
    saved = Image.open(ROOT / README_PICTURE)
    assert saved.size == drawn.size
    assert saved.tobytes() == drawn.tobytes()


def test_prefill_flops_are_those_of_the_weights_and_pairs_counted_one_by_one():
    from longctx_edu import models

    model = models.tiny("llama").model
    tokens = 5
    expected = 0
    for name, weight in model.model.layers.named_parameters():
        if "proj" in name:
            expected += 2 * weight.numel() * tokens
    pairs = sum(query + 1 for query in range(tokens))
    config = model.config
    expected += config.num_hidden_layers * config.num_attention_heads * pairs * 4 * config.head_dim
    expected += 2 * model.lm_head.weight.numel()
    assert bench_foundation.prefill_flops(config, tokens) == expected
