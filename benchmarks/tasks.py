"""Denoising and label-free prediction on real pairs, against what needs no training, with intervals.

    python -m benchmarks.tasks DATA [--only fish] [--threads 1]

DATA is a folder that holds `denoise_fish` and `denoise_bpae3` (single captures and averages of a confocal microscope,
Zhang et al. 2019) and `labelfree_neurons` (phase contrast and stains, Christiansen et al. 2018). Networks are trained
as the shipped presets say, with nothing changed. Every image is cut in two: training sees the first part, the scores
come from the second, and a gap lies between them. What the baselines leave open (the width of a Gaussian, the strength
of non-local means, the weights of a linear fit) is fitted on the training part with its truth, which favours them over
the self-supervised network. Intervals (95 %) resample blocks of 32 x 32 pixels of the held-out part.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import tifffile
import torch
from scipy import ndimage
from skimage.restoration import denoise_nl_means

import vol2vol
from benchmarks.machine import describe, save
from vol2vol.metrics.bootstrap import Blockwise
from vol2vol.metrics.similarity.fidelity import to_truth

GAP = 16
"""Rows between the part that is trained on and the part that is scored: the reach of the blur of both parts."""
BLOCK = (1, 32, 32)
BPAE = ("mitochannel", "actinchannel", "dnachannel")
Methods = dict[str, np.ndarray]


def halves(image: np.ndarray, share: float = 0.65) -> tuple[np.ndarray, np.ndarray]:
    """Return the training part and the held-out part of an image ([C,] Y, X), cut along Y."""
    cut = int(image.shape[-2] * share)
    return image[..., : cut - GAP, :], image[..., cut:, :]


def store(path: Path, image: np.ndarray) -> Path:
    """Write an image ([C,] Y, X) as OME-TIFF and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, ome=True, photometric="minisblack", metadata={"axes": "CYX"[-image.ndim :]})
    return path


def trained(folder: Path, recipe: str, pairs: Mapping[str, Sequence[np.ndarray]]) -> tuple[Path, dict[str, Any]]:
    """Train a shipped preset on images and return the run and what it cost."""
    paths = {
        name: [store(folder / recipe / f"{name}{i}.ome.tif", image) for i, image in enumerate(images)]
        for name, images in pairs.items()
    }
    wall, cpu = time.perf_counter(), time.process_time()
    vol2vol.train(recipe, paths["source"], paths.get("target"), folder / recipe / "run", progress=False)
    cost = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return folder / recipe / "run", cost


def predicted(folder: Path, run: Path, images: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what a run makes of images ([C,] Y, X), through the predicting verb."""
    results = []
    for i, image in enumerate(images):
        source, out = (folder / f"{run.parent.name}-{kind}{i}.ome.tif" for kind in ("in", "out"))
        store(source, image)
        vol2vol.predict(run, source, out, vol2vol.PredictSettings(dtype="float32"))
        made = vol2vol.open_volume(out)
        results.append(made.read(vol2vol.Box.of(made.spatial)).astype(np.float32))
    return results


def scores(methods: Methods, truth: np.ndarray) -> dict[str, Blockwise]:
    """Return the block sums of every method's output (Y, X) on the held-out part."""
    reference = vol2vol.open_volume(truth.astype(np.float32))
    outputs = {name: vol2vol.open_volume(image.astype(np.float32)) for name, image in methods.items()}
    return {name: to_truth(output, reference, block=BLOCK) for name, output in outputs.items()}


def table(found: Mapping[str, Mapping[str, Blockwise]], keys: Sequence[str], best_of: Sequence[str]) -> dict[str, Any]:
    """Return values with intervals, and paired differences to the best method that needs no training."""
    rows: dict[str, Any] = {}
    for method, blockwise in found.items():
        row = rows[method] = {}
        for key in keys:
            best = max(best_of, key=lambda other, key=key: found[other][key].value)
            row[key] = [round(v, 4) for v in _three(blockwise[key].interval())]
            if method not in best_of:
                row[f"{key} minus {best}"] = [round(v, 4) for v in _three(blockwise[key].against(found[best][key]))]
    return rows


def _three(interval: Any) -> tuple[float, float, float]:
    return interval.value, interval.low, interval.high


def fitted(choices: Sequence[Any], apply: Callable[[np.ndarray, Any], np.ndarray], pairs: Sequence[Any]) -> Any:
    """Return the setting of a baseline with the smallest squared error on the training parts."""
    return min(choices, key=lambda c: sum(np.mean((apply(low, c) - high) ** 2) for low, high in pairs))


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return an image (Y, X) blurred."""
    return ndimage.gaussian_filter(image.astype(np.float32), sigma)


def noise(image: np.ndarray) -> float:
    """Return the standard deviation of an image's noise (Immerkaer, Comput. Vis. Image Underst. 64:300, 1996)."""
    laplacian = ndimage.convolve(image, np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32))
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(laplacian).mean())


