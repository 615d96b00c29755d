# SPDX-License-Identifier: Apache-2.0
"""python -m training.calibrate: fits what only `belief` uses, so that stated doubt is true.

The published losses leave these scalars alone; after training they are chosen by maximum
likelihood of the true poses of validation data (Guo et al., "On Calibration of Modern Neural
Networks", ICML 2017, for volumes of poses).
"""

import argparse
from collections.abc import Iterable, Mapping, Sequence
import math
from pathlib import Path
import sys
from typing import Any

import torch
from torch import Tensor

from geoloc_core.models.base import CrossViewModel, Outputs
from geoloc_core.models.belief import negative_log_likelihood
from geoloc_core.models.network import Network
from training.calibration_fit import Fit, fit_scalars
from training.objectives.base import run_model

TEXT = """Fits the calibration of trained WEIGHTS (temperatures, widths) on the validation split of
their run's settings, so that covariances and likelihoods can be believed. Training ends with this;
the command does it again, on other data or on weights that were trained on other data.

A network that learned from every frame of a place has none left to be calibrated on. --like takes
the calibration of its twin instead: the same recipe, trained with frames kept back.

examples:
  python -m training.calibrate out/train/ccvpe/model.safetensors
  python -m training.calibrate out/train/all_frames/model.safetensors \\
      --like out/train/frames_kept_back/model.safetensors
  python -m training.calibrate model.safetensors --config config/train/ccvpe.yaml --data DIR \\
      --set data.options.protocol='same-area aligned' --out aligned.safetensors"""


def fit_calibration(
    model: CrossViewModel,
    batches: Iterable,
    device: torch.device,
    *,
    max_samples: int = 512,
    max_bytes: int = 1 << 30,
) -> Fit:
    """Minimises the mean negative log-likelihood over `model.calibration`, in place.

    Args:
        model: Trained; its weights stay as they are.
        batches: Of validation data.
        device: Of the model.
        max_samples: Enough for a few scalars.
        max_bytes: Of stored outputs; the rest of the batches is not looked at.

    Returns:
        What it did. The scalars are as before if no better ones were found.
    """
    model.eval()
    scalars = dict(model.calibration.items())
    stored = _stored(model, batches, device, max_samples, max_bytes)
    samples = sum(len(truth) for _, truth in stored)
    if not scalars or not samples:
        before = _mean(model, stored, device) if samples else math.nan
        return Fit(samples, before, before)
    return fit_scalars(
        model,
        lambda: (_losses(model, outputs, truth, device) for outputs, truth in stored),
        samples,
    )


class _Watched(dict):
    """Outputs that remember which of them were asked for."""

    def __init__(self, values: Outputs) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Tensor:
        self.asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return super().get(name, default)


@torch.no_grad()
def _stored(
    model: CrossViewModel,
    batches: Iterable,
    device: torch.device,
    max_samples: int,
    max_bytes: int,
) -> list[tuple[Outputs, Tensor]]:
    """What `belief` needs of the network's outputs, in main memory, and the truth."""
    stored: list[tuple[Outputs, Tensor]] = []
    samples = used = 0
    for batch in batches:
        if samples >= max_samples:
            break
        if not len(batch):
            continue
        tensors = batch.to(device).tensors
        outputs = run_model(model, tensors)
        kept = _needed(model, outputs)
        size = sum(t.numel() * t.element_size() for t in kept.values())
        if stored and used + size > max_bytes:
            break
        stored.append(({n: t.cpu() for n, t in kept.items()}, tensors['truth'].cpu()))
        samples, used = samples + len(batch), used + size
    return stored


def _needed(model: CrossViewModel, outputs: Outputs) -> Outputs:
    watched = _Watched(outputs)
    model.belief(watched)
    kept = {name: t for name, t in outputs.items() if name in watched.asked}
    try:
        model.belief(kept)
    except (KeyError, TypeError):
        # Taken in a way that is not seen here: then all of them.
        return outputs
    return kept


def _losses(
    model: CrossViewModel, outputs: Outputs, truth: Tensor, device: torch.device
) -> Tensor:
    belief = model.belief({name: t.to(device) for name, t in outputs.items()})
    return negative_log_likelihood(belief, truth.to(device))


