import json
import os
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from vol2vol import nets
from vol2vol.errors import AlreadyExists, BadInput, CannotWrite, NotFound, Unreadable
from vol2vol.intensity import Intensity
from vol2vol.models import bundle as bundles
from vol2vol.models.bundle import describe_bundle, load_bundle, save_bundle
from vol2vol.models.checkpoints import checkpoint_name, find_bundle
from vol2vol.protocol import March, Translation, between

INTENSITY = {"source": Intensity(low=(0.0,), high=(255.0,)), "target": Intensity(low=(-3.0,), high=(900.5,))}
CHANNELS = {"source": 1, "target": 1}

BOMB = "schema: 2\na: &a [x, x]\n" + "\n".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


def unet(seed=0, **arguments):
    torch.manual_seed(seed)
    return nets.build("unet", dims=2, levels=2, width=2, **{"norm": "tracked", **arguments})


def save(path, networks=None, **more):
    networks = {"forward": unet(1), "backward": unet(2)} if networks is None else networks
    return save_bundle(path, between(networks), INTENSITY, channels=CHANNELS, **more)


def change(path, edit):
    meta = yaml.safe_load((path / "model.yaml").read_text())
    edit(meta)
    (path / "model.yaml").write_text(yaml.safe_dump(meta))


def test_a_bundle_comes_back_as_it_was_saved(tmp_path):
    networks = {"forward": unet(1), "backward": unet(2)}
    x = torch.randn(2, 1, 22, 22)
    for net in networks.values():
        net(x)  # moves the running statistics away from their start
    path = save(
        tmp_path / "a folder" / "modell ä",
        networks,
        statistics={"forward": "running mean"},
        provenance={"recipe": {"patch": (22, 22)}, "epoch": 3},
    )
    bundle = load_bundle(path)
    assert list(bundle.translations) == ["forward", "backward"]
    for direction, net in networks.items():
        loaded = bundle.network(direction)
        assert not loaded.training
        assert all(not p.requires_grad for p in loaded.parameters())
        assert torch.equal(loaded(x), net.eval()(x))
    assert bundle.intensity == INTENSITY
    assert bundle.meta["provenance"]["epoch"] == 3
    assert bundle.meta["provenance"]["recipe"] == {"patch": [22, 22]}
    assert bundle.meta["provenance"]["versions"]["torch"] == str(torch.__version__)
    assert bundle.meta["translations"]["forward"]["statistics"] == "running mean"
    footprint = nets.footprint(networks["forward"])
    assert bundle.meta["translations"]["forward"]["footprint"]["period"] == list(footprint.period)
    assert [p.name for p in path.parent.iterdir()] == ["modell ä"]
    json.dumps(describe_bundle(path))


def test_one_direction_is_enough_and_the_other_is_named_as_missing(tmp_path):
    bundle = load_bundle(save(tmp_path / "m", {"backward": unet()}))
    assert bundle.network("backward") is bundle.translations["backward"].network
    with pytest.raises(BadInput, match="no direction 'forward': it has backward"):
        bundle.network("forward")


def test_the_hash_follows_what_decides_the_output_and_nothing_else(tmp_path):
    networks = {"forward": unet(1)}
    first = load_bundle(save(tmp_path / "a", networks)).hash
    assert len(first) == 64
    assert load_bundle(save(tmp_path / "b", networks, provenance={"epoch": 9})).hash == first
    assert describe_bundle(tmp_path / "b")["hash"] == first
    with torch.no_grad():
        next(networks["forward"].parameters()).view(-1)[0] += 1e-3
    assert load_bundle(save(tmp_path / "c", networks)).hash != first
    shutil.copytree(tmp_path / "a", tmp_path / "d")
    change(tmp_path / "d", lambda meta: meta["domains"]["target"]["intensity"].update(high=[901.0]))
    assert load_bundle(tmp_path / "d").hash != first
    shutil.copytree(tmp_path / "a", tmp_path / "e")
    change(tmp_path / "e", lambda m: m["translations"]["forward"]["network"]["arguments"].update(final="none"))
    assert load_bundle(tmp_path / "e").hash != first


