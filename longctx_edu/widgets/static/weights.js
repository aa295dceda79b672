// needs: dom, theme, choices, offsets, colours, selection, requests, heat, strip, legend, table, tokens
// Attention weights of one head: matrix, row, text and table, all on one selection.

const KEPT_ROWS = 128;
const SCALES = [
  ["relative", "relative", "Each row against attention spread evenly over the keys it may see"],
  ["log", "log", "From a millionth to one, each step the same ratio"],
  ["linear", "linear", "From none to all of the row's attention"],
];
const HEAD_KEYS = { "[": ["head", -1], "]": ["head", 1], "{": ["layer", -1], "}": ["layer", 1] };
const HELP = "Arrows move · Enter keeps the cell, Esc lets go · [ ] head · { } layer · "
  + "+ − 0 zoom, also Ctrl and wheel";

class WeightsPanel {
  constructor(model, el, signal) {
    Object.assign(this, { model, signal });
    this.rows = new Map();
    this.selection = new Selection(model, () => this.update(), signal);
    this.requests = new Requests(model, {
      answered: (asks, parts) => this.keepRow(asks[0], parts[0]),
    }, signal);
    const cell = ({ row, column }) => ({ query: row, key: column });
    const released = () => this.selection.release();
    this.heat = new HeatMatrix({
      name: "Attention weights, queries down and keys across", signal, released,
      touched: (at) => this.selection.touch(at && cell(at)),
      chosen: (at) => this.selection.choose(cell(at)),
      moved: (at) => this.strip.draw(at),
    });
    this.strip = new RowStrip({ name: "Weights of one query", signal });
    this.tokens = new TokenText({
      name: "Text; choose the token that looks", signal, released,
      touched: (query) =>
        this.selection.touch(query === null ? null : { query, key: this.selection.get("key") }),
      chosen: (query) => this.selection.choose({ query }),
    });
    this.legend = legend();
    this.table = new Table(["rank", "key", "token", "weight"]);
    this.cell = make("p", { class: "lx-cell" });
    this.status = make("p", { class: "lx-status", role: "status" });
    this.spoken = make("div", { class: "lx-hidden", "aria-live": "polite" });
    this.root = make("section", { class: "lx lx-weights" },
      this.bar(), this.status,
      make("div", { class: "lx-halves" },
        make("div", { class: "lx-left" },
          this.heat.canvas, this.strip.canvas, this.legend.element),
        make("div", { class: "lx-right" }, this.tokens.element, this.cell, this.table.element)),
      make("p", { class: "lx-help", text: HELP }), this.spoken);
    putIn(el, this.root, signal);
    listen(this.root, "keydown", (event) => this.press(event), signal);
    follow(model, ["change:shape"], () => this.pickers(), signal);
    follow(model, ["change:shape", "change:text", "change:spans", "change:codes", "change:shown",
      "change:scale", "change:top_k"], () => this.selection.tell(), signal);
    signal.addEventListener("abort", () => {
      clearTimeout(this.speaking);
      this.root.remove();
    });
    followTheme(model, this.root, () => this.heat.draw(), signal);
    this.pickers();
    this.update();
  }

  bar() {
    const { signal } = this;
    const picker = (name) => {
      const select = make("select", { "data-picks": name });
      listen(select, "change", () => this.selection.choose({ [name]: Number(select.value) }), signal);
      return select;
    };
    const button = (text, name, act) => {
      const made = make("button", { type: "button", text, "aria-label": name, title: name });
      listen(made, "click", act, signal);
      return made;
    };
    this.layers = picker("layer");
    this.heads = picker("head");
    this.scales = choices({
      name: "Colour scale", options: SCALES, chosen: this.model.get("scale"), signal,
      onChoose: (value) => {
        this.model.set("scale", value);
        this.model.save_changes();
        this.selection.tell();
      },
    });
    return make("div", { class: "lx-bar" },
      make("label", { text: "Layer" }, this.layers), make("label", { text: "Head" }, this.heads),
      make("span", { class: "lx-group" }, make("span", { text: "Scale" }), this.scales.element),
      make("span", { class: "lx-group" },
        button("−", "zoom out", () => this.heat.zoom(1 / 1.5)),
        button("+", "zoom in", () => this.heat.zoom(1.5)),
        button("all", "show the whole matrix", () => this.heat.fit())));
  }

