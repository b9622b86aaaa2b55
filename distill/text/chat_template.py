"""Conversations as token ids: one rendering for training and for sampling, with the student's own chat
template.

Special tokens come from the template only. Text that merely *says* `<|im_end|>` (in a problem, or in a trace)
is encoded as text: it is hidden from the template's output while that is parsed, and encoded piece by piece.
Each training row is decoded again and compared with what it says. Heavy libraries are imported to load a
tokenizer only.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

SHOWN, CAUSE_CHARACTERS = 30, 300  # of a difference in an error, and of an error
FIRST_SENTINEL = 0xF0000  # a private-use plane: no tokenizer knows these characters, no problem contains them
THINK_TAGS = OPEN, CLOSE = "<think>", "</think>"
EMPTY_BLOCK = f"{OPEN}\n\n{CLOSE}\n\n"
"""Stands before a completion without thinking where the template opens the block: Qwen3, LLaMA-Factory and
open-instruct train it so."""
DROPS_THINKING = "distill: the thinking is dropped"
"""A template that has these words in a comment renders an assistant's answer alone, and rows are compared
with the answer."""
PROOFS = (
    "The answer is \\boxed{42}.\n\n\tSo: x_1 + x_2 = 3,141.59  (I'm sure; they'LL see)\r\n   \n",
    "二加二等于四。Ünïcödé — ½ ≠ ¾ 🤔👩‍🔬 \u00a0\u3000 कि  ا ١٢٣",
    "def f(x):\n    return {'a': [1, 22, 333, 4444]}  # 'S 'd\n\n\n\n",
)
"""Texts on which two ways of encoding are compared."""


class TemplateError(ValueError):
    """A chat template that would train a student wrongly; the message says what it loses."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a conversation's prompt, and of what the student has to say after it, EOS included."""

    prompt: list[int]
    completion: list[int]


def load_tokenizer(model: str, *, revision: str | None = None, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a folder or a hub id, which encodes as its `tokenizer.json` says; raises ValueError
    where none does, and what `from_pretrained` raises.

    transformers 5 builds some classes anew and keeps the vocabulary alone: R1-Distill-Llama names
    `LlamaTokenizerFast`, which then splits at "▁" and loses the white space.
    """
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    named: Any = AutoTokenizer.from_pretrained(model, revision=revision, trust_remote_code=trust_remote_code)
    path = tokenizer_file(model, "tokenizer.json", revision)
    if trust_remote_code or path is None:
        return named
    file, fast = Tokenizer.from_file(str(path)), cast(Any, PreTrainedTokenizerFast)
    wanted = [file.encode(text, add_special_tokens=False).ids for text in PROOFS]
    for tokenizer in (named, fast.from_pretrained(model, revision=revision)):
        if [tokenizer.encode(text, add_special_tokens=False) for text in PROOFS] == wanted:
            return tokenizer
    raise ValueError(f"{model}: transformers reads its tokenizer.json as another tokenizer than it says")


def tokenizer_file(model: str, name: str, revision: str | None = None) -> Path | None:
    """A file of a model folder, or of the hub's cache once it was loaded from there; None where it is not."""
    if (path := Path(model)).is_dir():
        return path / name if (path / name).is_file() else None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model, name, revision=revision)
    return Path(found) if isinstance(found, str) else None


def encode_prompt(tokenizer: Any, messages: Sequence[Mapping[str, str]], prefill: str = "") -> list[int]:
    """Token ids of a conversation up to where the assistant speaks, with `prefill` unless the template opens
    with it."""
    hidden = special_texts(tokenizer)
    text = _render(tokenizer, [_hide(message, hidden) for message in messages], generation=True)
    if not _ends_with(text, prefill):
        text += prefill
    return _encode(tokenizer, text, hidden)


def encode_pair(
    tokenizer: Any, prompt: Sequence[Mapping[str, str]], completion: Sequence[Mapping[str, str]]
) -> Encoded:
    """Token ids of a training row: a prompt, and the one turn that answers it; raises TemplateError when a
    part of the row is lost.

    The prompt is what `encode_prompt` gives at inference, so what is trained is what is served. The
    completion starts where the generation prompt ends (behind `<think>` where the template opens it) and ends
    with the EOS token. Decoded it is the row's thinking and answer, exactly but for white space at the ends
    of each. A turn without thinking gets an empty think block where the template opens one, and is trained
    as it is elsewhere. Where the template knows `enable_thinking` (Qwen3, SmolLM3), its prompt is the one
    that is served with `enable_thinking` off.
    """
    hidden = special_texts(tokenizer)
    before = [_hide(message, hidden) for message in prompt]
    (turn,) = completion
    thinks = _has_block(turn["content"])
    template = str(tokenizer.chat_template)
    # as vLLM does with `chat_template_kwargs`
    off = {"enable_thinking": False} if not thinks and "enable_thinking" in template else {}
    opened = _render(tokenizer, before, generation=True, **off)
    for message in before:
        if message["role"] != "assistant" and message["content"].strip() not in opened:
            raise TemplateError(f"the chat template loses or changes what the {message['role']} says")
    opens = _ends_with(opened, OPEN)
    prefilled = bool(off) and _ends_with(opened, EMPTY_BLOCK)
    added = EMPTY_BLOCK if not thinks and (opens or prefilled) else ""
    answered = _hide(turn, hidden)
    turns = [*before, {**answered, "content": added + answered["content"]}]
    whole = _render(tokenizer, turns, generation=False, **off)
    if not whole.startswith(opened):
        raise TemplateError(
            "the chat template does not continue its own generation prompt: it strips or moves the thinking"
        )
    rest = whole[len(opened) :]
    said, end, _ = rest.rpartition(tokenizer.eos_token)
    encoded = Encoded(_encode(tokenizer, opened, hidden), _encode(tokenizer, said + end, hidden))
    if not end or encoded.completion[-1] != tokenizer.eos_token_id:
        raise TemplateError(
            f"the chat template does not end the assistant's turn with {tokenizer.eos_token}: the student "
            "would never stop"
        )
    wanted = _parts((added + turn["content"]).removeprefix(OPEN if opens else added if prefilled else ""))
    if DROPS_THINKING in template:
        wanted = ("", "", wanted[2])
    _compare(tokenizer, encoded.completion[:-1], wanted)
    return encoded


