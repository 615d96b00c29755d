# SPDX-License-Identifier: Apache-2.0
"""GeoDistill: a student that sees part of a view learns to place it like a teacher that sees all.

Reference: "GeoDistill: Geometry-Guided Self-Distillation for Weakly Supervised Cross-View
Localization" (arXiv 2507.10935, ICCV 2025). Both begin as the same trained network. No label of
any kind is used: the loss is the cross-entropy between two maps of scores, and the teacher follows
the student as a moving average. The teacher is what is validated and saved.

As published, a localizer of the G2SWeakly kind has the hidden strip blackened in the picture and,
laid on the ground, taken out of its features and its confidence; CCVPE has it taken out of its
descriptor. The masks that the paper tries beside its own are here as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn, Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError
from geoloc_core.models.base import CrossViewModel, normalise
from geoloc_core.models.ccvpe import Ccvpe
from geoloc_core.models.g2sweakly import G2SWeakly
from training.objectives.base import LOSS, Objective, Progress
from training.objectives.teacher import follow, make_teacher
from training.objectives.view_masks import (
    draw_cells,
    draw_strip,
    hide_most_active,
)

MASKS = ('field_of_view', 'most_active', 'cells', 'none')
TARGETS = ('teacher', 'peak')


@dataclass(frozen=True)
class DistillationSettings:
    """Settings of `Distillation`; the defaults are those published for VIGOR.

    Attributes:
        mask: What the student is not shown: all but a field of view; the most active cells of its
            features; cells drawn at random (columns, for a descriptor); or nothing.
        visible: Least and most share of the view's width in a field of view.
        wraps: Whether a field of view may lie across a panorama's seam; the paper's never does.
        most_active: Share of the cells hidden by 'most_active'.
        hidden: Least and most share hidden by 'cells'.
        cell_px: Side of those cells.
        target: 'teacher': all of the teacher's map; 'peak': a bell at its highest cell.
        peak_sigma: Width of that bell, cells.
        teacher_temperature: Scores are divided by it; less than 1 sharpens.
        student_temperature: The same for the student.
        direction_weight: Of a term that keeps CCVPE's directions what the teacher's are; the paper
            has none, and leaves them to drift.
        decay: Share of the teacher that stays when it follows.
        follow: 'epoch' or 'step': how often it does. Published code: once an epoch.
    """

    mask: str = 'field_of_view'
    visible: tuple[float, float] = (0.5, 2 / 3)
    wraps: bool = True
    most_active: float = 0.2
    hidden: tuple[float, float] = (1 / 3, 0.5)
    cell_px: int = 16
    target: str = 'teacher'
    peak_sigma: float = 2.0
    teacher_temperature: float = 0.06
    student_temperature: float = 0.06
    direction_weight: float = 0.0
    decay: float = 0.9
    follow: str = 'epoch'

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            ConfigError: A value out of its range.
        """
        for name, allowed in (('mask', MASKS), ('target', TARGETS), ('follow', ('epoch', 'step'))):
            if getattr(self, name) not in allowed:
                _refuse(name, getattr(self, name), f'one of {", ".join(allowed)}')
        for name in ('visible', 'hidden'):
            bounds = getattr(self, name)
            if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1] <= 1:
                _refuse(name, bounds, '(least, most), both within 0..1')
        if not 0 < self.most_active < 1:
            _refuse('most_active', self.most_active, 'a share between 0 and 1')
        if not 0 <= self.decay <= 1:
            _refuse('decay', self.decay, '0..1')
        for name in ('cell_px', 'peak_sigma', 'teacher_temperature', 'student_temperature'):
            if not getattr(self, name) > 0:
                _refuse(name, getattr(self, name), 'more than 0')


def _refuse(name: str, value: object, expected: str) -> None:
    raise ConfigError(f'distillation: {name} is {value!r}, expected {expected}')


