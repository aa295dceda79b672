// needs: dom, theme, choices, requests, actions, curve, table, units
// What reading costs: sliders for a shape, and what Python says of it. Nothing is computed here.

const COST_SHAPE = ["layers", "heads", "kv_heads", "head_dim"];
const COST_TRAITS = ["preset", "tokens", ...COST_SHAPE, "window", "precision", "machine", "presets",
  "precisions", "stops", "hardware"];
const DIALS = {
  tokens: "Length", layers: "Layers", heads: "Heads", kv_heads: "KV heads", head_dim: "Head size",
  window: "Window",
};
const DIFFERS = { layers: "layers", heads: "heads", kv_heads: "KV heads", head_dim: "numbers a head" };
const WORK = [
  ["linear", "linear layers", "focus", []], ["attention", "attention", "mark", [9, 4]],
  ["lm_head", "LM head", "dim", [2, 3]],
];
const KEPT_COSTS = 64;
const BOUNDS_HELP = "For one text at a time. Times are bounds from below: the slower of the arithmetic "
  + "at the highest published rate and the bytes at the highest published bandwidth (for this "
  + "machine, as measured). Real programs take longer. ";
const COST_HELP = "Width and MLP follow heads × head size. A multiplication and an addition count one "
  + "each; norms, activations and the softmax are left out. ";

class CostPanel {
  constructor(model, el, signal) {
    Object.assign(this, { model, signal, costs: new Map(), refusal: "" });
    this.requests = new Requests(model, {
      answered: (asks, parts) => this.keep(asks[0], parts[0].facts),
    }, signal);
    this.actions = new Actions(model, {
      refused: (reason) => { this.refusal = reason; this.measured(); },
      done: () => this.measured(),
    }, signal);
    this.curve = new Curve({ signal, height: 280 });
    this.sentence = make("p", { class: "lx-sentence" });
    this.shape = make("p", { class: "lx-help" });
    this.status = make("p", { class: "lx-status", role: "status" });
    this.spoken = make("div", { class: "lx-hidden", "aria-live": "polite" });
    this.work = new Shares("Work to read the text", WORK.map(([, name, ink]) => [name, ink]));
    this.memory = new Shares("Memory", [["weights", "focus"], ["KV cache", "mark"]]);
    this.times = new Table(["hardware", "reading the text", "one token more", "fits"]);
    this.numbers = new Table(["tokens", ...WORK.map(([, name]) => name), "KV cache"]);
    const legend = make("p", { class: "lx-lines-legend", "aria-hidden": "true" },
      ...WORK.map(([part, name]) => make("span", { "data-line": part, text: name })));
    this.root = make("section", { class: "lx lx-costs" },
      this.bar(), this.dials(), this.shape, this.status,
      make("div", { class: "lx-shown" }, this.sentence,
        make("div", { class: "lx-pair" }, this.work.element, this.memory.element),
        make("div", { class: "lx-pair" },
          make("figure", {}, make("h4", { text: "Work to read a text, by its length" }),
            legend, this.curve.canvas),
          make("figure", {}, make("h4", { text: "Least time" }), this.times.element, this.measuring(),
            this.sources = make("p", { class: "lx-help" }))),
        make("details", {}, make("summary", { text: "The curve as a table" }), this.numbers.element)),
      make("p", { class: "lx-help", text: COST_HELP }), this.spoken);
    this.shown = this.root.querySelector(".lx-shown");
    this.shown.hidden = true;
    putIn(el, this.root, signal);
    follow(model, COST_TRAITS.map((name) => `change:${name}`), () => this.tell(), signal);
    signal.addEventListener("abort", () => {
      clearTimeout(this.speaking);
      this.root.remove();
    });
    followTheme(model, this.root, () => this.curve.draw(), signal);
    this.update();
  }

  // ------------------------------------------------------------------ what a person moves

  bar() {
    const { signal } = this;
    this.presets = make("select", { "data-picks": "preset" });
    listen(this.presets, "change", () => {
      // Python sets the window, too, but a file has no Python.
      this.model.set("window", this.model.get("presets")[this.presets.value].window);
      this.set("preset", this.presets.value);
    }, signal);
    const options = (this.model.get("precisions") ?? []).map((name) => [name, name]);
    this.precision = choices({
      name: "Precision", options, chosen: this.model.get("precision"), signal,
      onChoose: (value) => this.set("precision", value),
    });
    return make("div", { class: "lx-bar" }, make("label", { text: "Model" }, this.presets),
      make("span", { class: "lx-group" }, make("span", { text: "Numbers" }), this.precision.element));
  }

