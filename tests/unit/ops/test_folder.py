"""The data folder: one owner at a time, who says who it is, and gives it back however it ends."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from ops.embedded.folder import AlreadyRuns, StackState, owned, running_run, write_private
from tests.waiting import until_sync

_OWNER = """
import sys
from pathlib import Path
from ops.embedded.folder import owned
with owned(Path(sys.argv[1])) as folder:
    folder.record_answers({"gateway": "http://there"}, {})
    print("owned", flush=True)
    sys.stdin.read()
"""


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path) -> None:
    """The second is told who the first is; once that one has ended, the folder is free."""
    with owned(tmp_path) as folder:
        folder.record_answers({"gateway": "http://here"}, {"REDIS_URL": "redis://x"})
        with pytest.raises(AlreadyRuns, match="http://here"), owned(tmp_path):
            pass
        run = running_run(tmp_path)
        assert run is not None
        assert (run.pid, run.environ) == (os.getpid(), {"REDIS_URL": "redis://x"})
    assert running_run(tmp_path) is None
    with owned(tmp_path):
        pass


def test_a_killed_owner_blocks_nobody(tmp_path: Path) -> None:
    """The lock dies with the process, whatever its files still say."""
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "owned\n"
    with pytest.raises(AlreadyRuns, match=f"process {owner.pid}"), owned(tmp_path):
        pass
    owner.kill()
    owner.communicate()
    assert running_run(tmp_path) is None
    with owned(tmp_path):
        pass


def test_nobody_runs_from_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """Asking makes nothing."""
    assert running_run(tmp_path / "nowhere") is None
    assert not (tmp_path / "nowhere").exists()


def test_state_is_kept_and_a_wipe_forgets_it(tmp_path: Path) -> None:
    """Ports and ledger kind outlive the run; a wipe leaves the lock alone."""
    with owned(tmp_path) as folder:
        assert folder.state() is None
        folder.record_state(StackState(ledger="postgres", ports={"gateway": 1}))
    with owned(tmp_path) as folder:
        assert folder.state() == StackState(ledger="postgres", ports={"gateway": 1})
        (tmp_path / "valkey").mkdir()
        (tmp_path / "valkey" / "data").write_text("x")
        (tmp_path / "elsewhere").symlink_to(tmp_path.parent)
        folder.wipe()
        assert [path.name for path in tmp_path.iterdir()] == ["lock"]
        assert tmp_path.parent.exists()
        with pytest.raises(AlreadyRuns), owned(tmp_path):
            pass


def test_the_key_ring_is_made_once_and_private(tmp_path: Path) -> None:
    """The same key for ever, which nobody else may read and no other folder has."""
    with owned(tmp_path / "a") as folder:
        ring = folder.key_ring()
        text = ring.read_text()
        assert stat.S_IMODE(ring.stat().st_mode) == 0o600
        assert folder.key_ring().read_text() == text
    with owned(tmp_path / "b") as other:
        assert other.key_ring().read_text() != text


def test_a_private_file_is_never_readable_by_others_not_even_for_a_moment(tmp_path: Path) -> None:
    """Whatever the umask, and also where an open file of that name was there before."""
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    before = os.umask(0)
    try:
        write_private(path, "new")
    finally:
        os.umask(before)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    until_sync(lambda: not list(tmp_path.glob("*.partial")), "no partial file")
