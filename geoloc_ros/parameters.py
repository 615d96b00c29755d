# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the node, declared once: name, type, default, range and text.

The node's descriptors, `config/geoloc.yaml` and the README's table are all made from `PARAMETERS`,
and a test holds them together. Nothing here imports ROS, so that offline tools read the same file.
Settings of the estimator take default and text from its own records (`LocalizerConfig`, ...);
only their ranges are added here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
import difflib
import math
from pathlib import Path
import re
from typing import Any

import yaml

from geoloc_core.errors import ConfigError
from geoloc_ros.node_parameters import NODE_PARAMETERS
from geoloc_ros.parameter_ranges import ESTIMATOR_SETTINGS

TYPES = ('bool', 'integer', 'double', 'string', 'double_array')


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: Dotted; the first part is its group.
        type: One of `TYPES`.
        default: Value when nobody sets it; NaN stands for "not given".
        text: What it does, with its unit.
        low: Smallest allowed value of a number (of each element of an array), or None.
        high: Largest allowed value, or None.
        choices: Allowed values of a string; empty for any.
        dynamic: May be set while the node is configured; others need a cleanup first.
    """

    name: str
    type: str
    default: Any
    text: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    dynamic: bool = False

    @property
    def group(self) -> str:
        """The heading it stands under."""
        return self.name.split('.')[0] if '.' in self.name else 'general'

    @property
    def range_text(self) -> str:
        """Its range for people, '' if any value goes."""
        if self.choices:
            return ', '.join(f"'{c}'" for c in self.choices)
        if self.low is None and self.high is None:
            return ''
        low = '' if self.low is None else f'{self.low:g}'
        high = '' if self.high is None else f'{self.high:g}'
        return f'{low} .. {high}'

    def checked(self, value: Any) -> Any:
        """The value in this parameter's type.

        Raises:
            ConfigError: Of another type, or outside the range.
        """
        value = self._typed(value)
        numbers = value if isinstance(value, list) else [value]
        if self.type in ('integer', 'double', 'double_array'):
            for number in numbers:
                if isinstance(number, float) and math.isnan(number) and self._may_be_absent:
                    continue
                below = self.low is not None and not number >= self.low
                above = self.high is not None and not number <= self.high
                if below or above or not math.isfinite(number):
                    raise ConfigError(
                        f'parameter {self.name} is {value}, allowed is {self.range_text}'
                    )
        if self.choices and value not in self.choices:
            raise ConfigError(f'parameter {self.name} is {value!r}, allowed are {self.range_text}')
        return value

    @property
    def _may_be_absent(self) -> bool:
        values = self.default if isinstance(self.default, list) else [self.default]
        return any(isinstance(v, float) and math.isnan(v) for v in values)

    def _typed(self, value: Any) -> Any:
        good = {
            'bool': isinstance(value, bool),
            'integer': isinstance(value, int) and not isinstance(value, bool),
            'double': isinstance(value, (int, float)) and not isinstance(value, bool),
            'string': isinstance(value, str),
            'double_array': isinstance(value, (list, tuple))
            and all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value),
        }[self.type]
        if self.type == 'double_array' and good and len(value) != len(self.default):
            raise ConfigError(
                f'parameter {self.name} has {len(value)} values, expected {len(self.default)}'
            )
        if not good:
            raise ConfigError(
                f'parameter {self.name} is {value!r}, expected type {self.type.replace("_", " ")}'
            )
        if self.type == 'double':
            return float(value)
        return [float(v) for v in value] if self.type == 'double_array' else value


def _attribute_texts(record: type) -> dict[str, str]:
    """Attribute name -> text out of a record's Google-style docstring."""
    doc = (record.__doc__ or '').partition('Attributes:')[2]
    texts: dict[str, str] = {}
    name = ''
    for line in doc.splitlines():
        start = re.match(r'^        (\w+): (.*)$', line)
        if start:
            name = start.group(1)
            texts[name] = start.group(2).strip()
        elif name and line.strip():
            texts[name] += ' ' + line.strip()
    return texts


def _type_of(default: Any) -> str:
    if isinstance(default, (tuple, list)):
        return 'double_array'
    return {bool: 'bool', int: 'integer', float: 'double', str: 'string'}[type(default)]


def _of_record(prefix: str, record: Any, ranges: Mapping[str, Any]) -> Iterator[Parameter]:
    """Parameters of the fields of a settings record that `ranges` names."""
    texts = _attribute_texts(type(record))
    known = {f.name for f in fields(record)}
    for name, limit in ranges.items():
        # A range without its setting is an oversight for the tests, no reason not to start.
        if name not in known:
            continue
        default = getattr(record, name)
        default = list(default) if isinstance(default, tuple) else default
        yield Parameter(
            f'{prefix}.{name}', _type_of(default), default, texts.get(name, ''), **limit
        )


def _all() -> Iterator[Parameter]:
    for spec in NODE_PARAMETERS:
        yield Parameter(**spec)
    for prefix, record, ranges in ESTIMATOR_SETTINGS:
        yield from _of_record(prefix, record, ranges)


PARAMETERS: tuple[Parameter, ...] = tuple(_all())
_BY_NAME = {p.name: p for p in PARAMETERS}


def parameter(name: str) -> Parameter:
    """The declaration of a parameter.

    Raises:
        ConfigError: There is none of this name.
    """
    if name not in _BY_NAME:
        close = difflib.get_close_matches(name, _BY_NAME, n=1)
        hint = f'; did you mean {close[0]!r}?' if close else ''
        raise ConfigError(f'there is no parameter {name!r}{hint}')
    return _BY_NAME[name]


