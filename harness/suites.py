"""A suite: which recipes × which tasks × which seeds are compared, read from a strict YAML file. Torch-free."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from harness.config import ConfigError, Frozen, read_yaml, unknown

Setting = str | int | float | bool | None
BeamRule = Literal["with_length", "content_mean", "row_mean", "scorer"]  # see harness.decoders.length


class CorpusPlan(Frozen):
    """The embedded corpus: `records` training records, evaluation sets scaled by `items_scale`."""

    seed: int = 0
    records: int = Field(default=60000, ge=100)
    items_scale: float = Field(default=1.0, gt=0)
    vocabulary: int = Field(default=2400, ge=300)


class System(Frozen):
    """One compared system: a recipe, the adapter that evaluates it, and how tables call it."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    recipe: str
    adapter: str
    label: str
    paradigm: str
    settings: dict[str, Setting] = {}


class Evaluation(Frozen):
    """One way of asking: tasks, adapter settings and the tasks' own settings (`metadata`: prompts, convention, …), for
    all systems or for those named."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    tasks: tuple[str, ...] = Field(min_length=1)
    systems: tuple[str, ...] = ()
    settings: dict[str, Setting] = {}
    metadata: dict[str, Any] = {}
    limit: int | None = Field(default=None, ge=1)


class SpeedMode(Frozen):
    """One row of the quality-speed table: a system with decoder settings, prompts with `shots` answered examples."""

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    system: str
    label: str
    shots: int = Field(default=0, ge=0)
    settings: dict[str, Setting] = {}


class SpeedPlan(Frozen):
    """Decoding speed: which modes, on which task, how many items and repeats."""

    task: str = "mini_retell"
    items: int = Field(default=64, ge=1)
    batch_sizes: tuple[int, ...] = (1, 32)
    repeats: int = Field(default=3, ge=1)
    modes: tuple[SpeedMode, ...] = ()


class LengthPlan(Frozen):
    """Predicted lengths against references': documents of a task (grouped by a field of theirs), systems with a length
    head, and a beam of lengths ranked by each of `beam_scores`.
    """

    task: str = "mini_heldin_gen"
    kind_field: str = "task"
    metric: str = "exact_match"
    beam: int = Field(default=3, ge=2)
    beam_scores: tuple[BeamRule, ...] = Field(default=("with_length",), min_length=1)
    systems: tuple[str, ...] = Field(min_length=1)


class TracePlan(Frozen):
    """Decoding traces: which speed modes of masked systems are followed pass by pass, on how many items of a task."""

    task: str = "mini_retell"
    items: int = Field(default=4, ge=1)
    modes: tuple[str, ...] = Field(min_length=1)


class ScoringGroup(Frozen):
    """Questions of one kind for the scoring benchmark: items of tasks whose targets have min … max tokens.

    A task without choices gets some: its reference against copies with two tokens exchanged.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    label: str
    tasks: tuple[str, ...] = Field(min_length=1)
    min_tokens: int = Field(default=1, ge=1)
    max_tokens: int = Field(ge=1)
    questions: int = Field(default=40, ge=1)


class ScoringPlan(Frozen):
    """Scoring speed: one masked system, budgets of `rows` per choice against `draws` published-style draws per request.

    reference_rows: budget of the run that errors are measured against; seeds: how often each estimate is repeated;
    memory: [vocabulary, tokens, rows] of the memory measurement; autoregressive: the system compared with stock hf;
    with_tables: measured by `make tables`, too, not by `make speed` alone (it takes minutes).
    """

    system: str
    groups: tuple[ScoringGroup, ...] = Field(min_length=1)
    rows: tuple[int, ...] = Field(default=(16, 32, 128), min_length=1)
    draws: int = Field(default=128, ge=1)
    reference_rows: int = Field(default=4096, ge=1)
    seeds: int = Field(default=3, ge=1)
    memory: tuple[int, int, int] = (250_002, 512, 32)
    autoregressive: str | None = None
    with_tables: bool = False


class OverheadPlan(Frozen):
    """What whole runs take beside the network: `questions` in all, shared equally by the (multiple-choice) tasks."""

    systems: tuple[str, ...] = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)
    questions: int = Field(default=2000, ge=1)
    repeats: int = Field(default=3, ge=1)


