"""One next token for each row of a batch, each from the row's own stream of random numbers.

A row's token depends on its logits, its seed and its step, not on the rows beside it. The nucleus is the
smallest set of most likely tokens with at least `top_p` of the probability (Holtzman et al. 2020); tokens as
likely as its last one belong to it. The draw inverts the cumulative distribution in the order of the
vocabulary, so that two tokens whose probabilities differ by rounding only cannot trade places.
"""

import numpy
import torch
from numpy.typing import NDArray

SHORTLIST = 64
"""Most likely tokens that are looked at first: sorting the whole vocabulary costs four times as much."""


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
    """Token ids (rows,) for logits (rows, vocabulary) and one uniform number a row; greedy at 0."""
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
    """The probability of the nucleus's least likely token, (rows, 1)."""
    likeliest = probabilities.topk(min(SHORTLIST, probabilities.shape[-1])).values
    reached = likeliest.cumsum(-1, dtype=torch.float64)
    if bool((reached[:, -1] < top_p).any()):
        likeliest = probabilities.sort(-1, descending=True).values
        reached = likeliest.cumsum(-1, dtype=torch.float64)
    last = (reached < top_p).sum(-1, keepdim=True).clamp(max=likeliest.shape[-1] - 1)
    return likeliest.gather(-1, last)
