"""The encoder learns, repeats itself, survives the disk, and ranks graded degradations of tissue."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.metrics.stored import store

from vol2vol.errors import AlreadyExists, BadInput, NotFound, Unreadable
from vol2vol.geometry import Box
from vol2vol.metrics.distances.cut_patches import Cutting
from vol2vol.metrics.distances.degradation import degrade, draw_degradations
from vol2vol.metrics.distances.encoder import Encoder, EncoderSettings, train_encoder, vicreg
from vol2vol.metrics.distances.encoder_file import load_encoder, save_encoder
from vol2vol.metrics.distances.features import extract
from vol2vol.metrics.distances.set_distances import fid, mmd
from vol2vol.phantoms import DOMAINS, render, scene_of

SMALL = EncoderSettings(widths=(8, 16, 32), crop=24, pool=200, batch=24, steps=30)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def phantom(side):
    domain = DOMAINS["human"]
    return render(scene_of(domain, 1), domain, Box.of((side,) * 3))[0]


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    return store(tmp_path_factory.mktemp("some target é") / "t.zarr", phantom(64), chunks=(32, 32, 32))


@pytest.fixture(scope="module")
def trained(target):
    torch.set_num_threads(1)
    return train_encoder(target, SMALL)


def ladder(volume):
    """Yield name and volumes of growing degradation: blur, noise, loss of contrast, steps between tiles."""
    rng = np.random.default_rng(0)
    grey = volume.astype(np.float32)
    grain = rng.normal(size=grey.shape)
    tiles = rng.normal(size=[-(-n // 16) for n in grey.shape])
    steps = np.kron(tiles, np.ones((16,) * 3))[tuple(slice(n) for n in grey.shape)]
    middle = grey.mean()
    rungs = {
        "blur": [ndimage.gaussian_filter(grey, s) for s in (0.7, 1.2, 2.0, 3.5)],
        "noise": [grey + s * grain for s in (8, 16, 32, 64)],
        "contrast": [(grey - middle) * s + middle for s in (0.9, 0.75, 0.55, 0.35)],
        "offset": [grey + s * steps for s in (8, 16, 32, 64)],
    }
    for name, volumes in rungs.items():
        yield name, [np.clip(np.rint(v), 0, 255).astype(np.uint8) for v in volumes]


def climb(folder, volume, trained, cutting, distance):
    """Return the distance of every rung of every ladder to the undegraded volume."""
    clean = extract(store(folder / "clean.zarr", volume), trained.network, trained.grey, cutting).values
    result = {}
    for name, rungs in ladder(volume):
        stored = [store(folder / f"{name}{i}.zarr", rung) for i, rung in enumerate(rungs)]
        result[name] = [distance(extract(v, trained.network, trained.grey, cutting).values, clean) for v in stored]
    return result


@pytest.mark.parametrize("distance", [fid, mmd])
def test_ranks_graded_degradations(tmp_path, trained, distance):
    distances = climb(tmp_path, phantom(64), trained, Cutting(count=200, size=32), distance)
    for name, values in distances.items():
        assert (np.diff([0.0 if distance is fid else -1.0, *values]) > 0).all(), (name, values)


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["xy", "yz"])
def test_ranks_graded_degradations_after_a_whole_lesson(tmp_path, axis):
    volume = phantom(192)
    settings = EncoderSettings(planes=("xy", "xz", "yz"))
    trained = train_encoder(store(tmp_path / "t.zarr", volume), settings)
    distances = climb(tmp_path, volume, trained, Cutting(count=1000, size=64, axis=axis), fid)
    for name, values in distances.items():
        assert (np.diff([0.0, *values]) > 0).all(), (name, values)


def test_lesson_is_learned_and_features_do_not_collapse(target, trained):
    losses = []
    train_encoder(target, SMALL, progress=lambda step, loss: losses.append(loss))
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < 0.97 * np.mean(losses[:5])
    values = extract(target, trained.network, trained.grey, Cutting(count=200, size=24)).values
    assert np.linalg.matrix_rank(np.cov(values.T), tol=1e-6) > 8


def test_same_seed_same_weights(target, trained):
    assert train_encoder(target, SMALL).hash == trained.hash
    state = torch.get_rng_state()
    other = train_encoder(target, EncoderSettings(**{**vars(SMALL), "seed": 1, "steps": 2}))
    assert other.hash != trained.hash
    assert torch.equal(state, torch.get_rng_state())


def test_survives_the_disk(tmp_path, target, trained):
    path = save_encoder(tmp_path / "some encoder é", trained)
    again = load_encoder(path)
    assert (again.hash, again.name, again.settings, again.grey) == (
        trained.hash,
        trained.name,
        trained.settings,
        trained.grey,
    )
    cutting = Cutting(count=10, size=24)
    first, second = (extract(target, t.network, t.grey, cutting).values for t in (trained, again))
    np.testing.assert_array_equal(first, second)
    with pytest.raises(AlreadyExists):
        save_encoder(path, trained)
    assert load_encoder(save_encoder(path, trained, overwrite=True)).hash == trained.hash
    (tmp_path / "mine").mkdir()
    with pytest.raises(AlreadyExists):
        save_encoder(tmp_path / "mine", trained, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "some encoder é"]


def test_damage_is_told(tmp_path, trained):
    with pytest.raises(NotFound, match="no encoder"):
        load_encoder(tmp_path)
    path = save_encoder(tmp_path / "e", trained)
    text = (path / "encoder.yaml").read_text()
    for change, error, words in [
        (text.replace("schema: 1", "schema: 9"), BadInput, "update vol2vol"),
        (text.replace("crop:", "corp:"), BadInput, "corp"),
        (text.replace("low:", "wol:"), BadInput, "train it again"),
        (text.replace("- 8\n", "- 9\n"), Unreadable, "damaged"),
        (text.replace(trained.hash, "0" * 64), Unreadable, "changed after training"),
        ("!!python/object/apply:os.system ['true']", Unreadable, "not YAML"),
        ("[1, 2]", BadInput, "schema None"),
    ]:
        (path / "encoder.yaml").write_text(change)
        with pytest.raises(error, match=words):
            load_encoder(path)
    (path / "encoder.yaml").write_text(text)
    (path / "weights.safetensors").write_bytes(b"short")
    with pytest.raises(Unreadable, match="damaged"):
        load_encoder(path)


@pytest.mark.parametrize("planes", [("xyz",), ("xy", "xz", "yz")])
def test_cubes_and_three_planes(target, planes):
    settings = EncoderSettings(planes=planes, widths=(4, 8), crop=8, pool=12, batch=4, steps=2)
    trained = train_encoder(target, settings)
    cutting = Cutting(count=5, size=12, axis=planes[-1])
    assert extract(target, trained.network, trained.grey, cutting).values.shape == (5, 8)


def test_features_do_not_mind_place_or_batch():
    torch.manual_seed(0)
    net = Encoder((4, 8)).eval()
    x = torch.rand(6, 1, 16, 16)
    torch.testing.assert_close(net(x)[2:3], net(x[2:3]))
    torch.testing.assert_close(net(x.expand(-1, 3, -1, -1)), net(x))


@pytest.mark.parametrize("shape", [(3, 1, 20, 24), (3, 1, 16, 18, 20)])
def test_spoiling_is_scipys_blur_then_contrast_then_noise(shape):
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    degradations = torch.tensor([[1.3, 0.7, 0.1, 0.0], [0.0, 1.0, 0.0, 0.0], [2.0, 1.0, -0.1, 0.2]])
    got = degrade(images, degradations, torch.Generator().manual_seed(1))
    for image, degraded, (blur, contrast, shift, noise) in zip(
        images.numpy(), got.numpy(), degradations.tolist(), strict=True
    ):
        want = ndimage.gaussian_filter(image[0], blur, mode="mirror", radius=6) if blur else image[0]
        want = (want - 0.5) * contrast + 0.5 + shift
        if noise:
            assert (degraded[0] - want).std() == pytest.approx(noise, rel=0.15)
        else:
            np.testing.assert_allclose(degraded[0], np.clip(want, 0, 1), atol=1e-5)


def test_looks_stay_in_their_ranges():
    degradations = draw_degradations(1000, torch.Generator().manual_seed(0))
    low, high = degradations.amin(0), degradations.amax(0)
    assert (low >= torch.tensor([0, 0.4, -0.15, 0])).all()
    assert (high <= torch.tensor([2, 1.2, 0.15, 0.25])).all()
    assert (high - low > torch.tensor([1.8, 0.7, 0.27, 0.22])).all()


def test_vicreg_is_its_equations():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9, 4)) * 0.5
    want = 25 * ((a - b) ** 2).sum(1).mean() / 4
    for z in (a, b):
        want += 25 * np.maximum(0, 1 - np.sqrt(z.var(0, ddof=1) + 1e-4)).mean() / 2
        c = np.cov(z.T)
        want += (c**2)[~np.eye(4, dtype=bool)].sum() / 4
    assert float(vicreg(torch.from_numpy(a), torch.from_numpy(b))) == pytest.approx(want)


def test_bad_lessons(target):
    with pytest.raises(BadInput, match="planes or cubes"):
        EncoderSettings(planes=("xyz", "xy"))
    with pytest.raises(BadInput, match="crops of 16"):
        EncoderSettings(crop=8)
    with pytest.raises(BadInput, match="holds no xy patch of 65"):
        train_encoder(target, EncoderSettings(crop=65))
