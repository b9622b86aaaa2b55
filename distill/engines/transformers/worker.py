"""The child process of the `transformers` engine: `python -m distill.engines.transformers.worker`.

Parent and child speak in lines of JSON over two pipes; neither checks what it is told, because both ends are
ours.

    parent: open {settings}, then for each call: begin {sampling}, requests [...], ..., end
    child:  ready {opens_thinking}, completions [...], ..., done; or fatal {cause, see_log}
"""

import json
import queue
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from distill import hardware, workers
from distill.text import chat_template

if TYPE_CHECKING:
    from distill.engines.transformers.generation import Row

KEPT = (*chat_template.THINK_TAGS, "<answer>", "</answer>")
"""Tags that stay in the text although some tokenizers have them as special tokens."""

Turns = tuple[tuple[str, str], ...]


class BackendError(RuntimeError):
    """The model cannot be used; the message names cause and, unless the log is needed, remedy."""

    def __init__(self, cause: str, see_log: bool = False) -> None:
        super().__init__(cause)
        self.see_log = see_log


@dataclass(frozen=True, slots=True)
class Settings:
    """What the child opens its model with; the fields are those of `recipe.Teacher`."""

    model: str
    revision: str | None
    dtype: str
    trust_remote_code: bool
    concurrency: int
    context_tokens: int | None


@dataclass(slots=True)
class Inbox:
    """The parent's messages as they arrive."""

    messages: "queue.Queue[dict[str, Any] | None]" = field(default_factory=queue.Queue)
    """In order; None when the pipe was closed."""
    ended: bool = False
    """The parent has sent all requests of this call."""

    def listen(self) -> None:
        """Reads standard input to its end."""
        for line in sys.stdin:
            self.messages.put(json.loads(line))
        self.messages.put(None)

    def next(self) -> dict[str, Any]:
        """The next message; SystemExit when the parent has closed the pipe."""
        message = self.messages.get()
        if message is None:
            raise SystemExit(0)
        return message

    def take(self) -> list[dict[str, Any]]:
        """All requests that have arrived, at least one unless the call has ended."""
        taken: list[dict[str, Any]] = []
        while not self.ended and (not taken or not self.messages.empty()):
            message = self.next()
            self.ended = message["kind"] == "end"
            taken.extend(message.get("requests", ()))
        return taken


