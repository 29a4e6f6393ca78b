"""The state of an unfinished training: everything that the next step depends on, so that a killed run goes on exactly.

A folder `<checkpoint>.training/<stage>/step-00000120` holds state.safetensors (weights, optimiser moments, generator
states), trainer_state.json (the Trainer's own: step and log) and state.json, which is written last and seals the others
by sha256. The two newest are kept: one that a kill or a bad disk left broken is passed over. No pickle.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)

from harness.records import RecordError, sha256_file, write_atomically

TENSORS, SEAL, TRAINER = "state.safetensors", "state.json", "trainer_state.json"
KEPT = 2
WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
LOADED = StateDictOptions(full_state_dict=True, ignore_frozen_params=True, strict=False)


@dataclass(frozen=True)
class StateFolder:
    """Where the states of one stage of one run lie; `identity` tells whose they are, `seconds` how often one is written."""

    folder: Path
    identity: str
    seconds: float = 600.0

    def stage(self, name: str) -> StateFolder:
        """The same for a stage of the run."""
        return StateFolder(self.folder / name, self.identity, self.seconds)

    def newest(self) -> Path | None:
        """The newest sound state of this run, or None; those of another recipe or other data are removed."""
        for step in sorted(self.folder.glob("step-*"), reverse=True):
            seal = _sealed(step)
            if seal is None:
                continue
            if seal["identity"] == self.identity:
                return step
            shutil.rmtree(self.folder, ignore_errors=True)
            return None
        return None

    def clear(self) -> None:
        """Remove this run's states of all stages, which its finished checkpoint needs no more; those of another recipe stay."""
        owners = {(_seal(step) or {}).get("identity", self.identity) for step in self.folder.glob("*/step-*")}
        if owners <= {self.identity}:
            shutil.rmtree(self.folder, ignore_errors=True)

    def forget(self, step: int) -> None:
        """Remove all but the newest states, and what a kill left half-written; `step` is the one written just now."""
        for old in sorted(self.folder.glob("step-*"))[:-KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        for broken in self.folder.glob("partial-*"):
            if broken.name != f"partial-{step:09d}":
                shutil.rmtree(broken, ignore_errors=True)


def _seal(step: Path) -> dict | None:
    """The seal of a state as it is written there, None where it cannot be read."""
    try:
        return json.loads((step / SEAL).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _sealed(step: Path) -> dict | None:
    """The seal of a state whose files are the ones it lists, else None."""
    seal = _seal(step)
    try:
        sound = seal is not None and all(sha256_file(step / name) == sha for name, sha in seal["files"].items())
    except (OSError, KeyError):
        return None  # half-written or damaged: an older one is used, or training starts again
    return seal if sound else None


def tensors_of(module: torch.nn.Module, optimizer) -> tuple[dict[str, torch.Tensor], list[dict]]:
    """(weights and optimiser moments by name, parameter groups): whole on the first process, empty on the others.

    A collective call: every process makes it, sharded module or not.
    """
    weights: dict[str, Any] = get_model_state_dict(module, options=WHOLE)
    once = {(t.data_ptr(), tuple(t.shape)): name for name, t in reversed(weights.items())}  # tied weights: one name
    tensors = {f"model/{name}": weights[name] for name in once.values()}
    state: dict[str, Any] = get_optimizer_state_dict(module, optimizer, options=WHOLE)
    for parameter, values in state.get("state", {}).items():
        for name, value in values.items():
            tensors[f"optimizer/{parameter}/{name}"] = torch.as_tensor(value)
    return tensors, state.get("param_groups", [])


def whole_weights(module: torch.nn.Module, everywhere: bool = False) -> dict[str, Any] | None:
    """All weights of a sharded module on the first process (empty on the others, or there too), or None where nothing is sharded.

    A collective call: every process makes it. FSDP2's pieces and those of DeepSpeed's ZeRO-3 alike.
    """
    from torch.distributed.tensor import DTensor

    if any(hasattr(parameter, "ds_id") for parameter in module.parameters()):
        return _zero3_weights(module, kept=everywhere or dist.get_rank() == 0)
    if not any(isinstance(parameter, DTensor) for parameter in module.parameters()):
        return None
    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=not everywhere))


