"""What a person may decide about training, whatever the task."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

ScheduleName = Literal["constant", "linear", "step", "plateau", "cosine", "cosine-restarts"]


class Schedule(BaseModel):
    """How the learning rate changes from epoch to epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: ScheduleName = "constant"
    """`constant`; `linear`: constant, then down to zero over the second half; `step`: times `factor` every `period`
    epochs; `plateau`: times `factor` when the task's criterion has not improved for `patience` epochs; `cosine`: half
    a cosine down to zero over all epochs; `cosine-restarts`: the same over `period` epochs, again and again."""
    period: int = Field(default=20, ge=1)
    """Epochs per step or per cosine; the paper's 20 make 5 cycles in 100 epochs."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """What `step` and `plateau` multiply the rate by."""
    patience: int = Field(default=5, ge=1)
    """Epochs without improvement that `plateau` waits for."""


class TrainSettings(BaseModel):
    """How long, how fast, on what, and what to keep."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: int = Field(default=200, ge=1)
    """Epochs in all; a finished run goes on when this grows."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """Steps per epoch; by default as many as the data set has patches for."""
    batch_size: int = Field(default=1, ge=1)
    """Patches per domain, step and device."""
    lr: float = Field(default=2e-4, gt=0)
    """Learning rate of every player's Adam."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Adam's moments."""
    schedule: Schedule = Schedule()
    """How the learning rate changes."""
    lr_stop: float = Field(default=0.0, ge=0)
    """End training early when the learning rate falls below this."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Precision of convolutions; losses, statistics and weights stay float32."""
    gradient_checkpointing: bool = False
    """Compute the generators' activations twice instead of keeping them: less memory, a third more time."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the moving average of the generators' weights that checkpoints hold, such as 0.999; 0 for none."""
    checkpoint_every: int = Field(default=5, ge=1)
    """Epochs between models that are kept to predict with; the last epoch always has one."""
    save_minutes: float = Field(default=10.0, gt=0)
    """Minutes within an epoch after which the state, from which a stopped training continues, is saved again; it is
    saved after every epoch in any case."""
    seed: int = Field(default=0, ge=0)
    """Start of every random stream; on a CPU equal seeds give equal logs."""
    devices: int = Field(default=1, ge=1)
    """How many devices (on a CPU: processes) share each step."""
    strategy: str = "auto"
    """Lightning's strategy; `auto` is one process per device, gradients averaged (DDP)."""
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """What computes; `auto` takes what is there."""
    num_workers: int = Field(default=0, ge=0)
    """Processes that read patches ahead; changes no number."""

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_is_a_word(cls, value: object) -> object:
        """YAML and the command line read 32 as a number."""
        return str(value) if isinstance(value, int) else value
