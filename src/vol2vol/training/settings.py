"""What a person may decide about training, whatever the task."""

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
    """Which optimiser every player has."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str = "Adam"
    """An optimiser of torch.optim, such as Adam, AdamW, SGD, RMSprop or NAdam."""
    arguments: dict[str, Any] = {}
    """Its arguments that differ from torch's defaults, such as weight_decay or momentum; the learning rate is
    `train.lr`, Adam's betas are `train.betas`."""

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
    """`constant`; `linear`: constant, then down to zero over the second half; `step`: times `factor` every `period`
    epochs; `plateau`: times `factor` when the task's criterion has not improved for `patience` epochs; `cosine`: half
    a cosine down to zero over all epochs; `cosine-restarts`: the same over `period` epochs, again and again; or a class
    of torch.optim.lr_scheduler, such as OneCycleLR, stepped once per epoch."""
    arguments: dict[str, Any] = {}
    """Arguments of a class of torch.optim.lr_scheduler; what they count in steps are epochs here."""
    period: int = Field(default=20, ge=1)
    """Epochs per step or per cosine; the paper's 20 make 5 cycles in 100 epochs."""
    factor: float = Field(default=0.5, gt=0, lt=1)
    """What `step` and `plateau` multiply the rate by."""
    patience: int = Field(default=5, ge=1)
    """Epochs without improvement that `plateau` waits for."""

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
            raise ValueError(f"{self.name} takes no arguments: it has period, factor and patience beside its name")
        return self


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
    """Learning rate of every player's optimiser."""
    betas: tuple[float, float] = (0.5, 0.999)
    """How slowly the moments of Adam and its kin decay; optimisers without these moments ignore it."""
    optimizer: OptimizerSettings = OptimizerSettings()
    """What steps the weights."""
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

    @model_validator(mode="after")
    def _work(self) -> TrainSettings:
        """Try the optimiser and the schedule before anything begins."""
        check_step(self)
        check_schedule(self)
        return self
