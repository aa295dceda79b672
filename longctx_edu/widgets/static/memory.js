// needs: dom, theme, choices, asking, passages, colours, selection, heat, strip, legend, arcs, curve
// Answers from memory to look at: where each token looks, the passages that the answer used, the
// text in its blocks, and how much of the attention is looked up. One selection for all of them.

const MEMORY_TRAITS = ["stage", "blocks", "tokens", "mass", "passages", "captured", "options", "allowed",
  "answer_text", "answer_prefix", "notice", "citations", "cost", "seconds", "problem", "live",
  "question", "text", "place", "tick"];
const MEMORY_HELP = "In the matrix: arrows move · [ ] to the next block that the token looks at · "
  + "Enter keeps, Esc lets go · + − 0 zoom";
const LOOKUPS = [
  ["passages", "passages", "The question chooses blocks, then sentences in them, which are read again"],
  ["blocks", "blocks", "The question chooses whole blocks; every token attends to all of them"],
  ["topk", "top k", "Each token looks up its own best keys in every head of every layer"],
];
const AMOUNTS = { passages: ["blocks", "passages"], blocks: ["blocks"], topk: ["k"] };
const MOST_PASSAGES = 10;
const BIN = 3;  // pixels: several blocks share a narrower column

class MemoryPanel extends AskingPanel {
  constructor(model, el, signal) {
    super(model, signal);
    this.selection = new Selection(model, () => this.showSelection(), signal);
    const touched = (cell) => this.selection.touch(cell);
    const released = () => this.choose({ query: NONE, block: NONE });
    this.passages = new Passages({
      name: "Text of the memory, in blocks", signal, chosen: (block) => this.choose({ block }),
    });
    this.heat = new HeatMatrix({
      name: "Attention of each token on the blocks of the memory", signal, released,
      touched: (at) => touched(at && { query: at.row, block: at.column }),
      chosen: ({ row, column }) => this.jump({ query: row, block: column }),
      moved: (at) => { this.paint(at); this.strip.draw(at); },
      over: (...how) => this.drawBeside(...how),
      snap: (cell) => this.strongest(cell),
      margin: (width) => ({ left: 112, gutter: 18, top: 34, right: width < 560 ? 52 : 78, bottom: 6 }),
      rowHeight: (rows) => clamp(Math.floor(640 / rows), 5, 18),
    });
    listen(this.heat.canvas, "keydown", (event) => this.step(event), signal);
    this.strip = new RowStrip({ name: "How much the question looks at each block", label: "score", signal });
    this.legend = legend("not looked up");
    this.legend.show("mass");
    this.heat.setScale("mass");
    this.arcs = new Arcs({
      name: "Which passages the answer used", fromName: "Tokens of the answer",
      toName: "Passages", signal, released,
      touched: (ends) => touched(ends && this.cell(ends)),
      chosen: (ends) => this.jump(this.cell(ends)),
    });
    this.curve = new Curve({ signal });
    this.pointedAt = make("p", { class: "lx-cell" });
    this.open(el, { class: "lx lx-asking lx-memory", "aria-label": "Memory" }, MEMORY_TRAITS,
      this.asking(), this.controls(), ...this.saying(),
      this.answered = this.answering(({ place }) => this.jump({ query: NONE, block: this.blockAt(place[0]), place })),
      this.looking = make("div", { class: "lx-found" },
        make("h4", { text: "Where each token looks" }),
        this.heat.canvas, this.strip.canvas, this.legend.element, this.pointedAt,
        make("p", { class: "lx-help", text: MEMORY_HELP })),
      make("div", { class: "lx-pair" },
        this.used = make("div", {}, make("h4", { text: "Passages that the answer used" }),
          this.arcs.element,
          this.captured = make("figure", {}, make("h4"), this.curve.canvas)),
        make("div", { class: "lx-text" }, make("h4", { text: "Text of the memory" }),
          make("div", { class: "lx-fill" }, this.passages.element))),
      this.spoken);
  }

