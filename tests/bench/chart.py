"""Small multiples of bars as SVG, written by hand: one panel a measure, one bar a variant."""

from xml.sax.saxutils import escape

PANEL_WIDTH, BAR_HEIGHT, GAP, COLUMNS = 400, 17, 5, 2
MARGIN, HEADING, BAR_ROOM = 16, 40, 300
LEGEND_LINE = 20
# Greys for direct and the limit, ochre for proxies, blues for SpliceLB: told apart without colour vision by lightness, too.
COLOURS = {"direct": "#8b949e", "limit": "#57606a", "HAProxy": "#d29922", "nginx": "#b0701a"}
OURS = ("#79b8ff", "#2f81f7", "#0a3d91")


def colours_of(titles):
    ours, found = iter(OURS * 2), []
    for title in titles:
        known = [colour for word, colour in COLOURS.items() if title.startswith(word)]
        found.append(known[0] if known else next(ours))
    return found


def text(x, y, words, size=12, weight="normal", fill="#1f2328"):
    return f'<text x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" fill="{fill}">{escape(words)}</text>'


def panel(x, y, title, unit, values, digits, colours):
    parts = [text(x, y + 14, title, 13, "bold"), text(x, y + 30, unit, 11, fill="#59636e")]
    longest = max((value for value in values if value), default=1)
    for i, (value, colour) in enumerate(zip(values, colours)):
        top = y + HEADING + i * (BAR_HEIGHT + GAP)
        if value is None:
            parts.append(text(x, top + 13, "not measured", 11, fill="#59636e"))
            continue
        width = max(1.0, BAR_ROOM * value / longest)
        parts.append(f'<rect x="{x}" y="{top}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2" fill="{colour}"/>')
        parts.append(text(round(x + width + 6, 1), top + 13, f"{value:,.{digits}f}", 11))
    return parts


def svg(panels, titles):
    """panels: (title, unit, values, digits); values in the order of titles."""
    colours = colours_of(titles)
    legend_rows = (len(titles) + COLUMNS - 1) // COLUMNS
    legend_height = legend_rows * LEGEND_LINE + 14
    panel_height = HEADING + len(titles) * (BAR_HEIGHT + GAP) + 18
    rows = (len(panels) + COLUMNS - 1) // COLUMNS
    width = 2 * MARGIN + COLUMNS * PANEL_WIDTH
    height = 2 * MARGIN + legend_height + rows * panel_height - 18
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
             'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
             f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>']
    for i, (title, colour) in enumerate(zip(titles, colours)):
        x = MARGIN + (i % COLUMNS) * PANEL_WIDTH
        y = MARGIN + (i // COLUMNS) * LEGEND_LINE
        parts.append(f'<rect x="{x}" y="{y}" width="12" height="12" rx="2" fill="{colour}"/>')
        parts.append(text(x + 19, y + 11, title))
    for i, (title, unit, values, digits) in enumerate(panels):
        x = MARGIN + (i % COLUMNS) * PANEL_WIDTH
        y = MARGIN + legend_height + (i // COLUMNS) * panel_height
        parts += panel(x, y, title, unit, values, digits, colours)
    return "\n".join(parts + ["</svg>", ""])
