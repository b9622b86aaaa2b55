"""Sampling with a transformers model on the CPU or on one GPU, by its own `generate`, inside a worker
process.

Each row of a batch draws from a stream of its own and is reported at the step that ends it. `generate` is
left when a quarter of the rows has ended, and the others go on in a smaller batch with their cache. The next
batch starts when the last row has ended: to join new prompts with half-done rows would pad them to the length
of the longest. In float64 a completion depends on model, prompt, seed and settings only: rounding differs
with the batch by about 1e-15 and would have to meet a draw that close to an edge. In other formats the batch
can tip a close call. Not promised: the speed of a serving engine, or more than one GPU.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy
import torch
from numpy.typing import NDArray
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PREFILL_TOKENS = 16384
"""Prompt tokens, padding included, that go through the model at once."""
SHRINK = 0.75
"""A batch is made smaller when at most this share runs: rows that have ended cost as much as others."""
SHORTLIST = 64
"""Most likely tokens that are looked at first: sorting the whole vocabulary costs four times as much."""


class Sampling(NamedTuple):
    """What decides a draw beside logits and seed."""

    temperature: float
    top_p: float


@dataclass(slots=True)
class Row:
    """One request on its way."""

    key: str
    prompt: tuple[int, ...]
    seed: int
    limit: int
    """New tokens at most."""
    tokens: list[int] = field(default_factory=list)
    reason: str = ""
    """Finish reason; empty while the row is running."""


Report = Callable[[list[Row]], None]


class Draw(LogitsProcessor):
    """Chooses each row's next token: `generate` has one random stream for all rows, and float32 logits."""

    def __init__(
        self, model: Any, rows: list[Row], ends: frozenset[int], sampling: Sampling, report: Report
    ) -> None:
        self.rows, self.ends, self.sampling, self.report = rows, ends, sampling, report
        self.running = len(rows)
        self.seeds = numpy.array([row.seed % 2**64 for row in rows], numpy.uint64)
        self.steps = numpy.array([len(row.tokens) for row in rows], numpy.uint64)
        self.logits: torch.Tensor
        self.hook = model.register_forward_hook(
            lambda model, inputs, output: setattr(self, "logits", output.logits[:, -1])
        )

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores (rows, vocabulary) in which the chosen token is the likeliest; rows get token and end."""
        draws = torch.from_numpy(uniforms(self.seeds, self.steps)).to(scores.device)
        tokens = choose(self.logits, draws, self.sampling.temperature, self.sampling.top_p)
        self.steps += numpy.uint64(1)
        ended = []
        for row, token in zip(self.rows, tokens.tolist(), strict=True):
            if not row.reason:
                row.tokens.append(token)
                full = len(row.tokens) == row.limit
                row.reason = "stop" if token in self.ends else "length" if full else ""
                if row.reason:
                    ended.append(row)
        self.running -= len(ended)
        if ended:
            self.report(ended)
        return scores.zero_().scatter_(1, tokens[:, None], 1.0)


@dataclass(slots=True)
class Batch:
    """Rows that are in the model together."""

    rows: list[Row]
    ids: torch.Tensor
    """(rows, columns): prompts, padded on the left, and the tokens so far."""
    mask: torch.Tensor
    cache: Any
    """Keys and values of all columns but the last one."""


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """SDPA for transformers' attention interface, without copies of keys and values where there is one query
    a row.

    It folds the query heads of a key-value head into the query length. A batch of grouped-query attention
    took twice the time on a CPU with the copies that transformers makes for every step.
    """
    rows, heads, queries, size = query.shape
    if queries != 1 or heads == key.shape[1] or options.get("position_bias") is not None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    folded = query.reshape(rows, key.shape[1], heads // key.shape[1], size)
    scale = options.get("scaling")
    attended = torch.nn.functional.scaled_dot_product_attention(
        folded, key, value, attn_mask=attention_mask, scale=scale
    )
    return attended.reshape(rows, 1, heads, value.shape[-1]), None


AttentionInterface.register("folded", attend)
AttentionMaskInterface.register("folded", sdpa_mask)


class Generator:
    """A loaded model, with the tokens that end a completion and the most rows of a batch."""

    def __init__(self, model: Any, ends: frozenset[int], size: int) -> None:
        self.model, self.ends, self.size = model, ends, size
        model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call] # the recipe decides, not the model's settings
        if model.config._attn_implementation == "sdpa":
            model.set_attn_implementation("folded")
        layers = DynamicCache(config=model.config).layers
        self.movable = bool(layers) and all(
            type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers
        )
        """Whether rows of the cache can be chosen; recurrent layers keep theirs to the end."""

    @torch.inference_mode()
    def complete(self, rows: list[Row], sampling: Sampling, report: Report) -> None:
        """Completes rows in batches of at most `size`, and reports them as they end."""
        for first in range(0, len(rows), self.size):
            batch: Batch | None = self._start(rows[first : first + self.size])
            while batch:
                batch = self._run(batch, sampling, report)

    def _start(self, rows: list[Row]) -> Batch:
        """A batch of new rows; equal prompts are computed once."""
        distinct = {prompt: number for number, prompt in enumerate(dict.fromkeys(row.prompt for row in rows))}
        width = max(map(len, distinct))
        padded = [[prompt[0]] * (width - len(prompt)) + list(prompt) for prompt in distinct]
        ids = torch.tensor(padded, device=self.model.device)
        lengths = ids.new_tensor(list(map(len, distinct)))
        mask = (torch.arange(width, device=ids.device) >= width - lengths[:, None]).long()
        cache: Any = DynamicCache(config=self.model.config)
        copies = ids.new_tensor([distinct[row.prompt] for row in rows])
        if self.movable:
            positions, step = (mask.cumsum(1) - 1).clamp(min=0), max(1, PREFILL_TOKENS // len(distinct))
            for start in range(0, width - 1, step):
                stop = min(start + step, width - 1)
                asked = {"input_ids": ids[:, start:stop], "position_ids": positions[:, start:stop]}
                told = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
                self.model(**asked, attention_mask=mask[:, :stop], **told)
            cache.batch_select_indices(copies)
        return Batch(rows, ids[copies], mask[copies], cache)

    def _run(self, batch: Batch, sampling: Sampling, report: Report) -> Batch | None:
        """Goes on until it is worth making the batch smaller; gives the rows that still run."""
        draw = Draw(self.model, batch.rows, self.ends, sampling, report)

        def stop(input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
            smaller = self.movable and draw.running <= SHRINK * len(batch.rows)
            return torch.full((len(batch.rows),), smaller or not draw.running, device=input_ids.device)

        try:
            ids = self.model.generate(
                batch.ids,
                attention_mask=batch.mask,
                past_key_values=batch.cache,
                max_new_tokens=max(row.limit - len(row.tokens) for row in batch.rows),
                pad_token_id=0,
                logits_processor=[draw],
                stopping_criteria=[stop],
            )
        finally:
            draw.hook.remove()
        kept = [number for number, row in enumerate(batch.rows) if not row.reason]
        if not kept:
            return None
        index = torch.tensor(kept, device=ids.device)
        new = ids.shape[1] - batch.ids.shape[1]
        mask = torch.nn.functional.pad(batch.mask, (0, new), value=1)
        batch.cache.batch_select_indices(index)
        return Batch([batch.rows[number] for number in kept], ids[index], mask[index], batch.cache)


def uniforms(seeds: NDArray[numpy.uint64], steps: NDArray[numpy.uint64]) -> NDArray[numpy.float64]:
    """One number in [0, 1 - 2**-52] for each (seed, step): SplitMix64 (Steele et al. 2014) as a counter-based
    generator."""
    golden = numpy.uint64(0x9E3779B97F4A7C15)
    mixed = mix(mix(seeds) + (steps + numpy.uint64(1)) * golden)
    return (mixed >> numpy.uint64(12)).astype(numpy.float64) * 2.0**-52


def mix(x: NDArray[numpy.uint64]) -> NDArray[numpy.uint64]:
    """The finaliser of SplitMix64; arithmetic wraps at 64 bits."""
    x = (x ^ (x >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return x ^ (x >> numpy.uint64(31))


def choose(logits: torch.Tensor, draws: torch.Tensor, temperature: float, top_p: float) -> torch.Tensor:
    """Token ids (rows,) for logits (rows, vocabulary) and one uniform number a row; greedy at 0.

    A row's token does not depend on the rows beside it. The draw inverts the cumulative distribution in the
    order of the vocabulary: two tokens whose probabilities differ by rounding only cannot trade places.
    """
    if temperature == 0:
        return logits.argmax(-1)
    scores = logits if logits.dtype == torch.float64 else logits.float()
    probabilities = torch.softmax(scores / temperature, -1)
    if top_p < 1:
        probabilities = probabilities.masked_fill(probabilities < nucleus_edge(probabilities, top_p), 0)
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)
    target = draws.to(cumulative.dtype)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True)[:, 0]


def nucleus_edge(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """The probability of the nucleus's least likely token, (rows, 1): the nucleus is the smallest set of most
    likely tokens with at least `top_p` of the probability (Holtzman et al. 2020), and those as likely as its
    last one."""
    likeliest = probabilities.topk(min(SHORTLIST, probabilities.shape[-1])).values
    reached = likeliest.cumsum(-1, dtype=torch.float64)
    if bool((reached[:, -1] < top_p).any()):
        likeliest = probabilities.sort(-1, descending=True).values
        reached = likeliest.cumsum(-1, dtype=torch.float64)
    last = (reached < top_p).sum(-1, keepdim=True).clamp(max=likeliest.shape[-1] - 1)
    return likeliest.gather(-1, last)