  pickers() {
    const [layers = 0, heads = 0] = this.model.get("shape") ?? [];
    for (const [select, count] of [[this.layers, layers], [this.heads, heads]]) {
      select.replaceChildren(...Array.from({ length: count }, (_, n) =>
        make("option", { value: n, text: String(n) })));
    }
  }

  // A file without a kernel holds some heads only.
  holds(values) {
    return !this.model.holds || this.model.holds(values);
  }

  press(event) {
    const [name, step] = HEAD_KEYS[event.key] ?? [];
    // Brackets need Option on many keyboards, and AltGr, which reads as Ctrl and Alt, on others.
    const command = event.metaKey || (event.ctrlKey && !event.getModifierState("AltGraph"));
    if (!name || command) return;
    const count = (this.model.get("shape") ?? [])[name === "layer" ? 0 : 1] ?? 0;
    const value = this.selection.get(name) + step;
    if (value < 0 || value >= count || !this.holds({ [name]: value })) return;
    event.preventDefault();
    this.selection.choose({ [name]: value });
  }

  // ------------------------------------------------------------------ from traits to pictures

  update() {
    if (this.signal.aborted) return;
    this.takeText();
    this.takeCodes();
    const { selection } = this;
    const [layer, head] = [selection.get("layer"), selection.get("head")];
    for (const [select, name, value] of [[this.layers, "layer", layer], [this.heads, "head", head]]) {
      select.value = String(value);
      for (const option of select.options) {
        option.disabled = !this.holds({ [name]: Number(option.value) });
      }
    }
    const scale = this.model.get("scale");
    this.scales.show(scale);
    this.legend.show(scale);
    this.heat.setScale(scale);
    this.status.textContent = this.say(layer, head);
    this.showRow(scale);
  }

  say(layer, head) {
    if (!this.codes?.length) return "Waiting for the weights.";
    if (this.shown[0] === layer && this.shown[1] === head) return "";
    return `Layer ${layer}, head ${head} comes when the kernel is free; `
      + `below is still layer ${this.shown[0]}, head ${this.shown[1]}.`;
  }

  takeText() {
    const [text, spans] = [this.model.get("text") ?? "", this.model.get("spans")];
    if (text === this.text && spans === this.spans) return;
    Object.assign(this, { text, spans });
    this.pieces = pieces(text, numbersOf(spans, Int32Array));
    this.tokens.show(this.pieces);
    this.codesTaken = null;
  }

  takeCodes() {
    const [, , queries = 0, keys = 0] = this.model.get("shape") ?? [];
    const view = this.model.get("codes");
    const codes = bytesOf(view);
    // Codes and shape may come apart; only a whole matrix is drawn.
    if (!codes.length || codes.length !== queries * keys || view === this.codesTaken) return;
    this.codesTaken = view;
    this.codes = codes;
    this.shown = this.model.get("shown");
    this.lengths = Array.from({ length: queries }, (_, query) => {
      let length = 0;
      for (let key = 0; key < keys; key++) length += codes[query * keys + key] !== MASKED;
      return length;
    });
    this.keys = keys;
    // The same text at the same size keeps its place and zoom from head to head.
    if (this.heat.rowLabels !== this.pieces || this.heat.rows !== queries) {
      this.heat.shape({
        rows: queries, columns: keys, rowLabels: this.pieces, columnLabels: this.pieces,
        rowLength: (query) => this.lengths[query],
      });
    }
    this.heat.put("head", { height: queries, width: keys, codes });
  }

  // ------------------------------------------------------------------ one row

