# SPDX-License-Identifier: Apache-2.0
"""The loop: steps, saved states, looks at the validation split, a stop when it is time."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
import math
from pathlib import Path
import time
from typing import Any

from lightning_fabric import Fabric
import torch
from torch import nn, Tensor

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.network import Network
from geoloc_core.models.weights import fill, save_weights
from training.loading import Batch
from training.loop.ema import Ema
from training.loop.journal import Journal
from training.loop.meters import Meters, scalars_of
from training.loop.optimization import learning_rate, make_optimizer
from training.loop.settings import Config
from training.loop.state import save_state, seed_step
from training.loop.validation import badness, validate
from training.loop.watch import Watch
from training.objectives.base import LOSS, Objective, Progress

# Steps between two readings of numbers from a GPU. A reading waits for all work that is queued.
_READ_EVERY = 20
STATE = 'last.ckpt'
BEST = 'best.safetensors'


@dataclass
class Counters:
    """Where a run is.

    Attributes:
        step: Steps of the optimizer so far.
        epoch: Passes finished.
        in_epoch: Steps of the pass under way.
        best: Least `badness` so far.
        best_epoch: Passes finished then; -1 before the first look.
        stale: Looks since then.
        seconds: Time spent in all.
        unreadable: Samples that could not be read.
    """

    step: int = 0
    epoch: int = 0
    in_epoch: int = 0
    best: float = math.inf
    best_epoch: int = -1
    stale: int = 0
    seconds: float = 0.0
    unreadable: int = 0


class _Step(nn.Module):
    """An objective whose forward takes plain numbers: wrappers copy nothing else safely."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(
        self, tensors: dict[str, Tensor], step: int, steps: int, epoch: int
    ) -> dict[str, Tensor]:
        return self.objective(tensors, Progress(step, steps, epoch))


@dataclass
class Feed:
    """Where batches come from.

    Attributes:
        sampler: Its `epoch` and `start` are set before each pass; None for a fixed batch.
        batches: Those of one pass.
        length: Number of batches of a pass.
        validation: This process's share; None for no looks.
    """

    sampler: Any
    batches: Iterable[Batch]
    length: int
    validation: Iterable[Batch] | None


