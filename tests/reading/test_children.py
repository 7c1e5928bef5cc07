"""Reading processes end with their parent, whatever ends it."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

PARENT = """
import sys
sys.path.insert(0, sys.argv[1])
from functools import partial
from pathlib import Path
import hostile_reader
from privagams.reading.tiles import ImageFile, Limits, TileSettings, cut_tiles

if __name__ == "__main__":
    images = [ImageFile(Path(sys.argv[2]), "p", "s", "i")]
    settings = TileSettings(size=32, mpp="native")
    cut_tiles(images, hostile_reader.build, settings, b"", Path(sys.argv[1]) / "out", 1, Limits(), print)
"""


def hears_interrupts():
    """A shell's background jobs, and so all that a test run starts there, ignore SIGINT unless told otherwise."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_no_reading_process_outlives_its_parent(hostile, tmp_path, how):
    (tmp_path / "parent.py").write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", tmp_path, hostile("hang")],
        stderr=subprocess.DEVNULL, start_new_session=True, preexec_fn=hears_interrupts,
    )  # fmt: skip
    try:
        children = _wait_for(lambda: psutil.Process(parent.pid).children(recursive=True))
        time.sleep(1)
        os.kill(parent.pid, how)
        parent.wait(10)
        _wait_for(lambda: not [child for child in children if _lives(child)])
    finally:
        if parent.poll() is None:
            parent.kill()
            parent.wait()


def _lives(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("waited in vain")
