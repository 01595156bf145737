"""The report's page: HTML from text, tables and pictures, in one file that needs no network and runs on a phone.

Whatever comes from tables or files is escaped here, and nowhere else: names of objects are other people's text.
"""

import base64
import json
from html import escape
from pathlib import Path

import pandas as pd

STYLE = """
:root{color-scheme:light dark;--ink:#1c2733;--soft:#5d6b7a;--line:#d6dde4;--paper:#fff;--mark:#1f4e79;--warm:#d1661d}
@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b5;--line:#3a4652;--paper:#12181e;--mark:#7fb2e5;
--warm:#f0954f}img{background:#fff}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:60rem;padding:1rem;font:16px/1.5 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2.2rem;border-top:1px solid var(--line);
padding-top:1rem}
p.note{color:var(--soft);max-width:44rem}
.kind{display:inline-block;padding:.1rem .6rem;border-radius:1rem;background:var(--warm);color:#fff;font-weight:600}
.scroll{overflow-x:auto;-webkit-overflow-scrolling:touch}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums;margin:.5rem 0}
th,td{padding:.2rem .7rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th.name,td.name{text-align:left;white-space:normal}
thead th{color:var(--soft);font-weight:600}
img,canvas{max-width:100%;height:auto;display:block}
figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.85rem}
#plot{width:100%;height:26rem;touch-action:pan-y;cursor:crosshair;border:1px solid var(--line)}
#one{width:100%;height:13rem;border:1px solid var(--line);margin-top:.5rem}
#what{min-height:3rem;font-size:.9rem}
select{font:inherit}
"""

SCRIPT = """
'use strict';
const D = JSON.parse(document.getElementById('data').textContent);
const bytes = Uint8Array.from(atob(D.spectra), c => c.charCodeAt(0));
const plot = document.getElementById('plot'), one = document.getElementById('one');
const what = document.getElementById('what'), axis = document.getElementById('axis');
const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
let points = [], chosen = -1;
function fit(canvas) {
  const box = canvas.getBoundingClientRect(), scale = window.devicePixelRatio || 1;
  canvas.width = Math.round(box.width * scale); canvas.height = Math.round(box.height * scale);
  const c = canvas.getContext('2d'); c.setTransform(scale, 0, 0, scale, 0, 0); c.clearRect(0, 0, box.width, box.height);
  c.font = '12px system-ui, sans-serif'; c.lineWidth = 1;
  return [c, box.width, box.height];
}
function ticks(low, high) {
  const rough = (high - low) / 5, power = Math.pow(10, Math.floor(Math.log10(rough)));
  const step = [1, 2, 5, 10].map(k => k * power).find(s => s >= rough) || rough, found = [];
  for (let t = Math.ceil(low / step) * step; t <= high + 1e-9; t += step) found.push(Number(t.toPrecision(6)));
  return found;
}
function frame(c, w, h, x, y, xname, yname) {
  const left = 48, right = w - 10, top = 10, bottom = h - 36;
  const X = v => left + (v - x[0]) / (x[1] - x[0]) * (right - left);
  const Y = v => bottom - (v - y[0]) / (y[1] - y[0]) * (bottom - top);
  c.strokeStyle = css('--line'); c.fillStyle = css('--soft');
  c.textAlign = 'center'; c.textBaseline = 'top';
  for (const t of ticks(...x)) { c.beginPath(); c.moveTo(X(t), top); c.lineTo(X(t), bottom); c.stroke();
    c.fillText(t, X(t), bottom + 4); }
  c.fillText(xname, (left + right) / 2, bottom + 20);
  c.textAlign = 'right'; c.textBaseline = 'middle';
  for (const t of ticks(...y)) { c.beginPath(); c.moveTo(left, Y(t)); c.lineTo(right, Y(t)); c.stroke();
    c.fillText(t, left - 5, Y(t)); }
  c.save(); c.translate(11, (top + bottom) / 2); c.rotate(-Math.PI / 2); c.textAlign = 'center';
  c.fillText(yname, 0, 0); c.restore();
  return [X, Y];
}
function span(values, pad) {
  let low = Infinity, high = -Infinity;
  for (const v of values) if (v !== null) { low = Math.min(low, v); high = Math.max(high, v); }
  if (!(high > low)) { low -= 1; high += 1; }
  return [low - pad * (high - low), high + pad * (high - low)];
}
function draw() {
  const key = axis.value, xs = D[key], plain = key === 'label';
  const ys = plain ? D.predicted : D.predicted.map((p, i) => p - D.label[i]);
  const [c, w, h] = fit(plot);
  const both = plain ? span(D.label.concat(D.predicted), .03) : null;
  const x = both || span(xs, .03), y = both || span(ys, .05);
  const [X, Y] = frame(c, w, h, x, y, D.names[key], plain ? D.names.predicted : 'prediction - label (dex)');
  c.strokeStyle = css('--warm'); c.beginPath();
  if (plain) { c.moveTo(X(x[0]), Y(x[0])); c.lineTo(X(x[1]), Y(x[1])); }
  else { c.moveTo(X(x[0]), Y(0)); c.lineTo(X(x[1]), Y(0)); }
  c.stroke();
  points = [];
  c.globalAlpha = .45;
  for (let i = 0; i < ys.length; i++) {
    if (xs[i] === null) continue;
    const px = X(xs[i]), py = Y(ys[i]);
    points.push([px, py, i]);
    c.fillStyle = D.flags[i] ? css('--warm') : css('--mark');
    c.beginPath(); c.arc(px, py, 2.2, 0, 7); c.fill();
  }
  c.globalAlpha = 1;
  const mine = points.find(p => p[2] === chosen);
  if (mine) {
    const i = chosen;
    c.strokeStyle = css('--ink'); c.lineWidth = 1.5;
    if (D.low && D.low[i] !== null) {
      const shift = plain ? 0 : D.label[i];
      c.beginPath(); c.moveTo(mine[0], Y(D.low[i] - shift)); c.lineTo(mine[0], Y(D.high[i] - shift)); c.stroke();
    }
    c.beginPath(); c.arc(mine[0], mine[1], 6, 0, 7); c.stroke();
  }
}
function show(i) {
  chosen = i; draw();
  const f = (v, n) => v === null ? '-' : v.toFixed(n);
  let text = D.epoch[i] + ' (' + D.kind + '), z = ' + f(D.z[i], 3) + ', S/N = ' + f(D.sn[i], 1) + ': predicted ' +
    f(D.predicted[i], 2);
  if (D.low && D.low[i] !== null) text += ' [' + f(D.low[i], 2) + ', ' + f(D.high[i], 2) + ']';
  text += ', label ' + f(D.label[i], 2) + ' from ' + D.line[i];
  if (D.flags[i]) text += '. Flags: ' + D.flags[i];
  what.textContent = text;
  const n = D.wavelength.length, flux = [];
  for (let k = 0; k < n; k++)
    flux.push(D.floor[i] + bytes[i * n + k] / 255 * (D.top[i] - D.floor[i]));
  const [c, w, h] = fit(one);
  const [X, Y] = frame(c, w, h, [D.wavelength[0], D.wavelength[n - 1]], span(flux.concat([0]), .05),
    'rest wavelength (Angstrom)', 'luminosity density');
  c.fillStyle = css('--soft'); c.strokeStyle = css('--soft'); c.setLineDash([2, 3]); c.textAlign = 'center';
  for (const [name, at] of D.lines) {
    c.beginPath(); c.moveTo(X(at), 22); c.lineTo(X(at), h - 36); c.stroke(); c.fillText(name, X(at), 16); }
  c.setLineDash([]); c.strokeStyle = css('--mark'); c.beginPath();
  flux.forEach((v, k) => k ? c.lineTo(X(D.wavelength[k]), Y(v)) : c.moveTo(X(D.wavelength[k]), Y(v)));
  c.stroke();
}
function nearest(event) {
  const box = plot.getBoundingClientRect(), x = event.clientX - box.left, y = event.clientY - box.top;
  let best = -1, least = 400;
  for (const [px, py, i] of points) {
    const d = (px - x) * (px - x) + (py - y) * (py - y);
    if (d < least) { least = d; best = i; }
  }
  if (best >= 0 && best !== chosen) show(best);
}
plot.addEventListener('pointermove', nearest);
plot.addEventListener('pointerdown', nearest);
axis.addEventListener('change', draw);
window.addEventListener('resize', () => { draw(); if (chosen >= 0) show(chosen); });
if (D.predicted.length) show(0); else draw();
"""


