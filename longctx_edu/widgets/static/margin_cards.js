// needs: dom
// Margins as cards: what is written, how it was judged, and a person's own verdict. One stop
// for Tab and arrows between the cards; the buttons of the card in focus follow it.

const MARGIN_STATES = { waiting: "… waiting", writing: "✎ writing", done: "", cut: "cut short" };

function verdictOf({ kept, by }) {
  if (kept === null || kept === undefined) return "";
  const who = by === "person" ? " by you" : by ? ` by ${by.replaceAll("_", " ")}` : "";
  return `${kept ? "✓ kept" : "✗ left out"}${who}`;
}

function signOf({ state, kept }) {
  if (state === "waiting") return "…";
  if (state === "writing") return "✎";
  return kept === true ? "✓" : kept === false ? "✗" : "•";
}

// A field for words: Enter keeps them, Shift and Enter is a new line, Escape lets them be.
function wordsField({ name, text, verb, kept, left }) {
  const field = make("textarea", { rows: 3, "aria-label": name });
  field.value = text;
  const save = make("button", { type: "button", text: verb });
  const leave = make("button", { type: "button", text: "Discard" });
  save.addEventListener("click", () => kept(field.value));
  leave.addEventListener("click", left);
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.isComposing) return;
    if (event.key === "Escape") left();
    else if (event.key === "Enter" && !event.shiftKey) kept(field.value);
    else return;
    event.preventDefault();
  });
  return { element: make("div", { class: "lx-field" }, field, save, leave), field };
}

class MarginCards {
  constructor({ chosen, decided, edited, adding, signal }) {
    Object.assign(this, { chosen, decided, edited, adding, signal });
    this.cards = [];
    this.at = 0;
    this.element = make("div", { class: "lx-cards", role: "list", "aria-label": "Margins" });
    listen(this.element, "click", (event) => this.click(event), signal);
    listen(this.element, "keydown", (event) => this.press(event), signal);
    listen(this.element, "focusin", (event) => {
      const card = event.target.closest(".lx-card");
      if (card) this.enter(Number(card.dataset.note));
    }, signal);
  }

  // `editable` is whether a person may decide here.
  show(margins, { editable, selected }) {
    while (this.cards.length > margins.length) this.cards.pop().element.remove();
    while (this.cards.length < margins.length) this.cards.push(this.card(this.cards.length));
    const order = margins.map((_, n) => n).sort((a, b) =>
      (margins[a].segment ?? Infinity) - (margins[b].segment ?? Infinity) || a - b);
    this.order = order;
    order.forEach((n, place) => {
      const { element } = this.cards[n];
      if (this.element.children[place] !== element) {
        this.element.insertBefore(element, this.element.children[place] ?? null);
      }
      this.fill(n, margins[n], editable, selected);
    });
    if (this.at >= margins.length) this.at = 0;
    this.cards.forEach((_, n) => this.rove(n));
  }

  card(n) {
    const parts = {
      where: make("span", { class: "lx-where" }), state: make("span", { class: "lx-state" }),
      verdict: make("span", { class: "lx-verdict" }), numbers: make("span", { class: "lx-numbers" }),
      text: make("p", { class: "lx-said" }),
      accept: make("button", { type: "button", text: "Accept", "data-act": "accept" }),
      reject: make("button", { type: "button", text: "Reject", "data-act": "reject" }),
      edit: make("button", { type: "button", text: "Edit", "data-act": "edit" }),
    };
    parts.acts = make("div", { class: "lx-acts" }, parts.accept, parts.reject, parts.edit);
    parts.element = make("div", { class: "lx-card", role: "listitem", "data-note": n },
      make("div", { class: "lx-top" },
        parts.where, parts.verdict, parts.state, parts.numbers, parts.acts), parts.text);
    return parts;
  }

