// needs: dom
// A plain HTML table, which a screen reader reads and a mouse copies.

class Table {
  constructor(headings) {
    this.caption = make("caption");
    this.body = make("tbody");
    const cells = headings.map((text) => make("th", { scope: "col", text }));
    this.element = make("table", { class: "lx-table" }, this.caption,
      make("thead", {}, make("tr", {}, ...cells)), this.body);
  }

  show(caption, rows, marked = -1) {
    this.caption.textContent = caption;
    this.body.replaceChildren(...rows.map((cells, place) =>
      make("tr", { "data-marked": place === marked ? "yes" : null },
        ...cells.map((text) => make("td", { text })))));
  }
}
