# SPDX-License-Identifier: Apache-2.0
"""docs/training.md, docs/systems.md and the README say what the code does."""

import argparse
from dataclasses import fields
import importlib
import inspect
from pathlib import Path
import re
import shlex

import pytest
import yaml

from geoloc_core.models.backbones.registry import BACKBONES
from geoloc_core.models.base import parameter_count, settings_from
from geoloc_core.models.pretrained import without_pretrained
from geoloc_core.models.registry import make_model, model_class, MODELS
from geoloc_ros.cli.main import build_parser
from training.augmentation.pipeline import pipeline_from
from training.datasets.registry import reader
from training.evaluation.protocols import PROTOCOLS
from training.loop.reading import build
from training.loop.settings import Config, Data, read_config
from training.objectives.registry import OBJECTIVES
from training.train import TEXT
from training.visualize import KINDS

ROOT = Path(__file__).parents[2]
TRAINING, SYSTEMS, README = (
    (ROOT / name).read_text(encoding='utf-8')
    for name in ('docs/training.md', 'docs/systems.md', 'README.md')
)
PAGES = {'training': TRAINING, 'systems': SYSTEMS, 'README': README}
RECIPES = sorted((ROOT / 'config/train').glob('**/*.yaml'))


class Parsed(Exception):
    """A parser accepted its arguments; nothing was run."""


# Other tests put networks of their own beside them.
SHIPPED = [name for name in MODELS if not name.startswith('tiny')]


def commands(page: str) -> list[list[str]]:
    """Words of every command in a page's shell blocks, comments left out."""
    found = []
    for block in re.findall(r'```bash\n(.*?)```', page, re.DOTALL):
        for line in block.replace('\\\n', ' ').splitlines():
            if words := shlex.split(line, comments=True):
                found.append(words)
    return found


def all_commands() -> list:
    return [
        pytest.param(words, id=f'{page}: {" ".join(words)}')
        for page, text in PAGES.items()
        for words in commands(text)
    ]


def accepted(monkeypatch, module: str, arguments: list[str]) -> argparse.Namespace:
    """What the real parser of a command makes of its arguments."""
    parse = argparse.ArgumentParser.parse_args
    seen = []

    def parse_and_stop(self, args=None, namespace=None):
        seen.append(parse(self, args, namespace))
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_args', parse_and_stop)
    name = f'{module}.__main__' if module == 'training.results' else module
    with pytest.raises(Parsed):
        importlib.import_module(name).main(arguments)
    return seen[0]


def test_pages_have_commands():
    assert len(commands(TRAINING)) > 20 and len(commands(README)) > 10


def targets() -> dict[str, str]:
    """Targets of the Makefile with their help."""
    text = (ROOT / 'Makefile').read_text(encoding='utf-8')
    return dict(re.findall(r'^([a-z-]+):.*?## (.+)$', text, re.MULTILINE))


@pytest.mark.parametrize('words', all_commands())
def test_every_command_is_one(words, monkeypatch):
    if words[0] == 'torchrun':
        words = ['python', *words[words.index('-m') :]]
    if words[0] == 'make':
        assert words[1] in targets()
        for word in words[2:]:
            name, _, value = word.partition('=')
            assert name == 'DEMO_ARGS'
            build_parser().parse_args(['demo', *shlex.split(value)])
    elif words[0] == 'geoloc':
        build_parser().parse_args(words[1:])
    elif words[:2] == ['python', '-m']:
        args = accepted(monkeypatch, words[2], words[3:])
        if words[2] == 'training.train':
            config = read_config(ROOT / args.config, tuple(args.settings))
            kind = model_class(config.system.name).Settings
            settings_from(kind, config.system.settings, config.system.name)


@pytest.mark.parametrize('page', PAGES)
def test_every_path_is_there(page):
    text = PAGES[page]
    folders = 'config|docs|geoloc_core|training|tests|launch'
    for path in re.findall(rf'(?<![\w/.-])((?:{folders})/[\w/.-]*\w)', text):
        # Written by a command, once there are results.
        if path == 'training/RESULTS.md':
            continue
        if '<' in text[text.index(path) + len(path) :][:2]:
            continue
        assert (ROOT / path).exists() or (ROOT / f'{path}.py').exists(), path


