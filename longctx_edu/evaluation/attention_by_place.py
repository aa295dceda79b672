"""Where in a text does a question look? Attention by tenths of the text, measured.

Sums are shown beside what a typical token gets: a few tokens on which heads park their weight
(sinks, Xiao et al. 2023) make up much of a sum and nothing of a median. Hsieh et al. 2024 (Found
in the Middle) measure attention by place in larger models. Weights are no proof of use: whether
questions are answered is measured in ``positions``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from longctx_edu.evaluation.positions import having_read, items_at_places, user_turn
from longctx_edu.evaluation.tasks import DEPTHS, Item, Places
from longctx_edu.models import LanguageModel
from longctx_edu.text import token_range

PARTS = 10


@dataclass(frozen=True)
class Shares:
    """How the attention of the tokens after a text is shared out: mean of all layers and heads.

    ``sink``, ``template``, ``tenths``, ``line`` and ``asked`` add up to 1.

    Attributes:
        sink: on the first token of the prompt.
        template: on the other tokens before the text.
        tenths: on each tenth of the text, without the line that is asked for.
        line: on the line that is asked for.
        asked: on the question itself and what stands after it.
        typical: for each tenth, the median over its tokens, times their number.
        heaviest: on the token of the text that gets most.
        heaviest_token: that token.
    """

    sink: float
    template: float
    tenths: tuple[float, ...]
    line: float
    asked: float
    typical: tuple[float, ...]
    heaviest: float
    heaviest_token: str


@dataclass(frozen=True)
class Look:
    """The shares of one question with its line at one place; see ``positions.Placed``."""

    document: int
    question: int
    place: float
    shares: Shares


def look(
    task: str,
    model: LanguageModel,
    *,
    length_tokens: int,
    documents: int,
    seed: int = 0,
    questions: Sequence[int] | None = None,
    turns: Iterable[int] = range(len(DEPTHS)),
) -> list[Look]:
    """Measure where questions look, with their lines at every place.

    Options as in ``positions.measure``.
    """
    from longctx_edu.inference import Context

    looks = []
    for turn in turns:
        found = items_at_places(task, length_tokens, documents, seed, model.tokenizer, turn=turn)
        for document, items in enumerate(found):
            context = Context(model)
            for n in range(len(items)) if questions is None else questions:
                context = having_read(items[n], context)
                place = Places(turn=turn).depth(n)
                looks.append(Look(document, n, place, shares_of_attention(context, items[n])))
    return looks


def shares_of_attention(context, item: Item) -> Shares:
    """Read the item's question after its text, and return where its tokens look.

    Args:
        context: has read the beginning of the prompt, as ``positions.having_read`` returns it;
            it is left as it was.
    """
    from longctx_edu.attention import capture, equal_parts, mass_by_part, mean_weights
    from longctx_edu.inference import chat_prompt

    prompt = chat_prompt(context.language_model, user_turn(item), answer_prefix=item.answer_prefix)

    def tokens_of(start: int, end: int) -> range:
        return range(
            *token_range(prompt.tokens, prompt.user_start + start, prompt.user_start + end)
        )

    text = tokens_of(0, len(item.documents[0].text))
    record = capture(context, prompt.ids[len(context) :])
    rows = range(max(record.start, text.stop), len(prompt.ids))
    mean = mean_weights(record, rows).mean((0, 1)).double()  # (tokens,)
    line = 0.0
    for span in item.gold_spans:
        part = tokens_of(span.start, span.end)
        line += float(mean[part.start : part.stop].sum())
        mean[part.start : part.stop] = 0
    tenths = equal_parts(text, PARTS)
    sink, template, asked = mass_by_part(
        mean, [range(1), range(1, text.start), range(text.stop, len(mean))]
    ).tolist()
    heaviest = text.start + int(mean[text.start : text.stop].argmax())
    return Shares(
        sink=sink,
        template=template,
        tenths=tuple(mass_by_part(mean, tenths).tolist()),
        line=line,
        asked=asked,
        typical=tuple(float(mean[part.start : part.stop].median()) * len(part) for part in tenths),
        heaviest=float(mean[heaviest]),
        heaviest_token=prompt.text[slice(*prompt.tokens.spans[heaviest])],
    )
