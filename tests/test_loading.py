"""Checkpoints that cannot be loaded: one sentence, and never for a bug."""

import shutil

import pytest

from harness.backbones import BackboneError
from harness.canvas import Layout
from harness.loading import checkpoint_record, explained, load_masked, special_ids


def test_unusable_checkpoints_get_one_sentence(tokenizer, tmp_path, checkpoints):
    with pytest.raises(BackboneError, match="does not exist"):
        load_masked(str(tmp_path / "nothing"))
    with pytest.raises(BackboneError, match="--model ar"):
        load_masked(str(checkpoints["decoder_it"]))
    broken = tmp_path / "broken"
    shutil.copytree(checkpoints["instruct_xmlr"], broken)
    (broken / "checkpoint.json").unlink()
    with pytest.raises(BackboneError, match="did not finish"):
        checkpoint_record(str(broken))

    class NoMask:
        mask_token_id, bos_token_id, eos_token_id, pad_token_id = None, 0, 1, 2

    with pytest.raises(BackboneError, match="no mask token"):
        special_ids("x", NoMask())


def test_truncated_weights_get_one_sentence(checkpoints, tmp_path):
    folder = tmp_path / "cut"
    shutil.copytree(checkpoints["instruct_xmlr"], folder)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(BackboneError, match="was changed after it was sealed"):
        load_masked(str(folder))
    for record in ("checkpoint.json", "recipe.yaml"):  # somebody else's folder has no seal
        (folder / record).unlink()
    with pytest.raises(BackboneError, match="cannot load"):
        load_masked(str(folder))


def test_a_bug_is_no_unreadable_checkpoint():
    with pytest.raises(TypeError, match="NoneType"), explained("mine"):
        len(None)  # type: ignore[arg-type]
    with (
        pytest.raises(BackboneError, match="cannot load 'mine': .*unexpected keyword argument 'colour'"),
        explained("mine"),
    ):
        Layout(colour="red")  # type: ignore[call-arg]
