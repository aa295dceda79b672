"""Completions over HTTP: a prompt goes out, pieces of text come back, a failure is a sentence.

OpenAI's ``POST /v1/completions`` as several servers speak it, streamed or whole. What is sent
goes to the given address alone: through no proxy, after no redirect. Which prompts are sent, and
what their words mean, belongs to ``server``.
"""

import http.client
import json
import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from longctx_edu.errors import ServerError

KEY = "OPENAI_API_KEY"
_LINE_BYTES, _ANSWER_BYTES, _ERROR_BYTES = 1 << 20, 1 << 24, 1 << 16
_MAY_PASS = {408, 429, 500, 502, 503, 504}


class Passing(ServerError):
    """A failure that may pass; ``wait`` is how many seconds the server asks for, if it does."""

    def __init__(self, message: str, wait: float | None = None):
        super().__init__(message)
        self.wait = wait


class Refused(ServerError):
    """The server understood and said no, with this HTTP ``status``."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Usage:
    """Tokens as the server counts them; None where it does not say, which is not 0."""

    prompt: int | None = None
    cached: int | None = None
    written: int | None = None


@dataclass(frozen=True)
class Piece:
    """What one message of a stream adds to a completion.

    Attributes:
        text: the words.
        ids: their tokens; empty if the server does not tell.
        log_probabilities: one for each token; empty if the server does not tell.
        ends: whether the completion is over.
        usage: the books, usually with the last piece.
    """

    text: str = ""
    ids: tuple[int, ...] = ()
    log_probabilities: tuple[float, ...] = ()
    ends: bool = False
    usage: Usage | None = None


class Line:
    """The connections that one piece of work has open, so that it can be given up from outside."""

    def __init__(self):
        self.is_given_up = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()

    @contextmanager
    def hold(self, connection: http.client.HTTPConnection) -> Iterator[None]:
        """Keep a connection's socket at hand while it is open."""
        connection.connect()
        held = connection.sock  # http.client lets go of it once the answer begins
        with self._lock:
            self._sockets.add(held)
        try:
            if self.is_given_up.is_set():
                raise ConnectionAbortedError("given up")
            yield
        finally:
            with self._lock:
                self._sockets.discard(held)
            connection.close()
            held.close()

    def hang_up(self) -> None:
        """End all connections, also those that another thread is waiting on."""
        self.is_given_up.set()
        with self._lock:
            for held in self._sockets:
                with suppress(OSError):
                    held.shutdown(socket.SHUT_RDWR)


class Endpoint:
    """The address of a completions API.

    Attributes:
        url: the address, up to and with ``/v1``.
        timeout: the longest silence to put up with, in seconds.
    """

    def __init__(self, url: str, *, timeout: float):
        self.url = _base_of(url)
        self.timeout = timeout
        self._parts = urlsplit(self.url)
        self._headers = {"Content-Type": "application/json", "Connection": "close"}
        if key := os.environ.get(KEY, "").strip():
            if not (key.isascii() and key.isprintable()):
                raise ServerError(
                    f"The variable {KEY} holds letters that no key has; set it anew, or unset it."
                )
            self._headers["Authorization"] = f"Bearer {key}"

    def get(self, path: str) -> Mapping:
        """Return what the server says under ``path``, as JSON."""
        with self._answer("GET", path, None, Line()) as answer:
            return self._parsed(answer.read(_ANSWER_BYTES))

    def pieces(self, body: Mapping, line: Line) -> Iterator[Piece]:
        """Ask for one completion and yield its pieces as they arrive.

        Raises:
            Passing: for a failure that may pass: no connection, too busy, an error inside.
            Refused: if the server says no.
            ServerError: for silence, or an answer that is no completion.
        """
        with self._answer("POST", "/completions", json.dumps(body).encode(), line) as answer:
            if "event-stream" not in (answer.headers.get("Content-Type") or ""):
                yield self._piece(self._parsed(answer.read(_ANSWER_BYTES)))
                return
            while sent := answer.readline(_LINE_BYTES):
                name, _, data = sent.strip().partition(b":")
                if name == b"data" and data.strip() == b"[DONE]":
                    return
                if name == b"data":
                    yield self._piece(self._parsed(data))

    @contextmanager
    def _answer(self, method: str, path: str, body: bytes | None, line: Line) -> Iterator:
        secure = self._parts.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._parts.hostname, self._parts.port, timeout=self.timeout)
        try:
            with line.hold(connection):
                connection.request(method, self._parts.path + path, body, self._headers)
                with closing(connection.getresponse()) as answer:
                    if answer.status != http.client.OK:
                        raise self._refusal(answer, path)
                    yield answer
        except TimeoutError as error:
            raise ServerError(
                f"The server at {self.url} was silent for {self.timeout:g} s; see whether it is "
                "overloaded, or allow it longer with timeout=..."
            ) from error
        except (ConnectionError, http.client.HTTPException) as error:
            raise Passing(
                f"The server at {self.url} cannot be reached, or broke off ({_reason(error)}); "
                "see that it runs, and check the address."
            ) from error
        except (OSError, UnicodeError) as error:
            raise ServerError(
                f"The server at {self.url} cannot be reached ({_reason(error)}); check the address."
            ) from error

    def _refusal(self, answer: http.client.HTTPResponse, path: str) -> ServerError:
        said = _complaint(answer.read(_ERROR_BYTES))
        status = f"{answer.status}{f': {said}' if said else ''}"
        if answer.status in _MAY_PASS:
            wait = answer.headers.get("Retry-After", "")
            return Passing(
                f"The server at {self.url} failed ({status}); look into its log, or try later.",
                float(wait) if wait.isdigit() else None,
            )
        advice = {
            401: f"put the key that it expects into the variable {KEY}",
            403: f"put the key that it expects into the variable {KEY}",
            404: "check the address, which ends in /v1 for most servers, and the model's name",
        }.get(answer.status, "change what it complains about")
        if 300 <= answer.status < 400:
            advice = f"it points to {answer.headers.get('Location')!r}; give that address itself"
        return Refused(f"{self.url}{path} refused ({status}); {advice}.", answer.status)

    def _parsed(self, data: bytes) -> Mapping:
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, Mapping):
            raise self._malformed(data.decode("utf-8", "replace"))
        if found.get("error"):
            said = _complaint(data) or "no reason given"
            raise Passing(f"The server at {self.url} failed on the way ({said}); try again.")
        return found

    def _piece(self, message: Mapping) -> Piece:
        try:
            return _piece_of(message)
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise self._malformed(json.dumps(message)) from error

    def _malformed(self, sent: str) -> ServerError:
        return ServerError(
            f"The server at {self.url} sent {_short(sent, 80)!r}, which is no completion; give the "
            "address of an OpenAI-compatible completions API."
        )


