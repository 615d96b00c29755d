# SPDX-License-Identifier: Apache-2.0
"""The house rules, held by tests: lint, types, imports, paths, no torch on the robot."""

from importlib import metadata
from pathlib import Path
import re
import shutil
import subprocess
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
MACHINE_PATHS = re.compile(r'(/home/[a-z]+/|/mnt/[a-z]+|/w[o]rk/|C:\\\\Users)')


def tool(name: str) -> str:
    """Path of a console script beside the running interpreter, or skip."""
    path = Path(sys.executable).parent / name
    found = str(path) if path.exists() else shutil.which(name)
    if not found:
        pytest.skip(f'{name} is not installed')
    return found


def check(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


def test_ruff_finds_nothing():
    check(tool('ruff'), 'check', '.')


def test_code_is_formatted():
    check(tool('ruff'), 'format', '--check', '.')


def test_core_types_hold():
    check(tool('mypy'))


def test_imports_go_downward_only():
    check(tool('lint-imports'))


def tracked(*patterns: str) -> list[Path]:
    if not (ROOT / '.git').exists():
        return [path for pattern in patterns for path in ROOT.rglob(pattern)]
    names = subprocess.run(
        ['git', 'ls-files', '-z', *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in names.split('\0') if name and (ROOT / name).is_file()]


def test_no_path_of_one_machine_is_committed():
    found = [
        f'{path.relative_to(ROOT)}: {match.group()}'
        for path in tracked('*.py', '*.md', '*.yaml', '*.toml', 'Makefile', '*.cfg', '*.xml')
        if path != Path(__file__).resolve()
        for match in [MACHINE_PATHS.search(path.read_text(encoding='utf-8'))]
        if match
    ]
    assert not found, found


def test_files_can_be_read_in_one_sitting():
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked('geoloc_core/*.py', 'geoloc_ros/*.py')
        if (lines := len(path.read_text(encoding='utf-8').splitlines())) > 500
    }
    assert not long, long


def test_every_module_says_its_licence_and_purpose():
    for path in tracked('geoloc_core/*.py', 'geoloc_ros/*.py'):
        text = path.read_text(encoding='utf-8')
        assert text.startswith('# SPDX-License-Identifier: Apache-2.0\n"""'), path


@pytest.mark.parametrize('module', ['geoloc_core.localizer', 'geoloc_ros.assembly'])
def test_what_the_robot_imports_stays_light(module):
    """No torch, no plotting, no renderer, no bag tools where the node starts."""
    heavy = ('torch', 'matplotlib', 'embreex', 'numba', 'rosbags', 'onnx')
    code = f'import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == '[]'


def test_every_dependency_is_locked():
    lock = (ROOT / 'requirements.lock').read_text(encoding='utf-8')
    locked = {re.split(r'[=<>\s;]', line)[0] for line in lock.splitlines() if '==' in line}
    required = {
        re.split(r'[=<>;\s\[]', line)[0].lower()
        for line in metadata.requires('geoloc_ros') or pytest.skip('geoloc is not installed')
    }
    assert {'numpy', 'gtsam', 'rosbags', 'embreex', 'torch', 'ros-jazzy-rclpy'} <= locked
    assert required <= locked, required - locked


def test_torch_comes_only_for_training():
    named = [line for line in metadata.requires('geoloc_ros') or () if line.startswith('torch')]
    assert named and all('extra == "train"' in line.replace("'", '"') for line in named)
