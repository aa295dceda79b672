// needs: dom
// What a person does, sent to Python at once and in order. Unlike requests for numbers, none
// is forgotten because another follows, and what Python refuses is told.

class Actions {
  constructor(model, { refused, done }, signal) {
    Object.assign(this, { model, refused, done, signal });
    // Two displays of one widget hear the same answers; each knows its own by name.
    this.name = Math.random().toString(36).slice(2);
    this.count = 0;
    this.unanswered = new Set();
    follow(model, ["msg:custom"], (message) => this.hear(message), signal);
  }

  // Do one thing, such as {op: "ask", ...}.
  act(ask) {
    if (this.signal.aborted) return;
    const id = `${this.name}:${++this.count}`;
    this.unanswered.add(id);
    this.model.send({ id, asks: [ask] });
  }

  // Tell Python something that needs no answer.
  note(ask) {
    if (!this.signal.aborted) this.model.send({ id: `${this.name}:note`, asks: [ask] });
  }

  hear(message) {
    if (!this.unanswered.delete(message?.id)) return;
    if (message.error) this.refused(message.error);
    else this.done();
  }
}
