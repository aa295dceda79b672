"""A memory in a file: what stands in it, and whether a model is the one that built it.

Keys mean something only to the weights, the rotation and the tokenizer that they come from, so a
file names all three. It is mapped, and read where it is looked up.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from longctx_edu.errors import MemoryFileError
from longctx_edu.memory.mapped import SMALL, MappedFile, file_in_the_making, mapped
from longctx_edu.memory.storage import Form, Held, KeyShape, Shelf, Spans, Storage
from longctx_edu.text import Document


@contextmanager
def bank_in_the_making(
    path: Path, model, storage: Storage, held: Sequence[Held], ids: Sequence[int]
) -> Iterator[list[Shelf]]:
    """Lend the documents' shelves in a file; those that are full already come filled.

    The file takes its name when all is well, and is removed otherwise.

    Args:
        path: its name then.
        model: the ``LanguageModel`` that reads.
        storage: how the shelves are stored.
        held: the documents.
        ids: of their tokens, one document after another.

    Raises:
        MemoryFileError: if it cannot be written.
    """
    shape = KeyShape.of(model.model)
    about = {
        "model": _identity(model),
        "storage": {"precision": storage.precision, "holds": storage.holds},
        "documents": [
            {
                "id": one.document.id,
                "source": one.document.source,
                "window": one.window,
                "stride": one.stride,
            }
            for one in held
        ],
    }
    forms: dict[str, Form] = {}
    small: dict[str, torch.Tensor] = {}
    for n, one in enumerate(held):
        own = storage.forms(shape, len(one.tokens))
        forms |= {f"{n}.{name}": form for name, form in own.items()}
        characters = bytearray(one.document.text.encode())
        small[f"{SMALL}{n}.bytes"] = torch.frombuffer(characters, dtype=torch.uint8)
        own_ids = ids[one.tokens.start : one.tokens.stop]
        small[f"{SMALL}{n}.ids"] = torch.tensor(own_ids, dtype=torch.int32)
        small[f"{SMALL}{n}.spans"] = one.spans.table
    with file_in_the_making(path, about, forms, small) as file:
        shelves = _shelves(file, len(held))
        for one, shelf in zip(held, shelves, strict=True):
            shelf.take_over(one.shelf)
        try:
            yield shelves
        finally:
            for shelf in shelves:
                shelf.tensors.clear()


def saved_bank(path: Path, model, *, thorough: bool = False) -> tuple[Storage, list[Held], list]:
    """Map a saved bank; return how it is stored, its documents, and the ids of their tokens.

    Raises:
        MemoryFileError: if there is none, it is damaged, or ``model`` did not build it.
    """
    file = mapped(path, thorough=thorough)
    _assert_same(file.about["model"], _identity(model), path)
    documents, ids = file.about["documents"], []
    held = []
    for n, (one, shelf) in enumerate(zip(documents, _shelves(file, len(documents)), strict=True)):
        text = bytes(file.tensors[f"{SMALL}{n}.bytes"].numpy()).decode()
        start = len(ids)
        ids += file.tensors[f"{SMALL}{n}.ids"].tolist()
        held.append(
            Held(
                Document(one["id"], text, source=one["source"]),
                range(start, len(ids)),
                Spans(file.tensors[f"{SMALL}{n}.spans"].clone()),
                one["window"],
                one["stride"],
                shelf,
            )
        )
    file.let_go()
    return Storage(**file.about["storage"]), held, ids


def _shelves(file: MappedFile, documents: int) -> list[Shelf]:
    tensors: list[dict[str, torch.Tensor]] = [{} for _ in range(documents)]
    for name, tensor in file.tensors.items():
        number, _, own = name.partition(".")
        if number.isdecimal():
            tensors[int(number)][own] = tensor
    return [Shelf(own, let_go=file.let_go) for own in tensors]


def _identity(model) -> dict:
    """Return what a model must share with another for the same keys to mean the same to it."""
    config = model.model.config.get_text_config()
    rope = json.dumps(getattr(config, "rope_parameters", None), sort_keys=True, default=str)
    backend = model.tokenizer.backend_tokenizer.to_str()
    # What stands before is how the last call wanted to be padded and cut.
    vocabulary = backend[backend.index('"added_tokens"') :]
    return {
        "name": model.name,
        "weights and configuration": model.fingerprint,
        "RoPE parameters": rope,
        "tokenizer": hashlib.sha256(vocabulary.encode()).hexdigest()[:16],
        "shape of keys": asdict(KeyShape.of(model.model)),
    }


def _assert_same(builder: dict, given: dict, path: Path) -> None:
    differences = [
        f"{what} ({builder.get(what)} and {given[what]})"
        for what in given
        if what != "name" and builder.get(what) != given[what]
    ]
    if differences:
        raise MemoryFileError(
            f"{path} was built by {builder.get('name')}, and the model given, {given['name']}, "
            f"differs in {', '.join(differences)}, so that its keys mean nothing to it. Load the "
            "model that built it, or build the memory again with this one."
        )
