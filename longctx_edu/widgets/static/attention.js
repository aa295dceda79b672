// needs: dom, theme, offsets, colours, selection, requests, heat, strip, legend, table, tokens, grid, minimap
// All heads at a glance, the matrix of one in tiles as fine as the screen, and one row exactly:
// all on one selection. What is coarse stands until what is sharp has come.

const TILE = 256;
const LONG = 1024;
const MOST_TILES = 32;    // in one message
const KEPT_TILES = 256;
const EXACT_ROWS = 128;
const MOVED = 180;        // milliseconds of rest before Python hears what is in view
const STEP_KEYS = { "[": ["head", -1], "]": ["head", 1], "{": ["layer", -1], "}": ["layer", 1] };
const KEYS_HELP = "Arrows move · Enter keeps the cell, Esc lets go · [ ] head · { } layer · "
  + "+ − 0 or Ctrl and wheel zoom";
const COUNTING = ["pooling", "by_value_norm", "hide_sink"];
const FOLLOWED = [...COUNTING, "shape", "text", "spans", "scale", "top_k", "sort", "predicting",
  "guesses", "tour", "tour_step", "tour_done", "offers"];

class AttentionPanel {
  constructor(model, el, signal) {
    Object.assign(this, { model, signal, rows: new Map(), tiles: new Map(), missing: new Set() });
    const changed = () => this.update();
    const lacks = (asks) => {
      asks.forEach((ask) => this.missing.add(JSON.stringify(ask)));
      this.heat.draw();
      changed();
    };
    const requests = (answered, failed) => new Requests(model, { answered, failed }, signal);
    this.selection = new Selection(model, changed, signal);
    this.numbers = requests((asks, parts) => this.keepRow(asks[0], parts[0]));
    this.pictures = requests((asks, parts) => this.keepTiles(asks, parts), lacks);
    this.grids = requests((asks, parts) => this.keepHeads(asks[0], parts[0]), lacks);
    this.further = requests((_, [{ facts }]) => this.keepFacts(facts),
      (_, error) => this.keepFacts({ error }));
    this.build(el);
    follow(model, FOLLOWED.map((name) => `change:${name}`), () => this.selection.tell(), signal);
    follow(model, ["change:view"], () => this.takeView(), signal);
    signal.addEventListener("abort", () => {
      clearTimeout(this.speaking);
      clearTimeout(this.moving);
      this.root.remove();
    });
    followTheme(model, this.root, () => {
      this.heat.draw();
      this.grid.draw();
    }, signal);
    changed();
  }

  get(name) {
    return this.model.get(name);
  }

  set(values) {
    this.selection.choose(values);
  }

  // ------------------------------------------------------------------ the page

