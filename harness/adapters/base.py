"""What all adapters share: where a checkpoint comes from when none is named, and what an adapter reports of itself."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.records import CHECKPOINT_FILE, CheckpointRecord, Kind, sha256_file, weights_digest

KIND_ORDER: tuple[Kind, ...] = ("exact", "bound", "pseudo")
NARROW = 256  # width of a network whose layers are done before a second thread has begun
_taken: list[int] = []  # threads there were before a narrow network took one


class NoCheckpoint(ValueError):
    """No `pretrained=` was given and no finished local checkpoint of the adapter exists."""


@dataclass
class Tally:
    """What an adapter did since the last reset: requests scored (of these, answered from the store), not scored, cut from
    the left, rows computed.

    `settings` are those that the last generation request was decoded with (a task's own can differ from the adapter's).
    """

    scored: int = 0
    stored: int = 0
    unscored: int = 0
    truncated: int = 0
    rows: int = 0
    forward_passes: int = 0
    kind: Kind | None = None
    oracle_length: bool = False
    settings: dict | None = None

    def weaken(self, kind: Kind) -> None:
        """Remember the weakest kind of estimate seen: exact, then bound, then pseudo."""
        if self.kind is None or KIND_ORDER.index(kind) > KIND_ORDER.index(self.kind):
            self.kind = kind

    def add(self, other: Tally) -> None:
        """What another process did, added to this one's."""
        for name in ("scored", "stored", "unscored", "truncated", "rows", "forward_passes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.kind is not None:
            self.weaken(other.kind)
        self.oracle_length = self.oracle_length or other.oracle_length

    def as_dict(self) -> dict:
        """Plain data for records."""
        return asdict(self)


def results_folders() -> list[Path]:
    """Where finished checkpoints may lie: ANYORDER_RESULTS, ./results, results/ of the checkout."""
    named = os.environ.get("ANYORDER_RESULTS")
    places = [Path(named)] if named else [Path.cwd() / "results", Path(__file__).resolve().parents[2] / "results"]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def newest_checkpoint(adapter: str) -> Path:
    """The most recently finished local checkpoint trained for `adapter`; one of the smoke suite only if there is no other.

    Raises:
        NoCheckpoint: there is none.
    """
    found: list[tuple[tuple[bool, str], Path]] = []
    for place in results_folders():
        for path in place.glob(f"*/checkpoints/*/{CHECKPOINT_FILE}"):
            data = json.loads(path.read_text(encoding="utf-8"))
            if data.get("adapter") == adapter:
                found.append(((path.parents[2].name != "smoke", str(data.get("finished"))), path.parent))
        if found:
            return max(found)[1]
    raise NoCheckpoint(
        f"--model {adapter} without pretrained=, and no finished local checkpoint of it: run `make tables` first, "
        "or name one with --model_args pretrained=FOLDER_OR_HUB_ID."
    )


def usable_device(asked: str | None) -> str:
    """The device asked for, else cuda where there is one; lm-eval's command asks for cuda by default, also without one."""
    import torch

    if torch.cuda.is_available():
        return asked or "cuda"
    return "cpu" if asked is None or asked.startswith("cuda") else asked


def fit_threads(config, device: str) -> None:
    """One thread for a narrow network on a processor, where several would only wait for each other.

    A wide network loaded after it gets the threads back. Where OMP_NUM_THREADS is set, it decides.
    """
    import torch

    width = getattr(config, "hidden_size", None)
    if device != "cpu" or width is None or "OMP_NUM_THREADS" in os.environ:
        return
    if width > NARROW and _taken:
        torch.set_num_threads(_taken.pop())
    elif width <= NARROW and torch.get_num_threads() > 1:
        _taken[:] = [torch.get_num_threads()]
        torch.set_num_threads(1)


def weights_sha256(pretrained: str, record: CheckpointRecord | None) -> str | None:
    """Digest of the weights: of a sealed checkpoint from its (verified) record, else of a local folder; None for a hub id."""
    if record is not None:
        return weights_digest(record.files)
    folder = Path(pretrained)
    if not folder.is_dir():
        return None
    return weights_digest({path.name: sha256_file(path) for path in folder.glob("*.safetensors")})