def is_foreign(name: str) -> bool:
    """Whether a name is one that ROS declares on every node, not geoloc."""
    return name in ('use_sim_time', 'start_type_description_service') or name.startswith(
        'qos_overrides.'
    )


def defaults() -> dict[str, Any]:
    """Name -> default of every parameter."""
    return {p.name: list(p.default) if p.type == 'double_array' else p.default for p in PARAMETERS}


def validated(values: Mapping[str, Any]) -> dict[str, Any]:
    """All parameters: the given ones checked, the defaults for the rest.

    Raises:
        ConfigError: An unknown name, a wrong type or a value out of range.
    """
    return defaults() | {name: parameter(name).checked(value) for name, value in values.items()}


def load_params_file(path: str | Path) -> dict[str, Any]:
    """All parameters, those of a ROS parameter file over the defaults.

    Sections `/**`, `geoloc`, `/geoloc` and `/**/geoloc` count; a plain mapping works too. Names
    that the node does not declare itself (use_sim_time, qos_overrides...) are left out.

    Raises:
        ConfigError: The file cannot be read, names an unknown parameter or a bad value.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'parameter file {path} cannot be read: {error.strerror}') from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        # YAML's errors draw the place over several lines.
        text = ' '.join(str(error).split())
        raise ConfigError(f'parameter file {path} is not YAML: {text}') from error
    if content is None:
        return defaults()
    if not isinstance(content, dict):
        raise ConfigError(f'parameter file {path} holds no mapping')
    sections = [
        body['ros__parameters']
        for node, body in content.items()
        if isinstance(body, dict)
        and 'ros__parameters' in body
        and str(node).rsplit('/', maxsplit=1)[-1] in ('**', 'geoloc')
    ]
    if not sections and not any(
        isinstance(b, dict) and 'ros__parameters' in b for b in content.values()
    ):
        sections = [content]
    values: dict[str, Any] = {}
    for section in sections:
        values.update(_flattened(section or {}))
    ours = {name: value for name, value in values.items() if not is_foreign(name)}
    try:
        return validated(ours)
    except ConfigError as error:
        raise ConfigError(f'{path}: {error}') from None


def _flattened(tree: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested mapping -> dotted names."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f'{prefix}{key}'
        if isinstance(value, Mapping):
            flat.update(_flattened(value, name + '.'))
        else:
            flat[name] = value
    return flat


def _groups() -> dict[str, list[Parameter]]:
    groups: dict[str, list[Parameter]] = {}
    for p in PARAMETERS:
        groups.setdefault(p.group, []).append(p)
    return groups


def yaml_value(value: Any) -> str:
    """A parameter's value as YAML that ROS reads as the same type."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, float):
        text = repr(value)
        # YAML 1.1 reads 1e-05 as a string: a float needs its point.
        if 'e' in text and '.' not in text:
            text = text.replace('e', '.0e')
        return '.nan' if math.isnan(value) else text
    if isinstance(value, list):
        return '[' + ', '.join(yaml_value(v) for v in value) + ']'
    return f"'{value}'" if isinstance(value, str) else str(value)


def yaml_text() -> str:
    """Content of config/geoloc.yaml: every parameter with its default, range and text."""
    lines = [
        '# SPDX-License-Identifier: Apache-2.0',
        '# Every parameter of the node `geoloc` with its default. Written by',
        '#   python -m geoloc_ros.parameters config/geoloc.yaml',
        '# Copy what you change into a file of your own. .nan means "not given".',
        '/**:',
        '  ros__parameters:',
    ]
    for group, members in _groups().items():
        indent = ' ' * 4
        if group != 'general':
            lines.append(f'{indent}{group}:')
            indent += '  '
        for p in members:
            note = f' [{p.range_text}]' if p.range_text else ''
            lines += [f'{indent}# {line}' for line in _wrapped(p.text + note, 92)]
            key = p.name.split('.', 1)[-1]
            lines.append(f'{indent}{key}: {yaml_value(p.default)}')
    return '\n'.join(lines) + '\n'


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or ['']


# A bar inside a Markdown cell (no backslash may stand in an f-string before Python 3.12).
BAR = '\\|'


def markdown_table() -> str:
    """The README's table of parameters, a section a group."""
    lines: list[str] = []
    for group, members in _groups().items():
        lines += [f'**{group}**', '', '| parameter | type | default | range | |', '|-|-|-|-|-|']
        for p in members:
            default = yaml_value(p.default)
            lines.append(
                f'| `{p.name}` | {p.type.replace("_", " ")} | `{default}` | {p.range_text} '
                f'| {p.text.replace("|", BAR)} |'
            )
        lines.append('')
    return '\n'.join(lines)


def write_into(path: str | Path) -> None:
    """Writes the YAML file, or the table between its marks in a Markdown file."""
    path = Path(path)
    if path.suffix != '.md':
        path.write_text(yaml_text(), encoding='utf-8')
        return
    before, begin, rest = path.read_text(encoding='utf-8').partition('<!-- parameters -->')
    _, end, after = rest.partition('<!-- /parameters -->')
    if not begin or not end:
        raise ConfigError(f'{path} lacks the marks <!-- parameters --> and <!-- /parameters -->')
    text = f'{before}{begin}\n\n{markdown_table()}\n{end}{after}'
    path.write_text(text, encoding='utf-8')


if __name__ == '__main__':
    import sys

    for target in sys.argv[1:]:
        write_into(target)
    if not sys.argv[1:]:
        print(markdown_table())
