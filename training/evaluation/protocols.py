# SPDX-License-Identifier: Apache-2.0
"""What a network may know beforehand, by the names that tables use."""

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any, TYPE_CHECKING

from geoloc_core.errors import ConfigError
from training.augmentation.geometric import RollPanorama
from training.augmentation.photometric import LimitFieldOfView
from training.augmentation.pipeline import Pipeline
from training.augmentation.prior import DrawPrior
from training.augmentation.step import Step

if TYPE_CHECKING:
    from geoloc_core.models.base import CrossViewModel


@dataclass(frozen=True)
class EvaluationProtocol:
    """How well the yaw is known.

    Attributes:
        name: In tables and on the command line.
        half_yaw_deg: The prior's yaw is uniform within plus or minus this of the truth.
        readers: Data sets it is for; empty for any.
        words: For people.
    """

    name: str
    half_yaw_deg: float
    readers: tuple[str, ...]
    words: str


PROTOCOLS: dict[str, EvaluationProtocol] = {
    p.name: p
    for p in (
        EvaluationProtocol('aligned', 0.0, (), 'yaw known'),
        EvaluationProtocol('pm45', 45.0, (), 'yaw within 45 degrees'),
        EvaluationProtocol('pm180', 180.0, (), 'yaw unknown'),
        EvaluationProtocol('kitti_pm10', 10.0, ('kitti',), 'KITTI, yaw within 10 degrees'),
        EvaluationProtocol('kitti_free', 180.0, ('kitti',), 'KITTI, yaw unknown'),
    )
}
AREAS = ('same', 'cross')
_VIGOR = {0.0: 'aligned', 45.0: '+-45', 180.0: '+-180'}
_KITTI_SPLIT = {'same': 'test1', 'cross': 'test2'}
# Bound of the prior's position error where a reader has none of its own, m.
DEFAULT_HALF_M = 20.0
# Yaws asked for where it is given: three bins, as narrow as those of networks for a known yaw.
GIVEN_YAW_DEG = 2.0


@dataclass(frozen=True)
class Opening:
    """How the data of an evaluation is opened.

    Attributes:
        split: Of the reader.
        options: Of the reader.
        augment: What is drawn anew, the same in every evaluation; None for nothing.
        half_yaw_deg: Of the protocol.
    """

    split: str
    options: dict[str, Any]
    augment: Pipeline | None
    half_yaw_deg: float


def protocol(name: str) -> EvaluationProtocol:
    """A protocol by name.

    Raises:
        ConfigError: No such name.
    """
    if name not in PROTOCOLS:
        raise ConfigError(f'no protocol is called {name!r}: choose one of {", ".join(PROTOCOLS)}')
    return PROTOCOLS[name]


