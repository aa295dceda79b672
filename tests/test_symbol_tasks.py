"""Tasks in symbols: every answer is in the document, and none is in the segment that asks."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from longctx_edu.errors import LongctxError
from longctx_edu.evaluation.tasks.symbols import (
    SPLITS,
    AssociativeRecall,
    CopyAtDistance,
    KeyValueLookup,
    Symbols,
)
from longctx_edu.layers.batches import IGNORED, Batch

SMALL = Symbols(fillers=6, keys=40, values=8)
TASKS = [
    AssociativeRecall(segment_tokens=32, segments=4, pairs=5, near=1, far=2, symbols=SMALL),
    KeyValueLookup(segment_tokens=32, segments=4, pairs=6, asked=3, symbols=SMALL),
    CopyAtDistance(segment_tokens=32, segments=4, run=5, symbols=SMALL),
]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda task: type(task).__name__)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def questions(batch):
    """Yield document, place and right answer of everything that is asked."""
    for document, place in (batch.targets != IGNORED).nonzero().tolist():
        yield document, place, int(batch.targets[document, place])


@every_task
@pytest.mark.parametrize("split", SPLITS)
def test_whoever_looks_up_the_last_time_a_symbol_stood_is_always_right(task, split):
    batch = task.draw(20, generator(), split=split)
    asked = list(questions(batch))
    assert asked
    for document, place, answer in asked:
        ids = batch.ids[document].tolist()
        told = max(at for at in range(place) if ids[at] == ids[place])
        assert ids[told + 1] == answer == ids[place + 1]
        assert place - told == batch.distances[document, place]
    assert task.ceiling == 1


@every_task
def test_what_is_asked_from_afar_stands_nowhere_in_the_asking_segment(task):
    batch = task.draw(20, generator())
    for document, place, _ in questions(batch):
        start = place - place % task.segment_tokens
        before = batch.ids[document, start:place].tolist()
        far = int(batch.distances[document, place]) > place % task.segment_tokens
        assert (int(batch.ids[document, place]) not in before) == far


@every_task
def test_the_same_guess_for_every_question_is_right_as_often_as_chance_says(task):
    counts = Counter(answer for *_, answer in questions(task.draw(400, generator())))
    most = max(counts.values()) / counts.total()
    assert most < 1.5 / task.symbols.values


def test_copying_can_be_guessed_better_by_who_never_repeats_himself():
    task, draw = TASKS[2], torch.Generator().manual_seed(3)
    right = asked = 0
    for document in task.draw(2000, draw).targets:
        left = list(range(task.symbols.first_value, task.symbols.size))
        for answer in document[document != IGNORED].tolist():
            guess = left[int(torch.randint(len(left), (1,), generator=draw))]
            right, asked = right + (guess == answer), asked + 1
            left.remove(answer)
    assert task.chance > 1 / task.symbols.values
    assert right / asked == pytest.approx(task.chance, abs=0.015)


@every_task
def test_no_document_is_in_two_splits(task):
    seen = []
    for split in SPLITS:
        ids = task.draw(200, generator(), split=split).ids
        assert (ids.sum(1) % 3 == SPLITS.index(split)).all()
        seen.append({tuple(row) for row in ids.tolist()})
    assert not seen[0] & seen[1]
    assert not seen[0] & seen[2]
    assert not seen[1] & seen[2]


@every_task
def test_the_same_generator_gives_the_same_documents_and_then_others(task):
    one, two = generator(5), generator(5)
    first, same, other = task.draw(4, one), task.draw(4, two), task.draw(4, one)
    assert first.ids.equal(same.ids)
    assert not first.ids.equal(other.ids)


@given(
    segments=st.integers(1, 5),
    pairs=st.integers(1, 7),
    near=st.integers(0, 3),
    far=st.integers(0, 3),
    seed=st.integers(0, 100),
)
def test_recall_tells_each_key_once_and_asks_for_it_once_at_most(segments, pairs, near, far, seed):
    if not 1 <= near + far <= pairs:
        return
    task = AssociativeRecall(
        segment_tokens=32, segments=segments, pairs=pairs, near=near, far=far, symbols=SMALL
    )
    batch = task.draw(3, generator(seed))
    for ids, targets in zip(batch.ids.tolist(), batch.targets.tolist(), strict=True):
        keys = Counter(id for id in ids if SMALL.first_key <= id < SMALL.first_value)
        asked = sum(one != IGNORED for one in targets)
        assert len(keys) == pairs * segments
        assert max(keys.values()) <= 2
        assert sum(keys.values()) - len(keys) == asked == near * segments + far * (segments - 1)


def test_margins_tell_of_earlier_segments_alone_and_of_all_that_is_asked_from_there():
    task = replace(TASKS[0], notes=4)
    batch = task.draw(20, generator())
    pair = task.symbols.first_key, task.symbols.first_value
    for document in range(20):
        for segment in range(task.segments):
            real = ~batch.margin_padding[document, segment]
            note = batch.margins[document, segment][real].tolist()
            notes = dict(zip(note[::2], note[1::2], strict=True))
            assert len(notes) == (4 if segment else 0)
            start = segment * task.segment_tokens
            earlier = batch.ids[document, :start].tolist()
            for key, value in notes.items():
                assert pair[0] <= key < pair[1] <= value
                assert earlier[earlier.index(key) + 1] == value
            here = range(start, start + task.segment_tokens)
            for where, place, answer in questions(batch):
                key = int(batch.ids[document, place])
                if where == document and place in here and key in earlier:
                    assert notes[key] == answer


def test_the_margin_of_a_copy_is_the_run_beside_the_last_segment():
    batch = TASKS[2].draw(4, generator())
    assert batch.margin_padding[:, :-1].all()
    assert not batch.margin_padding[:, -1].any()
    place = int((batch.targets[0] != IGNORED).nonzero()[0])
    assert batch.margins[0, -1].tolist() == batch.ids[0, place : place + 6].tolist()


def test_margins_can_be_emptied_and_can_be_anothers():
    batch = TASKS[0].draw(3, generator())
    assert batch.without_margins().margin_padding.all()
    strange = batch.with_strange_margins()
    assert strange.margins[1].equal(batch.margins[0])
    assert strange.ids.equal(batch.ids)
    bare = replace(TASKS[0], notes=0).draw(3, generator())
    assert bare.margins is None
    with pytest.raises(LongctxError, match="no margins"):
        bare.without_margins()


def test_a_lookup_is_as_long_as_wished_and_tells_as_much():
    near, far = (replace(TASKS[1], segments=n).draw(2, generator()) for n in (2, 30))
    assert far.ids.shape == (2, 30 * 32)
    assert (far.targets != IGNORED).sum() == (near.targets != IGNORED).sum()
    assert far.distances[far.distances > 0].min() > 28 * 32


def test_symbols_can_be_read():
    assert Symbols(fillers=3, keys=2, values=2).spell(torch.tensor([0, 4, 5, 2])) == "· k1 v0 ·"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: replace(TASKS[0], pairs=8), "has room for 1 to 7 pairs"),
        (lambda: replace(TASKS[0], near=4), "near \\+ far must be from 1 to 5"),
        (lambda: replace(TASKS[0], segments=9), "45 pairs, and there are 40 keys"),
        (lambda: replace(TASKS[0], segment_tokens=30), "multiple of 4"),
        (lambda: replace(TASKS[1], asked=9), "room for 1 to 7 pairs"),
        (lambda: replace(TASKS[2], run=9), "run must be from 1 to 8"),
        (lambda: Symbols(fillers=2), "3 fillers"),
        (lambda: TASKS[0].draw(0, generator()), "at least 1"),
        (lambda: TASKS[0].draw(1, generator(), split="exam"), "train, validation, test"),
    ],
)
def test_what_cannot_be_is_a_sentence(wrong, says):
    with pytest.raises(LongctxError, match=says):
        wrong()


def test_a_batch_is_whole_segments_of_one_shape():
    ids = torch.zeros(2, 8, dtype=torch.long)
    with pytest.raises(LongctxError, match="whole segments"):
        Batch(ids, ids, ids, 3)
    with pytest.raises(LongctxError, match="targets must have the shape"):
        Batch(ids, ids[:, 1:], ids, 4)
    with pytest.raises(LongctxError, match="give both or neither"):
        Batch(ids, ids, ids, 4, margins=ids[:, None])
    assert Batch(ids, ids, ids, 4).documents(slice(1)).ids.shape == (1, 8)
