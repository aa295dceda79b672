// needs: dom
// One selection for all parts: layer, head, query and key, or query and block, or sender and
// receiver. What is chosen lies in traits, so that Python and other views share it; what the
// pointer or the cursor touches stays here.

const CELL = ["query", "key", "block", "sender", "receiver"];
const SELECTED = ["layer", "head", ...CELL];
const NONE = -1;

class Selection {
  constructor(model, changed, signal) {
    this.model = model;
    this.changed = changed;
    this.touched = null;
    // Several traits may change at once; the parts are told once.
    this.waiting = false;
    follow(model, SELECTED.map((name) => `change:${name}`), () => this.tell(), signal);
    // What Python or another view chooses is shown, wherever the pointer rests.
    follow(model, CELL.map((name) => `change:${name}`), () => { this.touched = null; }, signal);
  }

  get(name) {
    return this.model.get(name);
  }

  // What to show: the touched one, else the chosen one; NONE where there is none.
  at(name) {
    return this.touched ? this.touched[name] : this.get(name);
  }

  get query() {
    return this.at("query");
  }

  get key() {
    return this.at("key");
  }

  get block() {
    return this.at("block");
  }

  get sender() {
    return this.at("sender");
  }

  get receiver() {
    return this.at("receiver");
  }

  touch(cell) {
    const before = this.touched;
    if (CELL.every((name) => before?.[name] === cell?.[name])) return;
    this.touched = cell;
    this.tell();
  }

  choose(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
    this.tell();
  }

  release() {
    this.choose({ query: NONE, key: NONE });
  }

  tell() {
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      this.changed();
    });
  }
}
