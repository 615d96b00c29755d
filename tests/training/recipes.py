# SPDX-License-Identifier: Apache-2.0
"""What the recipes in config/train say in their heads."""

from pathlib import Path
import re

CONFIGS = Path(__file__).parents[2] / 'config' / 'train'


def published_backbone(path: Path) -> list[str]:
    """KEY=VALUE words of a recipe that bring its published backbone back; [] if it has none."""
    head = path.read_text(encoding='utf-8').partition('\nsystem:')[0]
    note = head.partition('# Backbones begin with ImageNet weights')[2]
    return re.findall(r'--set (\S+)', note)