class Distillation(Objective):
    """Cross-entropy between the teacher's maps and the student's.

    Attributes:
        teacher: Follows the student (`model`).
    """

    Settings = DistillationSettings

    def __init__(self, model: CrossViewModel, settings: DistillationSettings) -> None:
        """Makes the teacher; weights to begin with must be in the model by now.

        Args:
            model: 'g2sweakly', 'ccvpe', or 'geodistill', whose localizer alone then learns.
            settings: See `DistillationSettings`.

        Raises:
            ConfigError: Another kind of model, or a mask that it cannot use.
        """
        super().__init__(model, settings)
        localizer = localizer_of(model)
        by_columns = isinstance(localizer, Ccvpe)
        if by_columns and settings.mask == 'most_active':
            raise ConfigError(
                "distillation: mask 'most_active' is for localizers that lay features on the "
                "ground: use 'field_of_view', 'cells' or 'none' with CCVPE"
            )
        # What is frozen already, such as a transformer, stays so.
        inside = {id(parameter) for parameter in localizer.parameters()}
        for parameter in model.parameters():
            parameter.requires_grad_(parameter.requires_grad and id(parameter) in inside)
        for name in _unmoved(localizer, settings):
            part = getattr(localizer, name, None)
            if isinstance(part, nn.Module):
                part.requires_grad_(False)
        self.teacher = make_teacher(model)

    @property
    def deployed(self) -> CrossViewModel:
        """The teacher."""
        return self.teacher

    def train(self, mode: bool = True) -> 'Distillation':
        """As `nn.Module.train`, but the teacher answers as when deployed."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`; nothing but the batch's pictures is used."""
        inputs, settings = self.model.inputs, self.settings
        view = normalise(batch['view'], batch['view_mask'], inputs.view)
        patch = normalise(batch['patch'], batch['patch_mask'], inputs.patch)
        student, teacher = localizer_of(self.model), localizer_of(self.teacher)
        with torch.no_grad():
            seen = teacher(view, patch)
        if isinstance(student, Ccvpe):
            columns = self._columns(len(view), student.descriptor_columns, view.device)
            half_seen = student(view, patch, descriptor_mask=columns)
        else:
            mask = self._areas(view)
            half_seen = student(view * mask, patch, view_feature_mask=mask, yaw=seen['yaw'])
        targets, maps = score_maps(seen), score_maps(half_seen)
        parts = [self._cross_entropy(t, s) for t, s in zip(targets, maps, strict=True)]
        loss = torch.stack(parts).mean()
        terms = {'cross_entropy': loss}
        if settings.direction_weight and isinstance(student, Ccvpe):
            off = (seen['direction'] - half_seen['direction']).float().square().sum(dim=1)
            there = torch.softmax(seen['heat'].float().flatten(1), dim=1)
            terms['direction'] = (there * off.flatten(1)).sum(dim=1).mean()
            loss = loss + settings.direction_weight * terms['direction']
        return {LOSS: loss, **terms}

    def _columns(self, batch: int, count: int, device: torch.device) -> Tensor | None:
        """(B, count) weights of a descriptor's columns."""
        settings = self.settings
        if settings.mask == 'none':
            return None
        if settings.mask == 'field_of_view':
            return draw_strip(batch, settings.visible, settings.wraps, device).columns(count)
        return draw_cells(batch, (1, count), 1, settings.hidden, device)[:, 0, 0]

    def _areas(self, view: Tensor) -> Tensor:
        """(B, 1, H, W) of the view."""
        settings, (height, width) = self.settings, view.shape[-2:]
        if settings.mask == 'field_of_view':
            strip = draw_strip(len(view), settings.visible, settings.wraps, view.device)
            return strip.columns(width)[:, None, None].expand(-1, 1, height, -1)
        if settings.mask == 'cells':
            return draw_cells(
                len(view), (height, width), settings.cell_px, settings.hidden, view.device
            )
        if settings.mask == 'most_active':
            with torch.no_grad():
                features, _ = localizer_of(self.teacher).view_net(view)
            coarsest = features[min(features)]
            return hide_most_active(coarsest, (height, width), settings.most_active)
        return view.new_ones(len(view), 1, height, width)

    def _cross_entropy(self, target: Tensor, scores: Tensor) -> Tensor:
        """Mean over the batch of (B, h, w) maps."""
        settings = self.settings
        target, scores = target.float(), scores.float()
        if settings.target == 'peak':
            p = peak_bell(target, settings.peak_sigma).flatten(1)
        else:
            p = torch.softmax(target.flatten(1) / settings.teacher_temperature, dim=1)
        log_q = F.log_softmax(scores.flatten(1) / settings.student_temperature, dim=1)
        return -(p * log_q).sum(dim=1).mean()

    def after_step(self, progress: Progress) -> None:
        """The teacher follows, if it does so after every step."""
        if self.settings.follow == 'step':
            follow(self.teacher, self.model, self.settings.decay)

    def after_epoch(self, progress: Progress) -> None:
        """The teacher follows, if it does so once an epoch."""
        if self.settings.follow == 'epoch':
            follow(self.teacher, self.model, self.settings.decay)


def localizer_of(model: CrossViewModel) -> G2SWeakly | Ccvpe:
    """The part of a model that places a view: GeoDistill's localizer, or the model itself.

    Raises:
        ConfigError: It is of no kind that can be distilled.
    """
    part = getattr(model, 'localizer', model)
    if not isinstance(part, (G2SWeakly, Ccvpe)):
        raise ConfigError(
            f'{model.NAME} cannot be distilled: use g2sweakly, geodistill or ccvpe, whose views '
            'can be hidden in part'
        )
    return part


def _unmoved(localizer: G2SWeakly | Ccvpe, settings: DistillationSettings) -> tuple[str, ...]:
    """Parts that no map of scores depends on."""
    if isinstance(localizer, G2SWeakly):
        return ('rotation', 'rotation_net')
    return () if settings.direction_weight else ('direction',)


def score_maps(outputs: Mapping[str, Tensor]) -> list[Tensor]:
    """(B, h, w) of every level of a G2SWeakly's outputs; CCVPE's heat map alone."""
    if 'heat' in outputs:
        return [outputs['heat']]
    return [outputs[name] for name in sorted(outputs) if name.startswith('similarity_')]


def peak_bell(scores: Tensor, sigma: float) -> Tensor:
    """(B, h, w), summing to one: a bell of `sigma` cells at the highest cell of (B, h, w)."""
    rows, columns = scores.shape[-2:]
    best = scores.flatten(1).argmax(dim=1)
    v = torch.arange(rows, device=scores.device) - (best // columns)[:, None]
    u = torch.arange(columns, device=scores.device) - (best % columns)[:, None]
    away = v[:, :, None] ** 2 + u[:, None] ** 2
    bell = torch.softmax(-0.5 * away.flatten(1) / sigma**2, dim=1)
    return bell.view_as(scores)
