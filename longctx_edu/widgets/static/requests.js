// needs: dom
// Bulk numbers on demand: one message for what a settled view needs, one answer with its
// buffers. The latest wish wins: at most one message is under way and one is waiting.

const SETTLED = 60;      // milliseconds without a new wish
const PATIENCE = 8000;   // after which the next wish no longer waits for an answer

class Requests {
  constructor(model, { answered, failed = () => {} }, signal) {
    Object.assign(this, { model, answered, failed });
    // Two displays of one widget hear the same answers; each knows its own by name.
    this.name = Math.random().toString(36).slice(2);
    this.count = 0;
    this.wish = null;
    this.underway = null;
    this.unanswered = new Map();
    follow(model, ["msg:custom"], (message, buffers) => this.hear(message, buffers), signal);
    signal.addEventListener("abort", () => {
      this.ended = true;
      clearTimeout(this.settling);
      clearTimeout(this.waiting);
    });
  }

  // Ask for a list of things, such as {op: "row", ...}; an earlier list is forgotten.
  ask(asks) {
    if (this.ended) return;
    this.wish = { id: `${this.name}:${++this.count}`, asks };
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.send(), SETTLED);
  }

  send() {
    if (this.underway || !this.wish) return;
    this.underway = this.wish;
    this.wish = null;
    this.unanswered.set(this.underway.id, this.underway.asks);
    this.waiting = setTimeout(() => this.next(), PATIENCE);
    this.model.send(this.underway);
  }

  // A kernel that was busy answers late, and that is worth keeping too.
  hear(message, buffers) {
    const asks = this.unanswered.get(message?.id);
    if (!asks) return;
    this.unanswered.delete(message.id);
    if (message.error) {
      this.failed(asks, message.error);
    } else {
      let at = 0;
      const parts = message.answers.map((facts) => {
        const own = buffers.slice(at, at + facts.buffers);
        at += facts.buffers;
        return { facts, buffers: own };
      });
      this.answered(asks, parts);
    }
    if (message.id === this.underway?.id) this.next();
  }

  next() {
    clearTimeout(this.waiting);
    this.underway = null;
    this.send();
  }
}
