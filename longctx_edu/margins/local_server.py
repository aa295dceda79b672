"""A model of this process behind OpenAI's completions protocol, with a cache of prefixes.

What vLLM does on a GPU (Kwon et al. 2023, section 4.4), small enough to be read: a prompt goes on
from the longest beginning that an earlier one left behind. It writes one completion at a time, is
reached from this machine alone, asks for no key, and takes none of a real server's load.
"""

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from longctx_edu.errors import LongctxError
from longctx_edu.inference import Context, Words

_POLL = 0.02  # seconds between two looks at whether the server is to end
_MOST_BODY_BYTES = 1 << 26


class CompletionsHandler(BaseHTTPRequestHandler):
    """Answers ``GET /v1/models`` and ``POST /v1/completions`` for its ``local`` server."""

    local: "LocalServer"
    protocol_version = "HTTP/1.0"  # the end of an answer is the end of the connection

    def log_message(self, *arguments):
        """Keep quiet; a notebook's output is no place for a server's log."""

    def handle(self):
        """Serve one connection; a reader who hangs up has enough."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            super().handle()

    def do_GET(self):
        """List the one model that there is."""
        if self.path != "/v1/models":
            return self.say(404, {"error": {"message": f"There is no {self.path} here."}})
        return self.say(200, {"object": "list", "data": [self.local.listed(self.local.name)]})

    def do_POST(self):
        """Complete a prompt of text or of token ids."""
        if self.path != "/v1/completions":
            return self.say(404, {"error": {"message": f"There is no {self.path} here."}})
        try:
            size = int(self.headers.get("Content-Length", 0))
            if size > _MOST_BODY_BYTES:
                raise ValueError(f"a request has at most {_MOST_BODY_BYTES:,} bytes")
            body = json.loads(self.rfile.read(size))
            ids = self.local.ids_of(body["prompt"])
            longest = int(body.get("max_tokens", 16))
            if body.get("temperature", 1) != 0:
                raise ValueError("this server writes greedily; send temperature 0")
            if longest < 1 or not 1 <= len(ids) <= self.local.model.window - longest:
                raise ValueError(
                    f"{len(ids)} tokens and {longest} to be written do not fit the window of "
                    f"{self.local.model.window}"
                )
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return self.say(400, {"error": {"message": f"This cannot be completed: {error}."}})
        return self.complete(ids, longest, body)

    def complete(self, ids: Sequence[int], longest: int, body: dict) -> None:
        """Write a completion, streamed token by token or whole."""
        words, streamed = Words(self.local.model), body.get("stream")
        if streamed:
            self.begin(200, "text/event-stream")
        texts, told, cached = [], [], 0
        with contextlib.closing(self.local.tokens(ids, longest)) as tokens:
            for held, token_id, chance in tokens:
                cached = held
                texts.append(words.add(token_id))
                by_id = body.get("return_tokens_as_token_ids")
                told.append((f"token_id:{token_id}" if by_id else texts[-1], chance))
                if streamed and not self.wrote(texts, told):
                    return
        usage = self.usage(len(ids), len(told), cached)
        if streamed:
            self.send(self.message([""], [], "stop"))
            self.send({"choices": [], **usage})
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.say(200, {**self.message(texts, told, "stop"), **usage})

    def wrote(self, texts: list, told: list) -> bool:
        """Send the newest token; return whether to go on."""
        self.send(self.message(texts[-1:], told[-1:]))
        return True

    def usage(self, prompt: int, written: int, cached: int) -> dict:
        """Return the books of a completion, with the tokens that were in the cache."""
        books = {"prompt_tokens": prompt, "completion_tokens": written}
        return {"usage": {**books, "prompt_tokens_details": {"cached_tokens": cached}}}

    def message(self, texts: Sequence[str], told: Sequence[tuple], reason: str | None = None):
        """Return a message of OpenAI's protocol with these words and log-probabilities."""
        log_probabilities = None
        if told:
            names, chances = zip(*told, strict=True)
            log_probabilities = {"tokens": names, "token_logprobs": chances}
        choice = {"text": "".join(texts), "logprobs": log_probabilities, "finish_reason": reason}
        return {"object": "text_completion", "choices": [choice]}

    def begin(self, status: int, kind: str) -> None:
        """Send the head of an answer."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def send(self, message: dict) -> None:
        """Send a message of a stream."""
        self.wfile.write(f"data: {json.dumps(message)}\n\n".encode())
        self.wfile.flush()

    def say(self, status: int, message) -> None:
        """Send a whole answer."""
        self.begin(status, "application/json")
        self.wfile.write((message if isinstance(message, str) else json.dumps(message)).encode())


class LocalServer:
    """A completions server on a free port of this machine, there as long as its ``with`` block.

    Example::

        with LocalServer(models.load()) as served:
            model = CompletionsServer(served.url)
            answer = read(text, method="margins", model=model).ask(question)

    Attributes:
        model: the ``LanguageModel`` that writes.
        name: what the server calls it.
        url: the address, once it is started.
        prompts: how many tokens each prompt had, in order.
        cached: how many of these were in the cache.
    """

    handler = CompletionsHandler

    def __init__(self, model, *, name: str = "local", most_kept: int = 8):
        """Choose the model; the server starts with ``with``.

        Args:
            model: a ``LanguageModel``.
            name: what the server calls it.
            most_kept: prompts whose keys and values are kept, the latest used ones; what they
                share is held once for each.

        Raises:
            LongctxError: for fewer than one kept prompt.
        """
        if most_kept < 1:
            raise LongctxError(f"A server with a cache keeps at least 1 prompt, got {most_kept}.")
        self.model, self.name, self.most_kept = model, name, most_kept
        self.url: str | None = None
        self.prompts: list = []
        self.cached: list = []

    def __enter__(self):
        self._lock, self._contexts = threading.Lock(), []
        handler = type("Handler", (self.handler,), {"local": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL,), name="local-server", daemon=True
        )
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *error):
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        with self._lock:
            self._contexts.clear()

    def listed(self, name: str) -> dict:
        """Return what the list of models says of one."""
        return {"id": name, "max_model_len": self.model.window}

    def ids_of(self, prompt) -> list[int]:
        """Return a prompt's token ids.

        Raises:
            ValueError: if it is neither text nor ids of this model's vocabulary.
        """
        if isinstance(prompt, str):
            return self.model.tokenizer(prompt).input_ids
        vocabulary = len(self.model.tokenizer)
        if not isinstance(prompt, list) or not all(
            isinstance(one, int) and 0 <= one < vocabulary for one in prompt
        ):
            raise ValueError("a prompt is a text, or a list of token ids of the model")
        return prompt

    def tokens(self, ids: Sequence[int], max_tokens: int) -> Iterator[tuple[int, int, float]]:
        """Continue a prompt greedily; yield (tokens found in the cache, token id, log-probability).

        At least the prompt's last token is read, since the next one's scores come from it.
        """
        with self._lock:
            best = max(self._contexts, key=lambda one: one.shared_length(ids), default=None)
            shared = 0 if best is None else min(best.shared_length(ids), len(ids) - 1)
            context = best.fork(shared) if shared else Context(self.model)
            self.note(ids, shared)
            for _ in context.prefill(ids[shared:]):
                pass
            self._keep(best if shared else None, context.fork(), shared)
            for token_id in context.decode(max_new_tokens=max_tokens):
                yield shared, token_id, context.log_probability(token_id)

    def note(self, ids: Sequence[int], shared: int) -> None:
        """Write a prompt into the books."""
        self.prompts.append(len(ids))
        self.cached.append(shared)

    def _keep(self, used, new, shared: int) -> None:
        if used is not None:
            self._contexts.remove(used)
            if shared < len(used):  # else the new one holds all of it
                self._contexts.append(used)
        self._contexts.append(new)
        del self._contexts[: -self.most_kept]
