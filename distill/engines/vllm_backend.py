"""Sampling with vLLM's offline engine, inside a worker process in the serving environment.

Requests go straight into vLLM's scheduler as they arrive, so its batch stays full. Each has its own seed, but a
completion may still depend on the batch that it came in. Every request's seed costs vLLM one small draw a step: a server
without seeds is faster for very large batches of small models.
"""

from collections.abc import Iterator
from typing import Any

from distill.engines.chat import encode_request, open_chat
from distill.engines.wire import Inbox, Settings, unloadable


class VllmBackend:
    """A model in vLLM with its tokenizer."""

    def __init__(self, settings: Settings) -> None:
        from vllm import LLM  # type: ignore[import-not-found, unused-ignore]
        from vllm.platforms import current_platform  # type: ignore[import-not-found, unused-ignore]

        self.chat = open_chat(settings)
        try:
            llm = LLM(
                model=settings.model,
                revision=settings.revision,
                tokenizer_revision=settings.revision,
                trust_remote_code=settings.trust_remote_code,
                dtype=settings.dtype,
                load_format="safetensors",
                max_model_len=settings.context_tokens,
                max_num_seqs=settings.concurrency,
                tensor_parallel_size=settings.tensor_parallel,
                enforce_eager=current_platform.is_cpu(),  # compiling takes longer than a CPU run is worth
                seed=0,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise unloadable(settings.model, error) from error
        self.engine = llm.llm_engine
        self.context_tokens = int(self.engine.model_config.max_model_len)

    def complete(self, inbox: Inbox, sampling: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
        """Completions in the order in which they finish, those of one step together."""
        asked: dict[str, tuple[str, int]] = {}
        number = 0
        while asked or not inbox.ended:
            done: list[dict[str, Any]] = []
            for request in inbox.take(wait=not asked):
                prompt = encode_request(self.chat, request, self.context_tokens)
                if isinstance(prompt, dict):
                    done.append(prompt)
                    continue
                number += 1
                asked[str(number)] = (request["key"], len(prompt))
                self._ask(str(number), prompt, request["seed"], sampling)
            finished = [output for output in self.engine.step() if output.finished] if asked else []
            done += [self._completion(*asked.pop(output.request_id), output.outputs[0]) for output in finished]
            if done:
                yield done

    def _ask(self, name: str, prompt: list[int], seed: int, sampling: dict[str, Any]) -> None:
        """Puts one request into vLLM's scheduler."""
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind  # type: ignore[import-not-found, unused-ignore]

        wanted = SamplingParams(
            temperature=sampling["temperature"],
            top_p=sampling["top_p"],
            max_tokens=min(sampling["max_tokens"], self.context_tokens - len(prompt)),
            seed=seed % 2**63,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self.engine.add_request(name, {"prompt_token_ids": prompt}, wanted)

    def _completion(self, key: str, prompt_tokens: int, output: Any) -> dict[str, Any]:
        reason = output.finish_reason if output.finish_reason in ("stop", "length") else "error"
        return {
            "key": key,
            "content": self.chat.text(list(output.token_ids)),
            "finish_reason": reason,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": len(output.token_ids),
            "failure": None if reason != "error" else f"vllm_{output.finish_reason}",
        }
