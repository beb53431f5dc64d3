"""The FID network against a second implementation in numpy, written from the table of its layers."""

import hashlib
import http.server
import threading

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from vol2vol.errors import BadInput, NotFound, Unreadable
from vol2vol.metrics.distances.inception import FEATURES, InceptionV3
from vol2vol.metrics.distances.inception_weights import URL, check_hash, load_inception

# ---- the second implementation: float64 numpy, one string per block --------------------------------------------
# "a:k" convolves with the named unit (k: stride s, padding p given as pPY.PX), "avg"/"max"/"down" pool, ">" chains.
SQUARE = [
    "branch1x1",
    "branch5x5_1 > branch5x5_2 p2.2",
    "branch3x3dbl_1 > branch3x3dbl_2 p1.1 > branch3x3dbl_3 p1.1",
    "avg > branch_pool",
]
SHRINK = ["branch3x3 s2", "branch3x3dbl_1 > branch3x3dbl_2 p1.1 > branch3x3dbl_3 s2", "down"]
FACTORISED = [
    "branch1x1",
    "branch7x7_1 > branch7x7_2 p0.3 > branch7x7_3 p3.0",
    "branch7x7dbl_1 > branch7x7dbl_2 p3.0 > branch7x7dbl_3 p0.3 > branch7x7dbl_4 p3.0 > branch7x7dbl_5 p0.3",
    "avg > branch_pool",
]
AGAIN = [
    "branch3x3_1 > branch3x3_2 s2",
    "branch7x7x3_1 > branch7x7x3_2 p0.3 > branch7x7x3_3 p3.0 > branch7x7x3_4 s2",
    "down",
]


def wide(pool):
    return [
        "branch1x1",
        "branch3x3_1 > branch3x3_2a p0.1",
        "branch3x3_1 > branch3x3_2b p1.0",
        "branch3x3dbl_1 > branch3x3dbl_2 p1.1 > branch3x3dbl_3a p0.1",
        "branch3x3dbl_1 > branch3x3dbl_2 p1.1 > branch3x3dbl_3b p1.0",
        f"{pool} > branch_pool",
    ]


GRAPH = [
    ("Conv2d_1a_3x3", [" s2"], 32, 149),
    ("Conv2d_2a_3x3", [""], 32, 147),
    ("Conv2d_2b_3x3", [" p1.1"], 64, 147),
    ("", ["down"], 64, 73),
    ("Conv2d_3b_1x1", [""], 80, 73),
    ("Conv2d_4a_3x3", [""], 192, 71),
    ("", ["down"], 192, 35),
    ("Mixed_5b", SQUARE, 256, 35),
    ("Mixed_5c", SQUARE, 288, 35),
    ("Mixed_5d", SQUARE, 288, 35),
    ("Mixed_6a", SHRINK, 768, 17),
    ("Mixed_6b", FACTORISED, 768, 17),
    ("Mixed_6c", FACTORISED, 768, 17),
    ("Mixed_6d", FACTORISED, 768, 17),
    ("Mixed_6e", FACTORISED, 768, 17),
    ("Mixed_7a", AGAIN, 1280, 8),
    ("Mixed_7b", wide("avg"), 2048, 8),
    ("Mixed_7c", wide("max"), 2048, 8),
]


def windows(x, kernel, stride, fill):
    padded = np.pad(x, ((0, 0), (kernel[2], kernel[2]), (kernel[3], kernel[3])), constant_values=fill)
    return sliding_window_view(padded, kernel[:2], axis=(1, 2))[:, ::stride, ::stride]


