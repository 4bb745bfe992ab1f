"""Checkpoints that are torn, missing, or do not fit on the disk: real files, no Ray."""

import errno
import resource
import signal

import pytest

torch = pytest.importorskip("torch")

from agentloop.contracts import DiskFull  # noqa: E402
from agentloop.training.torch_checkpoint import (  # noqa: E402
    KEPT,
    find_checkpoint,
    keep_checkpoint,
    read_checkpoint,
)


def state(epoch, size=4):
    return {"weights": torch.full((size,), float(epoch)), "epoch": epoch}


@pytest.fixture
def folder(tmp_path):
    for epoch in (1, 2, 3):
        keep_checkpoint(tmp_path, state(epoch), epoch)
    return tmp_path


def newest(folder):
    return max(folder.glob("checkpoint_*")) / "checkpoint.pt"


def test_the_newest_and_the_one_before_it_are_kept(folder):
    assert len(list(folder.iterdir())) == KEPT == 2
    assert read_checkpoint(folder)["epoch"] == 3


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_torn_checkpoint_is_passed_over(folder, share):
    whole = newest(folder).read_bytes()
    newest(folder).write_bytes(whole[: int(len(whole) * share)])
    found = find_checkpoint(folder)
    assert found.state["epoch"] == 2
    assert found.damaged == ("checkpoint_000003",)


def test_a_missing_checkpoint_is_passed_over(folder):
    newest(folder).unlink()
    assert read_checkpoint(folder)["epoch"] == 2


def test_where_all_are_torn_there_is_none(folder):
    for path in folder.rglob("checkpoint.pt"):
        path.write_bytes(b"half a file")
    assert find_checkpoint(folder).state is None
    assert len(find_checkpoint(folder).damaged) == KEPT


def test_a_checkpoint_of_an_earlier_attempt_that_is_torn_is_replaced(folder):
    newest(folder).write_bytes(b"")
    keep_checkpoint(folder, state(3), 3)
    assert read_checkpoint(folder)["epoch"] == 3


def test_the_checkpoint_written_last_counts_though_another_fit_had_more_epochs(folder):
    keep_checkpoint(folder, state(1), 1)
    assert read_checkpoint(folder)["epoch"] == 1


def test_code_is_never_unpickled(folder):
    torch.save({"epoch": 9, "code": test_code_is_never_unpickled}, newest(folder))
    assert read_checkpoint(folder)["epoch"] == 2


@pytest.fixture
def small_files():
    """No file of this process may grow beyond 4 kB: the system refuses as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_what_does_not_fit_is_a_full_disk_and_leaves_nothing_half_written(folder, small_files):
    before = sorted(folder.rglob("*"))
    with pytest.raises(DiskFull) as told:
        keep_checkpoint(folder, state(4, size=100_000), 4)
    assert told.value.__cause__.errno == errno.EFBIG
    assert sorted(folder.rglob("*")) == before
    assert read_checkpoint(folder)["epoch"] == 3
