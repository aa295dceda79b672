"""The margins engine against a completions server: the same prompts, its prefix cache for ours.

Every prompt of a margin is a prefix of the text and a request, so a server that keeps the keys of
prefixes it has seen reads the text once (Kwon et al. 2023, section 4.4, and vLLM's automatic
prefix caching; llama.cpp's ``cache_prompt``). The cache is the server's: no verdict can look into
it, and only the server knows what it reused. Chat completions are not used, since a server's own
template would come between a segment and its request.
"""

import hashlib
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from queue import Empty, SimpleQueue

from longctx_edu.errors import LongctxError, ServerError
from longctx_edu.events import MarginToken, Progress, TokenDecoded
from longctx_edu.inference.ledger import Ledger
from longctx_edu.inference.writing import Written
from longctx_edu.margins.completions import Endpoint, Line, Passing, Piece, Refused, Usage
from longctx_edu.margins.engine import Margin, Request
from longctx_edu.models import end_token_ids, load_tokenizer

PROMPT_FORMS = ("auto", "ids", "text", "words")
_PROBE = "The lighthouse log of 1,024 pages: été, 灯台, <b>.\n\n- end"
_PAUSE, _LONGEST_PAUSE = 0.5, 20.0  # seconds before another try, doubled every time
_POLL = 0.1  # seconds between two looks at whether the margins are enough
_NOT_UNDERSTOOD = (400, 422)  # how servers say that they do not know a setting
_SEAM = 8  # tokens at a text's end that may join with what follows


@dataclass(frozen=True)
class Report:
    """What a server was sent, and what it told of its cache.

    Attributes:
        requests: completions, the probes left out.
        sent: tokens of their prompts.
        cached: of these, the ones that the server said it had in its cache.
        untold: requests of which it did not say so, which is not the same as 0 cached tokens.
        respelled: prompts sent in other tokens than the model here would read.
    """

    requests: int = 0
    sent: int = 0
    cached: int = 0
    untold: int = 0
    respelled: int = 0

    def __add__(self, other: "Report") -> "Report":
        return Report(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: "Report") -> "Report":
        return Report(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))

    def as_plain(self) -> dict[str, int | None]:
        """Return the report as plain data; ``cached`` is None if the server told nothing of it."""
        told = self.cached if self.untold < self.requests else None
        return {**asdict(self), "cached": told}

    @property
    def notice(self) -> str:
        """What a reader of the numbers must know; usually empty."""
        said = []
        if self.untold:
            said.append(
                f"Of {self.untold} of {self.requests} requests it is not known how much of the "
                "prompt the server had in its cache, since it did not say so or was hung up on "
                "when a margin was over; all of it counts as prefilled."
            )
        if self.respelled:
            said.append(
                f"{self.respelled} of {self.requests} prompts were sent as text that makes other "
                "tokens than reading it here."
            )
        return " ".join(said)


@dataclass(frozen=True)
class SentPrompt:
    """A prompt as it is sent.

    Attributes:
        sent: ids or text.
        tokens: how many tokens it has for the server.
        is_respelled: whether these are others than were meant.
        slack: by how many the server may count differently.
    """

    sent: list[int] | str
    tokens: int
    is_respelled: bool = False
    slack: int = 0


@dataclass(frozen=True)
class Completion:
    """What a server wrote, and what it told of it.

    Attributes:
        text: the words, without the token that ends a turn.
        ids: told tokens, the end token included; empty if not told.
        confidence: geometric mean of the tokens' probabilities; None if not told.
        is_finished: whether it was written to its end.
        ledger: what the server said it cost; tokens not known to be cached count as prefilled.
        report: the same as the server's books see it.
    """

    text: str
    ids: tuple[int, ...]
    confidence: float | None
    is_finished: bool
    ledger: Ledger
    report: Report


