# SPDX-License-Identifier: Apache-2.0
"""Built engines on disk: found again only by exactly what they were built from and for.

An engine is three files of one name: `.plan`, `.kernels` (what TensorRT-RTX compiled at first use;
may be absent) and `.json`, which says what the first is and appears last. A plan is a program: one
of another version, GPU or model, a torn one, or one in a folder that anybody may write to is never
run, it is built anew.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
import hashlib
import json
import os
from pathlib import Path

from geoloc_core.errors import EngineError
from geoloc_core.runtime.cuda import Gpu
from geoloc_core.runtime.engine import Shape
from geoloc_core.whole_file import write_whole

FORMAT = 1
_MAX_SIDECAR = 1_000_000
_DIGEST = 32


@dataclass(frozen=True)
class CacheEntry:
    """What a plan is: the content of its JSON file.

    Attributes:
        sha256: Of the ONNX graph.
        flavour: 'tensorrt' or 'tensorrt_rtx'.
        version: Of that library.
        gpu: Device it was built on and is only run on; '' for one built ahead of time.
        targets: For those: compute capabilities, such as '8.9'; none for all from 8.0 on.
        precision: Of the graph.
        shapes: Input name -> shape.
        plan_sha256: Of the plan.
        format: Version of this record.
    """

    sha256: str
    flavour: str
    version: str
    gpu: str
    targets: tuple[str, ...]
    precision: str
    shapes: Mapping[str, Shape]
    plan_sha256: str = ''
    format: int = FORMAT

    @property
    def stem(self) -> str:
        """Name of its files: one for each of everything but the plan's content."""
        told = json.dumps(_plain(replace(self, plan_sha256='')), sort_keys=True)
        return (
            f'{self.sha256[:16]}-{self.flavour}-{hashlib.sha256(told.encode()).hexdigest()[:16]}'
        )

    def difference(self, wanted: 'CacheEntry', gpu: Gpu) -> str:
        """Why this plan cannot be run for what is wanted on a device; '' if it can."""
        for name in ('format', 'sha256', 'flavour', 'version', 'precision', 'shapes'):
            mine, theirs = getattr(self, name), getattr(wanted, name)
            if mine != theirs:
                return f'its {name} is {_short(mine)}, not {_short(theirs)}'
        if self.gpu:
            return '' if self.gpu == str(gpu) else f'it was built on {self.gpu}, this is {gpu}'
        if self.targets:
            fits = gpu.capability in self.targets
        else:
            fits = tuple(int(part) for part in gpu.capability.split('.')) >= (8, 0)
        made = ', '.join(self.targets) or '8.0 and later'
        return '' if fits else f'it is for compute capability {made}, this is {gpu}'


@dataclass(frozen=True)
class CachedEngine:
    """A plan that may be run.

    Attributes:
        stem: Path of its files without their endings.
        plan: Content.
        kernels: Content, or nothing.
    """

    stem: Path
    plan: bytes
    kernels: bytes = b''


