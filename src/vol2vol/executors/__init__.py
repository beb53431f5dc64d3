"""Maps over blocks. They do not know what is mapped; a block that is done stays done."""

from vol2vol.executors.local import local

__all__ = ["local"]
