"""The page of a report holds whatever models wrote, and none of it does anything."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.evaluate import examples, formulas, page
from distill.evaluate.page import Interval, Picture, Section, Table
from distill.evaluate.page import page as rendered
from tests.evaluate.test_evaluate import candidate

EVIL = (
    "<script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=alert(1)>"
    "\u202eabc\x07\x1b[31m\ufeff $\\text{<script>document.title='owned'</script>}$ "
    "$\\href{javascript:alert(3)}{x}$ $\\style{background:url(http://127.0.0.1:9/y)}{x}$ [a](javascript:alert(4)) "
    "</div></details></body>{{ 7 * 7 }}{% raw %}"
)


class Parts(HTMLParser):
    """Every element and attribute of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def whole(text: str) -> str:
    """A page with a text in every place that takes one."""
    shown = examples.Shown("student " + text, "wrong", text, text, text, 12, text, text)
    example = examples.Example(text, text, text, text, (shown, shown))
    table = Table(text, [[text, text], [text, Interval(0.1, 0.2, 0.5)]], (1,))
    section = Section(text, [text], [table], [Picture(text, b"\x89PNG")], [examples.Group(text, (example,))])
    return rendered(text, text, None, [text], [section, Section("left out, since it is empty")])


def test_nothing_of_a_text_becomes_a_part_of_the_page() -> None:
    plain, evil = Parts(whole("plain")), Parts(whole(EVIL))
    mathml = re.compile(formulas.ELEMENTS)
    assert [tag for tag, _ in evil.found if not mathml.fullmatch(tag)] == [tag for tag, _ in plain.found]
    names = {name for _, attributes in evil.found for name in attributes}
    assert not {name for name in names if name.startswith("on") or name == "style"}
    addresses = [
        value or ""
        for _, attributes in evil.found
        for name, value in attributes.items()
        if name in ("href", "src")
    ]
    assert addresses and all(re.match(r"#s\d+$|data:image/png;base64,", one) for one in addresses)
    assert "left out" not in whole(EVIL)
    assert "\u202e" not in whole(EVIL) and "\x1b" not in whole(EVIL) and "49" not in whole("{{ 7 * 7 }}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so $\\frac{1}{2}$.", 'so <math display="inline"><mrow><mfrac>'),
        ("$$x^2$$", '<math display="block">'),
        ("\\(a < b\\)", "<mo>&lt;</mo>"),
        ("\\[a\\]", '<math display="block">'),
        ("thus \\boxed{\\frac{3}{4}}", '<menclose notation="box">'),
        ("it costs $5 and $7 in all", "it costs $5 and $7 in all"),
        ("5$ or 6$", "5$ or 6$"),
        ("$\\frac{1}{", "$\\frac{1}{"),
        ("$\\text{<b>x</b>}$", "$\\text{&lt;b&gt;x&lt;/b&gt;}$"),
        ("a & b < c", "a &amp; b &lt; c"),
        ("\u202ex\x07", "\\u202ex\\x07"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_formulas_are_mathml_and_what_is_none_stays_as_it_was_written(text: str, expected: str) -> None:
    assert expected in str(formulas.shown(text))


@given(st.text(st.sampled_from("$\\{}^_()[]<>&ab1 \n\x00\u202e") | st.characters(), max_size=400))
def test_any_text_can_be_shown(text: str) -> None:
    for tag, attributes in Parts(str(formulas.shown(text))).found:
        assert formulas.ELEMENTS.fullmatch(tag), tag
        assert all(formulas.ATTRIBUTES.fullmatch(name) for name in attributes)


@pytest.mark.parametrize(
    "text", ["$" + "{" * 100_000, "$x$" * 30_000, "\\boxed{" * 20_000, "\\(" * 50_000, "$a" * 50_000]
)
def test_long_and_nested_texts_are_shown(text: str) -> None:
    assert len(str(formulas.shown(text))) >= len(text) / 4


def test_problems_are_chosen_by_what_changed_most() -> None:
    base = {"a": 1.0, "b": 0.5, "c": 0.0, "d": 0.0, "e": 0.25}
    student = {"a": 0.0, "b": 0.25, "c": 1.0, "d": 0.0, "e": 0.25}
    found = examples.choose(base, student, each=1)
    assert found == examples.Choice(("a",), ("c",), ("b",), ("d",))
    assert examples.choose(base, student).lost == ("a", "b")


def test_a_lost_problem_shows_a_right_trace_of_the_base_and_a_wrong_one_of_the_student() -> None:
    rows = {
        "base": [candidate(1, "correct"), candidate(1, "wrong")],
        "student": [candidate(1, "correct"), candidate(1, "wrong")],
    }
    (group,) = examples.groups(examples.Choice((f"{1:016x}",), (), (), ()), rows)
    assert group.title == "Right with the base, wrong with the student"
    assert [(one.who, one.outcome) for one in group.examples[0].traces] == [
        ("base", "correct"),
        ("student", "wrong"),
    ]


def test_long_traces_are_cut_in_the_middle() -> None:
    text = examples.shortened("a" * 50_000 + "z", most=100)
    assert text.startswith("a" * 50) and text.endswith("z") and "49,901 characters left out" in text


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
def test_a_browser_shows_a_hostile_page_and_runs_nothing(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(whole(EVIL), encoding="utf-8")
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}/profile",
    ]
    done = subprocess.run(
        [*command, "--dump-dom", f"file://{tmp_path}/report.html"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "<title>owned" not in done.stdout and done.stdout.count("<script") == 0
    assert done.stdout.count("<details") == 3
    assert page.TEMPLATE.is_file()
