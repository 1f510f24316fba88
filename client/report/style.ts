/** The look of the report and of the live page: light, dark and print, nothing loaded from anywhere. */

export const style = `
:root{color-scheme:light dark;--ink:#1b2430;--soft:#5b6675;--paper:#fff;--card:#f5f7fa;--rule:#d8dee7;--good:#0b7a4b;--warn:#9a6200;--bad:#b3261e;--accent:#2457c5;
--c1:#7b8794;--c2:#b08900;--c3:#8d4bbb;--c4:#2457c5;--c5:#0b8a8a;--c6:#0b7a4b;--c7:#c2550a;--c8:#b3261e}
@media (prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa7b8;--paper:#12161c;--card:#1b212a;--rule:#323b48;--good:#4cc38a;--warn:#e5b94e;--bad:#ff8a80;--accent:#82a9ff;
--c1:#93a1b3;--c2:#e0b93f;--c3:#c493ec;--c4:#82a9ff;--c5:#4fc7c7;--c6:#4cc38a;--c7:#f19a5b;--c8:#ff8a80}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1100px;padding:24px;background:var(--paper);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:34px 0 10px;border-bottom:1px solid var(--rule);padding-bottom:4px}h3{font-size:15px;margin:16px 0 6px}
p{margin:6px 0}.soft{color:var(--soft)}
code,.mono{font:12.5px/1.4 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;overflow-wrap:anywhere}
pre{background:var(--card);padding:10px;overflow:auto;border-radius:6px;font:12.5px/1.5 ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%;margin:6px 0}th{text-align:left;font-weight:600;color:var(--soft);font-size:13px}
td,th{padding:4px 10px 4px 0;border-bottom:1px solid var(--rule);vertical-align:top;overflow-wrap:break-word}td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td.t{white-space:nowrap}
.badge{display:inline-block;border-radius:4px;padding:1px 8px;font-weight:600;border:1px solid currentColor}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(180px,1fr));gap:10px;margin:16px 0}
.tile{background:var(--card);border-radius:8px;padding:10px 12px}.tile b{display:block;font-size:20px;font-variant-numeric:tabular-nums}.tile span{color:var(--soft);font-size:13px}
.gate{background:var(--card);border-radius:8px;padding:4px 16px;margin:12px 0;border-left:4px solid var(--warn)}
.chart,.bar{width:100%;display:block}.bar{height:34px;border-radius:6px}
.chart text{fill:var(--ink);font:12px system-ui,"DejaVu Sans",sans-serif}.chart text.tick{fill:var(--soft);font-size:11px}
rect.done{fill:var(--accent)}rect.open{fill:var(--warn)}line.grid{stroke:var(--rule)}
.line{fill:none;stroke-width:2}.line-mirror-forward{stroke:var(--c4);background:var(--c4)}.line-audit-forward{stroke:var(--c5);background:var(--c5);stroke-dasharray:5 3}.line-mirror-reverse{stroke:var(--c7);background:var(--c7)}.line-audit-reverse{stroke:var(--c2);background:var(--c2)}
.part-fence{fill:var(--c1);background:var(--c1)}.part-proof{fill:var(--c2);background:var(--c2)}.part-transactions{fill:var(--c3);background:var(--c3)}.part-drain{fill:var(--c4);background:var(--c4)}.part-audit{fill:var(--c5);background:var(--c5)}.part-offsets{fill:var(--c6);background:var(--c6)}.part-opening{fill:var(--c7);background:var(--c7)}.part-clients{fill:var(--c8);background:var(--c8)}
.legend{list-style:none;margin:6px 0;padding:0;display:flex;flex-wrap:wrap;gap:4px 18px;font-size:13px}.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:6px;vertical-align:-1px}
.meter{background:var(--rule);border-radius:4px;height:8px;min-width:90px;overflow:hidden}.meter i{display:block;height:100%;background:var(--accent)}
details{border-bottom:1px solid var(--rule)}details>table{margin-left:18px;width:calc(100% - 18px)}summary{cursor:pointer;padding:4px 0}
.topic summary{display:grid;grid-template-columns:minmax(160px,2fr) repeat(5,minmax(80px,1fr));gap:10px}.topic summary span{overflow-wrap:anywhere}.topic .n,.heads .n{text-align:right;font-variant-numeric:tabular-nums}
.heads{display:grid;grid-template-columns:minmax(160px,2fr) repeat(5,minmax(80px,1fr));gap:10px;color:var(--soft);font-size:13px;font-weight:600}
.find{width:100%;max-width:340px;padding:6px 8px;border:1px solid var(--rule);border-radius:6px;background:var(--paper);color:var(--ink);font:inherit}
button{font:inherit;padding:6px 14px;border-radius:6px;border:1px solid var(--accent);background:var(--accent);color:var(--paper);cursor:pointer}button:disabled{opacity:.5}
@media print{:root{--ink:#000;--soft:#333;--paper:#fff;--card:#f2f2f2;--rule:#bbb;--good:#0b7a4b;--warn:#7a4e00;--bad:#b3261e;--accent:#2457c5}body{max-width:none;padding:0;font-size:11px}.find,.screen{display:none}
details::details-content{display:block;content-visibility:visible}h2{break-after:avoid}tr{break-inside:avoid}*{print-color-adjust:exact}}
@media (max-width:700px){.topic summary,.heads{grid-template-columns:1fr 1fr 1fr}}
`;

/** Finds topics by name. The page is whole without it. */
export const script = `
const find = document.querySelector('.find');
find?.addEventListener('input', () => {
  for (const row of document.querySelectorAll('[data-topic]')) row.hidden = !row.dataset.topic.includes(find.value);
});
`;
