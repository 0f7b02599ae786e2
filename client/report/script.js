"use strict";
// The page can be read without this: it adds sorting, finding, and opening what a link or a printer needs.
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  const button = (text, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.addEventListener("click", act);
    return made;
  };

  // Tables: a button in each heading sorts by its column.
  for (const table of all("table.sortable")) {
    const headings = all("thead th", table);
    headings.forEach((heading, column) => {
      const label = heading.textContent;
      heading.textContent = "";
      heading.append(button(label, () => {
        const down = heading.getAttribute("aria-sort") === "ascending";
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        heading.setAttribute("aria-sort", down ? "descending" : "ascending");
        const body = table.tBodies[0];
        const key = (row) => row.cells[column].dataset.value ?? row.cells[column].textContent;
        const order = new Intl.Collator(undefined, { numeric: true }).compare;
        const isNumber = heading.classList.contains("n");
        const compare = isNumber
          ? (one, other) => Number(key(one).replace(/,/g, "")) - Number(key(other).replace(/,/g, ""))
          : (one, other) => order(key(one), key(other));
        const rows = Array.from(body.rows).sort(compare);
        body.append(...(down ? rows.reverse() : rows));
      }));
    });
  }

  // Above the questions: find some, open and close all.
  const tools = document.getElementById("tools");
  const articles = all("article.question");
  if (articles.length > 1) {
    const find = document.createElement("input");
    find.type = "search";
    find.placeholder = "Find a question";
    find.setAttribute("aria-label", "Find a question");
    const count = document.createElement("span");
    count.setAttribute("role", "status");
    const texts = articles.map((article) => article.querySelector("summary").textContent.toLowerCase());
    find.addEventListener("input", () => {
      const wanted = find.value.trim().toLowerCase();
      let shown = 0;
      articles.forEach((article, number) => {
        article.hidden = !texts[number].includes(wanted);
        shown += !article.hidden;
      });
      count.textContent = wanted ? `${shown} of ${articles.length}` : "";
    });
    tools.append(find, count);
  }
  const setOpen = (open) => all("#questions details").forEach((each) => { each.open = open; });
  tools.append(button("Open all", () => setOpen(true)), button("Close all", () => setOpen(false)));

  // A link into something closed opens it.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target || !target.closest("article.question")) return;
    const own = target.querySelector("details");
    if (own) own.open = true;
    for (let at = target; at; at = at.parentElement) {
      if (at instanceof HTMLDetailsElement) at.open = true;
      at.hidden = false;
    }
    target.scrollIntoView();
    const summary = target.querySelector("summary");
    if (summary) summary.focus({ preventScroll: true });
  };
  window.addEventListener("hashchange", reveal);
  reveal();

  // Paper has nothing to open.
  let closed = [];
  window.addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((each) => { each.open = true; });
  });
  window.addEventListener("afterprint", () => closed.forEach((each) => { each.open = false; }));
})();
