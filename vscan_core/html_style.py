"""The look of an HTML report: light, dark and on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c1e26; --soft: #5b6170; --line: #d5d8e0; --paper: #fff; --card: #f6f7f9;
  --accent: #b35900; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef3; --soft: #a7adbb; --line: #3a3f4b; --paper: #15171c;
  --card: #1f222a; --accent: #ffab4d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px 24px 48px; max-width: 1120px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.1rem; margin: 0; color: var(--soft); font-weight: 600; }
h2 { font-size: 1.1rem; margin: 0 0 8px; }
.question { font-size: 1.8rem; line-height: 1.25; font-weight: 650; margin: 4px 0 8px; overflow-wrap: anywhere; }
section { margin: 28px 0 0; break-inside: avoid; }
.runs { display: grid; grid-template-columns: repeat(auto-fit, minmax(220px, 1fr)); gap: 16px; }
article { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 16px;
  break-inside: avoid; }
article img { width: 100%; height: auto; border-radius: 6px; display: block; }
article ul { margin: 6px 0 0; padding-left: 1.2em; font-size: 0.9rem; color: var(--soft); }
.answer { font-size: 1.3rem; font-weight: 600; line-height: 1.3; margin: 14px 0 2px; overflow-wrap: anywhere; }
.verdict { margin: 0; color: var(--accent); font-weight: 600; }
.steps { margin: 8px 0 0; }
.hint { border-left: 4px solid var(--accent); padding: 8px 12px; background: var(--card); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 6px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child { text-align: left; font-weight: 500; white-space: normal; }
small { color: var(--soft); }
.fine { color: var(--soft); font-size: 0.9rem; }
section > ul { padding-left: 1.2em; overflow-wrap: anywhere; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --paper: #fff; --card: #fff;
  --accent: #7a3d00; } body { padding: 0; font-size: 11pt; } article { print-color-adjust: exact; } }
"""
