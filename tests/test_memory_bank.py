"""A memory bank: every token once, the same however it is stored, and never half there."""

import json
import os
from functools import cache
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from longctx_edu import models
from longctx_edu.attention.block_mass import choosing_layers
from longctx_edu.errors import DoesNotFit, LongctxError, MemoryFileError, ModelError
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.memory.blocks import block_scores
from longctx_edu.memory.storage import HOLDS, PRECISIONS, KeyShape, Storage, quantised
from longctx_edu.models.tiny import byte_tokenizer
from longctx_edu.text import Document

TEXT = "The boat is named Grey Petrel. It is painted green. The keeper is Anna Lund. " * 2
THREE = [Document(name, f"{name} {TEXT}", source=f"{name}.txt") for name in "abc"]
FAMILIES = ["llama", "qwen3", "gpt_neox"]
MODELS = {family: models.tiny(family, seed=1) for family in FAMILIES}
EXACT = Storage("float32")
few = settings(max_examples=12, derandomize=True)
storages = st.builds(Storage, st.sampled_from([*PRECISIONS]), st.sampled_from(HOLDS))


@pytest.fixture(scope="module")
def model():
    return MODELS["llama"]


@pytest.fixture(params=["in memory", "in a file"])
def storage(request, tmp_path):
    """Exact storage, in either place."""
    return Storage("float32", file=tmp_path / "bank" if request.param == "in a file" else None)


def bank_of(model, documents=TEXT, *, storage=EXACT, budget_bytes=None, **options):
    bank = MemoryBank(model, storage=storage, budget_bytes=budget_bytes)
    return added(bank, documents, **options)


def added(bank, documents, **options):
    for _ in bank.add(documents, **options):
        pass
    return bank


@cache
def three_in_memory():
    return bank_of(MODELS["llama"], THREE)


def held_layers(bank):
    everything = bank.storage.holds == "everything"
    return bank.layers if everything else choosing_layers(len(bank.layers))


def same(one, other, **close):
    """Assert that two banks hold the same, bit for bit unless told how close."""
    assert (one.ids, one.held) == (other.ids, other.held)
    close = close or dict(rtol=0, atol=0)
    places = torch.arange(len(one))
    for layer in held_layers(one):
        torch.testing.assert_close(one.keys_of(layer), other.keys_of(layer), **close)
        if one.storage.holds == "everything":
            pairs = (bank.at(layer, range(len(bank)), places) for bank in (one, other))
            for mine, theirs in zip(*pairs, strict=True):
                torch.testing.assert_close(mine, theirs, **close)


def left_in(folder):
    return sorted(path.name for path in folder.iterdir())


# Reading


@few
@given(st.integers(1, 160), st.integers(1, 160), st.integers(1, 4), st.sampled_from(FAMILIES))
def test_every_token_is_held_once_whatever_the_windows(window, stride, together, family):
    model, stride = MODELS[family], max(min(stride, window), 8)
    window = max(window, stride)
    bank = bank_of(model, window=window, stride=stride, windows_together=together)
    assert bank.ids == model.tokenizer.encode(TEXT, add_special_tokens=False)
    assert [held.tokens for held in bank.held] == [range(len(bank))]
    assert bank.forwarded >= len(bank)
    for layer in bank.layers:
        assert bank.keys_of(layer).shape[1] == len(bank)
    same(bank, bank_of(model, window=window, stride=stride), atol=2e-5, rtol=1e-4)
    if window >= len(bank):
        assert bank.forwarded == len(bank)


@pytest.mark.parametrize("chunk", [16, 1024])
def test_windows_read_together_in_chunks_are_windows_read_one_by_one(monkeypatch, chunk):
    monkeypatch.setattr("longctx_edu.memory.bank.CHUNK_TOKENS", chunk)
    options = dict(window=50, stride=30)
    for family in FAMILIES:
        model = MODELS[family]
        together = bank_of(model, THREE, windows_together=3, **options)
        same(together, bank_of(model, THREE, **options), atol=2e-5, rtol=1e-4)


def test_a_window_knows_the_text_before_its_new_tokens(model):
    """Keys of deeper layers depend on what the token has seen: one token, or all."""
    whole, narrow = bank_of(model), bank_of(model, window=1, stride=1)
    torch.testing.assert_close(whole.keys_of(0), narrow.keys_of(0), atol=1e-5, rtol=1e-4)
    assert (whole.keys_of(2) - narrow.keys_of(2)).abs().max() > 1e-2


