# SPDX-License-Identifier: Apache-2.0
"""world.json: how a rendered data set was made, so that it can be continued, and made again."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
import json
from pathlib import Path
from typing import Any

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.simulation.layouts import files

NAME = 'world.json'
_BLOCK = 1 << 20


def claim(root: Path, options: Mapping[str, Any]) -> bool:
    """Takes a folder for a data set, or takes one up again.

    Args:
        root: The folder; made if it does not exist.
        options: All that decides about the bytes; JSON types only.

    Returns:
        Whether the data set is complete already.

    Raises:
        ConfigError: The folder holds something else, or was made with other options.
        DataError: Its world.json is damaged.
    """
    path = root / NAME
    if path.exists():
        try:
            found = json.loads(path.read_text())
            made, complete = found['options'], bool(found['complete'])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f'{path} is damaged ({error}): remove {root} and render anew'
            ) from error
        if made != _plain(options):
            raise ConfigError(
                f'{root} holds a data set made with other options: {_differences(made, options)}; '
                'name another folder, or remove that one'
            )
        return complete
    if root.is_dir() and any(entry.name != files.PARTIAL for entry in root.iterdir()):
        raise ConfigError(
            f'{root} is not empty and has no {NAME}: name a new folder, nothing is mixed'
        )
    root.mkdir(parents=True, exist_ok=True)
    _write(root, {'options': _plain(options), 'complete': False})
    return False


def seal(root: Path, options: Mapping[str, Any], counts: Mapping[str, int]) -> dict[str, Any]:
    """Writes the final world.json of a complete data set.

    Returns:
        What it says: options, counts, number and bytes of the files, `tree_sha256` over the
        sorted lines '<sha256>  <path>' of all of them.
    """
    paths = sorted(
        path
        for path in root.rglob('*')
        if path.is_file() and path != root / NAME and files.PARTIAL not in path.parts
    )
    with ThreadPoolExecutor() as pool:
        digests = list(pool.map(_digest, paths))
    lines = ''.join(
        f'{digest}  {path.relative_to(root).as_posix()}\n'
        for digest, path in zip(digests, paths, strict=True)
    )
    content = {
        'options': _plain(options),
        'complete': True,
        'counts': dict(counts),
        'files': len(paths),
        'bytes': sum(path.stat().st_size for path in paths),
        'tree_sha256': sha256(lines.encode()).hexdigest(),
    }
    _write(root, content)
    return content


def _write(root: Path, content: Mapping[str, Any]) -> None:
    files.write_bytes(root, root / NAME, (json.dumps(content, indent=2) + '\n').encode())


def _plain(options: Mapping[str, Any]) -> Any:
    """As JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(options))


def _digest(path: Path) -> str:
    digest = sha256()
    with path.open('rb') as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _differences(made: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    wanted = _plain(wanted)
    names = sorted({*made, *wanted})
    return '; '.join(
        f'{name} was {_short(made.get(name))}, now {_short(wanted.get(name))}'
        for name in names
        if made.get(name) != wanted.get(name)
    )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f'{text[:57]}...'
