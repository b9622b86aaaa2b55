"""What the parent and the worker of a local engine say to each other: JSON lines over two pipes.

    parent: open {settings}, then for each call: begin {sampling}, requests [...], ..., end
    worker: ready {facts}, completions [...], ..., done; or fatal {cause}

It does not check what it is told: both ends are ours.
"""

import json
import queue
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any


class BackendError(RuntimeError):
    """The model cannot be used; the message names the cause and, unless the log is needed for it, the remedy."""

    def __init__(self, cause: str, see_log: bool = False) -> None:
        super().__init__(cause)
        self.see_log = see_log


@dataclass(frozen=True, slots=True)
class Settings:
    """What a worker opens its model with; the fields are those of `recipe.Teacher`."""

    model: str
    revision: str | None
    dtype: str
    trust_remote_code: bool
    concurrency: int
    context_tokens: int | None


@dataclass(slots=True)
class Inbox:
    """The requests of one call as they arrive; `gone` when the parent is no longer there."""

    lines: "queue.Queue[dict[str, Any] | None]" = field(default_factory=queue.Queue)
    """Messages of the parent in order; None when the pipe was closed."""
    ended: bool = False
    """The parent has sent all requests of this call."""

    def message(self) -> dict[str, Any]:
        """The next message; SystemExit when the parent has closed the pipe."""
        message = self.lines.get()
        if message is None:
            raise SystemExit(0)
        return message

    def take(self, wait: bool) -> list[dict[str, Any]]:
        """All requests that have arrived; with `wait`, at least one unless the call has ended."""
        taken: list[dict[str, Any]] = []
        while not self.ended and ((wait and not taken) or not self.lines.empty()):
            message = self.message()
            self.ended = message["kind"] == "end"
            taken.extend(message.get("requests", ()))
        return taken


def send(stream: IO[str], kind: str, values: Mapping[str, Any]) -> None:
    """Writes one message and flushes it."""
    stream.write(json.dumps({"kind": kind, **values}) + "\n")
    stream.flush()


def unloadable(model: str, error: Exception) -> BackendError:
    """What an error of `from_pretrained` (or the last one in vLLM's log) means for the person who named the model."""
    text = " ".join(str(error).split())
    remedies = {
        "offline mode": "download the model first and give its folder as the teacher's model, or unset HF_HUB_OFFLINE",
        "onnect": "the hub cannot be reached: download the model and give its folder as the teacher's model",
        "gated": "ask for access on the hub and set HF_TOKEN",
        "not a valid model identifier": "write a hub id or the path of a folder; for a private model set HF_TOKEN",
        "safetensors": "only safetensors weights are loaded, because other formats can run code: convert the model",
        "trust_remote_code": "set teacher.trust_remote_code = true after reading the model's code",
        "does not recognize this architecture": "the installed transformers is too old for this model",
        "max_model_len": "lower teacher.context_tokens to what the model was made for",
        "reasoning parser": "name this model's own in teacher.reasoning_parser, or unset it: thinking that comes in the text is split here",
        "KV cache is needed": "lower teacher.context_tokens, or raise teacher.tensor_parallel",
        "Free memory on device": "another program uses the GPU: end it, or add --gpu-memory-utilization to teacher.serve_options",
        "unrecognized arguments": "this vLLM knows no such option: correct teacher.serve_options",
        "out of memory": "lower teacher.concurrency or teacher.context_tokens, or use a smaller model",
    }
    remedy = next((remedy for sign, remedy in remedies.items() if sign in text), "")
    return BackendError(f"cannot open {model}: {remedy or type(error).__name__} ({text[:300]})", see_log=not remedy)