def test_progress_says_how_many_tokens_are_remembered(model, storage):
    bank = MemoryBank(model, storage=storage)
    events = list(bank.add(THREE, window=60, stride=50, windows_together=2))
    done = [event.done for event in events]
    assert done[0] == 0
    assert done[-1] == len(bank) == events[0].total
    assert done == sorted(set(done))


def test_a_document_added_later_or_taken_out_leaves_the_others_as_they_are(model, storage):
    bank = added(bank_of(model, THREE[:2], storage=storage), THREE[2])
    bank.remove("b")
    same(bank, bank_of(model, [THREE[0], THREE[2]]))
    with pytest.raises(LongctxError, match="holds a, c"):
        bank.remove("b")
    with pytest.raises(LongctxError, match="already"):
        next(bank.add(THREE[0]))
    same(added(bank, THREE[1]), bank_of(model, [THREE[0], THREE[2], THREE[1]]))


def test_adding_copies_nothing_that_is_there(model):
    bank = bank_of(model, THREE[0])
    before = bank.held[0].shelf.tensors
    added(bank, THREE[1:])
    assert bank.held[0].shelf.tensors is before


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_adding_that_is_stopped_leaves_the_bank_as_it_was(model, storage, tmp_path, steps):
    bank, other = bank_of(model, THREE[0], storage=storage), bank_of(model, THREE[0])
    files = left_in(tmp_path)
    events = bank.add(THREE[1:], window=100, stride=100)
    for _ in range(steps):
        next(events)
    events.close()
    same(bank, other)
    assert left_in(tmp_path) == files
    same(added(bank, THREE[1:]), bank_of(model, THREE))


def test_a_first_document_that_is_stopped_or_fails_leaves_no_file(model, tmp_path, monkeypatch):
    bank = MemoryBank(model, storage=Storage(file=tmp_path / "bank"))
    events = bank.add(TEXT, window=50, stride=50)
    next(events)
    next(events)
    assert len(left_in(tmp_path)) == 1  # in the making
    events.close()
    assert left_in(tmp_path) == []
    monkeypatch.setattr(bank, "_read", lambda *_: (_ for _ in ()).throw(RuntimeError("no power")))
    with pytest.raises(RuntimeError, match="no power"):
        added(bank, TEXT)
    assert left_in(tmp_path) == []
    assert len(bank) == 0


@pytest.mark.parametrize("family", ["gpt2", "gemma3"])
def test_models_whose_keys_cannot_be_moved_are_refused_by_name(family):
    with pytest.raises(ModelError, match=family):
        MemoryBank(models.tiny(family))


@pytest.mark.parametrize(
    "options",
    [dict(window=0), dict(stride=9, window=8), dict(window=10**6), dict(windows_together=0)],
)
def test_windows_that_do_not_fit_are_refused(model, options):
    with pytest.raises(LongctxError, match="stride <= window.*windows_together >= 1"):
        next(MemoryBank(model).add(TEXT, **options))


# Looking up


@few
@given(st.lists(st.integers(0, 467), max_size=40), st.booleans())
def test_tokens_are_found_in_any_order_and_number(index, as_tensor):
    bank = three_in_memory()
    wanted = torch.tensor(index, dtype=torch.long)
    places = torch.arange(len(index)) + 7
    keys, values = bank.at(1, range(len(bank)), torch.zeros(len(bank), dtype=torch.long))
    key, value = bank.at(1, wanted if as_tensor else index, places)
    assert torch.equal(value, values[:, wanted])
    assert torch.equal(bank.values_of(1, wanted), value)
    assert torch.equal(bank.keys_of(1, index), bank.keys_of(1)[:, wanted])
    there = bank.rotation.moved(keys[:, wanted], torch.zeros_like(places), places)
    torch.testing.assert_close(key, there, atol=1e-5, rtol=1e-5)


@few
@given(st.integers(0, 468), st.integers(0, 468))
def test_a_run_of_tokens_is_the_same_as_its_tokens_one_by_one(start, stop):
    bank, places = three_in_memory(), torch.arange(max(stop - start, 0))
    for mine, theirs in zip(
        bank.at(0, range(start, stop), places),
        bank.at(0, [*range(start, stop)], places),
        strict=True,
    ):
        assert torch.equal(mine, theirs)


def test_tokens_and_layers_that_are_not_there_are_refused(model):
    bank = bank_of(model)
    for tokens in ([-1], [len(bank)], range(3, len(bank) + 1)):
        with pytest.raises(ValueError, match="has the tokens 0 to"):
            bank.at(0, tokens, torch.arange(len(tokens)))
    with pytest.raises(LongctxError, match="layers 0 to 2, got 3"):
        bank.keys_of(3)


