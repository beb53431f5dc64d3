"""Properties have no deadline: on a busy machine an example of microseconds may take a second."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ["VOL2VOL_CHECK_SHAPES"] = "1"  # before anything of vol2vol is imported
settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
FLAG = re.compile(r"(?<![\w'\"-])--[a-z]")
EXAMPLE = Path(__file__).parents[1] / "examples" / "vol2vol-hello"


@pytest.fixture(scope="session", autouse=True)
def _library_names_settings():
    """Let errors that name flags fail, unless the command line raises them."""
    from vol2vol.errors import UserError

    def init(self, *args):
        raised_in = sys._getframe(1).f_globals["__name__"]
        library = raised_in.startswith("vol2vol.") and not raised_in.startswith("vol2vol.cli")
        assert not (library and FLAG.search(" ".join(map(str, args)))), (raised_in, args)
        super(UserError, self).__init__(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(UserError, "__init__", init)
        yield


@pytest.fixture(scope="session")
def hello_site(tmp_path_factory):
    """The folder into which pip has installed the example package."""
    folder = tmp_path_factory.mktemp("hello")
    shutil.copytree(EXAMPLE, folder / "source")  # building leaves files there
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), folder / "source"]
    subprocess.run(command, check=True)
    return folder / "site"


@pytest.fixture
def hello(hello_site, monkeypatch):
    """The example package, installed for one test."""
    from vol2vol.losses import PAIRED
    from vol2vol.metrics.measures import MEASURES
    from vol2vol.nets import CATALOGUE
    from vol2vol.tasks import TASKS
    from vol2vol.volumes.readers import READERS

    def forget():
        for each in (PAIRED, CATALOGUE, TASKS, MEASURES, READERS):
            vars(each).pop("_outside", None)
            each._loaded.clear()

    monkeypatch.syspath_prepend(hello_site)
    forget()
    yield "vol2vol-hello"
    forget()
    sys.modules.pop("vol2vol_hello", None)
