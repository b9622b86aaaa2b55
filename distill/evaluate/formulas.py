"""A model's text as safe HTML: formulas in LaTeX become MathML, which browsers show without scripts.

What is no formula, or cannot be read as one, is shown as it was written. Nothing of a text becomes a link, an
image, a style or a script: MathML is built anew from the elements and attributes listed here.
"""

import re
from functools import cache
from itertools import islice
from xml.etree import ElementTree

from markupsafe import Markup, escape

from distill.text import inert

LONGEST_FORMULA = 600
"""Characters; what is longer is shown as text."""
MOST_FORMULAS = 400
"""Of one text; MathML takes about a millisecond a formula and 20 times its characters."""
FORMULA = re.compile(
    r"\$\$(?P<display>[^$]{1,600}?)\$\$"
    r"|\\\[(?P<square>.{1,600}?)\\\]"
    r"|\\\((?P<round>.{1,600}?)\\\)"
    r"|(?<![\\$\w])\$(?P<inline>(?![\s\d,.]+\s)[^$\n]{1,300}?)(?<![\s\\])\$(?![\d$])"
    r"|(?P<boxed>\\boxed\{(?:[^{}\n]|\{(?:[^{}\n]|\{[^{}\n]*\})*\})*\})",
    re.DOTALL,
)
DISPLAYED = ("display", "square")
ELEMENTS = re.compile(
    r"math|mrow|m[ino]|mtext|mspace|mfrac|msqrt|mroot|ms(up|ub|ubsup)|m(over|under|underover)|mtable|mt[rd]"
    r"|menclose|mpadded|mphantom|mstyle|mmultiscripts|mprescripts|none"
)
ATTRIBUTES = re.compile(
    r"display|displaystyle|stretchy|fence|form|accent|accentunder|columnalign|columnspacing|rowspacing"
    r"|linethickness|mathvariant|notation|width|height|depth|[lr]space|m(in|ax)size|scriptlevel|separator"
)
MATHML = "{http://www.w3.org/1998/Math/MathML}"


def shown(text: str) -> Markup:
    """A text as HTML with its line breaks, its formulas as MathML, and control characters as escapes."""
    parts, end = list[Markup](), 0
    for found in islice(FORMULA.finditer(text), MOST_FORMULAS):
        name = str(found.lastgroup)
        if (made := _mathml(found[name], name in DISPLAYED)) is not None:
            parts += [_plain(text[end : found.start()]), made]
            end = found.end()
    return Markup("").join([*parts, _plain(text[end:])])


def _plain(text: str) -> Markup:
    return escape(inert(text, keep="\n\t"))


@cache
def _mathml(latex: str, display: bool) -> Markup | None:
    """The MathML of a formula; None where it is too long, has control characters or cannot be read."""
    from latex2mathml.converter import convert

    if len(latex) > LONGEST_FORMULA or inert(latex, keep="\n\t") != latex:
        return None
    try:
        root = ElementTree.fromstring(convert(latex, display="block" if display else "inline"))  # noqa: S314
    except Exception:  # whatever a model's LaTeX makes the converter raise
        return None
    for element in root.iter():
        name = str(element.tag).removeprefix(MATHML)
        if not ELEMENTS.fullmatch(name):
            return None
        element.tag = name
        element.attrib = {key: value for key, value in element.attrib.items() if ATTRIBUTES.fullmatch(key)}
    return Markup(ElementTree.tostring(root, encoding="unicode", method="html"))  # noqa: S704 - listed parts only
