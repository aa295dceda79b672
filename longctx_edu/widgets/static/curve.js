// needs: dom, theme
// A line over numbers that double, from nothing to all, with one of them pointed out.

const CURVE = { height: 190, left: 52, right: 14, top: 14, bottom: 42 };
const CURVE_FONT = "12px system-ui, 'DejaVu Sans', sans-serif";

class Curve {
  constructor({ signal }) {
    this.signal = signal;
    this.canvas = make("canvas", { class: "lx-curve", role: "img" });
    this.points = [];
    onResize(this.canvas, () => this.draw(), signal);
  }

  // `points` are [number, share]; `now` is the number to point out, or null; `across` and `up` name axes.
  show({ points, now, across, up }) {
    const sorted = [...points].sort((a, b) => a[0] - b[0]);
    Object.assign(this, { points: sorted, now, across, up });
    const share = shareAt(sorted, now);
    this.canvas.setAttribute("aria-label", `${up} over ${across}: `
      + `${sorted.map(([n, s]) => `${n}: ${percent(s)}`).join(", ")}`
      + (share === null ? "" : `; now ${now}: ${percent(share)}`));
    this.draw();
  }

  draw() {
    const { canvas, points } = this;
    if (this.signal.aborted || !points.length || !canvas.clientWidth) return;
    const width = canvas.clientWidth;
    const dense = window.devicePixelRatio || 1;
    canvas.style.height = `${CURVE.height}px`;
    canvas.width = Math.round(width * dense);
    canvas.height = CURVE.height * dense;
    const context = canvas.getContext("2d");
    context.scale(dense, dense);
    const ink = inks(canvas);
    const [side, tall] = [width - CURVE.left - CURVE.right, CURVE.height - CURVE.top - CURVE.bottom];
    const numbers = [...points.map(([number]) => number), this.now ?? points[0][0]];
    const least = Math.log2(Math.max(Math.min(...numbers), 1));
    const span = Math.max(Math.log2(Math.max(...numbers)) - least, 1);
    const x = (number) => CURVE.left + (side * (Math.log2(Math.max(number, 1)) - least)) / span;
    const y = (share) => CURVE.top + tall * (1 - share);
    context.font = CURVE_FONT;
    context.lineWidth = 1;
    const line = (colour, ...places) => {
      context.strokeStyle = colour;
      context.beginPath();
      places.forEach(([a, b], n) => (n ? context.lineTo(a, b) : context.moveTo(a, b)));
      context.stroke();
    };
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillStyle = ink.dim;
    for (const share of [0, 0.5, 1]) {
      line(ink.line, [CURVE.left, y(share) + 0.5], [width - CURVE.right, y(share) + 0.5]);
      context.fillText(percent(share), CURVE.left - 6, y(share));
    }
    context.textAlign = "center";
    let reached = -Infinity;
    for (const [number] of points) {
      if (x(number) - reached < 34) continue;
      reached = x(number);
      context.fillText(String(number), reached, y(0) + 12);
    }
    context.fillText(this.across, CURVE.left + side / 2, CURVE.height - 9);
    context.lineWidth = 2.5;
    line(ink.focus, ...points.map(([number, share]) => [x(number), y(share)]));
    const dot = (a, b, radius, colour) => {
      context.fillStyle = colour;
      context.beginPath();
      context.arc(a, b, radius, 0, 2 * Math.PI);
      context.fill();
    };
    for (const [number, share] of points) dot(x(number), y(share), 3, ink.focus);
    const share = shareAt(points, this.now);
    if (share === null) return;
    const [a, b] = [x(this.now), y(share)];
    context.lineWidth = 1.5;
    context.setLineDash([4, 3]);
    line(ink.mark, [a, y(0)], [a, y(1)]);
    context.setLineDash([]);
    dot(a, b, 5, ink.mark);
    // The words stand where the line, which rises, leaves room.
    const words = `${this.now}: ${percent(share)}`;
    const room = context.measureText(words).width + 10;
    const right = a + room < width - CURVE.right;
    context.font = `bold ${CURVE_FONT}`;
    context.textAlign = right ? "left" : "right";
    context.fillStyle = ink.paper;
    const [from, at] = [right ? a + 8 : a - 8, right ? Math.min(b + 14, y(0) - 9) : Math.max(b - 14, 9)];
    context.fillRect(right ? from - 2 : from - room, at - 9, room + 2, 18);
    context.fillStyle = ink.mark;
    context.fillText(words, from, at);
  }
}

function percent(share) {
  return share > 0 && share < 0.0995 ? `${(100 * share).toFixed(1)} %` : `${Math.round(100 * share)} %`;
}

// The share at a number, in between on the same straight line that is drawn.
function shareAt(points, number) {
  const after = points.findIndex(([one]) => number !== null && one >= number);
  if (after < 0 || number === null) return null;
  const [high, top] = points[after];
  if (high === number || after === 0) return high === number ? top : null;
  const [low, bottom] = points[after - 1];
  return bottom + ((top - bottom) * Math.log2(number / low)) / Math.log2(high / low);
}
