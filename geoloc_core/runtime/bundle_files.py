# SPDX-License-Identifier: Apache-2.0
"""The parts of a bundle, in a folder or in one file; nothing but its known parts is ever read.

The one file is a zip archive without compression: what is read is as large as the file, and every
tool can look into it. Names inside are compared with the known ones and never become paths.
"""

from collections.abc import Callable, Mapping
import hashlib
import io
from pathlib import Path
from typing import Protocol, TypeVar
import zipfile

from geoloc_core.errors import BundleError
from geoloc_core.export_record import ExportRecord
from geoloc_core.runtime.onnx_file import require_sound

WEIGHTS = 'model.onnx'
SAMPLE = 'sample.npz'
# The specification's name tells what family of networks a bundle is of.
SPECS = ('model.json', 'pose.json', 'descriptor.json')
PARTS = (WEIGHTS, SAMPLE, *SPECS)
# Of bundles in one file.
SUFFIX = '.geoloc'
MAX_WEIGHTS_BYTES = 2_000_000_000
MAX_SPEC_BYTES = 1_000_000
MAX_SAMPLE_BYTES = 100_000_000
_ENCRYPTED = 0x1


class Specification(Protocol):
    """What all specifications say of their weights."""

    @property
    def system(self) -> str:
        """The method, for people."""

    @property
    def sha256(self) -> str:
        """Of model.onnx."""

    @property
    def opset(self) -> int:
        """ONNX operator set."""

    @property
    def export(self) -> ExportRecord | None:
        """How it was made; None in bundles older than that."""


S = TypeVar('S', bound=Specification)


def read_part(bundle: Path, name: str, limit: int, spec: str = SPECS[0]) -> bytes:
    """Content of one part of a bundle.

    Args:
        bundle: Folder, or file.
        name: One of `PARTS`.
        limit: Bytes at most.
        spec: Name of the specification that such bundles have.

    Raises:
        BundleError: It cannot be read, or is larger.
    """
    try:
        if bundle.is_file():
            return _read_member(bundle, name, limit)
        path = bundle / name
        size = path.stat().st_size
        if size > limit:
            raise BundleError(f'{path} has {size} bytes, more than the {limit} allowed')
        return path.read_bytes()
    except OSError as error:
        raise BundleError(
            f'{bundle / name} cannot be read: {error.strerror}; a bundle is a folder, or a file '
            f'({SUFFIX}), with {WEIGHTS} and {spec}'
        ) from error


def parts_of(bundle: Path) -> tuple[str, ...]:
    """The known parts that a bundle has; none for what is no bundle.

    Raises:
        BundleError: It is a file, and not one that may be read.
    """
    if bundle.is_file():
        return tuple(name for name in PARTS if name in _members(bundle))
    return tuple(name for name in PARTS if (bundle / name).is_file())


def read_verified(bundle: Path, spec: str, parse: Callable[[str], S]) -> tuple[S, bytes]:
    """Specification and weights, which must be those that it names.

    Args:
        bundle: Folder, or file.
        spec: Name of the specification.
        parse: Its text -> the specification, which has `sha256` and `opset`.

    Raises:
        BundleError: A part is missing, too large, damaged, not what the specification says, or
            wants to read other files.
    """
    text = read_part(bundle, spec, MAX_SPEC_BYTES, spec)
    try:
        parsed = parse(text.decode('utf-8'))
    except (BundleError, UnicodeDecodeError) as error:
        raise BundleError(f'{bundle / spec}: {error}') from error
    weights = read_part(bundle, WEIGHTS, MAX_WEIGHTS_BYTES, spec)
    digest = hashlib.sha256(weights).hexdigest()
    if digest != parsed.sha256:
        raise BundleError(
            f'{bundle / WEIGHTS} has sha256 {digest}, but {spec} says {parsed.sha256}: the file '
            'is damaged or belongs to another bundle; copy the bundle again'
        )
    try:
        require_sound(weights, parsed.opset)
    except BundleError as error:
        raise BundleError(f'{bundle / WEIGHTS}: {error}') from error
    return parsed, weights


def one_file(parts: Mapping[str, bytes]) -> bytes:
    """A bundle as the content of one file; the same parts give the same bytes.

    Args:
        parts: Name, one of `PARTS` -> content.
    """
    made = io.BytesIO()
    with zipfile.ZipFile(made, 'w', zipfile.ZIP_STORED) as archive:
        for name in sorted(parts):
            # A fixed date: the file says nothing of when and where it was made.
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.external_attr = 0o644 << 16
            archive.writestr(info, parts[name])
    return made.getvalue()


def _read_member(bundle: Path, name: str, limit: int) -> bytes:
    members = _members(bundle)
    if name not in members:
        raise BundleError(f'{bundle} holds {", ".join(members) or "nothing"}, but no {name}')
    size = members[name].file_size
    if size > limit:
        raise BundleError(f'{bundle / name} has {size} bytes, more than the {limit} allowed')
    try:
        with zipfile.ZipFile(bundle) as archive:
            return archive.read(members[name])
    except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
        raise BundleError(f'{bundle / name} is damaged ({error}): copy it again') from error


def _members(bundle: Path) -> dict[str, zipfile.ZipInfo]:
    """The entries of a bundle in one file.

    Raises:
        BundleError: It is no such file, has an entry that none of ours has, or may not be read.
    """
    try:
        with zipfile.ZipFile(bundle) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise BundleError(
            f'{bundle} is damaged or no bundle in one file ({error}): copy it again'
        ) from error
    except OSError as error:
        raise BundleError(f'{bundle} cannot be read: {error.strerror}') from error
    found: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        if entry.filename not in PARTS or entry.filename in found:
            raise BundleError(
                f'{bundle} holds {entry.filename!r}, expected {", ".join(PARTS)}, each once at '
                'most: it is no bundle'
            )
        stored = entry.compress_type == zipfile.ZIP_STORED
        if not stored or entry.file_size != entry.compress_size or entry.flag_bits & _ENCRYPTED:
            raise BundleError(
                f'{bundle}: {entry.filename} is compressed or encrypted, parts of a bundle are '
                'stored as they are: unpack the file, and name the folder'
            )
        found[entry.filename] = entry
    return found
