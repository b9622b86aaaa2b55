"""A student's chat template: where it is, and whether it keeps what a student is trained on, known before
anything is paid for.

`read` gives the text of a shipped template or of a `.jinja` file of your own. `check` encodes a training row
of each shape with the base's own tokenizer where that lies here, else byte by byte. It sees no row of a
dataset: `chat.encode_pair` compares each of those.
"""

import importlib.util
import json
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from distill.hardware import shapes
from distill.recipe import CONFIGS, Base, RecipeError
from distill.text import chat_template

FILE = ".jinja"
SHAPES = {
    "with thinking": (
        "What is 2 + 2?",
        "<think>\nTwo and two make 4.\n\nI am sure.\n</think>\n\nThe answer is \\boxed{4}.",
    ),
    "without thinking": ("Greet me.", "Good morning."),
    "in Chinese": ("二加二等于多少？", "<think>\n二加二等于四。\n</think>\n\n答案是 \\boxed{4}。"),
}
"""The shapes of a dataset's rows: a question and its completion."""
SHOWN = 8
"""Special tokens that an error names."""


def names() -> list[str]:
    """Names of the shipped templates."""
    return sorted(path.stem for path in (CONFIGS / "chat").glob(f"*{FILE}"))


def read(name: str) -> str:
    """The text of a template, named as in `configs/chat` or by the path of a file; raises RecipeError when
    there is none."""
    if not name.endswith(FILE) and name not in names():
        raise RecipeError(
            f"base.chat_template: no template {name!r}; there are: {', '.join(names())}, or the path of a "
            f"{FILE} file"
        )
    path = Path(name).expanduser() if name.endswith(FILE) else CONFIGS / "chat" / f"{name}{FILE}"
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(
            f"base.chat_template: {path} cannot be read: {error}; the shipped ones are: {', '.join(names())}"
        ) from error


def own(base: Base) -> str | None:
    """The chat template that a base came with; None where it has none, or is not here yet."""
    if (file := _file(base, "chat_template.jinja")) is not None:
        return file.read_text(encoding="utf-8")
    file = _file(base, "tokenizer_config.json")
    found = json.loads(file.read_text(encoding="utf-8")).get("chat_template") if file is not None else None
    if isinstance(found, list):  # several by name, as some tokenizers have them
        found = next((one.get("template") for one in found if one.get("name") == "default"), None)
    return found if isinstance(found, str) and found.strip() else None


def check(base: Base, system: str | None = None) -> None:
    """Raises RecipeError when the template cannot be read or loses a part of a row, when padding would hide
    the EOS, or when the base lacks the recipe's tokens.

    `system` is the system prompt of the dataset. Without the package `tokenizers`, which training needs, only
    the file is read.
    """
    template = read(base.chat_template)
    require_tokens(base, (base.end_of_turn, base.pad_token))
    if importlib.util.find_spec("tokenizers") is None:
        return
    row = ""
    try:
        tokenizer = _Preview(base, template)
        for shape, (question, said) in SHAPES.items():
            row = f", a row {shape}{' and with sampling.system' if system else ''}"
            prompt = [{"role": "system", "content": system}] if system else []
            chat_template.encode_pair(
                tokenizer,
                [*prompt, {"role": "user", "content": question}],
                [{"role": "assistant", "content": said}],
            )
    except RecipeError:
        raise
    except Exception as error:  # a template may raise anything
        raise RecipeError(
            f"base.chat_template: {base.chat_template} cannot train {base.model}{row}: "
            f"{chat_template.cause(error)}. The shipped ones are: "
            f"{', '.join(names())}. A template for students that do not think says "
            f"{chat_template.DROPS_THINKING!r} in a comment"
        ) from error


