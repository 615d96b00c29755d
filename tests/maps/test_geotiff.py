# SPDX-License-Identifier: Apache-2.0
"""GeoTIFFs: real ones, odd ones, and those that must be refused."""

import cv2
import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp

from geoloc_core.errors import MapError
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.opening import open_map
from tests.maps.rasters import place_around, textured, write_tif

LAT, LON = -33.9, 151.2
CRS = 'EPSG:32756'
FRAME = EnuFrame(Datum(LAT, LON, 20.0))
H, W = 120, 160
PLACE = place_around(LAT, LON, CRS, 0.5, W, H)


def middle_patch(path, **options):
    return open_map(path, **options).patch(FRAME, (0.0, 0.0), 30.0, 0.5)


@pytest.mark.parametrize(
    ('name', 'crs', 'gsd', 'bounds'),
    [
        ('deepforest_neon', 'EPSG:32611', 0.10, (-119.78261, 37.07915, -119.78214, 37.07952)),
        ('pix4d_bali', 'EPSG:32750', 0.353, (115.15966, -8.58621, 115.16187, -8.58379)),
        ('colorado_hro', 'EPSG:26913', 0.15, (-104.77533, 38.95345, -104.77466, 38.95376)),
    ],
)
def test_real_rasters(real_data, name, crs, gsd, bounds):
    path = next(real_data('geo_rasters', name).glob('*.tif'))
    source = open_map(path, attribution='the owner')
    assert source.info.crs == crs and source.info.attribution == 'the owner'
    assert source.info.gsd == pytest.approx(gsd, rel=0.01)
    assert source.info.bounds_deg == pytest.approx(bounds, abs=1e-5)
    west, south, east, north = source.info.bounds_deg
    frame = EnuFrame(Datum((south + north) / 2, (west + east) / 2))
    patch = source.patch(frame, (0.0, 0.0), 100 * gsd, gsd)
    assert patch.coverage == 1.0 and patch.attribution == 'the owner'
    # The same pixels as the file's middle, but for turning the grid to true north.
    with rasterio.open(path) as dataset:
        row, col = dataset.height // 2, dataset.width // 2
        window = rasterio.windows.Window(col - 45, row - 45, 90, 90)
        direct = dataset.read([1, 2, 3], window=window).transpose(1, 2, 0)
    small = patch.image[5:95, 5:95].astype(np.float32)
    score = cv2.matchTemplate(patch.image, direct[15:75, 15:75], cv2.TM_CCOEFF_NORMED)
    _, best, _, where = cv2.minMaxLoc(score)
    assert best > 0.8 and np.abs(np.array(where) - 20).max() <= 2
    assert small.std() > 5


def test_the_trap_that_says_degrees_and_means_metres_is_refused(real_data):
    path = real_data('geo_rasters', 'ortholoc_demo') / 'urban_residential_DOP.tif'
    with pytest.raises(MapError, match=r'EPSG:4326.*degrees.*not on Earth.*aeqd') as refusal:
        open_map(path)
    assert '93.05' in str(refusal.value)
    placed = open_map(path, crs='+proj=aeqd +lat_0=48.1 +lon_0=11.5')
    assert placed.info.gsd == pytest.approx(0.1815, abs=1e-3)
    patch = placed.patch(EnuFrame(Datum(48.1, 11.5)), (0.0, 0.0), 60.0, 0.2)
    assert patch.coverage > 0.95 and patch.image.std() > 20


@pytest.mark.parametrize(
    ('crs', 'transform', 'words'),
    [
        ('EPSG:4326', (0.2, 0, -40, 0, -0.2, 40), 'm a pixel'),  # local metres, by luck < 90
        ('EPSG:32632', (0.2, 0, -10, 0, -0.2, 10), 'lon 6 to 12'),  # local metres
        ('EPSG:32632', (0.2, 0, 455000, 0, -0.2, 5432000e3), 'would lie at'),
        ('EPSG:27700', (0.2, 0, 5_455_000, 0, -0.2, 432_000), 'would lie at'),
        ('EPSG:4326', (1e-6, 0, 8.0, 0, -1e-6, 5432000), 'not on Earth'),
    ],
)
def test_a_reference_system_that_contradicts_the_extent_is_refused(
    tmp_path, crs, transform, words
):
    path = write_tif(tmp_path / 'wrong.tif', textured(H, W), crs, transform)
    with pytest.raises(MapError, match=words):
        open_map(path)


