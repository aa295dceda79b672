// needs: dom, theme, colours, offsets
// A matrix of one-byte codes on a canvas, with labels on both sides, a cursor, zoom and pan.
// Rows and columns are counted in cells; an image may hold several cells in one pixel.
// With a `rowHeight` (pixels, from the number of rows) it zooms across only, and the labels of
// its columns stand upright; `over` draws on top, and `snap` says which cell a pointer means.
// `numbered` cells have round numbers on both sides until there is room for their labels.

const LABEL = "11px ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace";
const LABEL_STEP = 13;
const UPRIGHT_STEP = 30;
const MARGIN = { left: 96, top: 84, right: 8, bottom: 4 };

class HeatMatrix {
  constructor({
    name, touched, chosen, released, moved = () => {}, over = () => {}, snap = (cell) => cell,
    margin = () => MARGIN, rowHeight = null, numbered = false, signal,
  }) {
    Object.assign(this, {
      touched, chosen, released, moved, over, snap, margin, rowHeight, numbered, signal,
    });
    this.rows = this.columns = this.firstRow = 0;
    this.view = { x: 0, y: 0, share: 1 };
    this.rowLabels = this.columnLabels = [];
    this.rowLength = () => this.columns;
    this.scale = "log";
    this.images = new Map();
    this.marked = { row: -1, column: -1, pinnedRow: -1, pinnedColumn: -1 };
    this.canvas = make("canvas", {
      class: "lx-heat", tabindex: "0", role: "application",
      "aria-roledescription": "matrix", "aria-label": name,
    });
    this.name = name;
    this.pointers();
    listen(this.canvas, "keydown", (event) => this.press(event), signal);
    listen(this.canvas, "focus blur", () => this.draw(), signal);
    onResize(this.canvas, () => this.draw(), signal);
  }

  // The whole matrix in cells, its labels, how many keys a row may see, and the first row's number.
  shape({ rows, columns, rowLabels, columnLabels, rowLength, firstRow = 0 }) {
    Object.assign(this, { rows, columns, rowLabels, columnLabels, rowLength, firstRow });
    this.images.clear();
    this.fit();
  }

  // The share of the rows that is in view.
  get tall() {
    return this.rowHeight ? 1 : this.view.share;
  }

  // An image of some of the cells; later ones lie on top of those that are as deep, and on all
  // deeper ones. The same key replaces.
  put(key, {
    row = 0, column = 0, rows = this.rows, columns = this.columns, depth = 0, height, width, codes,
  }) {
    this.images.delete(key);
    const image = { row, column, rows, columns, depth, height, width, codes, canvas: make("canvas") };
    this.images.set(key, image);
    this.paint(image);
    this.draw();
  }

  setScale(scale) {
    if (scale === this.scale) return;
    this.scale = scale;
    for (const image of this.images.values()) this.paint(image);
    this.draw();
  }

  paint(image) {
    const { row, rows, height, canvas } = image;
    image.shrunk = null;
    paintCodes(canvas, image, this.scale,
      (y) => this.rowLength(Math.floor(row + ((y + 0.5) * rows) / height)));
  }

  // ------------------------------------------------------------------ what is in view

  fit() {
    this.view = { x: 0, y: 0, share: 1 };
    this.draw();
  }

  // Bring a stretch into view, all of it.
  show({ x, y, columns, rows }) {
    this.view = { x, y, share: Math.min(1, Math.max(columns / this.columns, rows / this.rows)) };
    this.settle();
  }

  // Bring a place to the middle, told in shares of the whole.
  centre(x, y) {
    this.view.x = (x - this.view.share / 2) * this.columns;
    this.view.y = (y - this.view.share / 2) * this.rows;
    this.settle();
  }

  zoom(factor, cell = null) {
    if (!this.rows) return;
    const { view } = this;
    const least = Math.min(1, 4 / (this.rowHeight ? this.columns : Math.max(this.rows, this.columns)));
    const share = clamp(view.share / factor, least, 1);
    const at = cell ?? {
      row: this.marked.row >= 0 ? this.marked.row + 0.5 : view.y + (this.rows * this.tall) / 2,
      column: this.marked.column >= 0
        ? this.marked.column + 0.5 : view.x + (this.columns * view.share) / 2,
    };
    // The cell stays where it is on the screen.
    view.x = at.column - (at.column - view.x) * (share / view.share);
    if (!this.rowHeight) view.y = at.row - (at.row - view.y) * (share / view.share);
    view.share = share;
    // A cell at the edge would stay there, half cut off.
    if (cell) this.settle();
    else this.reveal(Math.floor(at.row), Math.floor(at.column));
  }

