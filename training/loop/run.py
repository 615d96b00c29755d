# SPDX-License-Identifier: Apache-2.0
"""One run from its settings to its weights: builds everything, trains, calibrates, sums up."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
import signal
import threading
from typing import Any

import torch

from geoloc_core.errors import ConfigError, GeolocError
from geoloc_core.models.base import parameter_count
from geoloc_core.models.weights import load_into, save_weights
from training.families.registry import family_of
from training.host import channels_together, keep_memory
from training.loop.build import (
    build_objective,
    make_fabric,
    make_feed,
    Options,
    overfitting,
    random_backbones,
)
from training.loop.data import validation_batches, Wanted
from training.loop.journal import environment, Journal, write_json, write_text
from training.loop.reading import plain, to_yaml
from training.loop.settings import Config, Named
from training.loop.state import load_state, seed_step
from training.loop.trainer import BEST, STATE, Trainer
from training.loop.validation import validate

WEIGHTS = 'model.safetensors'
# Samples at most; enough for a few scalars.
_CALIBRATED_ON = 512
# What may differ between a run and its continuation: it changes no number but by rounding.
_FREE = (
    'data.root',
    'data.train.root',
    'data.validation.root',
    'data.cache',
    'data.workers',
    'devices.',
    'save_every_steps',
    'validate.patience',
)


def train(config: Config, options: Options) -> int:
    """A whole run.

    Returns:
        Exit code: 0, or 130 when it was asked to stop before its end.

    Raises:
        GeolocError: Settings, data or weights cannot be used, or the loss diverged.
        OSError: The disk is full.
    """
    state_file = options.folder / STATE
    if state_file.exists() and not options.resume:
        raise ConfigError(
            f'{options.folder} holds a run: go on with it (--resume), choose another --out, or '
            'remove it'
        )
    keep_memory()
    fabric = make_fabric(config)
    if config.devices.threads is not None:
        torch.set_num_threads(config.devices.threads)
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    if options.overfit is not None:
        config = overfitting(config, options.overfit)
    if options.root is not None:
        # What evaluates this run later finds its data by its settings.
        config = replace(config, data=replace(config.data, root=str(options.root)))
    state = load_state(state_file) if state_file.exists() else None
    # Weights are drawn alike everywhere, and apart from the draws of any step.
    seed_step(config.seed, -1, 0)
    objective = build_objective(config, begun=state is not None)
    family_of(objective.model).require_metric(config.validate.metric)
    channels_together(objective)
    resolved = replace(
        config,
        system=Named(config.system.name, plain(objective.model.settings_dict)),
        objective=Named(config.objective.name, plain(objective.settings_dict)),
    )
    feed = make_feed(resolved, objective, fabric, options)
    steps = config.steps or (config.epochs or 1) * feed.length
    trainer = Trainer(fabric, resolved, objective, feed, options.folder, steps)
    if state is not None:
        _refuse_other(plain(state['config']), plain(resolved), state_file)
        trainer.restore(state)
    journal = Journal(
        options.folder, active=fabric.is_global_zero, step=trainer.counters.step, steps=steps
    )
    try:
        return _carried_out(trainer, journal, resumed=state is not None, options=options)
    except (GeolocError, OSError) as error:
        journal.note(f'error: {told(error, options.folder)}')
        raise
    finally:
        journal.close()


def told(error: Exception, folder: Path) -> str:
    """An error as a person is told of it.

    Args:
        error: Whatever ended a run.
        folder: Of the run.
    """
    text = str(error)
    if 'DataLoader worker process' in text:
        # Workers send the whole traceback along; its last line is what was said.
        text = text.strip().splitlines()[-1].partition(': ')[2]
    if isinstance(error, OSError) and (folder / STATE).exists():
        text += (
            f'. The last good state, {folder / STATE}, is whole: make room if the disk is full, '
            'then go on with --resume'
        )
    return text


def _carried_out(trainer: Trainer, journal: Journal, *, resumed: bool, options: Options) -> int:
    fabric, config, counters = trainer.fabric, trainer.config, trainer.counters
    facts = environment(fabric.device)
    if fabric.is_global_zero:
        write_text(options.folder / 'config.yaml', to_yaml(config))
        write_json(options.folder / 'environment.json', facts)
    model = trainer.model
    journal.say(
        f'{config.system.name}: {parameter_count(model) / 1e6:.3f} M parameters, objective '
        f'{config.objective.name}, {fabric.world_size} x {facts["device"]}, '
        f'{trainer.feed.length} steps an epoch, {trainer.steps} in all -> {options.folder} '
        f'(geoloc {facts["geoloc"]}, commit {(facts["commit"] or "unknown")[:10]})'
    )
    if resumed:
        journal.say(f'goes on after step {counters.step} (epoch {counters.epoch})')
    elif options.resume:
        journal.say(f'there is no {STATE} in {options.folder} yet: a new run')
    if not resumed:
        for words in random_backbones(config):
            journal.say(words)
    with _heeding_signals(trainer):
        trainer.run(journal)
    if not trainer.finished:
        journal.say(f'stopped after step {counters.step}; --resume goes on from there')
        return 130
    fabric.barrier()
    # What remains needs no other process.
    if fabric.is_global_zero:
        _finish(trainer, journal, options)
    return 0


def _finish(trainer: Trainer, journal: Journal, options: Options) -> None:
    """Best weights, calibrated, into one file, and what there is to know about them."""
    counters, config, folder = trainer.counters, trainer.config, options.folder
    model = trainer.deployed
    facts: dict[str, Any] = {'step': counters.step, 'epoch': counters.epoch}
    if counters.best_epoch >= 0:
        facts |= load_into(model, folder / BEST).facts
    if counters.step < trainer.steps:
        journal.say(
            f'stopped early: {counters.stale} looks without a better '
            f'{config.validate.metric} than that of epoch {counters.best_epoch}'
        )
    if config.data.validation is not None and options.overfit is None:
        facts |= _calibrated(trainer, journal, options)
    save_weights(folder / WEIGHTS, model, facts)
    summary = {
        **facts,
        'parameters': parameter_count(model),
        'steps_done': counters.step,
        'samples_seen': counters.step * config.batch_size,
        'unreadable_samples': counters.unreadable,
        'seconds': round(counters.seconds, 1),
    }
    write_json(folder / 'summary.json', summary)
    shown = [f'{k} {v:.4g}' for k, v in facts.items() if isinstance(v, float)]
    journal.say(
        f'done: {counters.step} steps, {summary["samples_seen"]} samples in '
        f'{timedelta(seconds=round(counters.seconds))}; epoch {facts["epoch"]}: {", ".join(shown)}'
    )
    if counters.unreadable:
        journal.say(f'{counters.unreadable} samples could not be read and were left out')
    journal.say(f'weights: {folder / WEIGHTS}')


def _calibrated(trainer: Trainer, journal: Journal, options: Options) -> dict[str, float]:
    """Fits the calibration; gives the figures of the whole validation split with it."""
    fabric, config, model = trainer.fabric, trainer.config, trainer.deployed
    wanted = Wanted(model)
    few = validation_batches(config.data, wanted, config.batch_size, root=options.root, mixed=True)
    with fabric.autocast():
        fit = family_of(model).fit(model, few, fabric.device, _CALIBRATED_ON)
    journal.say(fit.text)
    batches = validation_batches(config.data, wanted, config.batch_size, root=options.root)
    metrics = validate(fabric, model, batches, alone=True)
    journal.scalars('calibrated', metrics, trainer.counters.step)
    if not fit.samples:
        return metrics
    before_after = {'nll_before_calibration': fit.before, 'nll_after_calibration': fit.after}
    return {**before_after, **metrics}


def _refuse_other(before: dict, now: dict, path: Path) -> None:
    """Refuses to go on with settings that would make it another run.

    Raises:
        ConfigError: One differs.
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key) and not key.startswith(_FREE):
            raise ConfigError(
                f'{key}: the run in {path} has {old.get(key)!r}, now it is {new.get(key)!r}: '
                'resume with the same settings, or begin a new run with another --out'
            )


def _flat(value: Any, prefix: str = '') -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        pairs = [_flat(v, f'{prefix}.{k}' if prefix else str(k)) for k, v in value.items()]
        return [pair for part in pairs for pair in part]
    return [(prefix, value)]


@contextmanager
def _heeding_signals(trainer: Trainer) -> Iterator[None]:
    """Lets Ctrl-C and a polite kill end a run after its step, with its state saved."""

    def stop(number: int, _: Any) -> None:
        trainer.stop_asked = True
        # The second time it ends at once.
        signal.signal(number, signal.SIG_DFL)

    # Of many processes each would stop at another step, and wait for the others for ever; and
    # only the main thread may say what a signal does.
    heeded = trainer.fabric.world_size == 1
    heeded = heeded and threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGINT, signal.SIGTERM) if heeded else ()
    before = [(number, signal.signal(number, stop)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
