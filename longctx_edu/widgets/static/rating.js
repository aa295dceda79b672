// needs: dom, theme, choices
// A person rates answers, sheet by sheet. No method's name ever comes here.

const RATING_TRAITS = ["scale", "sheets", "ratings", "at", "rater"];
const RATING_WORDS = {
  points: [["1", "1", "1: useless"], ["2", "2", "2"], ["3", "3", "3: in part"], ["4", "4", "4"],
    ["5", "5", "5: right and complete"]],
  better: [["1", "First is better", "1"], ["2", "Second is better", "2"], ["3", "Equal", "3"]],
};
const RATING_NAMES = {
  points: ["", "1", "2", "3", "4", "5"],
  better: ["", "first", "second", "equal"],
};
const RATING_HELP = {
  points: "Keys 1 (useless) to 5 (right and complete) rate and go on; [ and ] turn over the sheets.",
  better: "Keys 1 (first), 2 (second) and 3 (equal) rate and go on; [ and ] turn over the sheets.",
};

class RatingPanel {
  constructor(model, el, signal) {
    Object.assign(this, { model, signal });
    const scale = model.get("scale");
    this.place = make("p", { class: "lx-status", role: "status" });
    this.progress = make("progress", { "aria-label": "Rated sheets" });
    this.question = make("p", { class: "lx-question", tabindex: "-1" });
    this.reference = make("p", { class: "lx-reference" });
    this.texts = make("div", { class: "lx-texts" });
    this.choice = choices({
      name: scale === "points" ? "Points" : "Which is better", options: RATING_WORDS[scale],
      chosen: "", signal, onChoose: (value) => this.rate(Number(value)),
    });
    const button = (text, handler) => {
      const made = make("button", { type: "button", text });
      listen(made, "click", handler, signal);
      return made;
    };
    this.before = button("← Before", () => this.turn(-1));
    this.next = button("Next →", () => this.turn(1));
    this.save = button("Save ratings as a file", () => this.download());
    this.root = make("section", { class: "lx lx-rating" },
      this.place, this.progress, this.question, this.texts, this.reference,
      make("div", { class: "lx-bar lx-choice" }, this.choice.element),
      make("div", { class: "lx-bar" }, this.before, this.next, this.save),
      make("p", { class: "lx-help", text: RATING_HELP[scale] }));
    listen(this.root, "keydown", (event) => this.press(event), signal);
    putIn(el, this.root, signal);
    follow(model, RATING_TRAITS.map((name) => `change:${name}`), () => this.tell(), signal);
    signal.addEventListener("abort", () => this.root.remove());
    followTheme(model, this.root, () => {}, signal);
    this.tell();
  }

  get ratings() {
    return this.model.get("ratings") ?? [];
  }

  press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const known = RATING_WORDS[this.model.get("scale")].some(([value]) => value === event.key);
    if (known) {
      this.rate(Number(event.key));
      this.goOn();
    } else if (event.key === "[" || event.key === "]") this.turn(event.key === "[" ? -1 : 1);
    else return;
    event.preventDefault();
  }

  rate(value) {
    const at = this.model.get("at");
    this.set("ratings", this.ratings.map((one, place) => (place === at ? value : one)));
  }

  // To the next sheet that is not rated, from here on and then from the start.
  goOn() {
    const { ratings } = this;
    const at = this.model.get("at");
    const order = ratings.map((_, step) => (at + 1 + step) % ratings.length);
    const open = order.find((place) => ratings[place] === 0);
    if (open !== undefined) this.go(open);
  }

  turn(step) {
    this.go(clamp(this.model.get("at") + step, 0, this.ratings.length - 1));
  }

  go(at) {
    this.set("at", at);
    this.question.focus({ preventScroll: true });
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
    this.tell();
  }

  tell() {
    const sheets = this.model.get("sheets") ?? [];
    const at = this.model.get("at");
    const { question, texts, reference, key } = sheets[at];
    const { ratings } = this;
    const rated = ratings.filter(Boolean).length;
    const done = rated === sheets.length;
    this.place.textContent = `Sheet ${at + 1} of ${sheets.length}; ${rated} rated`
      + (done ? ". All are rated, thank you." : "");
    this.progress.max = sheets.length;
    this.progress.value = rated;
    this.choice.show(String(ratings[at]));
    this.before.disabled = at === 0;
    this.next.disabled = at === sheets.length - 1;
    if (this.shown === key) return;
    this.shown = key;
    this.question.textContent = question;
    this.reference.hidden = !reference;
    this.reference.textContent = `Right answer: ${reference}`;
    this.texts.replaceChildren(...texts.map((text, place) => {
      const name = texts.length > 1 ? ["First answer", "Second answer"][place] : "Answer";
      return make("figure", {}, make("figcaption", { text: name }),
        make("blockquote", { text, tabindex: "0", "aria-label": name }));
    }));
  }

  download() {
    const names = RATING_NAMES[this.model.get("scale")];
    const rater = JSON.stringify(this.model.get("rater")).slice(1, -1).replaceAll("\\\"", "\"\"");
    const lines = this.model.get("sheets").map(({ key }, place) =>
      `${place + 1},${names[this.ratings[place]]},"${rater}",${key}`);
    const text = `${["sheet,rating,rater,key", ...lines].join("\r\n")}\r\n`;
    const address = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    make("a", { href: address, download: "ratings.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  }
}

function render({ model, el }) {
  const ending = new AbortController();
  new RatingPanel(model, el, ending.signal);
  return () => ending.abort();
}
