"""Time to equal loss: how long each way of making batches takes to a plain Trainer's held-out loss.

Every way trains the same network on the same examples, as often, on the Trainer's default schedule; only the seed of the
weights and of the order differs between repeats. The held-out loss is taken after every so many examples, with the clocks
standing still. A way is as good as the plain Trainer where its last loss lies within the plain Trainer's own spread over seeds;
its time is that at which its curve first comes down to the plain Trainer's last loss and that spread, the plain Trainer's
time being taken by the same rule.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from harness.records import write_atomically
from trainers.compared import Compared, paired
from trainers.training_speed import OURS, Setting, Way, clocked, decoder, examples, held_out_loss, ways

LEVEL = Setting(width=64, layers=2, vocabulary=256, examples=2048, held_out=512, epochs=4)
POINTS = 32  # of a curve


@dataclass(frozen=True)
class Point:
    """A place of a curve: examples seen, wall and processor seconds since the first step, held-out nats per target token."""

    examples: int
    wall: float
    processor: float
    loss: float


def curve(setting: Setting, way: Way, data, held_out, seed: int, points: int = POINTS) -> list[Point]:
    """One training, looked at `points` times at equal distances in examples, the last time at its end."""
    network = decoder(setting.vocabulary, setting.width, setting.layers, seed)
    seen = [len(step) for step in way.seen()]
    looks, losses = look_steps(seen, points), {}

    def look(step: int) -> None:
        if step in looks:
            losses[step] = held_out_loss(network, held_out)

    marks = clocked(lambda: way.train(network, data, way.plan), look)
    wall, processor = marks[0]
    return [
        Point(looks[step], marks[step - 1][0] - wall, marks[step - 1][1] - processor, loss)
        for step, loss in losses.items()
    ]


def look_steps(seen: Sequence[int], points: int) -> dict[int, int]:
    """{step (from 1): examples seen by then}: the first steps after each of `points` equal shares of all examples."""
    total, done, found = sum(seen), 0, {}
    for step, count in enumerate(seen, 1):
        before, done = done * points // total, done + count
        if done * points // total > before:
            found[step] = done
    return found


def first_time(curve: Sequence[Point], target: float, clock: str) -> float | None:
    """Seconds at which the curve first comes down to `target`, straight lines between its points; None: it never does.

    A curve that begins below it has come down by its first point.
    """
    last = None
    for point in curve:
        if point.loss <= target:
            if last is None:
                return getattr(point, clock)
            share = (last.loss - target) / (last.loss - point.loss)
            return getattr(last, clock) + share * (getattr(point, clock) - getattr(last, clock))
        last = point
    return None


def curves(setting: Setting, repeats: int) -> dict[str, list[list[Point]]]:
    """Every way's curves, one per seed, in turn, each repeat beginning with another way."""
    made = examples(setting.examples + setting.held_out, setting.vocabulary)
    data, held_out = made[: setting.examples], made[setting.examples :]
    lengths, names = [len(example) + 1 for example in data], ("plain", *OURS)
    found: dict[str, list[list[Point]]] = {name: [] for name in names}
    for seed in range(repeats):
        made_ways, first = ways(setting, lengths, seed), seed % len(names)
        for name in (*names[first:], *names[:first]):
            found[name].append(curve(setting, made_ways[name], data, held_out, seed))
    return found


def compare(found: dict[str, list[list[Point]]], setting: Setting) -> list[Compared]:
    """Last losses, and times to the plain Trainer's, over the seeds; a time is missing where no seed reached it."""
    shape = ", ".join(f"{field.name} {getattr(setting, field.name)}" for field in fields(setting))
    last = {name: [one[-1].loss for one in curves] for name, curves in found.items()}
    spread = statistics.stdev(last["plain"]) if len(last["plain"]) > 1 else 0.0
    targets, compared = [loss + spread for loss in last["plain"]], []
    for way in OURS:
        note = f"standard deviation of the plain Trainer's over seeds: {spread:.4f}; {shape}"
        compared.append(
            paired(
                f"last held-out loss, {way} − plain Trainer", "nats per target token", "difference", last[way], last["plain"], note
            )
        )  # fmt: skip
        for clock in ("wall", "processor"):
            pairs = [
                (first_time(ours, target, clock), first_time(plain, target, clock))
                for ours, plain, target in zip(found[way], found["plain"], targets, strict=True)
            ]
            reached = [(plain, ours) for ours, plain in pairs if ours is not None and plain is not None]
            timed = [times for times in reached if min(times) > 0]  # a curve that begins there has no ratio
            note = f"reached by {len(reached)} of {len(pairs)} seeds"
            note += f", by {len(reached) - len(timed)} at once" if len(reached) > len(timed) else ""
            note += f"; spread {spread:.4f} nats; {shape}"
            if timed:
                plain, ours = zip(*timed, strict=True)
                what = f"time to the plain Trainer's loss, plain Trainer ÷ {way}"
                compared.append(paired(what, f"s ({clock})", "ratio", plain, ours, note))
    return compared


def write(found: dict[str, list[list[Point]]], path: Path) -> Path:
    """Curves as CSV, one row per point.

    Raises:
        RecordError: the folder cannot be written.
    """
    rows = ["way,seed,examples,wall,processor,loss"]
    for way, of_seeds in found.items():
        for seed, points in enumerate(of_seeds):
            rows += [f"{way},{seed},{p.examples},{p.wall:.3f},{p.processor:.3f},{p.loss:.6f}" for p in points]
    write_atomically(path, "\n".join(rows) + "\n")
    return path
