// needs: dom, asking, passages, margin_states, margin_cards, player
// Writing in the Margins to look at: text left, margins right, question above, answer below.
// What is shown are the traits, or what a recording's events make of them at a step.

const UNDER_WAY = ["writing", "answering"];
const SHOWN_TRAITS = ["stage", "margins", "progress", "answer_text", "answer_prefix", "notice",
  "citations", "cost", "predicted", "seconds", "problem", "changed", "live", "events", "step",
  "selected", "place", "question", "text", "segments", "tick"];
const MARGIN_KEYS = "In the margins: arrows move · Enter shows the segment";
const LIVE_KEYS = " · a accepts · r rejects · e edits · n adds a note";

class MarginsPanel extends AskingPanel {
  constructor(model, el, signal) {
    super(model, signal);
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
    this.again = this.button("Answer again", () => this.actions.act({ op: "again" }));
    this.now = this.button("Answer now", () => this.actions.act({ op: "now" }));
    this.open(el, { class: "lx lx-asking lx-margins", "aria-label": "Margins" }, SHOWN_TRAITS,
      this.asking(this.now, this.again), ...this.saying(), this.player.element,
      make("div", { class: "lx-spread" }, this.passages.element, this.side()),
      this.answering(({ place }) => this.jump(this.segmentAt(place[0]), place)),
      this.help = make("p", { class: "lx-help" }), this.spoken);
  }

  // ------------------------------------------------------------------ what there is

  side() {
    this.onSegment = this.button("", () => this.openNote(this.model.get("selected")));
    this.onText = this.button("Note on the whole text", () => this.openNote(null));
    this.adding = make("div", { class: "lx-adding" }, this.onSegment, this.onText);
    return make("div", { class: "lx-side" }, this.cards.element, this.adding);
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
    this.showQuestion(state, running);
    this.again.hidden = !live || running || !state.question;
    this.again.toggleAttribute("data-wanted", state.changed);
    this.now.hidden = !live || !running || stage !== "writing";
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
    this.showAnswer(state, past, (point) => {
      const segment = this.segmentAt(point);
      return segment >= 0 ? `segment ${segment}` : "";
    });
    this.showCost(state);
    this.showStatus(state, state.problem);
    this.announce(state);
    this.report(state);
  }

  takeText({ text, segments }) {
    if (this.text === text && this.segments === segments) return;
    Object.assign(this, { text, segments, place: null });
    this.passages.show(text ?? "", segments ?? []);
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

  announce(state) {
    const { stage, past, answer_text: text } = state;
    const ended = stage === "answered";
    this.speak(`${stage} ${past} ${state.changed} ${ended ? text : ""}`,
      ended && !past ? `Answer: ${text}. ${this.say(state)}` : this.say(state));
  }
}

function render({ model, el }) {
  const ending = new AbortController();
  new MarginsPanel(model, el, ending.signal);
  return () => ending.abort();
}
