// needs: dom
// A recording's own controls: play, pause, one step on or back, a slider over all steps.

const LONGEST_PLAY = 20;  // seconds; longer recordings run faster
const FRAME = 40;

class Player {
  // `moved(step, settled)`: the step to show; settled when it will stay for a while.
  constructor({ moved, signal }) {
    Object.assign(this, { moved, signal, events: [], step: -1 });
    const button = (text, name, act) => {
      const made = make("button", { type: "button", text, "aria-label": name, title: name });
      listen(made, "click", act, signal);
      return made;
    };
    this.toggle = button("Play", "Play the recording", () => this.playing ? this.pause() : this.play());
    this.slider = make("input", { type: "range", min: 0, step: 1, "aria-label": "Step" });
    this.words = make("span", { class: "lx-numbers" });
    listen(this.slider, "input", () => this.go(Number(this.slider.value), false), signal);
    listen(this.slider, "change", () => this.go(Number(this.slider.value), true), signal);
    this.element = make("div", { class: "lx-bar lx-player", role: "group", "aria-label": "Recording" },
      this.toggle, button("−", "One event back", () => this.go(this.place() - 1, true)),
      button("+", "One event on", () => this.go(this.place() + 1, true)), this.slider, this.words);
    signal.addEventListener("abort", () => clearInterval(this.timer));
  }

  get playing() {
    return this.timer !== undefined;
  }

  // Without a step, the end of the recording is shown.
  place() {
    return this.step < 0 ? this.events.length : Math.min(this.step, this.events.length);
  }

  show(events, step) {
    if (events !== this.events) this.pause();
    Object.assign(this, { events, step });
    const place = this.place();
    this.slider.max = events.length;
    this.slider.value = place;
    const seconds = place ? events[place - 1][0] : 0;
    const words = `event ${place} of ${events.length}, ${seconds.toFixed(1)} s after the question`;
    this.words.textContent = words;
    this.slider.setAttribute("aria-valuetext", words);
  }

  go(step, settled) {
    if (this.playing) this.halt();
    this.move(clamp(step, 0, this.events.length), settled);
  }

  move(step, settled) {
    this.moved(step >= this.events.length ? -1 : step, settled);
  }

  play() {
    if (!this.events.length) return;
    const start = this.place() >= this.events.length ? 0 : this.place();
    const time = (step) => (step ? this.events[step - 1][0] : 0);
    const total = time(this.events.length);
    const pace = Math.max(1, total / LONGEST_PLAY);
    const begin = performance.now();
    let step = start;
    this.toggle.textContent = "Pause";
    this.toggle.setAttribute("aria-label", "Pause the recording");
    this.timer = setInterval(() => {
      const now = time(start) + (pace * (performance.now() - begin)) / 1000;
      while (step < this.events.length && time(step + 1) <= now) step++;
      if (step >= this.events.length) this.halt();
      this.move(step, !this.playing);
    }, FRAME);
    this.move(start, false);
  }

  pause() {
    if (!this.playing) return;
    this.halt();
    this.move(this.place(), true);
  }

  halt() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.toggle.textContent = "Play";
    this.toggle.setAttribute("aria-label", "Play the recording");
  }
}
