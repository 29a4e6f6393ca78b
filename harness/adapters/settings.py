"""Settings of a masked adapter: everything about it, beside its checkpoint, that can change a number."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

from harness.decoders import get_decoder
from harness.decoders.length import POLICIES
from harness.scorers import NO_COMPAT
from harness.scorers.estimator import Estimator
from harness.suites import unknown


@dataclass(frozen=True)
class MaskedSettings:
    """Everything about an adapter that can change a number; flat scalars, as `--model_args` splits on commas.

    scorer, rows: estimator and its row budget per target (short targets are exact whatever it is); compat: none | llada |
    dream | max_beam, a published estimator instead; racing: stop early on decided questions; length_term: add log p(length | prompt) where the checkpoint
    has a length head (a target of known length is otherwise scored as if its length had been given); decoder, steps:
    how answers are written and in how many passes; length: predicted | oracle | fixed; length_beam: candidates decoded per item, best mean log-prob wins;
    schedule, condition: of the reparameterized decoder; seed: of sampled masks; max_gen_toks: longest answer.
    """

    scorer: str = "any_order"
    rows: int = 32
    compat: str = NO_COMPAT
    racing: bool = False
    length_term: bool = True
    decoder: str = "mask_predict"
    steps: int = 10
    length: str = "predicted"
    length_beam: int = 1
    schedule: str = "cosine"
    condition: str = "unconditional"
    seed: int = 1234
    max_gen_toks: int = 64

    def __post_init__(self):
        for field in fields(self):
            value, wanted = getattr(self, field.name), type(field.default)
            if type(value) is not wanted:
                raise ValueError(
                    f"{field.name}={value!r}: expected {'a whole number' if wanted is int else wanted.__name__}."
                )
        _ = self.estimator
        get_decoder(self.decoder)
        if self.length not in POLICIES:
            raise ValueError(unknown("length policy", self.length, list(POLICIES)))
        for name, least in (("steps", 1), ("length_beam", 1), ("max_gen_toks", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least {least}.")
        if self.schedule not in ("cosine", "linear"):
            raise ValueError(unknown("schedule", self.schedule, ["cosine", "linear"]))
        if self.condition not in ("unconditional", "conditional"):
            raise ValueError(unknown("condition", self.condition, ["unconditional", "conditional"]))

    @property
    def estimator(self) -> Estimator:
        """The part that scores; ValueError names what is unknown."""
        return Estimator(self.scorer, self.rows, self.seed, self.compat, self.racing)

    def changed(self, changes: dict) -> MaskedSettings:
        """A copy with some settings replaced; ValueError names an unknown one."""
        known = asdict(self)
        for name in changes:
            if name not in known:
                raise ValueError(unknown("adapter setting", name, list(known)))
        return type(self)(**{**known, **changes})