  pan(columns, rows) {
    this.view.x += columns;
    this.view.y += rows;
    this.settle();
  }

  settle() {
    const { view } = this;
    view.x = clamp(view.x, 0, this.columns * (1 - view.share));
    view.y = clamp(view.y, 0, this.rows * (1 - this.tall));
    this.draw();
  }

  reveal(row, column) {
    const { view } = this;
    const across = this.columns * view.share;
    const down = this.rows * this.tall;
    if (column < view.x || column + 1 > view.x + across) view.x = column + 0.5 - across / 2;
    if (row < view.y || row + 1 > view.y + down) view.y = row + 0.5 - down / 2;
    this.settle();
  }

  mark(marked) {
    Object.assign(this.marked, marked);
    this.draw();
  }

  describe(text) {
    this.canvas.setAttribute("aria-label", text ? `${this.name}. ${text}` : this.name);
  }

  geometry() {
    const width = this.canvas.clientWidth;
    const { left, top, right, bottom, gutter = 0 } = this.margin(width);
    const side = Math.max(width - left - right, 1);
    const ratio = clamp(this.rows / this.columns || 1, 0.25, 1.5);
    const down = this.rowHeight ? this.rows * this.rowHeight(this.rows) : Math.round(side * ratio);
    return {
      width, side, down, left, top, bottom, gutter,
      across: side / (this.columns * this.view.share), along: down / (this.rows * this.tall),
      ...this.view,
    };
  }

  // ------------------------------------------------------------------ drawing

