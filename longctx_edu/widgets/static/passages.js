// needs: dom, offsets
// A text in its numbered passages, with a sign beside each number and one place marked.

class Passages {
  constructor({ name, chosen, signal }) {
    this.element = make("div", {
      class: "lx-passages", tabindex: "0", role: "region", "aria-label": name,
    });
    this.passages = [];
    listen(this.element, "click", (event) => {
      const passage = event.target.closest("[data-passage]");
      // Whoever selects words to copy them chooses no passage.
      if (passage && getSelection().isCollapsed) chosen(Number(passage.dataset.passage));
    }, signal);
    listen(this.element, "keydown", (event) => {
      if (event.key !== "Enter" || event.target !== this.element) return;
      event.preventDefault();
      const number = this.inSight();
      if (number >= 0) chosen(number);
    }, signal);
  }

  // `spans` are [start, end] in code points; what lies between passages has no number.
  show(text, spans) {
    this.points = new CodePoints(text);
    this.parts = [];
    let reached = 0;
    const elements = [];
    const add = (start, end, number) => {
      if (number < 0 && !this.points.slice(start, end).trim()) return;
      const words = make("div", { class: "lx-words", text: this.points.slice(start, end) });
      const sign = make("span", { class: "lx-sign", "aria-hidden": "true" });
      const gutter = make("div", { class: "lx-gutter" },
        make("span", { text: number < 0 ? "" : String(number) }), sign);
      const element = make("div", {
        class: "lx-passage", "data-passage": number < 0 ? null : number,
      }, gutter, words);
      const part = { start, end, words, sign, element, marked: false };
      this.parts.push(part);
      if (number >= 0) this.passages[number] = part;
      elements.push(element);
    };
    this.passages = [];
    spans.forEach(([start, end], number) => {
      if (start > reached) add(reached, start, -1);
      add(start, end, number);
      reached = Math.max(reached, end);
    });
    if (this.points.length > reached) add(reached, this.points.length, -1);
    this.element.replaceChildren(...elements);
  }

  sign(number, sign) {
    const part = this.passages[number];
    if (part && part.sign.textContent !== sign) part.sign.textContent = sign;
  }

  choose(number) {
    this.passages.forEach((part, n) => part.element.toggleAttribute("data-chosen", n === number));
  }

  // Mark [start, end], in code points; nothing for an empty place.
  mark([start, end] = []) {
    for (const part of this.parts ?? []) {
      const [from, to] = [Math.max(start, part.start), Math.min(end, part.end)];
      if (!(from < to)) {
        if (part.marked) part.words.textContent = this.points.slice(part.start, part.end);
        part.marked = false;
        continue;
      }
      part.marked = true;
      part.words.replaceChildren(this.points.slice(part.start, from),
        make("mark", { text: this.points.slice(from, to) }), this.points.slice(to, part.end));
    }
  }

  // Scroll to the marked place, else to the passage: inside the box only, never the page.
  reveal(number) {
    const place = this.element.querySelector("mark") ?? this.passages[number]?.element;
    if (!place) return;
    const box = this.element.getBoundingClientRect();
    const at = place.getBoundingClientRect();
    if (at.top >= box.top && at.bottom <= box.bottom) return;
    this.element.scrollTop += at.top - box.top - Math.max(8, (box.height - at.height) / 3);
  }

  // The passage that covers the middle of the box.
  inSight() {
    const box = this.element.getBoundingClientRect();
    const middle = (box.top + box.bottom) / 2;
    const below = this.passages.findIndex(({ element }) =>
      element.getBoundingClientRect().bottom > middle);
    return below < 0 ? this.passages.length - 1 : below;
  }
}
