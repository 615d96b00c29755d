// SPDX-License-Identifier: Apache-2.0
// Makes the report's map, charts and frame viewer out of the JSON in #data. All text is written
// with textContent: strings from a bag never become markup.
'use strict';
(function () {
  const data = JSON.parse(document.getElementById('data').textContent);
  const frames = data.frames;
  const count = frames.t.length;
  const $ = (id) => document.getElementById(id);
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue('--' + name).trim();
  const element = (tag, cls, text) => {
    const node = document.createElement(tag);
    if (cls) node.className = cls;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const has = (value) => value !== null && value !== undefined;
  const fixed = (value, digits, unit) => (has(value) ? value.toFixed(digits) + unit : '–');
  // Leaflet's CRS.Simple takes (lat, lng) = (y, x): north up, one unit a metre.
  const at = (x, y) => [y, x];
  const RADIUS_95 = Math.sqrt(-2 * Math.log(0.05));
  const MAP_COLOURS = { truth: '#ffffff', geoloc: '#35b6ff', gnss: '#ffb000', odometry: '#ff8ad1', refused: '#ff5a3c', dropped: '#d5dae0', outage: '#ffe45c' };
  let current = 0;

  // ---------------------------------------------------------------- map
  const map = L.map('map', { crs: L.CRS.Simple, minZoom: -8, maxZoom: 7, zoomSnap: 0.25, preferCanvas: true, keyboard: false, attributionControl: false });
  L.control.scale({ imperial: false }).addTo(map);
  const groups = {};
  const layerBox = $('layers');
  function layer(name, label, shown, round) {
    const group = L.layerGroup();
    if (shown) group.addTo(map);
    const row = element('label');
    const box = element('input');
    box.type = 'checkbox';
    box.checked = shown;
    box.addEventListener('change', () => (box.checked ? group.addTo(map) : group.remove()));
    const key = element('i', round ? 'key round' : 'key');
    key.style.background = MAP_COLOURS[name] || '#888888';
    key.style.boxShadow = '0 0 0 1px rgba(0,0,0,.45)';
    row.append(box, key, element('span', '', label));
    layerBox.append(row);
    groups[name] = group;
    return group;
  }
  function pieces(xs, ys, wanted) {
    const lines = [];
    let line = null;
    for (let i = 0; i < xs.length; i++) {
      if (!has(xs[i]) || !has(ys[i]) || (wanted && !wanted(i))) { line = null; continue; }
      if (!line) lines.push((line = []));
      line.push(at(xs[i], ys[i]));
    }
    return lines;
  }
  function track(group, lines, colour, weight) {
    L.polyline(lines, { color: '#14171b', weight: weight + 2, opacity: 0.55, interactive: false }).addTo(group);
    L.polyline(lines, { color: colour, weight: weight, interactive: false }).addTo(group);
  }
  function outline(i) {
    const points = [];
    const cos = Math.cos(frames.tilt[i]), sin = Math.sin(frames.tilt[i]);
    for (let k = 0; k < 40; k++) {
      const a = RADIUS_95 * frames.major[i] * Math.cos((k * Math.PI) / 20);
      const b = RADIUS_95 * frames.minor[i] * Math.sin((k * Math.PI) / 20);
      points.push(at(frames.x[i] + cos * a - sin * b, frames.y[i] + sin * a + cos * b));
    }
    return points;
  }
  const inOutage = (i) => data.outages.some(([start, end]) => frames.t[i] >= start && frames.t[i] <= end);
  const hasEllipse = (i) => has(frames.x[i]) && has(frames.y[i]) && has(frames.major[i]);

  if (data.map) {
    const [west, south, east, north] = data.map.bounds;
    L.imageOverlay(data.map.image, [at(west, south), at(east, north)]).addTo(map);
  }
  if (data.outages.length) {
    const lines = pieces(frames.truth_x, frames.truth_y, inOutage);
    const group = layer('outage', 'no GNSS', true);
    L.polyline(lines, { color: MAP_COLOURS.outage, weight: 15, opacity: 0.5, interactive: false }).addTo(group);
  }
  const points = [];
  const tracks = { truth: 'truth', odometry: 'odometry alone', gnss: 'GNSS alone' };
  for (const [name, label] of Object.entries(tracks)) {
    const xy = data.tracks[name];
    if (!xy) continue;
    const group = layer(name, label, name !== 'odometry', name === 'gnss');
    if (name !== 'odometry') xy.forEach((p) => points.push(at(p[0], p[1])));
    if (name === 'gnss') {
      xy.forEach((p) => L.circleMarker(at(p[0], p[1]), { radius: 3, weight: 1, color: '#14171b', opacity: 0.6, fillColor: MAP_COLOURS.gnss, fillOpacity: 1, interactive: false }).addTo(group));
    } else {
      track(group, pieces(xy.map((p) => p[0]), xy.map((p) => p[1])), MAP_COLOURS[name], name === 'truth' ? 3 : 2);
    }
  }
  const ellipses = layer('ellipses', '95 % ellipses', true);
  layerBox.lastChild.querySelector('.key').style.background = MAP_COLOURS.geoloc;
  const usable = [];
  for (let i = 0; i < count; i++) if (hasEllipse(i)) usable.push(i);
  for (let k = 0; k < usable.length; k += Math.max(1, Math.floor(usable.length / 250))) {
    L.polygon(outline(usable[k]), { color: MAP_COLOURS.geoloc, weight: 1, opacity: 0.55, fillOpacity: 0.1, interactive: false }).addTo(ellipses);
  }
  const estimate = layer('geoloc', 'geoloc', true);
  track(estimate, pieces(frames.x, frames.y), MAP_COLOURS.geoloc, 2);
  const kinds = { refused: 'refused frames', dropped: 'dropped frames' };
  for (const [kind, label] of Object.entries(kinds)) {
    const rows = [];
    for (let i = 0; i < count; i++) if (data.statuses[frames.status[i]].kind === kind) rows.push(i);
    if (!rows.length) continue;
    const group = layer(kind, label + ' (' + rows.length + ')', true, true);
    rows.forEach((i) => {
      const x = has(frames.x[i]) ? frames.x[i] : frames.truth_x[i];
      const y = has(frames.y[i]) ? frames.y[i] : frames.truth_y[i];
      if (!has(x) || !has(y)) return;
      L.circleMarker(at(x, y), { radius: 4, weight: 1.5, color: '#14171b', fillColor: MAP_COLOURS[kind], fillOpacity: 1, bubblingMouseEvents: false }).on('click', () => show(i)).addTo(group);
    });
  }
  for (let i = 0; i < count; i++) {
    if (has(frames.x[i]) && has(frames.y[i])) points.push(at(frames.x[i], frames.y[i]));
  }
  if (points.length) map.fitBounds(L.latLngBounds(points).pad(0.06)); else map.setView([0, 0], 0);

  // The frame on show: ellipse, heading, a line to the truth.
  const cursor = L.layerGroup().addTo(map);
  function drawCursor(i) {
    cursor.clearLayers();
    const truth = has(frames.truth_x[i]) && has(frames.truth_y[i]) ? at(frames.truth_x[i], frames.truth_y[i]) : null;
    if (truth) L.circleMarker(truth, { radius: 5, weight: 2, color: '#14171b', fillColor: MAP_COLOURS.truth, fillOpacity: 1, interactive: false }).addTo(cursor);
    if (!has(frames.x[i]) || !has(frames.y[i])) return;
    const here = at(frames.x[i], frames.y[i]);
    if (truth) L.polyline([here, truth], { color: MAP_COLOURS.refused, weight: 2, interactive: false }).addTo(cursor);
    if (hasEllipse(i)) L.polygon(outline(i), { color: MAP_COLOURS.geoloc, weight: 2.5, fillOpacity: 0.18, interactive: false }).addTo(cursor);
    if (has(frames.yaw[i])) {
      const length = 30 / Math.pow(2, map.getZoom());
      const tip = at(frames.x[i] + length * Math.cos(frames.yaw[i]), frames.y[i] + length * Math.sin(frames.yaw[i]));
      track(cursor, [[here, tip]], MAP_COLOURS.geoloc, 3);
    }
    L.circleMarker(here, { radius: 6, weight: 2, color: '#14171b', fillColor: MAP_COLOURS.geoloc, fillOpacity: 1, interactive: false }).addTo(cursor);
  }
  map.on('zoomend', () => drawCursor(current));
  map.on('click mousemove', (event) => {
    // Hovering near the track shows the nearest frame; a click takes the nearest from anywhere.
    const reach = event.type === 'click' ? Infinity : 14 / Math.pow(2, map.getZoom());
    let best = -1, least = reach;
    for (let i = 0; i < count; i++) {
      const x = has(frames.x[i]) ? frames.x[i] : frames.truth_x[i];
      const y = has(frames.y[i]) ? frames.y[i] : frames.truth_y[i];
      if (!has(x) || !has(y)) continue;
      const away = Math.hypot(x - event.latlng.lng, y - event.latlng.lat);
      if (away < least) { least = away; best = i; }
    }
    if (best >= 0 && best !== current) show(best);
  });

  // ---------------------------------------------------------------- frame viewer
  const pictured = Object.keys(data.pictures).map(Number).sort((a, b) => a - b);
  function nearestPictured(i) {
    let best = -1;
    for (const row of pictured) if (best < 0 || Math.abs(row - i) < Math.abs(best - i)) best = row;
    return best;
  }
  let shownPicture = null;
  function drawPictures(i) {
    const row = nearestPictured(i);
    const box = $('pictures');
    let note = box.querySelector('p');
    if (row !== shownPicture) {
      box.replaceChildren();
      note = element('p');
      if (row >= 0) {
        for (const kind of ['match', 'view']) {
          if (!data.pictures[row][kind]) continue;
          const image = element('img', kind);
          image.src = data.pictures[row][kind];
          image.alt = kind === 'match' ? 'map patch with heat map, camera view, status' : 'camera view';
          image.title = 'click to enlarge';
          image.addEventListener('click', () => image.classList.toggle('big'));
          box.append(image);
        }
      }
      box.append(note);
      shownPicture = row;
    }
    if (note) note.textContent = row < 0 ? 'no pictures were stored' : row === i ? '' : 'pictures of the nearest stored frame, ' + row;
  }
  const degrees = (rad) => (has(rad) ? (rad * 180) / Math.PI : null);
  function show(i) {
    current = Math.max(0, Math.min(count - 1, i));
    i = current;
    const status = data.statuses[frames.status[i]];
    $('scrub').value = i;
    $('frame-name').textContent = 'frame ' + i + ' · ' + frames.t[i].toFixed(2) + ' s';
    $('frame-status').textContent = status.name;
    $('frame-status').className = status.kind;
    $('frame-reasons').textContent = [status.sentence, frames.reasons[i]].filter(Boolean).join(': ');
    const values = [
      ['position error', fixed(frames.error[i], 2, ' m')], ['σ, longer axis', fixed(frames.std[i], 2, ' m')], ['latency', fixed(frames.latency[i], 0, ' ms')],
      ['yaw error', fixed(frames.yaw_error[i], 2, '°')], ['σ of yaw', fixed(frames.std_yaw[i], 2, '°')], ['yaw', fixed(degrees(frames.yaw[i]), 1, '°')],
      ['east', fixed(frames.x[i], 2, ' m')], ['north', fixed(frames.y[i], 2, ' m')], ['stamp, ns', frames.stamp_ns[i]],
    ];
    $('frame-values').replaceChildren(...values.map(([name, value]) => {
      const pair = element('div');
      pair.append(element('dt', '', name), element('dd', '', value));
      return pair;
    }));
    drawPictures(i);
    drawCursor(i);
    charts.forEach((chart) => chart.point(i));
  }
  function step(direction, picturesOnly) {
    if (!picturesOnly || !pictured.length) return show(current + direction);
    const ahead = pictured.filter((row) => (row - current) * direction > 0);
    if (ahead.length) show(direction > 0 ? ahead[0] : ahead[ahead.length - 1]);
  }
  $('previous').addEventListener('click', (event) => step(-1, event.shiftKey));
  $('next').addEventListener('click', (event) => step(1, event.shiftKey));
  $('scrub').max = count - 1;
  $('scrub').addEventListener('input', (event) => show(Number(event.target.value)));
  document.addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    step(event.key === 'ArrowRight' ? 1 : -1, event.shiftKey);
  });

  // ---------------------------------------------------------------- charts
  const charts = [];
  const svg = (tag, attributes, text) => {
    const node = document.createElementNS('http://www.w3.org/2000/svg', tag);
    for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return node;
  };
  function ticks(low, high, wanted) {
    const raw = (high - low) / wanted;
    const decade = Math.pow(10, Math.floor(Math.log10(raw)));
    const size = [1, 2, 5, 10].map((s) => s * decade).find((s) => s >= raw);
    const list = [];
    for (let v = Math.ceil(low / size) * size; v <= high + 1e-9 * size; v += size) list.push(Math.abs(v) < 1e-9 * size ? 0 : Number(v.toPrecision(6)));
    return list;
  }
  // spec: {x: [low, high], y: [low, high], log, height, lines: [{x, y, colour, width, dash}],
  //        bands: [{x, low, high, colour, opacity}], shades: [[x0, x1]], xLabel, yLabel, legend,
  //        onMove, atFrame}
  function drawChart(box, spec) {
    const width = Math.max(box.clientWidth, 260), height = spec.height;
    const left = 46, right = 8, top = 8, bottom = 30;
    const floor = spec.log ? Math.log10(spec.y[0]) : spec.y[0];
    const ceiling = spec.log ? Math.log10(spec.y[1]) : spec.y[1];
    const sx = (x) => left + ((x - spec.x[0]) / (spec.x[1] - spec.x[0])) * (width - left - right);
    const sy = (y) => {
      const value = spec.log ? Math.log10(Math.max(y, spec.y[0])) : y;
      return height - bottom - ((value - floor) / (ceiling - floor)) * (height - top - bottom);
    };
    const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, height });
    const id = 'clip-' + box.id;
    const clip = svg('clipPath', { id });
    clip.append(svg('rect', { x: left, y: top, width: width - left - right, height: height - top - bottom }));
    root.append(clip);
    (spec.shades || []).forEach(([a, b]) => root.append(svg('rect', { x: sx(a), y: top, width: Math.max(1, sx(b) - sx(a)), height: height - top - bottom, fill: css('outage') })));
    const yTicks = spec.log ? [] : ticks(spec.y[0], spec.y[1], spec.yTicks || 4);
    if (spec.log) for (let e = Math.ceil(floor); e <= ceiling; e++) yTicks.push(Math.pow(10, e));
    yTicks.forEach((v) => {
      root.append(svg('line', { class: 'rule', x1: left, x2: width - right, y1: sy(v), y2: sy(v) }));
      root.append(svg('text', { x: left - 6, y: sy(v) + 4, 'text-anchor': 'end' }, String(Number(v.toPrecision(4)))));
    });
    ticks(spec.x[0], spec.x[1], Math.max(3, width / 110)).forEach((v) => root.append(svg('text', { x: sx(v), y: height - bottom + 15, 'text-anchor': 'middle' }, String(v))));
    root.append(svg('line', { class: 'axis', x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
    root.append(svg('text', { x: width - right, y: height - 2, 'text-anchor': 'end' }, spec.xLabel));
    root.append(svg('text', { x: left + 4, y: top + 8 }, spec.yLabel));
    const plot = svg('g', { 'clip-path': `url(#${id})` });
    (spec.bands || []).forEach((band) => {
      let up = [], down = [];
      const flush = () => {
        if (up.length > 1) plot.append(svg('path', { d: 'M' + up.join('L') + 'L' + down.reverse().join('L') + 'Z', fill: band.colour, opacity: band.opacity }));
        up = []; down = [];
      };
      band.x.forEach((x, i) => {
        if (!has(x) || !has(band.high[i])) return flush();
        up.push(sx(x).toFixed(1) + ',' + sy(band.high[i]).toFixed(1));
        down.push(sx(x).toFixed(1) + ',' + sy(band.low[i]).toFixed(1));
      });
      flush();
    });
    (spec.lines || []).forEach((line) => {
      let d = '', pen = false;
      line.x.forEach((x, i) => {
        if (!has(x) || !has(line.y[i])) { pen = false; return; }
        d += (pen ? 'L' : 'M') + sx(x).toFixed(1) + ',' + sy(line.y[i]).toFixed(1);
        pen = true;
      });
      plot.append(svg('path', { d, fill: 'none', stroke: line.colour, 'stroke-width': line.width || 1.5, 'stroke-linejoin': 'round', 'stroke-dasharray': line.dash || 'none' }));
    });
    (spec.marks || []).forEach((m) => plot.append(svg('circle', { cx: sx(m.x), cy: height - bottom - 4, r: 3, fill: m.colour })));
    const cursorLine = svg('line', { class: 'cursor', y1: top, y2: height - bottom, visibility: 'hidden' });
    const cursorDot = svg('circle', { r: 4, fill: css('geoloc'), stroke: css('paper'), 'stroke-width': 1.5, visibility: 'hidden' });
    plot.append(cursorLine, cursorDot);
    root.append(plot);
    if (spec.onMove) {
      const move = (event) => {
        const place = root.getBoundingClientRect();
        spec.onMove(spec.x[0] + (((event.clientX - place.left) * (width / place.width) - left) / (width - left - right)) * (spec.x[1] - spec.x[0]));
      };
      root.addEventListener('pointermove', move);
      root.addEventListener('pointerdown', move);
    }
    const legend = element('div', 'legend');
    (spec.legend || []).forEach(([label, colour, opacity]) => {
      const entry = element('span');
      const key = element('i', 'key');
      key.style.background = colour;
      if (opacity) { key.style.opacity = opacity; key.style.height = '9px'; }
      entry.append(key, label);
      legend.append(entry);
    });
    box.replaceChildren(root, legend);
    return {
      point(x, y) {
        cursorLine.setAttribute('visibility', 'visible');
        cursorLine.setAttribute('x1', sx(x));
        cursorLine.setAttribute('x2', sx(x));
        cursorDot.setAttribute('visibility', has(y) ? 'visible' : 'hidden');
        if (has(y)) { cursorDot.setAttribute('cx', sx(x)); cursorDot.setAttribute('cy', sy(y)); }
      },
    };
  }
  const largest = (list, least) => list.reduce((m, v) => (has(v) && v > m ? v : m), least);
  function nearestFrame(t) {
    let low = 0, high = count - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (frames.t[middle] <= t) low = middle; else high = middle;
    }
    return t - frames.t[low] < frames.t[high] - t ? low : high;
  }
  const toFrame = (t) => show(nearestFrame(t));
  const names = { geoloc: 'geoloc', gnss: 'GNSS alone', odometry: 'odometry alone' };
  // A few wild metres must not flatten everything else.
  const sorted = frames.error.filter(has).sort((a, b) => a - b);
  let logScale = sorted.length > 0 && sorted[sorted.length - 1] > 30 * Math.max(sorted[sorted.length >> 1], 0.01);
  $('log').setAttribute('aria-pressed', String(logScale));
  const times = [frames.t[0], Math.max(frames.t[count - 1], frames.t[0] + 1e-3)];
  const sigma = (n, list) => list.map((v) => (has(v) ? n * v : null));

  function errorChart() {
    const top = 1.08 * Math.max(largest(frames.error, 0), largest(sigma(3, frames.std), 0), 0.01);
    const others = Math.max(...Object.values(data.errors).map((s) => largest(s.e, 0)));
    const zero = frames.t.map(() => (logScale ? 0.001 : 0));
    const lines = ['odometry', 'gnss', 'geoloc'].filter((n) => data.errors[n]).map((n) => ({ x: data.errors[n].t, y: data.errors[n].e, colour: css(n), width: n === 'geoloc' ? 1.8 : 1.1 }));
    const marks = [];
    for (let i = 0; i < count; i++) {
      const kind = data.statuses[frames.status[i]].kind;
      if (kind !== 'ok') marks.push({ x: frames.t[i], colour: css(kind) });
    }
    const made = drawChart($('error-chart'), {
      x: times, y: logScale ? [0.01, Math.max(top, others)] : [0, top], log: logScale, height: 250, xLabel: 'time, s', yLabel: '',
      bands: [3, 2, 1].map((n) => ({ x: frames.t, low: zero, high: sigma(n, frames.std), colour: css('geoloc'), opacity: 0.12 })),
      lines, marks, shades: data.outages, onMove: toFrame,
      legend: [...Object.keys(names).filter((n) => data.errors[n]).map((n) => [names[n], css(n)]), ['1, 2, 3 σ of geoloc', css('geoloc'), 0.3], ['no GNSS', css('quiet'), 0.35], ['refused', css('refused')], ['dropped', css('dropped')]],
    });
    return { point: (i) => made.point(frames.t[i], frames.error[i]) };
  }
  function yawChart() {
    const limit = Math.max(0.05, 1.1 * Math.max(largest(frames.yaw_error.map((v) => (has(v) ? Math.abs(v) : null)), 0), largest(sigma(2, frames.std_yaw), 0)));
    const made = drawChart($('yaw-chart'), {
      x: times, y: [-limit, limit], height: 150, yTicks: 6, xLabel: 'time, s', yLabel: '', shades: data.outages, onMove: toFrame,
      bands: [3, 2, 1].map((n) => ({ x: frames.t, low: sigma(-n, frames.std_yaw), high: sigma(n, frames.std_yaw), colour: css('geoloc'), opacity: 0.12 })),
      lines: [{ x: frames.t, y: frames.yaw_error, colour: css('geoloc'), width: 1.4 }],
    });
    return { point: (i) => made.point(frames.t[i], frames.yaw_error[i]) };
  }
  function cedChart() {
    const shown = Object.keys(names).filter((n) => data.cumulative[n] && data.cumulative[n][0].length);
    if (!shown.length) return;
    const reach = shown.map((n) => data.cumulative[n][0]).map((list) => list[Math.floor(0.95 * (list.length - 1))]);
    drawChart($('ced-chart'), {
      x: [0, 1.1 * Math.max(...reach, 0.01)], y: [0, 1], height: 230, xLabel: 'position error, m', yLabel: '',
      lines: shown.map((n) => ({ x: [0, ...data.cumulative[n][0]], y: [0, ...data.cumulative[n][1]], colour: css(n), width: 1.8 })),
      legend: shown.map((n) => [names[n], css(n)]),
    });
  }
  function calibrationChart() {
    drawChart($('calibration-chart'), {
      x: [0, 1], y: [0, 1], height: 230, xLabel: 'ellipse should hold', yLabel: 'ellipse held',
      lines: [{ x: [0, 1], y: [0, 1], colour: css('quiet'), width: 1, dash: '4 4' }, { x: data.calibration[0], y: data.calibration[1], colour: css('geoloc'), width: 1.8 }],
    });
  }
  function drawCharts() {
    charts.splice(0, charts.length, errorChart(), yawChart());
    cedChart();
    calibrationChart();
    charts.forEach((chart) => chart.point(current));
  }
  $('log').addEventListener('click', () => {
    logScale = !logScale;
    $('log').setAttribute('aria-pressed', String(logScale));
    drawCharts();
  });
  window.addEventListener('resize', drawCharts);
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawCharts);
  drawCharts();
  show(pictured.length ? pictured[Math.floor(pictured.length / 2)] : Math.floor(count / 2));
  document.documentElement.dataset.ready = 'yes';
})();
