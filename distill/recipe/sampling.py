"""The teacher, and how completions are drawn from it."""

from typing import Any, Literal

from pydantic import Field, model_validator

from distill.recipe.section import Section, later, place
from distill.recipe.serving import Serving
from distill.recipe.think_tags import ThinkTags


class Teacher(Serving):
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
    response: str | tuple[str, ...] = "response"
    """`replay`: column, or columns, with the raw completion: a text, a conversation, or a list of them (or
    `thinking` and `answer` columns)."""
    thinking: str | tuple[str, ...] | None = later(None)
    """`replay`: column with the thinking of `response` where that has none itself; as many columns as
    `response` names."""
    subset: str | None = later(None)
    """`replay`: configuration name of a hub dataset."""
    split: str | None = later(None)
    """`replay`: split of a hub dataset; None: `train`."""
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
    timeout_seconds: float = place(3600.0, gt=0)
    """Longest wait for one reply."""
    patience_seconds: float = place(1800.0, ge=0)
    """Longest time without a good reply to anybody before the run stops, with everything saved; 300 at most
    before the first one."""
    max_retries: int = place(8, ge=0)
    """Tries after a failed request before the row is a typed failure."""
    tensor_parallel: int = place(1, ge=1)
    """GPUs that one copy of a `vllm` model is spread over."""
    reasoning_parser: str | None = place(None)
    """vLLM's name of what splits the thinking off (`"deepseek_r1"`, `"qwen3"`); None: the text comes whole
    and is split here."""
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