  themed() {
    this.heat.draw();
    this.arcs.draw();
    this.curve.draw();
  }

  // ------------------------------------------------------------------ what a person does

  controls() {
    const { signal } = this;
    const change = (name, value) => this.actions.act({ op: "change", name, value });
    const offered = this.model.get("allowed")?.lookup ?? [];
    this.lookup = choices({
      name: "Lookup", options: LOOKUPS.filter(([name]) => offered.includes(name)), chosen: "",
      signal, onChoose: (value) => change("lookup", value),
    });
    this.amounts = ["blocks", "passages", "k"].map((name) => {
      const amount = { name, values: [] };
      amount.slider = make("input", { type: "range", min: 0, step: 1, "aria-label": name });
      amount.words = make("output");
      amount.label = make("label", {}, make("span", { text: name }), amount.slider, amount.words);
      const { slider } = amount;
      listen(slider, "input", () => showAmount(amount, Number(slider.value)), signal);
      listen(slider, "change", () => change(name, amount.values[Number(slider.value)]), signal);
      return amount;
    });
    this.selects = ["positions", "similarity"].map((name) => {
      const select = make("select", { "data-picks": name });
      listen(select, "change", () => change(name, select.value), signal);
      return { name, select, label: make("label", {}, make("span", { text: name }), select) };
    });
    return this.controlBar = make("div", { class: "lx-bar", role: "group", "aria-label": "Lookup" },
      make("span", { class: "lx-group" }, make("span", { text: "Look up" }), this.lookup.element),
      ...this.amounts.map(({ label }) => label),
      ...this.selects.map(({ label }) => label));
  }

  choose(values) {
    this.selection.choose({ place: [], ...values });
  }

  // Choose, and bring the block's text into sight.
  jump(values) {
    this.choose(values);
    this.showSelection();
    if (values.block >= 0) this.passages.reveal(values.block);
  }

  // The other end stays what it was.
  cell({ from, to }) {
    return {
      query: from ?? this.selection.get("query"),
      block: to ?? (from === undefined ? this.selection.get("block") : NONE),
    };
  }

  step(event) {
    const way = { "[": -1, "]": 1 }[event.key];
    const command = event.metaKey || (event.ctrlKey && !event.getModifierState("AltGraph"));
    if (!way || command || !this.tokens.length) return;
    event.preventDefault();
    const query = Math.max(this.selection.query, 0);
    let block = this.selection.block + way;
    while (block >= 0 && block < this.blocks.length && !this.massOf(query, block)) block += way;
    if (block < 0 || block >= this.blocks.length) return;
    this.selection.touch({ query, block });
    this.heat.reveal(query, block);
  }

  // ------------------------------------------------------------------ what is known

  massOf(query, block) {
    return this.mass[query * this.blocks.length + block] ?? 0;
  }

  blockAt(point) {
    return this.blocks.findIndex(({ start, end }) => start <= point && point < end);
  }

  // Of blocks that share a column, a pointer means the one that the row looks at most.
  strongest({ row, column }) {
    const first = column - (column % this.bin);
    let best = column;
    for (let one = first; one < Math.min(first + this.bin, this.blocks.length); one++) {
      if (this.massOf(row, one) > this.massOf(row, best)) best = one;
    }
    return { row, column: best };
  }

  // ------------------------------------------------------------------ from traits to the page

