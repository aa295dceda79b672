// needs: dom, theme, choices, offsets, colours, selection, heat, strip, legend, arcs, table
// Who sends how much to whom, step after step: bands between two lists, or cells, on one
// selection. All steps are here from the start, so that a file without a kernel has them too.

const ROUTING_TRAITS = ["weights", "steps", "step", "step_name", "senders", "receivers", "texts",
  "form", "scale"];
const ROUTING_HELP = "Arrows move · Enter keeps, Esc lets go · [ ] step back and forward";
const FORMS = [
  ["bands", "bands", "A band from each sender to each receiver, as wide as what is sent"],
  ["cells", "cells", "A matrix: senders down, receivers across"],
];

class RoutingPanel {
  constructor(model, el, signal) {
    Object.assign(this, { model, signal });
    this.selection = new Selection(model, () => this.update(), signal);
    const touched = (pair) => this.selection.touch(pair);
    const released = () => this.selection.choose({ sender: NONE, receiver: NONE });
    this.arcs = new Arcs({
      name: "What each sender sends to each receiver", fromName: "Senders", toName: "Receivers",
      signal, released,
      touched: (ends) => touched(ends && this.pair(ends)),
      chosen: (ends) => this.selection.choose(this.pair(ends)),
    });
    this.heat = new HeatMatrix({
      name: "What each sender, down, sends to each receiver, across", signal, released,
      touched: (at) => touched(at && { sender: at.row, receiver: at.column }),
      chosen: ({ row, column }) => this.selection.choose({ sender: row, receiver: column }),
      moved: (at) => this.strip.draw(at),
      margin: () => ({ left: 112, top: 30, right: 8, bottom: 4 }),
      rowHeight: (rows) => clamp(Math.floor(560 / rows), 5, 22),
    });
    this.strip = new RowStrip({ name: "Load of each receiver", label: "load", signal });
    this.legend = legend("nothing");
    this.table = new Table(["receiver", "load", "senders", "sent"]);
    this.head = make("p", { class: "lx-status", role: "status" });
    this.pointedAt = make("p", { class: "lx-cell" });
    this.spoken = make("div", { class: "lx-hidden", "aria-live": "polite" });
    this.root = make("section", {
      class: "lx lx-routing", "aria-label": "Routing",
    },
    this.bar(), this.head, this.arcs.element,
    this.cells = make("div", {}, this.heat.canvas, this.strip.canvas, this.legend.element),
    this.pointedAt, this.table.element, make("p", { class: "lx-help", text: ROUTING_HELP }), this.spoken);
    putIn(el, this.root, signal);
    listen(this.root, "keydown", (event) => this.press(event), signal);
    follow(model, ROUTING_TRAITS.map((name) => `change:${name}`), () => this.selection.tell(), signal);
    signal.addEventListener("abort", () => {
      clearTimeout(this.speaking);
      this.root.remove();
    });
    followTheme(model, this.root, () => { this.heat.draw(); this.arcs.draw(); }, signal);
    this.update();
  }

  bar() {
    const { model, signal } = this;
    this.slider = make("input", { type: "range", min: 0, step: 1 });
    this.words = make("output");
    this.label = make("span");
    listen(this.slider, "input", () => this.go(Number(this.slider.value)), signal);
    this.forms = choices({
      name: "Form", options: FORMS, chosen: model.get("form"), signal,
      onChoose: (form) => this.set("form", form),
    });
    return make("div", { class: "lx-bar" },
      this.stepper = make("label", {}, this.label, this.slider, this.words),
      make("span", { class: "lx-group" }, make("span", { text: "Show" }), this.forms.element));
  }

  set(name, value) {
    this.model.set(name, value);
    this.model.save_changes();
    this.selection.tell();
  }

  go(step) {
    const at = clamp(step, 0, this.model.get("steps").length - 1);
    if (at !== this.model.get("step")) this.set("step", at);
  }

