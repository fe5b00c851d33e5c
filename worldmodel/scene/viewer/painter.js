// Solids of MuJoCo's kinds, drawn by one WebGL 2 canvas for all viewers of the page: browsers allow
// a page only a few.

const VERTEX = `#version 300 es
in vec3 place, normal; in float end;
uniform mat4 camera; uniform vec4 turn; uniform vec3 position, size, sun;
uniform float reach, ground; uniform int kind;
out vec3 world, facing; out vec2 across;
vec3 rotate(vec3 v) { return v + 2. * cross(turn.yzw, cross(turn.yzw, v) + turn.x * v); }
void main() {
  world = rotate(place * size + vec3(0, 0, end * reach)) + position;
  if (kind == 2) world = vec3(world.xy - sun.xy / sun.z * (world.z - ground), ground);
  facing = rotate(normal / max(size, 1e-6));
  across = (place * size).xy;
  gl_Position = camera * vec4(world, 1);
}`;

const FRAGMENT = `#version 300 es
precision highp float; precision highp int;
in vec3 world, facing; in vec2 across;
uniform vec4 colour; uniform vec3 eye, sun, rule; uniform float cell, fade; uniform int kind;
out vec4 pixel;
void main() {
  vec4 c = colour;
  if (kind == 1) { // a plane: rules every cell, faint far away
    vec2 rules = abs(fract(across / cell - .5) - .5) / fwidth(across / cell);
    float on = (1. - min(min(rules.x, rules.y), 1.)) * .55;
    c = vec4(mix(c.rgb, rule, on), max(.2 * c.a, on));
    if (fade > 0.) c.a *= exp(-dot(across, across) / (fade * fade));
  } else if (kind == 0) {
    vec3 n = normalize(facing), seen = normalize(eye - world);
    if (dot(n, seen) < 0.) n = -n;
    c.rgb *= .42 + .38 * max(dot(n, sun), 0.) + .25 * dot(n, seen);
  }
  pixel = vec4(c.rgb * c.a, c.a); // premultiplied
}`;

const PLANE = 0, SPHERE = 2, CAPSULE = 3, ELLIPSOID = 4, CYLINDER = 5, BOX = 6; // as mjtGeom
const SUN = [0.32, 0.22, 0.92];
const LENS = 2.9; // cotangent of half the field of view

const decode = (text, Kind) =>
  new Kind(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a, b) =>
  [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const product = (p, q) => { // of quaternions wxyz
  const v = cross(p.slice(1), q.slice(1));
  return [p[0] * q[0] - dot(p.slice(1), q.slice(1)),
    ...v.map((x, i) => x + p[0] * q[i + 1] + q[0] * p[i + 1])];
};
const rotate = (q, v) => {
  const u = q.slice(1), inner = cross(u, v).map((x, i) => x + q[0] * v[i]);
  return cross(u, inner).map((x, i) => v[i] + 2 * x);
};

// Triangles of a unit solid: [x, y, z, normal, end] per corner; ``end`` moves a capsule's halves.
function grid(rows, columns, corner) {
  const out = [];
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++)
    for (const [a, b] of [[0, 0], [1, 0], [1, 1], [0, 0], [1, 1], [0, 1]])
      out.push(...corner((i + a) / rows, (j + b) / columns, i));
  return out;
}
function ring(v) {
  return [Math.cos(2 * Math.PI * v), Math.sin(2 * Math.PI * v)];
}
function ball() { // row 8 of 17 joins the halves
  return grid(17, 32, (u, v) => {
    const k = Math.round(17 * u), tilt = Math.PI * ((k > 8 ? k - 1 : k) / 16 - 0.5);
    const [c, s] = ring(v), p = [c * Math.cos(tilt), s * Math.cos(tilt), Math.sin(tilt)];
    return [...p, ...p, k > 8 ? 1 : -1];
  });
}
function can() { // bottom, side, top
  return grid(3, 48, (u, v, row) => {
    const k = Math.round(3 * u), r = k % 3 ? 1 : 0, [c, s] = ring(v);
    const n = row === 1 ? [c, s, 0] : [0, 0, row - 1];
    return [r * c, r * s, k > 1 ? 1 : -1, ...n, 0];
  });
}
function cube() {
  const out = [];
  for (let axis = 0; axis < 3; axis++) for (const side of [-1, 1])
    out.push(...grid(1, 1, (u, v) => {
      const p = [0, 0, 0], n = [0, 0, 0];
      p[axis] = n[axis] = side, p[(axis + 1) % 3] = 2 * u - 1, p[(axis + 2) % 3] = 2 * v - 1;
      return [...p, ...n, 0];
    }));
  return out;
}
const sheet = () => grid(1, 1, (u, v) => [2 * u - 1, 2 * v - 1, 0, 0, 0, 1, 0]);
function triangles(mesh) { // one normal a face
  const cells = decode(mesh.vertices, Uint16Array), faces = decode(mesh.faces, Uint16Array);
  const corner = k => [0, 1, 2].map(i => mesh.low[i] + mesh.step * cells[3 * k + i]);
  const out = new Float32Array(7 * faces.length);
  for (let f = 0; f < faces.length; f += 3) {
    const [a, b, c] = [0, 1, 2].map(i => corner(faces[f + i]));
    const n = cross(b.map((x, i) => x - a[i]), c.map((x, i) => x - a[i]));
    const long = Math.hypot(...n) || 1;
    [a, b, c].forEach((p, i) => out.set([...p, ...n.map(x => x / long), 0], 7 * (f + i)));
  }
  return out;
}

