"""Plots as hand-written SVG: line panels and bars. Colours follow the reader's light or dark scheme."""

from math import ceil, floor, log10
from xml.sax.saxutils import escape

from . import contestants as who

LIGHT = {who.SYNC: "#6b7280", who.GLIBC: "#c2410c", who.RING: "#1d4ed8", who.WORKERS: "#0891b2", who.URING: "#7c3aed",
         who.BATCH: "#be185d"}
DARK = {who.SYNC: "#9ca3af", who.GLIBC: "#fb923c", who.RING: "#60a5fa", who.WORKERS: "#22d3ee", who.URING: "#c4b5fd",
        who.BATCH: "#f472b6"}
# Colour is not the only sign: each contestant has its own mark as well.
MARKS = {who.SYNC: "dash", who.GLIBC: "square", who.RING: "circle", who.WORKERS: "diamond", who.URING: "up", who.BATCH: "down"}
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"


def style():
    """No CSS variables: not every viewer of SVG knows them."""

    def scheme(colours, text, faint, grid, back):
        rules = [f"text{{fill:{text}}}.faint{{fill:{faint}}}.grid{{stroke:{grid}}}.back{{fill:{back}}}"]
        for c, v in colours.items():
            rules.append(f".{c} .line,.{c} .tail,.{c} .spread{{stroke:{v}}}.{c} .mark{{fill:{v}}}")
        return "".join(rules)

    return (f"<style>text{{font-family:{FONT};font-size:12px}}.faint{{font-size:11px}}"
            ".title{font-size:15px;font-weight:600}.panel{font-weight:600}.grid{stroke-width:1}"
            ".line{stroke-width:2;fill:none}.tail{stroke-width:1.2;fill:none;stroke-dasharray:3 3}"
            ".spread{stroke-width:1.2;opacity:.55}" + scheme(LIGHT, "#111827", "#4b5563", "#d1d5db", "#ffffff") +
            "@media (prefers-color-scheme: dark){" + scheme(DARK, "#f3f4f6", "#9ca3af", "#374151", "#111827") + "}</style>")


def mark(kind, x, y):
    x, y = round(x, 1), round(y, 1)
    shapes = {
        "circle": f'<circle class="mark" cx="{x}" cy="{y}" r="3.6"/>',
        "square": f'<rect class="mark" x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4"/>',
        "diamond": f'<path class="mark" d="M{x} {y - 4.6:.1f}l4.6 4.6l-4.6 4.6l-4.6 -4.6z"/>',
        "up": f'<path class="mark" d="M{x} {y - 4.2:.1f}l4.4 7.6h-8.8z"/>',
        "down": f'<path class="mark" d="M{x} {y + 4.2:.1f}l4.4 -7.6h-8.8z"/>',
        "dash": f'<rect class="mark" x="{x - 4.5:.1f}" y="{y - 1.5:.1f}" width="9" height="3"/>',
    }
    return shapes[kind]


def document(width, height, title, body):
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" aria-label="{escape(title)}">{style()}<rect class="back" width="{width}" height="{height}" rx="6"/>'
            f'<text class="title" x="16" y="26">{escape(title)}</text>{body}</svg>\n')


def legend(contestants, y, width):
    out, x = [], 20
    for c in contestants:
        step = 34 + 6.7 * len(who.TITLES[c])
        if x + step > width:
            x, y = 20, y + 18
        out.append(f'<g class="{c}">{mark(MARKS[c], x, y - 4)}<text x="{x + 11}" y="{y}">{escape(who.TITLES[c])}</text></g>')
        x += step
    return "".join(out), y


def short(v):
    for unit, name in ((1e6, "M"), (1e3, "k")):
        if v >= unit:
            return f"{v / unit:g}{name}"
    return f"{v:g}"


def ticks(low, high):
    """Powers of ten, with 2 and 5 between when there are few."""
    steps = (1,) if high / low > 300 else (1, 2, 5)
    return [s * 10.0 ** e for e in range(floor(log10(low)), ceil(log10(high)) + 1) for s in steps
            if low * 0.999 <= s * 10.0 ** e <= high * 1.001]


