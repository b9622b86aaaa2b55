"""One student: base model, training and evaluation."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.recipe.benchmarks import Protocol, Suite, suite, unanswered
from distill.recipe.decision import Decision
from distill.recipe.problems import ProblemSource
from distill.recipe.section import Section, later, place
from distill.recipe.serving import Server, Serving
from distill.recipe.verification import Verification

Opened = Literal["base", "base-chat", "previous", "student"]
"""Models that an evaluation opens itself."""


class RopeScaling(Section):
    """More positions than a base was trained with, written into the student's `config.json`."""

    rope_type: Literal["yarn"] = "yarn"
    """YaRN (arXiv 2309.00071), as Qwen's model cards advise beyond 32,768 tokens."""
    factor: float = Field(gt=1)
    """Positions afterwards, as a multiple of those before (Qwen: 4.0, from 32,768 to 131,072 tokens)."""
    original_max_position_embeddings: int | None = Field(None, ge=1)
    """Positions that the base was trained with; unset: `max_position_embeddings` of recipe or base."""


class Base(Section):
    """The pretrained model that becomes the student."""

    model: str
    """Hub id or folder (a path relative to the project's root)."""
    revision: str | None = None
    licence: str = "unknown"
    """Licence of the weights; the checkpoint inherits it."""
    parameters: int = Field(ge=1)
    """Number of parameters, for the estimate of memory and time before anything is downloaded."""
    chat_template: str
    """Name of a file in `configs/chat/` (without `.jinja`), or a `.jinja` file of your own: as given, or
    beside the recipe. Where its generation prompt opens `<think>`, a row without thinking is trained with an
    empty think block."""
    end_of_turn: str
    """Token that ends the assistant's turn; it becomes EOS of the tokenizer and of the generation config."""
    pad_token: str
    """Must differ from `end_of_turn`: padding with the EOS masks it out of the loss and the student never
    stops."""
    rope_theta: float | None = None
    """New RoPE base; Qwen2.5-Math needs 300000 (Open-R1) to go from 4k to 32k tokens."""
    max_position_embeddings: int | None = None
    """New context length, with `rope_theta`."""
    rope_scaling: RopeScaling | None = later(None)
    """Stretches the positions by YaRN: `{ factor = 4.0 }` makes 131,072 of Qwen's 32,768."""
    trust_remote_code: bool = False


class Training(Section):
    """Supervised fine-tuning with TRL on prompt-completion rows, loss on the completion only."""

    learning_rate: float = Field(1e-5, gt=0)
    """Peak; each shipped student names its source. Read it together with the tokens per step that are
    printed."""
    final_learning_rate_share: float = Field(0.1, ge=0, le=1)
    """Cosine decay to this share of the peak (DeepSeek-R1 paper B.4.3: to one tenth)."""
    epochs: float = Field(2.0, gt=0)
    """DeepSeek-R1 paper: 2 to 3."""
    batch_size: int = Field(64, ge=1)
    """Sequences in one optimizer step, over all devices (DeepSeek-R1 paper: 64)."""
    max_length: int = Field(32768, ge=8)
    """Tokens of prompt and completion; longer rows are dropped and counted, never cut."""
    warmup_share: float = Field(0.03, ge=0, le=1)
    """Open-R1; not published for R1."""
    weight_decay: float = Field(0.0, ge=0)
    beta2: float = Field(0.999, gt=0, lt=1)
    max_grad_norm: float = Field(1.0, gt=0)
    packing: bool = False
    """Rows lie end to end in a forward pass, without padding, each attending to itself only. A GPU that has
    the kernel for it (bf16, compute capability 8.0) does so in any case; elsewhere it costs the square of a
    pass's tokens. What a step trains on is the same."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """Autocast format. Weights and optimizer state stay in fp32 (bf16 would round small updates away), but a
    LoRA's base is bf16."""
    gradient_checkpointing: bool = True
    """Compute activations twice where they would not fit on the GPU otherwise; false: never."""
    optimizer: Literal["adamw", "adamw_8bit"] | None = later()
    """None: AdamW with both moments in fp32. `adamw_8bit` keeps them in 8 bits (needs `torchao`), which saves
    6 bytes a parameter."""
    neftune_alpha: float | None = later(gt=0)
    """Noise on the embeddings while training (NEFTune, arXiv 2310.05914: 5 to 15)."""
    lora_rank: int | None = Field(None, ge=1)
    """Train a LoRA adapter of this rank and merge it; None: full fine-tuning."""
    lora_alpha: int | None = Field(None, ge=1)
    max_rows: int | None = Field(None, ge=1)
    """Train on a seeded choice of so many rows; None: all."""
    validation_rows: int | None = later(None, ge=1)
    """Hold so many rows out, all of a problem's or none, and take their loss at each checkpoint."""
    seed: int = 0
    device_batch_size: int = place(1, ge=1)
    """Sequences on one device at a time where rows are padded; the rest is gradient accumulation."""
    device_tokens: int | None = place(None, ge=64)
    """Tokens on one device at a time where rows lie end to end; a longer row is alone. None: as many as fit,
    up to 65,536 (a 0.5B model on an H200: 82k tokens/s with 16,384, 137k with 65,536)."""
    checkpoint_steps: int = place(200, ge=1)
    """Optimizer steps between checkpoints that a killed run goes on from; the last two are kept."""
    checkpoint_minutes: float | None = place(30.0, gt=0)
    """A checkpoint after so many minutes without one, too; None: by steps alone."""
    report_to: tuple[Literal["tensorboard", "wandb", "trackio", "mlflow"], ...] = place(())
    """Trackers that get each logged step as well; their packages are installed apart."""