  build(el) {
    const { signal, selection } = this;
    const shared = { signal, released: () => selection.release() };
    const cell = ({ row, column }) => ({ query: row + this.first, key: column });
    this.grid = new HeadGrid({
      name: "All heads", signal,
      chosen: ([layer, head]) => this.choose({ layer, head }),
      touched: (at) => {
        this.pointed = at;
        this.sayHead();
      },
    });
    this.heat = new HeatMatrix({
      ...shared, name: "Attention weights, queries down and keys across", numbered: true,
      touched: (at) => selection.touch(at && cell(at)),
      chosen: (at) => {
        if (this.hidden) this.guess(at.column);
        else this.set(cell(at));
      },
      margin: (width) => ({ ...MARGIN, left: 72, top: 60 }),
      moved: (at) => this.look(at),
      over: (context, at, ink) => this.drawOver(context, at, ink),
    });
    this.map = new MiniMap({ signal, moved: (x, y) => this.heat.centre(x, y) });
    this.strip = new RowStrip({ name: "Weights of one query", signal });
    this.tokens = new TokenText({
      ...shared, name: "Text; choose the token that looks",
      touched: (place) => {
        const query = place + this.memory;
        const none = place === null || query < this.first;
        selection.touch(none ? null : { query, key: this.get("key") });
      },
      chosen: (place) => {
        const token = place + this.memory;
        this.revealed = token;  // it is where the reader looks
        if (this.hidden) this.guess(token);
        else if (token >= this.first) this.set({ query: token });
      },
    });
    this.legend = legend();
    this.table = new Table(["rank", "key", "in the text", "weight"], (rank) => {
      const { key } = this.top[rank];
      this.set({ query: selection.query, key });
      this.tokens.reveal(key - this.memory);
    });
    const note = (facts = {}) => make("p", { class: "lx-note", ...facts });
    const spoken = { role: "status" };
    this.cell = make("p", { class: "lx-cell" });
    this.spoken = make("div", { class: "lx-hidden", "aria-live": "polite" });
    [this.headNote, this.grain] = [note(), note()];
    [this.foretold, this.told, this.tourPlace] = [note(spoken), note(spoken), note(spoken)];
    [this.title, this.tourText] = [make("strong"), make("p")];
    const part = (name, ...inside) => make("div", { "data-part": name }, ...inside);
    const bar = (...inside) => make("div", { class: "lx-bar" }, ...inside);
    const zoom = (text, name, factor) => this.button(text, name, () => this.heat.zoom(factor()));
    const toggle = (name, text, title) =>
      (this[name] = this.button(text, title, () => this.set({ [name]: !this.get(name) })));
    const step = (text, by) =>
      this.button(text, text, () => this.set({ tour_step: this.get("tour_step") + by }));
    this.ask = this.button("What changes without this key?",
      "Hide the key, and compare what the model says next", () => this.askWithout());
    this.where = this.select("where", ["head", "layer", "everywhere"]);
    this.tour = make("div", { class: "lx-tour", role: "region", "aria-label": "Tour" },
      this.tourText, bar(this.back = step("Back", -1), this.next = step("Next", 1), this.tourPlace));
    this.root = make("section", {
      class: "lx lx-attention", "aria-label": "Attention",
    }, this.tour,
    part("heads", bar(make("strong", { text: "Heads" }),
      make("label", { text: "sorted by" }, this.select("sort", this.get("offers").orders)), this.headNote),
    make("div", { class: "lx-grids" }, this.grid.canvas)),
    make("div", { class: "lx-halves" },
      make("div", { class: "lx-left", "data-part": "matrix" },
        bar(this.title, make("span", { class: "lx-group" },
          zoom("−", "zoom out", () => 1 / 1.5), zoom("+", "zoom in", () => 1.5),
          this.button("all", "show the whole matrix", () => this.heat.fit()),
          zoom("1:1", "zoom to single weights", () => Math.max(1, 12 / this.at.across))), this.grain),
        this.heat.canvas, this.strip.canvas, this.legend.element,
        bar(make("label", { text: "Scale" }, this.select("scale", ["relative", "log", "linear"])),
          make("label", { text: "Cells" }, this.select("pooling", ["max", "mean"])),
          make("span", { class: "lx-group", "data-part": "counting" },
            toggle("hide_sink", "without first token",
              "Leave the first token out; the rest is the whole"),
            toggle("by_value_norm", "× value length",
              "Count a weight times the length of its key's value")))),
      make("div", { class: "lx-right" },
        make("div", { class: "lx-pointed" }, this.map.canvas, this.cell),
        part("text", bar(make("strong", { text: "Text" }),
          this.predict = this.button("Predict a row", "First expect, then see",
            () => this.set({ predicting: !this.get("predicting"), guesses: [] }))),
        this.foretold, this.tokens.element),
        part("table", this.table.element,
          this.without = make("div", {}, bar(this.ask, make("label", { text: "where" }, this.where)), this.told)))),
    make("p", { class: "lx-help", text: KEYS_HELP }), this.spoken);
    putIn(el, this.root, signal);
    listen(this.root, "keydown", (event) => this.press(event), signal);
  }

  button(text, title, act) {
    const name = /\w{3}/.test(text) ? null : title;
    const made = make("button", { type: "button", text, title, "aria-label": name });
    listen(made, "click", act, this.signal);
    return made;
  }

