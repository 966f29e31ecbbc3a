"""The page: one HTML file with its data, style and script, and nothing fetched from anywhere.

What the script may do is narrowed by a content security policy: no connection, no other script. Names are
data: the script only ever sets them as text. Without scripts, the page is the picture.
"""

from __future__ import annotations

import json
from base64 import b64encode
from hashlib import sha256
from importlib import resources
from xml.sax.saxutils import escape

from imgwriter.map.data import page_data
from imgwriter.map.model import DiskMap
from imgwriter.map.svg import STYLE, disk_bars, draw, fills, variables


def make_page(drawn: DiskMap) -> str:
    """Return the page of a disk."""
    script, style = _text("page.js"), _text("page.css")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    notes = "".join(f'<p class="note">{escape(note)}</p>' for note in drawn.notes)
    # "<" would end the element, whatever stands around it.
    data = json.dumps(page_data(drawn), ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    return f"""\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width,initial-scale=1">
<title>{escape(drawn.title)}: map</title>
<style>
:root{{{variables(False)}}}
@media(prefers-color-scheme:dark){{:root{{{variables(True)}}}}}
{STYLE}{fills()}
{style}</style>
</head>
<body>
<header><h1>{escape(drawn.title)}</h1><p class="facts">{escape(drawn.facts)}</p>{notes}</header>
{disk_bars(drawn)}
<noscript>{draw(drawn)}</noscript>
<main hidden>
<nav id="bar" aria-label="View">
<button id="back" title="Back (Escape)">Back</button>
<button id="whole" title="The whole disk (Home)">Whole disk</button>
<button id="in" title="Zoom in (+)" aria-label="Zoom in">+</button>
<button id="out" title="Zoom out (-)" aria-label="Zoom out">&minus;</button>
<span id="where" aria-live="polite"></span>
<span id="find"><label for="search">Find</label>
<input id="search" type="search" placeholder="path, or part of one" autocomplete="off" spellcheck="false">
</span>
</nav>
<ul id="found" aria-label="Found" hidden></ul>
<div id="columns">
<svg id="map" tabindex="0" role="application"
 aria-label="Map: arrow keys move from run to run, Enter looks inside, Escape goes back"></svg>
<aside id="about" aria-live="polite"></aside>
</div>
<div id="legend" role="group" aria-label="Legend: press to show one category alone"></div>
<p class="help">Click a run to see what it is, a merged one to look inside; double-click to zoom.
Keys, on the map: arrows, Enter, Escape, + and &minus;.</p>
</main>
<div id="tip" role="tooltip" hidden></div>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def _text(name: str) -> str:
    return resources.files("imgwriter.map").joinpath(name).read_text("utf-8")
