"""Public benchmarks that a recipe may name instead of spelling out; only the column with the question is read of them.

Hub ids, subsets, splits and columns are those that evaluation harnesses load: Open-R1 (AIME24, MATH-500, GPQA), lighteval
(LiveCodeBench, whose own hub dataset needs a loading script that no present `datasets` runs, Minerva), MathArena. No revision is
pinned: pin one by spelling the benchmark out. GPQA is gated (HF_TOKEN), and LiveCodeBench comes with gigabytes of tests.
"""

from typing import Any

PUBLIC: dict[str, dict[str, str]] = {
    "aime24": {"path": "HuggingFaceH4/aime_2024", "question": "problem", "licence": "MAA (evaluation only)"},
    "aime25": {"path": "MathArena/aime_2025", "question": "problem", "licence": "CC-BY-NC-SA-4.0"},
    "hmmt-feb-2025": {"path": "MathArena/hmmt_feb_2025", "question": "problem"},
    "amc23": {"path": "math-ai/amc23", "split": "test", "question": "question"},
    "math-500": {"path": "HuggingFaceH4/MATH-500", "split": "test", "question": "problem", "licence": "MIT"},
    "olympiadbench": {"path": "Hothan/OlympiadBench", "subset": "OE_TO_maths_en_COMP", "question": "question"},
    "minerva-math": {"path": "math-ai/minervamath", "split": "test", "question": "question"},
    "gsm8k": {"path": "openai/gsm8k", "subset": "main", "split": "test", "question": "question", "licence": "MIT"},
    "gpqa-diamond": {"path": "Idavidrein/gpqa", "subset": "gpqa_diamond", "question": "Question"},
    "mmlu": {"path": "cais/mmlu", "subset": "all", "split": "test", "question": "question", "licence": "MIT"},
    "mmlu-pro": {"path": "TIGER-Lab/MMLU-Pro", "split": "test", "question": "question"},
    "arc-challenge": {"path": "allenai/ai2_arc", "subset": "ARC-Challenge", "split": "test", "question": "question"},
    "livecodebench": {"path": "lighteval/code_generation_lite", "subset": "release_v6", "split": "test", "question": "question_content"},
    "humaneval": {"path": "openai/openai_humaneval", "split": "test", "question": "prompt", "licence": "MIT"},
    "mbpp": {"path": "google-research-datasets/mbpp", "subset": "full", "split": "test", "question": "text", "licence": "CC-BY-4.0"},
    "ifeval": {"path": "google/IFEval", "question": "prompt"},
}


def named(value: Any) -> Any:
    """The columns of a public benchmark for its name, and anything else as it is; raises ValueError for a name that is none."""
    if not isinstance(value, str):
        return value
    if value not in PUBLIC:
        raise ValueError(f"no benchmark {value!r}; there are: {', '.join(PUBLIC)} (or spell one out as [[curation.benchmarks]])")
    return {"name": value, "kind": "open", "reference": "", **PUBLIC[value]}
