"""A completions server for the tests: the package's own, which also fails on request.

It refuses token ids, leaves things out, answers whole, and fails in the ways that servers fail.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from longctx_edu.margins.local_server import CompletionsHandler, LocalServer


class _Handler(CompletionsHandler):
    def do_GET(self):
        double = self.local
        double.keys.append(self.headers.get("Authorization"))
        if self.path != "/v1/models" or double.lists is None:
            return self.say(404, {"detail": "Not Found"})
        return self.say(200, {"object": "list", "data": [*map(double.listed, double.lists)]})

    def do_POST(self):
        double = self.local
        double.keys.append(self.headers.get("Authorization"))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/completions":
            return self.say(404, {"detail": "Not Found"})
        if double.lists and body.get("model", double.lists[0]) not in double.lists:
            message = f"The model `{body['model']}` does not exist."
            return self.say(404, {"error": {"message": message, "type": "NotFoundError"}})
        if not double.takes_extras and "stop_token_ids" in body:
            return self.say(422, {"detail": "Unexpected fields in the request"})
        if not isinstance(body["prompt"], str) and not double.takes_ids:
            return self.say(400, {"detail": "prompt must be a string."})
        ids = double.ids_of(body["prompt"])
        assert body["temperature"] == 0
        fault = double.fault(len(double.prompts))
        match fault:
            case "500" | "429" | "302":
                double.note(ids, 0)
                return self.say(int(fault), {"error": {"message": "the oil is gone"}})
            case "hang":
                return double.released.wait(20)
            case "html":
                return self.say(200, "<html>Welcome</html>")
            case "wrong":
                return self.say(200, {"choices": [{"content": 5}]})
        self.breaks_off = fault == "break off"
        body["stream"] = double.streams and body.get("stream")
        self.complete(ids, body["max_tokens"], body)

    def wrote(self, texts, told):
        if not self.local.script:
            super().wrote(texts, told)
        return not (self.breaks_off and len(told) == 2)

    def usage(self, prompt, written, cached):
        for text in self.local.script if self.local.streams else ():
            self.send(self.message([text], []))
        if "usage" not in self.local.tells:
            return {}
        told = super().usage(prompt, written, cached)
        if "cached" not in self.local.tells:
            del told["usage"]["prompt_tokens_details"]
        return told

    def message(self, texts, told, reason=None):
        return super().message(texts, told if "logprobs" in self.local.tells else (), reason)

    def begin(self, status, kind):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status == 429:
            self.send_header("Retry-After", "0")
        if status == 302:
            self.send_header("Location", "http://elsewhere.example/v1")
        self.end_headers()


@dataclass
class CompletionsDouble(LocalServer):
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

    handler = _Handler
    most_kept = 1000

    def __enter__(self):
        self.released = threading.Event()  # lets go of those that hang
        return super().__enter__()

    def __exit__(self, *error):
        self.released.set()
        super().__exit__(*error)

    def forget(self) -> None:
        """Start counting anew."""
        self.prompts.clear()
        self.cached.clear()

    def tokens(self, ids, max_tokens):
        for one in super().tokens(ids, max_tokens):
            time.sleep(self.pause)
            yield one

    def note(self, ids, shared):
        self.prompts.append(list(ids))
        self.cached.append(shared)