@pytest.mark.parametrize('page', ('training', 'systems'))
def test_links_lead_somewhere(page):
    for target in re.findall(r'\]\(([^)]+)\)', PAGES[page]):
        file, _, heading = target.partition('#')
        text = (ROOT / 'docs' / file).read_text(encoding='utf-8') if file else PAGES[page]
        headings = [h.lower().replace(' ', '-') for h in re.findall(r'^#+ (.+)$', text, re.M)]
        assert not heading or heading in headings, target


@pytest.mark.parametrize('recipe', RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_mentioned(recipe):
    assert recipe.name in SYSTEMS + TRAINING


def test_recipes_on_the_page_exist():
    known = {recipe.name for recipe in RECIPES}
    assert set(re.findall(r'`(\w+\.yaml)`', SYSTEMS)) <= known
    for name, section in sections().items():
        assert re.findall(r'`(\w+\.yaml)`', section), f'{name} names no recipe'


def sections() -> dict[str, str]:
    parts = re.split(r'^## (\w+)\n', SYSTEMS, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_system_has_its_section_and_no_other():
    assert list(sections()) == list(SHIPPED)


@pytest.mark.parametrize('name', SHIPPED)
def test_sections_say_what_the_networks_are(name):
    with without_pretrained():
        model = make_model(name)
    row = next(line for line in SYSTEMS.splitlines() if line.startswith(f'| [{name}]'))
    section = sections()[name]
    count = f'{parameter_count(model) / 1e6:.2f} M'
    assert count in row.split('|')[6]
    assert count in section
    for scalar in model.calibration:
        assert f'`{scalar}`' in section
    settings = model.settings
    cameras = {*model.inputs.camera_kinds}
    if hasattr(settings, 'camera') or hasattr(settings, 'localizer'):
        cameras.add('pinhole')
    said = row.split('|')[2].replace('panorama', 'equirectangular')
    assert {word.strip() for word in said.split(',')} == cameras
    assert ('asked for' in row) == getattr(model, 'takes_yaws', False)


def test_the_page_knows_all_names():
    for name in (*PROTOCOLS, *KINDS, *(f.name for f in fields(Config))):
        assert f'`{name}`' in TRAINING, name
    named = re.findall(r'`((?:efficientnet|vgg|resnet|dinov2|convnext)\w*)`', TRAINING)
    assert named and set(named) <= set(BACKBONES)
    families = {re.match(r'[a-z]+', name).group() for name in BACKBONES}
    assert families <= {re.match(r'[a-z]+', name).group() for name in named} | {'convnextv'}


def test_files_of_a_run_are_those_of_the_help():
    table = re.findall(r'^\| `([\w./]+)` \|', TRAINING, re.MULTILINE)
    said = re.findall(r'^  ([\w/]+\.?\w+/?)  ', TEXT, re.MULTILINE)
    assert len(said) == 9
    assert [name for name in table if name in said] == said


def test_the_piece_of_a_recipe_can_be_read():
    (block,) = re.findall(r'```yaml\n(.*?)```', TRAINING, re.DOTALL)
    data = build(Data, yaml.safe_load(block), 'data')
    pipeline_from(list(data.augment))
    known = inspect.signature(reader(data.reader).__init__).parameters
    assert set(data.options) <= set(known)
    assert {data.train.split, data.validation.split} <= set(reader(data.reader).SPLITS)


def test_objectives_that_pages_name_exist():
    assert '`volume`' in TRAINING and 'volume' in OBJECTIVES
    assert '`focused_volume`' in SYSTEMS and 'focused_volume' in OBJECTIVES


def test_targets_that_the_readme_names_exist():
    assert 'bench-systems' in targets()
    assert set(re.findall(r'`make ([a-z-]+)', README)) <= set(targets())
