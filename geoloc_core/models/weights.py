# SPDX-License-Identifier: Apache-2.0
"""Weights on disk: tensors in one .safetensors file, what they belong to in its header.

Nothing in such a file is ever executed, and a file is either whole or not there: it is written
beside its place and moved there when it is complete.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
from typing import Any

from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch
from torch import nn, Tensor

from geoloc_core.errors import BundleError, ConfigError
from geoloc_core.models.network import Network
from geoloc_core.models.pretrained import without_pretrained
from geoloc_core.models.registry import known_models, make_model
from geoloc_core.whole_file import whole_file

FORMAT = 'geoloc weights'
VERSION = 1
_MAX_NAMED = 4
# The first bytes of what torch.save writes: an archive, or a bare pickle.
_PICKLES = (b'PK\x03\x04', b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')


@dataclass(frozen=True)
class WeightsHeader:
    """What a file of weights says of itself.

    Attributes:
        system: Name in `geoloc_core.models.registry`.
        settings: Of that system, all of them.
        facts: Whatever was noted when it was saved: epoch, metrics, commit.
    """

    system: str
    settings: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)


def save_weights(path: Path | str, model: Network, facts: Mapping[str, Any] | None = None) -> None:
    """Writes a model's weights; an older file stays whole until the new one is.

    Args:
        path: File to write; its folder is made.
        model: Any system of the registry.
        facts: Plain values to keep beside them.

    Raises:
        OSError: The disk is full or may not be written.
    """
    header = {
        'format': FORMAT,
        'version': str(VERSION),
        'system': model.NAME,
        'settings': json.dumps(model.settings_dict),
        'facts': json.dumps(dict(facts or {})),
    }
    save_tensors(Path(path), model.state_dict(), header)


def read_header(path: Path | str) -> WeightsHeader:
    """Reads what a file of weights belongs to, not the weights.

    Raises:
        BundleError: No such file, damaged, a pickle, or of another version.
    """
    path = Path(path)
    with _opened(path) as whole:
        header = dict(whole.metadata() or {})
    if header.get('format') != FORMAT:
        raise BundleError(
            f'{path} holds tensors, but no weights of geoloc (its format is '
            f'{header.get("format", "not stated")!r}): expected what training wrote'
        )
    if header.get('version') != str(VERSION):
        raise BundleError(
            f'{path} is of version {header.get("version")!r}, this program reads {VERSION}: '
            'use the program that wrote it, or train anew'
        )
    try:
        settings, facts = json.loads(header['settings']), json.loads(header['facts'])
        return WeightsHeader(header['system'], dict(settings), dict(facts))
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(f'{path}: its header is damaged ({error}): copy it again') from error


def load_weights(
    path: Path | str, system: str | None = None, device: torch.device | str = 'cpu'
) -> Any:
    """The model that a file describes, with its weights, in evaluation mode.

    It is a `Network` of the family that its system belongs to; see `registry.make_model`.

    Args:
        path: What `save_weights` wrote.
        system: Refuse every other one; None takes any.
        device: Where the model is to be.

    Raises:
        BundleError: Not such a file, of another system or version, or its tensors do not fit.
    """
    path = Path(path)
    header = read_header(path)
    if system is not None and header.system != system:
        raise BundleError(f'{path} holds weights of {header.system!r}, expected {system!r}')
    if header.system not in known_models():
        raise BundleError(
            f'{path} holds weights of {header.system!r}, which is not known here; known are '
            f'{", ".join(known_models())}'
        )
    try:
        # What a backbone began with is overwritten below, and its file may not be on this machine.
        with without_pretrained():
            model = make_model(header.system, header.settings)
    except (ConfigError, TypeError, ValueError) as error:
        raise BundleError(
            f'{path} was written by another version of {header.system}: {error}'
        ) from error
    fill(model, load_tensors(path)[1], str(path))
    return model.to(device).eval()


def load_into(model: Network, path: Path | str, part: str = '') -> WeightsHeader:
    """Replaces a model's weights by those of a file, as a beginning for more training.

    Args:
        model: Of the same system, built with settings that give the same tensors.
        path: What `save_weights` wrote.
        part: Attribute that the model is of another system, if so: a file of that one will do as
            well, and its part is taken.

    Raises:
        BundleError: Not such a file, of another system, or its tensors do not fit.
    """
    path = Path(path)
    header = read_header(path)
    tensors = load_tensors(path)[1]
    if header.system != model.NAME:
        prefix = f'{part}.'
        tensors = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        if not part or not tensors:
            raise BundleError(
                f'{path} holds weights of {header.system!r}, the model is a {model.NAME!r}: '
                'name weights of the same system'
            )
    fill(model, tensors, str(path))
    return header


def fill(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Puts tensors into a module that has exactly these.

    Args:
        module: To be filled.
        tensors: Name -> values.
        source: Said in errors.

    Raises:
        BundleError: One is missing, too many, or of another shape.
    """
    own = module.state_dict()
    missing, unknown = sorted(set(own) - set(tensors)), sorted(set(tensors) - set(own))
    shapes = [
        f'{name} is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}'
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    wrong = [f'lacks {_some(missing)}'] if missing else []
    wrong += [f'has unknown {_some(unknown)}'] if unknown else []
    wrong += [_some(shapes)] if shapes else []
    if wrong:
        raise BundleError(
            f'{source} does not fit this network: {"; ".join(wrong)}: build it with the settings '
            'it was trained with; if another version of geoloc wrote it, train it anew'
        )
    module.load_state_dict(dict(tensors))


def save_tensors(path: Path, tensors: Mapping[str, Tensor], header: Mapping[str, str]) -> None:
    """Writes tensors and words; the file appears when it is complete, and never half.

    Args:
        path: File to write; its folder is made.
        tensors: Name -> values, on any device.
        header: Name -> text.

    Raises:
        OSError: The disk is full or may not be written; an older file is as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Tensors that share memory are refused by the format: each gets its own.
    own = {name: t.detach().to('cpu', copy=True).contiguous() for name, t in tensors.items()}
    try:
        with whole_file(path) as unfinished:
            save_file(own, str(unfinished), dict(header))
            # The library makes files that nobody else may read.
            unfinished.chmod(0o666 & ~_umask())
    except SafetensorError as error:
        raise OSError(f'{path} cannot be written: {error}') from error


def load_tensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Header and tensors (on the CPU) of any safetensors file.

    Raises:
        BundleError: No such file, damaged, or a pickle.
    """
    with _opened(path) as whole:
        header = dict(whole.metadata() or {})
        return header, {name: whole.get_tensor(name) for name in whole.keys()}  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file of which nothing but the header has been read."""
    if not path.is_file():
        raise BundleError(f'{path}: no such file; expected weights (.safetensors)')
    try:
        with safe_open(str(path), framework='pt') as whole:
            yield whole
    except (SafetensorError, OSError, ValueError) as error:
        with path.open('rb') as file:
            start = file.read(4)
        if start.startswith(_PICKLES):
            raise BundleError(
                f'{path} is a pickle (torch.save): loading one runs whatever code is in it; '
                'convert it to safetensors on a machine where you trust it'
            ) from error
        raise BundleError(f'{path} is damaged or no safetensors file ({error})') from error


def _umask() -> int:
    """What new files of this process withhold; it can be asked for only by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _some(names: list[str]) -> str:
    more = f' and {len(names) - _MAX_NAMED} more' if len(names) > _MAX_NAMED else ''
    return ', '.join(names[:_MAX_NAMED]) + more
