# SPDX-License-Identifier: Apache-2.0
"""The compass-rose test: a red pole due north, green east, blue south, yellow west.

`write_compass` lets a layout's writer store pictures of the plain with its poles; `assert_compass`
looks at what a reader makes of them. A wrong sign, axis, centre or half pixel shows as a pole that
is not where the sample says it is.
"""

import numpy as np

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import EquirectangularCamera, PanoramaCropCamera
from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.simulation.compass import COMPASS_DATUM, compass_world, DISC_RADIUS_M, POLES
from geoloc_core.simulation.layouts.base import Shot
from geoloc_core.simulation.layouts.orthophoto import Orthophoto
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.renderer import render, render_aerial

HEIGHTS = np.linspace(0.6, 2.4, 5)
_HALF_POLE_M = 0.4
# (x, y, yaw): a little off the datum, so that mixed-up axes show; every view holds a pole.
PLACES = (
    (1.3, -0.7, 0.10),
    (-0.9, 1.6, np.pi / 2 + 0.15),
    (0.4, 2.1, np.pi - 0.2),
    (2.2, 0.8, -np.pi / 2 - 0.1),
)


# ---- writing ----


def compass_shots(rig, datum=COMPASS_DATUM, places=PLACES, *, sequence='', split='train'):
    """Pictures of the plain.

    Args:
        rig: Anything with `camera` and `T_base_camera`.
        datum: Where the plain lies.
        places: (x, y, yaw) each, or T_map_base (4, 4) each.
        sequence: Of all shots.
        split: Of all shots.

    Returns:
        list[Shot].
    """
    scene = compass_world(datum).scene()
    shots = []
    for index, place in enumerate(places):
        T = np.asarray(place, float)
        T = T if T.shape == (4, 4) else se3.from_planar(*place)
        picture = render(scene, rig.camera, T @ rig.T_base_camera)
        depth = picture.depth_m
        if getattr(rig, 'depth', None) is not None:
            depth = render(scene, rig.depth.camera, T @ rig.depth.T_base_camera).depth_m
        shots.append(
            Shot(
                index=index, sequence=sequence, stamp_ns=10**9 + index * 10**8,
                image=picture.image, depth_m=depth,
                labels=np.zeros(picture.image.shape[:2], np.uint8),
                camera=rig.camera, T_base_camera=rig.T_base_camera, T_map_base=T,
                frame=EnuFrame(datum), split=split, number=index,
                depth_rig=getattr(rig, 'depth', None),
            )
        )  # fmt: skip
    return shots


def compass_orthophoto(datum=COMPASS_DATUM, gsd=0.11, reach_m=60.0):
    """The plain from above."""
    side = 2 * round(reach_m / gsd)
    grid = Grid((0.0, 0.0), gsd, side, side)
    rays = 2 if gsd > 0.08 else 1
    scene = compass_world(datum).aerial_scene()
    image, labels = render_aerial(scene, grid, rays, with_labels=True)
    # No street crosses the plain: the poles' discs stand for what a layout's masks show.
    mask = np.where(labels == Label.POLE, 255, 0).astype(np.uint8)
    return Orthophoto(image, grid, EnuFrame(datum), mask=mask)


def write_compass(writer, size=None, places=PLACES):
    """Writes a whole small data set: every place in each split, in the first city.

    Args:
        writer: A `LayoutWriter`.
        size: (width, height) of the pictures; the publisher's if None.
        places: As for `compass_shots`.

    Returns:
        list[Shot] as rendered; the truth that a reader has to give back.
    """
    rig = writer.rig(*(size or writer.DEFAULT_SIZE))
    datum = writer.datum(0)
    if writer.NORTH_ALIGNED:
        places = [(x, y, np.pi / 2) for x, y, *_ in places]
    if writer.INDOOR:
        # A hand's height; base_link is the camera itself.
        places = [se3.from_planar(*p, 1.4) if len(p) == 3 else p for p in places]
    aerial = None
    if writer.AERIAL_GSD is not None:
        aerial = compass_orthophoto(datum, writer.AERIAL_GSD, writer.AERIAL_REACH_M + 8.0)
    shots = []
    for number, split in enumerate(writer.SPLITS):
        name = writer.sequence(0, number if writer.DRIVES or writer.INDOOR else 0)
        for shot in compass_shots(rig, datum, places, sequence=name, split=split):
            fields = {**shot.__dict__, 'index': len(shots)}
            fields['number'] = sum(other.sequence == name for other in shots)
            fields['stamp_ns'] = 10**9 + len(shots) * 10**8
            place = writer.aligned(Shot(**fields).place)
            if not np.array_equal(place.T_map_base, shot.T_map_base):
                (moved,) = compass_shots(rig, datum, [place.T_map_base])
                fields.update(
                    image=moved.image, depth_m=moved.depth_m, T_map_base=moved.T_map_base
                )
            shots.append(Shot(**fields))
    writer.begin([shot.place for shot in shots])
    for shot in shots:
        writer.write(shot, aerial)
    writer.finish()
    return shots