def test_nothing_is_overwritten_unless_told_and_only_bundles_ever(tmp_path):
    path = save(tmp_path / "m", {"forward": unet(1)})
    before = load_bundle(path).hash
    with pytest.raises(AlreadyExists, match="`overwrite`"):
        save(path, {"forward": unet(2)})
    assert load_bundle(path).hash == before
    save(path, {"forward": unet(2)}, overwrite=True)
    assert load_bundle(path).hash != before
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "mum.txt").write_text("dear")
    with pytest.raises(AlreadyExists, match="not a model"):
        save(tmp_path / "letters", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["letters", "m"]


@pytest.mark.parametrize("stranger", ["notes.txt", "photos", ".hidden"])
def test_a_folder_with_a_bundle_and_more_is_not_overwritten(tmp_path, stranger):
    path = save(tmp_path / "m")
    (path / stranger).mkdir() if stranger == "photos" else (path / stranger).write_text("mine")
    with pytest.raises(AlreadyExists, match=rf"holds {stranger}, which is not part of a model.*remove it yourself"):
        save(path, {"forward": unet(5)}, overwrite=True)
    assert sorted(p.name for p in path.iterdir()) == sorted([stranger, "model.yaml", "weights.safetensors"])


@pytest.mark.parametrize("text", ["name: resnet", "a: [1", "schema: 99"])
def test_a_folder_with_the_model_of_another_program_is_not_overwritten(tmp_path, text):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.yaml").write_text(text)
    with pytest.raises(AlreadyExists, match=r"not a model of vol2vol \(.*model\.yaml .*\): it is not overwritten"):
        save(tmp_path / "m", overwrite=True)
    assert (tmp_path / "m" / "model.yaml").read_text() == text


def test_a_link_to_a_bundle_is_not_overwritten(tmp_path):
    save(tmp_path / "m")
    (tmp_path / "link").symlink_to(tmp_path / "m")
    with pytest.raises(AlreadyExists, match="not a model"):
        save(tmp_path / "link", overwrite=True)


def test_a_failed_save_leaves_the_old_bundle_and_no_debris(tmp_path, monkeypatch):
    path = save(tmp_path / "m")
    before = load_bundle(path).hash

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(bundles, "save_file", full)
    with pytest.raises(CannotWrite, match="No space left"):
        save(path, {"forward": unet(5)}, overwrite=True)
    assert load_bundle(path).hash == before
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_debris_of_a_killed_save_does_not_matter(tmp_path):
    (tmp_path / ".m.partial").mkdir()
    (tmp_path / ".m.partial" / "weights.safetensors").write_bytes(b"half")
    load_bundle(save(tmp_path / "m"))
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_truncated_weights_are_unreadable_wherever_they_end(tmp_path):
    path = save(tmp_path / "m")
    whole = (path / "weights.safetensors").read_bytes()
    for keep in (0, 4, 8, 100, len(whole) // 2, len(whole) - 1):
        (path / "weights.safetensors").write_bytes(whole[:keep])
        with pytest.raises(Unreadable, match=r"weights\.safetensors is damaged"):
            load_bundle(path)
    os.remove(path / "weights.safetensors")
    with pytest.raises(NotFound, match=r"weights\.safetensors"):
        load_bundle(path)


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("a: [1, 2", Unreadable, "not YAML"),
        (b"\xff\xfe\x00", Unreadable, "not YAML"),
        ("just words", BadInput, "not written by vol2vol"),
        ("", BadInput, "not written by vol2vol"),
        ("a: !!python/object/apply:os.system ['true']", Unreadable, "not YAML"),
        ("schema: 2", BadInput, "translations: field required"),
        ("schema: 1", BadInput, "schema 1 of an older vol2vol, this one reads 2: train the model again"),
        ("schema: 3", BadInput, "schema 3, this vol2vol reads 2: update vol2vol"),
        ("schema: one", BadInput, "schema 'one'"),
        (f"schema: {'x' * 9999}", BadInput, "schema 'x{79}, this"),
        (f"schema: 2\ntranslations: {{{'x' * 999}: 1}}", BadInput, "translations.x{107}: "),
        (BOMB, Unreadable, r"not YAML \(its aliases add more than"),
    ],
)
def test_a_foreign_or_damaged_description_is_named(tmp_path, text, error, says):
    path = save(tmp_path / "m")
    (path / "model.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=says) as caught:
        load_bundle(path)
    assert "\n" not in str(caught.value)
    assert "model.yaml" in str(caught.value)


def applied(to):
    """An edit of model.yaml that states how the forward network is applied."""
    return lambda meta: meta["translations"]["forward"].update(applied=to)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda m: m["translations"]["forward"]["network"].update(name="unett"), "unett"),
        (lambda m: m["translations"]["forward"]["network"]["arguments"].update(bogus=1), "bogus"),
        (lambda m: m["translations"]["forward"]["network"]["arguments"].update(width=4), "has shape"),
        (lambda m: m["translations"]["forward"]["network"]["arguments"].update(levels=3), "is missing|has shape"),
        (lambda m: m["translations"].pop("backward"), "belong to no translation"),
        (lambda m: m["translations"].update(sideways=m["translations"]["forward"]), "sideways"),
        (lambda m: m["domains"]["target"].pop("intensity"), "intensity"),
        (lambda m: m["domains"]["target"]["intensity"].update(high=[-10.0]), "intensity"),
        (lambda m: m["domains"]["target"]["intensity"].update(colour="red"), "colour"),
        (lambda m: m["translations"]["forward"].pop("network"), "network"),
        (lambda m: m["translations"]["forward"].pop("footprint"), r"forward\.footprint: field required"),
        (
            lambda m: m["translations"]["forward"]["network"]["arguments"].update(width=10**12),
            "width is 10+: .*at most",
        ),
        (lambda m: m["translations"]["forward"]["network"]["arguments"].update(levels=10**6), "at most"),
        (lambda m: m["translations"]["forward"]["network"]["arguments"].update(width=60_000), "has shape"),
        (lambda m: m["translations"]["forward"]["network"]["arguments"].update(levels=257), "at most 256"),
        (
            lambda m: m["translations"]["forward"]["network"]["arguments"].update(
                width=60_000, levels=60, max_multiplier=60_000
            ),
            "cannot be built",
        ),
        (lambda m: m["translations"]["forward"]["network"]["arguments"].update(levels="many"), "levels is 'many'"),
        (
            lambda m: m["translations"]["forward"]["network"].update(
                name="lookup", arguments={"dims": 2, "knots": 10**12}
            ),
            "segments is 9+: .*at most",
        ),
        (lambda m: m.update(domains={}), "domains"),
        (lambda m: m["domains"].pop("source"), "names the domain source, which the model does not have"),
        (lambda m: m["domains"]["source"].update(channels=0), r"domains\.source\.channels"),
        (lambda m: m["domains"]["target"].update(channels=3), "target has 3 channels, the backward network reads 1"),
        (lambda m: m["provenance"].update(patch="wide"), r"provenance\.patch"),
        (applied(None), r"forward\.applied: input should be a valid dictionary"),
        (applied({"name": "sampled", "steps": 9}), "applied by 'sampled', this vol2vol only knows one-pass and march"),
        (applied({"name": ["march"]}), r"applied by \['march'\], this"),
        (applied({"name": "one-pass", "share": [0.2, 0.3]}), "applied.share"),
        (applied({"name": "march"}), r"applied\.share: field required"),
        (applied({"name": "march", "share": [0.3, 0.2]}), "not the narrowest and the widest overlap"),
        (applied({"name": "march", "share": [0.0, 0.2]}), "not the narrowest and the widest overlap"),
        (applied({"name": "march", "share": ["0.2", "0.3"]}), r"applied\.share\.0"),
        (applied({"name": "march", "share": [0.2, 0.3], "offset": float("nan")}), "offset"),
        (applied({"name": "march", "share": [0.2, 0.3], "speed": 1}), r"applied\.speed"),
    ],
)
def test_descriptions_that_do_not_fit_are_refused_in_one_line(tmp_path, edit, says):
    path = save(tmp_path / "m")
    change(path, edit)
    with pytest.raises(BadInput, match=says) as caught:
        load_bundle(path)
    assert "\n" not in str(caught.value)
    assert "model.yaml" in str(caught.value) or "weights.safetensors" in str(caught.value)


