"""Where a benchmark ran, and how results are kept."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

RESULTS = Path(__file__).parent / "results"


def describe() -> dict[str, Any]:
    """Say what machine and versions these are."""
    model = platform.processor()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "date": time.strftime("%Y-%m-%d"),
    }


def save(name: str, data: dict[str, Any]) -> Path:
    """Keep results beside the benchmark, rows not run this time as they were, and return where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    if path.exists():
        data = {**json.loads(path.read_text()), **data}
    path.write_text(json.dumps(data, indent=1) + "\n")
    return path


def best_of(run: Any, repeats: int = 3) -> float:
    """Return the shortest wall time of a call in seconds, after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return min(times)


def convolution_peak(dims: int, dtype: torch.dtype) -> dict[str, Any]:
    """Return the best rate over a sweep of convolution shapes, channels last: the machine's practical peak."""
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    conv = {2: functional.conv2d, 3: functional.conv3d}[dims]
    side = {2: 128, 3: 32}[dims]
    best: dict[str, Any] = {"gflops": 0.0}
    for inputs, outputs, kernel in [
        (64, 64, 3),
        (128, 128, 3),
        (64, 128, 4),
        (128, 256, 4),
        (32, 256, 2),
        (64, 512, 2),
    ]:
        x = torch.randn(1, inputs, *(side,) * dims).to(dtype).contiguous(memory_format=layout)
        w = torch.randn(outputs, inputs, *(kernel,) * dims).to(dtype).contiguous(memory_format=layout)
        with torch.inference_mode():
            seconds = best_of(lambda x=x, w=w: conv(x, w), 2)
        rate = 2 * w.numel() * (side - kernel + 1) ** dims / seconds / 1e9
        if rate > best["gflops"]:
            best = {"gflops": rate, "shape": f"{inputs} to {outputs} channels, kernel {kernel}"}
    return best
