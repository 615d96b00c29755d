# SPDX-License-Identifier: Apache-2.0
"""One input with the network's own answer, kept in a bundle: `sample.npz`.

What a machine makes of the input is compared with that answer (`geoloc model check`), so that a
runtime, a driver or a processor that calculates wrongly is found before it drives a robot.
"""

from dataclasses import dataclass
import io
from pathlib import Path
import zipfile

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError, DataError
from geoloc_core.formats.packed import read_npz
from geoloc_core.runtime.bundle_files import MAX_SAMPLE_BYTES, parts_of, read_part, SAMPLE

_INPUT, _ANSWER = 'input/', 'answer/'
_MAX_UNPACKED = 8 * MAX_SAMPLE_BYTES
Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ParitySample:
    """An input and the network's answer.

    Attributes:
        inputs: Name -> array, as the graph is fed.
        answers: Name of output -> what the network answered, before it was exported.
    """

    inputs: Arrays
    answers: Arrays

    def to_bytes(self) -> bytes:
        """Content of the file."""
        made = io.BytesIO()
        arrays = {_INPUT + name: value for name, value in self.inputs.items()}
        arrays.update({_ANSWER + name: value for name, value in self.answers.items()})
        with zipfile.ZipFile(made, 'w', zipfile.ZIP_DEFLATED) as archive:
            for name, value in sorted(arrays.items()):
                part = io.BytesIO()
                np.lib.format.write_array(
                    part, np.ascontiguousarray(value, np.float32), allow_pickle=False
                )
                # A fixed date: the same sample gives the same bytes.
                info = zipfile.ZipInfo(f'{name}.npy', (1980, 1, 1, 0, 0, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, part.getvalue())
        return made.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> 'ParitySample':
        """Reads the file; no pickle is ever opened.

        Raises:
            BundleError: It is damaged, or holds anything else.
        """
        try:
            packed = read_npz(io.BytesIO(content), _MAX_UNPACKED, SAMPLE)
            arrays = {name: np.asarray(value, np.float32) for name, value in packed.items()}
        except (DataError, ValueError) as error:
            raise BundleError(f'{SAMPLE} is damaged ({error}): copy the bundle again') from error
        parts: tuple[Arrays, Arrays] = ({}, {})
        for name, value in arrays.items():
            for prefix, part in zip((_INPUT, _ANSWER), parts, strict=True):
                if name.startswith(prefix):
                    part[name.removeprefix(prefix)] = value
        if not all(parts):
            raise BundleError(f'{SAMPLE} holds {sorted(arrays)}, expected inputs and answers')
        return cls(*parts)


def read_sample(bundle: Path) -> bytes:
    """Content of a bundle's sample; empty where it has none.

    Raises:
        BundleError: It cannot be read, is empty, or is larger than any sample.
    """
    if SAMPLE not in parts_of(bundle):
        return b''
    content = read_part(bundle, SAMPLE, MAX_SAMPLE_BYTES)
    if not content:
        raise BundleError(f'{bundle}: {SAMPLE} is damaged (it is empty): copy the bundle again')
    return content
