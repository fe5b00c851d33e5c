// Every figure.view3d of the page holds what it shows (view3d.py) and becomes a viewer: a canvas
// that is turned by pointer and keys, a time line, and a switch per episode.

const SPEEDS = [1, 0.5, 0.25, 0.1];
const REST = 0.7; // [s] at the end, before the episodes begin again

let painter = null;
const viewers = [];
let waiting = false, last = 0;

function frame(now) {
  waiting = false;
  const passed = Math.min(0.1, (now - last) / 1000);
  last = now;
  for (const v of viewers) if (v.visible) v.advance(passed);
  if (viewers.some(v => v.visible && v.playing)) wake();
}
function wake() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(frame);
}
function element(name, parent, attributes = {}) {
  const node = Object.assign(document.createElement(name), attributes);
  parent.append(node);
  return node;
}

class Viewer {
  constructor(figure) {
    const data = this.data = JSON.parse(figure.dataset.scene);
    this.episodes = data.episodes.map((e, i) => ({
      name: e.name, colour: e.colour ?? `var(--e${i % 7})`, shown: true,
      times: decode(e.times, Float32Array), poses: decode(e.poses, Float32Array)}));
    this.seconds = Math.max(...this.episodes.map(e => e.times[e.times.length - 1]));
    this.time = 0;
    this.speed = SPEEDS.find(s => this.seconds / s >= 1.5) ?? SPEEDS[SPEEDS.length - 1];
    this.playing = this.seconds > 0 && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.visible = false;
    this.distance = 0; // of the eye, set by each look
    const [low, high] = data.bounds;
    this.middle = low.map((x, i) => (x + high[i]) / 2);
    this.radius = Math.hypot(...low.map((x, i) => high[i] - x)) / 2;
    this.cell = this.roundLength(this.radius / 3);
    this.build(figure);
    this.home();
    this.listen();
  }

  roundLength(x) { // 1, 2 or 5 times a power of ten
    const power = 10 ** Math.floor(Math.log10(x)), digit = x / power;
    return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
  }