  // A picker of a trait, or of something that is no trait.
  select(name, options) {
    const made = make("select", { "data-picks": name }, ...options.map((value) =>
      make("option", { value, text: value })));
    if (name !== "where") listen(made, "change", () => this.set({ [name]: made.value }), this.signal);
    (this.selects ??= {})[name] = made;
    return made;
  }

  // Another layer or head, if it is there: a file without a kernel holds some only.
  choose(values) {
    if (!this.model.holds || this.model.holds(values)) this.set(values);
  }

  // ------------------------------------------------------------------ from traits to pictures

  // The token that the first row belongs to.
  get first() {
    const [, , queries, keys] = this.get("shape");
    return keys - queries;
  }

  // How many of the first keys have no text: those of a memory.
  get memory() {
    return this.get("shape")[3] - this.pieces.length;
  }

  // Over a long text weights differ more than over a short one.
  get scale() {
    const scale = this.get("scale");
    return scale === "relative" && this.get("shape")[3] > LONG ? "wide" : scale;
  }

  get head() {
    return { layer: this.get("layer"), head: this.get("head") };
  }

  get counted() {
    return Object.fromEntries(COUNTING.map((name) => [name, this.get(name)]));
  }

  // How many keys a query sees; no window hides a memory.
  length(query, layer = this.get("layer")) {
    const { windows, memory } = this.get("offers");
    return memory + Math.min(query + 1 - memory, windows[layer] ?? Infinity);
  }

  update() {
    if (this.signal.aborted || !this.get("shape")?.length) return;
    const { layer, head } = this.head;
    const [offers, { scale }] = [this.get("offers"), this];
    this.takeText();
    for (const name of ["scale", "pooling", "sort"]) this.selects[name].value = this.get(name);
    for (const name of ["hide_sink", "by_value_norm"]) {
      this[name].setAttribute("aria-pressed", String(this.get(name)));
      this[name].disabled = Boolean(this.model.holds);
    }
    this.by_value_norm.disabled ||= !offers.values;
    this.selects.pooling.disabled = Boolean(this.model.holds);
    this.selects.sort.disabled = !offers.scores;
    this.without.hidden = !offers.model;
    this.title.textContent = `Layer ${layer}, head ${head}`;
    this.legend.show(scale);
    this.grid.setScale(scale);
    this.grid.mark(layer, head);
    this.sayHead();
    this.takeHead();
    this.heat.setScale(scale);
    this.moreHeads();
    this.rankHeads();
    this.showRow(scale);
    this.showTour();
  }

  takeText() {
    const [layers, heads, rows, columns] = this.get("shape");
    const [text, spans] = [this.get("text"), this.get("spans")];
    if (text === this.text && spans === this.spans) return;
    Object.assign(this, { text, spans, pieces: pieces(text, numbersOf(spans, Int32Array)) });
    this.tokens.show(this.pieces);
    const columnLabels = Array.from({ length: columns }, (_, key) => this.piece(key));
    this.heat.shape({
      rows, columns, columnLabels, rowLabels: columnLabels.slice(this.first), firstRow: this.first,
      rowLength: (row) => this.length(row + this.first),
    });
    this.grid.shape(layers, heads);
    this.coarsest = Math.max(0, Math.ceil(Math.log2(Math.max(rows, columns) / TILE)));
    this.takeView();
  }

  piece(key) {
    return key < this.memory ? `memory ${key}` : this.pieces[key - this.memory] ?? "";
  }

  quoted(key) {
    return quoted(this.piece(key));
  }

  // Another head, or the same one counted in another way: what is there of it is shown at once.
  takeHead() {
    const [what, how] = [{ ...this.head, ...this.counted }, this.counted].map(JSON.stringify);
    if (what === this.what) return;
    if (how !== this.how) this.grid.clear();
    Object.assign(this, { what, how });
    this.heat.images.clear();
    this.putSmall();
    this.look(this.at ?? this.heat.geometry());
    this.heat.draw();
  }

