# SPDX-License-Identifier: Apache-2.0
"""docs/datasets.md says what the code does: names, splits, options, examples."""

import inspect
from pathlib import Path
import re

import pytest
import yaml

from training.augmentation.pipeline import pipeline_from, STEPS
from training.datasets.registry import reader, READERS

PAGE = (Path(__file__).parents[2] / 'docs' / 'datasets.md').read_text(encoding='utf-8')
# Tables of other programs' objects, for Python only.
NOT_ON_THE_PAGE = {'seed', 'packets', 'datum', 'self'}


def example(language: str) -> str:
    return re.findall(rf'```{language}\n(.*?)```', PAGE, re.DOTALL)[-1]


@pytest.mark.parametrize('name', READERS)
def test_every_reader_is_on_the_page(name):
    assert f'| `{name}` |' in PAGE
    kind = reader(name)
    for split in kind.SPLITS:
        assert split.rpartition('-')[2] in PAGE
    if name == 'bag':
        # The rarer ones are left to `geoloc data list bag`.
        return
    options = {
        option
        for base in kind.__mro__
        for option, given in inspect.signature(base.__init__).parameters.items()
        if given.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for option in options - NOT_ON_THE_PAGE:
        assert re.search(rf'`{option}[`\s]', PAGE), f'{name}: {option}'


def test_examples_are_those_of_the_code():
    steps = yaml.safe_load(example('yaml'))
    assert len(pipeline_from(steps).steps) == len(steps)
    for step in STEPS:
        assert step in PAGE
    compile(example('python'), 'page', 'exec')