def non_local(image: np.ndarray, strength: float) -> np.ndarray:
    """Return an image (Y, X) denoised by non-local means (Buades et al. 2005) with h = strength x noise."""
    image = image.astype(np.float32)
    sigma = noise(image)
    return denoise_nl_means(image, h=strength * sigma, sigma=sigma, patch_size=5, patch_distance=6, fast_mode=True)


def denoising(data: Path, folder: Path, name: str, files: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Denoise images of one set: with pairs, without them, and by filters; yield a table for every image."""
    low, high = ([tifffile.imread(data / f"{f}_{kind}.tif") for f in files] for kind in ("low", "high"))
    train = [(halves(a)[0], halves(b)[0].astype(np.float32)) for a, b in zip(low, high, strict=True)]
    test = [halves(a)[1] for a in low]
    paired, cost_paired = trained(
        folder, "small-restore-2d", {"source": [a for a, _ in train], "target": [halves(b)[0] for b in high]}
    )
    alone, cost_alone = trained(folder, "small-denoise-2d", {"source": [a for a, _ in train]})
    supervised, blind = predicted(folder, paired, test), predicted(folder, alone, test)
    for i, file in enumerate(files):
        sigma = fitted((0.5, 0.7, 1.0, 1.4, 2.0, 2.8), gaussian, train[i : i + 1])
        strength = fitted((0.6, 1.0, 1.4, 2.0, 2.8, 4.0), non_local, train[i : i + 1])
        methods = {
            "input": test[i],
            "gaussian": gaussian(test[i], sigma),
            "non-local means": non_local(test[i], strength),
            "small-restore-2d": supervised[i][0, 0],
            "small-denoise-2d": blind[i][0, 0],
        }
        found = scores(methods, halves(high[i])[1])
        rows = table(found, ("psnr", "ssim"), ("input", "gaussian", "non-local means"))
        yield (
            f"{name}/{file}",
            {
                "rows": rows,
                "sigma": sigma,
                "h": strength,
                "cost": {"small-restore-2d": cost_paired, "small-denoise-2d": cost_alone},
            },
        )


def label_free(data: Path, folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Predict three stains from 13 planes of phase contrast; yield a table for every stain."""
    stains = ("dapi", "map2", "nfh")
    phase = tifffile.imread(data / "wellA4_phase.tif")
    targets = np.stack([tifffile.imread(data / f"wellA4_{stain}.tif") for stain in stains])
    (seen, held), (shown, truth) = halves(phase), halves(targets)
    run, cost = trained(folder, "small-regress-2d", {"source": [seen], "target": [shown]})
    network = predicted(folder, run, [held])[0]
    for i, stain in enumerate(stains):
        methods = {
            "mean of planes": held.mean(0),
            "linear fit": linear(seen, shown[i], held, (0,)),
            "linear fit, 4 scales": linear(seen, shown[i], held, (0, 2, 4, 8)),
            "small-regress-2d": network[i, 0],
        }
        found = scores(methods, truth[i])
        rows = table(found, ("pearson",), [m for m in methods if m != "small-regress-2d"])
        yield f"labelfree_neurons/{stain}", {"rows": rows, "cost": {"small-regress-2d": cost}}


def linear(seen: np.ndarray, shown: np.ndarray, held: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    """Fit a stain (Y, X) by least squares from planes (Z, Y, X) at several blurs, and apply that to held-out planes."""
    weights = np.linalg.lstsq(_columns(seen, sigmas), shown.ravel().astype(np.float64), rcond=None)[0]
    return (_columns(held, sigmas) @ weights).reshape(held.shape[1:])


def _columns(planes: np.ndarray, sigmas: Sequence[float]) -> np.ndarray:
    blurred = [ndimage.gaussian_filter(p.astype(np.float64), s) for s in sigmas for p in planes]
    return np.stack([*(b.ravel() for b in blurred), np.ones(planes[0].size)], 1)


def main() -> None:
    """Run the sets that are asked for, print and keep their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--only", choices=("fish", "bpae3", "neurons"))
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sets: dict[str, Callable[[Path], Iterator[tuple[str, dict[str, Any]]]]] = {
        "fish": lambda folder: denoising(args.data / "denoise_fish", folder, "denoise_fish", ("confocal",)),
        "bpae3": lambda folder: denoising(args.data / "denoise_bpae3", folder, "denoise_bpae3", BPAE),
        "neurons": lambda folder: label_free(args.data / "labelfree_neurons", folder),
    }
    for name, run in sets.items():
        if args.only in (None, name):
            with TemporaryDirectory() as folder:
                for label, result in run(Path(folder)):
                    print(label, *result["rows"].items(), result["cost"], sep="\n  ", flush=True)
                    save("tasks", {label: {**result, "machine": describe()}})


if __name__ == "__main__":
    main()