  // A small picture stands for the whole matrix until something finer comes.
  putSmall() {
    const small = this.tiles.get(this.rough) ?? this.grid.picture(this.head);
    if (small) {
      this.heat.put("small", { ...small, depth: 99 });
      this.root.dataset.seen = "yes";
    }
    this.map.show(small && { ...small, lengthAt: this.lengthAt(small) }, this.scale);
  }

  get rough() {
    return this.tileAsk(this.coarsest, 0, 0, !this.model.holds);
  }

  // An image of codes; its last cells may stand for fewer weights, so it may reach beyond all.
  image({ height, width }, view, level) {
    const per = 2 ** level;
    return { height, width, codes: bytesOf(view), per, rows: height * per, columns: width * per };
  }

  lengthAt({ per }, layer) {
    return (y) => this.length(Math.floor((y + 0.5) * per) + this.first, layer);
  }

  // ------------------------------------------------------------------ tiles of what is in view

  tileAsk(level, row, column, rough = false) {
    return JSON.stringify(
      { op: "tile", ...this.head, level, row, column, rough, ...this.counted });
  }

  // At every drawing: which tiles are in view, and which of them to ask for.
  look(at) {
    this.at = at;
    const { rows, columns } = this.heat;
    if (!rows) return;
    this.strip.draw(at);
    this.map.frame({
      left: at.x / columns, top: at.y / rows, ratio: rows / columns, share: at.share,
    });
    this.tellView(at);
    // A cell is about as large as a pixel, or smaller by less than a half.
    const fits = Math.floor(-Math.log2(at.across * (window.devicePixelRatio || 1)));
    const level = clamp(fits, Math.min(this.get("finest"), this.coarsest), this.coarsest);
    const side = TILE * 2 ** level;
    const places = (start, count) => Array.from(
      { length: Math.ceil((start + count) / side) - Math.floor(start / side) },
      (_, n) => Math.floor(start / side) + n);
    const wanted = places(at.y, rows * at.share).flatMap((row) => {
      const last = Math.min((row + 1) * side, rows) - 1 + this.first;
      return places(at.x, columns * at.share)
        .filter((column) => column * side <= last)
        .map((column) => this.tileAsk(level, row, column));
    });
    const many = `${this.get("pooling")} of ${2 ** level} × ${2 ** level} weights`;
    this.grain.textContent = `a cell: ${level ? many : "one weight"}`;
    this.want(wanted, level);
  }

  want(wanted, level) {
    const lacks = (ask) => !this.tiles.has(ask) && !this.missing.has(ask);
    const lacking = wanted.filter(lacks);
    for (const ask of wanted) this.putTile(ask);
    // Of other levels nothing is needed once this one is there.
    for (const [key, { depth }] of lacking.length ? [] : [...this.heat.images]) {
      if (key !== "small" && depth !== level) this.heat.images.delete(key);
    }
    this.root.dataset.sharp = lacking.length ? "no" : "yes";
    const next = lacks(this.rough) ? [this.rough] : lacking.slice(0, MOST_TILES);
    if (next.length && next.join() !== this.wish) {
      this.pictures.ask(next.map((ask) => JSON.parse(ask)));
    }
    this.wish = next.join();
  }

  putTile(ask) {
    const tile = this.tiles.get(ask);
    if (!tile || this.heat.images.has(ask)) return;
    this.tiles.delete(ask);
    this.tiles.set(ask, tile);  // looked at last
    const { level, row, column } = JSON.parse(ask);
    const side = TILE * tile.per;
    this.heat.put(ask, { ...tile, row: row * side, column: column * side, depth: level });
  }

  keepTiles(asks, parts) {
    asks.forEach((ask, n) => this.tiles.set(
      JSON.stringify(ask), this.image(parts[n].facts, parts[n].buffers[0], ask.level)));
    while (this.tiles.size > KEPT_TILES) this.tiles.delete(this.tiles.keys().next().value);
    this.putSmall();
    this.wish = null;
    this.look(this.at);
    this.heat.draw();
  }

  // ------------------------------------------------------------------ what is in view

