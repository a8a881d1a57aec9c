"""What is given back is seen in the resident memory of the process, and nothing is lost by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from needs import unavailable

from udh_core.inference.memory import give_back_read

FREED = """
from pathlib import Path
import numpy as np
from udh_core.inference.memory import give_back_freed
def resident_mb():
    return int(next(one for one in open("/proc/self/status") if one.startswith("VmRSS")).split()[1]) / 1024
parts = [np.ones(400, np.float32) for _ in range(60_000)]  # as a decoder gives them, 96 MB
last = parts[-1]  # so that the end of the heap stays
del parts
before = resident_mb()
give_back_freed()
print(before - resident_mb())
"""


def resident_mb() -> float:
    status = Path("/proc/self/status")
    if not status.is_file():
        unavailable("only Linux says how much memory of a process is resident")
    return int(next(one for one in status.read_text().splitlines() if one.startswith("VmRSS")).split()[1]) / 1024


def test_memory_that_was_freed_goes_back() -> None:
    resident_mb()
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    assert float(done.stdout) > 60


def test_what_was_read_of_a_mapped_file_goes_back_and_is_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(25_000_000, dtype=np.float32))  # 100 MB
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    total = rows.sum(dtype=np.float64)
    before = resident_mb()
    give_back_read(rows)
    assert before - resident_mb() > 80
    assert rows.sum(dtype=np.float64) == total


def test_what_could_be_lost_is_left_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.zeros(10_000, np.float32))
    changed = np.load(tmp_path / "rows.npy", mmap_mode="c")  # in memory alone
    changed[:] = 7
    plain = np.ones(3)
    give_back_read(changed)
    give_back_read(plain)
    assert (changed == 7).all() and (plain == 1).all()