def require_tokens(base: Base, added: Iterable[str]) -> None:
    """Raises RecipeError unless the tokens that a recipe names are two, and added ones of a tokenizer."""
    known = list(added)
    free = [token for token in known if "pad" in token or "reserved" in token] or known
    if base.end_of_turn == base.pad_token:
        raise RecipeError(
            f"base.pad_token equals base.end_of_turn, {base.end_of_turn}: the EOS would be masked out of the "
            "loss and the student never stop. Set base.pad_token to a token that no text has (shipped: "
            "<|endoftext|> for Qwen and SmolLM2, <|finetune_right_pad_id|> for Llama, <|fim_pad|> for "
            "R1-Distill-Qwen)"
        )
    for key, token in (("end_of_turn", base.end_of_turn), ("pad_token", base.pad_token)):
        if token not in known:
            named = ", ".join((free if key == "pad_token" else known)[:SHOWN]) or "none"
            raise RecipeError(
                f"{base.model} has no token {token}; set base.{key} to one of its special tokens: {named}"
            )


class _Preview:
    """What `chat` needs of a tokenizer, without transformers and without a download."""

    def __init__(self, base: Base, template: str) -> None:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers

        if (file := _file(base, "tokenizer.json")) is not None:
            self.backend = Tokenizer.from_file(str(file))
            require_tokens(base, self.get_added_vocab())
        else:
            alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
            self.backend = Tokenizer(
                models.BPE({character: number for number, character in enumerate(alphabet)}, [])
            )
            self.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
            self.backend.decoder = decoders.ByteLevel()
            self.backend.add_special_tokens([base.end_of_turn, base.pad_token])
        self.chat_template, self.eos_token = template, base.end_of_turn
        self.eos_token_id = self.backend.token_to_id(base.end_of_turn)
        self.names = {
            "bos_token": "",
            **_special(base),
            "eos_token": base.end_of_turn,
            "pad_token": base.pad_token,
        }
        self.compiled = _environment().from_string(template)

    def get_added_vocab(self) -> dict[str, int]:
        return {token.content: number for number, token in self.backend.get_added_tokens_decoder().items()}

    def apply_chat_template(
        self,
        messages: list[dict[str, str]],
        *,
        tokenize: bool,
        add_generation_prompt: bool,
        **variables: bool,
    ) -> str:
        del tokenize
        return str(
            self.compiled.render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                tools=None,
                documents=None,
                **self.names,
                **variables,
            )
        )

    def encode(self, text: str, *, add_special_tokens: bool, split_special_tokens: bool = False) -> list[int]:
        self.backend.encode_special_tokens = split_special_tokens
        return list(self.backend.encode(text, add_special_tokens=add_special_tokens).ids)

    def decode(self, ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool) -> str:
        del clean_up_tokenization_spaces
        return str(self.backend.decode(ids, skip_special_tokens=skip_special_tokens))


def _file(base: Base, name: str) -> Path | None:
    """A file of the base, from its folder or the cache of the hub; None where it is not here yet."""
    folder = shapes.local_folder(base.model)
    if folder is not None:
        return folder / name if (folder / name).is_file() else None
    if shapes.is_path(base.model) or importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(base.model, name, revision=base.revision)
    return Path(found) if isinstance(found, str) else None


def _special(base: Base) -> dict[str, str]:
    """The special tokens of a base that is here, by the names that templates know them by."""
    file = _file(base, "tokenizer_config.json")
    found = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    tokens = {
        name: token["content"] if isinstance(token, dict) else token
        for name, token in found.items()
        if name.endswith("_token")
    }
    return {name: token for name, token in tokens.items() if isinstance(token, str)}


def _environment() -> Any:
    """Jinja as transformers sets it up for chat templates (`transformers/utils/chat_template_utils.py`)."""
    import jinja2
    from jinja2 import ext, nodes, parser, sandbox

    class Generation(ext.Extension):
        """`{% generation %}` marks what an assistant says; here it changes nothing."""

        tags = {"generation"}  # noqa: RUF012 - as jinja2 declares it

        def parse(self, parser: parser.Parser) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    made = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    made.filters["tojson"] = partial(json.dumps, ensure_ascii=False)
    made.globals["raise_exception"] = refuse
    made.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    return made