  // Brackets need Option on many keyboards, and AltGr, which reads as Ctrl and Alt, on others.
  press(event) {
    const way = { "[": -1, "]": 1 }[event.key];
    const command = event.metaKey || (event.ctrlKey && !event.getModifierState("AltGraph"));
    if (!way || command) return;
    event.preventDefault();
    this.go(this.model.get("step") + way);
  }

  // The other end stays what it was.
  pair({ from, to }) {
    return {
      sender: from ?? this.selection.get("sender"), receiver: to ?? this.selection.get("receiver"),
    };
  }

  // ------------------------------------------------------------------ what is known

  take() {
    const [view, step] = [this.model.get("weights"), this.model.get("step")];
    const [steps, senders, receivers] = ["steps", "senders", "receivers"].map((name) => this.model.get(name));
    const size = senders.length * receivers.length;
    // Traits may come apart; only whole steps are shown.
    if (bytesOf(view).length !== 4 * steps.length * size || !(step < steps.length)) return false;
    if (this.view !== view) this.every = numbersOf(view, Float32Array);
    const fresh = this.view !== view || this.step !== step
      || this.senders !== senders || this.receivers !== receivers;
    Object.assign(this, { view, step, senders, receivers });
    if (!fresh) return true;
    this.sent = this.every.subarray(step * size, (step + 1) * size);
    this.most = this.every.reduce((most, one) => Math.max(most, one), 0) || 1;
    const total = this.sent.reduce((sum, one) => sum + one, 0);
    this.rows = senders.map((_, n) => this.sent.subarray(n * receivers.length, (n + 1) * receivers.length));
    this.best = this.rows.map(strongest);
    this.load = receivers.map((_, m) => this.rows.reduce((sum, row) => sum + row[m], 0) / (total || 1));
    this.choosing = receivers.map((_, m) => this.best.filter((one) => one === m).length);
    this.drawn = null;
    return true;
  }

  // ------------------------------------------------------------------ from traits to the page

  update() {
    if (this.signal.aborted || !this.take()) return;
    const get = (name) => this.model.get(name);
    const [steps, form] = [get("steps"), get("form")];
    this.stepper.hidden = steps.length < 2;
    this.label.textContent = get("step_name");
    this.slider.setAttribute("aria-label", get("step_name"));
    this.slider.max = steps.length - 1;
    this.slider.value = this.step;
    this.words.textContent = steps[this.step];
    this.slider.setAttribute("aria-valuetext", steps[this.step]);
    this.forms.show(form);
    this.arcs.element.hidden = form !== "bands";
    this.cells.hidden = form !== "cells";
    this.head.textContent = this.say();
    const wanted = JSON.stringify([form, get("scale"), get("texts")]);
    if (this.drawn !== wanted) {
      this.drawn = wanted;
      if (form === "bands") this.showBands(get("texts"));
      else this.showCells(get("scale"));
    }
    this.showSelection();
  }

  showBands(texts) {
    const most = Math.max(...this.load, Number.MIN_VALUE);
    // New options take the place of old ones, and whoever walks over them stays where they were.
    const held = this.root.getRootNode().activeElement?.closest(".lx-arcs [role=option]");
    const list = this.arcs.element.contains(held) && held.parentElement;
    this.arcs.left.toggleAttribute("data-many", this.senders.length > 24);
    // Where every one sends all that it has, there is nothing to tell.
    const notes = this.rows.map((row) => percent(sumOf(row)));
    const alike = notes.every((note) => note === percent(1));
    this.arcs.show({
      froms: this.senders.map((name, id) => ({
        id, name: visible(name), note: alike ? "" : notes[id], title: "What it sends in all",
      })),
      tos: this.receivers.map((name, id) => ({
        id, name: visible(name), note: percent(this.load[id]), share: this.load[id] / most,
        text: texts[id], title: "Its share of all that is sent",
      })),
      mass: (from, to) => this.rows[from][to], most: this.most,
    });
    if (list) list.querySelector(`[data-end="${held.dataset.end}"]`)?.focus();
  }

