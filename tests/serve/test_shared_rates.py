"""Buckets of several processes: what one has taken the others lack, and a process that dies holds up nobody."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

if not hasattr(os, "fork"):
    pytest.skip("needs fork", allow_module_level=True)

from interlingua.serve.rates import Buckets, Rate
from interlingua.serve.shared_rates import ROW, SharedBuckets


def test_shared_buckets_say_what_those_of_one_process_say() -> None:
    now = [100.0]
    both = SharedBuckets(80, lambda: now[0]), Buckets(80, lambda: now[0])
    rate = Rate.parse("3/min")
    for step in range(300):
        now[0] += (step % 7) * 1.7
        caller = f"caller {step % 4}"
        shared, own = (each.take(caller, rate) for each in both)
        assert shared == own


def test_who_asked_longest_ago_is_forgotten_where_there_is_no_place() -> None:
    now = [0.0]
    buckets, rate = SharedBuckets(ROW, lambda: now[0]), Rate.parse("1/h")
    for number in range(ROW + 1):
        now[0] += 1
        assert buckets.take(f"caller {number}", rate) == 0.0
    assert buckets.take("caller 8", rate) > 0
    assert buckets.take("caller 0", rate) == 0.0  # forgotten, so that it has a full bucket


def test_processes_count_together_and_one_that_is_killed_holds_up_nobody() -> None:
    program = (
        "import os, signal, sys, fcntl, time\n"
        "from interlingua.serve.rates import Rate\n"
        "from interlingua.serve.shared_rates import SharedBuckets\n"
        "buckets, rate = SharedBuckets(), Rate.parse('100/h')\n"
        "buckets.take('ann', rate)\n"
        "children = []\n"
        "for _ in range(3):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        for _ in range(10): buckets.take('ann', rate)\n"
        "        fcntl.lockf(buckets._file, fcntl.LOCK_EX)  # as if it were killed while it writes\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    children.append(child)\n"
        "for child in children: os.waitpid(child, 0)\n"
        "left = 0\n"
        "while not buckets.take('ann', rate): left += 1\n"
        "print(left)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) == 69  # 100, one of the parent, ten of each child
