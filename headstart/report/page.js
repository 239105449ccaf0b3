(() => {
  "use strict";
  const data = JSON.parse(document.getElementById("data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const css = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // ---------------------------------------------------------------- figures
  const axes = figure => Object.keys(figure.layout).filter(key => /^[xy]axis\d*$/.test(key));
  const paint = figure => {
    const look = { "font.color": css("--ink"), "hoverlabel.bgcolor": css("--card"), "hoverlabel.bordercolor": css("--line") };
    for (const axis of axes(figure)) look[axis + ".gridcolor"] = look[axis + ".linecolor"] = css("--line");
    return look;
  };
  const drawn = Object.entries(data.figures).map(([id, figure]) => {
    const node = document.getElementById(id);
    Plotly.newPlot(node, figure.data, figure.layout, { responsive: true, displaylogo: false, displayModeBar: false });
    Plotly.relayout(node, paint(figure));
    return [node, figure];
  });

  const steps = figure => figure.data.map(trace => trace.x.slice());
  const buttons = [...document.querySelectorAll("[data-charge]")];
  if (buttons.length) {
    const node = document.getElementById("curves"), figure = data.figures.curves, own = steps(figure);
    const charge = on => {
      const moved = own.map((x, i) => x.map(v => v + on * (v * figure.data[i].meta.companion_rate + figure.data[i].meta.teacher_steps)));
      Plotly.update(node, { x: moved }, { "xaxis.autorange": true, "xaxis.title.text": on ? "env-steps, the teacher's included" : "env-steps" });
      buttons.forEach(b => b.setAttribute("aria-pressed", String(Number(b.dataset.charge) === on)));
    };
    buttons.forEach(b => b.addEventListener("click", () => charge(Number(b.dataset.charge))));
  }

  // ---------------------------------------------------------------- replays
  const replays = data.replays.filter(r => r.frames.length);
  const boxes = [...document.querySelectorAll("#replays figure")].filter((_, i) => data.replays[i].frames.length);
  const last = Math.max(0, ...replays.map(r => r.frames.length - 1));
  const STEPS_A_SECOND = 10, TRAIL = 8, BEND = 0.5;
  let time = 0, playing = false, before = 0;

  const fit = canvas => {
    const ratio = devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    const pen = canvas.getContext("2d");
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    return [pen, width, height];
  };
  // Entities move smoothly between frames, except when they are put elsewhere (a respawn, a new episode).
  const place = (replay, entity, t) => {
    const end = replay.frames.length - 1, lower = Math.min(Math.floor(t), end), upper = Math.min(lower + 1, end);
    const a = replay.frames[lower][entity], b = replay.frames[upper][entity], part = t >= end ? 0 : t - lower;
    if (!a || a[0] === null || a[1] === null) return null;
    if (!b || b[0] === null || b[1] === null || Math.hypot(b[0] - a[0], b[1] - a[1]) > replay.extent / 3) return a;
    return [a[0] + (b[0] - a[0]) * part, a[1] + (b[1] - a[1]) * part];
  };
  // What an entity says and looks like (`table` [T][M], absent where none does) is that of the last whole frame.
  const now = (table, entity, otherwise) => table ? table[Math.min(Math.floor(time), table.length - 1)][entity] : otherwise;
  const letters = word => word < 0 ? "" : letters(Math.floor(word / 26) - 1) + String.fromCharCode(65 + word % 26);
  const acts = entity => !/^(landmark|obstacle|treasure)$/.test(entity.kind);
  const world = (canvas, replay) => {
    const [pen, width] = fit(canvas), scale = width / (2 * replay.extent);
    const at = p => [width / 2 + p[0] * scale, width / 2 - p[1] * scale];
    const circle = (p, r) => { pen.beginPath(); pen.arc(...at(p), Math.max(2, r * scale), 0, 2 * Math.PI); };
    pen.strokeStyle = css("--line");
    pen.lineWidth = 1;
    for (const share of [0.25, 0.5, 0.75]) {
      pen.beginPath();
      pen.moveTo(width * share, 0); pen.lineTo(width * share, width);
      pen.moveTo(0, width * share); pen.lineTo(width, width * share);
      pen.stroke();
    }
    if (replay.links) replay.entities.forEach((_, i) => joined(pen, replay, i, at));
    const order = replay.entities.map((e, i) => [e, i]).sort((a, b) => acts(a[0]) - acts(b[0]));
    const said = [];
    for (const [entity, i] of order) {
      const here = place(replay, i, time), color = entity.colors[now(replay.shades, i, 0)], word = now(replay.words, i, -1);
      if (!here) continue;
      if (word >= 0) said.push([letters(word), at(here), entity.radius * scale, color]);
      if (entity.labels) labelled(pen, entity.labels[now(replay.shades, i, 0)], at(here), entity.radius * scale);
      pen.fillStyle = pen.strokeStyle = color;
      if (!acts(entity)) {
        pen.globalAlpha = 0.4; circle(here, entity.radius); pen.fill();
        pen.globalAlpha = 1; pen.lineWidth = 1.6; pen.stroke();
        continue;
      }
      let from = here;
      for (let back = 0.5; back <= TRAIL && time - back >= 0; back += 0.5) {
        const to = place(replay, i, time - back);
        if (!to || Math.hypot(to[0] - from[0], to[1] - from[1]) > replay.extent / 3) break;
        pen.globalAlpha = 0.55 * (1 - back / TRAIL); pen.lineWidth = 2;
        pen.beginPath(); pen.moveTo(...at(from)); pen.lineTo(...at(to)); pen.stroke();
        from = to;
      }
      pen.globalAlpha = 0.78; circle(here, entity.radius); pen.fill();
      pen.globalAlpha = 1; pen.strokeStyle = css("--card"); pen.lineWidth = 1.5; pen.stroke();
    }
    order.forEach(([entity, i]) => fought(pen, replay, entity, i, at, scale));
    pen.globalAlpha = 1;
    said.forEach(label => bubble(pen, width, ...label));
  };
  // Lines from an entity to those that it is joined to: the first one straight, the others bent beside what lies between.
  const joined = (pen, replay, i, at) => {
    const here = place(replay, i, time);
    now(replay.links, i, []).forEach((other, number) => {
      const there = other < 0 ? null : place(replay, other, Math.floor(time));
      if (!here || !there) return;
      const [a, b] = [at(there), at(here)], bend = number ? BEND : 0;
      const middle = [(a[0] + b[0]) / 2 + bend * (b[1] - a[1]), (a[1] + b[1]) / 2 - bend * (b[0] - a[0])];
      pen.strokeStyle = number ? replay.entities[i].colors[now(replay.shades, i, 0)] : css("--soft"); pen.lineWidth = 1.4;
      pen.beginPath(); pen.moveTo(...a); pen.quadraticCurveTo(...middle, ...b); pen.stroke();
    });
  };
  const labelled = (pen, text, [x, y], radius) => {
    pen.font = "600 10px system-ui, sans-serif";
    pen.textAlign = "center"; pen.textBaseline = "bottom";
    pen.fillStyle = css("--ink"); pen.fillText(text, x, y - radius - 1);
  };
  // What is left of an entity's health as a bar above it, and a line to the entity that it has just hit.
  const fought = (pen, replay, entity, i, at, scale) => {
    const here = place(replay, i, time), share = now(replay.health, i, null), other = now(replay.hits, i, -1);
    if (!here) return;
    const color = entity.colors[now(replay.shades, i, 0)], line = (from, to, width, style) => {
      pen.strokeStyle = style; pen.lineWidth = width;
      pen.beginPath(); pen.moveTo(...from); pen.lineTo(...to); pen.stroke();
    };
    const there = other < 0 ? null : place(replay, other, time) || place(replay, other, Math.max(0, Math.floor(time) - 1));
    if (there) line(at(here), at(there), 1.2, color);
    if (share === null) return;
    const wide = Math.max(entity.radius * scale, 5), [x, y] = at(here), top = y - 1.6 * wide;
    line([x - wide, top], [x + wide, top], 3, css("--line"));
    if (share > 0) line([x - wide, top], [x - wide + 2 * wide * share, top], 3, color);
  };
  // A word in a box above and to the right of its speaker, unless that is outside the picture.
  const bubble = (pen, width, text, [x, y], radius, color) => {
    if (x < 0 || x > width || y < 0 || y > width) return;
    pen.font = "600 12px system-ui, sans-serif";
    pen.textAlign = "center"; pen.textBaseline = "middle";
    const off = 0.75 * radius + 4, wide = pen.measureText(text).width + 10, high = 18;
    const left = x + off + wide < width ? x + off : x - off - wide, top = y - off - high > 0 ? y - off - high : y + off;
    pen.beginPath(); pen.roundRect(left, top, wide, high, 5);
    pen.fillStyle = css("--card"); pen.fill();
    pen.strokeStyle = color; pen.lineWidth = 1.4; pen.stroke();
    pen.fillStyle = css("--ink"); pen.fillText(text, left + wide / 2, top + high / 2 + 0.5);
  };
  // One scale for all teams, so that the lines under them can be compared.
  const scores = replays.flatMap(r => r.score || []).filter(v => v !== null);
  const top = Math.max(0, ...scores), bottom = Math.min(0, ...scores);
  const score = (canvas, replay) => {
    const [pen, width, height] = fit(canvas), line = replay.score || [];
    const x = t => 2 + (width - 4) * t / Math.max(1, last), y = v => 3 + (height - 6) * (top - v) / (top - bottom || 1);
    const trace = (end, alpha) => {
      pen.globalAlpha = alpha; pen.beginPath();
      line.slice(0, end + 1).forEach((v, t) => v === null || (t ? pen.lineTo(x(t), y(v)) : pen.moveTo(x(t), y(v))));
      pen.stroke();
    };
    pen.strokeStyle = css("--line"); pen.lineWidth = 1;
    pen.beginPath(); pen.moveTo(0, y(0)); pen.lineTo(width, y(0)); pen.stroke();
    pen.strokeStyle = css("--accent"); pen.lineWidth = 1.8;
    trace(line.length, 0.25);
    trace(Math.floor(time), 1);
    pen.globalAlpha = 1;
  };
  const draw = () => {
    replays.forEach((replay, i) => {
      const box = boxes[i], value = (replay.score || [])[Math.min(Math.floor(time), (replay.score || []).length - 1)];
      world(box.querySelector(".world"), replay);
      score(box.querySelector(".score"), replay);
      box.querySelector(".sofar").textContent = value == null ? "" : `return so far ${value.toFixed(1)}`;
    });
    document.getElementById("scrub").value = time;
    document.getElementById("clock").textContent = `${Math.floor(time)} / ${last}`;
  };
  const tick = now => {
    if (!playing) return;
    // The first frame may carry a time stamp from before play was pressed.
    time += Math.max(0, now - before) / 1000 * STEPS_A_SECOND * Number(document.getElementById("speed").value);
    before = now;
    if (time >= last) { time = last; play(false); }
    draw();
    if (playing) requestAnimationFrame(tick);
  };
  const play = on => {
    const button = document.getElementById("play");
    if (on && time >= last) time = 0;
    playing = on;
    button.textContent = on ? "❚❚" : "▶";
    button.setAttribute("aria-label", on ? "Pause" : "Play");
    if (on) { before = performance.now(); requestAnimationFrame(tick); }
  };
  if (replays.length) {
    const scrub = document.getElementById("scrub");
    scrub.max = last;
    scrub.addEventListener("input", () => { play(false); time = Number(scrub.value); draw(); });
    document.getElementById("play").addEventListener("click", () => play(!playing));
    addEventListener("resize", draw);
    draw();
    if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
      const seen = new IntersectionObserver(entries => {
        if (entries.some(e => e.isIntersecting)) { seen.disconnect(); play(true); }
      }, { threshold: 0.4 });
      seen.observe(document.getElementById("replays"));
    }
  }

  dark.addEventListener("change", () => {
    drawn.forEach(([node, figure]) => Plotly.relayout(node, paint(figure)));
    if (replays.length) draw();
  });
})();
