"""Virtual environments of the libraries that the benchmarks run beside, one each, made where the caller says."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

TORCH = "torch==2.13.0"
PACKAGES = {
    "rectools": ["rectools[torch]==0.19.0"],
    # recbole 1.2.1 imports pkg_resources (through ray), and predates pandas 3 and numpy 2
    "recbole": ["recbole==1.2.1", "setuptools<81", "pandas<3", "numpy<2", "scipy<1.15"],
    "implicit": ["implicit==0.7.3"],
    "faiss": ["faiss-cpu==1.15.1", "numpy==2.4.6"],
}
WORKERS = Path(__file__).parent


def python_of(peer: str, folder: Path) -> Path:
    """The interpreter of a peer's environment, which is made and filled on first use."""
    home = folder / peer
    python = home / "bin" / "python"
    done = home / "installed"
    if done.exists() or (python.exists() and _importable(python, peer)):
        return python
    print(f"installing {', '.join(PACKAGES[peer])} into {home}", file=sys.stderr)
    venv.create(home, with_pip=True)
    pins = folder / "constraints.txt"
    pins.write_text(TORCH + "\n")
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", pins, *PACKAGES[peer]], check=True)
    done.touch()
    return python


def environment(threads: int) -> dict[str, str]:
    """Of every side of a comparison."""
    return {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": str(threads),
        # glibc keeps large buffers instead of mapping them anew in each step, which makes RecTools faster
        "MALLOC_MMAP_THRESHOLD_": "2000000000",
        "MALLOC_TRIM_THRESHOLD_": "8000000000",
    }


def enter(threads: int) -> None:
    """Starts the running script again in :func:`environment`, unless it is there: glibc reads it only once."""
    wanted = environment(threads)
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **wanted})


def run_worker(peer: str, folder: Path, options: Path, threads: int) -> None:
    """Runs ``<peer>_worker.py OPTIONS`` in the peer's environment; its chatter goes to stderr."""
    subprocess.run(
        [python_of(peer, folder), WORKERS / f"{peer}_worker.py", options],
        check=True, stdout=sys.stderr, env={**os.environ, **environment(threads)}, cwd=options.parent,
    )  # fmt: skip


def _importable(python: Path, peer: str) -> bool:
    return subprocess.run([python, "-c", f"import {peer}"], capture_output=True, check=False).returncode == 0
