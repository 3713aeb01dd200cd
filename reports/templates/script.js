// An extra: the page says everything without it. Opens the section a link leads to, sorts and
// filters the table of every cell.
(() => {
  const open = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", open);
  open();

  for (const table of document.querySelectorAll("table.sortable")) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const key = (row, column) => row.cells[column].dataset.v ?? row.cells[column].textContent;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const number = (row) => (row.cells[column].dataset.v === undefined ? NaN : +key(row, column));
        rows.sort((a, b) => {
          const [x, y] = [number(a), number(b)];
          if (isNaN(x) && isNaN(y)) return key(a, column).localeCompare(key(b, column)) * (up ? 1 : -1);
          return isNaN(x) ? 1 : isNaN(y) ? -1 : (x - y) * (up ? 1 : -1);
        });
        body.append(...rows);
      });
    });
    const label = document.createElement("label");
    const input = document.createElement("input");
    input.type = "search";
    label.append("Filter ", input);
    label.className = "filter";
    table.parentElement.before(label);
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
  }
})();