class EngineCache:
    """A folder of built engines.

    Attributes:
        folder: Where.
    """

    def __init__(self, folder: str | Path = '') -> None:
        """Names the folder; it is made when something is stored.

        Args:
            folder: Where; '' for the user's cache.
        """
        self.folder = Path(folder).expanduser() if str(folder) else default_folder()

    def find(self, wanted: CacheEntry, gpu: Gpu) -> tuple[CachedEngine | None, str]:
        """A plan for a network on a device.

        Args:
            wanted: What it must be; `gpu`, `targets` and `plan_sha256` are not looked at.
            gpu: The device.

        Returns:
            The plan or None; and why plans of this network were passed over, for people.
        """
        passed: list[str] = []
        try:
            sidecars = sorted(self.folder.glob(f'{wanted.sha256[:16]}-{wanted.flavour}-*.json'))
            self._require_trusted()
        except (OSError, EngineError) as error:
            return None, str(error)
        for sidecar in sidecars:
            try:
                entry = read_entry(sidecar)
                why = entry.difference(wanted, gpu)
                plan = b'' if why else sidecar.with_suffix('.plan').read_bytes()
            except (OSError, EngineError) as error:
                why = str(error)
            if not why and hashlib.sha256(plan).hexdigest() != entry.plan_sha256:
                why = 'its plan is damaged'
            if not why:
                return CachedEngine(sidecar.with_suffix(''), plan, _kernels(sidecar)), ''
            passed.append(f'{sidecar.name} is not used: {why}')
        return None, '; '.join(passed)

    def store(self, entry: CacheEntry, plan: bytes) -> CachedEngine:
        """Keeps a plan.

        Args:
            entry: What it is; its `plan_sha256` is filled in.
            plan: Content.

        Raises:
            EngineError: It cannot be written, as on a full disk; what was there before stays.
        """
        entry = replace(entry, plan_sha256=hashlib.sha256(plan).hexdigest())
        stem = self.folder / entry.stem
        text = json.dumps(_plain(entry), indent=2) + '\n'
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._require_trusted()
            # Without its description the old plan is none; so no description fits a wrong plan.
            for suffix in ('.json', '.kernels'):
                stem.with_suffix(suffix).unlink(missing_ok=True)
            write_whole(stem.with_suffix('.plan'), plan)
            write_whole(stem.with_suffix('.json'), text.encode())
        except OSError as error:
            raise EngineError(
                f'the engine cannot be kept in {self.folder} ({error.strerror}): it will be '
                'built again at the next start; make room or name another folder'
            ) from error
        return CachedEngine(stem, plan)

    def store_kernels(self, engine: CachedEngine, kernels: bytes) -> None:
        """Keeps what was compiled for a plan, if there is room; it can be done without."""
        if kernels and kernels != engine.kernels:
            with suppress(OSError):
                content = hashlib.sha256(kernels).digest() + kernels
                write_whole(engine.stem.with_suffix('.kernels'), content)

    def remove(self, engine: CachedEngine) -> None:
        """Forgets a plan that did not run."""
        with suppress(OSError):
            for suffix in ('.json', '.kernels', '.plan'):
                engine.stem.with_suffix(suffix).unlink(missing_ok=True)

    def _require_trusted(self) -> None:
        """Refuses a folder in which somebody else may have put a program.

        Raises:
            EngineError: It is one.
            OSError: It cannot be looked at.
        """
        if not self.folder.exists():
            return
        seen = self.folder.stat()
        if seen.st_uid not in (0, os.getuid()) or seen.st_mode & 0o002:
            raise EngineError(
                f'{self.folder} is not used: others may write to it, and engines are programs; '
                'make it yours alone (chmod go-w) or name another folder'
            )


def default_folder() -> Path:
    """Where engines are kept unless told otherwise."""
    root = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(root) / 'geoloc' / 'engines'


def read_entry(path: Path) -> CacheEntry:
    """The description of a plan.

    Raises:
        EngineError: It is none.
        OSError: It cannot be read.
    """
    if path.stat().st_size > _MAX_SIDECAR:
        raise EngineError('it is too large to describe an engine')
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise EngineError('it is not JSON') from error
    if not isinstance(data, dict) or set(data) != {f.name for f in fields(CacheEntry)}:
        raise EngineError('it does not describe an engine of this version of geoloc')
    shapes, targets = data['shapes'], data['targets']
    if not isinstance(shapes, dict) or not isinstance(targets, list):
        raise EngineError('it does not describe an engine')
    sides = {
        str(name): tuple(shape) if isinstance(shape, list) else ()
        for name, shape in shapes.items()
    }
    return CacheEntry(**{**data, 'shapes': sides, 'targets': tuple(targets)})


def _plain(entry: CacheEntry) -> dict[str, object]:
    return asdict(entry) | {'shapes': {name: list(s) for name, s in entry.shapes.items()}}


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:12] + '...'


def _kernels(sidecar: Path) -> bytes:
    """Kept kernels, or nothing where there are none or they are torn."""
    try:
        content = sidecar.with_suffix('.kernels').read_bytes()
    except OSError:
        return b''
    whole = hashlib.sha256(content[_DIGEST:]).digest() == content[:_DIGEST]
    return content[_DIGEST:] if whole else b''