def test_a_neighbouring_zone_is_accepted(tmp_path):
    path = write_tif(
        tmp_path / 'zone.tif',
        textured(H, W),
        'EPSG:32755',
        place_around(LAT, LON, 'EPSG:32755', 0.5, W, H),
    )
    assert middle_patch(path).coverage == 1.0


def test_files_that_are_no_maps_are_refused(tmp_path):
    with pytest.raises(MapError, match='does not exist'):
        open_map(tmp_path / 'absent.tif')
    (tmp_path / 'text.tif').write_text('not a picture at all')
    with pytest.raises(MapError, match='torn'):
        open_map(tmp_path / 'text.tif')
    cv2.imwrite(str(tmp_path / 'photo.png'), textured(H, W)[0])
    with pytest.raises(MapError, match='no georeference'):
        open_map(tmp_path / 'photo.png')
    plain = write_tif(tmp_path / 'bare.tif', textured(H, W), None, PLACE)
    with pytest.raises(MapError, match='names no coordinate reference system'):
        open_map(plain)
    assert middle_patch(plain, crs=CRS).coverage == 1.0
    with pytest.raises(MapError, match='no map named'):
        open_map('')
    with pytest.raises(MapError, match='not a map that can be opened'):
        open_map('s3://bucket/map.tif')


@pytest.mark.parametrize('keep', [0.2, 0.7, 0.98])
@pytest.mark.parametrize('layout', ['tiles', 'strips', 'overviews first'])
def test_a_torn_file_is_refused(tmp_path, keep, layout):
    options = {'tiled': True, 'blockxsize': 64, 'blockysize': 64} if layout != 'strips' else {}
    if layout == 'overviews first':
        options = {'driver': 'COG', 'blocksize': 128}
    path = write_tif(tmp_path / 'map.tif', textured(400, 500, cell=2), CRS, PLACE, **options)
    data = path.read_bytes()
    torn = tmp_path / 'torn.tif'
    torn.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(MapError, match='torn'):
        open_map(torn)


def test_damage_inside_is_found_by_reading_and_named_by_check(tmp_path):
    path = write_tif(
        tmp_path / 'map.tif',
        textured(512, 512, cell=2),
        CRS,
        place_around(LAT, LON, CRS, 0.5, 512, 512),
        tiled=True,
        blockxsize=128,
        blockysize=128,
        compress='deflate',
    )
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item('BLOCK_OFFSET_2_1', 'TIFF', bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 400] = b'\x00' * 400
    path.write_bytes(data)
    source = open_map(path)
    with pytest.raises(MapError, match=r'damaged: columns'):
        source.patch(FRAME, (0.0, 0.0), 200.0, 0.5)
    faults = [fault for fault in source.pyramid.check() if fault]
    assert source.pyramid.parts() == 16 and len(faults) == 1
    assert 'columns 256 to 384, rows 128 to 256' in faults[0]


def test_a_file_in_one_giant_block_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr('geoloc_core.maps.geotiff._MAX_BLOCK_BYTES', 5_000)
    path = write_tif(tmp_path / 'strip.tif', textured(H, W), CRS, PLACE, blockysize=H)
    with pytest.raises(MapError, match='TILED=YES'):
        open_map(path)


def test_a_list_of_files_on_a_server_is_refused(tmp_path):
    path = write_tif(tmp_path / 'map.tif', textured(H, W), CRS, PLACE)
    (tmp_path / 'good.vrt').write_text(vrt(path.name, relative=1))
    assert middle_patch(tmp_path / 'good.vrt').coverage == 1.0
    (tmp_path / 'remote.vrt').write_text(vrt('/vsicurl/http://127.0.0.1:9/map.tif'))
    with pytest.raises(MapError, match='download it first'):
        open_map(tmp_path / 'remote.vrt')


def vrt(name, relative=0):
    bands = ''.join(
        f'<VRTRasterBand dataType="Byte" band="{band}"><SimpleSource>'
        f'<SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>'
        f'<SourceBand>{band}</SourceBand>'
        f'<SourceProperties RasterXSize="{W}" RasterYSize="{H}" DataType="Byte"/>'
        f'<SrcRect xOff="0" yOff="0" xSize="{W}" ySize="{H}"/>'
        f'<DstRect xOff="0" yOff="0" xSize="{W}" ySize="{H}"/></SimpleSource></VRTRasterBand>'
        for band in (1, 2, 3)
    )
    a, b, c, d, e, f = PLACE
    return (
        f'<VRTDataset rasterXSize="{W}" rasterYSize="{H}"><SRS>{CRS}</SRS>'
        f'<GeoTransform>{c},{a},{b},{f},{d},{e}</GeoTransform>{bands}</VRTDataset>'
    )