  dials() {
    this.dial = Object.entries(DIALS).map(([name, text]) => {
      const slider = make("input", { type: "range", min: 0, step: 1, "data-dial": name });
      const words = make("output");
      listen(slider, "input", () => {
        this.set(name, this.model.get("stops")[name][Number(slider.value)]);
      }, this.signal);
      const label = make("label", {}, make("span", { text }), slider, words);
      return { name, slider, words, label };
    });
    return make("div", { class: "lx-dials", role: "group", "aria-label": "Shape and length" },
      ...this.dial.map(({ label }) => label));
  }

  measuring() {
    this.measure = make("button", { type: "button", text: "Measure this machine" });
    listen(this.measure, "click", () => {
      this.refusal = "";
      this.measure.disabled = true;
      this.measure.textContent = "Measuring …";
      this.actions.act({ op: "measure" });
    }, this.signal);
    return this.measure;
  }

  measured() {
    this.measure.disabled = false;
    this.tell();
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
    this.tell();
  }

  // ------------------------------------------------------------------ what Python says

  get asked() {
    const values = ["preset", "precision", "window", ...COST_SHAPE].map((name) => [name, this.model.get(name)]);
    return { op: "cost", ...Object.fromEntries(values) };
  }

  keep(ask, facts) {
    if (this.costs.size >= KEPT_COSTS) this.costs.delete(this.costs.keys().next().value);
    this.costs.set(JSON.stringify(ask), facts);
    this.tell();
  }

  // Answers hold for the lengths and the machines that there were.
  forget(...held) {
    const now = JSON.stringify(held);
    if (this.held === now) return;
    this.held = now;
    this.costs.clear();
    this.wanted = null;
  }

  // What is shown stays, pale, until the answer for the present shape is there.
  cost() {
    const ask = this.asked;
    const wanted = JSON.stringify(ask);
    const known = this.costs.get(wanted);
    if (!known && this.wanted !== wanted) this.requests.ask([ask]);
    this.wanted = wanted;
    return known;
  }

  // ------------------------------------------------------------------ from traits to the page

