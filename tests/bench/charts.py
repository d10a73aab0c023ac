"""Charts as SVG, written by hand: readable on light and on dark pages."""

import math
from xml.sax.saxutils import escape

WIDTH = 760

STYLE = '''<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 14px; font-weight: 600; }
.faint { fill: #59636e; }
.page { fill: #ffffff; }
.grid { stroke: #d1d9e0; }
.even { stroke: #1f2328; stroke-width: 1.5; }
.better { fill: #0969da; }
.worse { fill: #d1570b; }
.goal { stroke: #8250df; stroke-width: 3; }
.line { fill: none; stroke-width: 1.7; stroke-linejoin: round; }
.s0 { stroke: #0969da; } .s1 { stroke: #d1570b; } .s2 { stroke: #1a7f37; } .s3 { stroke: #8250df; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.faint { fill: #9198a1; }
.page { fill: #0d1117; }
.grid { stroke: #3d444d; }
.even { stroke: #e6edf3; }
.better { fill: #4493f8; }
.worse { fill: #f0883e; }
.goal { stroke: #ab7df8; }
.s0 { stroke: #4493f8; } .s1 { stroke: #f0883e; } .s2 { stroke: #3fb950; } .s3 { stroke: #ab7df8; }
}
</style>'''


def page(height, title, parts):
    return '\n'.join(
        ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" '
         'role="img">' % (WIDTH, height, WIDTH, height),
         '<title>%s</title>' % escape(title), STYLE,
         '<rect class="page" width="100%" height="100%" rx="6"/>',
         text(16, 26, title, 'title')] + parts + ['</svg>', ''])


def text(x, y, words, css='', anchor='start'):
    return '<text x="%.1f" y="%.1f" class="%s" text-anchor="%s">%s</text>' % (
        x, y, css, anchor, escape(words))


def line(x1, y1, x2, y2, css):
    return '<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" class="%s"/>' % (x1, y1, x2, y2, css)


def label_of(x):
    return '%d' % x if x >= 1 else '1/%d' % (1 / x)


# ---- ratios --------------------------------------------------------------------------------


def ratio_chart(title, bars):
    """Bars (label, ratio, goal or None) from 1, to the right where kevo is better."""
    left, right, top, step = 330, WIDTH - 60, 76, 22
    values = [b[1] for b in bars] + [b[2] for b in bars if b[2]] + [0.5, 2]
    low, high = math.floor(math.log2(min(values))), math.ceil(math.log2(max(values)))
    height = top + step * len(bars) + 12

    def x_of(ratio):
        return left + (math.log2(ratio) - low) / (high - low) * (right - left)

    parts = [line(16, 42, 16, 54, 'goal'), text(24, 52, 'goal', 'faint'),
             text(x_of(1) - 8, 52, '← slower or larger', 'faint', 'end'),
             text(x_of(1) + 8, 52, 'times faster or smaller →', 'faint')]
    every = 1 if high - low <= 11 else 2
    for power in range(low, high + 1):
        x = x_of(2.0 ** power)
        parts.append(line(x, top - 4, x, height - 12, 'grid'))
        if power % every == 0:
            parts.append(text(x, top - 8, label_of(2.0 ** power), 'faint', 'middle'))
    for i, (label, ratio, goal) in enumerate(bars):
        parts += bar(label, ratio, goal, top + i * step, x_of, left)
    parts.append(line(x_of(1), top - 4, x_of(1), height - 12, 'even'))
    return page(height, title, parts)


def bar(label, ratio, goal, y, x_of, left):
    begin, end = sorted((x_of(1), x_of(ratio)))
    css = 'better' if ratio >= 1 else 'worse'
    parts = [text(left - 12, y + 14, label, '', 'end'),
             '<rect x="%.1f" y="%.1f" width="%.1f" height="14" class="%s"/>' % (
                 begin, y + 3, max(end - begin, 1), css)]
    if goal:
        parts.append(line(x_of(goal), y + 1, x_of(goal), y + 19, 'goal'))
    # Beyond the bar, or beyond the goal's mark when it is just there.
    x = max(end, x_of(1))
    if goal and -4 < x_of(goal) - x < 36:
        x = x_of(goal)
    parts.append(text(x + 6, y + 14, ('%.0f' if ratio >= 10 else '%.1f' if ratio >= 1 else '%.2g') % ratio))
    return parts


# ---- over time -----------------------------------------------------------------------------


def nice_step(most, steps):
    """A round number of which about `steps` make `most`."""
    raw = max(most, 1e-9) / steps
    power = 10 ** math.floor(math.log10(raw))
    return next(power * m for m in (1, 2, 5, 10) if power * m >= raw)


def series_chart(title, series):
    """Above, thousands of calls a second of each engine; below, the longest call of each second in
    milliseconds. `series` has lists of (second, calls, longest us) by name."""
    left, right = 60, WIDTH - 20
    seconds = max(p[0] for points in series.values() for p in points) + 1
    fastest = max(p[1] for points in series.values() for p in points) / 1e3
    # The last second is not a whole one.
    whole = {n: p[:-1] if len(p) > 1 else p for n, p in series.items()}

    def x_of(second):
        return left + (second + 0.5) / seconds * (right - left)

    parts = []
    for i, name in enumerate(series):
        x = left + i * 110
        parts += [line(x, 44, x + 18, 44, 'line s%d' % i), text(x + 24, 48, name)]
    parts += panel('1,000 puts a second', (left, right, 82, 250), x_of,
                   {n: [(s, c / 1e3) for s, c, _ in p] for n, p in whole.items()},
                   linear_axis(fastest))
    parts += panel('longest put of each second, ms', (left, right, 290, 430), x_of,
                   {n: [(s, max(m / 1e3, 1e-3)) for s, _, m in p] for n, p in series.items()},
                   log_axis([m / 1e3 for p in series.values() for _, _, m in p]))
    step = max(1, nice_step(seconds, 8))
    for k in range(int(seconds / step) + 1):
        x = left + k * step / seconds * (right - left)
        parts.append(text(x, 448, '%g' % (k * step), 'faint', 'middle'))
    parts.append(text(right, 464, 'seconds', 'faint', 'end'))
    return page(474, title, parts)


def linear_axis(most):
    step = nice_step(most, 5)
    ticks = [k * step for k in range(math.ceil(most / step) + 1)]
    return ticks, lambda v: v / ticks[-1]


def log_axis(values):
    low = math.floor(math.log10(max(min(values), 1e-3)))
    high = max(math.ceil(math.log10(max(max(values), 1e-3))), low + 1)
    ticks = [10.0 ** k for k in range(low, high + 1)]
    return ticks, lambda v: (math.log10(max(v, 10.0 ** low)) - low) / (high - low)


def panel(title, box, x_of, lines, axis):
    left, right, top, bottom = box
    ticks, place = axis
    parts = [text(left, top - 10, title, 'faint')]
    for tick in ticks:
        y = bottom - place(tick) * (bottom - top)
        parts += [line(left, y, right, y, 'grid'),
                  text(left - 8, y + 4, '%g' % tick, 'faint', 'end')]
    for i, points in enumerate(lines.values()):
        if len(points) == 1:
            (s, v), = points
            points = [(s - 0.2, v), (s + 0.2, v)]
        path = ' '.join('%.1f,%.1f' % (x_of(s), bottom - place(v) * (bottom - top))
                        for s, v in points)
        parts.append('<polyline class="line s%d" points="%s"/>' % (i, path))
    return parts
