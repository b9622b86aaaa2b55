"""A tokenizer as the encoding pass uses it: the ids of `tokenizer(text)`, in less time.

- The Rust tokenizer is asked without the offsets of each token, which cost about as much as the ids.
- Where the tokenizer is a byte-level BPE of tiktoken's kind, tiktoken encodes text in NFC. Its ids are
  compared with the tokenizer's own on `PROOFS`, on the first texts of each process and on some of the later
  ones. After one difference it is not asked again.

It does not batch: one process encodes on one core, and there are as many processes as cores.
"""

import importlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

from distill.text import chat_template

PROVEN_FIRST, PROVEN_EACH = 64, 127
"""The first texts of a process, and one of so many, are encoded by the tokenizer itself too, and compared.
The second is odd, because a row is two texts."""


class Encoder:
    """What `distill.text.chat_template` asks of a tokenizer. `exact` turns tiktoken off."""

    def __init__(self, tokenizer: Any) -> None:
        self.chat_template = tokenizer.chat_template
        self.eos_token, self.eos_token_id = tokenizer.eos_token, tokenizer.eos_token_id
        self.exact, self._asked = False, 0
        self._tokenizer = tokenizer
        self._added: dict[str, int] = dict(tokenizer.get_added_vocab())
        self._rust = getattr(tokenizer, "backend_tokenizer", None)
        self._tiktoken = None if self._rust is None else like_tiktoken(json.loads(self._rust.to_str()))
        if self._tiktoken is not None:
            proofs = (*chat_template.PROOFS, *self._added, *(f"a {text}\n\n{text}b" for text in self._added))
            self.exact = any(self._own(text) != self._fast(text) for text in proofs)

    @property
    def name(self) -> Literal["tiktoken", "tokenizers", "python"]:
        """What encodes."""
        if self._tiktoken is not None and not self.exact:
            return "tiktoken"
        return "tokenizers" if self._rust is not None else "python"

    def get_added_vocab(self) -> dict[str, int]:
        return self._added

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        **variables: bool,
    ) -> str:
        return str(
            self._tokenizer.apply_chat_template(
                messages, tokenize=tokenize, add_generation_prompt=add_generation_prompt, **variables
            )
        )

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool = False) -> list[int]:
        if split_special_tokens or add_special_tokens or self._rust is None:
            ids: list[int] = self._tokenizer.encode(
                text, add_special_tokens=add_special_tokens, split_special_tokens=split_special_tokens
            )
            return ids
        if self.name != "tiktoken":
            return self._own(text)
        ids, self._asked = self._fast(text), self._asked + 1
        if self._asked <= PROVEN_FIRST or self._asked % PROVEN_EACH == 0:
            self.exact = ids != self._own(text)
        return ids

    def decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        if self.name == "tiktoken" and not skip_special_tokens:
            assert self._tiktoken is not None
            return str(self._tiktoken.decode(ids))
        return str(
            self._tokenizer.decode(
                ids,
                skip_special_tokens=skip_special_tokens,
                clean_up_tokenization_spaces=clean_up_tokenization_spaces,
            )
        )

    def _own(self, text: str) -> list[int]:
        assert self._rust is not None
        self._rust.encode_special_tokens = False
        ids: list[int] = self._rust.encode_batch_fast([text], add_special_tokens=False)[0].ids
        return ids

    def _fast(self, text: str) -> list[int]:
        """Ids by tiktoken; by the tokenizer where text is not in NFC, or tiktoken panics (no Exception)."""
        assert self._tiktoken is not None
        if not text.isascii() and not unicodedata.is_normalized("NFC", text):
            return self._own(text)
        try:
            ids: list[int] = self._tiktoken.encode(text, allowed_special="all")
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:
            return self._own(text)
        return ids


def like_tiktoken(tokenizer: Mapping[str, Any]) -> Any:
    """tiktoken's encoding of a `tokenizer.json`; None: it is not installed, or this is none of its kind.

    Its kind is a byte-level BPE whose merges come in the order of their ids, split by one expression, with
    added tokens that are taken out of the text as they stand.
    """
    try:
        tiktoken: Any = importlib.import_module("tiktoken")
    except ImportError:
        return None
    pattern, model = _pattern(tokenizer), tokenizer["model"]
    added = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    plain = not any(
        token[flag]
        for token in tokenizer["added_tokens"]
        for flag in ("single_word", "lstrip", "rstrip", "normalized")
    )
    apart = not any(after.startswith(before) for before, after in pairwise(sorted(added)))
    if (
        pattern is None
        or not (plain and apart)
        or model["type"] != "BPE"
        or model.get("byte_fallback")
        or model.get("dropout")
        or (tokenizer.get("normalizer") or {"type": "NFC"})["type"] != "NFC"
    ):
        return None
    vocabulary = {token: number for token, number in model["vocab"].items() if token not in added}
    merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    made = [vocabulary.get("".join(merge), -1) for merge in merges]
    bytes_of = _byte_of_character()
    if any(after <= before for before, after in pairwise([-1, *made])):
        return None
    try:
        ranks = {bytes(bytes_of[one] for one in token): number for token, number in vocabulary.items()}
        return tiktoken.Encoding("student", pat_str=pattern, mergeable_ranks=ranks, special_tokens=added)
    except (KeyError, ValueError):
        return None


def _pattern(tokenizer: Mapping[str, Any]) -> str | None:
    """The expression that splits text for a byte-level BPE, where there is one alone."""
    match tokenizer.get("pre_tokenizer"):
        case {
            "type": "Sequence",
            "pretokenizers": [
                {
                    "type": "Split",
                    "pattern": {"Regex": str(pattern)},
                    "behavior": "Isolated",
                    "invert": False,
                },
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        }:
            return pattern
    return None


def _byte_of_character() -> dict[str, int]:
    """The byte that each character of a byte-level vocabulary stands for (GPT-2, `bytes_to_unicode`)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {chr(256 + at): byte for at, byte in enumerate(rest)}