def test_tokens_of_the_bank_point_to_their_characters(model):
    bank = bank_of(model, [Document("a", "été là"), Document("b", "🐐 goats")])
    (one, start, end), (two, begin, stop) = bank.citations(range(len(bank)))
    assert (one.id, one.text[start:end]) == ("a", "été là")
    assert (two.id, two.text[begin:stop]) == ("b", "🐐 goats")
    goat = bank.held[1].tokens[1]
    assert [*bank.citations(range(goat, goat + 1))] == [(two, 0, 1)]


def test_spans_are_the_tokenizers_own(model):
    held = bank_of(model, "été là").held[0]
    assert held.spans == [(0, 1), (0, 1), (1, 2), (2, 3), (2, 3), (3, 4), (4, 5), (5, 6), (5, 6)]
    assert held.spans[3:5] == [(2, 3), (2, 3)]


def test_the_tokens_of_some_documents_can_be_asked_for(model):
    bank = bank_of(model, THREE)
    length = len(bank) // 3
    assert bank.tokens_of(["c", "a"]) == [range(2 * length, 3 * length), range(length)]
    assert bank.tokens_of("b") == [range(length, 2 * length)]
    with pytest.raises(LongctxError, match="does not hold 'd'"):
        bank.tokens_of(["a", "d"])


def test_a_bank_knows_its_documents_from_others(model):
    bank = bank_of(model, THREE)
    assert bank.holds(THREE)
    assert bank.holds([Document(one.id, one.text, source="elsewhere") for one in THREE])
    assert not bank.holds(THREE[:2])
    assert not bank.holds(THREE[::-1])
    assert not bank.holds([*THREE[:2], Document("c", "Something else.")])


# Storage


@few
@given(storages, st.lists(st.integers(1, 200), min_size=1, max_size=3), st.sampled_from(FAMILIES))
def test_the_bytes_are_as_predicted(storage, lengths, family):
    documents = [Document(str(n), "x" * length) for n, length in enumerate(lengths)]
    bank = bank_of(MODELS[family], documents, storage=storage)
    assert len(bank) == sum(lengths)
    assert bank.nbytes == bank.predicted_bytes(len(bank))


def test_the_bytes_of_the_embedded_model_are_those_of_its_shape():
    shape = KeyShape(layers=30, kv_heads=3, head_dim=64)
    assert Storage().bytes_for(shape, 1) == 30 * 2 * 3 * 64 * 2 == 23_040
    assert Storage("int8").bytes_for(shape, 1) == 30 * 2 * 3 * (64 + 4) == 12_240
    assert Storage(holds="choosing_keys").bytes_for(shape, 1) == 14 * 3 * 64 * 2 == 5_376


def test_a_budget_of_exactly_the_prediction_is_enough_and_a_byte_less_is_not(model, tmp_path):
    needed = MemoryBank(model).predicted_bytes(len(TEXT))
    assert bank_of(model, storage=Storage(), budget_bytes=needed).nbytes == needed
    for file in (None, tmp_path / "bank"):
        with pytest.raises(DoesNotFit, match=f"{needed:,} bytes.*{needed - 1:,} of the budget"):
            bank_of(model, storage=Storage(file=file), budget_bytes=needed - 1)
    assert left_in(tmp_path) == []


def test_what_does_not_fit_is_refused_before_anything_is_read(model, monkeypatch):
    bank = bank_of(model, storage=Storage())
    bank.budget_bytes = int(bank.nbytes * 1.7)
    monkeypatch.setattr(bank, "_read", lambda *_: pytest.fail("read"))
    with pytest.raises(DoesNotFit) as refused:
        next(bank.add(Document("more", TEXT)))
    fitting = str(refused.value).split("What would fit: ")[1]
    left = bank.budget_bytes - bank.nbytes
    for precision, holds in product(PRECISIONS, HOLDS):
        one = Storage(precision, holds)
        fits = one.bytes_for(KeyShape.of(model.model), len(TEXT)) <= left
        assert (str(one) in fitting) == fits
    assert "int8, everything" not in fitting  # 12 bytes for 8 numbers, instead of 16
    assert "float16, choosing keys alone" in fitting


def test_without_a_budget_the_free_memory_is_one(model, monkeypatch, tmp_path):
    monkeypatch.setenv("MEM_LIMIT", "1000")
    with pytest.raises(DoesNotFit, match=r"0 of memory are free.*Storage\(file="):
        bank_of(model)
    assert len(bank_of(model, storage=Storage(file=tmp_path / "bank"))) == len(TEXT)