  tellView({ x, y, share }) {
    const { rows, columns } = this.heat;
    const view = [x, y + this.first, x + columns * share, y + this.first + rows * share]
      .map((edge) => Math.round(10 * edge) / 10);
    clearTimeout(this.moving);
    if (!this.taken || view.every((edge, n) => Math.abs(edge - this.get("view")[n]) < 0.06)) return;
    this.moving = setTimeout(() => {
      this.view = view;
      this.model.set("view", view);
      this.model.save_changes();
    }, MOVED);
  }

  takeView() {
    const view = this.get("view");
    if (!this.heat.rows || !view?.length || view === this.view) return;
    this.taken = true;
    const [x, y, right, bottom] = view;
    this.heat.show({ x, y: y - this.first, columns: right - x, rows: bottom - y });
  }

  // ------------------------------------------------------------------ all heads

  // Layer by layer, the nearest to the shown one first.
  moreHeads() {
    const { layer } = this.head;
    const ask = Array.from({ length: this.get("shape")[0] }, (_, n) => n)
      .sort((a, b) => Math.abs(a - layer) - Math.abs(b - layer))
      .filter((n) => !this.grid.picture({ layer: n, head: 0 }))
      .map((n) => ({ op: "heads", layer: n, ...this.counted }))
      .find((one) => !this.missing.has(JSON.stringify(one)));
    this.root.dataset.grid = ask ? "part" : "full";
    const key = JSON.stringify(ask);
    if (ask && key !== this.gridWish) this.grids.ask([ask]);
    this.gridWish = key;
  }

  keepHeads({ op, layer, ...counted }, { facts, buffers }) {
    if (JSON.stringify(counted) !== this.how) return;
    const [, , queries, keys] = this.get("shape");
    const level = Math.ceil(Math.log2(Math.max(queries, keys) / Math.max(facts.height, facts.width)));
    buffers.forEach((view, head) => {
      const image = this.image(facts, view, level);
      this.grid.put(layer, head, { ...image, lengthAt: this.lengthAt(image, layer) });
    });
    if (!this.heat.images.has("small")) this.putSmall();
    this.selection.tell();
  }

  rankHeads() {
    const order = this.get("sort");
    const needed = order !== "layer" || this.root.dataset.grid === "full";
    if (needed && !this.scoring && this.get("offers").scores) {
      this.scoring = true;
      this.further.ask([{ op: "scores" }]);
    }
    const ranked = this.scores ? order : "layer";
    if (ranked === this.ranked) return;
    this.ranked = ranked;
    const places = (this.scores?.[order] ?? []).flatMap((heads, layer) =>
      heads.map((score, head) => [layer, head, score ?? -1]));
    this.grid.rank(places.length ? places.sort((a, b) => b[2] - a[2]) : null);
  }

  sayHead() {
    const [layer, head] = this.pointed ?? this.grid.marked;
    const scores = Object.entries(this.scores ?? {}).map(([name, all]) => {
      const score = all[layer][head];
      return `${name} ${score?.toFixed(2) ?? "–"}${name === "spread" ? " bits" : ""}`;
    });
    this.headNote.textContent = [`Layer ${layer}, head ${head}`, ...scores].join(" · ");
    this.grid.describe(this.headNote.textContent);
  }

  // ------------------------------------------------------------------ one row

  // Whether the row waits for what the reader expects.
  get hidden() {
    return this.get("predicting") && this.get("guesses").length < 3;
  }

  guess(key) {
    const guesses = this.get("guesses");
    if (!guesses.includes(key) && key <= this.get("query")) this.set({ guesses: [...guesses, key] });
  }

