# SPDX-License-Identifier: Apache-2.0
"""What every network of the house is, whatever it answers; families are told apart by a name.

Three families share the files of weights and the training loop:

  cross_view        `base.CrossViewModel`        a view over a map -> a volume of poses
  camera_pose       `pose_model.PoseModel`       a view of a mapped place -> a pose in six degrees
  descriptor        `descriptor.DescriptorModel` a view -> a vector to find its place by

How a further family joins:

1. Its base class derives from `Network` and sets `FAMILY`; its systems are lines in `PLACES` of
   `models.registry`, so that `make_model`, `save_weights` and `load_weights` know them.
2. `training/families/<name>.py` has one class of `training.families.base.AbstractFamily`, and
   `training/families/registry.py` one line for it: what arrays a sample becomes, what is measured
   on the validation split, and what `calibration` is fitted by. Nothing else of the loop differs.
3. Its objectives derive from `training.objectives.base.Objective` as all do. One that compares
   samples says in `Objective.companions` which must share a batch: the batch then holds groups of
   rows, anchor first, and `batch['index']` is each row's place in the data set.
4. Names of its figures stand in `training.loop.settings`, so that `validate.metric` may be one.
"""

from abc import ABC
from dataclasses import asdict
from typing import Any, ClassVar

from torch import nn


class Network(nn.Module, ABC):
    """A network built from its frozen settings alone.

    Attributes:
        NAME: The system's, in registry, tables and bundles.
        FAMILY: What kind of question it answers, see the module's text.
        Settings: Its frozen dataclass of settings, whose defaults are the published sizes.
        EXTRA_INPUTS: Names of further inputs of `forward` beside the family's own.
        calibration: Scalars that only the stated doubt depends on; they are left alone by training
            and fitted on validation data when it is done.
    """

    NAME: ClassVar[str]
    FAMILY: ClassVar[str]
    Settings: ClassVar[type]
    EXTRA_INPUTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Any) -> None:
        """Keeps the settings.

        Args:
            settings: An instance of `Settings`.
        """
        super().__init__()
        self.settings = settings
        self.calibration = nn.ParameterDict()

    @property
    def settings_dict(self) -> dict[str, Any]:
        """The settings as plain values, for files."""
        return asdict(self.settings)
