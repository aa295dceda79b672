// needs: dom, theme, colours
// Small pictures of all heads on one canvas: layers across and heads down, or, where that is too
// wide, the other way round; or in an order of their own. Arrows move from picture to picture.

const PICTURE = 64;          // pixels of a picture in the sheet
const LARGEST_PICTURE = 72;  // and on the screen
const LEAST_PICTURE = 17;
const GRID_LEFT = 26;
const GRID_TOP = 16;

class HeadGrid {
  constructor({ name, chosen, touched, signal }) {
    Object.assign(this, { name, chosen, touched, signal });
    this.layers = this.heads = 0;
    this.marked = [0, 0];
    this.ranking = null;
    this.pictures = new Map();
    this.sheet = make("canvas");
    this.canvas = make("canvas", {
      class: "lx-grid", tabindex: "0", role: "application",
      "aria-roledescription": "grid of heads", "aria-label": name,
    });
    listen(this.canvas, "keydown", (event) => this.press(event), signal);
    listen(this.canvas, "focus blur", () => this.draw(), signal);
    listen(this.canvas, "pointermove", (event) => this.touched(this.headAt(event)), signal);
    listen(this.canvas, "pointerleave", () => this.touched(null), signal);
    listen(this.canvas, "click", (event) => {
      const found = this.headAt(event);
      if (found) this.chosen(found);
    }, signal);
    onResize(this.canvas, () => this.draw(), signal);
  }

  shape(layers, heads) {
    Object.assign(this, { layers, heads });
    this.sheet.width = layers * PICTURE;
    this.sheet.height = heads * PICTURE;
    this.clear();
  }

  clear() {
    this.pictures.clear();
    this.sheet.getContext("2d").clearRect(0, 0, this.sheet.width, this.sheet.height);
    this.draw();
  }

  // A picture of codes; `lengthAt` is the row length at one of its rows.
  put(layer, head, picture) {
    this.pictures.set(`${layer}/${head}`, { layer, head, ...picture });
    this.paint(this.pictures.get(`${layer}/${head}`));
    this.draw();
  }

  setScale(scale) {
    if (scale === this.scale) return;
    this.scale = scale;
    for (const picture of this.pictures.values()) this.paint(picture);
    this.draw();
  }

  paint(picture) {
    const canvas = make("canvas");
    paintCodes(canvas, picture, this.scale, picture.lengthAt);
    const pen = this.sheet.getContext("2d");
    const [x, y] = [picture.layer * PICTURE, picture.head * PICTURE];
    pen.clearRect(x, y, PICTURE, PICTURE);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(canvas, x, y, PICTURE, PICTURE);
  }

  // The heads in an order, [layer, head] each; null for the order of the model.
  rank(ranking) {
    this.ranking = ranking;
    this.draw();
  }

  mark(layer, head) {
    this.isAway ||= `${layer}/${head}` !== this.marked.join("/");
    this.marked = [layer, head];
    this.draw();
  }

  // What was put for a head, if anything.
  picture({ layer, head }) {
    return this.pictures.get(`${layer}/${head}`);
  }

  describe(text) {
    this.canvas.setAttribute("aria-label", `${this.name}. ${text}`);
  }

  geometry() {
    const width = this.canvas.clientWidth;
    const fits = (count) => Math.floor((width - GRID_LEFT) / count);
    const across = fits(this.layers) >= LEAST_PICTURE || this.layers <= this.heads;
    const columns = across ? this.layers : this.heads;
    const rows = across ? this.heads : this.layers;
    const size = clamp(fits(columns), 8, across ? LARGEST_PICTURE : 40);
    return { width, across, columns, rows, size };
  }

  // The head in a place, counted row by row, and the place of a head.
  headIn(place, { across, columns, rows }) {
    if (place < 0 || place >= columns * rows) return null;
    if (this.ranking) return this.ranking[place];
    const [row, column] = [Math.floor(place / columns), place % columns];
    return across ? [column, row] : [row, column];
  }

  placeOf([layer, head], { across, columns }) {
    if (this.ranking) return this.ranking.findIndex(([l, h]) => l === layer && h === head);
    return across ? head * columns + layer : layer * columns + head;
  }

  headAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const at = this.geometry();
    const column = Math.floor((event.clientX - box.left - GRID_LEFT) / at.size);
    const row = Math.floor((event.clientY - box.top - GRID_TOP) / at.size);
    return column >= 0 && column < at.columns && row >= 0
      ? this.headIn(row * at.columns + column, at) : null;
  }

  draw() {
    if (this.frame || this.signal.aborted) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = null;
      if (!this.signal.aborted && this.layers && this.canvas.clientWidth) this.drawNow();
    });
  }

  drawNow() {
    const { canvas, marked } = this;
    const at = this.geometry();
    const dense = window.devicePixelRatio || 1;
    const height = GRID_TOP + at.rows * at.size + 4;
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(at.width * dense);
    canvas.height = Math.round(height * dense);
    const pen = canvas.getContext("2d");
    const ink = inks(canvas);
    pen.scale(dense, dense);
    pen.imageSmoothingQuality = "high";
    const inner = at.size - (at.size > 14 ? 2 : 1);
    for (let place = 0; place < at.columns * at.rows; place++) {
      const [layer, head] = this.headIn(place, at);
      const x = GRID_LEFT + (place % at.columns) * at.size;
      const y = GRID_TOP + Math.floor(place / at.columns) * at.size;
      pen.fillStyle = ink.field;
      pen.fillRect(x, y, inner, inner);
      pen.drawImage(this.sheet, layer * PICTURE, head * PICTURE, PICTURE, PICTURE, x, y, inner, inner);
      if (layer === marked[0] && head === marked[1]) {
        for (const [colour, wide] of [["#000000", 5], [ink.mark, 3]]) {
          pen.strokeStyle = colour;
          pen.lineWidth = wide;
          pen.strokeRect(x - 1, y - 1, inner + 2, inner + 2);
        }
      }
    }
    this.drawNumbers(pen, at, ink);
    if (!this.isAway) return;
    // Where the grid is higher than its box.
    const box = canvas.parentElement;
    const top = GRID_TOP + Math.floor(this.placeOf(marked, at) / at.columns) * at.size;
    box.scrollTop = clamp(box.scrollTop, top + at.size - box.clientHeight, top - GRID_TOP);
    this.isAway = false;
  }

  drawNumbers(pen, at, ink) {
    pen.fillStyle = ink.dim;
    pen.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    pen.textBaseline = "middle";
    const number = (n, x, y, align) => {
      pen.textAlign = align;
      pen.fillText(String(n), x, y);
    };
    const every = (room) => Math.max(1, Math.ceil(room / at.size));
    for (let n = 0; n < at.columns && !this.ranking; n += every(18)) {
      number(n, GRID_LEFT + (n + 0.45) * at.size, GRID_TOP - 8, "center");
    }
    for (let n = 0; n < at.rows; n += every(13)) {
      const rank = this.ranking ? n * at.columns + 1 : n;
      number(rank, GRID_LEFT - 5, GRID_TOP + (n + 0.45) * at.size, "right");
    }
  }

  press(event) {
    if (!this.layers || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.geometry();
    const place = this.placeOf(this.marked, at);
    const to = {
      ArrowLeft: place % at.columns ? place - 1 : place, ArrowUp: place - at.columns,
      ArrowRight: (place + 1) % at.columns ? place + 1 : place, ArrowDown: place + at.columns,
      Home: 0, End: at.columns * at.rows - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const found = this.headIn(to, at);
    if (found) this.chosen(found);
  }
}