def cause(error: Exception) -> str:
    """Why a row cannot be rendered, in one line."""
    said = " ".join(str(error).split())[:CAUSE_CHARACTERS]
    return said if isinstance(error, TemplateError) else f"{type(error).__name__}: {said}"


def special_texts(tokenizer: Any) -> list[str]:
    """Texts that the tokenizer would turn into one added token, longest first."""
    return sorted(tokenizer.get_added_vocab(), key=len, reverse=True)


def _ends_with(text: str, prefill: str) -> bool:
    """Whether the rendered prompt already ends with the prefill, apart from white space at the end."""
    return text.endswith(prefill) if not prefill.strip() else text.rstrip().endswith(prefill.strip())


def _has_block(content: str) -> bool:
    return content.startswith(OPEN) and CLOSE in content


def _parts(content: str) -> tuple[str, str, str]:
    """Thinking, closing tag and answer of a turn, without white space at the ends, in NFC: Qwen's tokenizers
    compose characters."""
    thinking, close, answer = content.rpartition(CLOSE)
    return unicodedata.normalize("NFC", thinking.strip()), close, unicodedata.normalize("NFC", answer.strip())


def _compare(tokenizer: Any, ids: list[int], wanted: tuple[str, str, str]) -> None:
    """Raises TemplateError, with the first difference, unless the ids say the thinking and the answer that
    are wanted."""
    found = _parts(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
    for part, said, want in zip(("thinking", "end of the thinking", "answer"), found, wanted, strict=True):
        if said != want:
            at = next(
                (at for at, pair in enumerate(zip(said, want, strict=False)) if pair[0] != pair[1]),
                min(len(said), len(want)),
            )
            shown = f"{said[at : at + SHOWN]!r} for {want[at : at + SHOWN]!r} at character {at}"
            raise TemplateError(f"the chat template or the tokenizer loses or changes the {part}: {shown}")


def _hide(message: Mapping[str, str], hidden: Iterable[str]) -> dict[str, str]:
    """A message whose content holds no text of an added token; the two tags around an assistant's own
    thinking stay."""
    content, opener, closer = message["content"], "", ""
    if message["role"] == "assistant" and _has_block(content):
        opener, closer = THINK_TAGS
    thinking, _, answer = content.removeprefix(opener).rpartition(closer) if closer else ("", "", content)
    for number, text in enumerate(hidden):
        sentinel = chr(FIRST_SENTINEL + number)
        thinking, answer = thinking.replace(text, sentinel), answer.replace(text, sentinel)
    return {**message, "content": opener + thinking + closer + answer}


def _render(tokenizer: Any, messages: list[dict[str, str]], *, generation: bool, **variables: bool) -> str:
    rendered = tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=generation, **variables
    )
    return str(rendered)


def _encode(tokenizer: Any, text: str, hidden: Sequence[str]) -> list[int]:
    """Ids of rendered text: special tokens parsed, hidden texts encoded as the characters that they are."""
    ids: list[int] = []
    for piece in re.split(f"([{chr(FIRST_SENTINEL)}-{chr(FIRST_SENTINEL + max(len(hidden), 1) - 1)}])", text):
        if len(piece) == 1 and FIRST_SENTINEL <= ord(piece) < FIRST_SENTINEL + len(hidden):
            ids += _as_text(tokenizer, hidden[ord(piece) - FIRST_SENTINEL])
        elif piece:
            ids += tokenizer.encode(piece, add_special_tokens=False)
    return ids


def _as_text(tokenizer: Any, text: str) -> list[int]:
    """Ids of an added token's text as the characters that it is; a token that is not special (Qwen3's
    `<think>`) is parsed in any case."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
    if len(ids) > 1 or len(text) == 1:
        return ids
    return [one for part in (text[:1], text[1:]) for one in tokenizer.encode(part, add_special_tokens=False)]
