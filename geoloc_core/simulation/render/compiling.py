# SPDX-License-Identifier: Apache-2.0
"""How the kernels of this folder are compiled, and when a compiled one is out of date."""

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from numba import njit

_Function = TypeVar('_Function', bound=Callable[..., object])


def kernel(function: _Function) -> _Function:
    """Compiles without the interpreter lock, keeps the result on disk, reorders no sums."""
    compile_: Any = njit(cache=True, nogil=True, fastmath=False, error_model='numpy')
    compiled: Any = compile_(function)
    # Numba takes a stored kernel for current as long as its own file is. Kernels call those of
    # other files, so a stored one is current only if no file of this folder has changed.
    stored: Any = getattr(getattr(compiled, '_cache', None), '_cache_file', None)
    if stored is not None and hasattr(stored, '_source_stamp'):
        stored._source_stamp = _fingerprint()
    current: _Function = compiled
    return current


@lru_cache(maxsize=1)
def _fingerprint() -> str:
    """Digest of all sources of this folder."""
    digest = sha256()
    for path in sorted(Path(__file__).parent.glob('*.py')):
        digest.update(path.read_bytes())
    return digest.hexdigest()
