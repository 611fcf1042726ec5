"""Asks a model behind an OpenAI-compatible chat endpoint (`POST <url>/chat/completions`), with the standard library alone.

What is asked, pictures included, goes to the address that the user gave and nowhere else: redirections are not followed, and
without an address nothing is sent. Whether the endpoint is on this machine or somebody else's is the user's choice.
"""

from __future__ import annotations

import dataclasses
import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from email.message import Message
from typing import Any, NoReturn

from dexvid_envs.errors import DexVidError, OptionError

#: A message of the conversation, as the protocol has it.
ChatMessage = Mapping[str, Any]

_PASSING_STATUS = (408, 409, 425, 429, 500, 502, 503, 504)
_MAX_ANSWER_BYTES = 8 << 20
_MAX_WAIT_S = 60.0
_QUOTED_CHARACTERS = 300


class EndpointError(DexVidError):
    """A model endpoint cannot be reached, refuses, or does not answer as the protocol says."""


@dataclasses.dataclass(frozen=True)
class ChatEndpoint:
    """An OpenAI-compatible endpoint.

    Attributes:
        url: up to and including the version, such as http://127.0.0.1:8000/v1.
        model: its name there.
        key_variable: name of the environment variable that holds the key; empty where none is needed.
        timeout_s: longest silence of the server.
        attempts: how often a request is made that fails for a passing reason (busy, 5xx, no answer in time).
        first_wait_s: pause after the first failure, doubled after each further one; the server's Retry-After goes first.
        max_tokens: longest answer.
    """

    url: str
    model: str
    key_variable: str = ""
    timeout_s: float = 120.0
    attempts: int = 4
    first_wait_s: float = 1.0
    max_tokens: int = 2000

    def __post_init__(self) -> None:
        _check_url(self.url)
        if not self.model.strip():
            raise OptionError("the name of the vision-language model is empty; give it with --vlm-model NAME")
        if self.attempts < 1 or not self.timeout_s > 0.0:
            raise OptionError(
                f"attempts is {self.attempts} and timeout_s is {self.timeout_s}, expected at least 1 and more than 0"
            )

    def ask(self, messages: Sequence[ChatMessage], sleep: Callable[[float], None] = time.sleep) -> str:
        """The text that the model answers.

        Args:
            messages: of the conversation so far.
            sleep: waits between two attempts.

        Raises:
            EndpointError: no answer, a refusal, or an answer that is not in the protocol.
            OptionError: the environment variable of the key is not set.
        """
        body = {"model": self.model, "messages": list(messages), "temperature": 0.0, "max_tokens": self.max_tokens}
        key = self._key()
        for attempt in range(1, self.attempts + 1):
            try:
                return _text_of(self._post(json.dumps(body).encode(), key))
            except _PassingError as error:
                if attempt == self.attempts:
                    times = "once" if attempt == 1 else f"{attempt} times"
                    raise EndpointError(f"{error} (asked {times}); try again later, or check the server") from error
                wait_s = self.first_wait_s * 2.0 ** (attempt - 1) if error.wait_s is None else error.wait_s
                sleep(min(wait_s, _MAX_WAIT_S))
        raise AssertionError("unreachable: the last attempt answers or raises")

    def _key(self) -> str:
        if not self.key_variable:
            return ""
        key = os.environ.get(self.key_variable, "").strip()
        if not key or not key.isascii() or not key.isprintable():
            raise OptionError(
                f"the environment variable {self.key_variable} holds no usable key for {self.url}; "
                f"set it with 'export {self.key_variable}=...', or leave the option out if the server needs no key"
            )
        return key

    def _post(self, body: bytes, key: str) -> bytes:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "dexvid-envs"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url.rstrip("/") + "/chat/completions", body, headers, method="POST")
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        if _is_loopback(self.url):
            handlers.append(urllib.request.ProxyHandler({}))  # a proxy has no business on the way to this machine
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout_s) as response:
                data = response.read(_MAX_ANSWER_BYTES + 1)
                missing = response.length if len(data) <= _MAX_ANSWER_BYTES else 0  # None where the server does not say
        except urllib.error.HTTPError as error:
            with error:
                self._refused(error, key)
        except TimeoutError as error:
            raise _PassingError(f"{self.url} did not answer within {self.timeout_s:g} s") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, TimeoutError):
                raise _PassingError(f"{self.url} did not answer within {self.timeout_s:g} s") from error
            raise _PassingError(f"{self.url} cannot be reached ({error.reason})") from error
        except (OSError, http.client.HTTPException) as error:
            raise _PassingError(f"{self.url} broke the connection off ({error or type(error).__name__})") from error
        if missing:
            raise _PassingError(f"{self.url} broke the connection off ({missing} bytes of its answer are missing)")
        if len(data) > _MAX_ANSWER_BYTES:
            raise EndpointError(f"{self.url} answered with more than {_MAX_ANSWER_BYTES >> 20} MiB; is it a chat endpoint?")
        return data

    def _refused(self, error: urllib.error.HTTPError, key: str) -> NoReturn:
        """Says what a status other than 200 means."""
        said = _complaint(error, key)
        if error.code in _PASSING_STATUS:
            raise _PassingError(f"{self.url} answered {error.code}{said}", _retry_after_s(error.headers)) from error
        if error.code in (401, 403):
            hint = f"check the key in {self.key_variable}" if key else "name the variable that holds a key with --vlm-key-env"
            raise EndpointError(f"{self.url} answered {error.code}{said}: it refuses the key; {hint}") from error
        if error.code == 404:
            raise EndpointError(
                f"{self.url} answered 404{said}: expected a URL that ends with the version, such as "
                f"http://127.0.0.1:8000/v1, and a model it knows (asked for {self.model!r})"
            ) from error
        if 300 <= error.code < 400:
            where = error.headers.get("Location", "elsewhere")[:_QUOTED_CHARACTERS]
            raise EndpointError(
                f"{self.url} points to {where}; redirections are not followed, give the right address"
            ) from error
        raise EndpointError(
            f"{self.url} answered {error.code}{said}; check that the model {self.model!r} reads pictures"
        ) from error


