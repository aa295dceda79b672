"""A frozen model with a memory beside it, as one object: remember, ask, forget.

Extended Mind Transformers (Klett and Ahle 2024, arXiv 2406.02332) in the shape of a model: a
forward pass, and text written on. The keys and values are ``bank``'s, the attention that looks
them up is ``attention``'s; questions with citations are answered by ``readers.memory``.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from longctx_edu.errors import LongctxError
from longctx_edu.events import returned_by
from longctx_edu.inference import Context, write
from longctx_edu.memory.attention import LookedUp, Recall, remembering
from longctx_edu.memory.bank import MemoryBank
from longctx_edu.memory.storage import Storage
from longctx_edu.models import as_language_model
from longctx_edu.text import tokenize

_RECALL = Recall()


class ExtendedMindTransformer:
    """A causal language model that looks keys and values up outside its window.

    No weight of the model changes, and nothing is added to it. Without memory, or detached, it
    is the model itself, bit for bit.

    >>> from longctx_edu import models
    >>> mind = ExtendedMindTransformer(models.tiny())
    >>> mind.remember("The boat is green.")
    18
    >>> mind(torch.tensor([[3, 4, 5]])).shape
    torch.Size([1, 3, 259])

    Args:
        model: a ``LanguageModel``, or a name or folder for ``models.load``; the embedded model
            by default.
        recall: how the memory is looked up; may be replaced at any time.
        storage: how the memory is stored.
        sink_tokens: first tokens of each document that are not looked up. The very first is an
            attention sink: it says nothing, and from one place next to the window it would take
            what the others should get. (The published code drops the token that begins a text.)

    Attributes:
        model: the ``LanguageModel``.
        bank: its ``MemoryBank``, empty at first.
        recall, sink_tokens: as above.
        attached: whether the memory is looked up; see ``detached``.
        looked_up: what was looked up last, a ``LookedUp`` for each step and layer.
    """

    def __init__(
        self,
        model=None,
        *,
        recall: Recall = _RECALL,
        storage: Storage | None = None,
        sink_tokens: int = 1,
    ):
        if sink_tokens < 0:
            raise LongctxError(f"sink_tokens must be at least 0, got {sink_tokens}.")
        self.model = as_language_model(model)
        self.bank = MemoryBank(self.model, storage=storage)
        self.recall = recall
        self.sink_tokens = sink_tokens
        self.attached = True
        self.looked_up: list[LookedUp] = []

    def remember(self, documents, *, window: int | None = None, stride: int | None = None) -> int:
        """Read documents into the memory; return how many tokens of theirs it now holds.

        For progress on the way, ``window``, ``stride`` and errors see ``MemoryBank.add``.
        """
        before = len(self.bank)
        for _ in self.bank.add(documents, window=window, stride=stride):
            pass
        return len(self.bank) - before

    def forget(self, document_id: str) -> None:
        """Take a document out of the memory.

        Raises:
            LongctxError: if it is not there.
        """
        self.bank.remove(document_id)

    @torch.no_grad()
    def forward(self, input_ids: torch.Tensor, **options) -> torch.Tensor:
        """Return the scores of each next token, ``(batch, tokens, vocabulary)``.

        Args:
            input_ids: ``(batch, tokens)``, without the memory.
            options: of the Hugging Face model, such as ``attention_mask`` and ``position_ids``.
        """
        with self._looking():
            return self.model.model(input_ids=input_ids, **options).logits

    __call__ = forward

    def generate(self, prompt: str, *, max_new_tokens: int = 64) -> str:
        """Write on greedily from a prompt, looking things up at every token; return the new text.

        Args:
            prompt: as it stands, without a chat template.
            max_new_tokens: the longest text.
        """
        ids = tokenize(self.model.tokenizer, prompt).ids
        with self._looking():
            return returned_by(write(Context(self.model), ids, max_new_tokens=max_new_tokens)).text

    @contextmanager
    def detached(self) -> Iterator[None]:
        """Leave the memory alone within the block: the plain model."""
        attached, self.attached = self.attached, False
        try:
            yield
        finally:
            self.attached = attached

    @contextmanager
    def _looking(self) -> Iterator[None]:
        self.looked_up = []
        if not self.attached:
            yield
            return
        sinks = self.bank.sinks(self.sink_tokens)
        with remembering(self.bank, self.recall, without=sinks) as self.looked_up:
            yield

    def weights_hash(self) -> str:
        """Return the SHA-256 of all bytes of all weights, in the order of their names."""
        digest = hashlib.sha256()
        for name, weight in sorted(self.model.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.detach().cpu().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()
