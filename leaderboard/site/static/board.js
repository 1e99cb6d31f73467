"use strict";
// Sorting, filtering and the theme. Tables work without this file too.
// What is sorted and filtered stands in the address behind #, so that a link shows the same: #TABLE.sort=score:descending.

const collator = new Intl.Collator(undefined, { numeric: true });

function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key ?? cell.textContent.trim();
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : collator.compare(a, b);
}

function remember(name, value) {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const other of [...state.keys()]) if (!other.includes(".")) state.delete(other);  // a heading, not a state
  if (value) state.set(name, value); else state.delete(name);
  const text = state.toString();
  if (!text && !location.hash.includes("=")) return;
  try { history.replaceState(null, "", text ? `#${text}` : "#"); } catch { /* a page in a frame may have no history */ }
}

function title(header) {
  return header.textContent.trim();
}

function sort(table, header, wanted) {
  const headers = [...header.parentElement.cells];
  const column = headers.indexOf(header);
  // Words begin from the start of the alphabet, numbers from the largest; the rank from the first.
  const up = header.classList.contains("words") || header.dataset.first === "ascending";
  const next = { none: up ? "ascending" : "descending", ascending: "descending", descending: "ascending" };
  const order = wanted ?? next[header.getAttribute("aria-sort") ?? "none"];
  for (const other of headers) other.setAttribute("aria-sort", other === header ? order : "none");
  const body = table.tBodies[0];
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...body.rows].map((row) => [key(row, column), row]);
  // Missing values come last in either order; equals stand as on the page at first.
  rows.sort(([a, row], [b, other]) =>
    (a === "") - (b === "") || sign * compare(a, b) || row.dataset.place - other.dataset.place);
  body.append(...rows.map(([, row]) => row));
  if (table.id) remember(`${table.id}.sort`, `${title(header)}:${order}`);
}

function filter(controls) {
  const target = document.getElementById(controls.dataset.for);
  const items = target.tBodies ? target.tBodies[0].rows : target.children;
  const text = controls.querySelector("input[type=search]").value;
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const implicit = controls.querySelector("input[type=checkbox]")?.checked;
  const chosen = [...controls.querySelectorAll("select")].filter((select) => select.value);
  let visible = 0;
  for (const item of items) {
    const content = item.textContent.toLowerCase();
    item.hidden =
      !words.every((word) => content.includes(word)) ||
      (implicit && "explicit" in item.dataset) ||
      !chosen.every((select) => item.dataset[select.name] === select.value);
    visible += !item.hidden;
  }
  const wanted = [text.trim(), ...chosen.map((select) => select.value)].filter(Boolean).join(", ");
  const nothing = implicit && !wanted ? "all regularize on purpose" : `nothing matches “${wanted}”`;
  controls.querySelector("output").value = `${visible} of ${items.length}${visible ? "" : `: ${nothing}`}`;
}

function restore(controls, state) {
  const name = controls.dataset.for;
  const box = controls.querySelector("input[type=checkbox]");
  controls.querySelector("input[type=search]").value = state.get(`${name}.filter`) ?? "";
  if (box) box.checked = state.has(`${name}.implicit`);
  for (const select of controls.querySelectorAll("select")) {
    const value = state.get(`${name}.${select.name}`) ?? "";
    if ([...select.options].some((option) => option.value === value)) select.value = value;
  }
}

function theme(button) {
  const root = document.documentElement;
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches);
  const label = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.hidden = false;
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    try { localStorage.setItem("lowlands-theme", root.dataset.theme); } catch { /* a page from a file may have no storage */ }
    label();
  });
  label();
}

try {
  const choice = localStorage.getItem("lowlands-theme");
  if (choice) document.documentElement.dataset.theme = choice;
} catch { /* see above */ }

document.addEventListener("DOMContentLoaded", () => {
  const state = new URLSearchParams(location.hash.slice(1));
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tBodies[0].rows].forEach((row, place) => { row.dataset.place = place; });
    for (const button of table.querySelectorAll("thead button"))
      button.addEventListener("click", () => sort(table, button.closest("th")));
    const [, name, order] = /^(.*):(ascending|descending)$/.exec(state.get(`${table.id}.sort`) ?? "") ?? [];
    const header = [...table.tHead.rows[0].cells].find((cell) => title(cell) === name);
    if (header) sort(table, header, order);
  }
  for (const controls of document.querySelectorAll(".controls[data-for]")) {
    controls.hidden = false;
    restore(controls, state);
    controls.addEventListener("input", () => {
      filter(controls);
      remember(`${controls.dataset.for}.filter`, controls.querySelector("input[type=search]").value.trim());
      remember(`${controls.dataset.for}.implicit`, controls.querySelector("input[type=checkbox]")?.checked ? "1" : "");
      for (const select of controls.querySelectorAll("select"))
        remember(`${controls.dataset.for}.${select.name}`, select.value);
    });
    filter(controls);
  }
  // A link to something folded unfolds it.
  const linked = document.getElementById(location.hash.slice(1));
  if (linked instanceof HTMLDetailsElement) linked.open = true;
  theme(document.querySelector("#theme"));
});
