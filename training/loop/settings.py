# SPDX-License-Identifier: Apache-2.0
"""What config/train/*.yaml says: one dataclass a section, with its defaults and its ranges."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from training.loop.reading import build, override, read_yaml
from training.novel_views import NovelViews
from training.ranges import OutOfRange

METRICS = (
    'position_mean_m',
    'position_median_m',
    'yaw_mean_deg',
    'yaw_median_deg',
    'nll',
    'coverage_95',
)
# Of networks that answer with a camera's pose in six degrees of freedom.
CAMERA_POSE_METRICS = (
    'translation_mean_m',
    'translation_median_m',
    'rotation_mean_deg',
    'rotation_median_deg',
    'recall_5cm_5deg',
    'recall_25cm_5deg',
    'nll',
    'coverage_95',
)
# Of networks that describe a picture, to find its place by.
DESCRIPTOR_METRICS = ('recall_at_1', 'recall_at_5', 'recall_at_20')
_ALL_METRICS = tuple(dict.fromkeys((*METRICS, *CAMERA_POSE_METRICS, *DESCRIPTOR_METRICS)))


@dataclass(frozen=True)
class Named:
    """A name of a registry with the settings that differ from its defaults."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sizes:
    """Sizes (width, height) px that pictures are brought to before anything else."""

    view_size: tuple[int, int] | None = None
    patch_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Split:
    """One part of the data; what is None is as in the section around it.

    Attributes:
        split: Of the reader.
        reader: Another reader.
        root: Another folder.
        options: Added to the section's options of the reader.
        reduce: Other sizes.
        augment: Other steps.
        limit: Take so many samples, evenly spread over the split; None for all.
        novel_views: Add views of the place from elsewhere, made of the split's RGB-D frames; not
            together with a limit.
    """

    split: str
    reader: str | None = None
    root: str | None = None
    options: dict[str, Any] | None = None
    reduce: Sizes | None = None
    augment: tuple[dict[str, Any], ...] | None = None
    limit: int | None = None
    novel_views: NovelViews | None = None

    def __post_init__(self) -> None:
        """Checks the range."""
        if self.limit is not None and self.novel_views is not None:
            raise OutOfRange('limit', 'null where there are novel_views: their count is the limit')
        _above('limit', self.limit, 0)


@dataclass(frozen=True)
class Data:
    """Where samples come from and what happens to them.

    Attributes:
        reader: Name in `training.datasets.registry`.
        root: Folder of the data set; --data says another one.
        options: Of the reader.
        train: What is learned from.
        validation: What the best epoch is chosen by and calibration fitted on; None for nothing.
        reduce: Sizes to bring pictures to; None leaves them.
        cache: Folder for reduced samples; None for no cache.
        workers: Processes that read.
        augment: Steps of `training.augmentation`, for training alone.
        batch_order: 'place' brings the samples of each batch into the data set's order, which
            goes city by city: its halves then show different ones, as the partners
            'cross_domain' of MixStyle want. None leaves them as they were drawn.
    """

    reader: str
    train: Split
    root: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    validation: Split | None = None
    reduce: Sizes | None = None
    cache: str | None = None
    workers: int = 2
    augment: tuple[dict[str, Any], ...] = ()
    batch_order: Literal['place'] | None = None

    def __post_init__(self) -> None:
        """Checks the range."""
        _from('workers', self.workers, 0)


@dataclass(frozen=True)
class Optimizer:
    """The rule of a step; lr is the highest one that the schedule reaches."""

    name: Literal['adamw', 'adam', 'sgd']
    lr: float
    weight_decay: float = 0.0
    eps: float = 1e-8
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9

    def __post_init__(self) -> None:
        """Checks the ranges."""
        _above('lr', self.lr, 0.0)
        _from('weight_decay', self.weight_decay, 0.0)
        _above('eps', self.eps, 0.0)
        if not all(0.0 <= b < 1.0 for b in self.betas):
            raise OutOfRange('betas', 'two numbers of 0 .. 1, 1 excluded')
        if not 0.0 <= self.momentum < 1.0:
            raise OutOfRange('momentum', 'a number of 0 .. 1, 1 excluded')


@dataclass(frozen=True)
class Schedule:
    """How the learning rate goes over the steps of a run.

    Attributes:
        name: 'constant'; 'one_cycle', linear up and linear down to almost nothing; 'cosine'.
        warmup: Share of all steps in which it rises linearly.
        final: Learning rate at the end of 'cosine'.
    """

    name: Literal['constant', 'one_cycle', 'cosine'] = 'constant'
    warmup: float = 0.0
    final: float = 0.0

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if not 0.0 <= self.warmup < 1.0:
            raise OutOfRange('warmup', 'a share of all steps, 0 .. 1, 1 excluded')
        _from('final', self.final, 0.0)


