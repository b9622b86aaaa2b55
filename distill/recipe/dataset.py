"""Recipes: what a dataset or a student is made of, as frozen models with their documentation.

`configs/datasets/*.toml` and `configs/students/*.toml` are sparse; the defaults and their sources are here. A
field declared with `place()` says where or how fast a room runs. What is kept of the traces has a module of
its own, `recipe_curation.py`. Recipes hold the *names* of environment variables, never a secret.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from distill.recipe.benchmarks import named
from distill.recipe.curation import Decontamination, Duplicates, Preferences, Screens, Selection
from distill.recipe.section import Section, later, place
from distill.recipe.tables import CONFIGS as CONFIGS
from distill.recipe.think_tags import ThinkTags
from distill.records import Kind


class ProblemSource(Section):
    """Where problems come from, and which of their columns is what."""

    name: str
    """Short name; it is the `source` of every problem."""
    path: str
    """A JSONL (also .gz) or Parquet file, a folder that `datasets.load_dataset` reads, or a Hugging Face
    dataset id."""
    split: str = "train"
    """Split of a Hugging Face dataset; ignored for files."""
    revision: str | None = None
    """Pinned revision of a hub dataset."""
    subset: str | None = None
    """Configuration name of a hub dataset."""
    kind: Kind = "math"
    """Which verifier judges the answers."""
    question: str = "question"
    """Column with the question."""
    reference: str | None = "answer"
    """Column with the reference answer; `""` or None when there is none (tests judge, or nothing does)."""
    tests: str | None = None
    """Column with the tests (JSON, Python source that asserts, or an object)."""
    options: str | tuple[str, ...] | None = later(None)
    """`choice`: column with the options (a list, or texts with labels as ARC has them), or columns with one
    option each, whose order is drawn from the problem (GPQA); they become lines `A) ...` of the question, and
    `reference` may be a label, letter, text or index."""
    response: str | None = None
    """Column with a ready completion: such rows are taken as they are, and no teacher is asked."""
    setup: str | None = None
    """`code`: column with source that is run before an answer (`"prompt"` for HumanEval, `"test_imports"` for
    MBPP)."""
    entry_point: str | None = None
    """`code`: column with the name of the function that the tests call."""
    reference_pattern: str | None = None
    """Regular expression whose first group is the reference inside its column (`"#### (.+)$"` for GSM8K)."""
    language: str | None = None
    """ISO 639-1 code of all questions, or a column name with it after `@` (`"@language"`); None: detected
    from the script."""
    licence: str = "unknown"
    """SPDX name of the licence that the rows carry into the dataset."""
    limit: int | None = Field(None, ge=1)
    """Use the first so many problems only."""
    share: float | None = Field(None, gt=0, le=1)
    """Wanted share of this source in the kept examples; None: as it comes."""

    @field_validator("reference")
    @classmethod
    def _no_reference(cls, column: str | None) -> str | None:
        """TOML has no null: an empty name is none."""
        return column or None


class Teacher(Section):
    """The model that is sampled, and how it is reached."""

    engine: Literal["server", "vllm", "transformers", "replay", "scripted"] = "server"
    """`server`: an OpenAI-compatible API; `vllm`: `vllm serve`, started by us; `transformers`: a child
    process; `replay`: existing traces; `scripted`: a fake."""
    model: str
    """Model name for a server, a hub id or folder for a local engine, a file of traces for `replay`."""
    revision: str | None = None
    """Pinned hub revision of a local model."""
    dtype: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    """Number format of a local model. In `float64` a completion does not depend on the batch that it came
    in."""
    trust_remote_code: bool = False
    """Run code that comes with the model's weights: leave it off unless you have read it."""
    prefill: str = ""
    """Text that opens the assistant turn (`"<think>\\n"` where the model's own template does not open it)."""
    think_tags: ThinkTags = later(None)
    """Tags around the model's thinking where they are not `<think>` and `</think>`: a pair (`["<plan>",
    "</plan>"]`), or a name: `think` (`<THINK>`, `<think mode="long">`), `thinking`, `reasoning`, `thought`,
    `scratchpad`, `reflection` (as `<thinking>`), `mistral` (`[THINK]`), `kimi` (`◁think▷`), `seed`
    (`<seed:think>`), `longcat` (`<longcat_think>`), `harmony` (gpt-oss: channels `analysis` and `final`),
    `gemma` (`<|channel>`), `medgemma` (`<unused94>`), `cohere` (`<|START_THINKING|>`), `begin_of_thought`. No
    completion is asked again for it. Files, `replay` and ready responses need none where a text is one block
    of a named family and an answer."""
    response: str = "response"
    """`replay`: column with the raw completion (or `thinking` and `answer` columns)."""
    extra_body: dict[str, Any] = later({})
    """Further fields of a request to a server, as its documentation names them: `{chat_template_kwargs =
    {enable_thinking = true}}`."""
    ignores: tuple[Literal["temperature", "top_p", "top_k", "min_p", "seed"], ...] = later(())
    """Sampling settings that the server takes without effect or refuses: they are not sent, and the dataset
    says so."""
    licence: str = "unknown"
    """Of the teacher's outputs; it goes onto the dataset card."""
    urls: tuple[str, ...] = place(("http://127.0.0.1:8000/v1",))
    """Base URLs of the servers; requests are spread over them."""
    stream: bool | Literal["auto"] = place("auto")
    """Whether a server sends completions in pieces (SSE); `auto`: whole, and in pieces from a server that
    refuses to send them whole."""
    url_weights: tuple[float, ...] = place(())
    """Share of the requests that each of `urls` gets, relative to the others; empty: alike."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = place("max_tokens")
    """What the server calls the longest completion (OpenAI's reasoning models: `max_completion_tokens`)."""
    reply_model: str | None = place(None)
    """Name that every reply must bear: another one stops the run. None: other names are told and recorded."""
    api_key_env: str | None = place(None)
    """Name of the environment variable with the API key."""
    concurrency: int = place(256, ge=1)
    """Requests in flight, or sequences in a local batch."""
    timeout_seconds: float = place(3600.0, gt=0)
    """Longest wait for one reply."""
    patience_seconds: float = place(1800.0, ge=0)
    """Longest time without a good reply to anybody before the run stops, with everything saved; 300 at most
    before the first one."""
    max_retries: int = place(8, ge=0)
    """Tries after a failed request before the row is a typed failure."""
    context_tokens: int | None = place(None, ge=16)
    """Context length to serve a local model with; None: the model's own."""
    tensor_parallel: int = place(1, ge=1)
    """GPUs that one copy of a `vllm` model is spread over."""
    replicas: int | None = place(None, ge=1)
    """Copies of a `vllm` model side by side, over all GPUs; None: as many as the GPUs hold."""
    engines_per_gpu: int = place(1, ge=1)
    """Copies that share one GPU: one engine is bound by one CPU core, and a small model leaves its GPU
    idle."""
    reasoning_parser: str | None = place(None)
    """vLLM's name of what splits the thinking off (`"deepseek_r1"`, `"qwen3"`); None: the text comes whole
    and is split here."""
    serve_options: tuple[str, ...] = place(())
    """Further options of `vllm serve`, such as `["--kv-cache-dtype", "fp8"]`."""
    prompt_usd_per_million: float | None = place(None, ge=0)
    """Price of prompt tokens."""
    cached_prompt_usd_per_million: float | None = place(None, ge=0)
    """Price of prompt tokens that the server had in its prefix cache; None: that of the others."""
    completion_usd_per_million: float | None = place(None, ge=0)
    """Price of completion tokens."""


class Adaptive(Section):
    """Asks on about the problems that need it: what is right already is left alone (DART-Math, arXiv
    2407.13690, asks until k are right).

    Only problems whose answers a rule judges are asked adaptively; the others get `sampling.n` completions.
    """

    enough: int = Field(2, ge=1)
    """A problem with so many correct completions is left alone."""
    most: int = Field(16, ge=1)
    """Completions of one problem at most: no fewer than `enough` and `sampling.n`."""
    budgets: tuple[int, ...] = ()
    """Larger values of `max_tokens`, with which a cut completion is asked again while its problem needs more.
    They are for what the first one cuts anyway: a small first budget is no saving, since what it cuts is paid
    for twice."""

    @model_validator(mode="after")
    def _reachable(self) -> "Adaptive":
        """A problem that may not have enough completions never has enough correct ones."""
        if self.most < self.enough:
            raise ValueError(
                f"`most` is {self.most}, below `enough`, {self.enough}: raise it, or lower `enough`"
            )
        return self


class Sampling(Section):
    """How completions are drawn."""

    n: int = Field(4, ge=1)
    """Completions for each problem; with `adaptive`, of its first round. 4 is Open-R1's default; R1's
    successors use 4 to 32."""
    temperature: float = Field(0.6, ge=0)
    """DeepSeek-R1 README, usage recommendations: 0.5 to 0.7; greedy decoding loops."""
    top_p: float = Field(0.95, gt=0, le=1)
    """DeepSeek-R1 README."""
    max_tokens: int = Field(32768, ge=1)
    """DeepSeek-R1's generation limit, thinking included."""
    seed: int = 0
    """Every completion's own seed is derived from this, its problem and its sample index."""
    prompt: str = "math"
    """A template of `distill/text/prompts/`, `"by_kind"` for the one of each problem's kind, or a `.txt` file
    of your own. With `@problem` after it the instruction is in the problem's language, where there is one."""
    system: str | None = None
    """System prompt; none by DeepSeek-R1's advice."""
    top_k: int | None = later(None, ge=1)
    """Draw from so many tokens only (QwQ-32B advises 20 to 40, Qwen3 20); servers only."""
    min_p: float | None = later(None, ge=0, le=1)
    """Draw from tokens with at least this share of the likeliest one's probability; servers only."""
    adaptive: Adaptive | None = later(None)
    """None: every problem gets `n` completions."""
    again: int | None = later(None, ge=1)
    """Another number makes the traces anew from what there is, and asks only for completions that could not
    be had."""
    budget_usd: float | None = place(None, gt=0)
    """Ask no more when the completions of this teacher and these settings have cost so much, over all
    runs."""
    budget_tokens: int | None = place(None, ge=1)
    """Ask no more when they have so many prompt and completion tokens, over all runs."""

    @model_validator(mode="after")
    def _goes_on(self) -> "Sampling":
        """What is adaptive goes on from the first round: to more completions, and to larger budgets."""
        if self.adaptive and self.adaptive.most < self.n:
            raise ValueError(
                f"`adaptive.most` is {self.adaptive.most}, below `n`, {self.n}: raise it, or lower `n`"
            )
        if self.adaptive and min(self.adaptive.budgets, default=self.max_tokens + 1) <= self.max_tokens:
            raise ValueError(
                f"`adaptive.budgets` are {list(self.adaptive.budgets)}: each must be above `max_tokens`, "
                f"{self.max_tokens}"
            )
        return self


class Sandbox(Section):
    """Where programs that a model wrote are run (kinds `code` and `sql`)."""

    timeout_seconds: float = Field(10.0, gt=0)
    """CPU seconds plus seconds asleep of one test; waiting for a free core does not count. LiveCodeBench
    gives 6 wall seconds."""
    memory_mb: int = Field(1024, ge=64)
    """Memory of a program with all its children, and address space of each process."""
    processes: int = Field(16, ge=1)
    """Processes and threads that a program may have at a time."""
    output_mb: int = Field(8, ge=1)
    """Longest output of a program; past that it is stopped."""
    scratch_mb: int = Field(64, ge=1)
    """Size of the folder for temporary files, the only place that a program can write to."""
    python: str = ""
    """Interpreter to run programs with, and its installed packages; empty: this one, with the standard
    library only."""
    tolerance: float | None = later(None, ge=0, lt=1)
    """How far a number may be from an expected one with a decimal point, absolutely or relatively; one with
    more decimal places than the tests have may also differ by half a unit of their last place. None: 1e-6; 0:
    not at all. Integers are always exact."""
    unsafe_local: bool = False
    """Run programs as ordinary child processes when there is no working sandbox. They can then read, send and
    destroy what you can."""


class Judge(Section):
    """A model that is asked whether an answer agrees with the reference (DeepSeek-R1, Listing 4)."""

    model: Teacher
    """The judge, opened like a teacher; DeepSeek-R1 used DeepSeek-V3."""
    fills: tuple[Literal["no_answer", "unparsed_answer"], ...] = ()
    """Outcomes of a rule verifier that the judge may settle. Nothing else of a rule verifier is ever
    overridden."""
    second_opinion: float = Field(0.0, ge=0, le=1)
    """Share of the answers that a rule verifier decided on which the judge is asked too: for the list of
    disagreements only."""
    max_answer_characters: int = Field(16_000, ge=100)
    """Longer answers are shown to the judge without their middle."""
    max_tokens: int = Field(4096, ge=16)
    """Longest reply of the judge, its reasoning included."""


class Majority(Section):
    """Agreement among the traces of a problem that has no reference (OpenMathReasoning: most common answer of
    up to 32)."""

    min_answers: int = Field(4, ge=2)
    """With fewer answers there is no majority."""
    min_share: float = Field(0.5, gt=0, le=1)
    """The most common answer must be given by more than this share of the problem's traces."""


class Verification(Section):
    """How answers are judged."""

    timeout_seconds: float = Field(5.0, gt=0)
    """CPU seconds for one answer; past that the outcome is `timeout`, never `wrong`."""
    memory_mb: int = Field(2048, ge=256)
    """Address space of a verifier process beyond what it holds at its start."""
    max_answer_characters: int = Field(4096, ge=1)
    """Longer extracted answers are `unparsed_answer`: they hang symbolic algebra and are never an answer."""
    sandbox: Sandbox = Sandbox()
    judge: Judge | None = None
    """None: `open` problems are `unverified`, and nobody is asked for a second opinion."""
    majority: Majority | None = None
    """None: problems without a reference are not asked."""
    workers: int | None = place(None, ge=1)
    """Verifier processes, and sandboxes; None: one for each core."""


class Curation(Section):
    """From candidates to the dataset."""

    screens: Screens = Screens()
    duplicates: Duplicates = Duplicates()
    selection: Selection = Selection()
    decontamination: Decontamination = Decontamination()
    benchmarks: tuple[Annotated[ProblemSource, BeforeValidator(named)], ...] = ()
    """Held-out problems, spelt out or public ones by name (`"aime24"`): what asks or quotes one of theirs is
    `contaminated`."""
    preferences: Preferences | None = None
    """None: no preference pairs are written."""


class DatasetRecipe(Section):
    """Problems, teacher, sampling, verification and curation: one reusable dataset."""

    name: str
    description: str
    """What it is and which published numbers it takes from where."""
    problems: tuple[ProblemSource, ...] = Field(min_length=1)
    teacher: Teacher
    sampling: Sampling = Sampling()
    verification: Verification = Verification()
    curation: Curation = Curation()
    shard_problems: int = Field(256, ge=1)
    """Problems in one shard: the unit of a task, of a retry and of what a kill costs in bookkeeping."""


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
    lora_rank: int | None = Field(None, ge=1)
    """Train a LoRA adapter of this rank and merge it; None: full fine-tuning."""
    lora_alpha: int | None = Field(None, ge=1)
    max_rows: int | None = Field(None, ge=1)
    """Train on a seeded choice of so many rows; None: all."""
    seed: int = 0
    device_batch_size: int = place(1, ge=1)
    """Sequences on one device at a time where rows are padded; the rest is gradient accumulation."""
    device_tokens: int = place(16_384, ge=64)
    """Tokens on one device at a time where rows lie end to end; a longer row is alone."""
    checkpoint_steps: int = place(200, ge=1)
    """Optimizer steps between checkpoints that a killed run goes on from."""
    liger: bool = place(False)
    """Fused loss kernels (GPU, `liger-kernel` installed): at 32k tokens the fp32 logits exceed the
    activations."""


class Evaluation(Section):
    """Base, student and teacher on held-out problems, by the same rooms that made the dataset."""

    problems: tuple[ProblemSource, ...] = Field(min_length=1)
    n: int = Field(4, ge=1)
    """Samples for each problem: pass@1 is their mean (DeepSeek-R1: 64 on AIME, 16 on MATH-500)."""
    temperature: float = Field(0.6, ge=0)
    """DeepSeek-R1 paper D.1; greedy decoding repeats and varies."""
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(32768, ge=1)
    """DeepSeek-R1 paper D.1."""
    prompt: str = "math"
    seed: int = 1
    engine: Literal["vllm", "transformers"] = place("vllm")
    """What the student is opened with."""
    dtype: Literal["auto", "bfloat16", "float32", "float64"] = "auto"
    concurrency: int = place(256, ge=1)
    teacher: bool = True
    """Score the dataset's teacher as well, when it can be asked (not for `replay`)."""
    verification: Verification = Verification()
    shard_problems: int = Field(256, ge=1)

    @field_validator("problems")
    @classmethod
    def _asked(cls, problems: tuple[ProblemSource, ...]) -> tuple[ProblemSource, ...]:
        """A model that is scored writes its own answers."""
        if ready := [source.name for source in problems if source.response]:
            raise ValueError(
                f"{', '.join(ready)}: `response` is for datasets; a model that is scored is asked"
            )
        return problems


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