class Painter { // the page's one WebGL canvas
  constructor() {
    this.canvas = document.createElement("canvas");
    const gl = this.gl = this.canvas.getContext("webgl2", {antialias: true, stencil: true});
    if (!gl) throw new Error("no WebGL 2");
    this.canvas.addEventListener("webglcontextlost", () => {
      painter = null;
      setTimeout(wake, 500);
    });
    const program = this.program = gl.createProgram();
    for (const [kind, text] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      gl.attachShader(program, shader);
    }
    gl.linkProgram(program);
    if (!gl.getProgramParameter(program, gl.LINK_STATUS)) 
      throw new Error(gl.getProgramInfoLog(program));
    gl.useProgram(program);
    this.at = {};
    for (let i = gl.getProgramParameter(program, gl.ACTIVE_UNIFORMS) - 1; i >= 0; i--) {
      const {name} = gl.getActiveUniform(program, i);
      this.at[name] = gl.getUniformLocation(program, name);
    }
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.depthFunc(gl.LEQUAL);
    gl.enable(gl.POLYGON_OFFSET_FILL);
    gl.uniform3fv(this.at.sun, SUN);
    const round = this.solid(ball());
    this.solids = {[PLANE]: this.solid(sheet()), [SPHERE]: round, [CAPSULE]: round,
      [ELLIPSOID]: round, [CYLINDER]: this.solid(can()), [BOX]: this.solid(cube())};
    this.meshes = new Map();
  }

  solid(corners) {
    const gl = this.gl, array = gl.createVertexArray();
    gl.bindVertexArray(array);
    gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
    gl.bufferData(gl.ARRAY_BUFFER, new Float32Array(corners), gl.STATIC_DRAW);
    for (const [name, size, start] of [["place", 3, 0], ["normal", 3, 12], ["end", 1, 24]]) {
      const where = gl.getAttribLocation(this.program, name);
      gl.enableVertexAttribArray(where);
      gl.vertexAttribPointer(where, size, gl.FLOAT, false, 28, start);
    }
    return {array, count: corners.length / 7};
  }

  mesh(data) {
    if (!this.meshes.has(data)) this.meshes.set(data, this.solid(triangles(data)));
    return this.meshes.get(data);
  }

  begin(width, height) {
    if (this.canvas.width < width) this.canvas.width = width;
    if (this.canvas.height < height) this.canvas.height = height;
    this.gl.enable(this.gl.DEPTH_TEST);
    this.gl.colorMask(true, true, true, true);
    this.gl.depthMask(true);
    this.gl.clear(this.gl.COLOR_BUFFER_BIT | this.gl.DEPTH_BUFFER_BIT | this.gl.STENCIL_BUFFER_BIT);
  }

  // Solids: {solid, position, turn, size, reach, colour}.
  draw(solids, kind) {
    const {gl, at} = this;
    gl.uniform1i(at.kind, kind);
    for (const s of solids) {
      gl.uniform3fv(at.position, s.position);
      gl.uniform4fv(at.turn, s.turn);
      gl.uniform3fv(at.size, s.size);
      gl.uniform1f(at.reach, s.reach);
      gl.uniform4fv(at.colour, kind === 2 ? [0, 0, 0, 0.16] : s.colour);
      gl.bindVertexArray(s.solid.array);
      gl.drawArrays(gl.TRIANGLES, 0, s.solid.count);
    }
  }

  // The nearest surfaces alone, so that what is translucent does not show its own inside.
  drawGhost(solids, offset) {
    const gl = this.gl;
    gl.polygonOffset(-offset, -offset);
    if (solids.some(s => s.colour[3] < 1)) {
      gl.colorMask(false, false, false, false);
      this.draw(solids, 0);
      gl.colorMask(true, true, true, true);
    }
    this.draw(solids, 0);
    gl.polygonOffset(0, 0);
  }

  drawShadows(solids) { // each pixel once
    const gl = this.gl;
    gl.enable(gl.STENCIL_TEST);
    gl.stencilFunc(gl.EQUAL, 0, 255);
    gl.stencilOp(gl.KEEP, gl.KEEP, gl.INCR);
    gl.depthMask(false);
    gl.polygonOffset(-1, -1);
    this.draw(solids, 2);
    gl.polygonOffset(0, 0);
    gl.depthMask(true);
    gl.disable(gl.STENCIL_TEST);
  }
}
