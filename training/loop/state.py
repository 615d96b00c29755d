# SPDX-License-Identifier: Apache-2.0
"""The state of a run on disk: tensors as safetensors, everything else as JSON in its header."""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geoloc_core.errors import BundleError
from geoloc_core.models.weights import load_tensors, save_tensors

FORMAT = 'geoloc training state'
VERSION = 1


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Writes a state; the one before stays whole until this one is.

    Args:
        path: File to write.
        state: Nested mappings and lists of tensors, numbers, words and None.

    Raises:
        OSError: The disk is full or may not be written.
    """
    tensors: dict[str, Tensor] = {}
    facts = _packed(state, '', tensors)
    header = {'format': FORMAT, 'version': str(VERSION), 'state': json.dumps(facts)}
    save_tensors(path, tensors, header)


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote, equal to the bit; tensors are on the CPU.

    Raises:
        BundleError: No such file, damaged, or of another version.
    """
    header, tensors = load_tensors(path)
    if header.get('format') != FORMAT or header.get('version') != str(VERSION):
        raise BundleError(
            f'{path} is no training state of version {VERSION}: it says '
            f'{header.get("format")!r} {header.get("version")!r}'
        )
    try:
        return _unpacked(json.loads(header['state']), tensors)
    except (KeyError, ValueError, TypeError) as error:
        raise BundleError(f'{path}: its header is damaged ({error})') from error


def _packed(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {'tensor': name}
    if isinstance(value, dict):
        # Pairs, since JSON would turn the numbers among the keys into text.
        return {'items': [[k, _packed(v, f'{name}.{k}', tensors)] for k, v in value.items()]}
    if isinstance(value, (list, tuple)):
        return {'list': [_packed(v, f'{name}.{i}', tensors) for i, v in enumerate(value)]}
    if value is None or isinstance(value, (bool, int, float, str)):
        return {'value': value}
    raise TypeError(f'{name} is a {type(value).__name__}, which a state cannot hold')


def _unpacked(fact: Any, tensors: dict[str, Tensor]) -> Any:
    if 'tensor' in fact:
        return tensors[fact['tensor']]
    if 'items' in fact:
        return {k: _unpacked(v, tensors) for k, v in fact['items']}
    if 'list' in fact:
        return [_unpacked(v, tensors) for v in fact['list']]
    return fact['value']


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seeds torch for the draws of one step, from what identifies the step alone.

    So there is no state of a generator to save: a resumed run draws what it would have drawn.

    Args:
        seed: Of the run.
        step: Steps before this one.
        rank: Of this process; each draws its own.
    """
    words = hashlib.blake2b(f'{seed} {step} {rank}'.encode(), digest_size=8).digest()
    # One bit less than there are: generators take signed numbers.
    torch.manual_seed(int.from_bytes(words, 'big') >> 1)
