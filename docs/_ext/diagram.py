"""
The states and what leads from one to the next, drawn as SVG.

Where a state stands is said here by hand, because a person drew it better than a program would; the
states and the arrows are those of the table.  A state that is new stands in a row of its own at the
bottom until somebody finds it a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape

from .facts import arrows, table

# Columns and rows.
_PLACES = {
    "start": (0.0, 1.0),
    "ready": (1.0, 1.0),
    "mail": (2.0, 1.0),
    "no rcpt": (2.4, 0.0),
    "rcpt": (3.0, 1.0),
    "content": (4.2, 1.0),
    "chunks": (3.0, 2.2),
    "chunk failed": (4.2, 2.2),
    "refused": (0.0, 2.2),
}
# By how many pixels the middle of an arrow is off the straight line: to its right, or to its left.
_BENDS = {("content", "ready"): 330.0, ("chunk failed", "ready"): -230.0}
_ACROSS, _DOWN = 175.0, 105.0
_WIDTH, _HEIGHT = 104.0, 38.0
_LEFT, _TOP = 70.0, 100.0

Point = tuple[float, float]


def svg() -> str:
    """
    The diagram, to stand inside of an HTML page: so it has no style sheet, which would be that of
    the whole page.
    """
    merged = table()
    places = dict(_PLACES)
    strangers = [state for state in merged if state not in places]
    places.update((state, (float(n), 4.0)) for n, state in enumerate(strangers))
    points = {
        state: (_LEFT + column * _ACROSS, _TOP + row * _DOWN)
        for state, (column, row) in places.items()
        if state in merged
    }
    width = max(x for x, _ in points.values()) + _LEFT
    height = max(y for _, y in points.values()) + 75
    lines: list[str] = []
    labels: list[str] = []
    for (state, follows), symbols in arrows(merged).items():
        first, middle, last = _curve(points, state, follows)
        lines.extend(_arrow(first, middle, last))
        labels.extend(_label(first, middle, last, symbols))
    boxes = [line for point in points.values() for line in _box(*point)]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img"'
            f' viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
            ' style="max-width: 100%; height: auto">',
            "<title>The states and the commands that lead from one to the next</title>",
            '<g fill="none" stroke="#555" stroke-width="1.2">',
            *lines,
            '</g><g fill="#fff" stroke="#333" stroke-width="1.5">',
            *boxes,
            '</g><g fill="#111" font-family="sans-serif" font-size="13" text-anchor="middle">',
            *(
                f'<text x="{x:g}" y="{y + 4:g}">{escape(state)}</text>'
                for state, (x, y) in points.items()
            ),
            '</g><g fill="#111" font-family="sans-serif" font-size="11" text-anchor="middle">',
            *labels,
            "</g></svg>",
        )
    )


def _box(x: float, y: float) -> Iterator[str]:
    x, y = x - _WIDTH / 2, y - _HEIGHT / 2
    yield f'<rect x="{x:g}" y="{y:g}" rx="9" width="{_WIDTH:g}" height="{_HEIGHT:g}"/>'


def _curve(points: Mapping[str, Point], state: str, follows: str) -> tuple[Point, Point, Point]:
    """
    :return: where an arrow begins, what it bends to, and where it ends.
    """
    (x1, y1), (x2, y2) = points[state], points[follows]
    if state == follows:
        # Of the two that there are, one is above and one below all other arrows.
        side = 1 if y1 > _TOP + _DOWN else -1
        y = y1 + side * _HEIGHT / 2
        return (x1 - 6, y), (x1 + 16, y + side * 70), (x1 + 38, y)
    bend = _BENDS.get((state, follows), 0.0)
    dx, dy = x2 - x1, y2 - y1
    length = (dx * dx + dy * dy) ** 0.5
    middle = (x1 + x2) / 2 - dy / length * bend, (y1 + y2) / 2 + dx / length * bend
    return _border((x1, y1), middle), middle, _border((x2, y2), middle)


def _border(box: Point, towards: Point) -> Point:
    """
    Where a line from the middle of a box leaves it.
    """
    dx, dy = towards[0] - box[0], towards[1] - box[1]
    scale = min(
        _WIDTH / 2 / abs(dx) if dx else float("inf"),
        _HEIGHT / 2 / abs(dy) if dy else float("inf"),
    )
    return box[0] + dx * scale, box[1] + dy * scale


def _arrow(first: Point, middle: Point, last: Point) -> Iterator[str]:
    (x1, y1), (x2, y2), (x3, y3) = first, middle, last
    yield f'<path d="M{x1:.1f} {y1:.1f}Q{x2:.1f} {y2:.1f} {x3:.1f} {y3:.1f}"/>'
    dx, dy = x3 - x2, y3 - y2
    length = (dx * dx + dy * dy) ** 0.5
    dx, dy = dx / length * 9, dy / length * 9
    left = f"{x3 - dx - dy / 2.5:.1f} {y3 - dy + dx / 2.5:.1f}"
    right = f"{x3 - dx + dy / 2.5:.1f} {y3 - dy - dx / 2.5:.1f}"
    yield f'<path fill="#555" stroke="none" d="M{x3:.1f} {y3:.1f}L{left}L{right}z"/>'


def _label(first: Point, middle: Point, last: Point, symbols: list[str]) -> Iterator[str]:
    """
    What leads along an arrow, on a white ground in its middle.
    """
    x = (first[0] + 2 * middle[0] + last[0]) / 4
    y = (first[1] + 2 * middle[1] + last[1]) / 4
    words = [symbol.strip("()") for symbol in symbols]
    width, height = max(map(len, words)) * 6.2 + 6, len(words) * 14
    yield (
        f'<rect fill="#fff" x="{x - width / 2:.1f}" y="{y - height / 2:.1f}"'
        f' width="{width:.1f}" height="{height}"/>'
    )
    for number, word in enumerate(words):
        line = y - height / 2 + 11 + number * 14
        yield f'<text x="{x:.1f}" y="{line:.1f}">{escape(word)}</text>'
