"""Time to equal loss: its arithmetic on curves made by hand, and that the ways which must agree do."""

import itertools
from types import SimpleNamespace

import pytest
import torch

from trainers import training_speed
from trainers.equal_loss import Point, compare, curves, first_time, look_steps
from trainers.training_speed import OURS, Setting, clocked, examples, ways

TINY = Setting(width=16, layers=1, vocabulary=64, examples=64, held_out=8, batch=8, epochs=2, micro_tokens=512)


def line(*losses: float, seconds: float = 10.0) -> list[Point]:
    return [Point(8 * n, seconds * n, seconds * n / 2, loss) for n, loss in enumerate(losses, 1)]


def test_the_first_time_lies_on_the_line_between_two_points():
    falling = line(4.0, 3.0, 2.0)
    assert first_time(falling, 2.5, "wall") == 25.0 and first_time(falling, 2.5, "processor") == 12.5
    assert first_time(falling, 3.0, "wall") == 20.0 and first_time(falling, 5.0, "wall") == 10.0
    assert first_time(falling, 1.9, "wall") is None
    assert first_time(line(4.0, 2.0, 3.0, 1.0), 2.5, "wall") == pytest.approx(17.5)  # it may rise again


def test_times_and_last_losses_are_compared_seed_by_seed():
    plain = [line(4.0, 3.0), line(4.0, 3.2)]  # standard deviation 0.1414: down to 3.1414 and 3.3414
    good, late = [line(4.0, 3.0, seconds=2)] * 2, [line(4.0, 3.9), line(4.0, 3.3)]
    found = compare({"plain": plain, "cut": good, "bucketed": late, "packed": [line(4.0, 3.9)] * 2}, TINY)
    named = {(one.what, one.unit): one for one in found}
    last = named["last held-out loss, cut − plain Trainer", "nats per target token"]
    assert (last.value, last.low, last.high) == pytest.approx((-0.1, -0.2, 0.0)) and "0.1414" in last.note
    cut = named["time to the plain Trainer's loss, plain Trainer ÷ cut", "s (wall)"]
    other = 10 + 10 * (4 - 3.34142136) / 0.8, 2 + 2 * (4 - 3.34142136) / 1.0  # plain and ours, second seed
    assert (cut.low, cut.high) == pytest.approx(sorted([5.0, other[0] / other[1]])) and "2 of 2" in cut.note
    late_one = named["time to the plain Trainer's loss, plain Trainer ÷ bucketed", "s (wall)"]
    assert late_one.repeats == 1 and "1 of 2" in late_one.note
    assert not any("time" in what and "packed" in what for what, _ in named)  # never reached: no number


def test_a_loss_that_is_reached_at_once_is_counted():
    plain = [line(4.0, 3.0), line(4.0, 3.0)]
    found = compare({"plain": plain, **dict.fromkeys(OURS, [line(2.0, seconds=0), line(4.0, 3.0, seconds=5)])}, TINY)
    one = next(one for one in found if one.unit == "s (wall)")
    assert one.value == pytest.approx(2.0) and one.repeats == 1 and "reached by 2 of 2 seeds, by 1 at once;" in one.note


def test_a_curve_is_looked_at_after_equal_shares_and_at_its_end():
    assert look_steps([8] * 8, 4) == {2: 16, 4: 32, 6: 48, 8: 64}
    assert look_steps([10, 10, 10], 2) == {2: 20, 3: 30}
    assert list(look_steps([3] * 5, 100).values()) == [3, 6, 9, 12, 15]


def test_clocks_stand_still_while_the_loss_is_taken(monkeypatch):
    wall, processor = itertools.count(0, 100), itertools.count(0, 7)  # seconds that pass at every look at a clock
    clock = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(processor))
    monkeypatch.setattr(training_speed, "time", clock)
    weight = torch.nn.Parameter(torch.ones(1))
    optimiser, called = torch.optim.SGD([weight], lr=0.1), []

    def train():
        for _ in range(3):
            weight.grad = torch.ones(1)
            optimiser.step()

    assert clocked(train) == [(0, 0), (100, 7), (200, 14)]
    wall, processor = itertools.count(0, 100), itertools.count(0, 7)
    assert clocked(train, called.append) == [(0, 0), (100, 7), (200, 14)] and called == [1, 2, 3]


def test_cut_steps_end_at_the_plain_trainers_loss():
    found = curves(TINY, 1)
    plain, cut = found["plain"][0], found["cut"][0]
    assert [point.examples for point in plain] == [point.examples for point in cut] and plain[-1].examples == 128
    assert plain[-1].loss < plain[0].loss - 0.01
    for one, other in zip(plain, cut, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-4)


def test_packed_steps_see_as_many_examples():
    lengths = [len(example) + 1 for example in examples(512, 64)]
    made = ways(Setting(examples=512, epochs=2), lengths, 0)
    seen = made["packed"].seen()
    assert sum(map(len, seen)) / len(seen) == pytest.approx(32, rel=0.07) and len(seen) == len(made["packed"].plan)
    assert made["plain"].seen() == made["cut"].seen() and len(made["plain"].plan) == 32
