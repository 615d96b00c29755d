# SPDX-License-Identifier: Apache-2.0
"""Takes the planned pictures of one world: its scenes, its aerial picture, and what the lens did.

The weather is that of a sequence; exposure, tilt, blur and dirt are each picture's own.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import as_completed, Executor
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.conditions.days import (
    aerial_view,
    draw_aerial,
    draw_ground,
    ground_scene,
    GroundDay,
    moving_scene,
)
from geoloc_core.simulation.conditions.lens import expose
from geoloc_core.simulation.conditions.settings import Conditions, GroundConditions
from geoloc_core.simulation.layouts.base import LayoutWriter, Place, Rig, Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.layouts.plan import WorldPlan
from geoloc_core.simulation.render.renderer import render
from geoloc_core.simulation.render.scene import Scene
from geoloc_core.simulation.robots.depth_camera import DEPTH_MODELS, measure_depth
from geoloc_core.simulation.world import World

Array = NDArray[np.float64]

# Draws of single pictures count from here, those of whole sequences from zero.
_FIRST_SHOT = 1_000_000
_FINE_GSD = 0.08
# The aerial picture reaches this much farther than its tiles, m.
_SLACK_M = 2.0


class Studio(ABC):
    """One world, and the camera that is taken through it."""

    def __init__(
        self, writer: LayoutWriter, plan: WorldPlan, rig: Rig, conditions: Conditions
    ) -> None:
        """Takes what all kinds of worlds need."""
        self._writer = writer
        self._plan = plan
        self._rig = rig
        self._conditions = conditions
        self._sequence = dict(zip((p.index for p in plan.places), plan.sequence_of, strict=True))

    def shoot_all(
        self, pool: Executor, places: Sequence[Place], done: Callable[[int], None]
    ) -> None:
        """Takes and writes pictures.

        Args:
            pool: Threads to share the pictures between.
            places: Which pictures of the plan.
            done: Called with 1 for each picture written.

        Raises:
            OSError: The disk is full or may not be written.
        """
        groups: dict[int, list[Place]] = {}
        for place in places:
            groups.setdefault(self._sequence[place.index], []).append(place)
        aerial = self.aerial()
        for sequence, group in groups.items():
            day = self.day(sequence)
            scene = self.scene(day)
            futures = [pool.submit(self._shoot, scene, day, place, aerial) for place in group]
            try:
                for future in as_completed(futures):
                    future.result()
                    done(1)
            except BaseException:
                for future in futures:
                    future.cancel()
                raise

    def day(self, sequence: int) -> GroundDay:
        """The weather of a sequence; without conditions all are alike."""
        if self._conditions.ground == GroundConditions():
            sequence = 0
        return draw_ground(self._conditions, self._plan.seed, sequence)

    @abstractmethod
    def scene(self, day: GroundDay) -> Scene:
        """The world on a day."""

    @abstractmethod
    def aerial(self) -> Orthophoto | None:
        """The picture to cut tiles from, of all that the plan's places need; or None."""

    def moving(self, scene: Scene, day: GroundDay, place: Place) -> Scene:
        """The scene with what moves in it at the moment of a picture."""
        return scene

    def _shoot(
        self, scene: Scene, day: GroundDay, place: Place, aerial: Orthophoto | None
    ) -> None:
        number = place.index - self._plan.places[0].index
        own = draw_ground(self._conditions, self._plan.seed, _FIRST_SHOT + number)
        # The camera shakes and meters anew for each picture; the weather and its lens stay.
        day = replace(
            day,
            exposure_ev=own.exposure_ev,
            motion_blur_px=own.motion_blur_px,
            motion_blur_direction=own.motion_blur_direction,
            tilt_rpy=own.tilt_rpy,
        )
        rig = self._rig
        scene = self.moving(scene, day, place)
        picture = render(scene, rig.camera, place.T_map_base @ self._mount(day))
        depth_m = picture.depth_m
        if self._writer.DEPTH:
            depth_m = self.depth(scene, place)
        self._writer.write(
            Shot(
                index=place.index,
                sequence=place.sequence,
                stamp_ns=place.stamp_ns,
                image=expose(picture.image, day, number, picture.range_m, rig.camera),
                depth_m=depth_m,
                labels=picture.labels,
                camera=rig.camera,
                T_base_camera=rig.T_base_camera,
                T_map_base=place.T_map_base,
                frame=place.frame,
                split=place.split,
                number=place.number,
                depth_rig=rig.depth,
            ),
            aerial,
        )

    def _mount(self, day: GroundDay) -> Array:
        """T_base_camera (4, 4), tilted about the camera's centre: labels know its place.

        Outdoors they do not know its tilt, as nobody's do. A hand-held camera needs none: its
        poses are free anyway, and exact.
        """
        T = self._rig.T_base_camera
        if self._writer.INDOOR or self._writer.HAND_HELD:
            return T
        return se3.make(day.T_base_tilted[:3, :3] @ T[:3, :3], T[:3, 3])

    def depth(self, scene: Scene, place: Place) -> NDArray[np.float32]:
        """What the depth sensor of the rig reports: the truth, or with a Kinect's faults."""
        sensor = self._rig.depth or self._rig
        view = render(scene, sensor.camera, place.T_map_base @ sensor.T_base_camera)
        # Outdoors a structured pattern is not seen; the lidars of such layouts are their writers'.
        if self._conditions == Conditions() or not self._writer.INDOOR:
            return view.depth_m
        assert isinstance(sensor.camera, PinholeCamera)
        return measure_depth(
            DEPTH_MODELS['structured_light'],
            view.depth_m,
            sensor.camera,
            place.index,
            image=view.image,
            labels=view.labels,
        )