def _zero3_weights(module: torch.nn.Module, kept: bool) -> dict[str, torch.Tensor]:
    """The weights of a module whose parameters DeepSpeed holds in pieces, put together one at a time."""
    from deepspeed.runtime.zero import GatheredParameters  # type: ignore[import-not-found]

    whole: dict[str, torch.Tensor] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        with GatheredParameters([tensor] if isinstance(tensor, torch.nn.Parameter) else []):
            if kept:
                whole[name] = tensor.detach().cpu().clone()
    return whole


def put_back(tensors: dict[str, torch.Tensor], groups: list[dict], module: torch.nn.Module, optimizer) -> None:
    """Load the moments and settings of `tensors_of` into an optimiser."""
    state: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            parameter, _, name = key.removeprefix("optimizer/").rpartition("/")
            state.setdefault(parameter, {})[name] = value
    set_optimizer_state_dict(module, optimizer, {"state": state, "param_groups": groups}, options=LOADED)  # type: ignore[arg-type]


def put_weights_back(folder: Path, module: torch.nn.Module) -> None:
    """Load the weights of a state into a module.

    Raises:
        RecordError: the state lacks a weight that is trained.
    """
    tensors = load_file(folder / TENSORS)
    weights: dict[str, Any] = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    if lost := _lost_weights(weights, module):
        raise RecordError(
            f"{folder} lacks {len(lost)} of the weights that are trained ({', '.join(lost[:3])}, …): other versions of the libraries "
            f"wrote it. Install those again to go on, or remove {folder.parent} to train from the beginning."
        )
    set_model_state_dict(module, weights, options=LOADED)


def _lost_weights(weights: dict[str, Any], module: torch.nn.Module) -> list[str]:
    """Trained parameters of which a state has none of the names (tied ones have several, and are written once)."""
    names: dict[int, list[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        if parameter.requires_grad:
            names.setdefault(id(parameter), []).append(name)
    return [known[0] for known in names.values() if weights.keys().isdisjoint(known)]


def generators() -> dict[str, torch.Tensor]:
    """States of this process's global generators, as tensors."""
    _, keys, *rest = np.random.get_state()  # type: ignore[misc]
    version, words, gauss = random.getstate()
    if gauss is not None or rest[1]:
        raise RecordError("a global generator holds half of a Gaussian pair: training must not draw from random.gauss.")
    states = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*map(int, keys), int(rest[0])]),
        "python": torch.tensor([version, *words]),
    }
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def put_generators_back(states: dict[str, torch.Tensor]) -> None:
    """Set this process's global generators."""
    torch.set_rng_state(states["torch"])
    *keys, place = states["numpy"].tolist()
    np.random.set_state(("MT19937", np.array(keys, dtype=np.uint32), place, 0, 0.0))
    version, *words = states["python"].tolist()
    random.setstate((version, tuple(words), None))
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def gathered(own: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """Every process's own tensors, in order of rank."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return [own]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, own)
    return everyone


def write_state(
    where: StateFolder, step: int, tensors: dict[str, torch.Tensor], facts: dict[str, Any], trainer_state
) -> None:
    """Write and seal a state; older ones stay until it is whole.

    Raises:
        RecordError: the disk is full or cannot be written; the states before it are intact.
    """
    partial, final = where.folder / f"partial-{step:09d}", where.folder / f"step-{step:09d}"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / TENSORS)
        trainer_state.save_to_json(str(partial / TRAINER))
        files = {name: sha256_file(partial / name) for name in (TENSORS, TRAINER)}
        seal = {"identity": where.identity, "step": step, "files": files, **facts}
        write_atomically(partial / SEAL, json.dumps(seal))
        _flush(partial)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    except (OSError, SafetensorError, RecordError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        reason = getattr(error, "strerror", None) or error
        raise RecordError(
            f"cannot write the state of step {step} to {where.folder}: {reason}. The state before it is intact: "
            "free space, or name another --out, and give the same command again to go on."
        ) from error
    where.forget(step)


def _flush(folder: Path) -> None:
    """Have the system write a folder's files out before it is renamed."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())


def read_state(folder: Path, rank: int) -> tuple[dict[str, torch.Tensor], dict[str, Any], dict[str, torch.Tensor]]:
    """(all tensors, facts of the seal, this process's own tensors) of a sealed state."""
    tensors = load_file(folder / TENSORS)
    own = {k.removeprefix(f"rank{rank}/"): v for k, v in tensors.items() if k.startswith(f"rank{rank}/")}
    return tensors, json.loads((folder / SEAL).read_text(encoding="utf-8")), own
