import io
import re
import subprocess
import sys
from collections.abc import Iterator
from random import Random

import pytest

from distill import progress
from distill.progress import Console, Meter


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass only when they are told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def console() -> Iterator[Console]:
    """Progress shown on a stream of the test's own."""
    with progress.showing(io.StringIO()) as shown:
        yield shown


def text(console: Console) -> str:
    stream = console.stream
    assert isinstance(stream, io.StringIO)
    return stream.getvalue()


def screen(written: str) -> list[str]:
    """What a terminal shows after some codes: line ends, returns, "up" and "erase the line", which are all
    that is used."""
    lines, row, column = [""], 0, 0
    for code in re.findall(r"\x1b\[\?25[lh]|\x1b\[1A|\x1b\[2K|\r|\n|[^\x1b\r\n]+|\x1b", written):
        match code:
            case "\n":
                row, column = row + 1, 0
                lines += [""] * (row == len(lines))
            case "\r":
                column = 0
            case "\x1b[1A":
                row -= 1
            case "\x1b[2K":
                lines[row] = ""
            case _ if code.startswith("\x1b"):
                assert "?25" in code
            case _:
                lines[row] = lines[row][:column].ljust(column) + code + lines[row][column + len(code) :]
                column += len(code)
    return [line for line in lines if line]


def test_a_line_says_what_was_done_how_fast_and_how_long_it_will_take() -> None:
    clock = Clock()
    meter = Meter("sampling", 400, clock=clock)
    for _ in range(20):
        meter.add(2, tokens=500, note="$3.21 of $50")
        clock.now += 1
    assert meter.line() == "sampling 40/400 (10 %), 3 min left, $3.21 of $50, 1.9/s, 475 tokens/s"
    meter.add(360)
    assert meter.line() == "sampling 400/400 (100 %), took 20 s, $3.21 of $50, 20/s, 500 tokens/s"


def test_the_rate_is_that_of_the_last_minute_and_the_last_line_has_the_mean(console: Console) -> None:
    clock = Clock()
    with Meter("sampling", 10_000, done=1000, clock=clock) as meter:
        for second in range(1200):
            meter.add(1 if second < 600 else 10)
            clock.now += 1
        assert meter.line() == "sampling 7,600/10,000 (76 %), 4 min left, 9.8/s"
    assert text(console).splitlines()[-1] == "sampling 7,600/10,000 (76 %), took 20 min, 5.5/s"


def test_a_time_left_is_shown_when_the_rate_is_steady_and_not_before() -> None:
    clock = Clock()
    meter = Meter("sampling", 100_000, clock=clock)
    clock.now += 300  # a model is loaded
    for second in range(59):
        meter.add(second)  # replies begin to come: each second more of them
        clock.now += 1
        assert " left" not in meter.line()
    for _ in range(62):
        meter.add(60)
        clock.now += 1
    assert ", 27 min left, 59/s" in meter.line()


def test_slow_rows_are_measured_over_more_than_a_minute() -> None:
    clock, dice = Clock(), Random(0)
    meter = Meter("sampling", 1000, clock=clock)
    for _ in range(100):
        clock.now += dice.expovariate(1 / 40)
        meter.add()
    line = meter.line()
    rate = float(line.removesuffix("/min").rsplit(" ", 1)[1])
    assert 1.0 < rate < 2.0 and line.startswith("sampling 100/1,000 (10 %), ") and " h " in line
    clock.now += 24 * 3600  # nothing comes any more: the rate says so
    assert " d " in meter.line() and meter.line().endswith("/h")


def test_what_was_found_done_is_no_speed_and_another_total_may_be_expected() -> None:
    clock = Clock()
    meter = Meter("sampling", 1000, clock=clock)
    for second in range(10):
        meter.add(1)
        clock.now += 1
        if second == 5:
            meter.found(500)
    assert meter.line() == "sampling 510/1,000 (51 %), 9 min left, 54/min"
    meter.expect(550)
    assert meter.line() == "sampling 510/550 (92 %), 44 s left, 54/min"


def test_work_that_was_stopped_says_so(console: Console) -> None:
    clock = Clock()

    def interrupted() -> None:
        with Meter("sampling", 10, clock=clock) as meter:
            meter.add(3)
            clock.now += 120
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert text(console) == "sampling 3/10 (30 %), stopped after 2 min, 1.5/min\n"


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
    assert screen(shown) == ["a line in between", "training 2/3 (66 %), took 0 s, loss 1.5"]
    assert "training 1/3 (33 %), loss 1.5" in shown and shown.endswith("took 0 s, loss 1.5\n")


def test_a_line_is_never_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    with progress.showing(Terminal()) as console:
        console.status("采样" * 30)
        wide = text(console)
        console.status("x" * 40)
        whole = text(console).removeprefix(wide)
        progress.say("a longer line is wrapped by the terminal and not by us: " + "y" * 40)
    assert "采样" * 9 + "采 …" in wide and "采样" * 10 not in wide
    assert "x" * 40 in whole and "…" not in whole
    assert "y" * 40 + "\n" in text(console)


def test_a_terminal_that_cannot_go_back_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with progress.showing(Terminal()) as console:
        console.status("training 1/3")
    assert text(console) == "training 1/3\n"


def test_what_is_printed_meanwhile_goes_where_it_should(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.showing(Terminal()) as console:
        console.status("training 1/3")
        print("the last line is the path of the report")
    assert capsys.readouterr() == ("the last line is the path of the report\n", "")


def test_nothing_loads_rich_but_a_terminal() -> None:
    program = "import io, sys; import flows.cli; from distill import progress\nwith progress.showing(io.StringIO()): progress.say('x')"
    done = subprocess.run(
        [sys.executable, "-c", program + "\nprint('rich' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"


def test_what_was_reused_is_kept_for_the_summary(console: Console) -> None:
    progress.say("reused traces tiny-1", reused="traces tiny-1")
    progress.say("made something")
    assert console.reused == ["traces tiny-1"]


def test_nothing_is_shown_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with Meter("collecting", 1) as meter:
        meter.add()
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (91, "2 min"), (3600, "60 min"), (5400, "1 h 30 min"), (200_000, "2 d 7 h")],
)
def test_durations_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said


def test_counts_and_rates_are_said_as_people_say_them() -> None:
    assert [progress.amount(count) for count in (0, 9_999, 12_345, 1_850_000, 10**11)] == [
        "0",
        "9,999",
        "12.3 k",
        "1.85 M",
        "100 G",
    ]
    assert [progress.rate(each) for each in (310, 12, 1.25, 0.5, 0.02, 0.001)] == [
        "310/s",
        "12/s",
        "1.2/s",
        "30/min",
        "1.2/min",
        "3.6/h",
    ]
