import io
from collections.abc import Iterator

import pytest

from distill import progress
from distill.progress import Console, Meter


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def console() -> Iterator[Console]:
    """Progress shown on a stream of the test's own."""
    with progress.showing(io.StringIO()) as shown:
        yield shown


def text(console: Console) -> str:
    stream = console.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def test_a_line_says_what_was_done_and_how_fast() -> None:
    meter = Meter("sampling", 400)
    meter.add(100, tokens=5000)
    assert meter.line().startswith("sampling 100/400 (25 %), ")
    assert "tokens/s" in meter.line()
    meter.add(300)
    assert "took" in meter.line()


def test_a_log_gets_plain_lines_and_a_last_one(console: Console) -> None:
    with Meter("verifying", 3) as meter:
        for _ in meter.over(range(3)):
            pass
    assert text(console) == "verifying 3/3 (100 %), took 0 s\n"


def test_a_terminal_gets_one_line_that_is_rewritten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", 0.0)
    with progress.showing(Terminal()) as console, Meter("training", 3) as meter:
        meter.add(note="loss 1.5")
        progress.say("a line in between")
        meter.add()
    shown = text(console)
    assert "\rtraining 1/3 (33 %), loss 1.5\x1b[K" in shown
    assert "\r\x1b[Ka line in between\n" in shown
    assert shown.count("\n") == 2


def test_what_was_reused_is_kept_for_the_summary(console: Console) -> None:
    progress.say("reused traces tiny-1", reused="traces tiny-1")
    progress.say("made something")
    assert console.reused == ["traces tiny-1"]


def test_nothing_is_shown_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("collecting", 1) as meter:
        meter.add()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (200_000, "2 d 7 h")]
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said
