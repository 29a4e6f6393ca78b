"""Two processes that seal measurements of one folder at once: neither loses the other's entry."""

import time

import pytest

from harness import records
from harness.records import RecordError, read_measurements, seal_measurements
from tests.forked import Forked


def test_two_processes_seal_at_once_and_both_entries_stay(tmp_path, monkeypatch):
    for name in ("decoding.csv", "scoring.csv"):
        (tmp_path / name).write_text(name)
    write, has_read = records.write_atomically, tmp_path / "has_read"

    def slowly(path, content) -> None:
        has_read.touch()
        time.sleep(0.5)  # long enough for the other to read and write, if it could
        write(path, content)

    monkeypatch.setattr(records, "write_atomically", slowly)
    first = Forked(seal_measurements, tmp_path, ["decoding.csv"], {}, "cpu")
    while not has_read.exists():
        assert first.running()
        time.sleep(0.01)
    monkeypatch.setattr(records, "write_atomically", write)
    second = Forked(seal_measurements, tmp_path, ["scoring.csv"], {}, "cpu")
    assert (second.wait(), first.wait()) == (0, 0)
    assert set(read_measurements(tmp_path)) == {"decoding.csv", "scoring.csv"}


def test_a_folder_that_cannot_be_locked_is_a_sentence(tmp_path):
    (tmp_path / "decoding.csv").write_text("")
    (tmp_path / "speed.json.lock").mkdir()
    with pytest.raises(RecordError, match="cannot lock .*speed.json"):
        seal_measurements(tmp_path, ["decoding.csv"], {}, "cpu")
