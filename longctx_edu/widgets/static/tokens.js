// needs: dom, offsets, colours
// A text as its tokens, each on the colour of its weight. Only the lines in view are in the
// page, so that ten thousand tokens scroll as lightly as ten.

const LINE = 24;
const SPARE_LINES = 6;
const MOST_TOKENS = 400;  // in the page, unless more are in view

class TokenText {
  constructor({ name, touched, chosen, released, signal }) {
    Object.assign(this, { touched, chosen, released, signal });
    this.pieces = [];
    this.lines = [];
    this.paints = () => null;
    this.marked = { row: -1, column: -1 };
    this.sheet = make("div", { class: "lx-sheet", role: "presentation" });
    // The box keeps the focus and names its active token: tokens come and go with scrolling.
    this.element = make("div", {
      class: "lx-tokens", tabindex: "0", role: "listbox", "aria-label": name,
    }, this.sheet);
    this.prefix = `lx${Math.random().toString(36).slice(2)}`;
    listen(this.element, "scroll", () => this.render(), signal);
    listen(this.element, "keydown", (event) => this.press(event), signal);
    listen(this.element, "pointerover", (event) => {
      const token = tokenOf(event);
      if (token !== null) this.touched(token);
    }, signal);
    listen(this.element, "pointerleave", () => this.touched(null), signal);
    listen(this.element, "click", (event) => {
      const token = tokenOf(event);
      if (token !== null) this.chosen(token);
    }, signal);
    onResize(this.element, () => this.lay(), signal);
  }

  // `pieces` is the text of each token, `paints(n)` its background as [red, green, blue] or null.
  show(pieces) {
    this.pieces = pieces;
    this.element.scrollTop = 0;
    this.lay();
  }

  colour(paints) {
    this.paints = paints;
    this.dress();
  }

  // The token that is looked from, and the one that is looked at.
  mark(row, column) {
    this.marked = { row, column };
    this.dress();
  }

  reveal(token) {
    if (token < 0 || !this.lines.length) return;
    const top = this.lineOf(token) * LINE;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    if (top + LINE > scrollTop + clientHeight) this.element.scrollTop = top + LINE - clientHeight;
  }

  // Break the tokens into lines: [first token of each line], by the measured width of each.
  lay() {
    const room = this.element.clientWidth - 24;
    if (room <= 0) return;
    const style = getComputedStyle(this.sheet);
    const pen = make("canvas").getContext("2d");
    pen.font = `${style.fontSize} ${style.fontFamily}`;
    const widths = new Map();
    this.lines = this.pieces.length ? [0] : [];
    let across = 0;
    this.pieces.forEach((piece, token) => {
      if (!widths.has(piece)) widths.set(piece, pen.measureText(visible(piece)).width + 2);
      const width = widths.get(piece);
      const full = across > 0 && across + width > room;
      const ended = token > 0 && /[\r\n]$/.test(this.pieces[token - 1]);
      if (full || ended) {
        this.lines.push(token);
        across = 0;
      }
      across += width;
    });
    this.sheet.style.height = `${this.lines.length * LINE}px`;
    this.render(true);
  }

  lineOf(token) {
    let low = 0;
    let high = this.lines.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.lines[middle] <= token) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  render(anew = false) {
    if (this.signal.aborted) return;
    const { scrollTop, clientHeight } = this.element;
    const end = (line) => this.lines[line] ?? this.pieces.length;
    let [first, last, spare] = [0, 0, SPARE_LINES];
    do {
      first = Math.max(0, Math.floor(scrollTop / LINE) - spare);
      last = Math.min(this.lines.length, Math.ceil((scrollTop + clientHeight) / LINE) + spare);
    } while (end(last) - end(first) > MOST_TOKENS && spare-- > 0);
    if (!anew && this.from === first && this.to === last) return;
    this.from = first;
    this.to = last;
    const lines = [];
    for (let line = first; line < last; line++) {
      const element = make("div", { class: "lx-line", role: "presentation" });
      element.style.top = `${line * LINE}px`;
      for (let token = this.lines[line]; token < end(line + 1); token++) {
        element.append(make("span", {
          class: "lx-token", id: `${this.prefix}-${token}`, role: "option", "data-token": token,
          "aria-setsize": this.pieces.length, "aria-posinset": token + 1,
          text: visible(this.pieces[token]),
        }));
      }
      lines.push(element);
    }
    this.sheet.replaceChildren(...lines);
    this.dress();
  }

  // Colours and marks of the tokens in the page, which stay the same elements: a click that
  // began on one ends on it.
  dress() {
    const { row, column } = this.marked;
    for (const element of this.sheet.querySelectorAll(".lx-token")) {
      const token = Number(element.dataset.token);
      const colour = this.paints(token);
      element.style.backgroundColor = colour ? css(colour) : "";
      element.style.color = colour ? readableOn(colour) : "";
      element.dataset.mark = token === row ? "row" : token === column ? "column" : "";
      element.setAttribute("aria-selected", String(token === row));
    }
    const active = row >= 0 ? `${this.prefix}-${row}` : "";
    if (active && this.sheet.querySelector(`#${active}`)) {
      this.element.setAttribute("aria-activedescendant", active);
    } else {
      this.element.removeAttribute("aria-activedescendant");
    }
  }

  press(event) {
    if (!this.pieces.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = Math.max(this.marked.row, 0);
    const line = this.lineOf(at);
    const onLine = (to) => {
      const place = clamp(to, 0, this.lines.length - 1);
      const end = (this.lines[place + 1] ?? this.pieces.length) - 1;
      return Math.min(this.lines[place] + at - this.lines[line], end);
    };
    const page = Math.max(1, Math.floor(this.element.clientHeight / LINE) - 1);
    const to = {
      ArrowLeft: () => at - 1, ArrowRight: () => at + 1,
      ArrowUp: () => onLine(line - 1), ArrowDown: () => onLine(line + 1),
      PageUp: () => onLine(line - page), PageDown: () => onLine(line + page),
      Home: () => 0, End: () => this.pieces.length - 1,
    }[event.key];
    if (to) {
      // Where no token is marked yet, an arrow enters at the first.
      const enters = this.marked.row < 0 && event.key.startsWith("Arrow");
      const token = enters ? 0 : clamp(to(), 0, this.pieces.length - 1);
      this.touched(token);
      this.reveal(token);
    } else if (event.key === "Enter" || event.key === " ") {
      this.chosen(at);
    } else if (event.key === "Escape") {
      this.released();
    } else {
      return;
    }
    event.preventDefault();
  }
}

function tokenOf(event) {
  const element = event.target.closest?.(".lx-token");
  return element ? Number(element.dataset.token) : null;
}
