"""Reading a completion: its thinking, boxes, numbers, words, language and form; prompts; tables for people.

It judges no answer. Modules are loaded when they are asked for (`from distill.text import language`): half of
them bring NumPy, and the command line needs only the tables.
"""

from distill.text.tables import aligned, cell, grid, inert

__all__ = [
    "aligned",
    "boxed",
    "cell",
    "chat_template",
    "endings",
    "form",
    "grid",
    "inert",
    "language",
    "numbers",
    "prompts",
    "shingles",
    "tables",
    "think_tags",
    "thinking",
    "words",
]
