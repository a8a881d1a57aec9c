"""The paper that pages are written on: one HTML document without anything from outside, for light, dark and print."""

from __future__ import annotations

from string import Template

# Colours of the grades reach 4.5:1 on both grounds; the words beside them say the same.
STYLE = """
:root { color-scheme: light dark; --ink: #1d232b; --soft: #59626e; --ground: #fff; --card: #f5f6f8; --rule: #d5dae1;
  --good: #12753f; --fair: #8a5d00; --poor: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #a3acb8; --ground: #14171c; --card: #1d2229;
  --rule: #3b434e; --good: #4cc38a; --fair: #f0b429; --poor: #ff7b72; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 70rem; padding: 1.5rem 1.25rem 4rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .5rem; padding-bottom: .25rem; border-bottom: 1px solid var(--rule); }
p { margin: .25rem 0 .75rem; max-width: 60rem; }
.soft, small, figcaption { color: var(--soft); }
small { display: block; font-size: .8rem; line-height: 1.4; }
.verdicts { list-style: none; margin: 0; padding: 0; display: grid; gap: .4rem;
  grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }
.verdicts li { background: var(--card); border-left: .3rem solid; border-radius: .25rem; padding: .45rem .7rem; }
.verdicts b { white-space: nowrap; margin-right: .25rem; }
.verdicts .good { border-color: var(--good); } .verdicts .fair { border-color: var(--fair); }
.verdicts .poor { border-color: var(--poor); }
.good b { color: var(--good); } .fair b { color: var(--fair); } .poor b { color: var(--poor); }
.verdicts span { color: var(--ink); }
figure { margin: 0; } img, video { max-width: 100%; height: auto; display: block; }
video { width: 40rem; background: #000; border-radius: .25rem; }
.halves { display: grid; grid-template-columns: 1fr 1fr; width: 40rem; max-width: 100%; text-align: center; }
.sheet { display: grid; grid-template-columns: repeat(auto-fit, minmax(7rem, 1fr)); gap: .5rem; margin-top: 1rem; }
.sheet img { width: 100%; border-radius: .2rem; } .sheet figcaption { font-size: .8rem; text-align: center; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 0; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .6rem; border-bottom: 1px solid var(--rule); text-align: right; vertical-align: top; }
th:first-child { text-align: left; width: 40%; min-width: 16rem; } th { font-weight: 600; }
thead th { vertical-align: bottom; min-width: 5.5rem; } thead th small { font-weight: 400; }
tbody th span { font-weight: 400; color: var(--soft); } tbody tr:hover { background: var(--card); }
td.main { font-weight: 600; } .plain { background: #fff; border-radius: .25rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: .75rem 0 0; font-size: .85rem; }
dt { font-weight: 600; } dd { margin: 0; color: var(--soft); }
pre { overflow: auto; max-height: 24rem; background: var(--card); padding: .75rem; font-size: .75rem; }
@media print { :root { --ink: #000; --soft: #444; --ground: #fff; --card: #fff; --rule: #bbb; --good: #12753f;
  --fair: #8a5d00; --poor: #b3261e; }
  body { max-width: none; padding: 0; font-size: 10pt; } video, .video, details { display: none; }
  li, figure, tr, dl { break-inside: avoid; } h2 { break-after: avoid; } .wide { overflow: visible; }
  .verdicts { grid-template-columns: 1fr; } .sheet { grid-template-columns: repeat(8, 1fr); }
  th, td { padding: .2rem .35rem; } th:first-child { min-width: 0; } thead th { min-width: 0; } }
"""

DOCUMENT = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="soft">$facts</p>
</header>
<main>
$sections
</main>
</body>
</html>
""")


def document(title: str, facts: str, sections: list[str]) -> str:
    """A whole page; all arguments are HTML already."""
    return DOCUMENT.substitute(title=title, facts=facts, style=STYLE, sections="\n".join(sections))


def section(heading: str, *content: str) -> str:
    """A part of a page under its heading; everything is HTML already."""
    return "\n".join(["<section>", f"<h2>{heading}</h2>", *content, "</section>"])