  update() {
    const get = (name) => this.model.get(name);
    const state = Object.fromEntries(MEMORY_TRAITS.map((name) => [name, get(name)]));
    const running = state.stage === "answering";
    this.takeText(state);
    this.takeMass(state);
    this.showQuestion(state, running);
    this.showControls(state);
    this.showAnswer(state, false, (point) => {
      const block = this.blockAt(point);
      return block >= 0 ? `block ${block}` : "";
    });
    this.showCost(state);
    this.showStatus(state, state.problem);
    this.answered.hidden = state.stage === "ready";
    // What is shown stays until the next answer is there, and says so by its paleness.
    const old = this.tokens.length > 0 && state.stage !== "answered";
    for (const part of [this.looking, this.used]) {
      part.hidden = !this.tokens.length;
      part.toggleAttribute("data-old", old);
    }
    this.captured.hidden = !state.captured?.length;
    const ended = state.stage === "answered";
    this.speak(`${state.stage} ${ended ? state.answer_text + JSON.stringify(state.options) : ""}`,
      ended ? `Answer: ${state.answer_text}. ${this.say(state)}` : this.say(state));
    this.showSelection();
    this.report(state);
  }

  takeText({ text, blocks }) {
    const spans = JSON.stringify(blocks.map(({ start, end }) => [start, end]));
    if (this.text === text && this.spans === spans) return;
    Object.assign(this, { text, spans, chosenBlock: undefined, place: "[]" });
    this.passages.show(text ?? "", JSON.parse(spans));
  }

  takeMass({ blocks, tokens, mass, passages, citations, captured, options }) {
    // Traits may come apart; only a whole matrix is shown.
    const whole = bytesOf(mass).length === 4 * blocks.length * tokens.length;
    if (this.taken === mass && this.blocks === blocks && this.takenTokens === tokens) return;
    [this.taken, this.takenTokens] = [mass, tokens];
    this.blocks = blocks;
    this.tokens = whole ? tokens : [];
    this.mass = whole ? numbersOf(mass, Float32Array) : new Float32Array(0);
    this.bin = 0;
    // What in a block was read again, or else is cited, is what its gist begins with.
    this.points = [passages.map(({ start }) => start), citations.map(({ place }) => place[0])];
    this.lookedUp = blocks.map(({ chosen }, block) => options.lookup !== "topk"
      && ((chosen && options.lookup === "blocks") || tokens.some((_, query) => this.massOf(query, block))));
    // The first block, where attention sinks, would leave the others no height.
    const scores = blocks.map(({ score }) => score ?? 0);
    const most = Math.max(...scores.slice(1)) > 0 ? Math.max(...scores.slice(1)) : scores[0];
    this.scores = Float32Array.from(scores, (score) => Math.max(0, score / most) || 0);
    this.strip.canvas.hidden = !this.scores.some((score) => score > 0);
    if (!this.tokens.length || !blocks.length) return;
    this.heat.shape({
      rows: tokens.length, columns: blocks.length, rowLabels: tokens.map(({ text }) => text),
      columnLabels: blocks.map((_, n) => String(n)), rowLength: () => blocks.length,
    });
    this.takePassages();
    this.captured.firstChild.textContent = "Attention that the best keys hold";
    this.curve.show({
      points: captured, now: options.lookup === "topk" ? options.k : null,
      across: "best keys of the memory, k", up: "share of the question's attention on the whole memory",
    });
  }

  takePassages() {
    const { blocks, tokens } = this;
    const answer = tokens.flatMap(({ kind }, n) => (kind === "answer" ? [n] : []));
    const total = blocks.map((_, block) =>
      answer.reduce((sum, query) => sum + this.massOf(query, block), 0));
    const looked = total.flatMap((sum, block) => (sum > 0 ? [block] : []));
    const best = [...looked].sort((a, b) => total[b] - total[a]).slice(0, MOST_PASSAGES)
      .sort((a, b) => a - b);
    this.listed = new Set(best);
    const sum = (some) => some.reduce((all, block) => all + total[block], 0);
    const left = looked.length - best.length;
    const rest = left ? `and ${counted(left, "further block")} with `
      + `${percent(1 - sum(best) / sum(looked))} of the looking` : "";
    this.arcs.left.toggleAttribute("data-many", answer.length > 24);
    this.arcs.show({
      froms: answer.map((query) => ({
        id: query, name: visible(tokens[query].text), note: percent(1 - tokens[query].window),
        title: "Share of this token's attention that is on the memory",
      })),
      tos: best.map((block) => ({
        id: block, name: `Block ${block}`, note: percent(total[block] / answer.length),
        text: this.gist(block, 160), title: "Mean attention of the answer's tokens",
      })),
      mass: (query, block) => this.massOf(query, block), rest,
    });
    blocks.forEach(({ chosen }, block) =>
      this.passages.sign(block, chosen ? "✓" : this.listed.has(block) ? "•" : ""));
  }