class JudgePlan(Frozen):
    """Judge-shaped runs of the report, graded by the scripted judge (no model, no network).

    tasks: the corpus's tasks that give the first and the second turn; baseline: the system that pairs are against;
    longest: tokens per answer.
    """

    tasks: tuple[str, str] = ("retell", "describe")
    questions: int = Field(default=10, ge=1)
    instructions: int = Field(default=20, ge=1)
    baseline: str
    longest: int = Field(default=48, ge=1)


class AnalysisPlan(Frozen):
    """Instruction Modelling's analyses (trainers/analysis.py): how many examples of a training set are measured, how many of
    their answers written again."""

    examples: int = Field(default=500, ge=1)
    answers: int = Field(default=100, ge=0)


class Suite(Frozen):
    """Everything `make tables SUITE=name` needs; see suites/*.yaml. `steps` replaces every recipe's
    training.steps; `forecast` holds seconds per job of each rule and `disk_mb`, measured as `forecast_from` says.
    """

    name: str = Field(pattern=r"^[a-z0-9_]+$")
    description: str
    seeds: tuple[int, ...] = Field(min_length=1)
    corpus: CorpusPlan | None = None
    batch_size: int = Field(default=64, ge=1)
    steps: int | None = Field(default=None, ge=1)
    systems: tuple[System, ...] = Field(min_length=1)
    evaluations: tuple[Evaluation, ...] = Field(min_length=1)
    speed: SpeedPlan | None = None
    traces: TracePlan | None = None
    lengths: LengthPlan | None = None
    scoring: ScoringPlan | None = None
    overhead: OverheadPlan | None = None
    judge: JudgePlan | None = None
    analysis: AnalysisPlan | None = None
    forecast: dict[str, float] = {}
    forecast_from: str = "not measured"

    @field_validator("systems", "evaluations")
    @classmethod
    def _unique(cls, rows: tuple) -> tuple:
        names = [row.name for row in rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names used twice: {', '.join(twice)}")
        return rows

    @model_validator(mode="after")
    def _systems_exist(self) -> Suite:
        known = {system.name for system in self.systems}
        asked = [(f"evaluations.{e.name}.systems", name) for e in self.evaluations for name in e.systems]
        asked += [(f"speed.modes.{m.name}.system", m.system) for m in (self.speed.modes if self.speed else ())]
        asked += [("lengths.systems", name) for name in (self.lengths.systems if self.lengths else ())]
        asked += [("overhead.systems", name) for name in (self.overhead.systems if self.overhead else ())]
        if self.scoring:
            asked.append(("scoring.system", self.scoring.system))
            asked += [("scoring.autoregressive", name) for name in [self.scoring.autoregressive] if name]
        if self.judge:
            asked.append(("judge.baseline", self.judge.baseline))
        for key, name in asked:
            if name not in known:
                raise ValueError(f"{key}: unknown system '{name}'; known: {', '.join(sorted(known))}")
        return self

    @model_validator(mode="after")
    def _traced_modes_exist(self) -> Suite:
        known = [mode.name for mode in (self.speed.modes if self.speed else ())]
        for name in self.traces.modes if self.traces else ():
            if name not in known:
                raise ValueError("traces.modes: " + unknown("speed mode", name, known))
        return self

    def system(self, name: str) -> System:
        """The system called `name`; ConfigError names the known ones."""
        for system in self.systems:
            if system.name == name:
                return system
        raise ConfigError(unknown("system", name, [system.name for system in self.systems]))

    def evaluations_of(self, system: str) -> tuple[Evaluation, ...]:
        """The evaluations that `system` takes part in, in file order."""
        return tuple(e for e in self.evaluations if not e.systems or system in e.systems)


def suites_folder() -> Path:
    """suites/ of the checkout (the suites belong to the checkout, as does `make`)."""
    return Path(__file__).resolve().parents[1] / "suites"


def load_suite(name_or_path: str) -> Suite:
    """A suite by name (`mini`) or path (`my/suite.yaml`); ConfigError lists the known names."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        return read_yaml(path, Suite)
    path = suites_folder() / f"{name_or_path}.yaml"
    if not path.is_file():
        raise ConfigError(unknown("suite", name_or_path, sorted(p.stem for p in suites_folder().glob("*.yaml"))))
    return read_yaml(path, Suite)
