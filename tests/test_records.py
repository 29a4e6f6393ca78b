"""Records: seals that notice changes, digests that do not depend on order, files that are whole or not there."""

import shutil

import pytest

from harness.records import CheckpointRecord, RecordError, digest_of, read_checkpoint, seal, write_atomically


def test_a_changed_checkpoint_is_named(tmp_path, checkpoints):
    folder = tmp_path / "copy"
    shutil.copytree(checkpoints["mt0"], folder)
    assert isinstance(read_checkpoint(folder, verify=True), CheckpointRecord)
    (folder / "recipe.yaml").write_text("changed")
    with pytest.raises(RecordError, match="recipe.yaml was changed"):
        read_checkpoint(folder, verify=True)
    (folder / "checkpoint.json").unlink()
    with pytest.raises(RecordError, match="did not finish"):
        read_checkpoint(folder)


def test_seals_and_digests(tmp_path, checkpoints):
    record = read_checkpoint(checkpoints["mt0"])
    seal(record, tmp_path)
    assert read_checkpoint(tmp_path) == record
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1}) != digest_of({"a": 1, "b": 3})


def test_an_unwritable_place_is_one_sentence_and_leaves_nothing(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(RecordError, match="cannot write"):
        write_atomically(blocked / "record.json", "{}")
    assert list(tmp_path.iterdir()) == [blocked]
