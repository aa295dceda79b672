"""Writing in the Margins step by step: a margin, the loop over segments, the notes, the whole.

Short functions over ``engine`` and ``readers`` for whoever wants to see or change one step of the
method (Russak et al. 2024, section 3 and algorithm 1). They write one margin after another and
show no progress; ``longctx_edu.read(..., method="margins")`` does all of it at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from itertools import islice

from longctx_edu.events import Judged
from longctx_edu.inference import Context
from longctx_edu.margins.engine import Margin, request_for, write_margins
from longctx_edu.margins.notes import Note
from longctx_edu.margins.prompts import CopySentence, ExtractionPrompt

_COPY = CopySentence()


def generate_margin(
    context: Context, question: str, *, max_tokens: int = 32, prompt: ExtractionPrompt = _COPY
) -> Margin:
    """Write one margin on what has been read, and leave the context as it was.

    The margin is written on a branch that is dropped, so that neither the request nor the margin
    stays in the cache. Nothing is sampled: the same context gives the same margin.

    Args:
        context: what has been read; for a chat model, up to somewhere in the user's turn.
        question: in words.
        max_tokens: the longest margin.
        prompt: how the note is asked for.
    """
    request = request_for(context.language_model, question, prompt, max_tokens=max_tokens)
    return next(one for one in write_margins([context], request) if isinstance(one, Margin))


def dynamic_context_update(
    context: Context,
    segments: Iterable[Sequence[int]],
    question: str,
    *,
    max_tokens: int = 32,
    prompt: ExtractionPrompt = _COPY,
) -> Iterator[Margin]:
    """Read segments one after another; yield the margin on each.

    The context grows by each segment and by nothing else: whenever a margin comes out, the cache
    is bit for bit what it would be if none had been written. What a margin sees is the text up to
    its segment's end, and no other margin.

    Args:
        context: what has been read before, most often the beginning of a chat template.
        segments: token ids of each segment.
        question, max_tokens, prompt: as in ``generate_margin``.
    """
    for number, ids in enumerate(segments):
        for _ in context.prefill(ids):
            pass
        margin = generate_margin(context, question, max_tokens=max_tokens, prompt=prompt)
        yield replace(margin, segment=number)


def writing_in_margins(documents, question: str, *, model=None, **options) -> list[Note]:
    """Read documents, write a margin on every segment, judge them; no answer is written.

    Args:
        documents: as ``longctx_edu.read`` takes them.
        question: in words; without one there is nothing that a margin could be about.
        model: as ``longctx_edu.read`` takes it.
        options: those of the method ``margins``.

    Returns:
        a ``Note`` for each segment in the order of the text; ``kept`` is the verdict.

    Raises:
        LongctxError: as ``longctx_edu.read`` does, or for an empty question.
    """
    from longctx_edu.readers import read

    reading = read(documents, method="margins", model=model, **options)
    with closing(reading.events(question)) as events:
        verdicts = (event for event in events if isinstance(event, Judged))
        for _ in islice(verdicts, len(reading.segments)):
            pass
    return list(reading.notes)


def wim_inference(
    documents,
    question: str,
    *,
    model=None,
    answer_prefix: str = "",
    max_new_tokens: int = 64,
    **options,
):
    """Answer a question by Writing in the Margins, from reading to the answer.

    Each segment of the text is read once, and margins are taken from the text, not from what the
    model writes. Whoever has a second question keeps the reading instead and reads nothing again.

    Args:
        documents, question, model, options: as in ``writing_in_margins``.
        answer_prefix: the answer's first words; the model continues them.
        max_new_tokens: the most tokens that the answer may have.

    Returns:
        the ``Answer``; its trace holds the notes.

    Raises:
        LongctxError: as ``writing_in_margins``.
    """
    from longctx_edu.readers import read

    reading = read(documents, method="margins", model=model, **options)
    return reading.ask(question, answer_prefix=answer_prefix, max_new_tokens=max_new_tokens)
