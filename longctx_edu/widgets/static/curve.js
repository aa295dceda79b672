// needs: dom, theme
// Lines over numbers that double: shares from nothing to all, or amounts by their powers of
// ten, and places on them pointed out.

const CURVE = { left: 52, right: 14, top: 14, bottom: 42 };
const CURVE_FONT = "12px system-ui, 'DejaVu Sans', sans-serif";
const SHARES = { ticks: [0, 0.5, 1], place: (share) => share, write: percent };

class Curve {
  constructor({ signal, height = 190 }) {
    Object.assign(this, { signal, height, lines: [] });
    this.canvas = make("canvas", { class: "lx-curve", role: "img" });
    onResize(this.canvas, () => this.draw(), signal);
  }

  // `points` are [number, share]; `now` is the number to point out, or null; `across` and `up` name axes.
  show({ points, now, across, up }) {
    const sorted = [...points].sort((a, b) => a[0] - b[0]);
    const share = shareAt(sorted, now);
    const words = share === null ? "" : `${now}: ${percent(share)}`;
    this.take({
      lines: [{ points: sorted, ink: "focus", dots: true }], scale: SHARES, across,
      marks: now === null ? [] : [share === null ? { number: now } : { number: now, value: share, words, upright: true }],
      words: `${up} over ${across}: ${sorted.map(([n, s]) => `${n}: ${percent(s)}`).join(", ")}`
        + (words && `; now ${words}`),
    });
  }

  // `lines` are {points, ink, dash, dots}, all over the same numbers; `marks` are places to point
  // out, {number, value, words, upright}; `words` say the whole to who cannot see it.
  showAmounts({ lines, marks, across, write, words }) {
    this.take({ lines, marks, across, words, scale: powersOfTen(lines, write) });
  }

  take(given) {
    Object.assign(this, given);
    this.canvas.setAttribute("aria-label", this.words);
    this.draw();
  }

  draw() {
    const { canvas, lines, marks, scale, height } = this;
    if (this.signal.aborted || !lines[0]?.points.length || !canvas.clientWidth) return;
    const width = canvas.clientWidth;
    const dense = window.devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * dense);
    canvas.height = height * dense;
    const context = canvas.getContext("2d");
    context.scale(dense, dense);
    const ink = inks(canvas);
    context.font = CURVE_FONT;
    const ticks = scale.ticks.map((value) => [value, scale.write(value)]);
    const left = Math.max(CURVE.left, ...ticks.map(([, text]) => context.measureText(text).width + 12));
    const labels = lines[0].points.map(([number]) => [number, number.toLocaleString("en")]);
    const wide = (text) => context.measureText(text).width;
    const right = Math.max(CURVE.right, wide(labels.at(-1)[1]) / 2);
    const [side, floor] = [width - left - right, height - CURVE.bottom];
    const numbers = [...lines[0].points, ...marks.map(({ number }) => [number])].map(([number]) => number);
    const least = Math.log2(Math.max(Math.min(...numbers), 1));
    const span = Math.max(Math.log2(Math.max(...numbers)) - least, 1);
    const x = (number) => left + (side * (Math.log2(Math.max(number, 1)) - least)) / span;
    const y = (value) => floor - (floor - CURVE.top) * scale.place(value);
    const line = (colour, ...places) => {
      context.strokeStyle = colour;
      context.beginPath();
      places.forEach(([a, b], n) => (n ? context.lineTo(a, b) : context.moveTo(a, b)));
      context.stroke();
    };
    const dot = (a, b, radius, colour) => {
      context.fillStyle = colour;
      context.beginPath();
      context.arc(a, b, radius, 0, 2 * Math.PI);
      context.fill();
    };
    context.lineWidth = 1;
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillStyle = ink.dim;
    for (const [value, text] of ticks) {
      line(ink.line, [left, y(value) + 0.5], [left + side, y(value) + 0.5]);
      context.fillText(text, left - 6, y(value));
    }
    context.textAlign = "center";
    // Every label, or every second, or third: as many as have room.
    const apart = (some) => some.every(([number, text], n) => n === 0
      || x(number) - x(some[n - 1][0]) > (wide(text) + wide(some[n - 1][1])) / 2 + 8);
    const every = (step) => labels.filter((_, n) => (labels.length - 1 - n) % step === 0);
    let step = 1;
    while (step < labels.length && !apart(every(step))) step++;
    for (const [number, text] of every(step)) context.fillText(text, x(number), floor + 12);
    context.fillText(this.across, left + side / 2, height - 9);
    for (const { points, ink: name, dash = [], dots } of lines) {
      context.lineWidth = 2.5;
      context.setLineDash(dash);
      line(ink[name], ...points.map(([number, value]) => [x(number), y(value)]));
      context.setLineDash([]);
      if (dots) for (const [number, value] of points) dot(x(number), y(value), 3, ink[name]);
    }
    for (const { number, value, words, upright } of marks) {
      const [a, b] = [x(number), value === undefined ? floor : y(value)];
      if (upright) {
        context.lineWidth = 1.5;
        context.setLineDash([4, 3]);
        line(words ? ink.mark : ink.dim, [a, floor], [a, CURVE.top]);
        context.setLineDash([]);
      }
      if (!words) continue;
      dot(a, b, 5, ink.mark);
      // The words stand where the line, which rises, leaves room.
      context.font = `bold ${CURVE_FONT}`;
      const room = context.measureText(words).width + 10;
      const after = a + room < left + side;
      context.textAlign = after ? "left" : "right";
      context.fillStyle = ink.paper;
      const [from, at] = [after ? a + 8 : a - 8, after ? Math.min(b + 14, floor - 9) : Math.max(b - 14, 9)];
      context.fillRect(after ? from - 2 : from - room, at - 9, room + 2, 18);
      context.fillStyle = ink.mark;
      context.fillText(words, from, at);
    }
  }
}

// From the power of ten below the least amount to the one above the largest.
function powersOfTen(lines, write) {
  const amounts = lines.flatMap(({ points }) => points.map(([, amount]) => amount)).filter((one) => one > 0);
  const low = Math.floor(Math.log10(Math.min(...amounts)));
  const high = Math.max(Math.ceil(Math.log10(Math.max(...amounts))), low + 1);
  const step = Math.ceil((high - low) / 5);
  const ticks = Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, n) => 10 ** (low + n * step));
  return { ticks, write, place: (amount) => clamp((Math.log10(Math.max(amount, 1e-300)) - low) / (high - low), 0, 1) };
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