  tell() {
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      if (!this.signal.aborted) this.update();
    });
  }

  update() {
    const state = Object.fromEntries(COST_TRAITS.map((name) => [name, this.model.get(name)]));
    const saved = Boolean(this.model.holds);
    this.showControls(state, saved);
    this.forget(state.stops.tokens, state.machine);
    const cost = this.cost();
    const place = cost ? cost.tokens.indexOf(state.tokens) : -1;
    this.root.toggleAttribute("data-old", place < 0);
    this.status.textContent = this.refusal
      || (saved ? "A saved page: model, length, window and precision can be changed." : "");
    if (place < 0) return;
    this.shown.hidden = false;
    this.showNow(state, cost, place);
    this.showCurve(state, cost, place);
    this.showTimes(state, cost, place);
  }

  showControls(state, saved) {
    const names = Object.keys(state.presets);
    if (this.presets.options.length !== names.length) {
      this.presets.replaceChildren(...names.map((value) => make("option", { value, text: value })));
    }
    this.presets.value = state.preset;
    this.precision.show(state.precision);
    for (const { name, slider, words } of this.dial) {
      const stops = state.stops[name];
      const value = state[name];
      const text = name === "window" && !value ? "all" : value.toLocaleString("en");
      slider.max = stops.length - 1;
      slider.value = stops.indexOf(value);
      slider.disabled = saved && COST_SHAPE.includes(name);
      slider.setAttribute("aria-valuetext", text);
      words.textContent = text;
    }
    this.measure.hidden = saved;
    if (!this.measure.disabled) {
      this.measure.textContent = state.machine.name ? "Measure this machine again" : "Measure this machine";
    }
  }

  showNow(state, cost, place) {
    const parts = WORK.map(([part]) => partAt(cost.prefill, part, place));
    const total = parts.reduce((sum, one) => sum + one, 0);
    this.work.show(parts, (one) => amount(one, "FLOP"));
    this.memory.show([cost.weights, cost.cache[place]], (one) => amount(one, "B"));
    const shares = WORK.map(([, name], n) => `${(100 * parts[n] / total).toFixed(0)} % ${name}`);
    const said = `Reading ${state.tokens.toLocaleString("en")} tokens with ${named(state)} takes `
      + `${amount(total, "FLOP")} (${shares.join(", ")}) and ${amount(cost.weights, "B")} of weights and `
      + `${amount(cost.cache[place], "B")} of KV cache in ${state.precision}; ${overtakes(cost)}`;
    this.sentence.textContent = `${said}.`;
    this.root.setAttribute("aria-label", said);
    const full = state.layers - cost.windowed;
    const some = cost.windowed && full ? `, in ${cost.windowed} of ${state.layers} layers` : "";
    this.shape.textContent = `Width ${cost.width.toLocaleString("en")}, MLP `
      + `${cost.intermediate.toLocaleString("en")}, ${digits(cost.parameters / 1e6)} million weights`
      + (cost.windowed ? `; a window of ${state.window.toLocaleString("en")} tokens${some}.` : ".");
    this.speak(`${said}.`);
  }

  showCurve({ tokens }, cost, place) {
    const { crossover } = cost;
    const last = cost.tokens.at(-1);
    const crossing = crossover && crossover[0] >= cost.tokens[0] && crossover[0] <= last
      ? [{ number: crossover[0], value: crossover[1], words: `${crossover[0].toLocaleString("en")} tokens` }] : [];
    this.curve.showAmounts({
      lines: WORK.map(([part, , ink, dash]) => ({
        ink, dash, points: cost.tokens.map((number, n) => [number, partAt(cost.prefill, part, n)]),
      })),
      marks: [{ number: tokens, upright: true }, ...crossing], across: "tokens of the text",
      write: (value) => amount(value, "FLOP").replace(/\.0+ /, " "),
      words: `FLOPs over the length of a text: ${overtakes(cost)}. The table below has the numbers.`,
    });
    this.numbers.show("FLOPs and bytes by length", cost.tokens.map((number, n) => [
      number.toLocaleString("en"),
      ...WORK.map(([part]) => amount(partAt(cost.prefill, part, n), "FLOP")), amount(cost.cache[n], "B"),
    ]), place);
  }

  showTimes({ hardware, machine }, cost, place) {
    const own = machine.name ? [[machine.name, machine.source]] : [];
    const all = [...own, ...hardware];
    const waits = ({ computes }) => (computes[place] ? "" : " ᵐ");
    const rows = all.map(([name], n) => {
      const bound = cost.seconds[n];
      if (!bound) return [name, "", "", ""];
      return [name, `≥ ${duration(bound.prefill[place])}${waits(bound)}`,
        `≥ ${duration(bound.decode[place])}`, bound.holds[place] ? "yes" : "no"];
    });
    this.times.show("", own.length ? rows : [["this machine", "not measured", "not measured", ""], ...rows]);
    this.sources.textContent = `${BOUNDS_HELP}ᵐ: waits for memory. Sources: `
      + `${all.map(([name, source]) => `${name}: ${source}`).join("; ")}.`;
  }

  // A reader who hears the page gets one sentence when the sliders rest.
  speak(text) {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => { this.spoken.textContent = text; }, 400);
  }
}

// One whole as a bar of its parts, and their amounts under it.
class Shares {
  constructor(name, parts) {
    this.head = make("h4", { text: name });
    this.total = make("span", { class: "lx-total" });
    this.head.append(" ", this.total);
    this.parts = parts.map(([text, ink]) => ({
      text, bar: make("span", { "data-ink": ink }), words: make("span", { "data-ink": ink }),
    }));
    this.element = make("div", { class: "lx-shares" }, this.head,
      make("div", { class: "lx-stack", "aria-hidden": "true" }, ...this.parts.map(({ bar }) => bar)),
      make("p", {}, ...this.parts.map(({ words }) => words)));
  }

  show(amounts, write) {
    const total = amounts.reduce((sum, one) => sum + one, 0);
    this.total.textContent = write(total);
    this.parts.forEach(({ text, bar, words }, n) => {
      bar.style.flexGrow = amounts[n] / total;
      words.textContent = `${text} ${write(amounts[n])}`;
    });
  }
}

// The LM head costs the same at every length.
function partAt(flops, part, place) {
  return part === "lm_head" ? flops.lm_head : flops[part][place];
}

function overtakes({ crossover }) {
  return crossover
    ? `attention overtakes the linear layers at ${crossover[0].toLocaleString("en")} tokens`
    : "attention never overtakes the linear layers";
}

// The preset, and what is not as it was there; in the words of Python.
function named(state) {
  const base = state.presets[state.preset];
  const changed = COST_SHAPE.filter((one) => state[one] !== base[one])
    .map((one) => `${state[one]} ${DIFFERS[one]}`);
  if (state.window !== base.window) {
    changed.push(state.window ? `a window of ${state.window.toLocaleString("en")}` : "no window");
  }
  return changed.length ? `${state.preset} with ${changed.join(", ")}` : state.preset;
}

function render({ model, el }) {
  const ending = new AbortController();
  new CostPanel(model, el, ending.signal);
  return () => ending.abort();
}
