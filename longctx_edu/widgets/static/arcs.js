// needs: dom, theme
// Two lists with arcs between them, as wide and as dark as the mass from the one to the other.
// Each list is one stop for Tab, with arrows inside; pointing at an arc points at both its ends.

const ARC_WIDTH = 9;
const LEAST_ARC = 0.004;

class Arcs {
  // `touched` and `chosen` get {from, to}: what is pointed at, null for nothing; `to` or `from`
  // is undefined where only one end is meant.
  constructor({ name, fromName, toName, touched, chosen, released, signal }) {
    Object.assign(this, { touched, chosen, released, signal, froms: [], tos: [], marked: {} });
    this.canvas = make("canvas", { class: "lx-lines", "aria-hidden": "true" });
    this.left = this.list("from", fromName);
    this.right = this.list("to", toName);
    this.element = make("div", { class: "lx-arcs", role: "group", "aria-label": name },
      this.left, make("div", { class: "lx-between" }, this.canvas), this.right);
    listen(this.canvas, "pointermove", (event) => {
      const arc = this.arcAt(event);
      this.touched(arc && { from: arc.from.id, to: arc.to.id });
    }, signal);
    listen(this.canvas, "pointerleave", () => this.touched(null), signal);
    listen(this.canvas, "click", (event) => {
      const arc = this.arcAt(event);
      if (arc) this.chosen({ from: arc.from.id, to: arc.to.id });
    }, signal);
    onResize(this.element, () => this.draw(), signal);
  }

  list(side, name) {
    const { signal } = this;
    const list = make("div", { class: `lx-${side}s`, role: "listbox", "aria-label": name });
    const end = (event) => {
      const option = event.target.closest("[role=option]");
      return option && { [side]: Number(option.dataset.end) };
    };
    listen(list, "pointerover focusin", (event) => this.touched(end(event)), signal);
    listen(list, "pointerleave", () => this.touched(null), signal);
    listen(list, "focusout", (event) => {
      if (!list.contains(event.relatedTarget)) this.touched(null);
    }, signal);
    listen(list, "click", (event) => end(event) && this.chosen(end(event)), signal);
    listen(list, "keydown", (event) => {
      const all = [...list.children];
      const at = all.indexOf(event.target);
      const to = {
        ArrowDown: at + 1, ArrowUp: at - 1, ArrowRight: at + 1, ArrowLeft: at - 1,
        Home: 0, End: all.length - 1,
      }[event.key];
      if (to !== undefined) {
        const next = all[clamp(to, 0, all.length - 1)];
        all.forEach((one) => { one.tabIndex = one === next ? 0 : -1; });
        next.focus();
      } else if (event.key === "Enter" || event.key === " ") {
        this.chosen(end(event));
      } else if (event.key === "Escape") {
        this.released();
      } else {
        return;
      }
      event.preventDefault();
    }, signal);
    return list;
  }

  // Both ends as {id, name, note, text, share}, and the mass between two of them; `most` is the
  // mass of the widest arc, without it the largest that there is. A share is drawn as a bar.
  show({ froms, tos, mass, rest, most }) {
    const option = (one, n) => {
      const element = make("div", {
        role: "option", tabindex: n ? -1 : 0, "data-end": one.id, title: one.title,
      }, make("span", { class: "lx-end", text: one.name }),
      make("span", { class: "lx-numbers", text: one.note }),
      ...(one.share === undefined ? [] : [make("span", { class: "lx-share" })]),
      ...(one.text === undefined ? [] : [make("span", { class: "lx-gist", text: one.text })]));
      const bar = element.querySelector(".lx-share");
      if (bar) bar.style.width = `${100 * clamp(one.share, 0, 1)}%`;
      return { ...one, element };
    };
    this.froms = froms.map(option);
    this.tos = tos.map(option);
    this.left.replaceChildren(...this.froms.map(({ element }) => element));
    this.right.replaceChildren(...this.tos.map(({ element }) => element), ...(rest
      ? [make("p", { class: "lx-numbers", text: rest })] : []));
    const arcs = this.froms.flatMap((from) => this.tos.map((to) =>
      ({ from, to, mass: mass(from.id, to.id) })));
    const widest = most ?? Math.max(...arcs.map((arc) => arc.mass), Number.MIN_VALUE);
    this.arcs = arcs.map((arc) => ({ ...arc, share: arc.mass / widest }))
      .filter(({ share }) => share > LEAST_ARC);
    this.draw();
  }

  mark(marked) {
    this.marked = marked;
    const { from, to } = marked;
    for (const [ends, id] of [[this.froms, from], [this.tos, to]]) {
      for (const one of ends) one.element.setAttribute("aria-selected", String(one.id === id));
    }
    this.draw();
  }

  draw() {
    if (this.frame || this.signal.aborted) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      if (!this.signal.aborted && this.arcs && this.canvas.clientWidth) this.drawNow();
    });
  }

  drawNow() {
    const { canvas } = this;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const dense = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * dense);
    canvas.height = Math.round(height * dense);
    const context = canvas.getContext("2d");
    context.scale(dense, dense);
    const ink = inks(canvas);
    const top = canvas.getBoundingClientRect().top;
    const middle = ({ element }) => {
      const box = element.getBoundingClientRect();
      return (box.top + box.bottom) / 2 - top;
    };
    const places = new Map([...this.froms, ...this.tos].map((one) => [one, middle(one)]));
    const { from, to } = this.marked;
    const ends = (list, id) => list.some((one) => one.id === id);
    // An end that is not in the lists hides no arc of the other.
    const [wantsFrom, wantsTo] = [ends(this.froms, from), ends(this.tos, to)];
    const strong = (arc) => (wantsFrom || wantsTo)
      && (!wantsFrom || arc.from.id === from) && (!wantsTo || arc.to.id === to);
    for (const arc of this.arcs) {
      const [y, z] = [places.get(arc.from), places.get(arc.to)];
      arc.path = new Path2D();
      arc.path.moveTo(0, y);
      arc.path.bezierCurveTo(width / 2, y, width / 2, z, width, z);
    }
    const paint = (arc, colour, alpha) => {
      context.strokeStyle = colour;
      context.globalAlpha = alpha;
      context.lineWidth = Math.max(0.8, ARC_WIDTH * arc.share);
      context.stroke(arc.path);
    };
    const chosen = this.arcs.filter(strong);
    for (const arc of this.arcs) {
      if (!chosen.length) paint(arc, ink.focus, 0.2 + 0.65 * arc.share);
      else if (!strong(arc)) paint(arc, ink.dim, 0.1 + 0.2 * arc.share);
    }
    for (const arc of chosen) paint(arc, ink.mark, 0.45 + 0.55 * arc.share);
  }

  arcAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const context = this.canvas.getContext("2d");
    context.save();
    context.resetTransform();
    const under = (this.arcs ?? []).filter((arc) => {
      context.lineWidth = Math.max(7, ARC_WIDTH * arc.share);
      return arc.path && context.isPointInStroke(arc.path, x, y);
    });
    context.restore();
    return under.sort((a, b) => b.share - a.share)[0] ?? null;
  }
}