  showRow(scale) {
    const { selection } = this;
    const { query, key } = selection;
    this.heat.mark({
      row: query, column: key,
      pinnedRow: selection.get("query"), pinnedColumn: selection.get("key"),
    });
    this.tokens.mark(query, key);
    const row = this.row(query);
    this.root.setAttribute("aria-label", this.describe(query, row));
    if (!row) {
      this.tokens.colour(() => null);
      this.strip.show({ weights: new Float32Array(0), length: 1, scale, marked: -1, text: "" });
      this.cell.textContent = "Choose a cell, or a token of the text.";
      this.table.show("", []);
      this.heat.describe("");
      return;
    }
    const { weights, length } = row;
    this.tokens.colour((token) => this.codes[query * this.keys + token] === MASKED
      ? null : PALETTE[Math.round(255 * shareOf(weights[token], scale, length))]);
    const text = this.sentence(query, key, row);
    const first = row.top[0];
    const best = first ? `Strongest: key ${first.key} ${this.quoted(first.key)}` : "";
    this.strip.show({ weights, length, scale, marked: key, text: best });
    this.cell.textContent = text;
    this.heat.describe(text);
    this.table.show(
      `Layer ${this.shown[0]}, head ${this.shown[1]}: where query ${query} looks`,
      row.top.map(({ key: one, weight }, rank) =>
        [String(rank + 1), String(one), visible(this.pieces[one] ?? ""), about(row) + written(weight)]),
      row.top.findIndex((one) => one.key === key),
    );
    this.speak(key < 0 ? `${text} ${best}` : text);
  }

  // In the words of Python's `describe`, but of what is shown here: a file has no Python.
  describe(query, row) {
    if (!this.shown) return "attention weights";
    const [layers, heads, queries] = this.model.get("shape");
    const where = `attention of layer ${this.shown[0]} of ${layers}, head ${this.shown[1]} of `
      + `${heads}, over ${queries} tokens`;
    if (!row) return where;
    const [best] = row.top;
    const looks = best ? `looks most at key ${best.key} ${this.quoted(best.key)}, `
      + `weight ${about(row)}${written(best.weight)}` : "sees no key";
    return `${where}; query ${query} ${this.quoted(query)} ${looks}`;
  }

  sentence(query, key, row) {
    const from = `Query ${query} ${this.quoted(query)}`;
    if (key < 0) return `${from} sees ${row.length || "no"} key${row.length === 1 ? "" : "s"}.`;
    const to = `${from} → key ${key} ${this.quoted(key)}`;
    if (this.codes[query * this.keys + key] === MASKED) return `${to}: masked, out of its sight.`;
    const weight = row.weights[key];
    const ratio = weight * row.length;
    const even = ratio >= 10 ? ratio.toFixed(0) : ratio.toPrecision(2);
    return `${to}: ${about(row)}${written(weight)}, ${even} × an even share.`;
  }

  quoted(token) {
    return quoted(this.pieces[token] ?? "");
  }

  // A reader who hears the page gets one sentence when the cursor rests, not one for each step.
  speak(text) {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => { this.spoken.textContent = text; }, 250);
  }

  row(query) {
    if (!this.codes?.length || !(query >= 0 && query < this.lengths.length)) return null;
    const [layer, head] = this.shown;
    const ask = { op: "row", layer, head, query, top_k: this.model.get("top_k") };
    const wanted = JSON.stringify(ask);
    const length = this.lengths[query];
    if (this.rows.has(wanted)) return { ...this.rows.get(wanted), length, exact: true };
    // Asked once: until the answer comes, the codes have to do.
    if (this.asked !== wanted) {
      this.asked = wanted;
      this.requests.ask([ask]);
    }
    const codes = this.codes.subarray(query * this.keys, (query + 1) * this.keys);
    return { ...fromCodes(codes, ask.top_k), length, exact: false };
  }

  keepRow(ask, { buffers }) {
    const weights = numbersOf(buffers[0], Float32Array);
    const best = numbersOf(buffers[2], Float32Array);
    const top = Array.from(numbersOf(buffers[1], Int32Array), (key, n) => ({ key, weight: best[n] }));
    if (this.rows.size >= KEPT_ROWS) this.rows.delete(this.rows.keys().next().value);
    this.rows.set(JSON.stringify(ask), { weights, top });
    this.selection.tell();
  }
}

function about(row) {
  return row.exact ? "" : "≈ ";
}

// Weights to within three percent, until the exact ones come.
function fromCodes(codes, count) {
  const weights = Float32Array.from(codes, weightOf);
  const top = Array.from(weights, (weight, key) => ({ key, weight }))
    .filter(({ key }) => codes[key] !== MASKED)
    .sort((a, b) => b.weight - a.weight || a.key - b.key)
    .slice(0, count);
  return { weights, top };
}

function render({ model, el }) {
  const ending = new AbortController();
  new WeightsPanel(model, el, ending.signal);
  return () => ending.abort();
}
