# SPDX-License-Identifier: Apache-2.0
"""The indoor half of rendered data sets: rooms, and hand-held walks through them."""

from geoloc_core.geometry import se3
from geoloc_core.simulation.conditions.days import GroundDay
from geoloc_core.simulation.conditions.settings import Conditions
from geoloc_core.simulation.layouts.base import LayoutWriter, Rig
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.layouts.plan import (
    plan_room,
    ROOM_RATE_HZ,
    sequences_for,
    share_out,
    WorldPlan,
)
from geoloc_core.simulation.layouts.studio import Studio
from geoloc_core.simulation.render.scene import Scene
from geoloc_core.simulation.rooms.paths import room_trajectory
from geoloc_core.simulation.rooms.room import make_room


def plan_indoor(
    writer: type[LayoutWriter], rig: Rig, number: int, seed: int, first: int, count: int
) -> WorldPlan:
    """Plans walks through one room: see `plan.plan_city`."""
    room = make_room(seed)
    T_camera_base = se3.inverse(rig.T_base_camera)
    walks = [
        room_trajectory(room, walk, frames, ROOM_RATE_HZ).T_map_camera
        for walk, frames in enumerate(share_out(count, sequences_for(count)))
    ]
    poses = [[T @ T_camera_base for T in walk] for walk in walks]
    return plan_room(writer, poses, number, seed, first)


class RoomStudio(Studio):
    """A room, lit by its windows and lamps: no weather, no sky, no map."""

    def __init__(
        self, writer: LayoutWriter, plan: WorldPlan, rig: Rig, conditions: Conditions
    ) -> None:
        """Furnishes the room; see `Studio`."""
        super().__init__(writer, plan, rig, conditions)
        self._room = make_room(plan.seed)

    def scene(self, day: GroundDay) -> Scene:
        """The room, the same every day."""
        return self._room.scene()

    def day(self, sequence: int) -> GroundDay:
        """Inside it is dry and light, whatever is drawn; the camera's own faults stay."""
        day = super().day(sequence)
        return GroundDay(
            seed=day.seed,
            index=day.index,
            defocus_px=day.defocus_px,
            dirt=day.dirt,
            vignetting_ev=day.vignetting_ev,
            iso=day.iso,
            jpeg_quality=day.jpeg_quality,
        )

    def aerial(self) -> Orthophoto | None:
        """None: nobody flies over a room."""
        return None