class _PassingError(EndpointError):
    """A failure after which asking again makes sense."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Turns a redirection into an error: pictures and key go to the named address alone."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> None:
        """Follows nothing."""


def _text_of(data: bytes) -> str:
    """The text of the first choice of a chat completion."""
    try:
        answer = json.loads(data)
        message = answer["choices"][0]["message"]
        content = message["content"]
        if isinstance(content, list):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        start = data[:_QUOTED_CHARACTERS].decode("utf-8", "replace")
        raise EndpointError(
            f"the endpoint answered {start!r}, expected a chat completion (JSON with choices[0].message.content); "
            "check that the URL is that of an OpenAI-compatible server"
        ) from error
    if not isinstance(content, str) or not content.strip():
        why = message.get("refusal") or answer["choices"][0].get("finish_reason") or "no reason given"
        raise EndpointError(f"the model answered nothing ({str(why)[:_QUOTED_CHARACTERS]}); try another model")
    return content


def _complaint(error: urllib.error.HTTPError, key: str) -> str:
    """What the server says, in one short line and without the key."""
    try:
        said = error.read(1 << 16).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    try:
        stated = json.loads(said)["error"]
        said = str(stated["message"]) if isinstance(stated, dict) else str(stated)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    said = " ".join(said.replace(key, "***").split() if key else said.split())
    return f" ({said[:_QUOTED_CHARACTERS]})" if said else ""


def _retry_after_s(headers: Message) -> float | None:
    try:
        wait_s = float(headers.get("Retry-After", ""))
    except ValueError:  # a date, or nothing
        return None
    return wait_s if 0.0 <= wait_s < float("inf") else None


def _check_url(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
        fits = fits and url.isascii() and url.isprintable() and " " not in url
    except ValueError:
        fits = False
    if not fits:
        raise OptionError(f"the endpoint's URL is {url!r}, expected something like http://127.0.0.1:8000/v1")


def _is_loopback(url: str) -> bool:
    host = urllib.parse.urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
