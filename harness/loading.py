"""Loading a checkpoint: a masked LM of a folder or the hub becomes a backbone, or one sentence says why it cannot.

Any `*ForMaskedLM` checkpoint works: ours (with `checkpoint.json`), XLM-R, BERT, ModernBERT, … A plain masked LM gets
the joint layout `<s> prompt target </s>`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from harness.backbones import SHIFT, BackboneError, MaskedBackbone, make_any_order, usable_length
from harness.canvas import Layout, SpecialIds
from harness.lengths import make_length_head
from harness.records import CHECKPOINT_FILE, CheckpointRecord, RecordError, read_checkpoint

LENGTH_HEAD_FILE = "length_head.safetensors"
RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class Loaded:
    """A backbone with its tokenizer and, for a checkpoint of ours, its sealed record."""

    backbone: MaskedBackbone
    tokenizer: Any
    record: CheckpointRecord | None


def load_masked(
    pretrained: str,
    *,
    revision: str = "main",
    dtype: str = "float32",
    device: str = "cpu",
    trust_remote_code: bool = False,
    layout: str | None = None,
) -> Loaded:
    """Load a masked LM from a local folder or the hub (safetensors only, no remote code unless asked for).

    Raises:
        BackboneError: not a masked LM, no mask token, unreadable weights, unfinished training.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

    record = checkpoint_record(pretrained)
    remote = {"revision": revision, "trust_remote_code": trust_remote_code}
    with explained(pretrained):
        config = AutoConfig.from_pretrained(pretrained, **remote)
        _require_masked_lm(pretrained, config)
        tokenizer = AutoTokenizer.from_pretrained(pretrained, **remote)
        ids = special_ids(pretrained, tokenizer)
        adapted = bool(getattr(config, SHIFT, False))
        auto: Any = AutoModelForCausalLM if adapted else AutoModelForMaskedLM
        model = auto.from_pretrained(
            pretrained, config=config, dtype=getattr(torch, dtype), use_safetensors=True, **remote
        )
        if adapted:
            make_any_order(model)
    model.to(device).eval()
    head = _load_length_head(Path(pretrained), record, config.hidden_size)
    if head is not None:
        head.to(device=device, dtype=model.dtype).eval()
    backbone = MaskedBackbone(
        model, ids, _layout_of(record, layout), usable_length(config, tokenizer.model_max_length), head
    )
    return Loaded(backbone, tokenizer, record)


def checkpoint_record(pretrained: str) -> CheckpointRecord | None:
    """The record of a checkpoint of ours; None for a hub id or somebody else's folder.

    Raises:
        BackboneError: the folder is one of ours and its training did not finish, or the path does not exist.
    """
    folder = Path(pretrained)
    looks_local = pretrained.startswith((".", "/", "~")) or pretrained.count("/") > 1 or folder.exists()
    if looks_local and not folder.is_dir():
        raise BackboneError(f"no checkpoint at '{pretrained}': the folder does not exist.")
    if not (folder / CHECKPOINT_FILE).is_file() and not (folder / RECIPE_FILE).is_file():
        return None
    try:
        return read_checkpoint(folder, verify=True)
    except RecordError as error:
        raise BackboneError(str(error)) from error


@contextlib.contextmanager
def explained(pretrained: str) -> Iterator[None]:
    """Turn the loaders' errors into one sentence about the checkpoint."""
    try:
        yield
    except BackboneError:
        raise
    except (OSError, ValueError, TypeError, SafetensorError, RuntimeError) as error:
        if isinstance(error, TypeError) and "unexpected keyword argument" not in str(error):
            raise  # a bug; unknown arguments are the user's
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackboneError(f"cannot load '{pretrained}': {first}") from error


def _require_masked_lm(pretrained: str, config) -> None:
    architectures = config.architectures or []
    if getattr(config, SHIFT, False):
        return
    if architectures and not any(name.endswith("ForMaskedLM") for name in architectures):
        raise BackboneError(
            f"'{pretrained}' is a {architectures[0]}, and this adapter needs a *ForMaskedLM network. "
            "Use --model ar for decoders, --model encdec for encoder-decoders."
        )


def special_ids(pretrained: str, tokenizer) -> SpecialIds:
    """bos, eos, pad and mask ids of a tokenizer (BERT's [CLS] and [SEP] stand in for bos and eos).

    Raises:
        BackboneError: the tokenizer has no mask token, or no token to open, close or pad a row.
    """
    if tokenizer.mask_token_id is None:
        raise BackboneError(
            f"the tokenizer of '{pretrained}' has no mask token: a masked LM cannot be scored or decoded without one."
        )
    bos = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    eos = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    if bos is None or eos is None or tokenizer.pad_token_id is None:
        raise BackboneError(
            f"the tokenizer of '{pretrained}' lacks a bos/cls, eos/sep or pad token; all three are needed."
        )
    return SpecialIds(bos=bos, eos=eos, pad=tokenizer.pad_token_id, mask=tokenizer.mask_token_id)


def _layout_of(record: CheckpointRecord | None, asked: str | None) -> Layout:
    if record is not None and record.layout is not None:
        return Layout(**record.layout)  # type: ignore[arg-type]
    if asked is None:
        return Layout()
    if asked not in ("joint", "isolated"):
        raise BackboneError(f"unknown layout '{asked}': expected 'joint' or 'isolated'.")
    return Layout(asked, target_position=0 if asked == "isolated" else None)  # type: ignore[arg-type]


def _load_length_head(folder: Path, record: CheckpointRecord | None, width: int) -> nn.Module | None:
    if record is None or record.length_head is None:
        return None
    head = make_length_head(width=width, **record.length_head)  # type: ignore[arg-type]
    with explained(str(folder)):
        head.load_state_dict(load_file(folder / LENGTH_HEAD_FILE))
    return head