class Chat:
    """Encodes prompts as training does (`text.chat_template`) and decodes completions of one model.

    A template that opens `<think>` itself is left alone: the completion then has a closing tag only. A
    tokenizer without a template is an error, because what it would need is not guessed.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise BackendError(
                "the model's tokenizer has no chat template: use an instruction-tuned model, or save a "
                "template with its tokenizer"
            )
        self.tokenizer = tokenizer
        added = tokenizer.added_tokens_decoder.items()
        self.hidden = {number for number, token in added if token.special and token.content not in KEPT}
        self.prompt = lru_cache(maxsize=1024)(self._prompt)  # the samples of one problem share their prompt

    def opens_thinking(self) -> bool:
        """Whether the template's generation prompt ends inside a think block."""
        return self.text(self._prompt((("user", "1"),), "")).rstrip().endswith("<think>")

    def text(self, tokens: list[int]) -> str:
        """The completion's text without control tokens; think tags are kept."""
        kept = [token for token in tokens if token not in self.hidden]
        return str(self.tokenizer.decode(kept, skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _prompt(self, turns: Turns, prefill: str) -> list[int]:
        """Token ids of the conversation, the opening of the assistant's turn and the prefill."""
        from jinja2 import TemplateError

        messages = [{"role": role, "content": text} for role, text in turns]
        try:
            return chat_template.encode_prompt(self.tokenizer, messages, prefill)
        except TemplateError as error:
            remedy = "the model needs another template"
            if turns[0][0] == "system":
                remedy = "unset sampling.system if it is the system turn"
            cause = f"the model's chat template refuses the conversation ({error}): {remedy}"
            raise BackendError(cause) from error


class Backend:
    """A model that completes requests."""

    def __init__(self, settings: Settings) -> None:
        from distill.engines.transformers.generation import Generator

        self.chat = open_chat(settings)
        model = open_model(settings)
        most = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
        self.context_tokens: int = settings.context_tokens or most or 2**31
        named = model.generation_config.eos_token_id
        named = named if isinstance(named, list) else [named]
        ends = frozenset([*named, self.chat.tokenizer.eos_token_id]) - {None}
        if not ends:
            raise BackendError(
                "the model names no end-of-sequence token: every completion would run to max_tokens"
            )
        self.generator = Generator(model, ends, settings.concurrency)

    def complete(self, inbox: Inbox, sampling: dict[str, float], say: workers.Say) -> None:
        """Completes the requests of one call; completions are sent in the order in which they end."""
        from distill.engines.transformers.generation import Row, Sampling

        def ended(rows: list[Row]) -> None:
            found = []
            for row in rows:
                content = self.chat.text(row.tokens[:-1] if row.reason == "stop" else row.tokens)
                found.append(told(row, content))
            say("completions", completions=found)

        while requests := inbox.take():
            rows: list[Row] = []
            for request in requests:
                prompt = self.chat.prompt(tuple(map(tuple, request["messages"])), request["prefill"])
                limit = min(request["max_tokens"], self.context_tokens - len(prompt))
                row = Row(request["key"], tuple(prompt), request["seed"], limit)
                if limit > 0:
                    rows.append(row)
                else:
                    row.reason = "error"  # its prompt fills the context
                    say("completions", completions=[told(row, None, failure="prompt_too_long")])
            self.generator.complete(rows, Sampling(**sampling), ended)


def told(row: "Row", content: str | None, **more: Any) -> dict[str, Any]:
    """A completion as the parent is told of it."""
    counts = {"prompt_tokens": len(row.prompt), "completion_tokens": len(row.tokens)}
    return {"key": row.key, "content": content, "finish_reason": row.reason, **counts, **more}


def open_chat(settings: Settings) -> Chat:
    """The chat of the settings' model; BackendError says why there is none."""
    return Chat(_loaded(chat_template.load_tokenizer, settings))


def open_model(settings: Settings) -> Any:
    """The model in evaluation mode, on the GPU if there is one; BackendError says why it cannot be had."""
    import torch
    from transformers import AutoModelForCausalLM

    hardware.without_cudnn_attention()
    dtype = settings.dtype if settings.dtype == "auto" else getattr(torch, settings.dtype)
    model = _loaded(AutoModelForCausalLM.from_pretrained, settings, use_safetensors=True, dtype=dtype)
    model.eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def _loaded(load: Callable[..., Any], settings: Settings, **options: Any) -> Any:
    told = {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code, **options}
    try:
        return load(settings.model, **told)
    except (OSError, ValueError, KeyError) as error:
        raise unloadable(settings.model, error) from error


def unloadable(model: str, error: Exception) -> BackendError:
    """What an error of `from_pretrained`, or the last one in vLLM's log, means for a person."""
    text = " ".join(str(error).split())
    remedies = {
        "offline mode": (
            "download the model first and give its folder as the teacher's model, or unset HF_HUB_OFFLINE"
        ),
        "onnect": "the hub cannot be reached: download the model and give its folder as the teacher's model",
        "gated": "ask for access on the hub and set HF_TOKEN",
        "not a valid model "
        "identifier": "write a hub id or the path of a folder; for a private model set HF_TOKEN",
        "safetensors": "only safetensors weights are loaded (other formats can run code): convert the model",
        "trust_remote_code": "set teacher.trust_remote_code = true after reading the model's code",
        "does not recognize this architecture": "the installed transformers is too old for this model",
        "max_model_len": "lower teacher.context_tokens to what the model was made for",
        "reasoning parser": (
            "name this model's own in teacher.reasoning_parser, or unset it: thinking that comes in the "
            "text is split here"
        ),
        "KV cache is needed": "lower teacher.context_tokens, or raise teacher.tensor_parallel",
        "Free memory on device": (
            "another program uses the GPU: end it, or add --gpu-memory-utilization to teacher.serve_options"
        ),
        "unrecognized arguments": "this vLLM knows no such option: correct teacher.serve_options",
        "out of memory": "lower teacher.concurrency or teacher.context_tokens, or use a smaller model",
    }
    remedy = next((remedy for sign, remedy in remedies.items() if sign in text), "")
    return BackendError(
        f"cannot open {model}: {remedy or type(error).__name__} ({text[:300]})", see_log=not remedy
    )


def main() -> None:
    """Serves one parent until it closes the pipe; a model that cannot be opened is a message, not a trace."""
    say, inbox = workers.begin(), Inbox()
    threading.Thread(target=inbox.listen, daemon=True).start()
    try:
        backend = Backend(Settings(**inbox.next()["settings"]))
        say("ready", opens_thinking=backend.chat.opens_thinking())
        while True:
            sampling = inbox.next()["sampling"]
            inbox.ended = False
            backend.complete(inbox, sampling, say)
            say("done")
    except BackendError as error:
        say("fatal", cause=str(error), see_log=error.see_log)
    except ModuleNotFoundError as error:
        cause = f"{error.name} is not installed for {sys.executable}: install it there"
        say("fatal", cause=cause, see_log=False)


if __name__ == "__main__":
    main()
