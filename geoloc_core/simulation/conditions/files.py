# SPDX-License-Identifier: Apache-2.0
"""Conditions by the name of a preset, from a dictionary, or from a YAML file."""

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from geoloc_core.errors import ConfigError
from geoloc_core.simulation.conditions.settings import Conditions, PRESETS


def parse_conditions(value: str | Path | Mapping[str, Any] | Conditions) -> Conditions:
    """Conditions from any of the forms in which a user gives them.

    A dictionary (or YAML file) may hold `preset`, on top of which `ground` and `aerial` change
    single settings::

        preset: easy
        ground: {rain: 1.0, exposure_ev: [-2, 2]}
        aerial: {shift_std_m: 2.5}

    Args:
        value: Name of a preset, path of a YAML file, a dictionary, or conditions as they are.

    Returns:
        The conditions.

    Raises:
        ConfigError: No such preset or file, damaged YAML, an unknown setting, a bad value.
    """
    if isinstance(value, Conditions):
        return value
    if isinstance(value, Mapping):
        return _from_mapping(value, 'conditions')
    name = str(value)
    if name in PRESETS:
        return PRESETS[name]
    if Path(name).suffix not in ('.yaml', '.yml'):
        raise ConfigError(
            f'conditions {name!r}: expected one of {", ".join(PRESETS)}, or a .yaml file with '
            'preset, ground and aerial'
        )
    return _from_mapping(_read(Path(name)), name)


def _read(path: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'conditions {path}: cannot be read ({error.strerror})') from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f'conditions {path}: not a YAML file: {error}') from error
    return {} if content is None else content


def _from_mapping(content: object, origin: str) -> Conditions:
    if not isinstance(content, Mapping):
        raise ConfigError(f'{origin}: expected settings by name, got {type(content).__name__}')
    _refuse_unknown(content, ('preset', 'ground', 'aerial'), origin)
    preset = content.get('preset', 'none')
    if preset not in PRESETS:
        raise ConfigError(f'{origin}: preset {preset!r}, expected one of {", ".join(PRESETS)}')
    base = PRESETS[preset]
    sides = {}
    for side in ('ground', 'aerial'):
        settings = content.get(side)
        settings = {} if settings is None else settings
        if not isinstance(settings, Mapping):
            raise ConfigError(f'{origin}: {side} must hold settings by name, got {settings!r}')
        known = [item.name for item in fields(getattr(base, side))]
        _refuse_unknown(settings, known, f'{origin}: {side}')
        sides[side] = replace(getattr(base, side), **dict(settings))
    return Conditions(**sides)


def _refuse_unknown(
    content: Mapping[Any, Any], known: tuple[str, ...] | list[str], origin: str
) -> None:
    unknown = [str(key) for key in content if key not in known]
    if unknown:
        raise ConfigError(
            f'{origin}: unknown setting {", ".join(unknown)}; known are {", ".join(known)}'
        )
