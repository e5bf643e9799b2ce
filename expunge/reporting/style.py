"""How do the pages look? One style sheet, scoped to `.expunge`, for light, dark, phone and paper."""

from __future__ import annotations

_LIGHT = (
    "--bg:#fcfcfb;--card:#f3f2ee;--ink:#10100f;--soft:#52514e;--rule:#dcdbd5;--grid:#e6e5e0;--zone:#dfe9e4;"
    "--a:#2166c0;--b:#c8501c;--c:#12845c;--d:#7a4fb5;--e:#a8337a;--f:#866a00;--grey:#82817b;"
    "--good:#0b6b2c;--good-bg:#e3f3e6;--bad:#a52121;--bad-bg:#fbe6e4;--unsure:#7a5200;--unsure-bg:#fbf0d4;"
)
_DARK = (
    "--bg:#191918;--card:#242422;--ink:#f4f3ef;--soft:#bdbcb3;--rule:#3f3f3b;--grid:#32322f;--zone:#26352f;"
    "--a:#69a7f2;--b:#f08a55;--c:#46c295;--d:#b897ea;--e:#ea85bd;--f:#d6b53c;--grey:#9b9a92;"
    "--good:#7ddb94;--good-bg:#16301d;--bad:#ff9a94;--bad-bg:#3d1a19;--unsure:#f3c766;--unsure-bg:#352a10;"
)

