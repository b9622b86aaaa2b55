"""A completion that comes in pieces (server-sent events), put together into the reply that a whole one would
be.

Only the first choice is kept. A stream that ends before the server has said that it is finished is broken
off, and what a server counts of it is still counted. Text outside events, comments and unknown fields are
passed over.
"""

import json
from typing import Any

from distill.engines.server.wire_format import FIELDS, said, thinking

DONE = b"[DONE]"
ABOUT = ("model", "usage", "system_fingerprint", "error", "code", "type", "message", "status", "base_resp")
"""What events tell beside their pieces."""


class Stream:
    """The pieces of one completion so far."""

    def __init__(self) -> None:
        self.done = False
        """Whether the server has said that nothing follows."""
        self.fault = ""
        """Why an event could not be read; the rest is not looked at then."""
        self._rest = b""
        self._data: list[bytes] = []
        self._content: list[str] = []
        self._fields: dict[str, list[str]] = {}
        self._finish: Any = None
        self._began = False
        self._about: dict[str, Any] = {}

    def feed(self, data: bytes) -> None:
        """Takes the next bytes."""
        *lines, self._rest = (self._rest + data).split(b"\n") if b"\n" in data else [self._rest + data]
        for line in lines:
            self._line(line.rstrip(b"\r"))

    def end(self) -> None:
        """Takes what no line break has ended."""
        self._line(self._rest.rstrip(b"\r"))
        self._line(b"")

    @property
    def broken(self) -> bool:
        """Whether a completion began, and neither its end nor an error was told."""
        return self._began and not self.done and self._finish is None and "error" not in self._about

    def reply(self) -> dict[str, Any]:
        """What a whole reply would be, as far as it came."""
        message: dict[str, Any] = {"content": "".join(self._content)} if self._content else {}
        message |= {name: "".join(pieces) for name, pieces in self._fields.items()}
        choices = [{"message": message, "finish_reason": self._finish}] if self._began else []
        return self._about | {"choices": choices}

    def _line(self, line: bytes) -> None:
        if line.startswith(b"data:"):
            self._data.append(line[5:].lstrip())
        elif not line and self._data:
            data, self._data = b"\n".join(self._data).strip(), []
            try:
                if data == DONE:
                    self.done = True
                elif data and not self.fault:
                    self._event(json.loads(data))
            except (ValueError, RecursionError) as error:
                self.fault = f"{type(error).__name__}: {error}"

    def _event(self, event: Any) -> None:
        if not isinstance(event, dict):
            raise ValueError(f"an event is {type(event).__name__}, not an object")
        self._about |= {name: event[name] for name in ABOUT if event.get(name) is not None}
        choices: Any = event.get("choices")
        listed = choices if isinstance(choices, list) else []
        choice = next((one for one in listed if isinstance(one, dict) and not one.get("index")), None)
        if choice is None:
            return
        self._began = True
        if choice.get("finish_reason") is not None:
            self._finish = choice["finish_reason"]
        if choice.get("error"):
            self._about["error"] = choice["error"]
        delta = choice.get("delta") or choice.get("message")
        if not isinstance(delta, dict):
            return
        if (content := delta.get("content")) is not None:
            parts = said({"content": content})
            self._content.append(parts.content or "")
            if parts.reasoning:
                self._fields.setdefault("thinking_blocks", []).append(parts.reasoning)
        for name in FIELDS:
            if name in delta and (text := thinking(delta[name], "")):
                self._fields.setdefault(name, []).append(text)


def is_stream(text: bytes) -> bool:
    """Whether a body is a stream of events, whatever its header says."""
    return text.lstrip().startswith((b"data:", b"event:", b": ", b":\n"))
