"""Where problems come from: the `[[problems]]` of datasets, benchmarks and held-out sets."""

from pydantic import Field, field_validator, model_validator

from distill.recipe.section import Section, later
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
    question: str | tuple[str, ...] = "question"
    """Column with the question: a text, or a conversation (`messages`, ShareGPT's `conversations`), whose
    only question it is; or several columns, whose texts stand one below the other. For this key and those
    below, `a.b` and `a.0.b` are paths into a column."""
    reference: str | None = "answer"
    """Column with the reference answer; `""` or None when there is none (tests judge, or nothing does)."""
    tests: str | None = None
    """Column with the tests (JSON, Python source that asserts, or an object)."""
    options: str | tuple[str, ...] | None = later(None)
    """`choice`: column with the options (a list, or texts with labels as ARC has them), or columns with one
    option each, whose order is drawn from the problem (GPQA); they become lines `A) ...` of the question, and
    `reference` may be a label, letter, text or index."""
    response: str | tuple[str, ...] | None = None
    """Column with a ready completion (a text, a conversation, or a list of them), or several columns: such
    rows are taken as they are, and no teacher is asked. A column `finish_reason` or `finish_reasons` says how
    they ended."""
    thinking: str | tuple[str, ...] | None = later(None)
    """Column with the thinking of `response` where that has none itself; as many columns as `response`
    names."""
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

    @model_validator(mode="after")
    def _thinking_of_responses(self) -> "ProblemSource":
        """Each column of thinking belongs to one of completions."""
        if len(names_in(self.thinking)) not in (0, len(names_in(self.response))):
            raise ValueError("`thinking` names as many columns as `response`")
        return self


def names_in(columns: str | tuple[str, ...] | None) -> tuple[str, ...]:
    """The columns that a key names, one or several."""
    return (columns,) if isinstance(columns, str) else columns or ()