@torch.no_grad()
def _mean(
    model: CrossViewModel, stored: list[tuple[Outputs, Tensor]], device: torch.device
) -> float:
    return float(torch.cat([_losses(model, o, t, device) for o, t in stored]).mean())


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog='python -m training.calibrate',
        description=TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('weights', type=Path, metavar='WEIGHTS', help='.safetensors of training')
    parser.add_argument(
        '--config', type=Path, help='settings with the data; else config.yaml beside WEIGHTS'
    )
    parser.add_argument('--data', type=Path, metavar='DIR', help="the data set's folder")
    parser.add_argument('--out', type=Path, metavar='FILE', help='else WEIGHTS is replaced')
    parser.add_argument(
        '--like', type=Path, metavar='WEIGHTS', help='calibrated ones of a twin, to take it from'
    )
    parser.add_argument('--samples', type=int, default=512, metavar='N', help='at most (512)')
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', dest='settings',
        help='one setting (repeat)',
    )  # fmt: skip
    args = parser.parse_args(arguments)
    from geoloc_core.errors import GeolocError

    try:
        print(_calibrated(args).text if args.like is None else _taken(args))
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


def take_calibration(model: Network, twin: Network) -> dict[str, tuple[Any, Any]]:
    """Gives a network the calibration of another one of the same settings.

    Args:
        model: Changed in place, its weights left as they are.
        twin: Calibrated.

    Returns:
        Name -> (before, after) of each scalar.

    Raises:
        ConfigError: They are not of one recipe, so the doubt of one says nothing about the other.
    """
    from geoloc_core.errors import ConfigError

    if type(model) is not type(twin) or model.settings != twin.settings:
        raise ConfigError(
            f'--like: {twin.NAME} with {twin.settings} is no twin of {model.NAME} with '
            f'{model.settings}: train both with the same system and settings'
        )
    changes = {}
    with torch.no_grad():
        for name, scalar in model.calibration.items():
            before = scalar.tolist()
            scalar.copy_(twin.calibration[name])
            changes[name] = (before, scalar.tolist())
    return changes


def _taken(args: argparse.Namespace) -> str:
    """Takes a twin's calibration; what it did, in a line."""
    from geoloc_core.errors import ConfigError
    from geoloc_core.models.weights import load_weights, read_header, save_weights
    from training.export_samples import CALIBRATED_LIKE, CALIBRATION_FACTS

    if not CALIBRATION_FACTS & set(read_header(args.like).facts):
        raise ConfigError(
            f'--like {args.like}: these weights were never calibrated: name the model.safetensors '
            'of a run with a validation split, or calibrate them first'
        )
    model, twin = load_weights(args.weights), load_weights(args.like)
    changes = take_calibration(model, twin)
    facts = {**_others(read_header(args.weights).facts), CALIBRATED_LIKE: _run_of(args.like)}
    save_weights(args.out or args.weights, model, facts)
    words = ', '.join(f'{name} {old} -> {new}' for name, (old, new) in changes.items())
    return f'calibration of {args.like} taken: {words or "there is none"}'


def _others(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts beside weights that are not about the calibration they had."""
    from training.export_samples import CALIBRATED_LIKE, CALIBRATION_FACTS

    return {k: v for k, v in facts.items() if k not in CALIBRATION_FACTS | {CALIBRATED_LIKE}}


def _run_of(weights: Path) -> str:
    return weights.resolve().parent.name


def _calibrated(args: argparse.Namespace) -> Fit:
    """Reads, fits and writes what the command line names."""
    from geoloc_core.errors import ConfigError
    from geoloc_core.models.weights import load_weights, read_header, save_weights
    from training.families.registry import family_of
    from training.loop.data import validation_batches, Wanted
    from training.loop.settings import read_config

    if args.samples < 1:
        raise ConfigError(f'--samples {args.samples}: expected 1 or more')
    facts = read_header(args.weights).facts
    config = read_config(args.config or args.weights.parent / 'config.yaml', tuple(args.settings))
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    if config.devices.threads is not None:
        torch.set_num_threads(config.devices.threads)
    model = load_weights(args.weights, config.system.name, device)
    batches = validation_batches(
        config.data, Wanted(model), config.batch_size, root=args.data, mixed=True
    )
    fit = family_of(model).fit(model, batches, device, args.samples)
    if not fit.samples:
        raise ConfigError(
            'data.validation: not one sample could be read, or nothing is to be calibrated'
        )
    found = {'nll_before_calibration': fit.before, 'nll_after_calibration': fit.after}
    save_weights(args.out or args.weights, model, {**_others(facts), **found})
    return fit


if __name__ == '__main__':
    sys.exit(main())