  showCells(scale) {
    const { senders, receivers } = this;
    const same = this.shaped?.[0] === senders && this.shaped[1] === receivers;
    if (!same) {
      this.shaped = [senders, receivers];
      this.heat.shape({
        rows: senders.length, columns: receivers.length, rowLabels: senders,
        columnLabels: receivers, rowLength: () => receivers.length,
      });
    }
    this.heat.setScale(scale);
    this.legend.show(scale);
    const codes = Uint8Array.from(this.sent, (one) => (one > 0 ? codeOf(one) : MASKED));
    this.heat.put("sent", { height: senders.length, width: receivers.length, codes });
  }

  showSelection() {
    const { selection } = this;
    const [sender, receiver] = [selection.sender, selection.receiver];
    const text = this.sentence(sender, receiver);
    this.arcs.mark({ from: sender, to: receiver });
    this.heat.mark({
      row: sender, column: receiver,
      pinnedRow: selection.get("sender"), pinnedColumn: selection.get("receiver"),
    });
    this.heat.describe(text);
    const most = Math.max(...this.load) || 1;
    this.strip.show({
      weights: Float32Array.from(this.load, (one) => one / most), length: 1, scale: "linear",
      marked: receiver, text: `Load: ${this.load.map((one, m) => `${this.receivers[m]} ${percent(one)}`).join(", ")}`,
    });
    this.pointedAt.textContent = text || "Point at a band, a sender or a receiver.";
    const from = this.rows[sender];
    this.table.show(
      `${this.where()}: load of each receiver, senders that send it most`
        + `${from ? `, and what ${visible(this.senders[sender])} sends` : ""}`,
      this.receivers.map((name, m) => [
        visible(name), percent(this.load[m]), String(this.choosing[m]), from ? written(from[m]) : "",
      ]), receiver);
    this.speak(text || this.say());
  }

  // ------------------------------------------------------------------ words

  where() {
    const steps = this.model.get("steps");
    return steps.length > 1 ? `${this.model.get("step_name")} ${steps[this.step]}` : "Routing";
  }

  // In the words of Python's `describe`.
  say() {
    const best = strongest(this.load);
    const none = this.best.filter((one) => one < 0).length;
    if (best < 0) return `${this.where()}: nothing is sent.`;
    return `${this.where()}: ${visible(this.receivers[best])} gets most, ${percent(this.load[best])} of all `
      + `that is sent; ${this.choosing[best]} of ${this.senders.length} send it most of theirs`
      + `${none ? `; ${none} send nothing` : ""}.`;
  }

  sentence(sender, receiver) {
    const [from, to] = [this.senders[sender], this.receivers[receiver]].map((name) =>
      (name === undefined ? name : visible(name)));
    if (from !== undefined && to !== undefined) {
      return `${from} → ${to}: ${written(this.rows[sender][receiver])}.`;
    }
    if (from !== undefined) {
      const best = this.best[sender];
      return best < 0 ? `${from} sends nothing.`
        : `${from} sends ${percent(sumOf(this.rows[sender]))}, most of it to ${visible(this.receivers[best])}.`;
    }
    if (to === undefined) return "";
    return `${to} gets ${percent(this.load[receiver])} of all that is sent; `
      + `${this.choosing[receiver]} of ${this.senders.length} send it most of theirs.`;
  }

  // A reader who hears the page gets one sentence when the cursor rests, not one for each step.
  speak(text) {
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => { this.spoken.textContent = text; }, 250);
  }
}

function sumOf(some) {
  return some.reduce((sum, one) => sum + one, 0);
}

// The place of the greatest, the first of equals; NONE where all are 0.
function strongest(some) {
  let best = NONE;
  some.forEach((one, n) => {
    if (one > 0 && (best < 0 || one > some[best])) best = n;
  });
  return best;
}

function render({ model, el }) {
  const ending = new AbortController();
  new RoutingPanel(model, el, ending.signal);
  return () => ending.abort();
}