  fill(n, margin, editable, selected) {
    const card = this.cards[n];
    card.margin = margin;
    const put = (part, text) => {
      if (card[part].textContent !== text) card[part].textContent = text;
    };
    const number = (name) => (typeof margin[name] === "number"
      ? [`${name} ${margin[name].toFixed(2)}`] : []);
    put("where", margin.segment === null ? "Whole text" : `Segment ${margin.segment}`);
    put("state", MARGIN_STATES[margin.state] ?? "");
    put("verdict", verdictOf(margin));
    put("numbers", [...number("confidence"), ...number("score")].join(" · "));
    const nothing = margin.state === "done" && !margin.text.trim();
    put("text", nothing ? "(nothing noted)" : margin.text);
    const { element } = card;
    element.dataset.state = margin.state;
    element.dataset.kept = String(margin.kept ?? "");
    element.toggleAttribute("data-chosen", margin.segment !== null && margin.segment === selected);
    card.acts.hidden = !editable || Boolean(card.editor);
    card.text.hidden = Boolean(card.editor);
    card.accept.setAttribute("aria-pressed", String(margin.kept === true));
    card.reject.setAttribute("aria-pressed", String(margin.kept === false));
    card.edit.disabled = margin.state === "writing";
    this.editable = editable;
    const label = [card.where, card.verdict, card.state, card.numbers]
      .map((part) => part.textContent).filter(Boolean).join(", ");
    if (element.getAttribute("aria-label") !== label) element.setAttribute("aria-label", label);
  }

  rove(n) {
    const { element, acts } = this.cards[n];
    element.tabIndex = n === this.at ? 0 : -1;
    for (const button of acts.children) button.tabIndex = n === this.at ? 0 : -1;
  }

  enter(n) {
    if (n === this.at) return;
    const before = this.at;
    this.at = n;
    if (this.cards[before]) this.rove(before);
    this.rove(n);
  }

  // Scroll the first card of a segment into the box, not the page.
  reveal(segment) {
    const card = this.cards.find(({ margin }) => margin.segment === segment);
    if (!card) return;
    const box = this.element.getBoundingClientRect();
    const at = card.element.getBoundingClientRect();
    if (at.top < box.top) this.element.scrollTop += at.top - box.top - 4;
    else if (at.bottom > box.bottom) this.element.scrollTop += at.bottom - box.bottom + 4;
  }

  click(event) {
    const element = event.target.closest(".lx-card");
    if (!element || event.target.closest(".lx-field")) return;
    const n = Number(element.dataset.note);
    const act = event.target.closest("button")?.dataset.act;
    if (act) this.act(n, act);
    else if (getSelection().isCollapsed) this.chosen(this.cards[n].margin);
  }

  act(n, act) {
    if (!this.editable) return;
    if (act === "edit") this.openEditor(n);
    else this.decided(n, act === "accept");
  }

  openEditor(n) {
    const card = this.cards[n];
    if (card.editor || card.edit.disabled) return;
    const close = () => {
      card.editor?.element.remove();
      card.editor = null;
      card.acts.hidden = !this.editable;
      card.text.hidden = false;
      card.element.focus();
    };
    card.editor = wordsField({
      name: `Words of the note on ${card.where.textContent}`, text: card.margin.text, verb: "Keep",
      kept: (text) => { this.edited(n, text); close(); }, left: close,
    });
    card.acts.hidden = true;
    card.text.hidden = true;
    card.element.append(card.editor.element);
    card.editor.field.focus();
  }

  press(event) {
    const element = event.target.closest(".lx-card");
    if (!element || event.target.closest(".lx-field")) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const n = Number(element.dataset.note);
    const place = this.order.indexOf(n);
    const to = {
      ArrowDown: place + 1, ArrowUp: place - 1, ArrowRight: place + 1, ArrowLeft: place - 1,
      Home: 0, End: this.order.length - 1,
    }[event.key];
    const act = { a: "accept", r: "reject", e: "edit" }[event.key.toLowerCase()];
    if (to !== undefined) {
      this.cards[this.order[clamp(to, 0, this.order.length - 1)]].element.focus();
    } else if (act) {
      this.act(n, act);
    } else if (event.key.toLowerCase() === "n" && this.editable) {
      this.adding(this.cards[n].margin.segment);
    } else if (event.key === "Enter" && event.target === element) {
      this.chosen(this.cards[n].margin);
    } else {
      return;
    }
    event.preventDefault();
  }
}