def test_weights_must_be_all_there_of_the_right_shape_and_finite(tmp_path):
    path = save(tmp_path / "m", {"forward": unet()})
    file = path / "weights.safetensors"
    weights = load_file(file)
    name = next(n for n in weights if n.endswith("conv.weight"))

    save_file({k: v for k, v in weights.items() if k != name}, file)
    with pytest.raises(BadInput, match=f"{name} is missing"):
        load_bundle(path)
    save_file({**weights, "forward.extra": torch.zeros(1)}, file)
    with pytest.raises(BadInput, match=r"'forward\.extra'"):
        load_bundle(path)
    save_file({**weights, name: torch.full_like(weights[name], torch.nan)}, file)
    with pytest.raises(BadInput, match="not finite"):
        load_bundle(path)


def run_folder(path, epochs, best=None):
    for epoch in epochs:
        save(path / "models" / f"epoch-{epoch:04d}", {"forward": unet(epoch)})
    if best:
        (path / "models" / "best.txt").write_text(f"epoch-{best:04d}\n")
    return path


def test_find_bundle_takes_a_bundle_or_picks_one_of_a_run(tmp_path):
    run = run_folder(tmp_path / "run", (5, 10, 100), best=10)
    (run / "models" / ".epoch-0105.partial").mkdir()
    (run / "models" / "epoch-0110").mkdir()  # no bundle
    names = {m: find_bundle(run, m).name for m in ("last", "best", "epoch-0005", "epoch-5", "5", 5, "100")}
    assert names == {
        "last": "epoch-0100",
        "best": "epoch-0010",
        "epoch-0005": "epoch-0005",
        "epoch-5": "epoch-0005",
        "5": "epoch-0005",
        5: "epoch-0005",
        "100": "epoch-0100",
    }
    assert find_bundle(run / "models" / "epoch-0005") == run / "models" / "epoch-0005"
    with pytest.raises(BadInput, match="epoch-0005 is one model, not a run of several: leave out `which` best"):
        find_bundle(run / "models" / "epoch-0005", "best")
    for wrong in ("7", "epoch-0110", "first", ""):
        with pytest.raises(NotFound, match="best, last, epoch-0005, epoch-0010, epoch-0100"):
            find_bundle(run, wrong)


