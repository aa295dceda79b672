// needs: dom, theme, actions, passages, margin_states, margin_cards, player
// Writing in the Margins to look at: text left, margins right, question above, answer below.
// What is shown are the traits, or what a recording's events make of them at a step.

const UNDER_WAY = ["writing", "answering"];
const SHOWN_TRAITS = ["stage", "margins", "progress", "answer_text", "answer_prefix", "notice",
  "citations", "cost", "predicted", "seconds", "problem", "changed", "live", "events", "step",
  "selected", "place", "question", "text", "segments", "tick"];
const MARGIN_KEYS = "In the margins: arrows move · Enter shows the segment";
const LIVE_KEYS = " · a accepts · r rejects · e edits · n adds a note";

class MarginsPanel {
  constructor(model, el, signal) {
    Object.assign(this, { model, signal, refusal: "", waiting: false });
    this.actions = new Actions(model, {
      refused: (reason) => { this.refusal = reason; this.tell(); },
      done: () => { this.refusal = ""; this.tell(); },
    }, signal);
    this.passages = new Passages({
      name: "Text", signal,
      chosen: (segment) => { this.choose(segment, []); this.cards.reveal(segment); },
    });
    this.cards = new MarginCards({
      signal,
      chosen: ({ segment }) => { if (segment !== null) this.jump(segment, []); },
      decided: (note, kept) => this.actions.act({ op: "judge", note, kept }),
      edited: (note, text) => this.actions.act({ op: "edit", note, text }),
      adding: (segment) => this.openNote(segment),
    });
    this.player = new Player({ signal, moved: (step, settled) => this.stepTo(step, settled) });
    this.root = make("section", {
      class: "lx lx-margins", "aria-label": "Margins", "data-lm-suppress-shortcuts": "true",
    }, this.asking(), ...this.saying(), this.player.element,
      make("div", { class: "lx-spread" }, this.passages.element, this.side()),
      this.answering(), this.help = make("p", { class: "lx-help" }), this.spoken);
    el.append(this.root);
    follow(model, SHOWN_TRAITS.map((name) => `change:${name}`), () => this.tell(), signal);
    signal.addEventListener("abort", () => {
      clearTimeout(this.speaking);
      this.root.remove();
    });
    followTheme(model, this.root, () => {}, signal);
    this.update();
  }

  // ------------------------------------------------------------------ what there is

  button(text, act) {
    const made = make("button", { type: "button", text });
    listen(made, "click", act, this.signal);
    return made;
  }

