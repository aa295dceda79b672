"""A prompt for a chat model: built once, tokenised once, safe from its own document.

Text that comes from outside can spell ``<|im_end|>``. If it were tokenised like
the template, it would end the user's turn. So only the template's own special
tokens count; everything between them, document and question included, is
tokenised as plain text, in one go. Where the text holds no such words, the ids of
a byte-level tokenizer equal those of the whole prompt tokenised at once.
"""

import re
from dataclasses import dataclass

from longctx_edu.models.language_model import LanguageModel
from longctx_edu.text import Tokens, tokenize

# A private-use character marks the place of the user's text in the template.
_PLACE = "\ue000"


@dataclass(frozen=True)
class Prompt:
    """A prompt's text, its tokens with spans in it, and the character where the user's begins."""

    text: str
    tokens: Tokens
    user_start: int

    @property
    def ids(self) -> list[int]:
        return self.tokens.ids


def chat_prompt(language_model: LanguageModel, user: str, *, answer_prefix: str = "") -> Prompt:
    """Return the prompt for one user turn and the start of the assistant's.

    Args:
        language_model: its chat template is used; a base model without one gets
            the plain text with a blank line before the answer.
        user: the user's turn. It enters by concatenation and cannot forge special tokens.
        answer_prefix: the answer's first words, put into the model's mouth.
    """
    tokenizer = language_model.tokenizer
    head, tail = _template(tokenizer)
    user = user.strip()
    text = head + user + tail + answer_prefix
    trusted = [range(len(head)), range(len(head + user), len(head + user + tail))]
    return Prompt(text, _tokenize_trusting(tokenizer, text, trusted), len(head))


def continue_turn(
    language_model: LanguageModel, text: str, *, answer_prefix: str = ""
) -> list[int]:
    """Return the token ids that end a user's turn already begun and start the assistant's.

    They follow a context that ends in the middle of the user's turn, such as the
    end of a segment. ``text`` cannot forge special tokens.
    """
    return turn_end(language_model, text, answer_prefix=answer_prefix).ids


def turn_end(language_model: LanguageModel, text: str, *, answer_prefix: str = "") -> Prompt:
    """Return what ``continue_turn`` gives, with the text that its tokens stand for."""
    tail = _template(language_model.tokenizer)[1]
    trusted = [range(len(text), len(text + tail))]
    whole = text + tail + answer_prefix
    return Prompt(whole, _tokenize_trusting(language_model.tokenizer, whole, trusted), 0)


def turn_start(language_model: LanguageModel) -> list[int]:
    """Return the token ids that stand before the user's words."""
    head = _template(language_model.tokenizer)[0]
    return _tokenize_trusting(language_model.tokenizer, head, [range(len(head))]).ids


def _template(tokenizer) -> tuple[str, str]:
    """Return the text before and after the user's in one turn."""
    if tokenizer.chat_template is None:
        begins = tokenizer.bos_token and tokenizer("").input_ids == [tokenizer.bos_token_id]
        return (tokenizer.bos_token if begins else ""), "\n\n"
    turns = [{"role": "user", "content": _PLACE}]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    head, tail = text.split(_PLACE)
    return head, tail


def _tokenize_trusting(tokenizer, text: str, trusted: list[range]) -> Tokens:
    """Tokenise ``text``, in which words for special tokens count only in the trusted ranges."""
    special = tokenizer.get_added_vocab()
    pattern = "|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)"
    ids, spans, position = [], [], 0
    for match in [*re.finditer(pattern, text), None]:
        if match and not any(match.start() in part for part in trusted):
            continue
        stretch = tokenize(tokenizer, text[position : match.start() if match else None])
        ids += stretch.ids
        spans += [(start + position, end + position) for start, end in stretch.spans]
        if match:
            ids.append(special[match.group()])
            spans.append(match.span())
            position = match.end()
    return Tokens(ids, spans)
