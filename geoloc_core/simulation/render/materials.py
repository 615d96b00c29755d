# SPDX-License-Identifier: Apache-2.0
"""How a triangle is shaded."""

from enum import IntEnum

from geoloc_core.simulation.render.labels import Label


class Material(IntEnum):
    """How a triangle is shaded.

    Attributes:
        GROUND: The plane z = 0, coloured by `Ground`; beyond the painted square by its class.
        WALL: Facade with windows; needs `kind` and `wall_axis`.
        ROOF: Flat roof: gravel, sheeting and stains.
        CROWN: Leaves; shaded as if round about `crown_center`.
        PLAIN: One colour.
        GLASS: Dark, mirrors the sky.
        ROOF_TILES: Rows of tiles down the slope.
        LAMP: Shines at night.
        INTERIOR_WALL: Plaster, matt, with broad stains.
        METAL: Painted metal, such as a car's body: mirrors some sky.
        BRICK: Courses of bricks without windows; needs `wall_axis`.
        WOOD: Boards along `wall_axis`.
        FABRIC: Cloth: clothes, carpets.
        WATER: Dark, mirrors the sky, small waves.
        BARK: Trunks.
    """

    GROUND = 0
    WALL = 1
    ROOF = 2
    CROWN = 3
    PLAIN = 4
    GLASS = 5
    ROOF_TILES = 6
    LAMP = 7
    INTERIOR_WALL = 8
    METAL = 9
    BRICK = 10
    WOOD = 11
    FABRIC = 12
    WATER = 13
    BARK = 14


# What a material most often belongs to; whoever knows better says so.
DEFAULT_LABEL = {
    Material.GROUND: Label.BARE,
    Material.WALL: Label.BUILDING,
    Material.ROOF: Label.ROOF,
    Material.CROWN: Label.TREE,
    Material.PLAIN: Label.BUILDING,
    Material.GLASS: Label.BUILDING,
    Material.ROOF_TILES: Label.ROOF,
    Material.LAMP: Label.POLE,
    Material.INTERIOR_WALL: Label.INTERIOR,
    Material.METAL: Label.VEHICLE,
    Material.BRICK: Label.BUILDING,
    Material.WOOD: Label.INTERIOR,
    Material.FABRIC: Label.INTERIOR,
    Material.WATER: Label.WATER,
    Material.BARK: Label.TREE,
}