  gist(block, most) {
    const { start, end } = this.blocks[block];
    const inside = this.points.map((some) => Math.min(...some.filter((at) => start <= at && at < end)));
    const from = inside.find(Number.isFinite) ?? start;
    const words = shortened(this.passages.points.slice(from, end), most);
    return from > start ? `… ${words}` : words;
  }

  showControls({ options, allowed, live }) {
    const free = live && Boolean(allowed?.lookup);
    this.controlBar.hidden = !free;
    if (!free) return;
    const chosen = options.lookup;
    this.lookup.show(chosen);
    for (const amount of this.amounts) {
      amount.label.hidden = !AMOUNTS[chosen].includes(amount.name);
      amount.values = allowed[amount.name];
      amount.slider.max = amount.values.length - 1;
      // What a person is moving stays.
      if (!amount.slider.matches(":active")) {
        const place = amount.values.indexOf(options[amount.name]);
        amount.slider.value = place;
        showAmount(amount, place);
      }
    }
    for (const { name, select, label } of this.selects) {
      if (select.options.length !== allowed[name].length) {
        select.replaceChildren(...allowed[name].map((value) =>
          make("option", { value, text: value })));
      }
      select.value = options[name];
      label.hidden = chosen !== "topk";
    }
  }

  say({ stage, answer_text: text, seconds, live, options, blocks }) {
    const how = lookupInWords(options);
    if (stage === "ready") {
      return `Ask a question: it is looked up among ${counted(blocks.length, "block")}: ${how}.`;
    }
    if (stage === "answering") return text ? "Answering." : `Looking up ${how}.`;
    if (stage === "cancelled") {
      return `Cancelled.${this.tokens.length ? " Shown is what was found before." : ""}`;
    }
    if (stage === "failed") return "";
    const took = seconds ? ` in ${seconds.toFixed(1)} s` : "";
    return `Answered${took} with ${how}.${live ? "" : " This is a recording."}`;
  }

  // ------------------------------------------------------------------ the selection

  showSelection() {
    if (this.signal.aborted || !this.blocks) return;
    const { selection } = this;
    const [query, block] = [selection.query, selection.block];
    const text = this.sentence(query, block);
    if (this.tokens.length) {
      this.heat.mark({
        row: query, column: block,
        pinnedRow: selection.get("query"), pinnedColumn: selection.get("block"),
      });
      this.heat.describe(text);
      this.strip.show({
        weights: this.scores, length: 1, scale: "linear", marked: block,
        text: "How much the question looks at each block",
      });
      this.arcs.mark({ from: query, to: block });
    }
    this.pointedAt.textContent = text || "Point at a cell, a token or a passage.";
    const chosen = selection.get("block");
    if (chosen !== this.chosenBlock) {
      this.chosenBlock = chosen;
      this.passages.choose(chosen);
    }
    const place = JSON.stringify(this.model.get("place") ?? []);
    if (place !== this.place) {
      this.place = place;
      this.passages.mark(JSON.parse(place));
    }
  }

