"""A completions server for the tests: a model of this process behind OpenAI's protocol.

It takes token ids or text, streams or answers whole, keeps prefixes and counts what it found
of them, and fails on request in the ways that servers fail.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from longctx_edu.inference import Context, Words


@dataclass
class CompletionsDouble:
    """A server on a free port of this machine, started by ``with``.

    Attributes:
        model: the ``LanguageModel`` that writes.
        takes_ids: whether a prompt may be a list of token ids.
        takes_extras: whether settings beyond OpenAI's are taken.
        tells: what it tells besides the words: "logprobs", "usage", "cached".
        streams: whether it streams when asked to.
        lists: the names of its models; None for no such list.
        fault: called with the number of a completion's request; the name of a fault, or None.
        pause: seconds before each token.
        script: pieces of text that it sends in place of what the model writes.
        prompts: the token ids of every prompt so far.
        cached: for each of them, how many it had in its cache.
        keys: the Authorization header of every request.
    """

    model: object
    takes_ids: bool = True
    takes_extras: bool = True
    tells: tuple[str, ...] = ("logprobs", "usage", "cached")
    streams: bool = True
    lists: tuple[str, ...] | None = ("tiny",)
    fault: Callable[[int], str | None] = lambda number: None
    pause: float = 0.0
    script: tuple[str, ...] = ()
    prompts: list = field(default_factory=list)
    cached: list = field(default_factory=list)
    keys: list = field(default_factory=list)

    def __enter__(self):
        self._lock, self._contexts = threading.Lock(), []
        self.released = threading.Event()  # lets go of those that hang
        handler = type("Handler", (_Handler,), {"double": self})
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        return self

    def __exit__(self, *error):
        self.released.set()
        self._http.shutdown()
        self._http.server_close()

    def forget(self) -> None:
        """Start counting anew."""
        self.prompts.clear()
        self.cached.clear()

    def tokens(self, ids, max_tokens):
        """Yield (cached tokens of the prompt, token id, log-probability)."""
        with self._lock:
            best = max(self._contexts, key=lambda one: one.shared_length(ids), default=None)
            best = best or Context(self.model)
            shared = min(best.shared_length(ids), len(ids) - 1)
            self.prompts.append(list(ids))
            self.cached.append(shared)
            context = best.fork(shared) if len(best) else best
            for _ in context.prefill(ids[shared:]):
                pass
            self._contexts.append(context.fork())
            for token_id in context.decode(max_new_tokens=max_tokens):
                time.sleep(self.pause)
                yield shared, token_id, context.log_probability(token_id)


class _Handler(BaseHTTPRequestHandler):
    double: CompletionsDouble
    protocol_version = "HTTP/1.0"  # the end of an answer is the end of the connection

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        self.double.keys.append(self.headers.get("Authorization"))
        if self.path != "/v1/models" or self.double.lists is None:
            return self._say(404, {"detail": "Not Found"})
        window = self.double.model.window
        models = [{"id": name, "max_model_len": window} for name in self.double.lists]
        return self._say(200, {"object": "list", "data": models})

    def do_POST(self):
        double = self.double
        double.keys.append(self.headers.get("Authorization"))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            return self._say(404, {"detail": "Not Found"})
        if double.lists and body.get("model", double.lists[0]) not in double.lists:
            message = f"The model `{body['model']}` does not exist."
            return self._say(404, {"error": {"message": message, "type": "NotFoundError"}})
        if not double.takes_extras and "stop_token_ids" in body:
            return self._say(422, {"detail": "Unexpected fields in the request"})
        is_text = isinstance(body["prompt"], str)
        if not is_text and not double.takes_ids:
            return self._say(400, {"detail": "prompt must be a string."})
        ids = double.model.tokenizer(body["prompt"]).input_ids if is_text else body["prompt"]
        assert body["temperature"] == 0
        fault = double.fault(len(double.prompts))
        match fault:
            case "500" | "429" | "302":
                double.prompts.append(ids)
                double.cached.append(0)
                return self._say(int(fault), {"error": {"message": "the oil is gone"}})
            case "hang":
                return double.released.wait(20)
            case "html":
                return self._say(200, "<html>Welcome</html>")
            case "wrong":
                return self._say(200, {"choices": [{"content": 5}]})
        self._complete(ids, body, breaks_off=fault == "break off")

    def _complete(self, ids, body, *, breaks_off):
        double, words = self.double, Words(self.double.model)
        streamed = double.streams and body.get("stream")
        if streamed:
            self._begin(200, "text/event-stream")
        texts, told, cached = [], [], 0
        with contextlib.closing(double.tokens(ids, body["max_tokens"])) as tokens:
            for found, token_id, chance in tokens:
                cached = found
                texts.append(words.add(token_id))
                by_id = body.get("return_tokens_as_token_ids")
                told.append((f"token_id:{token_id}" if by_id else texts[-1], chance))
                if streamed and not double.script:
                    self._send(self._message(texts[-1:], told[-1:]))
                if breaks_off and len(told) == 2:
                    return
        for text in double.script if streamed else ():
            self._send(self._message([text], []))
        usage = {"prompt_tokens": len(ids), "completion_tokens": len(told)}
        if "cached" in double.tells:
            usage["prompt_tokens_details"] = {"cached_tokens": cached}
        told_usage = {"usage": usage} if "usage" in double.tells else {}
        if streamed:
            self._send(self._message([""], [], "stop"))
            self._send({"choices": [], **told_usage})
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self._say(200, {**self._message(double.script or texts, told, "stop"), **told_usage})

    def _message(self, texts, told, reason=None):
        logprobs = None
        if told and "logprobs" in self.double.tells:
            names, chances = zip(*told, strict=True)
            logprobs = {"tokens": names, "token_logprobs": chances}
        choice = {"text": "".join(texts), "logprobs": logprobs, "finish_reason": reason}
        return {"object": "text_completion", "choices": [choice]}

    def _begin(self, status, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status == 429:
            self.send_header("Retry-After", "0")
        if status == 302:
            self.send_header("Location", "http://elsewhere.example/v1")
        self.end_headers()

    def _send(self, message):
        self.wfile.write(f"data: {json.dumps(message)}\n\n".encode())
        self.wfile.flush()

    def _say(self, status, message):
        self._begin(status, "application/json")
        self.wfile.write((message if isinstance(message, str) else json.dumps(message)).encode())

    def handle(self):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the reader has enough
            super().handle()
