"use strict";
// Two submissions beside each other: looks numbers up in COMPARISONS, which Lowlands computed (see compare_page.py).
(() => {
  const controls = document.getElementById("comparison");
  const [kinds, one, other] = ["kind", "a", "b"].map((name) => controls.querySelector(`select[name=${name}]`));
  const message = controls.querySelector("output");
  const table = document.getElementById("compared");

  function choices(select, names, chosen) {
    select.replaceChildren(...names.map((name) => new Option(name, name, false, name === chosen)));
  }

  function entry(tag, text, detail, words) {
    const cell = document.createElement(tag);
    if (words) cell.className = "words";
    cell.append(text);
    if (detail) {
      const bounds = document.createElement("span");
      bounds.className = "bounds";
      bounds.textContent = detail;
      cell.append(" ", bounds);
    }
    return cell;
  }

  function link(page, text) {
    if (!page) return text;
    const anchor = document.createElement("a");
    anchor.href = page;
    anchor.textContent = text;
    return anchor;
  }

  // A minus and not a hyphen, as in all other tables; no sign of what rounds to 0.
  const digits = (value) => value.toFixed(3).replace(/^-(0\.0+)$/, "$1").replace("-", "−");
  const signed = (value) => (Number(value.toFixed(3)) > 0 ? "+" : "") + digits(value);
  const between = (low, high, show) => (low === null || high === null ? "" : `[${show(low)}, ${show(high)}]`);

  function scoreCell(score) {
    return score ? entry("td", digits(score[0]), between(score[1], score[2], digits)) : entry("td", "–");
  }

  function show() {
    const { names, pages, rows } = COMPARISONS[kinds.value];
    const [a, b] = [names.indexOf(one.value), names.indexOf(other.value)];
    const [i, j] = [Math.min(a, b), Math.max(a, b)];
    const place = (i * (2 * names.length - i - 1)) / 2 + (j - i - 1);
    const sign = a < b ? 1 : -1;
    table.querySelector("[data-side=a]").replaceChildren(link(pages[a], names[a]));
    table.querySelector("[data-side=b]").replaceChildren(link(pages[b], names[b]));
    const lines = rows.map((row) => {
      const line = document.createElement("tr");
      const heading = entry("th", row.task ? link(row.page, row.task) : row.axis, "", true);
      heading.scope = "row";
      if (row.task) heading.append(` · ${row.axis}`);
      line.append(heading, scoreCell(row.scores[a]), scoreCell(row.scores[b]));
      const pair = a === b ? null : row.pairs[place];
      if (!pair) {
        line.append(entry("td", "–"), entry("td", "–"), entry("td", "–", "", true));
        return line;
      }
      const [difference, low, high, seeds, verdict] = pair;
      const bounds = low === null ? [null, null] : [sign * low, sign * high].sort((x, y) => x - y);
      const higher = verdict ? (verdict * sign > 0 ? names[a] : names[b]) : "not told apart";
      line.append(
        entry("td", signed(sign * difference), between(bounds[0], bounds[1], signed)),
        entry("td", String(seeds)), entry("td", higher, "", true));
      return line;
    });
    table.tBodies[0].replaceChildren(...lines);
    message.value = a === b ? "choose two different ones" : "";
  }

  function remember() {
    const state = new URLSearchParams({ a: one.value, b: other.value });
    if (kinds.selectedIndex > 0) state.set("kind", kinds.value);
    try { history.replaceState(null, "", `?${state}`); } catch { /* a page in a frame may have no history */ }
  }

  function fill(a, b) {
    const names = COMPARISONS[kinds.value].names;
    const first = names.includes(a) ? a : names.find((name) => name !== b);
    choices(one, names, first);
    choices(other, names, names.includes(b) ? b : names.find((name) => name !== first));
  }

  const wanted = new URLSearchParams(location.search);
  if (Object.hasOwn(COMPARISONS, wanted.get("kind"))) kinds.value = wanted.get("kind");
  fill(wanted.get("a"), wanted.get("b"));
  show();
  const unknown = ["a", "b"].map((side) => wanted.get(side)).filter(
    (name) => name && !COMPARISONS[kinds.value].names.includes(name));
  if (unknown.length) message.value = `there is no ${kinds.value} ${unknown.map((name) => `“${name}”`).join(", ")}`;
  controls.hidden = false;
  kinds.addEventListener("input", () => { fill(); show(); remember(); });
  for (const select of [one, other]) select.addEventListener("input", () => { show(); remember(); });
  document.getElementById("swap").addEventListener("click", () => { fill(other.value, one.value); show(); remember(); });
})();