def page(title: str, kind: str, parts: list[str], data: dict) -> str:
    """Put a page together.

    Parameters
    ----------
    title, kind : str
        Plain text; ``simulated`` or ``sdss``.
    parts : list of str
        HTML of the sections, from the functions below.
    data : dict
        For the interactive plot: JSON.
    """
    # within a script element only "</" and "<!--" could end it; no "<" at all is simpler
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        # no request goes out, whatever is in the page; an icon of its own, for browsers ask for one
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(title)} ({escape(kind)})</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<h1>{escape(title)} <span class="kind">{escape(kind)}</span></h1>\n'
        + "\n".join(parts)
        + f'\n<script type="application/json" id="data">{text}</script>\n<script>{SCRIPT}</script>\n</body>\n</html>\n'
    )


def section(title: str, *content: str, note: str = "") -> str:
    """A heading, a remark in plain text, and HTML beneath."""
    remark = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<h2>{escape(title)}</h2>\n{remark}\n" + "\n".join(content)


def facts(rows: dict) -> str:
    """Names and values in two columns."""
    cells = (
        f'<tr><th class="name">{escape(str(name))}</th><td class="name">{escape(str(value))}</td></tr>'
        for name, value in rows.items()
    )
    return f'<div class="scroll"><table><tbody>{"".join(cells)}</tbody></table></div>'


def table(frame: pd.DataFrame, digits: int = 3) -> str:
    """A table; its index first. Numbers are rounded, what is not known is a dash."""
    frame = frame.reset_index()
    text = [pd.api.types.is_numeric_dtype(frame[name]) for name in frame]

    def cell(value, number: bool) -> str:
        if not number:
            return f'<td class="name">{escape(str(value))}</td>'
        if value != value:
            return "<td>-</td>"
        return f"<td>{value:,}</td>" if isinstance(value, int) else f"<td>{value:.{digits}f}</td>"

    head = "".join(
        f"<th{'' if number else ' class=name'}>{escape(str(name))}</th>"
        for name, number in zip(frame, text, strict=True)
    )
    body = "".join(
        f"<tr>{''.join(cell(value, number) for value, number in zip(row, text, strict=True))}</tr>"
        for row in frame.itertuples(index=False)
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(path: Path, caption: str) -> str:
    """A PNG, within the page, and what it shows in plain text."""
    content = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{content}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def interactive() -> str:
    """The plot whose points show their spectra."""
    return (
        '<p><label>across: <select id="axis"><option value="label">label</option><option value="sn">S/N</option>'
        '<option value="z">redshift</option><option value="luminosity">luminosity</option></select></label></p>\n'
        '<canvas id="plot" aria-label="predictions; a point shows its spectrum"></canvas>\n'
        '<p id="what" aria-live="polite"></p>\n<canvas id="one" aria-label="the spectrum of that point"></canvas>'
    )
