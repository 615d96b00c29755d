# SPDX-License-Identifier: Apache-2.0
"""The teacher: CrossViT whose large patches are points in space instead of a picture.

Reference: see `crossvit`. It is told the pose of the camera that it describes, so it is no rival
of networks that are not, and its figures cannot be compared with theirs: it only teaches.
"""

from torch import nn, Tensor

from geoloc_core.errors import ConfigError
from geoloc_core.models.crossvit import begin, DescriptorHead, picture_of, TwoBranches
from geoloc_core.models.crossvit_settings import CrossVitTeacherSettings
from geoloc_core.models.crossvit_tokens import centre_of, RotaryTokens, SineTokens
from geoloc_core.models.crossvit_weights import load_imagenet
from geoloc_core.models.descriptor import DescriptorModel


class CrossVitTeacher(DescriptorModel):
    """CrossViT with a picture in the branch of small patches and space in the other.

    Attributes:
        spatial: Points -> tokens of the large branch.
        trunk: The transformer.
        head: Its class tokens to the descriptor.
    """

    NAME = 'crossvit_teacher'
    Settings = CrossVitTeacherSettings
    EXTRA_INPUTS = ('rays', 'ranges', 'camera')

    def __init__(self, settings: CrossVitTeacherSettings) -> None:
        """Builds the network.

        Raises:
            ConfigError: The file of weights does not fit.
        """
        super().__init__(settings, picture_of(settings), settings.descriptor_size)
        self.patches_a_side = settings.large.side
        self.same_place = settings.same_place
        self.trunk = TwoBranches(settings, pictures=(True, False))
        self.head = DescriptorHead(settings)
        spatial = settings.spatial
        self.measured = spatial.points == 'depth'
        self.spatial: nn.Module = (
            RotaryTokens(settings.large, spatial)
            if spatial.encoding == 'rotary'
            else SineTokens(settings.large)
        )
        begin(self)
        load_imagenet(self.trunk, self.head, settings)

    def forward(self, view: Tensor, **extra: Tensor) -> Tensor:
        """(B, size) unit vectors.

        Args:
            view: (B, 3, H, W) normalised.
            extra: Of the N large patches, row by row: rays (B, N, 3) float32, unit directions of
                their middles in the map frame, NaN where the camera has none; ranges (B, N)
                float32, how far along them something was measured, NaN where nothing was. And
                camera (B, 7) float32, translation and quaternion (w, x, y, z) of map -> camera.

        Raises:
            ConfigError: Not as many rays as large patches.
        """
        rays, camera = extra['rays'].float(), extra['camera'].float()
        wanted = self.patches_a_side**2
        if rays.shape[1] != wanted:
            raise ConfigError(
                f'{self.NAME}: {rays.shape[1]} rays are given, the large branch has {wanted} '
                'patches: make them for a network of the same large branch'
            )
        far = extra['ranges'].float() if self.measured else self.settings.spatial.ray_length
        points = centre_of(camera)[:, None] + rays * (far[..., None] if self.measured else far)
        tokens, rotation = self.spatial(points, camera)
        made: Tensor = self.head(self.trunk([view, tokens], (None, rotation)))
        return made
