from tests.training.runs import whole  # noqa: F401
