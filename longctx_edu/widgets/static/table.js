// needs: dom
// A plain HTML table, which a screen reader reads and a mouse copies.

class Table {
  // With `chosen`, the second cell of a row is a button that tells it the number of the row.
  constructor(headings, chosen = null) {
    this.chosen = chosen;
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
        ...cells.map((text, at) => this.chosen && at === 1
          ? make("td", {}, this.button(text, place)) : make("td", { text })))));
  }

  button(text, place) {
    const made = make("button", { type: "button", text });
    made.onclick = () => this.chosen(place);
    return made;
  }
}