def panel(x, y, w, h, title, depths, series):
    """series: {contestant: (points, tails)}; points: {depth: (median, low, high)}; tails: {depth: value} or None."""
    every = [v for p, t in series.values() for v in [n for m in p.values() for n in m] + list((t or {}).values())]
    if not every:
        return ""
    low, high = min(every) / 1.25, max(every) * 1.25
    px = lambda d: x + 44 + (w - 60) * (depths.index(d) + 0.5) / len(depths)
    py = lambda v: y + h - 24 - (h - 52) * (log10(v / low) / log10(high / low))
    out = [f'<text class="panel" x="{x + 44}" y="{y + 14}">{escape(title)}</text>']
    for t in ticks(low, high):
        out.append(f'<line class="grid" x1="{x + 44}" x2="{x + w - 8}" y1="{py(t):.1f}" y2="{py(t):.1f}"/>'
                   f'<text class="faint" x="{x + 39}" y="{py(t) + 4:.1f}" text-anchor="end">{short(t)}</text>')
    for d in depths:
        out.append(f'<text class="faint" x="{px(d):.1f}" y="{y + h - 8}" text-anchor="middle">{d}</text>')
    for i, (c, (points, tails)) in enumerate(series.items()):
        shift = (i - len(series) / 2) * 1.6  # spreads side by side, not on top of each other
        at = [(px(d) + shift, points[d]) for d in depths if d in points]
        line = " ".join(f"{a:.1f},{py(m[0]):.1f}" for a, m in at)
        out.append(f'<g class="{c}"><polyline class="line" points="{line}"/>')
        if tails:
            line = " ".join(f"{px(d) + shift:.1f},{py(tails[d]):.1f}" for d in depths if d in tails)
            out.append(f'<polyline class="tail" points="{line}"/>')
        for a, (m, lowest, highest) in at:
            out.append(f'<line class="spread" x1="{a:.1f}" x2="{a:.1f}" y1="{py(lowest):.1f}" y2="{py(highest):.1f}"/>'
                       + mark(MARKS[c], a, py(m)))
        out.append("</g>")
    return "".join(out)


def panels(title, note, depths, charts):
    """charts: [(title, series)], three in a row."""
    width, w, h = 960, 310, 230
    present = [c for c in who.ALL if any(c in series for _, series in charts)]
    key, y = legend(present, 50, width)
    body = [key, f'<text class="faint" x="20" y="{y + 20}">{escape(note)}</text>']
    top = y + 34
    for i, (name, series) in enumerate(charts):
        body.append(panel(12 + i % 3 * (w + 4), top + i // 3 * (h + 8), w, h, name, depths, series))
    height = top + ceil(len(charts) / 3) * (h + 8) + 8
    return document(width, height, title, "".join(body))


def bars(title, note, contestants, rows):
    """rows: [(name, {contestant: value})]; a line at 1."""
    width, left, bar, gap = 960, 330, 13, 16
    rows = [(n, {c: v for c, v in values.items() if v}) for n, values in rows]
    highest = max([v for _, values in rows for v in values.values()] + [2]) * 1.18
    lowest = min([v for _, values in rows for v in values.values()] + [1]) * 0.95
    px = lambda v: left + (width - left - 60) * log10(v / lowest) / log10(highest / lowest)
    key, y = legend(contestants, 50, width)
    body = [key, f'<text class="faint" x="20" y="{y + 20}">{escape(note)}</text>']
    top = y = y + 40
    marks = []
    for name, values in rows:
        block = bar * len(contestants)
        marks.append(f'<text x="{left - 12}" y="{y + block / 2 + 4}" text-anchor="end">{escape(name)}</text>')
        for i, c in enumerate(contestants):
            if c in values:
                at, one = px(values[c]), px(1)
                marks.append(f'<g class="{c}"><rect class="mark" x="{min(at, one):.1f}" y="{y + i * bar + 1}" '
                             f'width="{max(abs(at - one), 1):.1f}" height="{bar - 2}" rx="2"/></g><text class="faint" '
                             f'x="{max(at, one) + 5:.1f}" y="{y + i * bar + 11}">{values[c]:.2g}x</text>'
                             if values[c] < 10 else
                             f'<g class="{c}"><rect class="mark" x="{one:.1f}" y="{y + i * bar + 1}" width="{at - one:.1f}" '
                             f'height="{bar - 2}" rx="2"/></g><text class="faint" x="{at + 5:.1f}" y="{y + i * bar + 11}">'
                             f'{values[c]:.0f}x</text>')
        y += block + gap
    for t in ticks(lowest, highest):
        body.append(f'<line class="grid" x1="{px(t):.1f}" x2="{px(t):.1f}" y1="{top - 6}" y2="{y - 8}"/>'
                    f'<text class="faint" x="{px(t):.1f}" y="{y + 6}" text-anchor="middle">{t:g}</text>')
    return document(width, y + 18, title, "".join(body) + "".join(marks))