def test_the_best_is_taken_where_training_judged_and_the_last_elsewhere(tmp_path):
    run = run_folder(tmp_path / "run", (5, 10), best=5)
    assert find_bundle(run).name == "epoch-0010"
    for epoch in (5, 10):
        save(
            run / "models" / f"epoch-{epoch:04d}",
            {"forward": unet(epoch)},
            provenance={"judged_by": "mse"},
            overwrite=True,
        )
    assert find_bundle(run).name == "epoch-0005"
    assert find_bundle(run, "last").name == "epoch-0010"
    names = [checkpoint_name(find_bundle(run, which)) for which in ("auto", "last")]
    assert names == ["epoch-0005 (best)", "epoch-0010 (last)"]
    assert checkpoint_name(run) == "run"
    (run / "models" / "best.txt").write_text("epoch-0007")  # deleted by its owner
    assert find_bundle(run).name == "epoch-0010"


def test_find_bundle_says_what_there_is_not(tmp_path):
    with pytest.raises(NotFound, match="does not exist"):
        find_bundle(tmp_path / "nowhere")
    with pytest.raises(NotFound, match="neither a model nor a run"):
        find_bundle(tmp_path)
    run = run_folder(tmp_path / "run", (5,))
    with pytest.raises(NotFound, match="no model 'best': it has last, epoch-0005"):
        find_bundle(run, "best")


def test_describe_bundle_counts_weights_without_building(tmp_path, monkeypatch):
    path = save(tmp_path / "m", {"forward": unet()})
    monkeypatch.setattr(nets, "build", None)
    description = describe_bundle(path)
    assert (
        description["weights"]["forward"] >= nets.count_parameters(unet())
        if nets.build
        else description["weights"]["forward"] > 0
    )
    assert description["translations"]["forward"]["network"]["name"] == "unet"


MARCH = March(share=(0.125, 0.25), offset=2.0)


def march(path, *, reads, makes, network):
    torch.manual_seed(0)
    net = nets.build("resnet", dims=2, in_channels=network, out_channels=makes, width=2, blocks=1)
    translation = Translation(network=net, reads=("source",), makes=("target",), applied=MARCH)
    intensity = {
        name: Intensity(low=(0.0,) * n, high=(255.0,) * n) for name, n in (("source", reads), ("target", makes))
    }
    return save_bundle(path, {"forward": translation}, intensity, channels={"source": reads, "target": makes})


def test_how_a_network_is_applied_comes_back_and_decides_the_hash(tmp_path):
    path = march(tmp_path / "m", reads=1, makes=1, network=1)
    bundle = load_bundle(path)
    assert bundle.translation("forward").applied == MARCH
    assert describe_bundle(path)["translations"]["forward"]["applied"] == {
        "share": [0.125, 0.25],
        "offset": 2.0,
        "name": "march",
    }
    change(path, applied({"name": "march", "share": [0.125, 0.25]}))
    assert load_bundle(path).translation("forward").applied == March(share=(0.125, 0.25))
    assert load_bundle(path).hash != bundle.hash


@pytest.mark.parametrize(
    ("reads", "makes", "network", "loads"),
    [(1, 3, 3, True), (3, 1, 3, True), (3, 3, 3, True), (1, 3, 1, False), (2, 3, 3, False), (3, 1, 1, False)],
)
def test_a_network_that_is_shown_its_output_reads_the_wider_of_both(tmp_path, reads, makes, network, loads):
    path = march(tmp_path / "m", reads=reads, makes=makes, network=network)
    if loads:
        assert load_bundle(path).network("forward").in_channels == network
        return
    with pytest.raises(BadInput, match=f"has {reads} channels and what it makes has {makes}, the forward network"):
        load_bundle(path)
