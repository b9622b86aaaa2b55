"""A saved student is loaded as it will be served, and asked a few prompts of its dataset, greedily.

The check looks at whether answers end by themselves: a student whose EOS was lost writes on for ever, and no
loss shows that. It says nothing about whether an answer is right. It fails no training: a student of a few
steps has not learned to stop.
"""

import gc
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from distill.recipe import Base
from distill.train.tokens import Rows
from distill.workers import Say

PROMPTS = 4
ROOM = 4
"""An answer may be so many times as long as the one that was trained on."""
LEAST_TOKENS, MOST_TOKENS = 64, 1024


class Stopped(NamedTuple):
    """How many prompts were asked, and how many answers ended with the EOS."""

    asked: int
    stopped: int


def check(model: Path, base: Base, rows: Rows, say: Say) -> Stopped:
    """Asks the prompts with the shortest trained answers, which the bound leaves the most room for; says how
    many stopped.

    A model that cannot be loaded or asked is told, and counts as not asked.
    """
    shortest = np.argsort(rows.lengths - rows.prompts, kind="stable")[:PROMPTS]
    try:
        found = _ask(model, base, rows, [int(row) for row in shortest])
    except Exception as error:  # the student is saved: what goes wrong here must not take it away
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        say("note", message=f"WARNING: the saved student could not be asked a prompt ({cause})")
        return Stopped(0, 0)
    if found.stopped == found.asked:
        say(
            "note",
            message=f"{found.stopped} of {found.asked} greedy answers end by themselves",
        )
    else:
        say(
            "note",
            message=f"WARNING: {found.asked - found.stopped} of {found.asked} greedy answers do "
            "NOT end by themselves: it has not learned to stop. Train it on more rows or more epochs, and "
            "look at base.end_of_turn",
        )
    return found


def _ask(folder: Path, base: Base, rows: Rows, chosen: list[int]) -> Stopped:
    import torch
    from transformers import AutoModelForCausalLM, GenerationConfig

    gc.collect()
    torch.cuda.empty_cache()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        folder, dtype="auto", trust_remote_code=base.trust_remote_code, use_safetensors=True
    )
    model = loaded.to(device)
    ends, stopped = set(GenerationConfig.from_pretrained(folder).eos_token_id), 0
    for row in chosen:
        ids, prompt = rows[row]["input_ids"], int(rows.prompts[row])
        most = int(np.clip(ROOM * (len(ids) - prompt), LEAST_TOKENS, MOST_TOKENS))
        asked = torch.from_numpy(ids[:prompt])[None].to(device)
        with torch.inference_mode():
            answer = model.generate(
                asked, attention_mask=torch.ones_like(asked), max_new_tokens=most, do_sample=False
            )
        stopped += int(answer[0, -1]) in ends
    return Stopped(len(chosen), stopped)