def unit(x, state, name, stride, padding):
    weight = state[f"{name}.conv.weight"]
    seen = windows(x, (*weight.shape[2:], *padding), stride, 0.0)
    y = np.tensordot(weight, seen, axes=([1, 2, 3], [0, 3, 4]))
    mean, var, gain, bias = (state[f"{name}.bn.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    scale = gain / np.sqrt(var + 0.001)
    return np.maximum(y * scale[:, None, None] + (bias - mean * scale)[:, None, None], 0)


def step(x, state, block, word):
    name, *options = word.strip(" ").split(" ") if word.strip() else [""]
    if name == "avg":
        return np.nanmean(windows(x, (3, 3, 1, 1), 1, np.nan), axis=(3, 4))
    if name in ("max", "down"):
        pad, stride = (1, 1) if name == "max" else (0, 2)
        return windows(x, (3, 3, pad, pad), stride, -np.inf).max(axis=(3, 4))
    if name[:1] in "sp" and name[1:2].isdigit():
        name, options = "", [name]
    stride = next((int(o[1:]) for o in options if o[0] == "s"), 1)
    padding = next((tuple(map(int, o[1:].split("."))) for o in options if o[0] == "p"), (0, 0))
    return unit(x, state, f"{block}.{name}".strip("."), stride, padding)


def reference(x, state):
    for block, branches, channels, side in GRAPH:
        outputs = []
        for branch in branches:
            y = x
            for word in branch.split(">"):
                y = step(y, state, block, word)
            outputs.append(y)
        x = np.concatenate(outputs)
        yield block, channels, side, x


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    net = InceptionV3().double()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if name.endswith(("running_mean", "bn.bias")):
                value.normal_(0, 0.1)
            elif name.endswith(("running_var", "bn.weight")):
                value.uniform_(0.5, 1.5)
            elif name.endswith("conv.weight"):
                value.normal_(0, (2 / value[0].numel()) ** 0.5)
    return net.requires_grad_(False)


def test_every_block_agrees_with_a_second_implementation(network):
    state = {k: v.numpy() for k, v in network.state_dict().items()}
    image = np.random.default_rng(1).uniform(-1, 1, (3, 139, 139))
    seen = {}
    hooks = [m.register_forward_hook(lambda m, i, o, n=n: seen.update({n: o[0]})) for n, m in network.named_children()]
    pooled = network.pooled(torch.from_numpy(image)[None])[0].numpy()
    for hook in hooks:
        hook.remove()
    for block, channels, _, expected in reference(image, state):
        assert expected.shape[0] == channels
        if block:
            np.testing.assert_allclose(seen[block].numpy(), expected, rtol=1e-9, atol=1e-9, err_msg=block)
    np.testing.assert_allclose(pooled, expected.mean((1, 2)), rtol=1e-9)


def test_shapes_of_every_block_at_the_published_size():
    net = InceptionV3().to("meta")
    x = torch.zeros(1, 3, 299, 299, device="meta")
    for block, _, channels, side in GRAPH:
        x = getattr(net, block)(x) if block else torch.nn.functional.max_pool2d(x, 3, 2)
        assert x.shape == (1, channels, side, side), block
    assert InceptionV3().to("meta").pooled(torch.zeros(2, 3, 299, 299, device="meta")).shape == (2, FEATURES)


def test_size_is_that_of_the_published_network():
    net = InceptionV3()
    trunk = sum(p.numel() for n, p in net.named_parameters() if not n.startswith("fc."))
    assert trunk == 21_785_568  # 23 834 568 with the 1000 classes of the ImageNet release
    assert sum(p.numel() for p in net.parameters()) == trunk + 1008 * 2049
    assert len([m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]) == 94
    assert {m.eps for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)} == {1e-3}


def test_resize_is_bilinear_without_antialiasing(network, monkeypatch):
    got = {}
    monkeypatch.setattr(network, "pooled", lambda x: got.setdefault("x", x))
    for shape in [(128, 90), (400, 330)]:
        got.clear()
        image = np.random.default_rng(2).uniform(0, 1, shape)
        network(torch.from_numpy(image)[None, None])
        want = image
        for axis, size in enumerate(shape):  # half-voxel centres, edges repeated
            at = np.clip((np.arange(299) + 0.5) * size / 299 - 0.5, 0, size - 1)
            low = np.minimum(at.astype(int), size - 2)
            part = np.expand_dims(at - low, 1 - axis)
            want = np.take(want, low, axis) * (1 - part) + np.take(want, low + 1, axis) * part
        for channel in got["x"][0].numpy():
            np.testing.assert_allclose(channel, 2 * want - 1, atol=1e-12)


def test_the_network_does_not_learn(network):
    assert not network.train().training
    assert not any(m.training for m in network.modules())


# ---- weights ---------------------------------------------------------------------------------------------------


def save(folder, state, name="weights"):
    path = folder / "unnamed.pth"
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return path.rename(folder / f"{name}-{digest[:8]}.pth")


@pytest.fixture(scope="module")
def published(network, tmp_path_factory):
    state = {k: v.float() for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")}
    return save(tmp_path_factory.mktemp("some folder é"), state)


def test_weights_from_a_file(network, published):
    net = load_inception(published)
    assert all(not p.requires_grad for p in net.parameters())
    torch.testing.assert_close(net.Mixed_7c.branch_pool.conv.weight.double(), network.Mixed_7c.branch_pool.conv.weight)
    torch.testing.assert_close(net.Mixed_5b.branch1x1.bn.running_var, network.Mixed_5b.branch1x1.bn.running_var.float())


def test_weights_from_an_address_are_downloaded_once(published, tmp_path):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        asked = 0

        def __init__(self, *args):
            super().__init__(*args, directory=str(published.parent))

        def log_message(self, *args):
            Quiet.asked += 1

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_port}/{published.name}"
            for _ in range(2):
                load_inception(url, cache=tmp_path / "cache")
            assert Quiet.asked == 1
            assert [p.name for p in (tmp_path / "cache").iterdir()] == [published.name]
            with pytest.raises(NotFound, match="give `weights` FILE"):
                load_inception(url.replace("weights-", "other-"), cache=tmp_path / "cache")
        finally:
            server.shutdown()
            thread.join()


def test_offline_says_the_cure(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "vol2vol.metrics.distances.inception_weights.URL", "http://127.0.0.1:9/pt_inception-2015-12-05-6726825d.pth"
    )
    with pytest.raises(NotFound, match=r"^InceptionV3 weights are not here: download http\S+ once and give `weights`"):
        load_inception(cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(NotFound, match="give `weights` FILE"):
        load_inception(tmp_path / "missing.pth")
    assert URL.endswith("-6726825d.pth")


def test_damage_and_strangers_are_refused(published, tmp_path):
    wrong = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    wrong.write_bytes(b"not this")
    with pytest.raises(Unreadable, match="6726825d"):
        check_hash(wrong)
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(Unreadable, match="is not a PyTorch file of plain tensors"):
        load_inception(tmp_path / "text.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(BadInput, match="not the FID InceptionV3"):
        load_inception(tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(BadInput, match="not a state dict"):
        load_inception(tmp_path / "list.pth")
    torch.save(torch.nn.Linear(1, 1), tmp_path / "code.pth")
    with pytest.raises(Unreadable):
        load_inception(tmp_path / "code.pth")