@dataclass
class Trainer:
    """A run.

    Attributes:
        fabric: Devices and precision, launched.
        config: Resolved settings.
        objective: What learns, weights already in it.
        feed: Batches.
        folder: Where states and weights go.
        steps: Of the whole run.
        counters: Where it is.
    """

    fabric: Fabric
    config: Config
    objective: Objective
    feed: Feed
    folder: Path
    steps: int
    counters: Counters = field(default_factory=Counters)
    stop_asked: bool = False

    def __post_init__(self) -> None:
        """Puts everything on the device."""
        self.model: Network = self.objective.model
        for module in self.objective.modules():
            if isinstance(module, Network):
                # Fitted on validation data afterwards.
                module.calibration.requires_grad_(False)
        learning = [p for p in self.objective.parameters() if p.requires_grad]
        self._raw = make_optimizer(self.config.optimizer, learning)
        self._module, self._optimizer = self.fabric.setup(_Step(self.objective), self._raw)
        self.ema: Ema | None = None
        if self.config.ema is not None:
            if self.objective.deployed is not self.model:
                raise ConfigError(
                    f'ema: the objective {self.config.objective.name!r} keeps an average of its '
                    'own, which is what is saved: set ema: null'
                )
            self.ema = Ema(self.model, self.config.ema.decay)
        self._epoch_meters, self._window = Meters(), Meters()
        self._watch = Watch(self.fabric.device, self.fabric.world_size)
        self._read_every = 1 if self.fabric.device.type == 'cpu' else _READ_EVERY
        self._waited = 0.0

    @property
    def deployed(self) -> Network:
        """The network that is validated and saved."""
        return self.objective.deployed if self.ema is None else self.ema.model

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        patience = self.config.validate.patience
        tired = patience is not None and self.counters.stale >= patience
        return self.counters.step >= self.steps or tired

    def run(self, journal: Journal) -> None:
        """Trains to the end, to early stopping, or until `stop_asked`.

        Args:
            journal: Is told of everything.

        Raises:
            DivergedError: The loss is no number any more; the last saved state is a good one.
            DataError: No sample of a batch can be read.
            OSError: The disk is full.
        """
        counters = self.counters
        if counters.step == 0:
            if self.config.start_from is not None and self.feed.validation is not None:
                self._look_first(journal)
            self.save()
        while not self.finished:
            began, seconds = time.monotonic(), counters.seconds
            first_step, self._waited = counters.step, 0.0
            if self.feed.sampler is not None:
                self.feed.sampler.sampler.epoch = counters.epoch
                self.feed.sampler.sampler.start = counters.in_epoch
            self.objective.train()
            asked = time.monotonic()
            for batch in self.feed.batches:
                self._waited += time.monotonic() - asked
                self._step(batch, journal)
                counters.seconds = seconds + time.monotonic() - began
                if self.stop_asked or counters.step >= self.steps:
                    break
                ends = counters.in_epoch >= self.feed.length
                if not ends and counters.step % self.config.save_every_steps == 0:
                    self.save()
                asked = time.monotonic()
            self._watch.check(self.folder / STATE)
            if self.stop_asked and counters.in_epoch < self.feed.length:
                self.save()
                return
            self._end_epoch(journal, counters.step - first_step, time.monotonic() - began)
            counters.seconds = seconds + time.monotonic() - began
            self.save()
            if self.stop_asked:
                return

    def _step(self, batch: Batch, journal: Journal) -> None:
        counters = self.counters
        counters.unreadable += len(batch.unreadable)
        if not len(batch):
            raise DataError(f'no sample of a batch can be read: {"; ".join(batch.unreadable)}')
        device = self.fabric.device
        tensors = {
            # Its metres need float64, which not every accelerator has.
            name: t if name == 'frame' else t.to(device, non_blocking=True)
            for name, t in batch.tensors.items()
        }
        step = counters.step
        rate = learning_rate(self.config.optimizer, self.config.schedule, step, self.steps)
        for group in self._raw.param_groups:
            group['lr'] = rate
        seed_step(self.config.seed, step, self.fabric.global_rank)
        losses = self._module(tensors, step, self.steps, counters.epoch)
        self.fabric.backward(losses[LOSS])
        norm = self.fabric.clip_gradients(
            self._module,
            self._optimizer,
            # An endless bound leaves gradients as they are, and still measures them.
            max_norm=self.config.clip_norm or math.inf,
            error_if_nonfinite=False,
        )
        self._optimizer.step()
        self._optimizer.zero_grad()
        counters.step += 1
        counters.in_epoch += 1
        self.objective.after_step(Progress(counters.step, self.steps, counters.epoch))
        if self.ema is not None:
            self.ema.update(self.model, counters.step)
        self._measure(losses, norm, batch.keys)
        shown = None
        if counters.step % self._read_every == 0:
            self._watch.check(self.folder / STATE)
            if counters.step % _READ_EVERY == 0:
                shown = self._read(journal, rate)
        journal.tick(counters.step, shown)

    def _measure(self, losses: dict[str, Tensor], norm: Tensor, keys: tuple[str, ...]) -> None:
        """Counts a step's numbers where they are."""
        names, values = scalars_of({**losses, 'grad_norm': norm})
        self._epoch_meters.add(names, values)
        self._window.add(names, values)
        # A scaler of half precision tries scales that are too large, and skips those steps.
        scaled = self.config.precision == '16-mixed'
        good = torch.isfinite(values[names.index(LOSS)])
        good = good if scaled else good & torch.isfinite(values[-1])
        self._watch.see(self.counters.step, keys, values, good)

    def _read(self, journal: Journal, rate: float) -> dict[str, float]:
        """Running means of the steps since the last reading."""
        self._window.share(self.fabric.world_size)
        shown = self._window.means()
        self._window = Meters()
        journal.scalars('train', {**shown, 'lr': rate}, self.counters.step)
        return shown

    def _end_epoch(self, journal: Journal, steps: int, seconds: float) -> None:
        counters = self.counters
        counters.epoch += 1
        counters.in_epoch = 0
        self.objective.after_epoch(Progress(counters.step, self.steps, counters.epoch))
        self._epoch_meters.share(self.fabric.world_size)
        means = self._epoch_meters.means()
        self._epoch_meters, self._window = Meters(), Meters()
        rate = learning_rate(
            self.config.optimizer, self.config.schedule, counters.step - 1, self.steps
        )
        speed = steps * self.config.batch_size / max(seconds, 1e-9)
        row: dict[str, Any] = {
            'step': counters.step,
            'epoch': counters.epoch,
            'lr': rate,
            'samples_per_s': round(speed, 3),
            'waited_for_data_percent': round(100 * self._waited / max(seconds, 1e-9), 1),
            **{f'train_{name}': value for name, value in means.items()},
        }
        text = f'epoch {counters.epoch}  step {counters.step}/{self.steps}  loss {means[LOSS]:.4g}'
        text += f'  {speed:.1f} samples/s  {journal.time_left(counters.step)} left'
        every = self.config.validate.every_epochs
        due = counters.epoch % every == 0 or counters.step >= self.steps
        if self.feed.validation is not None and due:
            metrics = self._look()
            row |= {f'validation_{name}': value for name, value in metrics.items()}
            journal.scalars('validation', metrics, counters.step)
            text += '  |  ' + _listed(metrics)
            text += '  (best)' if counters.stale == 0 else ''
        journal.row(row)
        journal.say(text)

    def _look_first(self, journal: Journal) -> None:
        """How good the weights are that training begins from: what it adds shows against it."""
        metrics = self._look()
        row = {f'validation_{name}': value for name, value in metrics.items()}
        journal.row({'step': 0, 'epoch': 0, **row})
        journal.scalars('validation', metrics, 0)
        journal.say('before training  |  ' + _listed(metrics))

    def _look(self) -> dict[str, float]:
        """Validates, and keeps the weights if none were better, or the last ones are wanted."""
        assert self.feed.validation is not None
        counters = self.counters
        if self.fabric.world_size > 1:
            # Statistics of BatchNorm are each process's own; the first one's are what is saved.
            for buffer in self.deployed.buffers():
                torch.distributed.broadcast(buffer, 0)
        metrics = validate(self.fabric, self.deployed, self.feed.validation)
        bad = badness(metrics, self.config.validate.metric)
        better = bad < counters.best or counters.best_epoch < 0
        if better:
            counters.best, counters.best_epoch, counters.stale = bad, counters.epoch, 0
        else:
            counters.stale += 1
        wanted = better or self.config.validate.keep == 'last'
        if wanted and self.fabric.is_global_zero:
            facts = {'epoch': counters.epoch, 'step': counters.step, **metrics}
            save_weights(self.folder / BEST, self.deployed, facts)
        return metrics

    def save(self) -> None:
        """Writes the state; only a good one."""
        self._watch.check(self.folder / STATE)
        for meters in (self._epoch_meters, self._window):
            meters.share(self.fabric.world_size)
        if not self.fabric.is_global_zero:
            return
        state = {
            'config': asdict(self.config),
            'counters': asdict(self.counters),
            'epoch_meters': self._epoch_meters.state(),
            'window': self._window.state(),
            'objective': self.objective.state_dict(),
            'optimizer': self._raw.state_dict(),
            'precision': self.fabric.strategy.precision.state_dict(),
            'ema': None if self.ema is None else self.ema.state_dict(),
        }
        save_state(self.folder / STATE, state)

    def restore(self, state: dict[str, Any]) -> None:
        """Goes on from a state that `save` wrote.

        Raises:
            BundleError: Its tensors do not fit.
        """
        source = str(self.folder / STATE)
        self.counters = Counters(**state['counters'])
        self._epoch_meters.restore(state['epoch_meters'], self.fabric.device)
        self._window.restore(state['window'], self.fabric.device)
        fill(self.objective, state['objective'], source)
        self._raw.load_state_dict(state['optimizer'])
        self.fabric.strategy.precision.load_state_dict(state['precision'])
        if self.ema is not None:
            fill(self.ema, state['ema'], source)


def _listed(values: dict[str, float]) -> str:
    return '  '.join(f'{name} {value:.4g}' for name, value in values.items())