  showRow(scale) {
    const { selection } = this;
    const [chosen, pinned] = [this.get("query"), this.get("key")];
    const query = this.get("predicting") ? chosen : selection.query;
    const key = this.hidden ? NONE : selection.key;
    const row = (one) => (one < 0 ? NONE : one - this.first);
    this.heat.mark({
      row: row(query), column: key, pinnedRow: row(chosen), pinnedColumn: this.hidden ? NONE : pinned,
    });
    this.tokens.mark(query - this.memory, key - this.memory);
    if (chosen !== this.revealed) this.tokens.reveal(chosen - this.memory);
    this.revealed = chosen;
    this.ask.disabled = pinned < 0 || chosen < 1 || pinned > chosen;
    if (this.about !== `${chosen}/${pinned}`) this.told.textContent = "";
    const found = query < 0 ? null : this.row(query);
    this.foretold.textContent = this.prediction(query, found);
    this.predict.setAttribute("aria-pressed", String(this.get("predicting")));
    // What was there stays until the numbers come.
    this.root.setAttribute("aria-busy", String(query >= 0 && !found));
    if (found && !this.hidden) this.showFound(query, key, found, scale);
    else if (this.hidden || query < 0 || !this.top) this.showNothing(query, scale);
  }

  showFound(query, key, { weights, top }, scale) {
    const length = this.length(query);
    this.top = top;
    this.tokens.colour((place) => (place + this.memory > query ? null
      : PALETTE[Math.round(255 * shareOf(weights[place + this.memory], scale, length))]));
    const text = this.sentence(query, key, weights, length);
    const best = top.length ? `Strongest: key ${top[0].key} ${this.quoted(top[0].key)}.` : "";
    this.strip.show({ weights, length, scale, marked: key, text: best });
    this.cell.textContent = text;
    this.heat.describe(text);
    this.table.show(`Where query ${query} ${this.quoted(query)} looks`,
      top.map(({ key: one, weight }, rank) => [String(rank + 1), String(one), this.around(one), written(weight)]),
      top.findIndex((one) => one.key === key));
    this.root.dataset.row = query;
    // A reader who hears the page gets one sentence when the cursor rests.
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => { this.spoken.textContent = `${text} ${best}`; }, 250);
  }

  showNothing(query, scale) {
    this.top = null;
    const guesses = this.get("guesses");
    this.tokens.colour((place) => this.hidden && guesses.includes(place + this.memory) ? PALETTE[230] : null);
    this.strip.show({ weights: new Float32Array(0), length: 1, scale, marked: NONE, text: "" });
    this.cell.textContent = query < 0 ? "Choose a cell, or a token of the text."
      : `Query ${query} ${this.quoted(query)}`;
    this.heat.describe("");
    this.table.show("", []);
  }

  prediction(query, row) {
    if (!this.get("predicting")) return "";
    if (query < 0) return "Choose a query first.";
    const guesses = this.get("guesses");
    if (this.hidden) {
      return `Where does ${this.quoted(query)} (${query}) look? `
        + `Choose three tokens in the text: ${guesses.length} of 3.`;
    }
    if (!row) return "";
    const sum = (some) => percent(some.reduce((total, key) => total + row.weights[key], 0));
    const told = guesses.map((key) => {
      const rank = 1 + row.weights.reduce((more, one) => more + (one > row.weights[key]), 0);
      return `${this.quoted(key)} ${written(row.weights[key])} (no. ${rank})`;
    });
    return `You expected ${told.join(", ")}: together ${sum(guesses)} of the attention. `
      + `The best three hold ${sum(row.top.slice(0, 3).map(({ key }) => key))}.`;
  }

  // A key with the words around it.
  around(key) {
    if (key < this.memory) return this.piece(key);
    const words = (from, to) => Array.from({ length: to - from }, (_, n) =>
      visible(this.pieces[key - this.memory + from + n] ?? "\u200b")).join("");
    return `${words(-3, 0)}[${words(0, 1)}]${words(1, 4)}`;
  }

  sentence(query, key, weights, length) {
    const from = `Query ${query} ${this.quoted(query)}`;
    if (key < 0) return `${from} sees ${length} key${length === 1 ? "" : "s"}.`;
    const to = `${from} → key ${key} ${this.quoted(key)}`;
    const { memory } = this.get("offers");
    if (key > query || (key >= memory && key <= query - length + memory)) return `${to}: masked, out of its sight.`;
    const ratio = weights[key] * length;
    const even = ratio >= 10 ? ratio.toFixed(0) : ratio.toPrecision(2);
    return `${to}: ${written(weights[key])}, ${even} × an even share.`;
  }

  row(query) {
    const { pooling, ...counted } = this.counted;
    const ask = { op: "row", ...this.head, query: query - this.first, top_k: this.get("top_k"), ...counted };
    const wanted = JSON.stringify(ask);
    // Asked once; a file may not have it.
    if (!this.rows.has(wanted) && this.asked !== wanted) {
      this.asked = wanted;
      this.numbers.ask([ask]);
    }
    return this.rows.get(wanted);
  }

  keepRow(ask, { buffers }) {
    const [weights, best] = [buffers[0], buffers[2]].map((view) => numbersOf(view, Float32Array));
    const top = Array.from(numbersOf(buffers[1], Int32Array), (key, n) => ({ key, weight: best[n] }));
    if (this.rows.size >= EXACT_ROWS) this.rows.delete(this.rows.keys().next().value);
    this.rows.set(JSON.stringify(ask), { weights, top });
    this.selection.tell();
  }

  // ------------------------------------------------------------------ without a key, and the tour

  askWithout() {
    const [query, key] = [this.get("query"), this.get("key")];
    this.about = `${query}/${key}`;
    this.told.textContent = "The model reads up to the query …";
    this.further.ask([{ op: "without", query, key, where: this.selects.where.value }]);
  }

  keepFacts({ scores, without, error }) {
    if (scores) {
      this.scores = scores;
      this.selection.tell();
    } else if (without) {
      const side = (one) => `it leads ${quoted(one.rival)} by ${one.margin.toFixed(2)} nats `
        + `(probability ${one.probability.toFixed(3)})`;
      const { token, says, before, after } = without;
      this.told.textContent = `Next the model says ${quoted(token)}: ${side(before)}. Without this key `
        + `${side(after)}${says === token ? "." : `, and the model would say ${quoted(says)}.`}`;
    } else {
      this.told.textContent = error;
    }
  }

  showTour() {
    const [tour, at] = [this.get("tour"), this.get("tour_step")];
    const step = tour[at];
    this.tour.hidden = !step;
    for (const part of this.root.querySelectorAll("[data-part]")) {
      part.toggleAttribute("data-target", part.dataset.part === step?.target);
    }
    this.tourText.textContent = step?.text;
    this.tourPlace.textContent = `${at + 1} of ${tour.length}${this.get("tour_done")[at] ? " · ✓ done" : ""}`;
    this.back.disabled = at === 0;
    this.next.disabled = at >= tour.length - 1;
  }

  drawOver(context, at, ink) {
    context.font = LABEL;
    const { memory } = this.get("offers");
    const edge = at.left + (memory - at.x) * at.across;
    if (memory && edge > at.left && edge < at.left + at.side) {
      context.fillStyle = ink.mark;
      context.fillRect(edge - 1, at.top, 2, at.down);
      context.textAlign = "right";
      context.fillText("memory", edge - 4, at.top + 10);
    }
    if (!this.hidden) return;
    context.fillStyle = ink.field;
    context.fillRect(at.left, at.top, at.side, at.down);
    context.fillStyle = ink.ink;
    context.textAlign = "center";
    context.fillText("Hidden until you have chosen", at.left + at.side / 2, at.top + at.down / 2);
  }

  press(event) {
    const [name, step] = STEP_KEYS[event.key] ?? [];
    // Brackets need Option on many keyboards, and AltGr, which reads as Ctrl and Alt, on others.
    const command = event.metaKey || (event.ctrlKey && !event.getModifierState("AltGraph"));
    if (!name || command) return;
    const value = this.get(name) + step;
    if (value < 0 || value >= this.get("shape")[name === "layer" ? 0 : 1]) return;
    event.preventDefault();
    this.choose({ [name]: value });
  }
}

function render({ model, el }) {
  const ending = new AbortController();
  new AttentionPanel(model, el, ending.signal);
  return () => ending.abort();
}
