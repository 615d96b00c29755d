# SPDX-License-Identifier: Apache-2.0
"""Maps and bundles that cannot be used, met as a robot meets them: through the node."""

import json
import socket

import pytest

pytest.importorskip('rclpy')

from rclpy.parameter import Parameter

from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.geometry.tiles import tile_from_lonlat
from tests.maps.rasters import encode, textured, write_mbtiles, write_tif
from tests.ros.rig import DATUM, START_NS, view_of, write_map
from tests.runtime.tiny_bundle import write_bundle

WARN, ERROR = b'\x01', b'\x02'


def diagnosed(r, name, text, level):
    """Waits for a diagnostic of this name and level that holds a text; returns it."""
    found = []

    def look():
        for message in list(r.got['/diagnostics']):
            for status in message.status:
                if (status.name, status.level) == (name, level) and text in status.message:
                    found.append(status)
        return bool(found)

    r.wait(look, f'{text!r} in {name!r}, the node says {r.node._why!r}')
    return found[-1]


def torn(folder):
    whole = folder / 'whole.tif'
    write_map(whole, textured(200, 300).transpose(1, 2, 0))
    data = whole.read_bytes()
    (folder / 'torn.tif').write_bytes(data[: len(data) * 2 // 3])
    return folder / 'torn.tif'


def metres_that_say_degrees(folder):
    return write_tif(
        folder / 'm.tif', textured(300, 400), 'EPSG:4326', (0.5, 0, -93.0, 0, -0.5, 93.0)
    )


def without_tiles(folder):
    return write_mbtiles(folder / 'none.mbtiles', {})


def torn_archive(folder):
    (folder / 'torn.mbtiles').write_bytes(b'SQLite format 3\0' + bytes(100))
    return folder / 'torn.mbtiles'


def empty_folder(folder):
    (folder / 'tiles').mkdir()
    return folder / 'tiles'


@pytest.mark.parametrize(
    ('make', 'text'),
    [
        (lambda folder: folder / 'absent.tif', 'does not exist; expected a GeoTIFF'),
        (torn, 'torn'),
        (metres_that_say_degrees, 'says EPSG:4326, which is degrees'),
        (without_tiles, 'has no tiles'),
        (torn_archive, 'is it torn'),
        (empty_folder, 'has no tiles: expected files like'),
    ],
)
def test_a_map_that_cannot_be_used_is_named_and_another_can_be_set(
    rig, map_path, tmp_path, make, text
):
    r = rig({'map.path': str(make(tmp_path))})
    r.node.trigger_configure()
    assert r.node.session is None
    assert str(tmp_path) in diagnosed(r, 'geoloc: node', text, ERROR).message
    # The node lives: with the right map it can be configured.
    assert r.node.set_parameters([Parameter('map.path', value=map_path)])[0].successful
    r.start()
    assert r.node.session.map_source is not None


def test_the_real_raster_whose_reference_contradicts_its_extent(rig, real_data):
    path = real_data('geo_rasters', 'ortholoc_demo') / 'urban_residential_DOP.tif'
    r = rig({'map.path': str(path)})
    r.node.trigger_configure()
    assert r.node.session is None
    assert 'map.crs' in diagnosed(r, 'geoloc: node', 'which is degrees', ERROR).message
    # Doing what the message says helps.
    place = f'+proj=aeqd +lat_0={DATUM.lat_deg} +lon_0={DATUM.lon_deg}'
    r.node.set_parameters([Parameter('map.crs', value=place)])
    r.start()
    assert r.node.session.map_source.patch(EnuFrame(DATUM), (0, 0), 20, 0.2).mask.any()


def test_damage_inside_a_map_costs_the_frames_there(rig, tmp_path):
    import rasterio

    path = write_tif(
        tmp_path / 'map.tif',
        textured(512, 512, cell=2),
        f'+proj=aeqd +lat_0={DATUM.lat_deg} +lon_0={DATUM.lon_deg}',
        (0.25, 0, -64.0, 0, -0.25, 64.0),
        tiled=True,
        blockxsize=128,
        blockysize=128,
        compress='deflate',
    )
    with rasterio.open(path) as dataset:
        offset = int(dataset.get_tag_item('BLOCK_OFFSET_2_2', 'TIFF', bidx=1))
    data = bytearray(path.read_bytes())
    data[offset : offset + 400] = bytes(400)
    path.write_bytes(data)
    r = rig({'map.path': str(path)})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    for index in range(2):
        r.image(START_NS + index)
        status, reasons = r.status_of(START_NS + index)
        assert status == 'NO_MAP' and 'is damaged: columns' in reasons, (status, reasons)
    diagnosed(r, 'geoloc: map', 'is damaged', WARN)
    assert 'INTERNAL_ERROR' not in r.node.session.frame_counts


def localized_with_server(rig, tmp_path, url):
    r = rig(
        {
            'map.path': url,
            'map.cache_dir': str(tmp_path / 'cache'),
            'map.timeout_s': 0.3,
            'map.max_zoom': 18,
        }
    )
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    return r


def closed_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def test_a_tile_server_that_has_nothing_here_or_answers_nothing(rig, tmp_path):
    from tests.maps.test_tile_url import Server

    server = Server()
    server.answer = lambda handler: (404, {}, b'')
    silent = socket.socket()
    silent.bind(('127.0.0.1', 0))
    silent.listen(8)
    try:
        for port, text in (
            (server.http.server_port, '404'),
            (closed_port(), 'refused'),
            (silent.getsockname()[1], 'timed out'),
        ):
            url = f'http://127.0.0.1:{port}/{{z}}/{{x}}/{{y}}.png'
            r = localized_with_server(rig, tmp_path, url)
            r.image(START_NS)
            status, reasons = r.status_of(START_NS, timeout=20)
            assert status == 'NO_MAP' and 'covers 0 %' in reasons
            # Which server, and what became of it.
            assert text in reasons and f'127.0.0.1:{port}' in reasons, reasons
            diagnosed(r, 'geoloc: map', text, WARN)
            # The estimate goes on without the map.
            assert r.node.session.last_report.estimate.T_map_base is not None
    finally:
        silent.close()
        server.close()


def test_missing_and_torn_tiles_are_told_where_the_robot_stands(rig, tmp_path):
    zoom = 18
    x, y = tile_from_lonlat(DATUM.lon_deg, DATUM.lat_deg, zoom)
    x, y = int(x), int(y)
    good = encode(textured(256, 256).transpose(1, 2, 0))
    tiles = {(zoom, x + 50, y): good, (zoom, x, y): good[: len(good) // 2]}
    r = rig({'map.path': str(write_mbtiles(tmp_path / 'torn_tile.mbtiles', tiles))})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    r.image(START_NS)
    status, reasons = r.status_of(START_NS)
    assert status == 'NO_MAP' and f'{zoom}/{x}/{y}' in reasons, reasons


# ---- model bundles ----


@pytest.fixture
def bundle(tmp_path):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    return write_bundle(tmp_path / 'tiny')


def test_a_bundle_made_for_another_camera_costs_every_frame_and_says_so(rig, map_path, bundle):
    path = bundle / 'model.json'
    spec = json.loads(path.read_text())
    spec['inputs']['camera_kinds'] = ['equirectangular']
    path.write_text(json.dumps(spec))
    r = rig({'map.path': map_path, 'model.path': str(bundle)})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    for index in range(2):
        r.image(START_NS + index)
        status, reasons = r.status_of(START_NS + index)
        assert status == 'BAD_INPUT'
        assert 'made for equirectangular cameras, this one is pinhole' in reasons
    assert r.node.session.last_report.estimate.T_map_base is not None
    assert not r.errors


def test_a_bundle_that_fits_is_run_by_the_node(rig, map_path, bundle):
    r = rig({'map.path': map_path, 'model.path': str(bundle)})
    r.start()
    r.localize(START_NS)
    r.ready(START_NS)
    r.image(START_NS, view_of(r.node.session.map_source, 0.0, 0.0, 0.0))
    status, reasons = r.status_of(START_NS)
    assert status not in ('BAD_INPUT', 'INTERNAL_ERROR', 'NO_MAP'), reasons
    assert 'match/engine_ms' in r.node.session.last_report.timings_ms


def test_a_damaged_bundle_or_a_map_too_coarse_for_it_is_refused_at_configure(
    rig, tmp_path, bundle
):
    coarse = write_map(tmp_path / 'coarse.tif', textured(200, 300).transpose(1, 2, 0), gsd=2.0)
    r = rig({'map.path': coarse, 'model.path': str(bundle)})
    r.node.trigger_configure()
    assert r.node.session is None
    diagnosed(r, 'geoloc: node', 'needs a map of 0.25 m/px', ERROR)
    weights = (bundle / 'model.onnx').read_bytes()
    (bundle / 'model.onnx').write_bytes(weights[:-5])
    r.node.trigger_configure()
    diagnosed(r, 'geoloc: node', 'damaged or belongs to another bundle', ERROR)
    assert r.node.set_parameters([Parameter('model.path', value='')])[0].successful
    r.start()