  asking() {
    this.asked = make("input", { type: "text", "aria-label": "Question", autocomplete: "off" });
    this.ask = make("button", { type: "submit", text: "Ask" });
    this.again = this.button("Answer again", () => this.actions.act({ op: "again" }));
    this.now = this.button("Answer now", () => this.actions.act({ op: "now" }));
    this.cancel = this.button("Cancel", () => this.actions.act({ op: "cancel" }));
    this.form = make("form", { class: "lx-bar lx-ask" },
      make("span", { text: "Question", "aria-hidden": "true" }), this.asked, this.ask,
      this.now, this.cancel, this.again);
    listen(this.form, "submit", (event) => {
      event.preventDefault();
      this.actions.act({ op: "ask", question: this.asked.value });
    }, this.signal);
    // JupyterLab keeps Enter from submitting forms.
    listen(this.asked, "keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return;
      event.preventDefault();
      if (!this.ask.hidden && !this.ask.disabled) this.form.requestSubmit();
    }, this.signal);
    return this.form;
  }

  saying() {
    this.status = make("p", { class: "lx-status" });
    this.problem = make("p", { class: "lx-problem", role: "alert" });
    this.spoken = make("div", { class: "lx-hidden", "aria-live": "polite" });
    return [this.status, this.problem];
  }

  side() {
    this.onSegment = this.button("", () => this.openNote(this.model.get("selected")));
    this.onText = this.button("Note on the whole text", () => this.openNote(null));
    this.adding = make("div", { class: "lx-adding" }, this.onSegment, this.onText);
    return make("div", { class: "lx-side" }, this.cards.element, this.adding);
  }

  answering() {
    this.prefix = make("span", { class: "lx-prefix" });
    this.answer = make("span");
    this.sources = make("ol", { class: "lx-sources", "aria-label": "Sources" });
    listen(this.sources, "click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const { place } = this.model.get("citations")[Number(button.dataset.source)];
      this.jump(this.segmentAt(place[0]), place);
    }, this.signal);
    this.notice = make("p", { class: "lx-notice" });
    this.cost = make("div", { class: "lx-cost", role: "group", "aria-label": "Cost" });
    return make("div", { class: "lx-answer" },
      make("p", { class: "lx-said" },
        make("b", { text: "Answer: " }), this.prefix, this.answer),
      this.notice, this.sources, this.cost);
  }

  // ------------------------------------------------------------------ what a person does

  choose(selected, place) {
    this.model.set("selected", selected);
    this.model.set("place", place);
    this.model.save_changes();
    this.update();
  }

  jump(segment, place) {
    this.choose(segment, place);
    this.passages.reveal(segment);
    this.cards.reveal(segment);
  }

  segmentAt(point) {
    return this.model.get("segments").findIndex(([start, end]) => start <= point && point < end);
  }

  stepTo(step, settled) {
    this.model.set("step", step);
    if (settled) this.model.save_changes();
    this.update();
  }

  openNote(segment) {
    if (this.noting || !this.model.get("live")) return;
    const back = document.activeElement;
    const close = () => {
      this.noting.element.remove();
      this.noting = null;
      this.update();
      (back?.isConnected ? back : this.onText).focus();
    };
    const where = segment === null ? "the whole text" : `segment ${segment}`;
    this.noting = wordsField({
      name: `Your note on ${where}`, text: "", verb: `Add to ${where}`, left: close,
      kept: (text) => { this.actions.act({ op: "add", segment, text }); close(); },
    });
    this.adding.append(this.noting.element);
    this.update();
    this.noting.field.focus();
  }

  // ------------------------------------------------------------------ from traits to the page

  // Several traits may change at once; the page changes once.
  tell() {
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      if (!this.signal.aborted) this.update();
    });
  }

  state() {
    const get = (name) => this.model.get(name);
    const [step, events] = [get("step"), get("events") ?? []];
    const past = step >= 0 && step < events.length;
    const now = Object.fromEntries(SHOWN_TRAITS.map((name) => [name, get(name)]));
    return past ? { ...now, ...replayed({ ...now, events, step }), past } : { ...now, past };
  }

  update() {
    const state = this.state();
    const { live, margins, stage, selected, past } = state;
    this.takeText(state);
    const running = UNDER_WAY.includes(stage) && !past;
    this.takeQuestion(state, running);
    this.ask.hidden = !live;
    this.ask.disabled = running;
    this.again.hidden = !live || running || !state.question;
    this.again.toggleAttribute("data-wanted", state.changed);
    this.now.hidden = !live || !running || stage !== "writing";
    this.cancel.hidden = !live || !running;
    this.adding.hidden = !live;
    this.onSegment.textContent = `Note on segment ${selected}`;
    this.onSegment.hidden = selected < 0 || Boolean(this.noting);
    this.onText.hidden = Boolean(this.noting);
    this.help.textContent = MARGIN_KEYS + (live ? LIVE_KEYS : "");

    this.cards.show(margins, { editable: live && !past, selected });
    margins.forEach((margin, n) => {
      const first = margins.findIndex(({ segment }) => segment === margin.segment) === n;
      if (margin.segment !== null && first) {
        this.passages.sign(margin.segment, signOf(margin));
      }
    });
    this.passages.choose(selected);
    this.mark(state.place);
    this.player.element.hidden = running || !state.events?.length;
    this.player.show(state.events ?? [], state.step);
    this.showAnswer(state);
    this.showCost(state);
    const problem = this.refusal || state.problem;
    if (this.problem.textContent !== problem) this.problem.textContent = problem;
    this.status.textContent = this.say(state);
    this.speak(state);
    this.report(state);
  }

  takeText({ text, segments }) {
    if (this.text === text && this.segments === segments) return;
    Object.assign(this, { text, segments, place: null });
    this.passages.show(text ?? "", segments ?? []);
  }

  // What a person is typing stays; what was asked elsewhere is shown.
  takeQuestion({ question, live }, running) {
    if (this.question !== question) {
      this.question = question;
      this.asked.value = question;
    }
    this.asked.readOnly = !live || running;
  }

  mark(place) {
    if (JSON.stringify(place) === this.place) return;
    this.place = JSON.stringify(place);
    this.passages.mark(place ?? []);
  }

  say({ stage, margins, progress, live, past, answer_text: text, seconds, changed, question }) {
    const model = margins.filter(({ segment }) => segment !== null);
    const done = model.filter(({ state }) => state === "done" || state === "cut").length;
    const [steps, most] = progress ?? [0, 0];
    if (past) return `As it was: ${done} of ${model.length} margins written.`;
    if (stage === "ready") return `Ask a question: a margin is written on each of `
      + `${margins.length} segments, all at once, and then the answer.`;
    if (stage === "writing") {
      const at = steps ? `, step ${steps} of at most ${most}` : "";
      return `Writing margins${at}; ${done} of ${model.length} done.`;
    }
    if (stage === "answering") return text ? "Answering." : "Reading the notes that were kept.";
    if (stage === "cancelled") return "Cancelled. What was written stays, and can be answered from.";
    if (stage === "failed") return "";
    const took = question ? `Answered in ${seconds.toFixed(1)} s.` : "";
    if (!live) return `${took} This is a recording.`;
    return changed ? `${took} Notes were changed since: “Answer again” takes them up.` : took;
  }

  // A reader who hears the page is told of each stage, not of each token.
  speak(state) {
    const { stage, past, answer_text: text } = state;
    const key = `${stage} ${past} ${state.changed} ${stage === "answered" ? text : ""}`;
    if (key === this.told) return;
    this.told = key;
    clearTimeout(this.speaking);
    const words = stage === "answered" && !past ? `Answer: ${text}. ${this.say(state)}` : this.say(state);
    this.speaking = setTimeout(() => { this.spoken.textContent = words; }, 250);
  }

  showAnswer({ answer_text: text, answer_prefix: prefix, notice, citations, stage, past }) {
    const said = text || (stage === "answered" && !past ? "(nothing)" : "");
    this.prefix.textContent = said && prefix ? `${prefix} ` : "";
    if (this.answer.textContent !== said) this.answer.textContent = said;
    const found = past ? [] : citations ?? [];
    this.notice.textContent = past ? "" : notice ?? "";
    if (found === this.found || (!found.length && !this.found?.length)) return;
    this.found = found;
    this.sources.replaceChildren(...found.map((one, n) => make("li", {},
      make("button", {
        type: "button", "data-source": n, title: "Show this place in the text",
        text: sourceWords(one, this.segmentAt(one.place[0])),
      }))));
  }

  showCost({ cost, predicted, seconds, stage }) {
    const rows = [["reused", "tokens reused"], ["prefilled", "prefilled"], ["decoded", "decoded"]];
    const shown = rows.filter(([name]) => cost?.[name] !== undefined);
    const words = shown.map(([name, words]) => {
      const most = predicted?.[name];
      const bar = make("span", { class: "lx-gauge", "aria-hidden": "true" });
      bar.style.setProperty("--lx-share", most ? Math.min(1, cost[name] / most) : 0);
      const of = most ? ` of at most ${most.toLocaleString("en")}` : "";
      return make("span", { class: "lx-measure" }, ...(most && name !== "reused" ? [bar] : []),
        `${cost[name].toLocaleString("en")} ${words}${name === "reused" ? "" : of}`);
    });
    const took = stage === "ready" ? [] : [make("span", { text: `${(seconds ?? 0).toFixed(1)} s` })];
    this.cost.replaceChildren(...words, ...took);
  }

  // Tells when this state was on the screen: Python sends the next one then, and may measure.
  report({ live, tick }) {
    if (!live || !tick || tick === this.reported) return;
    this.reported = tick;
    requestAnimationFrame(() => setTimeout(() =>
      this.actions.note({ op: "shown", tick, at: Date.now() })));
  }
}

function sourceWords({ text, weight, document_id: name }, segment) {
  const words = text.replace(/\s+/g, " ").trim();
  const short = [...words].length > 90 ? `${[...words].slice(0, 90).join("")}…` : words;
  const facts = [segment >= 0 ? `segment ${segment}` : name];
  if (typeof weight === "number") facts.push(`weight ${weight.toFixed(2)}`);
  return `“${short}” · ${facts.join(" · ")}`;
}

function render({ model, el }) {
  const ending = new AbortController();
  new MarginsPanel(model, el, ending.signal);
  return () => ending.abort();
}
