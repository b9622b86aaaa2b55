"""The questions of the benchmarks that a recipe names: what no example may ask or quote.

Each is read like a problem source, a hub dataset or a file, and only its column of questions. One that cannot
be read to its end, or that has no question, ends the run: a benchmark that was left out in silence is worse
than none.
"""

from distill.files import readers
from distill.recipe import Curation, ProblemSource, RecipeError, names_in


def questions(curation: Curation) -> list[tuple[str, str]]:
    """(benchmark, question) for each question of the recipe's benchmarks; raises RecipeError for one that
    cannot be read."""
    return [(source.name, question) for source in curation.benchmarks for question in _questions(source)]


def _questions(source: ProblemSource) -> list[str]:
    table = f'{{name = "{source.name}", path = "FILE.jsonl", question = "{source.question}"}}'
    remedy = f"or put a file of your own into curation.benchmarks: {table}"
    alone = source.model_copy(
        update=dict.fromkeys(("reference", "tests", "response", "setup", "entry_point", "language"))
    )
    try:
        rows = list(readers.read_rows(alone))
    except RecipeError as error:
        raise RecipeError(f"benchmark {source.name!r} cannot be read: {error}; {remedy}") from error
    if bad := [row[readers.BAD_ROW] for row in rows if readers.BAD_ROW in row]:
        raise RecipeError(
            f"benchmark {source.name!r}: {source.path} has {len(bad)} unreadable rows ({bad[0]}); correct "
            f"it, {remedy}"
        )
    parts = ([row.get(name) for name in names_in(source.question)] for row in rows)
    texts = ("\n\n".join(part for part in row if isinstance(part, str) and part.strip()) for row in parts)
    if found := [text for text in texts if text]:
        return found
    raise RecipeError(
        f"benchmark {source.name!r}: no text in column {source.question!r} of {source.path}; correct "
        f"`question`, {remedy}"
    )
