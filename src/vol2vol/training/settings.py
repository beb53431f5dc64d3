"""Settings of training that are the same for all tasks."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vol2vol.training.optimizers import (
    ELSEWHERE,
    check_arguments,
    check_name,
    check_step,
    numbers,
    optimizer_classes,
    schedule_classes,
)
from vol2vol.training.schedules import OWN, check_schedule


class OptimizerSettings(BaseModel):
    """The optimiser of every player."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "Adam"
    """An optimiser of torch.optim, such as Adam, AdamW, SGD, RMSprop or NAdam."""
    arguments: dict[str, Any] = {}
    """Arguments that differ from torch's defaults, such as weight_decay or momentum; the learning rate is set by
    `train.lr`, the betas of Adam by `train.betas`."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return check_name(name, optimizer_classes())

    @field_validator("arguments", mode="before")
    @classmethod
    def _has_numbers(cls, arguments: object) -> object:
        return numbers(arguments)

    @model_validator(mode="after")
    def _takes_them(self) -> OptimizerSettings:
        check_arguments(optimizer_classes()[self.name], self.arguments, ELSEWHERE)
        return self


class Schedule(BaseModel):
    """How the learning rate changes from epoch to epoch."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "constant"
    """`constant`; `linear`: constant, then falling to zero over the second half; `step`: multiplied by `factor` every
    `period` epochs; `plateau`: multiplied by `factor` when the task's criterion has not improved for `patience` epochs;
    `cosine`: half a cosine that falls to zero over all epochs; `cosine-restarts`: half a cosine over `period` epochs,
    repeated; or a class of torch.optim.lr_scheduler, such as OneCycleLR, which is stepped once per epoch."""
    arguments: dict[str, Any] = {}
    """Arguments of a class of torch.optim.lr_scheduler; arguments that count steps count epochs here."""
    period: int = Field(default=20, ge=1)
    """Epochs between two steps of `step`, or per cosine of `cosine-restarts`; the paper's 20 give 5 cycles in 100
    epochs."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """Factor by which `step` and `plateau` multiply the learning rate."""
    patience: int = Field(default=5, ge=1)
    """Epochs without improvement after which `plateau` lowers the learning rate."""

    @field_validator("name")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return check_name(name, (*OWN, *schedule_classes()))

    @field_validator("arguments", mode="before")
    @classmethod
    def _has_numbers(cls, arguments: object) -> object:
        return numbers(arguments)

    @model_validator(mode="after")
    def _takes_them(self) -> Schedule:
        if self.name not in OWN:
            check_arguments(schedule_classes()[self.name], self.arguments)
        elif self.arguments:
            raise ValueError(f"{self.name} takes no arguments: use the settings period, factor and patience")
        return self


class TrainSettings(BaseModel):
    """Duration, learning rate, devices and checkpoints of training."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    epochs: int = Field(default=200, ge=1)
    """Number of epochs; a finished run continues when this number is raised."""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """Steps per epoch; by default, every patch of the data set is drawn once per epoch."""
    batch_size: int = Field(default=1, ge=1)
    """Patches per domain in a step, on each device."""
    lr: float = Field(default=2e-4, gt=0)
    """Learning rate of the optimiser of every player."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Decay rates of the moments in Adam and similar optimisers; other optimisers ignore them."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """The optimiser of the weights."""
    schedule: Schedule = Schedule()
    """How the learning rate changes."""
    lr_stop: float = Field(default=0.0, ge=0)
    """Learning rate below which training ends early."""
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    """Precision of convolutions; losses, statistics and weights stay float32."""
    gradient_checkpointing: bool = False
    """Compute the activations of the networks twice instead of storing them: less memory, a third more time."""
    ema: float = Field(default=0.0, ge=0, lt=1)
    """Decay of the moving average of the weights that checkpoints hold, such as 0.999; 0 for no average."""
    checkpoint_every: int = Field(default=5, ge=1)
    """Epochs between saved models; the model of the last epoch is always saved."""
    save_minutes: float = Field(default=10.0, gt=0)
    """Minutes within an epoch after which the state is saved again, from which a stopped training continues; it is also
    saved after every epoch."""
    seed: int = Field(default=0, ge=0)
    """Seed of all random numbers; on a CPU, equal seeds give equal logs."""
    devices: int = Field(default=1, ge=1)
    """Number of devices (on a CPU: processes) that share each step."""
    strategy: str = "auto"
    """Lightning's strategy; `auto` runs one process per device and averages the gradients (DDP)."""
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """Kind of device; `auto` takes a GPU if there is one."""
    num_workers: int = Field(default=0, ge=0)
    """Number of processes that read patches ahead; it does not change the result."""

    @field_validator("precision", mode="before")
    @classmethod
    def _precision_is_a_word(cls, value: object) -> object:
        """Accept 32 as a number, as YAML and the command line read it."""
        return str(value) if isinstance(value, int) else value

    @model_validator(mode="after")
    def _work(self) -> TrainSettings:
        """Try the optimiser and the schedule before training starts."""
        check_step(self)
        check_schedule(self)
        return self
