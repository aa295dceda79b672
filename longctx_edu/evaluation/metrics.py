"""Is an answer right? By the words that it holds, and by the probability of the right ones.

Recall of gold strings is what RULER scores (Hsieh et al. 2024, section 4); the log-probability of
the gold answer, given and not written by the model, is never stuck at all or nothing. No judge
model, no stemming: an answer that says the same in other words counts as wrong.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from longctx_edu.errors import LongctxError
from longctx_edu.models import LanguageModel

_TREE_TOKENS = 128  # so many tokens before the answers are read in one pass with them
_QUOTES = str.maketrans("‘’“”", "''\"\"")
_THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:[,\u00a0\u202f]\d{3})+)(?![\d,]*\d)")


def normalised(text: str) -> str:
    """Return the text in small letters, with plain quotes and single spaces.

    Separators of thousands go too: ``12,345`` is the number 12345. So three-digit numbers in a
    list need a space after the comma.

    >>> normalised("It  costs\\n12,345 Crowns")
    'it costs 12345 crowns'
    """
    text = _THOUSANDS.sub(lambda match: re.sub(r"\D", "", match.group()), text)
    text = unicodedata.normalize("NFKC", text).translate(_QUOTES)
    return " ".join(text.casefold().split())


def holds(text: str, gold: str) -> bool:
    """Say whether ``text`` holds ``gold`` as whole words, and a number as a whole number.

    >>> holds("The code is 312.", "12"), holds("It is 12.", "12"), holds("It is 12.5", "12")
    (False, True, False)

    Raises:
        LongctxError: if ``gold`` is blank, since every text would hold it.
    """
    wanted = normalised(gold)
    if not wanted:
        raise LongctxError("A gold answer is blank; give the words that a right answer holds.")
    before = (
        r"(?<!\w)(?<!\d[.,])" if wanted[0].isdigit() else r"(?<!\w)" if _word(wanted[0]) else ""
    )
    after = r"(?!\w)(?![.,]\d)" if wanted[-1].isdigit() else r"(?!\w)" if _word(wanted[-1]) else ""
    return re.search(before + re.escape(wanted) + after, normalised(text)) is not None


def _word(character: str) -> bool:
    return re.match(r"\w", character) is not None


def recall(answer: str, gold: Sequence[str]) -> float:
    """Return the share of the gold strings that the answer holds, from 0 to 1.

    >>> recall("They are 312 and 7.", ["7", "12"])
    0.5

    Raises:
        LongctxError: if there is no gold string, or a blank one.
    """
    if isinstance(gold, str) or not gold:
        raise LongctxError(f"gold is one or more strings in a list, but {gold!r} was given.")
    return sum(holds(answer, one) for one in gold) / len(gold)


def exact_match(answer: str, gold: str) -> bool:
    """Say whether the answer is gold and nothing else, but for case, spaces and a final stop."""
    return normalised(answer).rstrip(".!") == normalised(gold).rstrip(".!")


@dataclass(frozen=True)
class Likelihood:
    """How probable an answer was: the sum of its tokens' natural log-probabilities, in nats.

    ``greedy`` says whether each of its tokens was the most probable of all, so that a model that
    always takes the most probable one would have written this answer.
    """

    log_probability: float
    tokens: int
    greedy: bool = False

    @property
    def per_token(self) -> float:
        """Nats a token; comparable between answers of different length."""
        return self.log_probability / self.tokens


def answer_likelihoods(context, prompts: Sequence[Sequence[int]], start: int) -> list[Likelihood]:
    """Return how probable the tokens from ``start`` on are, for each of several prompts.

    The prompts end in the answers, which are given to the model token by token (teacher forcing)
    instead of being written by it. What all share is read once, what ``context`` has read already
    not at all; ``context`` is left as it was.

    Args:
        context: a ``Context``; empty, or having read the beginning of the prompts.
        prompts: token ids, the first ``start`` the same in all. Make them with ``answered``.
        start: tokens before the answer, at least 1.

    Raises:
        LongctxError: if the prompts differ before ``start``, or one ends there.
    """
    shared = list(prompts[0][:start]) if prompts else []
    if (
        not prompts
        or start < 1
        or any(list(ids[:start]) != shared or len(ids) <= start for ids in prompts)
    ):
        raise LongctxError(
            f"All prompts share their first {start} tokens (at least 1) and go on with an answer, "
            "but these do not; make them with answered()."
        )
    from longctx_edu.inference import tree_logits
    from longctx_edu.inference.continuations import served

    with context.branch(min(context.shared_length(shared), start - 1)) as branch:
        if served(branch):
            _read(branch, shared[len(branch) : max(0, start - 1 - _TREE_TOKENS)])
            known = len(branch)
            texts = [ids[known:-1] for ids in prompts]  # after its last token nothing is scored
            scores = tree_logits(branch, texts, skip=start - 1 - known)
        else:
            _read(branch, shared[len(branch) :])
            scores = [_scores_in_turn(branch, ids[start:-1]) for ids in prompts]
    return [
        _likelihood(logits.log_softmax(-1), ids[start:])
        for logits, ids in zip(scores, prompts, strict=True)
    ]


def _scores_in_turn(context, ids):
    """Return the scores of what follows the context, and each of ``ids``, read one by one."""
    import torch

    with context.branch() as branch:
        scores = [branch.next_logits]
        for token in ids:
            _read(branch, [token])
            scores.append(branch.next_logits)
    return torch.stack(scores)


def _likelihood(log_probabilities, answer: Sequence[int]) -> Likelihood:
    """Score an answer by what was said before each of its tokens, ``(tokens, vocabulary)``."""
    total = sum(float(row[token]) for row, token in zip(log_probabilities, answer, strict=True))
    greedy = log_probabilities.argmax(-1).tolist() == list(answer)
    return Likelihood(total, len(answer), greedy)


def _read(context, ids) -> None:
    for _ in context.prefill(ids):
        pass


def answered(
    model: LanguageModel, user: str, answer_prefix: str, answers: Sequence[str]
) -> tuple[list[list[int]], int]:
    """Return the prompts that end in each of the answers, and where the answers begin.

    Each text is tokenised as a whole, as the model would meet it. Where the first letters of an
    answer change the last token before it, that token counts as part of every answer: so the
    same text is scored for all of them, and nothing is scored that was given.

    Args:
        user: the user's turn, documents and question.
        answer_prefix: the answer's first words; a space follows it, unless it is empty or ends in
            white space.
        answers: what may follow.
    """
    from longctx_edu.inference import chat_prompt

    space = " " if answer_prefix and not answer_prefix[-1].isspace() else ""
    prompts = [
        chat_prompt(model, user, answer_prefix=answer_prefix + space + answer).ids
        for answer in answers
    ]
    bare = chat_prompt(model, user, answer_prefix=answer_prefix).ids
    columns = zip(bare, *prompts, strict=False)
    start = next((n for n, column in enumerate(columns) if len({*column}) > 1), len(bare))
    return prompts, min(start, *(len(ids) - 1 for ids in prompts))


def rank(likelihoods: Sequence[Likelihood], right: int) -> int:
    """Return the place of the answer number ``right`` among all, 1 for the most probable.

    Whole answers are compared, not their mean token: a name that is easily finished once begun
    would win otherwise. A tie counts against the right answer.
    """
    mine = likelihoods[right].log_probability
    others = [one for n, one in enumerate(likelihoods) if n != right]
    return 1 + sum(other.log_probability >= mine for other in others)