def test_a_folder_of_geotiffs_says_how_to_join_them(tmp_path):
    write_tif(tmp_path / 'a.tif', textured(H, W), CRS, PLACE)
    with pytest.raises(MapError, match='gdalbuildvrt'):
        open_map(tmp_path)


def test_nodata_alpha_and_mask_bands_become_the_mask(tmp_path):
    rgb = np.full((3, H, W), 120, np.uint8)
    hole = (slice(50, 60), slice(70, 90))
    with_nodata = rgb.copy()
    with_nodata[(slice(None), *hole)] = 7
    with_nodata[0, 0:10] = 7  # one band alone does not make a hole
    alpha = np.full((1, H, W), 255, np.uint8)
    alpha[(0, *hole)] = 0
    mask = alpha[0] > 0
    rgba = (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)
    paths = [
        write_tif(tmp_path / 'nodata.tif', with_nodata, CRS, PLACE, nodata=7),
        write_tif(
            tmp_path / 'alpha.tif', np.concatenate([rgb, alpha]), CRS, PLACE, colorinterp=rgba
        ),
        write_tif(tmp_path / 'mask.tif', rgb, CRS, PLACE, mask=mask),
    ]
    for path in paths:
        source = open_map(path)
        patch = source.patch(FRAME, (0.0, 0.0), 40.0, 0.25)
        assert 0.03 < 1 - patch.coverage < 0.06
        # No bleeding from the hole into what is said to be imagery.
        assert (patch.image[patch.mask] == 120).all() and not patch.image[~patch.mask].any()
        coarse = source.patch(FRAME, (0.0, 0.0), 40.0, 2.0)
        assert (coarse.image[coarse.mask] == 120).all() and not coarse.mask.all()


def test_16_bit_float_and_grey_rasters_are_stretched_to_8_bit(tmp_path):
    base = textured(H, W, seed=3)[0].astype(np.float64)
    kinds = {
        'u16.tif': (base * 12 + 300).astype(np.uint16),
        'i16.tif': (base * 12 - 900).astype(np.int16),
        'f32.tif': (base / 1000).astype(np.float32),
        'rgbn16.tif': np.stack([(base * 9 + 40).astype(np.uint16)] * 4),
    }
    patches = []
    for name, data in kinds.items():
        patches.append(middle_patch(write_tif(tmp_path / name, data, CRS, PLACE)))
        assert patches[-1].coverage == 1.0
        assert np.ptp(patches[-1].image) > 200
    for patch in patches[1:]:
        assert np.abs(patch.image.astype(int) - patches[0].image).max() <= 2
    grey = middle_patch(write_tif(tmp_path / 'g.tif', base.astype(np.uint8), CRS, PLACE))
    assert np.array_equal(grey.image[..., 0], grey.image[..., 2])
    with_nan = kinds['f32.tif'].copy()
    with_nan[40:80, 60:100] = np.nan
    holey = middle_patch(write_tif(tmp_path / 'nan.tif', with_nan, CRS, PLACE))
    assert 0.1 < holey.coverage < 0.9


def test_bands_are_found_by_their_names_and_palettes_are_looked_up(tmp_path):
    bgr = np.stack([np.full((H, W), v, np.uint8) for v in (10, 20, 30, 40)])
    names = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)
    path = write_tif(tmp_path / 'bgrn.tif', bgr, CRS, PLACE, colorinterp=names)
    assert (middle_patch(path).image[30, 30] == (30, 20, 10)).all()
    index = np.full((H, W), 3, np.uint8)
    path = write_tif(
        tmp_path / 'palette.tif',
        index,
        CRS,
        PLACE,
        photometric='palette',
        colormap={3: (200, 100, 50, 255)},
    )
    assert (middle_patch(path).image[30, 30] == (200, 100, 50)).all()


def test_attribution_comes_from_the_file(tmp_path):
    path = write_tif(tmp_path / 'a.tif', textured(H, W), CRS, PLACE)
    with rasterio.open(path, 'r+') as dataset:
        dataset.update_tags(TIFFTAG_COPYRIGHT='(c) Land Survey')
    assert open_map(path).info.attribution == '(c) Land Survey'
    assert middle_patch(path).attribution == '(c) Land Survey'
    assert open_map(path, attribution='me').info.attribution == 'me'
