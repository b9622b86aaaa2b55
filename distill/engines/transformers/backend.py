"""Batched sampling with a transformers model on the CPU or on one GPU, inside a worker process.

The loop is our own, because `generate` has one random stream for a whole batch and ends with its longest row. Here
every request has its own stream, and a finished row's place is taken by the next prompt. In float64 a completion
depends on model, prompt, seed and settings only: rounding differs with the batch by about 1e-15 and would have to meet
a draw that close to an edge. In other formats the batch can tip a close call. Not promised: the speed of a serving
engine, or more than one GPU.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface, AutoModelForCausalLM
from transformers.masking_utils import sdpa_mask

from distill import hardware
from distill.engines.transformers.batch import Batch, Row
from distill.engines.transformers.chat import encode_request, open_chat
from distill.engines.transformers.slot_cache import attend
from distill.engines.transformers.wire import BackendError, Inbox, Settings, unloadable


class TransformersBackend:
    """A loaded model with its tokenizer."""

    def __init__(self, settings: Settings) -> None:
        self.chat = open_chat(settings)
        self.model = load(settings)
        self.concurrency = settings.concurrency
        text_config = self.model.config.get_text_config(decoder=True)
        self.context_tokens: int = settings.context_tokens or getattr(text_config, "max_position_embeddings", None) or 2**31
        named = self.model.generation_config.eos_token_id
        self.ends = frozenset([*(named if isinstance(named, list) else [named]), self.chat.tokenizer.eos_token_id]) - {None}
        if not self.ends:
            raise BackendError("the model names no end-of-sequence token: every completion would run to max_tokens")

    @torch.inference_mode()
    def complete(self, inbox: Inbox, sampling: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
        """Completions in the order in which they finish, those of one step together."""
        waiting: deque[Row] = deque()
        batch = Batch(self.model, self.ends, self.concurrency, sampling["temperature"], sampling["top_p"])
        while waiting or batch.running or not inbox.ended:
            done: list[dict[str, Any]] = []
            for request in inbox.take(wait=not waiting and not batch.running):
                row = self._row(request)
                if isinstance(row, Row):
                    waiting.append(row)
                else:
                    done.append(row)
            finished = batch.admit(waiting)
            if batch.running:
                finished += batch.step()
            done += [self._completion(row) for row in finished]
            if done:
                yield done

    def _row(self, request: dict[str, Any]) -> Row | dict[str, Any]:
        """The row of a request, or its completion when the model cannot be asked."""
        prompt = encode_request(self.chat, request, self.context_tokens)
        if isinstance(prompt, dict):
            return prompt
        return Row(request["key"], tuple(prompt), request["seed"], min(request["max_tokens"], self.context_tokens - len(prompt)))

    def _completion(self, row: Row) -> dict[str, Any]:
        return {
            "key": row.key,
            "content": self.chat.text(row.tokens[:-1] if row.reason == "stop" else row.tokens),
            "finish_reason": row.reason,
            "prompt_tokens": len(row.prompt),
            "completion_tokens": len(row.tokens),
        }


def load(settings: Settings) -> Any:
    """The model in evaluation mode on the GPU if there is one; BackendError says why it cannot be had."""
    hardware.without_cudnn_attention()
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            settings.model,
            revision=settings.revision,
            trust_remote_code=settings.trust_remote_code,
            use_safetensors=True,
            dtype=settings.dtype if settings.dtype == "auto" else getattr(torch, settings.dtype),
        )
    except (OSError, ValueError, KeyError) as error:
        raise unloadable(settings.model, error) from error
    use_slots(model)
    model.eval()
    return model.to("cuda" if torch.cuda.is_available() else "cpu")


def use_slots(model: Any) -> None:
    """Gives a model that would use SDPA the attention of `slot_cache`; others keep their own."""
    AttentionInterface.register("slots", attend)
    AttentionMaskInterface.register("slots", sdpa_mask)
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation("slots")
