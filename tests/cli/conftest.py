from tests.cli.world import refuse, world  # noqa: F401
