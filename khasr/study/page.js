"use strict";
// A click on the heading of a column sorts its table: numbers by value, empty cells last, equal rows in their order.
function sortBy(heading) {
  const table = heading.closest("table"), body = table.tBodies[0];
  const column = Array.prototype.indexOf.call(heading.parentNode.children, heading);
  const down = heading.getAttribute("aria-sort") === "ascending";
  const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const rows = Array.from(body.rows, (row) => [key(row), row]);
  const numeric = rows.every(([k]) => k === "" || !Number.isNaN(Number(k)));
  rows.sort(([a], [b]) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = numeric ? Number(a) - Number(b) : a.localeCompare(b);
    return down ? -order : order;
  });
  body.append(...rows.map(([, row]) => row));
  for (const other of heading.parentNode.children) other.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
}
for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
// One recording at a time.
document.addEventListener("play", (event) => {
  for (const player of document.querySelectorAll("audio")) if (player !== event.target) player.pause();
}, true);
