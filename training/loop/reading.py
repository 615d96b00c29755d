# SPDX-License-Identifier: Apache-2.0
"""YAML -> frozen dataclasses, strictly: a mistyped key is an error that names what was meant."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass, MISSING
import difflib
import math
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, Literal, TypeVar, Union

import yaml

from geoloc_core.errors import ConfigError
from training.ranges import OutOfRange

T = TypeVar('T')


class _Loader(yaml.SafeLoader):
    """YAML in which a key given twice is an error; PyYAML takes the last one silently."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict:
    seen = set()
    for key_node, _ in node.value:
        if key_node.tag == 'tag:yaml.org,2002:merge':
            # What `<<` brings in is there to be overridden.
            continue
        key = loader.construct_object(key_node, deep=True)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f'the key {key!r} is given twice', key_node.start_mark
            )
        seen.add(key)
    # Puts what is merged in front.
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read_yaml(path: Path | str) -> dict[str, Any]:
    """A file of settings.

    Raises:
        ConfigError: No such file, no YAML, or no mapping.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        near = ''
        if path.parent.is_dir():
            names = sorted(str(p.relative_to(path.parent)) for p in path.parent.glob('**/*.yaml'))
            near = _near(path.name, names) or (f'; there are {", ".join(names)}' if names else '')
        raise ConfigError(f'{path}: cannot be read ({error}){near}') from error
    try:
        data = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f'{path} is no YAML: {error}') from error
    if not isinstance(data, dict):
        raise ConfigError(f'{path}: expected a mapping (key: value), got {type(data).__name__}')
    return data


def override(data: dict[str, Any], settings: Iterable[str]) -> dict[str, Any]:
    """A copy of nested mappings with single values replaced.

    Args:
        data: As `read_yaml` gives it.
        settings: 'key.key=value', the value as YAML.

    Raises:
        ConfigError: No '=', no YAML, or a path through something that is no mapping.
    """
    data = _copied(data)
    for setting in settings:
        key, equals, text = setting.partition('=')
        if not equals or not key:
            raise ConfigError(f'--set {setting}: expected KEY=VALUE, such as optimizer.lr=1e-4')
        try:
            value = yaml.load(text, _Loader)
        except yaml.YAMLError as error:
            raise ConfigError(f'--set {setting}: {text!r} is no YAML ({error})') from error
        *path, last = key.split('.')
        at = data
        for depth, part in enumerate(path):
            inner = at.get(part)
            if inner is None:
                inner = at[part] = {}
            if not isinstance(inner, dict):
                where = '.'.join(path[: depth + 1])
                raise ConfigError(f'--set {setting}: {where} is {inner!r}, which has no keys')
            at = inner
        at[last] = value
    return data


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def build(kind: type[T], data: Any, where: str = '') -> T:
    """A dataclass from plain values, every one of the kind that its field is annotated with.

    Args:
        kind: The dataclass.
        data: A mapping.
        where: Path of keys that led here, for errors.

    Raises:
        ConfigError: An unknown or missing key, or a value that cannot be.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f'{where or "the file"}: expected a mapping (key: value), got {data!r}')
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            raise ConfigError(
                f'{_joined(where, key)}: there is no such key{_near(str(key), known)}; '
                f'known here: {", ".join(known)}'
            )
    made = {key: _value(_joined(where, key), data[key], hints[key]) for key in data}
    for f in fields(kind):  # type: ignore[arg-type]
        if f.name not in made and f.default is MISSING and f.default_factory is MISSING:
            raise ConfigError(f'{_joined(where, f.name)}: is missing, and must be given')
    try:
        return kind(**made)
    except OutOfRange as error:
        value = made.get(error.key)
        raise ConfigError(
            f'{_joined(where, error.key)}: expected {error.expected}, got {value!r}'
        ) from error


def plain(value: Any) -> Any:
    """Dataclasses, tuples and paths as YAML writes them."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def to_yaml(value: Any) -> str:
    """The text of a file that `read_yaml` and `build` turn into an equal value."""
    return yaml.safe_dump(plain(value), sort_keys=False, allow_unicode=True, width=99)


def _joined(where: str, key: Any) -> str:
    return f'{where}.{key}' if where else str(key)


def _near(word: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(word, list(known), n=2, cutoff=0.5)
    return f' - did you mean {" or ".join(repr(f) for f in found)}?' if found else ''


def _value(where: str, data: Any, kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (UnionType, Union):
        if data is None and type(None) in inner:
            return None
        return _one_of_kinds(where, data, [k for k in inner if k is not type(None)])
    if origin is Literal:
        if data not in inner:
            names = [str(i) for i in inner]
            raise ConfigError(
                f'{where}: expected one of {", ".join(names)}, got {data!r}'
                f'{_near(str(data), names)}'
            )
        return data
    if isinstance(kind, type) and is_dataclass(kind):
        return build(kind, data, where)
    if origin is tuple:
        return _items(where, data, inner)
    if kind is Any:
        return data
    if origin is dict:
        good = isinstance(data, Mapping)
    elif kind is float:
        # YAML 1.1 takes 1e-4, without a point, for text.
        data = _as_float(data)
        good = type(data) is float
    else:
        # type() rather than isinstance(): true is no number.
        good = type(data) is kind
    if not good:
        words = {float: 'a number', int: 'a whole number', str: 'text', bool: 'true or false'}
        raise ConfigError(f'{where}: expected {words.get(kind, "key: value pairs")}, got {data!r}')
    return dict(data) if origin is dict else data


def _one_of_kinds(where: str, data: Any, kinds: list[Any]) -> Any:
    for kind in kinds[:-1]:
        try:
            return _value(where, data, kind)
        except ConfigError:
            continue
    return _value(where, data, kinds[-1])


def _as_float(data: Any) -> Any:
    if isinstance(data, bool):
        return data
    try:
        number = float(data)
    except (TypeError, ValueError):
        return data
    return number if math.isfinite(number) else data


def _items(where: str, data: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise ConfigError(f'{where}: expected a list, got {data!r}')
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    if len(data) != len(kinds):
        raise ConfigError(f'{where}: expected {len(kinds)} values, got {data!r}')
    return tuple(
        _value(f'{where}[{i}]', item, kind)
        for i, (item, kind) in enumerate(zip(data, kinds, strict=True))
    )