@few
@given(
    st.lists(
        st.lists(st.floats(-1e4, 1e4, width=32), min_size=8, max_size=8), min_size=1, max_size=9
    )
)
def test_eight_bits_are_at_most_half_a_step_off(rows):
    x = torch.tensor(rows)
    whole, scale = quantised(x)
    assert whole.dtype == torch.int8
    assert whole.abs().max() <= 127
    error = (whole.double() * scale.double()[:, None] - x.double()).abs()
    assert (error <= scale.double()[:, None] * (0.5 + 1e-4)).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("in_file", [False, True])
def test_what_is_found_is_the_same_within_the_precision(family, in_file, tmp_path):
    model = MODELS[family]
    exact = bank_of(model, THREE)
    for precision, worst in (("float32", 0), ("float16", 2**-11), ("int8", 0.5 / 127)):
        file = tmp_path / precision if in_file else None
        bank = bank_of(model, THREE, storage=Storage(precision, file=file))
        for layer in bank.layers:
            mine, theirs = bank.keys_of(layer), exact.keys_of(layer)
            limit = theirs.abs().amax(-1, keepdim=True) * worst * 1.001
            assert mine.dtype == torch.float32
            assert ((mine - theirs).abs() <= limit + 1e-7).all()
            assert torch.equal(mine, theirs) == (precision == "float32")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_choosing_keys_choose_as_everything_does_and_say_that_they_are_no_more(model, precision):
    question = model.tokenizer.encode("What is it?")
    everything = bank_of(model, storage=Storage(precision))
    bank = bank_of(model, storage=Storage(precision, "choosing_keys"))
    scores = [block_scores(one, question, block_tokens=32) for one in (everything, bank)]
    assert torch.equal(*scores)
    assert bank.nbytes < everything.nbytes / 5
    with pytest.raises(LongctxError, match="Read the tokens of the chosen blocks"):
        bank.at(1, range(4), torch.arange(4))
    with pytest.raises(LongctxError, match="no keys of layer 0"):
        bank.keys_of(0)


@pytest.mark.parametrize("options", [dict(precision="int4"), dict(holds="nothing")])
def test_a_storage_that_there_is_not_is_refused(options):
    with pytest.raises(LongctxError, match=next(iter(options.values()))):
        Storage(**options)


# Files


@few
@given(storages, st.sampled_from(FAMILIES))
def test_a_bank_saved_and_loaded_is_the_same_bit_for_bit(tmp_path_factory, storage, family):
    model, path = MODELS[family], tmp_path_factory.mktemp("saved") / "bank.safetensors"
    bank = bank_of(model, [*THREE, Document("d", "été là 🐐")], storage=storage)
    assert bank.save(path) == path
    loaded = MemoryBank.load(path, model, thorough=True)
    same(loaded, bank)
    assert (loaded.storage, loaded.nbytes) == (bank.storage, bank.nbytes)
    assert loaded.forwarded == bank.forwarded
    sources = [held.document.source for held in loaded.held]
    assert sources == ["a.txt", "b.txt", "c.txt", "text"]


def test_a_loaded_bank_goes_on_and_is_saved_over_its_own_file(model, tmp_path):
    path = tmp_path / "bank.safetensors"
    bank_of(model, THREE[:2]).save(path)
    bank = MemoryBank.load(path, model)
    bank.remove("a")
    added(bank, THREE[2])
    bank.save(path)
    for one in (bank, MemoryBank.load(path, model, thorough=True)):
        same(one, bank_of(model, THREE[1:]))
    bank.remove("b")
    bank.remove("c")
    bank.save(path)
    empty = MemoryBank.load(path, model)
    assert (len(empty), empty.nbytes) == (0, 0)
    same(added(empty, THREE), bank_of(model, THREE))
    assert left_in(tmp_path) == [path.name]


def test_a_bank_in_a_file_is_a_saved_bank(model, tmp_path):
    path = tmp_path / "bank.safetensors"
    bank = added(bank_of(model, THREE[0], storage=Storage("int8", file=path)), THREE[1:])
    same(MemoryBank.load(path, model, thorough=True), bank)
    same(bank, bank_of(model, THREE, storage=Storage("int8")))
    bank.save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def test_the_file_is_safetensors_for_everyone(model, tmp_path):
    path = bank_of(model).save(tmp_path / "bank.safetensors")
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "longctx_edu.memory"
        assert file.get_tensor("text.0.ids").tolist() == bank_of(model).ids
        assert torch.equal(file.get_tensor("0.keys.1"), bank_of(model).keys_of(1))


