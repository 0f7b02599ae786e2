"use strict";
// The page can be read without this: it adds sorting, finding, moving along the timeline, and opening what a link or a
// printer needs.
(() => {
  const all = (selector, root = document) => Array.from(root.querySelectorAll(selector));

  const make = (tag, attributes, ...inside) => {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...inside);
    return made;
  };
  const button = (text, act) => {
    const made = make("button", { type: "button" }, text);
    made.addEventListener("click", act);
    return made;
  };

  // Above the questions: find some, sort them, open and close all.
  const tools = document.getElementById("tools") ?? make("div", {});
  const list = document.getElementById("list");
  const articles = all("article.question");
  if (articles.length > 1) {
    const find = make("input", { type: "search", placeholder: "Find a question", ariaLabel: "Find a question" });
    const count = make("span", { role: "status" });
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

    const number = (key) => (article) => Number(article.dataset[key]);
    const orders = {
      "Number": (one, other) => number("number")(one) - number("number")(other),
      "Result, worst first": (one, other) => rank(other) - rank(one),
      "Most rounds": (one, other) => number("rounds")(other) - number("rounds")(one),
      "Longest": (one, other) => number("seconds")(other) - number("seconds")(one),
      "Dearest": (one, other) => number("spent")(other) - number("spent")(one),
    };
    const results = ["right", "answered", "running", "pending", "cancelled", "unanswered", "failed", "wrong"];
    const rank = (article) => results.indexOf(article.dataset.result);
    const sort = make("select", {}, ...Object.keys(orders).map((name) => make("option", {}, name)));
    sort.addEventListener("change", () => list.append(...articles.slice().sort(orders[sort.value])));
    tools.append(find, count, make("label", {}, "Sort", sort));
  }
  const setOpen = (open) => all("#questions details").forEach((each) => { each.open = open; });
  tools.append(button("Open all", () => setOpen(true)), button("Close all", () => setOpen(false)));

  // The arrow keys go from bar to bar in the order of the rounds.
  for (const timeline of all(".timeline")) {
    const round = (link) => Number(link.getAttribute("href").split("s").pop());
    const links = all("a", timeline).sort((one, other) => round(one) - round(other));
    timeline.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const at = links.indexOf(document.activeElement);
      if (!step || at < 0) return;
      event.preventDefault();
      links[Math.min(links.length - 1, Math.max(0, at + step))].focus();
    });
  }

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