  build(figure) {
    const {label, size} = this.data;
    figure.replaceChildren();
    this.canvas = element("canvas", figure, {className: "stage", tabIndex: 0});
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${label}. Arrow keys turn, plus and minus zoom, ` +
      "space plays, 0 goes back to the first view.");
    this.canvas.title = "drag to turn; click, then scroll to zoom; two fingers zoom and tilt";
    this.canvas.style.aspectRatio = size.join("/");
    figure.style.maxWidth = `${size[0]}px`;
    const row = element("div", figure, {className: "row"});
    this.button = element("button", row, {type: "button"});
    this.slider = element("input", row, {type: "range", min: 0, max: this.seconds, step: "any"});
    this.slider.setAttribute("aria-label", "time");
    this.clock = element("output", row);
    this.pace = element("select", row);
    this.pace.setAttribute("aria-label", "speed");
    for (const s of SPEEDS)
      element("option", this.pace, {value: s, textContent: `${s}×`, selected: s === this.speed});
    const names = element("div", figure, {className: "row"});
    if (this.episodes.length > 1) for (const e of this.episodes) {
      const entry = element("label", names);
      const box = element("input", entry, {type: "checkbox", checked: true});
      box.addEventListener("change", () => { e.shown = box.checked; wake(); });
      e.key = element("i", entry);
      e.key.style.color = e.colour;
      entry.append(e.name);
    }
    if (this.episodes.length > 1) {
      const entry = element("label", names);
      this.apart = element("input", entry, {type: "checkbox"});
      entry.append("side by side");
      this.apart.addEventListener("change", wake);
    }
    const length = this.cell >= 1 ? `${this.cell} m` : this.cell >= 0.01
      ? `${Math.round(100 * this.cell)} cm` : `${+(1000 * this.cell).toPrecision(1)} mm`;
    if (this.data.geoms.some(g => g.type === PLANE))
      element("span", names, {className: "scale", textContent: `squares: ${length}`});
    this.probe = element("i", figure, {hidden: true});
  }

  home() {
    [this.azimuth, this.tilt] = this.data.camera;
    this.zoom = 1;
    this.target = [...this.middle];
    wake();
  }

  listen() {
    const {canvas} = this, touching = new Map();
    this.button.addEventListener("click", () => this.play(!this.playing));
    this.pace.addEventListener("change", () => { this.speed = +this.pace.value; });
    this.slider.addEventListener("input", () => {
      this.time = +this.slider.value;
      this.play(false);
    });
    canvas.addEventListener("pointerdown", e => {
      touching.set(e.pointerId, e);
      canvas.setPointerCapture(e.pointerId);
    });
    for (const kind of ["pointerup", "pointercancel"])
      canvas.addEventListener(kind, e => touching.delete(e.pointerId));
    canvas.addEventListener("pointermove", e => {
      const before = touching.get(e.pointerId);
      if (!before) return;
      const [dx, dy] = [e.clientX - before.clientX, e.clientY - before.clientY];
      const other = [...touching.values()].find(p => p.pointerId !== e.pointerId);
      if (other) {
        const gap = p => Math.hypot(p.clientX - other.clientX, p.clientY - other.clientY);
        this.scale(gap(before) / Math.max(gap(e), 1));
        this.turn(dx / 2, dy / 2);
      } else if (e.shiftKey || e.buttons > 1) this.shift(dx, dy);
      else this.turn(dx, dy);
      touching.set(e.pointerId, e);
    });
    canvas.addEventListener("contextmenu", e => e.preventDefault());
    canvas.addEventListener("wheel", e => { // the page scrolls until the view is clicked
      if (document.activeElement !== canvas) return;
      e.preventDefault();
      this.scale(Math.exp(0.0015 * e.deltaY));
    }, {passive: false});
    canvas.addEventListener("keydown", e => {
      const keys = {ArrowLeft: () => this.turn(-15, 0), ArrowRight: () => this.turn(15, 0),
        ArrowUp: () => this.turn(0, -15), ArrowDown: () => this.turn(0, 15),
        "+": () => this.scale(0.9), "=": () => this.scale(0.9), "-": () => this.scale(1 / 0.9),
        "0": () => this.home(), " ": () => this.play(!this.playing)};
      if (!keys[e.key] || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      keys[e.key]();
    });
    new ResizeObserver(wake).observe(canvas);
    new IntersectionObserver(([e]) => { this.visible = e.isIntersecting; wake(); }).observe(canvas);
  }

  play(on) {
    this.playing = on && this.seconds > 0;
    if (on && this.time >= this.seconds) this.time = 0;
    wake();
  }
  turn(dx, dy) {
    this.azimuth -= 0.01 * dx;
    this.tilt = Math.min(1.55, Math.max(-1.55, this.tilt + 0.01 * dy));
    wake();
  }
  scale(by) {
    this.zoom = Math.min(20, Math.max(0.02, this.zoom * by));
    wake();
  }
  shift(dx, dy) {
    const [right, up] = this.axes(), metre = 2 * this.distance / LENS / this.canvas.clientHeight;
    this.target = this.target.map((x, i) => x + metre * (dy * up[i] - dx * right[i]));
    wake();
  }

  advance(passed) {
    if (this.playing) {
      this.time += this.speed * passed;
      if (this.time > this.seconds + this.speed * REST) this.time = 0;
    }
    const now = Math.min(this.time, this.seconds);
    this.slider.value = now;
    this.clock.textContent = `${now.toFixed(2)} / ${this.seconds.toFixed(2)} s`;
    this.button.textContent = this.playing ? "Pause" : "Play";
    this.draw(now);
  }

  axes() { // right, up, and towards the eye
    const [c, s] = [Math.cos(this.azimuth), Math.sin(this.azimuth)];
    const right = [-s, c, 0];
    const back = [Math.cos(this.tilt) * c, Math.cos(this.tilt) * s, Math.sin(this.tilt)];
    return [right, cross(back, right), back];
  }

  look(wide) { // sets the camera of a panel ``wide`` times as wide as high
    const {gl, at} = painter, [right, up, back] = this.axes(), [low, high] = this.data.bounds;
    let far = 0; // from which every corner of the bounds is inside
    for (let k = 0; k < 8; k++) {
      const p = [0, 1, 2].map(i => (k >> i & 1 ? high : low)[i] - this.middle[i]);
      const aside = Math.max(Math.abs(dot(p, right)) / wide, Math.abs(dot(p, up)));
      far = Math.max(far, dot(p, back) + 1.06 * LENS * aside);
    }
    this.distance = far * this.zoom;
    const eye = this.target.map((x, i) => x + this.distance * back[i]);
    const [near, end] = [this.distance / 50, this.distance + 12 * this.radius];
    const [a, b] = [(end + near) / (end - near), -2 * end * near / (end - near)];
    const row = (v, k, w) => [...v.map(x => k * x), w - k * dot(v, eye)];
    const rows = [row(right, LENS / wide, 0), row(up, LENS, 0), row(back, -a, b), row(back, -1, 0)];
    gl.uniformMatrix4fv(at.camera, false, [0, 1, 2, 3].flatMap(j => rows.map(r => r[j])));
    gl.uniform3fv(at.eye, eye);
    return eye;
  }

  colour(text) { // of CSS, as red, green and blue in 0 … 1
    this.probe.style.color = text;
    return getComputedStyle(this.probe).color.match(/[\d.]+/g).slice(0, 3).map(x => x / 255);
  }

  between(episode, now) { // the two frames around an instant, and how far it is from the first
    const {times} = episode;
    let k = 0;
    while (k + 2 < times.length && times[k + 1] <= now) k++;
    const next = Math.min(k + 1, times.length - 1), span = times[next] - times[k];
    return [k, next, span > 0 ? Math.min(1, Math.max(0, now - times[k]) / span) : 0];
  }

  pose({times, poses}, body, [k, next, part]) { // position, quaternion
    const row = poses.length / times.length;
    const [p, q] = [k, next].map(f => poses.subarray(f * row + 7 * body, f * row + 7 * body + 7));
    const sign = p.slice(3).reduce((sum, x, i) => sum + x * q[3 + i], 0) < 0 ? -1 : 1;
    const mixed = [...p].map((x, i) => (1 - part) * x + part * (i > 2 ? sign : 1) * q[i]);
    const long = Math.hypot(...mixed.slice(3)) || 1;
    return [mixed.slice(0, 3), mixed.slice(3).map(x => x / long)];
  }

  solids(geoms, episode, now, tint) {
    const poses = {}, frames = episode && this.between(episode, now);
    return geoms.map(g => {
      let [position, turn] = [g.position, g.turn];
      if (g.body >= 0) {
        const [p, q] = poses[g.body] ??= this.pose(episode, g.body, frames);
        position = rotate(q, position).map((x, i) => x + p[i]);
        turn = product(q, turn);
      }
      const [x, y, z] = g.size, plane = g.type === PLANE;
      const far = 8 * this.radius, meshed = g.mesh !== undefined;
      const size = meshed ? [1, 1, 1] : plane ? [x || far, y || far, 1]
        : g.type === SPHERE || g.type === CAPSULE ? [x, x, x]
        : g.type === CYLINDER ? [x, x, y] : g.size;
      return {position, turn, size, reach: g.type === CAPSULE ? y : 0, colour: tint ?? g.colour,
        endless: plane && !(x && y), plane,
        solid: meshed ? painter.mesh(this.data.meshes[g.mesh]) : painter.solids[g.type]};
    });
  }

  draw(now) {
    const {canvas} = this, sharp = Math.min(devicePixelRatio || 1, 2);
    const width = Math.round(canvas.clientWidth * sharp);
    const height = Math.round(canvas.clientHeight * sharp);
    if (!width || !height) return;
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    painter ??= new Painter();
    const shown = this.episodes.filter(e => e.shown);
    const panels = this.apart?.checked && shown.length > 1 ? shown.map(e => [e]) : [shown];
    let columns = 1, best = 0;
    for (let c = 1; c <= panels.length; c++) {
      const side = Math.min(width / c / 1.4, height / Math.ceil(panels.length / c));
      if (side > best) [columns, best] = [c, side];
    }
    const rows = Math.ceil(panels.length / columns);
    const [w, h] = [Math.floor(width / columns), Math.floor(height / rows)];
    painter.begin(width, height);
    panels.forEach((episodes, k) => {
      painter.gl.viewport((k % columns) * w, (rows - 1 - Math.floor(k / columns)) * h, w, h);
      this.drawPanel(episodes, now, w / h);
    });
    const page = canvas.getContext("2d"), drawn = painter.canvas;
    page.clearRect(0, 0, width, height);
    page.drawImage(drawn, 0, drawn.height - rows * h, width, rows * h, 0, 0, width, rows * h);
    if (panels.length > 1) panels.forEach(([e], k) => {
      page.font = `600 ${13 * sharp}px system-ui,sans-serif`;
      page.fillStyle = getComputedStyle(e.key).color;
      const [x, y] = [(k % columns) * w, Math.floor(k / columns) * h];
      page.fillText(e.name, x + 8 * sharp, y + 18 * sharp);
    });
  }

  drawPanel(episodes, now, wide) {
    const {gl, at} = painter, eye = this.look(wide), {geoms} = this.data;
    const still = this.solids(geoms.filter(g => g.body < 0), null, now);
    const moving = geoms.filter(g => g.body >= 0), alone = this.episodes.length === 1;
    const bodies = episodes.map(e => {
      const clear = e === this.episodes[0] ? 1 : 0.6;
      return this.solids(moving, e, now, alone ? null : [...this.colour(e.colour), clear]);
    });
    const up = s => rotate(s.turn, [0, 0, 1]);
    const faces = s => dot(up(s), eye.map((x, i) => x - s.position[i])) > 0;
    const planes = still.filter(s => s.plane && faces(s));
    gl.uniform3fv(at.rule, this.colour("var(--rule)"));
    gl.uniform1f(at.cell, this.cell);
    gl.depthMask(false); // nothing lies under what is seen of a plane
    for (const s of planes) {
      gl.uniform1f(at.fade, s.endless ? 3.5 * this.radius : 0);
      painter.draw([s], 1);
    }
    gl.depthMask(true);
    const floor = planes.find(s => up(s)[2] > 0.999);
    const solid = still.filter(s => !s.plane);
    if (floor) {
      gl.uniform1f(at.ground, floor.position[2]);
      painter.drawShadows([solid, ...bodies].flat());
    }
    painter.drawGhost(solid, 0);
    bodies.forEach((group, k) => painter.drawGhost(group, 2 * k));
  }
}

function start() {
  const figures = document.querySelectorAll("figure.view3d");
  try {
    painter = new Painter();
  } catch (error) {
    console.error(error);
    for (const f of figures)
      f.textContent = "Here moves a 3D view; this browser does not offer WebGL 2, which draws it.";
    return;
  }
  element("style", document.head, {textContent: STYLE});
  for (const f of figures) viewers.push(new Viewer(f));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", wake);
  wake();
}
if (document.readyState === "loading") addEventListener("DOMContentLoaded", start);
else start();
