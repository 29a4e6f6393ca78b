"""What `trainers speed` measures: every way trains the same examples; comparisons are taken pair by pair."""

import csv
import math

import pytest

from harness.records import RecordError, read_measurements
from trainers.__main__ import parser
from trainers.commands import run
from trainers.compared import paired, write
from trainers.equal_loss import Point
from trainers.logits_memory import logits_memory
from trainers.mixture_speed import MixtureSpeed
from trainers.training_speed import OURS, Setting, Timed, compare, decoder, examples, held_out_loss, overhead, turns

FILES = {f"{name}.{kind}" for name in ("training", "equal_loss") for kind in ("csv", "json")} | {
    "equal_loss_curves.csv", "mixture.json",
}  # fmt: skip
TINY = Setting(width=16, layers=1, vocabulary=64, examples=64, held_out=8, batch=8)


def test_examples_are_seeded_and_have_something_to_learn():
    made = examples(200, 64)
    assert made == examples(200, 64) and made != examples(200, 64, seed=1)
    followers: dict[int, list[int]] = {}
    for example in made:
        for before, token in zip(example.target, example.target[1:], strict=False):
            followers.setdefault(before, []).append(token)
    usual = sum(max(found.count(token) for token in found) for found in followers.values())
    assert usual / sum(map(len, followers.values())) > 0.5


def test_every_way_trains_once_over_the_examples_and_learns():
    times = turns(TINY, 1, ("plain", "cut", "bucketed", "packed", "bare"))
    before = held_out_loss(decoder(64, 16, 1), examples(72, 64)[64:])
    assert before == pytest.approx(math.log(64), rel=0.05)
    for (one,) in times.values():
        assert one.loss < before and one.wall > 0 and one.processor > 0
    assert times["plain"][0].steps == times["bucketed"][0].steps == times["bare"][0].steps == 3


def timed(wall: float, loss: float) -> Timed:
    return Timed(wall, wall / 2, 1000, 10, loss)


def test_comparisons_are_medians_of_pairs(tmp_path):
    plain, ours = [timed(8, 5.0), timed(20, 5.2), timed(9, 5.1)], [timed(4, 5.1), timed(5, 5.1), timed(3, 5.1)]
    found = compare({"plain": plain, "cut": ours, "bucketed": ours, "packed": ours, "bare": ours}, TINY)
    assert [(round(one.value, 6), round(one.low, 6), round(one.high, 6)) for one in found[:3]] == [
        (3.0, 2.0, 4.0), (3.0, 2.0, 4.0), (0.0, -0.1, 0.1),
    ]  # fmt: skip
    assert "0.1000" in found[2].note
    wall = overhead({"bucketed": [timed(1.2, 0)] * 3, "bare": [timed(1.0, 0)] * 3}, ours)[0]
    assert wall.value == pytest.approx(1.05) and "20.00 ms" in wall.note  # 0.02 s on steps of 0.4, 0.5 and 0.3 s
    write([*found, wall], tmp_path)
    with open(tmp_path / "training.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 10 and rows[0]["kind"] == "ratio" and float(rows[0]["value"]) == pytest.approx(3.0)


def test_loss_positions_alone_take_their_share_of_memory():
    found = logits_memory(vocabulary=5000, width=16, tokens=64)
    assert 0.1 < found.value < 0.4  # 9 of 64 positions carry loss; the plain way keeps the logits more than once


def test_measurements_are_sealed_beside_the_others(tmp_path, monkeypatch):
    folder, one = tmp_path / "speed", paired("peak", "bytes", "ratio", [1.0], [4.0], "toy")
    monkeypatch.setattr("trainers.training_speed.measure", lambda *_: [one])
    curves = {way: [[Point(8, 1.0, 1.0, 3.0)]] * 2 for way in ("plain", *OURS)}
    monkeypatch.setattr("trainers.equal_loss.curves", lambda *_: curves)
    monkeypatch.setattr("trainers.logits_memory.logits_memory", lambda: one)
    monkeypatch.setattr("trainers.mixture_speed.measure", lambda *_: MixtureSpeed(3, 90, 0.2, 0.1, 1000, 2))
    for command in (["speed", "--out", str(folder)], ["mixture-speed", "--out", str(folder / "mixture.json")]):
        run(parser().parse_args(command))
    sealed = read_measurements(folder)
    assert set(sealed) == {path.name for path in folder.iterdir()} - {"speed.json", "speed.json.lock"}
    assert set(sealed) == FILES and not sealed["mixture.json"].checkpoints
    assert (folder / "equal_loss_curves.csv").read_text().splitlines()[1:3] == [
        "plain,0,8,1.000,1.000,3.000000", "plain,1,8,1.000,1.000,3.000000",
    ]  # fmt: skip
    (folder / "training.csv").write_text("what\n")
    with pytest.raises(RecordError, match=r"training\.csv was changed"):
        read_measurements(folder)
