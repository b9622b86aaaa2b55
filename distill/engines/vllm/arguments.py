"""How a model is laid over the GPUs of this machine: which servers there are, and what each is started with.

One server a GPU group: tensor-parallel inside, copies outside (vLLM's offline data-parallel mode has stalled
for others, and one server that dies would take all with it). Options hold no secret. Nothing is started here.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from distill import hardware
from distill.engines.protocol import EngineError
from distill.engines.transformers import model_name
from distill.hardware import memory, shapes
from distill.recipe import Teacher
from distill.text import chat_template
from distill.workers import ROOT

BESIDE_CACHE_GIB = 4.0
"""Of a server beside weights and cache (CUDA's context, activations, graphs): 2.1 on an H100 for 1.4 B
parameters, 512 sequences."""
SHOWN_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
ON_A_PROCESSOR = ["--enforce-eager", "--no-enable-chunked-prefill"]
"""Compiling takes longer than a CPU run is worth; and vLLM 0.32 ends when a request with a seed is prefilled
in parts there, because torch's generator for CPUs has no offset to set back."""
DEFAULTS = {
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "VLLM_CPU_KVCACHE_SPACE": "4",  # GiB; only a build for CPUs reads it
}
"""The servers' environment unless the person set something else."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One server: where it listens, and what it is started with."""

    port: int
    options: tuple[str, ...]
    environment: dict[str, str]


def plans(teacher: Teacher, ports: Sequence[int], where: Sequence[str]) -> list[Plan]:
    """The servers of a teacher, one at each place (a `CUDA_VISIBLE_DEVICES` value, or "" for no GPU)."""
    cache = Path(os.environ.get("VLLM_CACHE_ROOT", "~/.cache/vllm")).expanduser()
    fitted = [] if where[0] else ON_A_PROCESSOR
    if where[0] and teacher.engines_per_gpu > 1:
        fitted = _share(teacher)
    found = []
    for number, (port, place) in enumerate(zip(ports, where, strict=True)):
        environment = {"CUDA_VISIBLE_DEVICES": place} if place else {}
        if len(where) > 1:  # servers that start together must not compile into one folder
            environment["VLLM_CACHE_ROOT"] = str(cache / f"distill-{number}")
        options = (*_options(teacher, port, len(where)), *fitted, *teacher.serve_options)
        found.append(Plan(port, options, environment))
    return found


def places(teacher: Teacher, gpus: Sequence[str]) -> list[str]:
    """Where a teacher's servers run: a group of GPUs each, `engines_per_gpu` to a group; "" without a GPU."""
    if not gpus:
        return [""] * (teacher.replicas or 1)
    width = teacher.tensor_parallel
    groups = [",".join(gpus[start : start + width]) for start in range(0, len(gpus) - width + 1, width)]
    slots = [group for group in groups for _ in range(teacher.engines_per_gpu)]
    if not slots or (teacher.replicas or 1) > len(slots):
        raise EngineError(
            f"teacher.tensor_parallel={width}, teacher.engines_per_gpu={teacher.engines_per_gpu}, "
            f"teacher.replicas={teacher.replicas} do not fit on {len(gpus)} GPUs: lower one of them, or show "
            "more GPUs with CUDA_VISIBLE_DEVICES"
        )
    return slots[: teacher.replicas]


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    found = [str(number) for number in range(len(hardware.gpus()))]
    named = [part.strip() for part in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if part.strip()]
    return named[: len(found)] or found


def vllm_python() -> str:
    """The Python of the serving environment."""
    own = ROOT / ".venv-vllm" / "bin" / "python"
    return os.environ.get("DISTILL_VLLM_PYTHON") or (str(own) if own.exists() else sys.executable)


def hides_tags(teacher: Teacher) -> bool:
    """Whether think or answer tags are special tokens, which vLLM leaves out of a text unless told not to."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = chat_template.tokenizer_file(model_name(teacher), name, teacher.revision)
        if path is not None:
            held = json.loads(path.read_text(encoding="utf-8"))
            tokens = [*held.get("added_tokens", ()), *held.get("added_tokens_decoder", {}).values()]
            if any(token["special"] and token["content"] in SHOWN_TAGS for token in tokens):
                return True
    return False


def _options(teacher: Teacher, port: int, servers: int) -> list[str]:
    """What every server is told; a model folder's own sampling defaults do not slip in."""
    told: dict[str, object] = {
        "--host": "127.0.0.1",
        "--port": port,
        "--served-model-name": teacher.model,
        "--dtype": teacher.dtype,
        "--seed": 0,
        "--load-format": "safetensors",
        "--generation-config": "vllm",
        "--max-num-seqs": -(-teacher.concurrency // servers),
        "--tensor-parallel-size": teacher.tensor_parallel,
        "--uvicorn-log-level": "warning",
        "--revision": teacher.revision,
        "--tokenizer-revision": teacher.revision,
        "--max-model-len": teacher.context_tokens,
        "--reasoning-parser": teacher.reasoning_parser,
    }
    options = [word for name, value in told.items() if value is not None for word in (name, str(value))]
    trusted = ["--trust-remote-code"] if teacher.trust_remote_code else []
    return [*options, "--enable-prompt-tokens-details", *trusted]


def _share(teacher: Teacher) -> list[str]:
    """Memory of one of several servers on a GPU; the cache is given: the others disturb its measurement."""
    share = memory.VLLM_SHARE / teacher.engines_per_gpu
    options = ["--gpu-memory-utilization", f"{share:.3f}"]
    if "--kv-cache-memory-bytes" in teacher.serve_options:
        return options
    shape = shapes.guess(teacher.model)
    if shape is None:
        raise EngineError(
            f"teacher.engines_per_gpu: the size of {teacher.model} is not known here; add "
            "--kv-cache-memory-bytes to teacher.serve_options"
        )
    weights = shape.parameters * memory.NUMBER_BYTES[teacher.dtype] / teacher.tensor_parallel
    cache = (share * min(gpu.memory_gib for gpu in hardware.gpus()) - BESIDE_CACHE_GIB) * memory.GIB - weights
    if cache < memory.GIB:
        raise EngineError(
            f"teacher.engines_per_gpu={teacher.engines_per_gpu}: so many copies of {teacher.model} do not "
            "fit on one GPU"
        )
    return [*options, "--kv-cache-memory-bytes", str(int(cache))]
