"""The line in front of a device: order, fairness between addresses, and what those who wait are told."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.session.line import Outlook, Ticket, WaitingLine
from app.ui.fairness import Quiet, waiting_words


class Clock:
    """Stands still unless it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def served(line: WaitingLine, tickets: dict[str, Ticket]) -> list[str]:
    """The order in which tickets get their turn; each ends it at once."""
    order: list[str] = []
    while tickets:
        name = next(name for name, ticket in tickets.items() if ticket.wait(0))
        tickets.pop(name).leave()
        order.append(name)
    return order


def test_one_turn_at_a_time_in_the_order_of_coming() -> None:
    line = WaitingLine()
    first, second = line.join("a"), line.join("b")
    assert not second.wait(0) and first.wait(0) and line.taken
    assert not second.wait(0)
    first.leave()
    assert second.wait(0) and line.taken
    second.leave()
    assert not line.taken


def test_short_work_goes_before_all_runs_that_wait() -> None:
    line = WaitingLine()
    tickets = {"run": line.join("a"), "other": line.join("b"), "preview": line.join(short=True)}
    assert served(line, tickets) == ["preview", "run", "other"]


def test_who_asks_for_many_turns_keeps_nobody_waiting_for_more_than_one() -> None:
    line = WaitingLine()
    tickets = {f"many {place}": line.join("many") for place in range(21)}
    assert tickets["many 0"].wait(0)
    tickets |= {"one": line.join("one"), "two": line.join("two")}
    tickets.pop("many 0").leave()
    assert served(line, tickets)[:3] == ["one", "two", "many 1"]


def test_who_comes_again_and_again_keeps_nobody_waiting_for_ever() -> None:
    line, ahead = WaitingLine(), 0
    patient = [line.join("patient"), line.join("patient")]
    assert patient[0].wait(0)
    eager = {name: line.join(name) for name in "xy"}
    patient[0].leave()
    while not patient[1].wait(0):
        name = next(name for name, ticket in eager.items() if ticket.wait(0))
        eager[name].leave()
        eager[name] = line.join(name)
        ahead += 1
        assert ahead <= 2


def test_giving_up_lets_the_next_one_go() -> None:
    line = WaitingLine()
    first, second, third = line.join("a"), line.join("b"), line.join("c")
    assert first.wait(0)
    second.leave()
    first.leave()
    assert third.wait(0)


def test_who_waits_is_woken_when_the_turn_comes() -> None:
    line, found = WaitingLine(), []
    first, second = line.join(), line.join()
    assert first.wait(0)
    waits = threading.Thread(target=lambda: found.append(second.wait(60)))
    waits.start()
    first.leave()
    waits.join(20)
    assert found == [True]


def turn(line: WaitingLine, clock: Clock, seconds: float, join: Callable[[], Ticket]) -> None:
    """One turn of this length."""
    ticket = join()
    assert ticket.wait(0)
    clock.now += seconds
    ticket.leave()


def test_the_estimate_is_a_moving_average_and_knows_how_long_the_present_turn_has_lasted() -> None:
    clock = Clock()
    line = WaitingLine(clock)
    running, waits = line.join("a"), line.join("b")
    assert running.wait(0) and waits.outlook() == Outlook(1, None)  # nothing is known so far
    clock.now += 4
    running.leave()
    waits.leave()
    turn(line, clock, 14, lambda: line.join("c"))
    turn(line, clock, 100, lambda: line.join(short=True))  # counts as nothing
    running, ahead, waits = line.join("d"), line.join("e"), line.join("f")
    assert running.wait(0)
    clock.now += 2
    assert waits.outlook() == Outlook(2, (7 - 2) + 7)  # 4 + 0.3 * (14 - 4)
    clock.now += 60
    assert waits.outlook() == Outlook(2, 7)
    ahead.leave()
    assert waits.outlook().before == 1


def test_words_for_those_who_wait_end_in_an_ellipsis() -> None:
    assert waiting_words(Outlook(3, 3.2)) == "Waiting: 3 before you, about 4 s …"
    assert waiting_words(Outlook(1, 0.0)) == "Waiting: 1 before you, about 1 s …"
    assert waiting_words(Outlook(1, None)) == "Waiting: 1 before you …"


def test_who_waits_is_told_more_often_the_sooner_the_turn_comes() -> None:
    for left_s, pause_s in ((120.0, 5.0), (30.0, 3.0), (2.0, 1.0), (0.0, 1.0), (None, 5.0)):
        clock = Clock()
        quiet = Quiet(clock)
        assert quiet.says(Outlook(9, left_s)) and not quiet.says(Outlook(8, left_s))
        clock.now += pause_s - 0.01
        assert not quiet.says(Outlook(8, left_s))
        clock.now += 0.02
        assert quiet.says(Outlook(8, left_s)) and not quiet.says(Outlook(8, left_s))
        assert quiet.says(None) and quiet.says(None) and quiet.says(Outlook(1, left_s))
