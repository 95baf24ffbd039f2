"use strict";
// The film of an autoregressive model: see gen_jax/report/film.py for the numbers in data-film.

const HEAT = [[20, 14, 54], [114, 31, 129], [205, 64, 113], [252, 137, 97], [252, 253, 191]];
const RATES = [4, 16, 64, 256];

async function unpacked(text, type) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new type(await new Response(stream).arrayBuffer());
}

function made(parent, name, attributes = {}, text = "") {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  parent.append(element);
  return element;
}

function heat(level) {
  const place = (level - 1) / 14 * (HEAT.length - 1), low = Math.min(Math.floor(place), HEAT.length - 2);
  const mixed = HEAT[low].map((value, k) => value + (place - low) * (HEAT[low + 1][k] - value));
  return `rgb(${mixed.map(Math.round).join(",")})`;
}

async function film(root) {
  const data = JSON.parse(root.dataset.film);
  const [H, W, C] = data.shape, pixels = H * W, T = pixels * C, bins = data.edges.length - 1;
  const [x, shares, bits, influence, declared, table] = await Promise.all([
    unpacked(data.x, Uint16Array), unpacked(data.shares, Uint8Array), unpacked(data.bits, Uint16Array),
    unpacked(data.influence, Uint8Array), unpacked(data.declared, Uint8Array), unpacked(data.table, Uint8Array)]);
  const order = data.order ? await unpacked(data.order, Uint16Array) : Uint16Array.from({length: T}, (_, k) => k);
  const time = new Uint16Array(T);
  order.forEach((position, k) => { time[position] = k; });
  const top = data.edges[bins] - 1, across = Math.ceil(W / data.side), blocks = across * Math.ceil(H / data.side);
  const block = (pixel) => Math.floor(Math.floor(pixel / W) / data.side) * across + Math.floor(pixel % W / data.side);
  const state = {sample: 0, drawn: Math.floor(0.55 * T), pointed: null, playing: false, last: 0, rest: 0};

  root.replaceChildren();
  const squares = made(root, "div", {class: "squares"}), side = Math.max(2, Math.floor(560 / Math.max(H, W)));
  const [image, field] = ["The image so far", "Influence of other pixels"].map((label) =>
    made(squares, "canvas", {width: W * side, height: H * side, role: "img", "aria-label": label}));
  const words = made(root, "p", {class: "words"});
  const bars = Array.from({length: C}, () => {
    const row = made(root, "div", {class: "bars"});
    const canvas = made(row, "canvas", {width: 960, height: 150, role: "img", "aria-label": "Distribution"});
    return {canvas, words: made(row, "p")};
  });
  const controls = made(root, "div", {class: "controls"});
  const play = made(controls, "button", {type: "button"}, "Play");
  const slider = made(controls, "input", {type: "range", min: 0, max: T, "aria-label": "Values drawn"});
  const choice = (label, values, chosen) => {
    const select = made(made(controls, "label", {}, `${label} `), "select");
    values.forEach((value) => made(select, "option", {value: value[0]}, value[1]));
    select.value = chosen;
    return select;
  };
  const numbers = Array.from({length: data.samples}, (_, k) => [k, `${k + 1}`]);
  const sample = choice("sample", numbers, 0);
  const rate = choice("speed", RATES.map((value) => [value, `${value} values/s`]), RATES[T > 500 ? 3 : 1]);

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const valueAt = (position) => x[state.sample * T + position];
  const chance = (k, bin) => (shares[(state.sample * T + k) * bins + bin] / 255) ** 2;
  const rgb = (pixel) => {
    const known = Array.from({length: C}, (_, c) => time[pixel * C + c] < state.drawn);
    if (!known.includes(true)) return null;
    const levels = known.map((here, c) => (here ? valueAt(pixel * C + c) : 0));
    const parts = C === 3 ? levels.map((level) => level / top * 255) : table.subarray(levels[0] * 3, levels[0] * 3 + 3);
    return `rgb(${Array.from(parts, Math.round).join(",")})`;
  };
  const focus = () => {
    if (state.pointed !== null) return state.pointed;
    return Math.floor(order[Math.min(state.drawn, T - 1)] / C);
  };
  const name = (pixel) => `row ${Math.floor(pixel / W) + 1}, column ${pixel % W + 1}`;

  function squaresDrawn(pixel) {
    const of = image.getContext("2d"), on = field.getContext("2d");
    for (let other = 0; other < pixels; other++) {
      const box = [other % W * side, Math.floor(other / W) * side, side, side];
      of.fillStyle = rgb(other) ?? colour("--blind");
      of.fillRect(...box);
      const level = influence[pixel * blocks + block(other)];
      on.fillStyle = other === pixel ? colour("--site") : level ? heat(level) : colour("--blind");
      on.fillRect(...box);
    }
    of.lineWidth = on.lineWidth = Math.max(2, side / 8);
    of.strokeStyle = colour("--site");
    of.strokeRect(pixel % W * side + of.lineWidth / 2, Math.floor(pixel / W) * side + of.lineWidth / 2,
      side - of.lineWidth, side - of.lineWidth);
    on.strokeStyle = "#00b4d8";
    on.beginPath();
    const inside = (row, column) =>
      row >= 0 && row < H && column >= 0 && column < W && declared[pixel * pixels + row * W + column] === 1;
    for (let row = 0; row <= H; row++) for (let column = 0; column <= W; column++) {
      if (inside(row, column) !== inside(row - 1, column) && column < W) {
        on.moveTo(column * side, row * side); on.lineTo((column + 1) * side, row * side);
      }
      if (inside(row, column) !== inside(row, column - 1) && row < H) {
        on.moveTo(column * side, row * side); on.lineTo(column * side, (row + 1) * side);
      }
    }
    on.stroke();
  }

  function barsDrawn(pixel) {
    bars.forEach(({canvas, words}, c) => {
      const of = canvas.getContext("2d"), k = time[pixel * C + c], value = valueAt(pixel * C + c);
      const channel = C === 3 ? `${["red", "green", "blue"][c]}: ` : C > 1 ? `channel ${c + 1}: ` : "";
      of.clearRect(0, 0, canvas.width, canvas.height);
      if (k > state.drawn) {
        words.textContent = `${channel}drawn later`;
        return;
      }
      const high = Array.from({length: bins}, (_, bin) => chance(k, bin)), most = Math.max(...high, 1e-9);
      const width = canvas.width / bins, floor = canvas.height - 14;
      high.forEach((p, bin) => {
        const here = k < state.drawn && value >= data.edges[bin] && value < data.edges[bin + 1];
        of.fillStyle = colour(here ? "--second" : "--first");
        const tall = Math.max(here ? 2 : 0, p / most * (floor - 4));
        of.fillRect(bin * width + width * 0.08, floor - tall, width * 0.84, tall);
        const level = data.edges[bin] * 3, grey = Math.round(data.edges[bin] / top * 255);
        const parts = C === 3 ? [0, 1, 2].map((d) => (d === c ? grey : 0)) : table.subarray(level, level + 3);
        of.fillStyle = `rgb(${Array.from(parts).join(",")})`;
        of.fillRect(bin * width, floor + 2, width + 0.5, 12);
      });
      const paid = bits[state.sample * T + k] / 256;
      words.textContent = channel + (k < state.drawn
        ? `level ${value} of 0 to ${top}, p = ${(2 ** -paid).toPrecision(3)}, ${paid.toFixed(2)} bits`
        : `next, levels 0 to ${top}; the highest bar is ${most.toPrecision(3)}`);
    });
  }

  function show() {
    const pixel = focus(), row = influence.subarray(pixel * blocks, (pixel + 1) * blocks);
    const seen = row.filter((level) => level > 0).length;
    let sum = 0, stated = 0;
    for (let k = 0; k < state.drawn; k++) sum += bits[state.sample * T + k] / 256;
    for (let other = 0; other < pixels; other++) stated += declared[pixel * pixels + other];
    squaresDrawn(pixel);
    barsDrawn(pixel);
    words.textContent = `${state.drawn} of ${T} values drawn, ${sum.toFixed(1)} bits. Pixel in ${name(pixel)}:`
      + ` ${seen} ${data.side > 1 ? "blocks" : "pixels"} have influence, ${stated} pixels are declared.`;
    slider.value = state.drawn;
    play.textContent = state.playing ? "Pause" : "Play";
  }

  function tick(now) {
    if (!state.playing) return;
    state.rest += Math.min(now - state.last, 250) / 1000 * rate.value;
    state.last = now;
    const steps = Math.floor(state.rest);
    state.rest -= steps;
    state.drawn = Math.min(T, state.drawn + steps);
    if (state.drawn === T) state.playing = false;
    if (steps) show();
    requestAnimationFrame(tick);
  }

  play.addEventListener("click", () => {
    state.playing = !state.playing;
    if (state.playing && state.drawn === T) state.drawn = 0;
    state.last = performance.now();
    state.pointed = null;
    show();
    requestAnimationFrame(tick);
  });
  slider.addEventListener("input", () => { state.drawn = Number(slider.value); state.pointed = null; show(); });
  sample.addEventListener("change", () => { state.sample = Number(sample.value); show(); });
  for (const canvas of [image, field]) {
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left) / box.width * W);
      const line = Math.floor((event.clientY - box.top) / box.height * H);
      if (column < 0 || column >= W || line < 0 || line >= H) return;
      state.pointed = line * W + column;
      show();
    });
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "mouse") return;
      state.pointed = null;
      show();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();
}

document.querySelectorAll(".film").forEach((root) => film(root).catch((error) => {
  root.textContent = `This browser cannot show the film: ${error.message}`;
}));
