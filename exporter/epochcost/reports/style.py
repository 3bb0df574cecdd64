"""The look of the page; like the live page's, dark and light, from 360 px up."""

from __future__ import annotations

STYLE = """\
:root {
  --ground: #f6f6f3; --card: #ffffff; --ink: #1b1e23; --soft: #5d646f; --line: #e3e3de;
  --note-ground: #ffd45e; --note: #221a00;
}
@media (prefers-color-scheme: dark) {
  :root { --ground: #0f1115; --card: #171a20; --ink: #e9ebee; --soft: #9aa2ae; --line: #272c35; }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink); font-variant-numeric: tabular-nums;
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif;
}
h1, h2, h3, p, ul, ol, dl, dd, figure { margin: 0; padding: 0; }
h1 { font-size: 22px; font-weight: 650; letter-spacing: -.01em; }
h2 { font-size: 16px; font-weight: 650; }
h3 { font-size: 15px; font-weight: 650; overflow-wrap: anywhere; }
ul { list-style: none; }
#simulated { padding: 6px 16px; text-align: center; font-weight: 600; font-size: 13px; color: var(--note);
  background: var(--note-ground); }
main { max-width: 1480px; margin: 0 auto; padding: 18px 20px 32px; display: grid; gap: 18px;
  grid-template-columns: minmax(0, 1fr); }
header { overflow-wrap: anywhere; }
.soft { color: var(--soft); font-size: 13px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(130px, 1fr)); gap: 14px 24px;
  margin-bottom: 12px; }
.figures dt { font-size: 13px; color: var(--soft); }
.figures dd:not(.soft) { font-size: 25px; font-weight: 600; line-height: 1.25; letter-spacing: -.015em; }
.bar { display: block; width: 100%; height: 14px; border-radius: 4px; background: var(--line); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 10px; font-size: 13px; }
.legend li { display: flex; align-items: center; gap: 6px; }
.legend i { width: 11px; height: 11px; border-radius: 3px; }
.legend span { color: var(--soft); }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 420px), 1fr)); gap: 18px;
  margin-top: 10px; }
.plot { display: block; width: 100%; height: auto; margin: 8px 0; }
.plot .grid { stroke: var(--soft); stroke-opacity: .35; }
.plot .tick, .plot .axis { fill: var(--soft); font-size: 13px; }
.plot .frontier { fill: none; stroke: var(--useful); stroke-width: 2; stroke-dasharray: 5 4; }
.plot .point circle { stroke: var(--useful); stroke-width: 2; }
.plot .on circle { fill: var(--useful); }
.plot .off circle { fill: var(--card); stroke: var(--unknown); }
.plot .point text { font-size: 12px; font-weight: 650; fill: var(--ink); }
.plot .on text { fill: var(--card); }
.plots ol { padding-left: 22px; font-size: 13px; overflow-wrap: anywhere; }
.plots ol span, .bars span { color: var(--soft); }
.bars { display: grid; gap: 12px; margin-top: 10px; }
.bars p { display: flex; justify-content: space-between; gap: 12px; margin-bottom: 4px; overflow-wrap: anywhere; }
.bars span { white-space: nowrap; }
.bars .soft { margin-top: 3px; overflow-wrap: anywhere; display: block; }
.wide { overflow-x: auto; margin-top: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { padding: 6px 7px; text-align: left; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
td { min-width: 7ch; overflow-wrap: break-word; }
.figure { text-align: right; }
td.figure, td[data-title="frontier"] { min-width: 0; white-space: nowrap; }
@media (max-width: 1240px) {
  table { font-size: 12px; }
  th, td { padding: 5px 2px; }
  td:not(.figure, [data-title="frontier"]) { min-width: 6ch; }
  td.figure { white-space: normal; }
}
figure.card { text-align: left; }
tbody tr:last-child td { border-bottom: 0; }
.wide + .soft { margin-top: 10px; }
.notes { margin-top: 8px; }
.notes li { padding: 5px 0; overflow-wrap: anywhere; }
.notes li + li { border-top: 1px solid var(--line); }
@media (max-width: 760px) {
  .plot .tick, .plot .axis, .plot .point text { font-size: 14px; }
  main { padding: 14px 12px 24px; }
  .card { padding: 14px; }
  thead { display: none; }
  tr { display: block; padding: 10px 0; border-bottom: 1px solid var(--line); }
  tr:last-child { border-bottom: 0; }
  td, td.figure { display: flex; justify-content: space-between; gap: 8px; padding: 2px 0; border: 0; text-align: right;
    white-space: normal; overflow-wrap: anywhere; }
  td:first-child { font-weight: 650; text-align: left; }
  td:empty { display: none; }
  td:not(:first-child)::before { content: attr(data-title); color: var(--soft); white-space: nowrap; }
}
@media print { .card { break-inside: avoid; } }
"""