# ---- looking ----


def assert_compass(
    sample, *, datum=COMPASS_DATUM, poles=None, min_visible=1, tol_m=0.12, offset_m=(0.0, 0.0)
):
    """Fails, saying why, unless every pole is where the sample's pose, camera and patch put it.

    Args:
        sample: What a reader gave.
        datum: Of the plain that was rendered; `sample.datum` may be another one.
        poles: For samples without a datum: name -> (N, 3) points on the pole's axis, m, in the
            sample's world frame. By default the plain's own axes.
        min_visible: Poles that the camera must see.
        tol_m: How far labels may be off by rounding, m, on the ground.
        offset_m: Added to the poles' (x, y) where a known rest of the layout shifts them.
    """
    axes = poles if poles is not None else _axes(sample, datum, offset_m)
    seen = _look_through_camera(sample, axes, tol_m)
    assert seen >= min_visible, (
        f'{sample.key}: only {seen} poles lie in the view, expected {min_visible}: '
        'is the camera turned away, or upside down?'
    )
    if sample.patch is None:
        return
    for number, patch in enumerate((sample.patch, *sample.other_patches)):
        found = sum(
            _look_from_above(sample, patch, name, xyz, tol_m) for name, xyz in axes.items()
        )
        assert found or number, f'{sample.key}: the patch {patch.grid} shows no pole'


def _axes(sample, datum, offset_m):
    """Name -> (N, 3) points on each pole in the sample's map frame."""
    axes = {}
    for name, ((x, y), _) in POLES.items():
        if sample.datum is not None:
            lat, lon, alt = EnuFrame(datum).geodetic_from_enu([x, y, 0.0])
            x, y, _ = EnuFrame(sample.datum).enu_from_geodetic(lat, lon, alt)
        column = np.ones_like(HEIGHTS)
        axes[name] = np.stack(
            [(x + offset_m[0]) * column, (y + offset_m[1]) * column, HEIGHTS], -1
        )
    return axes


def _look_through_camera(sample, axes, tol_m):
    """How many poles were in the view; each is asserted to be there."""
    T_camera_map = se3.inverse(sample.T_map_camera)
    camera, image = sample.view.camera, sample.view.image
    assert image.shape == (camera.height, camera.width, 3), (
        f'{sample.key}: picture {image.shape} but camera {camera.width} x {camera.height}'
    )
    places = {name: se3.transform(T_camera_map, xyz) for name, xyz in axes.items()}
    order = sorted(places, key=lambda name: np.linalg.norm(places[name].mean(axis=0)))
    taken = []
    for name in order:
        xyz = places[name]
        uv, valid = camera.project(xyz)
        border = np.array([camera.width, camera.height]) - 3
        valid &= np.nan_to_num((uv >= 2) & (uv <= border), nan=0).all(axis=1)
        if not valid.any():
            continue
        middle = uv[valid].mean(axis=0)
        # A nearer pole may stand before this one, and bleed into it.
        if any(np.linalg.norm(middle - other) < 0.06 * camera.width for other in taken):
            continue
        taken.append(middle)
        mask = _mask(image, name)
        hit = [mask[round(v) - 1 : round(v) + 2, round(u) - 1 : round(u) + 2].mean() > 0.4
               for u, v in uv[valid]]  # fmt: skip
        if np.mean(hit) < 0.5:
            u, v = np.rint(middle).astype(int)
            raise AssertionError(
                f'{sample.key}: the {name} pole {POLES[name][1]} should be at pixel ({u}, {v}), '
                f'where the picture is {tuple(int(c) for c in image[v, u])}; '
                f'{_where(mask)} (yaw of the sample '
                f'{np.degrees(se3.yaw_of(sample.T_map_base)):.1f} deg)'
            )
        _check_column(sample, name, xyz[valid], uv[valid], mask, tol_m)
        _check_depth(sample, name, xyz[valid], uv[valid])
    return len(taken)


