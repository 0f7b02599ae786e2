"""One process at a time works on a data directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from client.data_dir import DataDirectory
from longvideo.errors import DataInUse, StorageUnavailable


def test_a_second_holder_is_told_who_has_it(tmp_path: Path) -> None:
    """The message names the process, its command and its address, and the ways on."""
    with DataDirectory(tmp_path / "data", "longvideo up") as held:
        held.announce("127.0.0.1:7700")
        with pytest.raises(DataInUse) as caught:
            DataDirectory(tmp_path / "data", "longvideo ask")
    for part in (f"process {os.getpid()} (longvideo up, 127.0.0.1:7700)", "--server 127.0.0.1:7700", "--data-dir"):
        assert part in caught.value.message


def test_a_holder_that_says_nothing_is_still_respected(tmp_path: Path) -> None:
    """The lock holds whatever stands in its file."""
    with DataDirectory(tmp_path, "x"):
        (tmp_path / "lock").write_text("nonsense")
        with pytest.raises(DataInUse, match="another process"):
            DataDirectory(tmp_path, "y")


def test_the_lock_goes_with_its_process(tmp_path: Path) -> None:
    """A holder that was killed holds nothing, though its file is still there."""
    script = "import os, pathlib, sys; from client.data_dir import DataDirectory; "
    script += "DataDirectory(pathlib.Path(sys.argv[1]), 'x'); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert (tmp_path / "lock").exists()
    with DataDirectory(tmp_path, "y"):
        pass
    assert not (tmp_path / "lock").exists()


def test_directories_that_stay_empty_are_removed(tmp_path: Path) -> None:
    """A process that stored nothing leaves nothing behind, and what was there before stays."""
    with DataDirectory(tmp_path / "a" / "b", "x"):
        assert (tmp_path / "a" / "b" / "lock").exists()
    assert list(tmp_path.iterdir()) == []
    with DataDirectory(tmp_path / "a" / "b", "x"):
        (tmp_path / "a" / "b" / "kept").touch()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["kept"]


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    """A file, and a place below a file, are refused by name."""
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageUnavailable, match="not a directory"):
            DataDirectory(path, "x")


def test_a_place_that_cannot_be_written_is_named() -> None:
    """A read-only place gets the storage's message, and nothing is left."""
    with pytest.raises(StorageUnavailable, match="/proc/longvideo"):
        DataDirectory(Path("/proc/longvideo/data"), "x")