class CityStudio(Studio):
    """A city, its ground painted and its aerial picture flown."""

    def __init__(
        self,
        writer: LayoutWriter,
        plan: WorldPlan,
        rig: Rig,
        conditions: Conditions,
        *,
        make: Callable[[Datum], World],
        workers: int,
    ) -> None:
        """Makes the city; see `Studio`."""
        super().__init__(writer, plan, rig, conditions)
        self._workers = workers
        self._world = make(writer.datum(plan.number))

    def scene(self, day: GroundDay) -> Scene:
        """The city on a day."""
        return ground_scene(self._world, day)

    def moving(self, scene: Scene, day: GroundDay, place: Place) -> Scene:
        """The scene with cars and people, on their way since the sequence began."""
        sequence = self._sequence[place.index]
        t = (place.stamp_ns - self._plan.places[0].stamp_ns) * 1e-9
        xy = (float(place.T_map_base[0, 3]), float(place.T_map_base[1, 3]))
        return moving_scene(scene, self._world, day, self._plan.seed + sequence, t, xy)

    def aerial(self) -> Orthophoto | None:
        """One picture around all places of the plan, also of those that are written already."""
        gsd = self._writer.AERIAL_GSD
        if gsd is None:
            return None
        xy = np.array([place.T_map_base[:2, 3] for place in self._plan.places])
        reach = self._writer.AERIAL_REACH_M + _SLACK_M
        low, high = xy.min(axis=0) - reach, xy.max(axis=0) + reach
        width, height = (int(n) for n in np.ceil((high - low) / gsd))
        x, y = (low + high) / 2
        grid = Grid((float(x), float(y)), gsd, width, height)
        day = draw_aerial(self._conditions, self._plan.seed, 0)
        # Fine pixels need no finer rays: ground and walls are filtered, only edges are not.
        rays = 2 if gsd > _FINE_GSD else 1
        classes = self._writer.AERIAL_CLASSES
        view = aerial_view(
            self._world, day, grid, self._workers, supersample=rays, with_labels=bool(classes)
        )
        mask = None
        if view.labels is not None:
            marked = np.isin(np.arange(256), classes) * np.uint8(255)
            mask = cv2.LUT(view.labels, marked).astype(np.uint8, copy=False)
        frame = EnuFrame(self._world.datum)
        return Orthophoto(view.image, grid, frame, self._world.attribution, mask)
