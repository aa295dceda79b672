// The view in a file of its own, without a kernel: the traits lie in the file, and so do
// answers to some requests. Nothing here can reach another machine.

function savedValue(value) {
  if (value === null || typeof value !== "object" || value.$bytes === undefined) return value;
  const bytes = Uint8Array.from(atob(value.$bytes), (letter) => letter.charCodeAt(0));
  return new DataView(bytes.buffer);
}

function savedState(state) {
  return Object.fromEntries(
    Object.entries(state).map(([name, value]) => [name, savedValue(value)]));
}

// Keys in order, so that equal requests are equal texts here and in Python.
function requestKey(ask) {
  return JSON.stringify(ask, Object.keys(ask).sort());
}

class SavedModel {
  constructor({ state, variants, answers }) {
    this.names = variants.names;
    this.answers = answers;
    this.state = savedState(state);
    this.handlers = new Map();
    // Decoded once: a value that stays is the same object, and nothing is painted anew.
    this.variants = new Map(
      Object.entries(variants.values).map(([key, values]) => [key, savedState(values)]));
    this.save_changes();
  }

  get(name) {
    return this.state[name];
  }

  set(name, value) {
    if (this.state[name] === value) return;
    this.state[name] = value;
    this.emit(`change:${name}`);
  }

  on(event, handler) {
    if (!this.handlers.has(event)) this.handlers.set(event, new Set());
    this.handlers.get(event).add(handler);
  }

  off(event, handler) {
    this.handlers.get(event)?.delete(handler);
  }

  emit(event, ...values) {
    for (const handler of [...(this.handlers.get(event) ?? [])]) handler(...values);
  }

  variantKey(values = {}) {
    return JSON.stringify(this.names.map((name) => values[name] ?? this.get(name)));
  }

  // Sets what Python would set for the values of these traits.
  save_changes() {
    for (const [name, value] of Object.entries(this.variants.get(this.variantKey()) ?? {})) {
      this.set(name, value);
    }
  }

  holds(values) {
    return this.variants.has(this.variantKey(values));
  }

  send({ id, asks }) {
    const found = asks.map((ask) => this.answers[requestKey(ask)]);
    const error = found.every(Boolean) ? undefined : "not in this file";
    const answers = error ? [] : found.map(({ facts }) => facts);
    const buffers = error ? [] : found.flatMap((one) => one.buffers.map(savedValue));
    setTimeout(() => this.emit("msg:custom", { id, answers, error }, buffers));
  }
}

function openSaved() {
  const saved = JSON.parse(document.getElementById("saved").textContent);
  render({ model: new SavedModel(saved), el: document.getElementById("view") });
}
