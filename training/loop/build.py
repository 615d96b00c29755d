# SPDX-License-Identifier: Apache-2.0
"""From settings to what a run is made of: devices, network, objective, batches."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from geoloc_core.errors import ConfigError
from geoloc_core.models.network import Network
from geoloc_core.models.pretrained import without_pretrained
from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import load_into
from training.loop.data import fixed_batch, training_batches, validation_batches, Wanted
from training.loop.reading import plain
from training.loop.settings import Config, Schedule, Validate
from training.loop.trainer import Feed
from training.objectives.base import Objective
from training.objectives.registry import make_objective

_OVERFIT_STEPS = 300
_OVERFIT_EPOCH = 25


@dataclass(frozen=True)
class Options:
    """What the command line says beside the settings.

    Attributes:
        folder: Of the run.
        root: Of the data; None for what the settings say.
        resume: Go on with the run in `folder`.
        overfit: Learn so many samples by heart; None for a real run.
    """

    folder: Path
    root: Path | None = None
    resume: bool = False
    overfit: int | None = None


def make_fabric(config: Config) -> Fabric:
    """Devices and precision, all processes started.

    Raises:
        ConfigError: They cannot be had on this machine.
    """
    devices = config.devices
    try:
        fabric = Fabric(
            accelerator=devices.accelerator,
            devices=devices.count,
            num_nodes=devices.nodes,
            strategy=devices.strategy,
            precision=config.precision,
        )
    except (ValueError, RuntimeError, TypeError) as error:
        raise ConfigError(f'devices: {plain(devices)} cannot be had here: {error}') from error
    fabric.launch()
    return fabric


def build_objective(config: Config, *, begun: bool) -> Objective:
    """Network and objective, with the weights to begin with.

    Args:
        config: The settings.
        begun: Whether a state on disk is about to replace all weights.

    Raises:
        ConfigError: Unknown names or settings.
        BundleError: The weights to begin with do not fit.
    """
    # A state on disk holds all weights: what the run began from need not be there any more.
    with without_pretrained() if begun else nullcontext():
        model = make_model(config.system.name, config.system.settings)
    start = config.start_from
    if start is not None and not begun:
        for part, path in (start if isinstance(start, dict) else {'': start}).items():
            load_into(_part(model, part), Path(path).expanduser(), part)
    return make_objective(config.objective.name, model, config.objective.settings)


def random_backbones(config: Config) -> list[str]:
    """Words about each backbone that no weights are named for, and none are begun with.

    Args:
        config: Resolved, its settings whole.
    """
    start = config.start_from
    begun = set(start) if isinstance(start, dict) else {''} if start else set()

    def words(settings: Mapping[str, Any], part: str) -> Iterator[str]:
        if part in begun:
            return
        if 'backbone' in settings and settings.get('weights') is None:
            key = '.'.join(('system.settings', *filter(None, [part]), 'weights'))
            yield f'backbone {settings["backbone"]} begins with random numbers: set {key}'
        for name, value in settings.items():
            if isinstance(value, Mapping):
                yield from words(value, f'{part}.{name}' if part else name)

    return list(words(config.system.settings, ''))


def _part(model: Network, name: str) -> Network:
    """A network inside a network, by its attribute; itself for ''."""
    part: nn.Module | None = model
    for word in name.split('.') if name else ():
        part = getattr(part, word, None)
    if not isinstance(part, Network):
        known = [n for n, m in model.named_modules() if n and isinstance(m, Network)]
        raise ConfigError(
            f'start_from.{name}: {model.NAME} has no such part; it has '
            f'{", ".join(known) or "none: give one file"}'
        )
    return part


def make_feed(config: Config, objective: Objective, fabric: Fabric, options: Options) -> Feed:
    """Batches for this process.

    Raises:
        ConfigError: Data and batch do not go together.
        DataError: A split cannot be read, or is empty.
    """
    wanted = Wanted(objective.model, tuple(objective.EXTRAS), objective.companions)
    if options.overfit is not None:
        batch = fixed_batch(config.data, wanted, options.overfit, options.root)
        if len(batch) < options.overfit:
            raise ConfigError(f'--overfit: {"; ".join(batch.unreadable)}')
        return Feed(None, [batch] * _OVERFIT_EPOCH, _OVERFIT_EPOCH, [batch])
    rank, world = fabric.global_rank, fabric.world_size
    pin = fabric.device.type == 'cuda'
    sampler, loader = training_batches(
        config.data, wanted, config.batch_size, config.seed,
        root=options.root, rank=rank, world=world, pin=pin,
    )  # fmt: skip
    validation = None
    if config.data.validation is not None:
        validation = validation_batches(
            config.data, Wanted(objective.model), max(config.batch_size // world, 1),
            root=options.root, rank=rank, world=world, pin=pin,
        )  # fmt: skip
    return Feed(sampler, loader, len(sampler), validation)


def overfitting(config: Config, count: int) -> Config:
    """The settings for learning a few samples by heart: no augmentation, no schedule."""
    if count < 1:
        raise ConfigError(f'--overfit {count}: expected one sample or more')
    if config.devices.count * config.devices.nodes > 1:
        raise ConfigError('--overfit: one batch is for one device; set devices.count and .nodes 1')
    return replace(
        config,
        batch_size=count,
        epochs=None,
        steps=config.steps or _OVERFIT_STEPS,
        schedule=Schedule(),
        ema=None,
        validate=Validate(1, config.validate.metric, None),
    )