  draw() {
    // Many changes, one picture: the next time that the browser paints.
    if (this.frame || this.signal.aborted) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      if (!this.signal.aborted && this.rows && this.canvas.clientWidth) this.drawNow();
    });
  }

  drawNow() {
    const { canvas } = this;
    const at = this.geometry();
    const dense = window.devicePixelRatio || 1;
    const height = at.top + at.down + at.bottom;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(at.width * dense);
    canvas.height = Math.round(height * dense);
    const context = canvas.getContext("2d");
    const ink = inks(canvas);
    context.scale(dense, dense);
    const within = (margin, draw) => {
      context.save();
      context.beginPath();
      context.rect(at.left - margin, at.top - margin, at.side + 2 * margin, at.down + 2 * margin);
      context.clip();
      draw();
      context.restore();
    };
    within(0, () => this.drawCells(context, at, ink));
    context.strokeStyle = ink.line;
    context.strokeRect(at.left - 0.5, at.top - 0.5, at.side + 1, at.down + 1);
    // The frame of the last row, where a view begins, lies outside the cells.
    within(4, () => this.drawMarks(context, at, ink));
    this.drawLabels(context, at, ink);
    this.over(context, at, ink);
    this.moved(at);
  }

  drawCells(context, at, ink) {
    context.fillStyle = hatching(context, ink);
    context.fillRect(at.left, at.top, at.side, at.down);
    context.imageSmoothingEnabled = false;
    const dense = context.getTransform().a;
    for (const image of [...this.images.values()].sort((a, b) => b.depth - a.depth)) {
      const place = [at.left + (image.column - at.x) * at.across,
        at.top + (image.row - at.y) * at.along, image.columns * at.across, image.rows * at.along];
      if (place[2] * dense < image.width || place[3] * dense < image.height) {
        this.drawShrunk(context, image, place.map((edge) => edge * dense), at, dense);
      } else {
        context.drawImage(image.canvas, ...place);
      }
    }
  }

  // Of cells that share a pixel the brightest is drawn: skipping some would hide needles.
  drawShrunk(context, image, [left, top, wide, high], at, dense) {
    const spans = (start, size, cells, from, to) => {
      const found = [];
      const first = Math.max(Math.round(start), Math.floor(from));
      for (let pixel = first; pixel < Math.min(Math.round(start + size), Math.ceil(to)); pixel++) {
        const a = clamp(Math.floor(((pixel - start) / size) * cells), 0, cells - 1);
        found.push([a, clamp(Math.ceil(((pixel + 1 - start) / size) * cells), a + 1, cells)]);
      }
      return { first, found };
    };
    const across = spans(left, wide, image.width, at.left * dense, (at.left + at.side) * dense);
    const down = spans(top, high, image.height, at.top * dense, (at.top + at.down) * dense);
    const [width, height] = [across.found.length, down.found.length];
    if (!width || !height) return;
    const key = [left, top, wide, high, dense].join();
    if (image.shrunk?.key !== key) {
      const codes = new Uint8Array(width * height);
      down.found.forEach(([a, b], y) => across.found.forEach(([c, d], x) => {
        let most = 0;
        for (let row = a; row < b; row++) {
          for (let at = row * image.width + c; at < row * image.width + d; at++) {
            if (image.codes[at] > most) most = image.codes[at];
          }
        }
        codes[y * width + x] = most;
      }));
      const canvas = image.shrunk?.canvas ?? make("canvas");
      image.shrunk = { key, canvas };
      const pixelRow = (y) => (down.first + y + 0.5 - top) / high;
      paintCodes(canvas, { height, width, codes }, this.scale,
        (y) => this.rowLength(Math.floor(image.row + pixelRow(y) * image.rows)));
    }
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(image.shrunk.canvas, across.first, down.first);
    context.restore();
  }

  drawMarks(context, at, ink) {
    const { row, column, pinnedRow, pinnedColumn } = this.marked;
    const box = (r, c, wide, high, colour, width) => {
      const x = at.left + (c - at.x) * at.across;
      const y = at.top + (r - at.y) * at.along;
      context.strokeStyle = colour;
      context.lineWidth = width;
      // Around the cells, so that the frame hides none of a thin row.
      context.strokeRect(x - 2, y - 2, wide * at.across + 4, high * at.along + 4);
    };
    // Two lines, dark and light, show on every colour of the scale.
    const both = (r, c, wide, high) => {
      box(r, c, wide, high, "#000000", 4);
      box(r, c, wide, high, "#ffffff", 1.5);
    };
    if (pinnedRow >= 0) both(pinnedRow, 0, this.columns, 1);
    if (pinnedRow >= 0 && pinnedColumn >= 0) both(pinnedRow, pinnedColumn, 1, 1);
    if (row >= 0 && row !== pinnedRow) both(row, 0, this.columns, 1);
    if (row >= 0 && column >= 0) {
      box(row, column, 1, 1, "#000000", 4);
      box(row, column, 1, 1, ink.mark, 2.5);
    }
  }

  drawLabels(context, at, ink) {
    context.font = LABEL;
    context.textBaseline = "middle";
    if (this.numbered && at.along < LABEL_STEP) return this.drawNumbers(context, at, ink);
    const rows = places(at.y, this.rows * this.tall, at.along, this.rows, this.marked.row);
    for (const row of rows) {
      const strong = row === this.marked.row;
      context.save();
      context.translate(at.left - 5, at.top + (row + 0.5 - at.y) * at.along);
      label(context, this.rowLabels[row], at.left - 10 - at.gutter, "right", strong, ink);
      context.restore();
    }
    const columns = places(at.x, this.columns * at.share, at.across, this.columns,
      this.marked.column, this.rowHeight ? UPRIGHT_STEP : LABEL_STEP);
    for (const column of columns) {
      const strong = column === this.marked.column;
      context.save();
      context.translate(at.left + (column + 0.5 - at.x) * at.across, at.top - 5);
      if (this.rowHeight) context.translate(0, -14);
      else context.rotate(-Math.PI / 2);
      const room = this.rowHeight ? Math.max(UPRIGHT_STEP, at.across - 6) : at.top - 10;
      label(context, this.columnLabels[column], room,
        this.rowHeight ? "center" : "left", strong, ink);
      context.restore();
    }
  }

  drawNumbers(context, at, ink) {
    context.fillStyle = ink.dim;
    context.textAlign = "left";
    context.fillText("keys →", at.left, at.top - 30);
    context.textAlign = "right";
    context.fillText("queries ↓", at.left - 6, at.top - 30);
    const sides = [[at.y, this.rows * this.tall, at.along, this.rows, 2 * LABEL_STEP, this.firstRow],
      [at.x, this.columns * at.share, at.across, this.columns, 2 * UPRIGHT_STEP, 0]];
    sides.forEach(([start, count, size, total, room, first], across) => {
      const step = roundNumber(Math.max(1, Math.ceil(room / size)));
      for (let number = Math.ceil((start + first) / step) * step; ; number += step) {
        const place = (number - first + 0.5 - start) * size;
        if (number - first >= total || place > count * size) break;
        context.textAlign = across ? "center" : "right";
        const [x, y] = across ? [at.left + place, at.top - 10] : [at.left - 6, at.top + place];
        context.fillText(number.toLocaleString("en"), x, y);
      }
    });
  }

  // ------------------------------------------------------------------ pointer and keys

  cellAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = this.geometry();
    const column = at.x + (event.clientX - box.left - at.left) / at.across;
    const row = at.y + (event.clientY - box.top - at.top) / at.along;
    const inside = column >= at.x && row >= at.y && column < at.x + this.columns * at.share
      && row < at.y + this.rows * this.tall;
    return { row, column, inside };
  }

  pointed(row, column) {
    return this.snap({ row: Math.floor(row), column: Math.floor(column) });
  }

  pointers() {
    const { canvas, signal } = this;
    let from = null;
    listen(canvas, "pointerdown", (event) => {
      if (event.button !== 0) return;
      from = { x: event.clientX, y: event.clientY, dragged: false };
    }, signal);
    listen(canvas, "pointermove", (event) => {
      if (!event.buttons) from = null;  // it was let go outside
      if (from && this.view.share < 1) {
        const [dx, dy] = [event.clientX - from.x, event.clientY - from.y];
        if (from.dragged || Math.hypot(dx, dy) > 4) {
          const at = this.geometry();
          if (!from.dragged) canvas.setPointerCapture(event.pointerId);
          from = { x: event.clientX, y: event.clientY, dragged: true };
          this.pan(-dx / at.across, -dy / at.along);
          return;
        }
      }
      const { row, column, inside } = this.cellAt(event);
      this.touched(inside ? this.pointed(row, column) : null);
    }, signal);
    listen(canvas, "pointerup", (event) => {
      if (event.button !== 0) return;
      const { row, column, inside } = this.cellAt(event);
      if (from && !from.dragged && inside) {
        this.chosen(this.pointed(row, column));
      }
      from = null;
    }, signal);
    listen(canvas, "pointercancel", () => { from = null; }, signal);
    listen(canvas, "pointerleave", () => {
      if (!from?.dragged) this.touched(null);
    }, signal);
    // Without a modifier the wheel scrolls the page, as the reader expects.
    listen(canvas, "wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 200), this.cellAt(event));
    }, signal, { passive: false });
  }

  press(event) {
    if (!this.rows || event.ctrlKey || event.metaKey || event.altKey) return;
    const { row, column } = this.marked;
    const from = { row: Math.max(row, 0), column: Math.max(column, 0) };
    const last = { row: this.rows - 1, column: this.columns - 1 };
    const page = Math.max(1, Math.round((this.rows * this.tall) / 8));
    const to = {
      ArrowUp: { row: from.row - 1 }, ArrowDown: { row: from.row + 1 },
      ArrowLeft: { column: from.column - 1 }, ArrowRight: { column: from.column + 1 },
      PageUp: { row: from.row - page }, PageDown: { row: from.row + page },
      Home: { column: 0 }, End: { column: last.column },
    }[event.key];
    if (to) {
      const cell = row < 0 ? from : {
        row: clamp(to.row ?? from.row, 0, last.row),
        column: clamp(to.column ?? from.column, 0, last.column),
      };
      this.touched(cell);
      this.reveal(cell.row, cell.column);
    } else if (event.key === "Enter" || event.key === " ") {
      this.chosen(from);
    } else if (event.key === "Escape") {
      this.released();
    } else if (event.key === "+" || event.key === "=") {
      this.zoom(1.5);
    } else if (event.key === "-") {
      this.zoom(1 / 1.5);
    } else if (event.key === "0") {
      this.fit();
    } else {
      return;
    }
    event.preventDefault();
  }
}

