"""What the methods' prompts share: how they begin, and whether they fit the window."""

from collections.abc import Sequence

from longctx_edu.errors import DoesNotFit
from longctx_edu.inference import Ledger, chat_prompt

# Questions that begin differently: what their prompts share is safe to read before any question.
_PROBES = ("A", "1", "(", "é")


def prefix_of_all_questions(model, user_start: str) -> list[int]:
    """Return the token ids with which every prompt ``user_start + question`` begins."""
    prompts = [chat_prompt(model, user_start + probe).ids for probe in _PROBES]
    length = next(n for n, column in enumerate(zip(*prompts, strict=False)) if len({*column}) > 1)
    return prompts[0][:length]


def assert_fits(model, prompt_tokens: int, max_new_tokens: int, *, any_length: Sequence[str]):
    """Raise ``DoesNotFit``, naming the methods that can, if prompt and answer exceed the window."""
    if prompt_tokens + max_new_tokens > model.window:
        raise DoesNotFit(
            f"The prompt has {prompt_tokens} tokens and the answer may take {max_new_tokens}, but "
            f"the model's window holds {model.window}. Methods that take any length: "
            f"{', '.join(any_length)}."
        )


def total(ledgers: Sequence[Ledger]) -> Ledger:
    """Return the sum of ledgers."""
    return sum(ledgers, Ledger())