_RULES = """
.expunge{background:var(--bg);color:var(--ink);margin:0;font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
.expunge main{max-width:1060px;margin:0 auto;padding:20px 18px 48px;overflow-wrap:anywhere}
.expunge h1{font-size:1.6rem;line-height:1.2;margin:.2em 0}
.expunge h2{font-size:1.2rem;margin:1.9em 0 .5em;padding-bottom:.25em;border-bottom:1px solid var(--rule)}
.expunge h3{font-size:1rem;margin:1.3em 0 .4em}
.expunge p{margin:.5em 0;max-width:76ch}
.expunge .subtitle,.expunge figcaption,.expunge .note{color:var(--soft);font-size:.88rem}
.expunge .wide{overflow-x:auto;margin:.7em 0}
.expunge table{border-collapse:collapse;font-size:.88rem;min-width:50%}
.expunge th,.expunge td{text-align:left;vertical-align:top;padding:5px 12px 5px 0;border-bottom:1px solid var(--rule);
 overflow-wrap:normal}
.expunge td.words{min-width:15em;overflow-wrap:anywhere}
.expunge td.t,.expunge .line{white-space:nowrap}
.expunge th{color:var(--soft);font-weight:600}
.expunge td.n,.expunge th.n{text-align:right;font-variant-numeric:tabular-nums}
.expunge td.n{white-space:nowrap}
.expunge dl{display:grid;grid-template-columns:minmax(9em,max-content) 1fr;gap:3px 18px;font-size:.92rem;margin:.7em 0}
.expunge dt{color:var(--soft)}
.expunge dd{margin:0;min-width:0}
.expunge code{font:.92em ui-monospace,Menlo,Consolas,monospace}
.expunge .notice{border-left:5px solid var(--rule);background:var(--card);padding:9px 14px;
 margin:.8em 0;border-radius:3px}
.expunge .notice p{margin:.2em 0}
.expunge .notice.head{font-size:1.12rem}
.expunge .good{border-color:var(--good);background:var(--good-bg)}
.expunge .bad{border-color:var(--bad);background:var(--bad-bg)}
.expunge .unsure{border-color:var(--unsure);background:var(--unsure-bg)}
.expunge .badge{display:inline-block;padding:0 8px;border-radius:9px;font-size:.85em;font-weight:600;white-space:nowrap;
 background:var(--card);color:var(--soft)}
.expunge .badge.good{background:var(--good-bg);color:var(--good)}
.expunge .badge.bad{background:var(--bad-bg);color:var(--bad)}
.expunge .badge.unsure{background:var(--unsure-bg);color:var(--unsure)}
.expunge .badge.weak{background:transparent;color:var(--ink);border:1px dashed var(--soft);white-space:normal}
.expunge a{color:var(--a)}
.expunge small{color:var(--soft)}
.expunge .figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:8px 24px}
.expunge figure{margin:.6em 0;min-width:0}
.expunge ul.legend{list-style:none;margin:.2em 0;padding:0;display:flex;flex-wrap:wrap;gap:2px 16px;font-size:.82rem;
 color:var(--soft)}
.expunge ul.legend i{display:inline-block;width:12px;height:12px;border-radius:6px;margin-right:5px;vertical-align:-1px}
.expunge ul.legend i.zone{border-radius:2px}
.expunge .tiles{display:flex;flex-wrap:wrap;gap:12px}
.expunge .tiles figure{width:104px;margin:0}
.expunge .tiles figcaption{font-size:.74rem;line-height:1.3}
.expunge details{margin:1.4em 0}
.expunge summary{cursor:pointer;font-weight:600}
.expunge svg.plot{width:100%;max-width:520px;height:auto;display:block}
.expunge svg.natural{display:block;max-width:none}
@media screen and (min-width:1100px){.expunge .broad{width:min(var(--drawn),94vw);
 margin-left:min(0px,calc(50% - min(var(--drawn),94vw)/2))}}
.expunge svg.tile{border:1px solid var(--rule);display:block}
.expunge svg text{font:12px system-ui,-apple-system,"Segoe UI",sans-serif;fill:var(--ink)}
.expunge svg .tick,.expunge svg .label{fill:var(--soft)}
.expunge svg .grid{stroke:var(--grid);stroke-width:1}
.expunge svg .axis{stroke:var(--soft);stroke-width:1}
.expunge svg .mark{stroke:var(--soft);stroke-width:1;stroke-dasharray:3 3}
.expunge svg .zone,.expunge i.zone{fill:var(--zone);background:var(--zone)}
.expunge svg .node{fill:var(--card);stroke:var(--soft);stroke-width:1.3}
.expunge svg .node.destroyed{fill:var(--bg);stroke:var(--bad);stroke-dasharray:5 3}
.expunge svg .node.kept{fill:var(--unsure-bg);stroke:var(--unsure)}
.expunge svg polyline.thin{stroke-width:1;stroke-opacity:.75}
.expunge svg polyline.dashed{stroke-dasharray:6 4}
.expunge svg .whisker{stroke:var(--ink);stroke-width:1.4}
.expunge svg text.over{paint-order:stroke;stroke:var(--bg);stroke-width:3px;stroke-linejoin:round}
.expunge svg text.over.small{fill:var(--ink)}
.expunge svg text.struck{text-decoration:line-through;fill:var(--soft)}
.expunge svg text.small{font-size:10.5px;fill:var(--soft)}
.expunge svg text.small.destroyed{fill:var(--bad)}
.expunge svg text.small.kept{fill:var(--unsure)}
.expunge svg text.halo{font-size:10.5px;fill:var(--soft);paint-order:stroke;stroke:var(--bg);stroke-width:3px}
.expunge svg .edge{fill:none;stroke:var(--grey);stroke-width:1.3}
.expunge svg .tip{fill:var(--grey);stroke:none}
.expunge td code{white-space:nowrap}
.expunge del{color:var(--soft)}
@media screen and (max-width:640px){.expunge .cards,.expunge .cards table{overflow:visible;min-width:0}
 .expunge .cards table,.expunge .cards tbody,.expunge .cards tr,.expunge .cards td{display:block;text-align:left}
 .expunge .cards thead{display:none}
 .expunge .cards tr{border:1px solid var(--rule);border-radius:5px;padding:7px 10px;margin:0 0 9px}
 .expunge .cards td,.expunge .cards td.words,.expunge .cards td.n{border:0;padding:1px 0;min-width:0;text-align:left;
  white-space:normal;overflow-wrap:anywhere}
 .expunge .cards td:empty{display:none}
 .expunge .cards td[data-name]::before{content:attr(data-name) ": ";color:var(--soft)}
 .expunge .cards td:first-child{font-weight:600}.expunge .cards td:first-child::before{content:none}}
@media (max-width:520px){.expunge dl{grid-template-columns:1fr}.expunge dd{margin-bottom:5px}
 .expunge svg.plot text{font-size:14px}.expunge main{padding:14px 14px 36px}.expunge h1{font-size:1.35rem}}
@media print{.expunge main{max-width:none;padding:0}.expunge table{font-size:.7rem}
 .expunge td.words{min-width:8em}.expunge .wide{overflow:visible}
 .expunge svg.natural{max-width:100%;height:auto}.expunge figure,.expunge tr,.expunge .notice{break-inside:avoid}
 .expunge h2,.expunge h3{break-after:avoid}.expunge{print-color-adjust:exact;-webkit-print-color-adjust:exact}
 .expunge details::details-content{content-visibility:visible;height:auto}}
"""


def style_sheet() -> str:
    """The style sheet; paper is always light."""
    kinds = "".join(
        f".expunge svg .fill-{k}{{fill:var(--{k})}}.expunge svg .dot-{k}{{fill:var(--{k});fill-opacity:.75;"
        f"stroke:var(--bg);stroke-width:.8}}.expunge svg .line-{k}{{fill:none;stroke:var(--{k});stroke-width:2}}"
        f".expunge svg .band-{k}{{fill:var(--{k});fill-opacity:.18}}.expunge i.{k}{{background:var(--{k})}}"
        for k in ("a", "b", "c", "d", "e", "f", "grey")
    )
    return (
        f":root{{color-scheme:light dark}}.expunge{{{_LIGHT}}}"
        f"@media screen and (prefers-color-scheme:dark){{.expunge{{{_DARK}}}}}{_RULES}{kinds}"
    )
