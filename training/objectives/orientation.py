# SPDX-License-Identifier: Apache-2.0
"""How GeoDistill's orientation estimator learns (arXiv 2507.10935, ICCV 2025)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from geoloc_core.errors import ConfigError, DataError
from geoloc_core.models.base import CrossViewModel, normalise
from geoloc_core.models.orientation_estimator import OrientationEstimator
from training.objectives.base import LOSS, Objective, Progress


@dataclass(frozen=True)
class OrientationObjectiveSettings:
    """Settings of `OrientationObjective`.

    Attributes:
        sigma_classes: Width of the soft label's bell, classes.
    """

    sigma_classes: float = 1.0


class OrientationObjective(Objective):
    """Soft cross-entropy of the yaw classes; positions are not looked at.

    Only the estimator learns: what the model knows about places stays as it is.
    """

    Settings = OrientationObjectiveSettings

    def __init__(self, model: CrossViewModel, settings: OrientationObjectiveSettings) -> None:
        """Freezes all but the estimator.

        Raises:
            ConfigError: The model has no estimator, or the bell has no width.
        """
        super().__init__(model, settings)
        estimator = getattr(model, 'orientation', None)
        if not isinstance(estimator, OrientationEstimator):
            raise ConfigError(
                f"{model.NAME} has no orientation estimator to train: use system 'geodistill', "
                "its setting 'orientation' not null"
            )
        if not settings.sigma_classes > 0:
            raise ConfigError(f'sigma_classes is {settings.sigma_classes}, expected more than 0')
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        for parameter in estimator.parameters():
            parameter.requires_grad_(True)
        self._estimator = [estimator]

    def train(self, mode: bool = True) -> 'OrientationObjective':
        """As `nn.Module.train`, but statistics of frozen layers stay as they are."""
        super().train(mode)
        self.model.eval()
        self._estimator[0].train(mode)
        return self

    def forward(self, batch: Mapping[str, Tensor], progress: Progress) -> dict[str, Tensor]:
        """See `Objective`; `mean_error_deg` is shown beside the loss.

        Raises:
            DataError: A yaw offset past the range that the estimator was made for.
        """
        estimator, inputs = self._estimator[0], self.model.inputs
        yaw, classes = batch['truth'][:, 2], estimator.classes
        worst = float(yaw.abs().max())
        # A hair of slack for float32.
        if worst > classes.half_range + 1e-3:
            raise DataError(
                f'a sample is turned by {worst:.3f} rad from its prior, the estimator is made for '
                f'+-{classes.half_range:.3f}: widen half_yaw_deg of the system, or draw priors '
                'within it'
            )
        view = normalise(batch['view'], batch['view_mask'], inputs.view)
        patch = normalise(batch['patch'], batch['patch_mask'], inputs.patch)
        logits = estimator(view, patch).float()
        labels = classes.soft_labels(yaw, self.settings.sigma_classes)
        loss = -(labels * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
        error = classes.decode(logits.detach()) - yaw
        error = error.sin().atan2(error.cos()).abs().rad2deg().mean()
        return {LOSS: loss, 'mean_error_deg': error}
