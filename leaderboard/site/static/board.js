"use strict";
// Sorting, filtering and the theme. Tables work without this file too.

const collator = new Intl.Collator(undefined, { numeric: true });

function key(row, column) {
  const cell = row.cells[column];
  return cell.dataset.key ?? cell.textContent.trim();
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : collator.compare(a, b);
}

function sort(table, header) {
  const headers = [...header.parentElement.cells];
  const column = headers.indexOf(header);
  // Words begin from the start of the alphabet, numbers from the largest; the rank from the first.
  const up = header.classList.contains("words") || header.dataset.first === "ascending";
  const next = { none: up ? "ascending" : "descending", ascending: "descending", descending: "ascending" };
  const order = next[header.getAttribute("aria-sort") ?? "none"];
  for (const other of headers) other.setAttribute("aria-sort", other === header ? order : "none");
  const body = table.tBodies[0];
  const sign = order === "ascending" ? 1 : -1;
  const rows = [...body.rows].map((row) => [key(row, column), row]);
  // Missing values come last in either order.
  rows.sort(([a], [b]) => (a === "") - (b === "") || sign * compare(a, b));
  body.append(...rows.map(([, row]) => row));
}

function filter(controls) {
  const table = document.getElementById(controls.dataset.for);
  const words = controls.querySelector("input[type=search]").value.toLowerCase().split(/\s+/).filter(Boolean);
  const implicit = controls.querySelector("input[type=checkbox]")?.checked;
  let visible = 0;
  for (const row of table.tBodies[0].rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word)) || (implicit && "explicit" in row.dataset);
    visible += !row.hidden;
  }
  controls.querySelector("output").value = `${visible} of ${table.tBodies[0].rows.length}`;
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
  for (const table of document.querySelectorAll("table.sortable"))
    for (const button of table.querySelectorAll("thead button"))
      button.addEventListener("click", () => sort(table, button.closest("th")));
  for (const controls of document.querySelectorAll(".controls")) {
    controls.hidden = false;
    controls.addEventListener("input", () => filter(controls));
    filter(controls);
  }
  theme(document.querySelector("#theme"));
});
