// needs: dom, theme, actions
// What views share in which a question is asked: its field, what is under way and what went
// wrong, the answer with its sources. A panel says what it shows in `update` and `say`.

class AskingPanel {
  constructor(model, signal) {
    Object.assign(this, { model, signal, refusal: "", waiting: false });
    this.actions = new Actions(model, {
      refused: (reason) => { this.refusal = reason; this.tell(); },
      done: () => { this.refusal = ""; this.tell(); },
    }, signal);
  }

  // Put the parts into the page, and follow the traits from now on.
  open(el, facts, traits, ...parts) {
    const { model, signal } = this;
    this.root = make("section", facts, ...parts);
    putIn(el, this.root, signal);
    follow(model, traits.map((name) => `change:${name}`), () => this.tell(), signal);
    signal.addEventListener("abort", () => {
      clearTimeout(this.speaking);
      this.root.remove();
    });
    followTheme(model, this.root, () => this.themed(), signal);
    this.update();
  }

  // What is painted rather than styled is painted anew.
  themed() {}

  // ------------------------------------------------------------------ what there is

  button(text, act) {
    const made = make("button", { type: "button", text });
    listen(made, "click", act, this.signal);
    return made;
  }

  asking(...further) {
    this.asked = make("input", { type: "text", "aria-label": "Question", autocomplete: "off" });
    this.ask = make("button", { type: "submit", text: "Ask" });
    this.cancel = this.button("Cancel", () => this.actions.act({ op: "cancel" }));
    this.form = make("form", { class: "lx-bar lx-ask" },
      make("span", { text: "Question", "aria-hidden": "true" }), this.asked, this.ask,
      ...further, this.cancel);
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

  // `cited` is called with the citation that a person chooses.
  answering(cited) {
    this.prefix = make("span", { class: "lx-prefix" });
    this.answer = make("span");
    this.sources = make("ol", { class: "lx-sources", "aria-label": "Sources" });
    listen(this.sources, "click", (event) => {
      const button = event.target.closest("button");
      if (button) cited(this.model.get("citations")[Number(button.dataset.source)]);
    }, this.signal);
    this.notice = make("p", { class: "lx-notice" });
    this.cost = make("div", { class: "lx-cost", role: "group", "aria-label": "Cost" });
    return make("div", { class: "lx-answer" },
      make("p", { class: "lx-said" },
        make("b", { text: "Answer: " }), this.prefix, this.answer),
      this.notice, this.sources, this.cost);
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

  // What a person is typing stays; what was asked elsewhere is shown.
  showQuestion({ question, live }, running) {
    if (this.question !== question) {
      this.question = question;
      this.asked.value = question;
    }
    this.asked.readOnly = !live || running;
    this.ask.hidden = !live;
    this.ask.disabled = running;
    this.cancel.hidden = !live || !running;
  }

  showAnswer({ answer_text: text, answer_prefix: prefix, notice, citations, stage }, past, where) {
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
        text: sourceWords(one, where(one.place[0])),
      }))));
  }

  showCost({ cost, predicted, seconds }) {
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
    const took = seconds ? [make("span", { text: `${seconds.toFixed(1)} s` })] : [];
    this.cost.replaceChildren(...words, ...took);
  }

  showStatus(state, problem) {
    const told = this.refusal || problem;
    if (this.problem.textContent !== told) this.problem.textContent = told;
    this.status.textContent = this.say(state);
  }

  // A reader who hears the page is told of each stage, not of each token.
  speak(key, words) {
    if (key === this.told) return;
    this.told = key;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => { this.spoken.textContent = words; }, 250);
  }

  // Tells when this state was on the screen: Python sends the next one then, and may measure.
  report({ live, tick }) {
    if (!live || !tick || tick === this.reported) return;
    this.reported = tick;
    requestAnimationFrame(() => setTimeout(() =>
      this.actions.note({ op: "shown", tick, at: Date.now() })));
  }
}

function sourceWords({ text, weight, document_id: name }, where) {
  const facts = [where || name];
  if (typeof weight === "number") facts.push(`weight ${weight.toFixed(2)}`);
  return `“${shortened(text, 90)}” · ${facts.join(" · ")}`;
}

// A text on one line, cut to a number of characters.
function shortened(text, most) {
  const words = [...text.replace(/\s+/g, " ").trim()];
  return words.length > most ? `${words.slice(0, most).join("")}…` : words.join("");
}
