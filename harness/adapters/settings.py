"""Settings of a masked adapter: everything about it, beside its checkpoint, that can change a number."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from harness.config import unknown
from harness.decoders import get_decoder, own_settings
from harness.decoders.board import RULES
from harness.decoders.confidence import check as check_confidence
from harness.decoders.length import BEAM_RULES, POLICIES
from harness.scorers import NO_COMPAT
from harness.scorers.estimator import Estimator

CHOICES = {
    "length": POLICIES,
    "schedule": ("cosine", "linear"),
    "condition": ("unconditional", "conditional"),
    "selection": ("deterministic", "stochastic"),
    "rule": RULES,
    "beam_score": BEAM_RULES,
    "prompt_cache": ("auto", "off"),
}
CHOICE_WORDS = {"length": "length policy", "rule": "confidence rule"}
TYPE_WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class MaskedSettings:
    """Everything about an adapter that can change a number; flat scalars, as `--model_args` splits on commas.

    Scoring. scorer, rows: estimator and its row budget per target (short targets are exact whatever it is); compat:
    none | llada | dream | max_beam, a published estimator instead; racing: stop early on decided questions;
    length_term: add log p(length | prompt) where the checkpoint has a length head (a target of known length is
    otherwise scored as if its length had been given).
    Writing. decoder, steps: how answers are written and in how many passes; schedule, condition,
    selection, noise (of the stochastic one): of reparameterized;
    floor_one: of mask_predict; rule, block_length, threshold, factor: of confidence (0 = not used); block_cache: of
    confidence, off | prefix | dual, an approximation for models whose prompt sees the answer;
    temperature, top_p: drawn tokens instead of the most probable ones (a temperature of the request wins); length: predicted | oracle | fixed | eos;
    length_beam: candidates decoded per item, the best by beam_score wins; max_gen_toks: longest answer;
    prompt_cache: auto (the prompt is read once where that is exact) | off.
    seed: of sampled masks and tokens.
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
    selection: str = "deterministic"
    noise: float = 1.0
    floor_one: bool = False
    rule: str = "low_confidence"
    block_length: int = 0
    threshold: float = 0.0
    factor: float = 0.0
    block_cache: str = "off"
    temperature: float = 0.0
    top_p: float = 1.0
    beam_score: str = "with_length"
    prompt_cache: str = "auto"
    seed: int = 1234
    max_gen_toks: int = 64

    def __post_init__(self):
        for field in fields(self):
            value, wanted = getattr(self, field.name), type(field.default)
            if wanted is float and type(value) is int:
                object.__setattr__(self, field.name, float(value))
            elif type(value) is not wanted:
                raise ValueError(f"{field.name}={value!r}: expected {TYPE_WORDS.get(wanted, wanted.__name__)}.")
        _ = self.estimator
        get_decoder(self.decoder)
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                raise ValueError(unknown(CHOICE_WORDS.get(name, name), getattr(self, name), list(known)))
        for name, least in (("steps", 1), ("length_beam", 1), ("max_gen_toks", 1), ("temperature", 0), ("noise", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least {least}.")
        if not (0 < self.top_p <= 1 or (self.top_p == 0 and not self.temperature)):  # tasks pair 0 with greedy decoding
            raise ValueError(f"top_p={self.top_p}: a probability above 0, at most 1 (1 = all tokens).")
        check_confidence(self.rule, self.block_length, self.threshold, self.factor, self.block_cache)
        if self.block_cache != "off" and self.decoder != "confidence":
            raise ValueError(f"block_cache={self.block_cache} belongs to decoder=confidence, not {self.decoder}.")
        self._check_blocks()

    def _check_blocks(self) -> None:
        """Blocks must divide an answer of known length; a predicted length may end in a shorter block."""
        size, known = self.block_length, self.length in ("fixed", "eos")
        if size and known and self.max_gen_toks % size:
            whole = [n for n in range(1, self.max_gen_toks + 1) if self.max_gen_toks % n == 0]
            raise ValueError(
                f"block_length={size} does not divide max_gen_toks={self.max_gen_toks} (length={self.length}): "
                f"take one of {', '.join(map(str, whole))}, or 0 for one block."
            )

    @property
    def estimator(self) -> Estimator:
        """The part that scores; ValueError names what is unknown."""
        return Estimator(self.scorer, self.rows, self.seed, self.compat, self.racing)

    @property
    def one_pass(self) -> bool:
        """Whether every answer takes a single forward pass."""
        unbounded = self.decoder == "left_to_right" or (
            self.decoder == "confidence" and self.threshold + self.factor > 0
        )
        return self.steps == 1 and not unbounded

    @property
    def drawn(self) -> bool:
        """Whether answers depend on the seed and on whose they are."""
        stochastic = self.decoder == "reparameterized" and self.selection == "stochastic"
        return self.temperature > 0 or self.decoder == "ancestral" or stochastic

    def of_decoder(self) -> dict[str, Any]:
        """The settings that the decoder takes beside steps and randomness."""
        return {name: getattr(self, name) for name in own_settings(self.decoder)}

    def changed(self, changes: dict) -> MaskedSettings:
        """A copy with some settings replaced; ValueError names an unknown one."""
        known = asdict(self)
        for name in changes:
            if name not in known:
                raise ValueError(unknown("adapter setting", name, list(known)))
        return type(self)(**{**known, **changes})