// The pattern of cells that a query must not see: no colour of any scale.
function hatching(context, ink) {
  const tile = make("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  pen.fillStyle = ink.paper;
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = ink.line;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const shift of [-8, 0, 8]) {
    pen.moveTo(shift - 1, 9);
    pen.lineTo(shift + 9, -1);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}

// The cells that get a label: as many as fit, the marked one always, none under another.
function places(start, count, size, total, marked, room = LABEL_STEP) {
  const least = Math.max(1, Math.ceil(room / size));
  const step = room === LABEL_STEP ? least : roundNumber(least);
  const from = Math.floor(start);
  const to = Math.min(total, Math.ceil(start + count));
  const seen = marked >= from && marked < to;
  const found = [];
  for (let place = Math.ceil(from / step) * step; place < to; place += step) {
    if (place + 0.5 < start || place + 0.5 > start + count) continue;
    if (seen && place !== marked && Math.abs(place - marked) * size < room) continue;
    if (place !== marked) found.push(place);
  }
  return seen ? [...found, marked] : found;
}

// The least of 1, 2, 5, 10, 20, ... that is no less.
function roundNumber(least) {
  const ten = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((times) => times * ten).find((number) => number >= least);
}

function label(context, text, room, align, strong, ink) {
  context.textAlign = align;
  context.fillStyle = strong ? ink.mark : ink.ink;
  if (strong) context.font = `bold ${LABEL}`;
  let shown = visible(text ?? "");
  while (shown.length > 1 && context.measureText(shown).width > room) {
    shown = `${[...shown].slice(0, shown.endsWith("…") ? -2 : -1).join("")}…`;
  }
  context.fillText(shown, 0, 0);
}