def _check_column(sample, name, xyz, uv, mask, tol_m):
    """The pole's middle lies on its projected axis, to a pixel and the label's rounding."""
    k = len(uv) // 2
    u, v = uv[k]
    camera = sample.view.camera
    aside, _ = camera.project(xyz[k] + np.array([[_HALF_POLE_M, 0.0, 0.0], [tol_m, 0.0, 0.0]]))
    half, tolerance = np.linalg.norm(aside - uv[k], axis=1)
    # Along a line across the pole's image, found from its own axis.
    axis = uv[-1] - uv[0] if len(uv) > 1 else np.array([0.0, 1.0])
    across = np.array([-axis[1], axis[0]]) / max(np.linalg.norm(axis), 1e-9)
    steps = np.arange(-3 * half - 3, 3 * half + 3.01, 0.25)
    line = np.rint(uv[k] + steps[:, None] * across).astype(int)
    inside = ((line >= 0) & (line < [camera.width, camera.height])).all(axis=1)
    if not inside.all():
        return
    on = mask[line[:, 1], line[:, 0]]
    off = float(steps[on].mean())
    assert abs(off) <= 1.0 + 1.2 * tolerance, (
        f'{sample.key}: the {name} pole is {off:.1f} px off its projected axis at '
        f'({u:.1f}, {v:.1f}); {1.0 + 1.2 * tolerance:.1f} px are allowed for rounding'
    )


def view_depth(shot):
    """(H, W) depth of a shot as a `GroundView` has it: of a panorama along the ray."""
    if not isinstance(shot.camera, (EquirectangularCamera, PanoramaCropCamera)):
        return shot.depth_m
    return (shot.depth_m / shot.camera.rays()[..., 2]).astype(np.float32)


def _check_depth(sample, name, xyz, uv):
    """Depth at the pole is that of its near side."""
    depth = sample.view.depth
    if depth is None:
        return
    assert depth.shape == sample.view.image.shape[:2], f'{sample.key}: depth {depth.shape}'
    spherical = isinstance(sample.view.camera, (EquirectangularCamera, PanoramaCropCamera))
    for (u, v), point in zip(uv, xyz, strict=True):
        value = depth[round(v), round(u)]
        expected = np.linalg.norm(point) if spherical else point[2]
        if np.isfinite(value):
            assert abs(value - expected) < _HALF_POLE_M + 0.1 + 0.03 * abs(expected), (
                f'{sample.key}: depth at the {name} pole is {value:.2f} m, expected '
                f'{expected:.2f} m less at most {_HALF_POLE_M} m: is it the z-coordinate (of a '
                'panorama the distance) in m, registered to the picture?'
            )


def _look_from_above(sample, patch, name, xyz, tol_m):
    """Whether a pole's disc lies in the patch; if so it is asserted to be there."""
    grid, xy = patch.grid, xyz[0, :2]
    assert patch.image.shape == (grid.height, grid.width, 3), (
        f'{sample.key}: patch {patch.image.shape} but grid {grid}'
    )
    u, v = grid.uv_from_xy(xy)
    reach = DISC_RADIUS_M / grid.gsd
    if not (reach + 1 < u < grid.width - reach - 2 and reach + 1 < v < grid.height - reach - 2):
        return False
    mask = _mask(patch.image, name) & patch.mask
    rows, columns = np.mgrid[0 : grid.height, 0 : grid.width]
    disc = np.hypot(columns - u, rows - v) < 0.8 * reach
    if mask[disc].mean() < 0.6:
        r, c = round(float(v)), round(float(u))
        raise AssertionError(
            f'{sample.key}: the {name} pole {POLES[name][1]} should be at pixel ({c}, {r}) of '
            f'the patch, which is {tuple(int(n) for n in patch.image[r, c])} there; '
            f'{_where(mask)}; patch {grid}'
        )
    near = mask & (np.hypot(columns - u, rows - v) < 2.5 * reach)
    off = np.array([columns[near].mean() - u, rows[near].mean() - v]) * grid.gsd
    limit = tol_m + 0.25 * grid.gsd
    assert np.abs(off).max() < limit, (
        f'{sample.key}: the {name} disc lies {off[0]:+.3f} m east and {off[1]:+.3f} m south of '
        f'its place in the patch; {limit:.3f} m are allowed for rounding: half a pixel is '
        f'{grid.gsd / 2:.3f} m'
    )
    return True


def _mask(image, name):
    """(H, W) bool: pixels of a pole's colour, also after JPEG."""
    r, g, b = (image[..., i].astype(np.float32) + 1 for i in range(3))
    if name == 'north':
        return (r > 80) & (r > 1.6 * g) & (r > 1.6 * b)
    if name == 'east':
        return (g > 70) & (g > 1.6 * r) & (g > 1.6 * b)
    if name == 'south':
        return (b > 80) & (b > 1.7 * r) & (b > 1.7 * g)
    return (np.minimum(r, g) > 90) & (b < 0.6 * np.minimum(r, g)) & (np.abs(r - g) < 0.35 * r)


def _where(mask):
    """Where a colour is instead, for people."""
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return 'that colour is nowhere in it'
    return f'that colour is around pixel ({np.median(columns):.0f}, {np.median(rows):.0f})'
