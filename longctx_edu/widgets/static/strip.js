// needs: dom, theme, colours
// One row of weights as bars, under the matrix and in step with its columns. A gap in a bar says
// that its weight is above the scale.

const STRIP_HEIGHT = 64;

class RowStrip {
  constructor({ name, label = "row", signal }) {
    Object.assign(this, { label, signal });
    this.canvas = make("canvas", { class: "lx-strip", role: "img", "aria-label": name });
    this.name = name;
    this.weights = new Float32Array(0);
  }

  // The weights of all keys, how many of them the query may see, and the key to point out.
  show({ weights, length, scale, marked, text }) {
    Object.assign(this, { weights, length, scale, marked });
    this.canvas.setAttribute("aria-label", text);
    if (this.at) this.draw(this.at);
  }

  // `at` is the geometry of the matrix above.
  draw(at) {
    this.at = at;
    const { canvas, weights } = this;
    const dense = window.devicePixelRatio || 1;
    canvas.style.height = `${STRIP_HEIGHT}px`;
    canvas.width = Math.round(at.width * dense);
    canvas.height = STRIP_HEIGHT * dense;
    const context = canvas.getContext("2d");
    const ink = inks(canvas);
    context.scale(dense, dense);
    const floor = STRIP_HEIGHT - 6;
    const room = floor - 6;
    context.fillStyle = ink.dim;
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    context.textAlign = "right";
    context.textBaseline = "middle";
    if (weights.length) context.fillText(this.label, at.left - 8, floor - room / 2);
    context.save();
    context.beginPath();
    context.rect(at.left, 0, at.side, STRIP_HEIGHT);
    context.clip();
    // Never thinner than a pixel: of keys that share one, the largest weight is drawn.
    const step = Math.max(1, Math.ceil(1 / at.across));
    const first = Math.floor(at.x / step) * step;
    for (let key = first; key < Math.min(weights.length, at.x + at.side / at.across); key += step) {
      let weight = 0;
      for (let one = key; one < Math.min(key + step, weights.length); one++) {
        weight = Math.max(weight, weights[one]);
      }
      const high = room * shareOf(weight, this.scale, this.length);
      const here = this.marked >= key && this.marked < key + step;
      context.fillStyle = here ? ink.mark : ink.dim;
      const wide = Math.max(at.across * step - (at.across > 4 ? 1 : 0), 1);
      if (weight > 0) context.fillRect(at.left + (key - at.x) * at.across, floor - high, wide, high);
      if (weight > 1.01) context.clearRect(at.left + (key - at.x) * at.across, floor - high + 7, wide, 3);
    }
    context.restore();
    context.strokeStyle = ink.line;
    context.beginPath();
    context.moveTo(at.left, floor + 0.5);
    context.lineTo(at.left + at.side, floor + 0.5);
    context.stroke();
  }
}