def opening(
    rules: EvaluationProtocol,
    reader: str,
    area: str,
    split: str | None,
    *,
    fov_deg: float = 360.0,
    half_m: float | None = None,
    draws: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Opening:
    """How to open a data set so that its samples follow a protocol.

    VIGOR and KITTI draw the yaw, and KITTI the place, as their benchmarks do. For other readers
    the prior is drawn here: uniform within `half_m` and the protocol's yaw, panoramas turned too.

    Args:
        rules: The protocol.
        reader: Name in `training.datasets.registry`.
        area: 'same' or 'cross': whether test places are those of training.
        split: Of the reader; None for its test split.
        fov_deg: What is left visible of a panorama; 360 for all of it.
        half_m: Bound of the prior's position error, m; None leaves VIGOR's and KITTI's as they
            are.
        draws: Seed of all draws.
        options: Further options of the reader; they win.

    Raises:
        ConfigError: The protocol is not for this reader, or a value is out of range.
    """
    if rules.readers and reader not in rules.readers:
        raise ConfigError(
            f'protocol {rules.name} is for {" and ".join(rules.readers)}, not for {reader!r}: '
            'use aligned, pm45 or pm180'
        )
    if area not in AREAS:
        raise ConfigError(f'--area {area!r}: choose one of {", ".join(AREAS)}')
    if not 0 < fov_deg <= 360:
        raise ConfigError(f'--fov {fov_deg:g}: expected degrees, more than 0 and at most 360')
    given: dict[str, Any] = {'seed': draws}
    steps: list[Step] = []
    if reader == 'vigor':
        given['protocol'] = f'{area}-area {_VIGOR[rules.half_yaw_deg]}'
        split = split or 'test'
        if half_m is not None:
            # The tile stays; the patch is cut around the new prior.
            steps.append(DrawPrior(half_m, half_m, rules.half_yaw_deg))
    elif reader == 'kitti':
        given['rotation_deg'] = rules.half_yaw_deg
        split = split or _KITTI_SPLIT[area]
        if half_m is not None:
            given['shift_m'] = half_m
    else:
        split = split or 'test'
        bound = DEFAULT_HALF_M if half_m is None else half_m
        if rules.half_yaw_deg:
            # Else a network could take the way a panorama is stored for an answer.
            steps.append(RollPanorama(rules.half_yaw_deg))
        steps.append(DrawPrior(bound, bound, rules.half_yaw_deg))
    if fov_deg < 360:
        steps.append(LimitFieldOfView((fov_deg, fov_deg)))
    chain = Pipeline(tuple(steps), draws) if steps else None
    return Opening(split, {**given, **(options or {})}, chain, rules.half_yaw_deg)


def yaw_range_deg(model: 'CrossViewModel') -> float:
    """How far (degrees, either way) the yaw may be from the prior's for a network to say it.

    Raises:
        ConfigError: Its settings do not tell.
    """
    if model.inputs.turned == 'none':
        return 180.0
    half = getattr(model.settings, 'half_yaw_deg', None)
    if half is None:
        raise ConfigError(
            f'the settings of {model.NAME} have no half_yaw_deg, so nothing tells which protocols '
            'it can answer: give it one'
        )
    return float(half)


def require_range(model: 'CrossViewModel', rules: EvaluationProtocol) -> None:
    """Refuses a network that cannot answer with every yaw of a protocol.

    Raises:
        ConfigError: Its range is smaller than the protocol's.
    """
    half = yaw_range_deg(model)
    if half < rules.half_yaw_deg and not math.isclose(half, rules.half_yaw_deg):
        fitting = [p.name for p in PROTOCOLS.values() if p.half_yaw_deg <= half and not p.readers]
        raise ConfigError(
            f'this {model.NAME} answers with yaws within +-{half:g} degrees of the prior, but '
            f'protocol {rules.name} draws them within +-{rules.half_yaw_deg:g}: evaluate it with '
            f'{" or ".join(fitting)}, or train one with half_yaw_deg: {rules.half_yaw_deg:g}'
        )


def asked_yaws(model: 'CrossViewModel', rules: EvaluationProtocol) -> list[float] | None:
    """Yaw offsets (rad) to ask a network for that scores whatever yaws it is given.

    It is told what the protocol says of the yaw, as a robot tells it: the yaws of its own step
    that lie within the protocol's range, and one more on either side. None leaves it its own: it
    takes no yaws, or the protocol says no more than its settings.
    """
    if not getattr(model, 'takes_yaws', False):
        return None
    if rules.half_yaw_deg == 0:
        return [math.radians(deg) for deg in (-GIVEN_YAW_DEG, 0.0, GIVEN_YAW_DEG)]
    settings, half = model.settings, yaw_range_deg(model)
    # None stands for as many as in training.
    bins = int(getattr(settings, 'yaw_bins_evaluated', None) or settings.yaw_bins)
    step = math.radians(360 / bins if half >= 180 else 2 * half / (bins - 1))
    count = math.ceil(math.radians(rules.half_yaw_deg) / step - 1e-9) + 1
    if 2 * count + 1 >= bins:
        return None
    return [step * k for k in range(-count, count + 1)]


def degrees_of_freedom(rules: EvaluationProtocol, dof: int | None) -> int:
    """2 (x, y) where the yaw is given, else 3; or what was asked for, if it makes sense.

    Raises:
        ConfigError: Two degrees of freedom with a yaw that is not known.
    """
    if dof is None:
        return 2 if rules.half_yaw_deg == 0 else 3
    if dof not in (2, 3):
        raise ConfigError(f'--dof {dof}: expected 2 (x, y) or 3 (x, y, yaw)')
    if dof == 2 and rules.half_yaw_deg:
        raise ConfigError(
            f'--dof 2 with protocol {rules.name}: a position at an unknown yaw has three degrees '
            'of freedom. Turning the panorama back by the true yaw, as some published figures do, '
            'is the aligned protocol: use --protocol aligned, or --dof 3'
        )
    return dof