@dataclass(frozen=True)
class Ema:
    """A running average of the weights, which is what is validated and saved."""

    decay: float

    def __post_init__(self) -> None:
        """Checks the range."""
        if not 0.0 < self.decay < 1.0:
            raise OutOfRange('decay', 'a number between 0 and 1, such as 0.999')


@dataclass(frozen=True)
class Validate:
    """When the validation split is looked at, and what is best.

    Attributes:
        every_epochs: Passes between two looks; the last pass is always looked at.
        metric: What the best weights are chosen by, of the figures that the system's family has;
            lower is better, but for coverage_95, the nearer to 0.95, and for recall, the higher.
        patience: Stop after so many looks without a better one; None never stops.
        keep: Which weights a run ends with: the 'best' that were looked at, or the 'last', as of a
            run without validation; best.safetensors holds them, whichever. A twin that another run
            takes its calibration from must have learned as long as that one.
    """

    every_epochs: int = 1
    metric: Literal[_ALL_METRICS] = 'position_mean_m'  # type: ignore[valid-type]
    patience: int | None = None
    keep: Literal['best', 'last'] = 'best'

    def __post_init__(self) -> None:
        """Checks the ranges."""
        _above('every_epochs', self.every_epochs, 0)
        _above('patience', self.patience, 0)


@dataclass(frozen=True)
class Devices:
    """Machines: Fabric's accelerator, devices, num_nodes and strategy.

    Attributes:
        accelerator: 'auto', 'cpu', 'cuda', 'mps'.
        count: Devices (or CPU processes) a node.
        nodes: Machines.
        strategy: 'auto' takes 'ddp' where there is more than one device;
            'ddp_find_unused_parameters_true' where an objective leaves weights unused.
        threads: Of torch, a process; None leaves torch's choice.
    """

    accelerator: str = 'auto'
    count: int = 1
    nodes: int = 1
    strategy: str = 'auto'
    threads: int | None = None

    def __post_init__(self) -> None:
        """Checks the ranges."""
        for name in ('count', 'nodes', 'threads'):
            _above(name, getattr(self, name), 0)


@dataclass(frozen=True)
class Config:
    """A whole run.

    Attributes:
        system: Network, of `geoloc_core.models.registry`.
        objective: What it learns by, of `training.objectives.registry`.
        data: Samples.
        batch_size: Samples a step, all processes together.
        optimizer: Rule of a step.
        start_from: Weights to begin with: a file, or part of the network -> file.
        epochs: Passes; or
        steps: Steps of the optimizer. Exactly one of the two.
        schedule: Of the learning rate.
        clip_norm: Gradients longer than this are shortened; None leaves them.
        precision: '32-true', 'bf16-mixed' or '16-mixed'.
        ema: Average of the weights; None for none.
        validate: When, by what, and how patient.
        save_every_steps: Steps between two saves of the state, besides one an epoch.
        seed: Of weights, order, augmentation and every draw of a step.
        devices: Where it runs.
    """

    system: Named
    objective: Named
    data: Data
    batch_size: int
    optimizer: Optimizer
    start_from: str | dict[str, str] | None = None
    epochs: int | None = None
    steps: int | None = None
    schedule: Schedule = field(default_factory=Schedule)
    clip_norm: float | None = None
    precision: Literal['32-true', 'bf16-mixed', '16-mixed'] = '32-true'
    ema: Ema | None = None
    validate: Validate = field(default_factory=Validate)
    save_every_steps: int = 500
    seed: int = 0
    devices: Devices = field(default_factory=Devices)

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if (self.epochs is None) == (self.steps is None):
            raise OutOfRange(
                'epochs', f'exactly one of epochs and steps (steps is {self.steps}; null is none)'
            )
        for name in ('batch_size', 'epochs', 'steps', 'clip_norm', 'save_every_steps'):
            _above(name, getattr(self, name), 0)
        _from('seed', self.seed, 0)


def read_config(path: Path | str, settings: tuple[str, ...] = ()) -> Config:
    """The settings of a run.

    Args:
        path: The YAML.
        settings: 'key.key=value' that replace single ones.

    Raises:
        ConfigError: The file or a setting cannot be used; it names the key.
    """
    return build(Config, override(read_yaml(path), settings))


def _above(name: str, value: float | None, bound: float) -> None:
    if value is not None and not value > bound:
        raise OutOfRange(name, f'more than {bound}')


def _from(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise OutOfRange(name, f'{least} or more')
