"""Prediction from and to S3, its connection cut under way: the bytes of an undisturbed run."""

import subprocess
import sys
import threading

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from tests.prediction.conftest import write_volume

from vol2vol.errors import CannotWrite, Mismatch, Unreadable
from vol2vol.geometry import Box
from vol2vol.prediction import PredictSettings, predict, predict_files
from vol2vol.prediction import compute as work_module
from vol2vol.prediction.verification import verify
from vol2vol.volumes import open_volume
from vol2vol.volumes.formats import store

ARRAY = np.random.default_rng(7).integers(0, 256, (300, 36, 40), dtype=np.uint8)


class Cloud:
    """A bucket on a server that can be switched off and on; what it holds stays."""

    def __init__(self):
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def client(self):
        return boto3.client("s3", region_name="us-east-1", endpoint_url=self.url)

    def off(self):
        self._server.stop()

    def on(self):
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def tree(self, prefix):
        """Everything below a prefix, by name."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="cells", Prefix=prefix)
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {k.removeprefix(prefix): client.get_object(Bucket="cells", Key=k)["Body"].read() for k in keys}


@pytest.fixture(scope="module")
def cloud():
    made = Cloud()
    store._keys.cache_clear()  # another test's server may be in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        patch.setenv("AWS_ENDPOINT_URL", made.url)
        made.client().create_bucket(Bucket="cells", ACL="public-read-write")
        yield made
    made.off()
    store._keys.cache_clear()


@pytest.fixture(scope="module")
def here(models, tmp_path_factory):
    """A prediction on this machine."""
    folder = tmp_path_factory.mktemp("here")
    write_volume(folder / "in.zarr", ARRAY, chunks=(32, 32, 32))
    predict(models[3], folder / "in.zarr", folder / "out.zarr")
    return folder / "out.zarr"


@pytest.fixture(scope="module")
def whole(cloud, models):
    """A volume on S3 and what its prediction without disturbance wrote there."""
    write_volume("s3://cells/in.zarr", ARRAY, chunks=(32, 32, 32))
    predict(models[3], "s3://cells/in.zarr", "s3://cells/whole/out.zarr")
    return cloud.tree("whole/")


def test_s3_is_like_a_folder(whole, models, here):
    there = open_volume("s3://cells/whole/out.zarr")
    box = Box.of(there.spatial)
    np.testing.assert_array_equal(open_volume(here).read(box), there.read(box))
    assert there.attrs["vol2vol"]["complete"] is True
    assert not [key for key in whole if ".vol2vol" in key]
    again = predict(models[3], "s3://cells/in.zarr", "s3://cells/whole/out.zarr")
    assert again.voxels == 0
    found = verify("s3://cells/whole/out.zarr", model=models[3], input="s3://cells/in.zarr", sample=2)
    assert (found.blocks, found.differing) == (2, 0)


def test_a_short_interruption_is_waited_for(whole, cloud, models, monkeypatch):
    monkeypatch.setattr(work_module, "RETRIES", 30)  # what is short for this machine, however busy
    monkeypatch.setattr(work_module, "PAUSE", 0.0)

    def progress(done, total, voxels):
        if done == 2:
            cloud.off()
            threading.Timer(0.5, cloud.on).start()

    predict(models[3], "s3://cells/in.zarr", "s3://cells/b/out.zarr", progress=progress)
    assert cloud.tree("b/") == whole


def test_a_long_interruption_is_named_and_the_rest_follows(whole, cloud, models):
    def progress(done, total, voxels):
        if done == 2:
            cloud.off()

    try:
        with pytest.raises((Unreadable, CannotWrite), match=r"s3://cells/\S+ cannot be (read|written)"):
            predict(models[3], "s3://cells/in.zarr", "s3://cells/c/out.zarr", progress=progress)
    finally:
        cloud.on()
    made = predict(models[3], "s3://cells/in.zarr", "s3://cells/c/out.zarr")
    assert made.blocks_before >= 2
    assert cloud.tree("c/") == whole


def test_workers_claim_rows_on_s3(whole, cloud, models):
    class Stop(Exception):
        pass

    def progress(done, total, voxels):
        raise Stop

    with pytest.raises(Stop):
        predict(models[3], "s3://cells/in.zarr", "s3://cells/d/out.zarr", PredictSettings(workers=3), progress=progress)
    command = [sys.executable, "-m", "vol2vol.cli", "work", "s3://cells/d/out.zarr"]
    crew = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [worker.wait() for worker in crew] == [0, 0]
    assert cloud.tree("d/") == whole


def test_an_input_on_s3_that_changes_under_way_is_noticed(whole, cloud, models):
    def progress(done, total, voxels):
        if done == 2:
            client = cloud.client()
            other = client.get_object(Bucket="cells", Key="in.zarr/0/c/5/0/0")["Body"].read()
            client.put_object(Bucket="cells", Key="in.zarr/0/c/4/0/0", Body=other)

    with pytest.raises(Mismatch, match="was changed while it was read"):
        predict(models[3], "s3://cells/in.zarr", "s3://cells/e/out.zarr", progress=progress)


def test_many_files_go_to_s3_and_are_done_the_second_time(cloud, models, tmp_path):
    for name in ("a", "b"):
        write_volume(tmp_path / f"{name}.zarr", ARRAY[: 20 + ord(name)])
    inputs, out = [tmp_path / "a.zarr", tmp_path / "none.zarr", tmp_path / "b.zarr"], "s3://cells/many/"
    made = predict_files(models[2], inputs, out)
    assert (made.predicted, list(made.failed)) == (2, [str(tmp_path / "none.zarr")])
    before = cloud.tree("many/")
    predict(models[2], tmp_path / "a.zarr", "s3://cells/alone/a.zarr")
    assert {k: v for k, v in before.items() if k.startswith("a.zarr/")} == cloud.tree("alone/")
    assert predict_files(models[2], inputs, out).files_before == 2
    assert cloud.tree("many/") == before