class Evaluation(Protocol, Serving):
    """Base, student and teacher on held-out problems, by the same stages that made the dataset.

    A suite of `targets` or `regressions` is the name of a benchmark, the path of a `.toml` file, or a table:
    one of its own, or `{ like = "aime24", n = 16 }`. What is set here holds for all suites, before what their
    files say.
    """

    targets: tuple[Suite, ...] = later(())
    """Suites that the student is to become better on."""
    regressions: tuple[Suite, ...] = later(())
    """Suites on which it is not to become worse; the teacher is not asked on them."""
    problems: tuple[ProblemSource, ...] = ()
    """Held-out problems that are spelt out: one suite more of `targets`, with the settings below."""
    engine: Literal["vllm", "transformers"] = place("vllm")
    """What the student is opened with."""
    dtype: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    tensor_parallel: int | None = place(None, ge=1)
    """GPUs that one copy of a `vllm` model is spread over; None: as few as hold its weights."""
    servers: dict[Opened, Server] = place({})
    """Models that run already, by their role; the others are opened here."""
    base_chat: bool = True
    """Score the base with its own chat template as well, where it has one."""
    previous: str | None = later(None)
    """Score a student that was promoted before as well: the last one of this name, or this folder of the
    store; None: the last one of the same name, `""`: none."""
    teacher: bool = True
    """Score the dataset's teacher as well, when it can be asked (not for `replay`)."""
    verification: Verification = Verification()
    shard_problems: int = Field(256, ge=1)
    decision: Decision = place(Decision())
    """When the student is promoted."""
    published: dict[str, float] = place({})
    """pass@1 of others by suite, 0 to 1: it stands beside the scores, and decides nothing."""

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, values: Any) -> Any:
        """Suites that are named become what they are."""
        if not isinstance(values, dict):
            return values
        chosen = {key: values[key] for key in Protocol.model_fields if key in values}
        named = {
            key: [suite(one, chosen) for one in values[key]]
            for key in ("targets", "regressions")
            if isinstance(values.get(key), (list, tuple))
        }
        return values | named

    @field_validator("problems")
    @classmethod
    def _asked(cls, problems: tuple[ProblemSource, ...]) -> tuple[ProblemSource, ...]:
        return unanswered(problems)

    @model_validator(mode="after")
    def _distinct(self) -> "Evaluation":
        """A student has something to become better on, and a report tells its suites apart by name."""
        if not self.problems and not self.targets:
            raise ValueError(
                'name suites to score on: targets = ["math-500"], or spell problems out as '
                "[[evaluation.problems]]"
            )
        spelt_out = {source.name for source in self.problems}
        found = Counter([*spelt_out, *(one.name for one in (*self.targets, *self.regressions))])
        if twice := [name for name, count in found.items() if count > 1 or name == "all"]:
            raise ValueError(
                f"two suites are named {twice[0]!r}, or one is named as all together: set `name`"
            )
        return self

    def only(self, names: Sequence[str]) -> "Evaluation":
        """The evaluation on some suites: its own by name, others as targets; raises ValueError for a name
        that is neither one of its own nor a benchmark's."""
        own = {one.name for one in self.suites}
        added = [name for name in names if name not in own]
        values = self.model_dump()
        for key in ("targets", "regressions"):
            values[key] = [one for one in values[key] if one["name"] in names]
        if "+".join(source.name for source in self.problems) not in names:
            values["problems"] = [one for one in values["problems"] if one["name"] in names]
        return Evaluation.model_validate(values | {"targets": [*values["targets"], *added]})

    @property
    def suites(self) -> tuple[Suite, ...]:
        """All suites: the problems that are spelt out, targets, regressions."""
        return (*self.asked_of_teacher, *self.regressions)

    @property
    def asked_of_teacher(self) -> tuple[Suite, ...]:
        """What the student is to become better on."""
        settings = {key: getattr(self, key) for key in Protocol.model_fields}
        name = "+".join(source.name for source in self.problems)
        own = [Suite(name=name, problems=self.problems, **settings)] if self.problems else []
        return (*own, *self.targets)


class StudentRecipe(Section):
    """Base model, training and evaluation: one student."""

    name: str
    description: str
    """What it is and which published numbers it takes from where."""
    dataset: str
    """Name of the dataset recipe that it is trained on unless another is asked for."""
    base: Base
    training: Training = Training()
    evaluation: Evaluation