class CompletionsServer:
    """A model behind an OpenAI-compatible completions server, to read with ``method="margins"``.

    Servers that were made for this keep prefixes in their cache:
    ``vllm serve MODEL --enable-prompt-tokens-details``, and llama.cpp's ``llama-server -m FILE``.
    ``transformers serve MODEL`` works as well, but takes text only, tells neither probabilities
    nor cached tokens, and reads every prompt from its beginning.

    Example::

        server = CompletionsServer("http://localhost:8000", tokenizer="Qwen/Qwen2.5-7B-Instruct")
        reading = read(Path("report.pdf"), method="margins", model=server)

    Attributes:
        url: its address; nothing is sent anywhere else.
        name: the model's name, as the server lists it; the address if it lists none.
        tokenizer: the fast tokenizer of the model.
        window: the longest prompt with its answer, in tokens.
        end_ids: every token id that ends an answer.
        end_texts: what they look like, for a server that shows them.
        fingerprint: 16 hexadecimal digits from name and vocabulary; the weights are out of reach.
        prompt_form: what is sent: "ids", "text" or "words".
        tells_probabilities: whether the server tells how probable its tokens were.
        workers: the most requests under way at once.
        report: what was sent so far, and what the server told of its cache.
    """

    def __init__(
        self,
        url: str,
        *,
        model: str | None = None,
        tokenizer=None,
        window: int | None = None,
        prompt_form: str = "auto",
        timeout: float = 120.0,
        retries: int = 3,
        workers: int = 4,
    ):
        """Connect: look up the model and find out, by tiny requests, what the server takes.

        Args:
            url: of the API, such as ``http://localhost:8000/v1``. The variable
                ``OPENAI_API_KEY``, if it is set, is sent along as the key.
            model: the name it is asked for by; needed if the server has several.
            tokenizer: of the server's model: a fast tokenizer, a folder or a Hugging Face id;
                that of the embedded model by default.
            window: by default what the server says, else what the tokenizer says.
            prompt_form: "ids" sends token ids; "text" sends text that makes the very same ids,
                or nothing; "words" sends the same text even where a segment's end and the
                request after it make other tokens together; "auto" takes ids, else text.
            timeout: the longest silence to put up with, in seconds.
            retries: how often a failure that may pass is tried again, after longer and longer
                pauses.
            workers: the most requests at once. One suits ``llama-server``, which has a cache for
                each of its slots.

        Raises:
            ServerError: if there is no such server or model, or its tokens are others.
            ModelError: for a tokenizer that cannot be loaded.
        """
        if prompt_form not in PROMPT_FORMS:
            raise LongctxError(
                f"prompt_form is one of {', '.join(PROMPT_FORMS)}, got {prompt_form!r}."
            )
        if workers < 1 or retries < 0 or not timeout > 0:
            raise LongctxError(
                "A server needs workers >= 1, retries >= 0 and timeout > 0, got "
                f"{workers}, {retries} and {timeout}."
            )
        self._endpoint = Endpoint(url, timeout=timeout)
        self._retries = retries
        self.url = self._endpoint.url
        self.tokenizer = _tokenizer(tokenizer)
        self.end_ids = end_token_ids(None, self.tokenizer)
        self.end_texts = [self._decode([token_id]) for token_id in sorted(self.end_ids)]
        self.workers = workers
        self.report = Report()
        self._settings: dict = {}
        listed = self._listed()
        self._model = model or _only_name(listed, self.url)
        self.name = self._model or self.url
        stated = next((one for one in listed if one.get("id") == self._model), {})
        words = "\n".join(sorted(self.tokenizer.get_vocab()))
        self.fingerprint = hashlib.sha256(f"{self.name}\n{words}".encode()).hexdigest()[:16]
        self._settings, self.tells_probabilities = self._probed_settings(prompt_form)
        self.prompt_form = self._probed_form(prompt_form)
        self.window = _window(window, stated.get("max_model_len"), self.tokenizer)

    def __repr__(self) -> str:
        return f"CompletionsServer({self.url}, {self.name}, prompt_form={self.prompt_form!r})"

    def engine(self) -> "ServerEngine":
        """Return an engine that reads and writes by this server."""
        return ServerEngine(self)

    def assert_serves(self, verdict) -> None:
        """Raise ``LongctxError`` if a verdict needs what this server does not give."""
        needs = getattr(verdict, "name", "")
        if verdict.looks_at_cache or needs == "first_token":
            missing = "the model's keys and scores, which a server keeps to itself"
        elif needs == "classifier" and verdict.classifier is None:
            missing = "a model whose scores can be read: SeparateClassifier(classifier=...)"
        elif needs == "surest" and not self.tells_probabilities:
            missing = "the probabilities of what was written, which this server does not tell"
        else:
            return
        raise LongctxError(
            f"The verdict {needs!r} needs {missing}; choose another, such as verdict='all'."
        )

    # ------------------------------------------------------------------ prompts

    def spell(self, ids: Sequence[int]) -> SentPrompt:
        """Return a prompt as it is sent.

        Raises:
            ServerError: if the server takes text only, and no text makes these tokens.
        """
        ids = list(ids)
        if self.prompt_form == "ids":
            return SentPrompt(ids, len(ids))
        # A server puts in front what the tokenizer does, such as <s>.
        added = self.tokenizer("").input_ids
        kept = ids[len(added) :] if added and ids[: len(added)] == added else ids
        text = self._decode(kept)
        again = self.tokenizer(text).input_ids
        if again == ids:
            return SentPrompt(text, len(ids))
        special = {n for n, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        same_words = self._decode(again) == self._decode(ids) and (
            [n for n in again if n in special] == [n for n in ids if n in special]
        )
        if self.prompt_form == "words" and same_words:
            return SentPrompt(text, len(again), is_respelled=True)
        pairs = enumerate(zip(again, ids, strict=False))
        place = next((n for n, (one, other) in pairs if one != other), min(len(again), len(ids)))
        around = self._decode(ids[max(0, place - 3) : place + 3])
        advice = (
            "or take prompt_form='words', which sends the same words in other tokens there"
            if same_words
            else "or take the words that look like special tokens out of the text"
        )
        raise ServerError(
            f"The server takes text only, and no text makes the prompt's tokens around {around!r} "
            f"(token {place}); use a server that takes token ids, such as vLLM, {advice}."
        )

    def tokens_of(self, text: str) -> list[int]:
        """Return the tokens of words that the server wrote without telling their ids."""
        return self.tokenizer.encode(text, add_special_tokens=False) if text else []

    def _decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(
            ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    # ------------------------------------------------------------------ completions

    def complete(
        self,
        prompt: SentPrompt,
        max_tokens: int,
        *,
        is_over: Callable[[str], bool] = lambda written: False,
        line: Line | None = None,
        retries: int | None = None,
    ) -> Iterator:
        """Continue a prompt greedily; yield ``Piece``s as they come, and last a ``Completion``.

        After a failure that may pass it starts anew, and pieces yielded before are not repeated.
        Once ``line`` is given up, what there is comes back unfinished.
        """
        line = line or Line()
        retries = self._retries if retries is None else retries
        shown = 0
        for attempt in range(retries + 1):
            draft = _Draft(self, prompt, max_tokens)
            try:
                with closing(self._endpoint.pieces(self._body(prompt, max_tokens), line)) as pieces:
                    for number, sent in enumerate(pieces, 1):
                        piece = draft.add(sent)
                        if number > shown:
                            shown = number
                            yield piece
                        is_enough = draft.is_cut or is_over(draft.text)
                        draft.is_finished |= is_enough
                        if is_enough or line.is_given_up.is_set():
                            break
                if not (draft.is_finished or line.is_given_up.is_set()):
                    raise Passing(f"The server at {self.url} broke off in mid-sentence.")
            except ServerError as error:
                if not line.is_given_up.is_set():
                    if not isinstance(error, Passing):
                        raise
                    if attempt == retries:
                        raise ServerError(f"{error} (It was tried {attempt + 1} times.)") from error
                    pause = _PAUSE * 2**attempt if error.wait is None else error.wait
                    line.is_given_up.wait(min(pause, _LONGEST_PAUSE))
                    continue
            yield draft.completion()
            return

    def _body(self, prompt: SentPrompt, max_tokens: int) -> dict:
        named = {"model": self._model} if self._model else {}
        return {
            **named,
            "prompt": prompt.sent,
            "max_tokens": max_tokens,
            "temperature": 0,
            "stream": True,
            **self._settings,
        }

    # ------------------------------------------------------------------ what the server is like

    def _listed(self) -> list:
        """Return the models that the server lists; none if it does not."""
        with suppress(Passing, Refused):
            listed = self._endpoint.get("/models").get("data")
            if isinstance(listed, list):
                return [one for one in listed if isinstance(one, dict) and one.get("id")]
        return []

    def _probed_settings(self, form: str) -> tuple[dict, bool]:
        """Return the richest settings that the server takes, and whether it tells probabilities.

        The probe is a text, so that a server with other tokens than the tokenizer's is found out.
        """
        # Where ids are sent it does not matter whether the server puts a token before a text.
        slack = int(form in ("auto", "ids"))
        probe = SentPrompt(_PROBE, len(self.tokenizer.encode(_PROBE)), slack=slack)
        books = {"stream_options": {"include_usage": True}}
        told = {
            "return_tokens_as_token_ids": True,
            "stop_token_ids": sorted(self.end_ids),
            "repetition_penalty": 1.0,  # a model's own defaults may punish what is copied
        }
        for settings in ({"logprobs": 1, **told, **books}, {"logprobs": 1, **books}, {}):
            self._settings = settings
            try:
                *_, completion = self.complete(probe, 1)
                return settings, completion.confidence is not None
            except Refused as error:
                if error.status not in _NOT_UNDERSTOOD or not settings:
                    raise
        raise AssertionError("the last settings are taken or refused")

    def _probed_form(self, wanted: str) -> str:
        """Return the form in which prompts are sent, by sending some token ids."""
        if wanted in ("text", "words"):
            return wanted
        ids = self.tokenizer.encode(_PROBE)
        try:
            for _ in self.complete(SentPrompt(ids, len(ids)), 1, retries=0):
                pass
        except Refused as error:
            if wanted == "ids" or error.status not in _NOT_UNDERSTOOD:
                raise
            return "text"
        return "ids"


class ServerEngine:
    """Reads and writes margins by a server, with the events of ``LocalEngine``.

    There is no ``RolledBack``: what the server drops from its cache, and when, is its own affair.
    Margins that were finished before a failure are kept, and the same question goes on from them.

    Attributes:
        ledger: what reading cost.
    """

    def __init__(self, server: CompletionsServer):
        self.server = server
        self.ledger = Ledger()
        self._ids: list[int] = []
        self._ends: list[int] = []
        self._asked: object = None
        self._kept: dict[int, Margin] = {}

    def read(self, ids: Sequence[int], stops: Sequence[tuple[int, object]]) -> Iterator:
        """Send the text once, so that the server has it in its cache; see ``LocalEngine.read``."""
        self._ids, self._ends = list(ids), [end for end, _ in stops]
        yield Progress("reading", 0, len(ids))
        *_, completion = self.server.complete(self._warming(), 1)
        self.ledger = self._booked(completion)
        yield Progress("reading", len(ids), len(ids))
        for _, event in stops:
            yield event

    def write(self, request: Request, *, together: bool) -> Iterator:
        """Write the margins, several at a time or one after another.

        Yields:
            ``MarginToken`` for each token as it comes and ``Margin`` when one is done, then a
            ``Progress`` in margins.

        Raises:
            ServerError: after all that could be finished has been yielded.
        """
        asked = tuple(request.ids), request.max_tokens
        if asked != self._asked:
            self._asked, self._kept = asked, {}
        done, total = 0, len(self._ends)
        yield Progress("noting", 0, total, "margins")
        kept = dict(self._kept)
        for margin in kept.values():
            done += 1
            yield margin
        segments = [segment for segment in range(total) if segment not in kept]
        workers = self.server.workers if together else 1
        with closing(self._news(segments, request, workers)) as news:
            for segment, what in news:
                if isinstance(what, Piece):
                    for token_id, text in self._tokens(what):
                        yield MarginToken(segment, text, token_id)
                else:
                    margin = self._margin(segment, what)
                    if margin.finished:
                        self._kept[segment] = margin
                    done += 1
                    yield margin
                    yield Progress("noting", done, total, "margins")
        self._asked = None  # all are written: the next question is a new one

    def answer(self, ids: Sequence[int], *, max_new_tokens: int) -> Iterator:
        """Continue a prompt; yield events, return ``Written``."""
        prompt = self.server.spell(ids)
        yield Progress("answering", 0, len(ids))
        with closing(self.server.complete(prompt, max_new_tokens)) as news:
            for what in news:
                if isinstance(what, Piece):
                    for token_id, text in self._tokens(what):
                        yield TokenDecoded("answering", text, token_id)
        return Written(what.text, self._booked(what), what.confidence)

    def _news(self, segments: Sequence[int], request: Request, workers: int) -> Iterator:
        """Yield (segment, ``Piece``) and (segment, ``Completion``) from several threads.

        The threads do nothing but wait for the server: a tokenizer is for one thread at a time.
        """
        news: SimpleQueue = SimpleQueue()
        line, waiting, running, failure = Line(), list(segments), 0, None
        with ThreadPoolExecutor(workers, thread_name_prefix="longctx margin") as pool:
            try:
                while True:
                    enough = request.is_enough()
                    if enough:
                        line.hang_up()
                    while waiting and running < workers and not (failure or enough):
                        segment = waiting.pop(0)
                        try:
                            prompt = self.server.spell(
                                [*self._ids[: self._ends[segment]], *request.ids]
                            )
                        except ServerError as error:
                            failure = error
                        else:
                            pool.submit(self._listen, segment, prompt, request, line, news)
                            running += 1
                    if not running:
                        break
                    try:
                        segment, what = news.get(timeout=_POLL)
                    except Empty:
                        continue
                    running -= not isinstance(what, Piece)
                    if isinstance(what, Exception):
                        failure = failure or what
                    elif isinstance(what, Piece) or what.ledger.decoded:
                        yield segment, what
            finally:
                line.hang_up()
        if failure:
            raise failure

    def _listen(self, segment, prompt: SentPrompt, request: Request, line: Line, news) -> None:
        over = request.is_over
        try:
            for what in self.server.complete(prompt, request.max_tokens, is_over=over, line=line):
                news.put((segment, what))
        except Exception as error:  # raised again where the news are read
            news.put((segment, error))

    def _margin(self, segment: int, completion: Completion) -> Margin:
        ids = completion.ids or self.server.tokens_of(completion.text)
        return Margin(
            segment=segment,
            ids=tuple(token_id for token_id in ids if token_id not in self.server.end_ids),
            text=completion.text,
            confidence=completion.confidence,
            ledger=self._booked(completion),
            finished=completion.is_finished,
        )

    def _tokens(self, piece: Piece) -> list[tuple[int, str]]:
        """Return a piece's tokens; its text comes with the last of them."""
        ids = piece.ids or self.server.tokens_of(piece.text)
        return [
            (token_id, piece.text if n == len(ids) else "") for n, token_id in enumerate(ids, 1)
        ]

    def _booked(self, completion: Completion) -> Ledger:
        self.server.report += completion.report
        return completion.ledger

    def _warming(self) -> SentPrompt:
        """Return the text as it is sent for the cache's sake, short of a seam if need be."""
        for end in range(len(self._ids), max(0, len(self._ids) - _SEAM), -1):
            with suppress(ServerError):
                return self.server.spell(self._ids[:end])
        return self.server.spell(self._ids)


class _Draft:
    """A completion under way."""

    def __init__(self, server: CompletionsServer, prompt: SentPrompt, max_tokens: int):
        self.text = ""
        self.is_cut = self.is_finished = False
        self._server = server
        self._prompt = prompt
        self._max_tokens = max_tokens
        self._pieces: list[Piece] = []
        self._written = 0
        self._is_full = False
        self._usage = Usage()

    def add(self, piece: Piece) -> Piece:
        """Take one more piece; return it without what stands after the end of the turn."""
        if self._is_full and (piece.ids or piece.text):
            self.is_cut = True  # the server knows no limit, or not this end of a turn
            return Piece()
        text = self.text + piece.text
        places = [text.find(end) for end in self._server.end_texts]
        stop = min((place for place in places if place >= 0), default=len(text))
        self._written += len(piece.ids) or bool(piece.text)
        self._is_full = (
            self._written >= self._max_tokens
            or stop < len(text)
            or not self._server.end_ids.isdisjoint(piece.ids)
        )
        kept = replace(piece, text=text[len(self.text) : stop])
        self._pieces.append(kept)
        self.text = text[:stop]
        self.is_finished |= piece.ends
        if piece.usage is not None:
            self._usage = piece.usage
            self._assert_same_tokens(piece.usage)
        return kept

    def completion(self) -> Completion:
        told = [one for one in self._pieces if one.text or one.ids or one.log_probabilities]
        ids = tuple(n for one in told for n in one.ids) if all(one.ids for one in told) else ()
        chances = [chance for one in told for chance in one.log_probabilities]
        is_told = bool(chances) and all(one.log_probabilities for one in told)
        sent = self._prompt.tokens if self._usage.prompt is None else self._usage.prompt
        cached = self._usage.cached or 0
        return Completion(
            text=self.text.rstrip("\ufffd").strip(),
            ids=ids,
            confidence=math.exp(statistics.fmean(chances)) if is_told else None,
            is_finished=self.is_finished,
            ledger=Ledger(
                reused=cached,
                prefilled=sent - cached,
                decoded=self._written if self._usage.written is None else self._usage.written,
            ),
            report=Report(
                requests=1,
                sent=sent,
                cached=cached,
                untold=self._usage.cached is None,
                respelled=self._prompt.is_respelled,
            ),
        )

    def _assert_same_tokens(self, usage: Usage) -> None:
        meant = self._prompt.tokens
        if usage.prompt is not None and abs(usage.prompt - meant) > self._prompt.slack:
            raise ServerError(
                f"The server at {self._server.url} counts {usage.prompt} tokens where the "
                f"tokenizer here makes {meant}; give tokenizer=..., that of the server's model."
            )


def _tokenizer(given):
    if given is not None and not isinstance(given, (str, Path)):
        return given
    return load_tokenizer(given)


def _only_name(listed: Sequence[dict], url: str) -> str | None:
    names = [one["id"] for one in listed]
    if len(names) > 1:
        raise ServerError(
            f"The server at {url} has several models; choose one of {', '.join(names[:20])}."
        )
    return names[0] if names else None


def _window(given: int | None, stated, tokenizer) -> int:
    window = next((w for w in (given, stated) if w is not None), tokenizer.model_max_length)
    if not isinstance(window, int) or not 1 <= window < 10**9:
        raise ServerError(
            "Neither the server nor the tokenizer says how long the model's window is; give "
            "window=..., in tokens."
        )
    return window
