# SPDX-License-Identifier: Apache-2.0
"""Dataclasses from JSON and back, strictly: how the specifications beside weights are read.

A key too many, a key too few or a value of the wrong kind is an error, because a model run with a
guessed setting gives poses that look right.
"""

from dataclasses import fields, is_dataclass
import json
import math
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, TypeVar

from geoloc_core.errors import BundleError

R = TypeVar('R')


def read_specification(file: str, text: str, kind: type[R], version: int) -> R:
    """A specification from the text of its file.

    Args:
        file: Its name, for errors.
        text: JSON with a `format`.
        kind: Its dataclass.
        version: The one `format` that is read.

    Raises:
        BundleError: It is no JSON, of another version, or not exactly what is expected.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise BundleError(f'{file} is not JSON: {error}') from error
    if isinstance(data, dict) and data.get('format', version) != version:
        # Said first: a file of another version differs in its keys as well.
        raise BundleError(f'format is {data["format"]}, this version reads {version}')
    return read_record(file, data, kind)


def read_record(file: str, data: Any, kind: type[R]) -> R:
    """A dataclass from a JSON object that has exactly its fields, of exactly their kinds.

    Only a field whose default is None may be absent.

    Args:
        file: Said in errors; its own fields are named without it.
        data: What `json.loads` gave.
        kind: The dataclass; fields may be dataclasses, tuples, or one of these or None.

    Raises:
        BundleError: A key too many or too few, or a value of another kind.
    """
    made = _record(file, data, kind, prefix='')
    assert isinstance(made, kind)
    return made


def write_record(record: Any) -> str:
    """The text that `read_record` reads."""
    return json.dumps(_plain(record), indent=2) + '\n'


def require(good: bool, message: str) -> None:
    """Refuses a value that cannot be.

    Raises:
        BundleError: It is not good; with this message.
    """
    if not good:
        raise BundleError(message)


def require_one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    """Refuses a word that has no meaning.

    Raises:
        BundleError: It is none of the allowed ones.
    """
    require(value in allowed, f'{name} is {value!r}, expected one of {allowed}')


def require_positive(name: str, value: float) -> None:
    """Refuses what is not finite and over zero.

    Raises:
        BundleError: It is not.
    """
    require(math.isfinite(value) and value > 0, f'{name} is {value}, expected a positive number')


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _value(name: str, data: Any, kind: Any) -> Any:
    """A value of exactly the kind that a field is annotated with."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _record(name, data, kind)
    if get_origin(kind) is UnionType:
        # The only union here: something, or null.
        return None if data is None else _value(name, data, get_args(kind)[0])
    if get_origin(kind) is tuple:
        return _items(name, data, get_args(kind))
    if kind is float:
        good = isinstance(data, (int, float)) and not isinstance(data, bool)
        require(good and math.isfinite(data), f'{name} must be a finite number, got {data!r}')
        return float(data)
    words = {str: 'text', int: 'a whole number', bool: 'true or false'}[kind]
    # type() rather than isinstance(): true is no number.
    require(type(data) is kind, f'{name} must be {words}, got {data!r}')
    return data


def _items(name: str, data: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    require(isinstance(data, list), f'{name} must be a list, got {data!r}')
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(data)
    require(len(data) == len(kinds), f'{name} must be a list of {len(kinds)}, got {data!r}')
    return tuple(_value(name, item, kind) for item, kind in zip(data, kinds, strict=True))


def _record(name: str, data: Any, kind: type, prefix: str | None = None) -> Any:
    """A dataclass from a JSON object with exactly its fields."""
    require(isinstance(data, dict), f'{name} must be an object, got {type(data).__name__}')
    hints = get_type_hints(kind)
    optional = {f.name for f in fields(kind) if f.default is None}
    unknown, missing = sorted(set(data) - set(hints)), sorted(set(hints) - set(data) - optional)
    require(not unknown, f'{name} has unknown keys {unknown}; known are {sorted(hints)}')
    require(not missing, f'{name} lacks {missing}')
    prefix = f'{name}.' if prefix is None else prefix
    given = {key: hint for key, hint in hints.items() if key in data}
    return kind(**{key: _value(prefix + key, data[key], hint) for key, hint in given.items()})