def test_a_bank_of_other_weights_rotation_or_words_is_refused(model, tmp_path):
    path = bank_of(model).save(tmp_path / "bank.safetensors")
    with pytest.raises(MemoryFileError, match="differs in weights.*Load the model.*build"):
        MemoryBank.load(path, models.tiny("llama", seed=2))
    other = models.tiny("llama", seed=1)
    assert len(MemoryBank.load(path, other)) == len(TEXT)
    other.model.config.rope_parameters = {**other.model.config.rope_parameters, "rope_theta": 5e5}
    with pytest.raises(MemoryFileError, match=r"differs in RoPE parameters \(.*10000.*500000"):
        MemoryBank.load(path, other)
    other = models.tiny("llama", seed=1)
    other.tokenizer.add_tokens(["Petrel"])
    with pytest.raises(MemoryFileError, match=r"differs in tokenizer"):
        MemoryBank.load(path, other)


def test_how_a_tokenizer_last_padded_is_no_difference(tmp_path):
    model = models.tiny("llama", seed=1)
    path = bank_of(model).save(tmp_path / "bank.safetensors")
    model.tokenizer(["a", "bcd"], padding=True, truncation=True, max_length=2)
    assert len(MemoryBank.load(path, model)) == len(TEXT)
    assert byte_tokenizer().backend_tokenizer.to_str() != model.tokenizer.backend_tokenizer.to_str()


@pytest.fixture
def saved(model, tmp_path):
    return bank_of(model, THREE, storage=Storage()).save(tmp_path / "bank.safetensors")


@pytest.mark.parametrize("kept", [0, 7, 100, 5_000, -1])
def test_a_file_cut_short_is_refused(saved, model, kept):
    whole = saved.read_bytes()
    saved.write_bytes(whole[:kept])
    with pytest.raises(MemoryFileError, match="cut short|too short") as refused:
        MemoryBank.load(saved, model)
    assert "build the memory again" in str(refused.value)
    saved.write_bytes(whole + b"\0")
    with pytest.raises(MemoryFileError, match="damaged"):
        MemoryBank.load(saved, model)


def test_damage_anywhere_is_noticed_when_every_byte_is_compared(saved, model):
    whole = bytearray(saved.read_bytes())
    text = whole.index(THREE[1].text.encode())
    header = 8 + int.from_bytes(whole[:8], "little")
    tensors = json.loads(whole[8:header])["0.values.1"]["data_offsets"]
    for place in (0, 9, header // 2, header // 3, text + 5, header + tensors[0] + 1):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        saved.write_bytes(damaged)
        with pytest.raises(MemoryFileError):
            MemoryBank.load(saved, model, thorough=True)
    assert len(MemoryBank.load(saved, model)) == 3 * 156  # without, values are not looked at


def test_another_version_of_the_format_is_refused(saved, model):
    saved.write_bytes(saved.read_bytes().replace(b'"version": "1"', b'"version": "2"'))
    with pytest.raises(MemoryFileError, match="version '2'.*reads version 1; build"):
        MemoryBank.load(saved, model)


def test_what_is_no_saved_memory_is_refused(model, tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(MemoryFileError, match="No such file"):
        MemoryBank.load(tmp_path / "none", model)
    with pytest.raises(MemoryFileError, match="directory"):
        MemoryBank.load(tmp_path, model)
    (tmp_path / "notes.txt").write_text(TEXT)
    save_file({"0.keys.0": torch.zeros(3)}, tmp_path / "weights", metadata={"format": "pt"})
    for name in ("notes.txt", "weights"):
        with pytest.raises(MemoryFileError, match="no saved memory"):
            MemoryBank.load(tmp_path / name, model)
        with pytest.raises(MemoryFileError, match="no saved memory; name another"):
            bank_of(model).save(tmp_path / name)
        with pytest.raises(MemoryFileError, match="no saved memory; name another"):
            bank_of(model, storage=Storage(file=tmp_path / name))
    assert (tmp_path / "notes.txt").read_text() == TEXT
    with pytest.raises(MemoryFileError, match="cannot be written"):
        bank_of(model).save(tmp_path / "no folder" / "bank")


def test_saving_that_fails_leaves_the_old_file_and_nothing_else(saved, model, monkeypatch):
    before = saved.read_bytes()
    bank = bank_of(model)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(MemoryFileError, match="full"):
        bank.save(saved)
    assert saved.read_bytes() == before
    assert left_in(saved.parent) == [saved.name]