def _base_of(url: str) -> str:
    """Return the address up to and with ``/v1``.

    >>> _base_of("http://localhost:8000"), _base_of("https://example.org/api/v1/completions")
    ('http://localhost:8000/v1', 'https://example.org/api/v1')
    """
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # reading it is what checks it
    except (ValueError, AttributeError, TypeError):
        parts = None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ServerError(
            f"{url!r} is no address of a server; give one that begins with http:// or https://, "
            "such as http://localhost:8000/v1."
        )
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ServerError(
            "The address of a server has no password, query or fragment in it; put a key into "
            f"the variable {KEY}."
        )
    path = parts.path.rstrip("/").removesuffix("/completions")
    return f"{parts.scheme}://{parts.netloc}{path or '/v1'}"


def _piece_of(message: Mapping) -> Piece:
    usage = _usage_of(message.get("usage"))
    if not message["choices"]:  # the books may come alone
        return Piece(usage=usage)
    choice = message["choices"][0]
    if not isinstance(choice["text"], str):
        raise TypeError("text")
    ids, log_probabilities = _told_tokens(choice.get("logprobs") or {})
    return Piece(choice["text"], ids, log_probabilities, bool(choice.get("finish_reason")), usage)


def _usage_of(told) -> Usage | None:
    if told is None:
        return None
    details = told.get("prompt_tokens_details") or {}
    counts = told.get("prompt_tokens"), details.get("cached_tokens"), told.get("completion_tokens")
    return Usage(*(None if count is None else int(count) for count in counts))


def _told_tokens(logprobs: Mapping) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return ids and log-probabilities, as vLLM tells them or as llama.cpp does."""
    content = logprobs.get("content")
    if content is not None:
        ids = [token.get("id") for token in content]
        chances = [token.get("logprob") for token in content]
    else:
        names = [name.partition("token_id:")[2] for name in logprobs.get("tokens") or ()]
        ids = [int(name) if name.isdecimal() else None for name in names]
        chances = logprobs.get("token_logprobs") or ()
    return (
        () if None in ids else tuple(map(int, ids)),
        () if None in chances else tuple(map(float, chances)),
    )


def _complaint(data: bytes) -> str:
    """Return what a server says is wrong, in one short line."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = data.decode("utf-8", "replace")
    while isinstance(found, Mapping):
        found = next((found[key] for key in ("error", "message", "detail") if key in found), "")
    return _short(found if isinstance(found, str) else json.dumps(found), 200)


def _short(text: str, width: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 3]}..."


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