  sentence(query, block) {
    const token = this.tokens[query];
    const one = this.blocks[block];
    const from = token && `Token ${quoted(token.text)} of the ${token.kind}`;
    if (!one) return token ? `${from}: ${percent(1 - token.window)} of its attention is on the memory.` : "";
    const score = typeof one.score === "number" ? `, score ${written(one.score)}` : "";
    const to = `block ${block} (${one.chosen ? "chosen" : "not chosen"}${score})`;
    const said = `: “${this.gist(block, 120)}”`;
    const free = this.model.get("options").lookup === "topk";
    const where = free ? `block ${block}${score && ` (${score.slice(2)})`}` : to;
    if (!token) return `${where[0].toUpperCase()}${where.slice(1)}${said}`;
    return `${from} → ${where}: ${written(this.massOf(query, block))} of its attention${said}`;
  }

  // ------------------------------------------------------------------ the matrix

  // As many columns as can be seen; of the blocks in one, the largest mass.
  paint(at) {
    const bin = Math.max(1, Math.ceil(BIN / at.across));
    if (bin === this.bin) return;
    this.bin = bin;
    const columns = this.blocks.length;
    const width = Math.ceil(columns / bin);
    const codes = new Uint8Array(width * this.tokens.length);
    this.mass.forEach((mass, n) => {
      if (!(mass > 0) && !this.lookedUp[n % columns]) return;
      const at = Math.floor(n / columns) * width + Math.floor((n % columns) / bin);
      codes[at] = Math.max(codes[at], codeOf(mass));
    });
    this.heat.put("mass", { columns: width * bin, height: this.tokens.length, width, codes });
  }

  // Chosen blocks above the columns; left what is question and answer; right how much of each
  // token's attention is on the memory.
  drawBeside(context, at, ink) {
    const right = at.left + at.side;
    context.font = LABEL;
    context.fillStyle = ink.dim;
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillText("block", at.left - 8, at.top - 19);
    context.textAlign = "left";
    context.fillText("memory", right + 8, at.top - 19);
    context.fillStyle = ink.mark;
    this.blocks.forEach(({ chosen }, block) => {
      const x = at.left + (block + 0.5 - at.x) * at.across;
      if (!chosen || x < at.left || x > right) return;
      context.beginPath();
      context.moveTo(x - 5, at.top - 10);
      context.lineTo(x + 5, at.top - 10);
      context.lineTo(x, at.top - 2);
      context.fill();
    });
    const wide = at.width - right - 12;
    this.tokens.forEach(({ window }, row) => {
      const y = at.top + row * at.along;
      context.fillStyle = ink.line;
      context.fillRect(right + 8, y + at.along / 2, wide, 1);
      context.fillStyle = ink.focus;
      context.fillRect(right + 8, y + 1, wide * clamp(1 - window, 0, 1), Math.max(at.along - 2, 1));
    });
    const first = this.tokens.findIndex(({ kind }) => kind === "answer");
    const edge = at.top + (first < 0 ? this.tokens.length : first) * at.along;
    if (first > 0) {
      context.fillStyle = ink.ink;
      context.fillRect(0, edge - 1, at.width, 2);
    }
    const beside = (words, low, high) => {
      if (high - low < 56) return;
      context.save();
      context.translate(9, (low + high) / 2);
      context.rotate(-Math.PI / 2);
      context.textAlign = "center";
      context.fillStyle = ink.dim;
      context.fillText(words, 0, 0);
      context.restore();
    };
    beside("question", at.top, edge);
    beside("answer", edge, at.top + at.down);
  }
}

function showAmount({ slider, words, values }, place) {
  words.textContent = String(values[place] ?? "");
  slider.setAttribute("aria-valuetext", words.textContent);
}

function counted(number, what) {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

function lookupInWords({ lookup, passages, blocks, block_tokens: size, k, similarity, positions }) {
  const some = counted(blocks, "block");
  if (lookup === "passages") return `${counted(passages, "passage")} out of ${some}`;
  return lookup === "blocks" ? `${some} of ${size} tokens`
    : `the ${k} best keys of each head (${similarity}, positions ${positions})`;
}

function render({ model, el }) {
  const ending = new AbortController();
  new MemoryPanel(model, el, ending.signal);
  return () => ending.abort();
}
