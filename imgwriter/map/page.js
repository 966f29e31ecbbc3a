"use strict";
// The page's script: it merges runs for the bytes that are looked at, and draws them in rows.
// Names come from the image: they are set as text, never as markup.
(() => {
  const SVG = "http://www.w3.org/2000/svg";
  const ROWS = 24, STEP = 20, HEIGHT = 16, LABELS = 78, THINNEST = 3, LEAST_ROW = 512, MOST_FOUND = 50;
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("data").textContent);
  const map = byId("map"), about = byId("about"), tip = byId("tip"), found = byId("found"), search = byId("search");

  // --- The data, unpacked ---
  const labels = [];
  for (let i = 0, before = ""; i < data.labels.length; i += 2) {
    before = before.slice(0, data.labels[i]) + data.labels[i + 1];
    labels.push(before);
  }
  const count = data.runs.length / 3;
  const starts = new Float64Array(count + 1), kinds = new Uint8Array(count), names = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    starts[i + 1] = starts[i] + data.runs[3 * i];
    kinds[i] = data.runs[3 * i + 1];
    names[i] = data.runs[3 * i + 2];
  }
  // What a path finds first: files, then directories, then what belongs to them.
  const RANKS = { file: 0, fragment: 0, unwritten: 0, directory: 1 };
  const ranks = new Uint8Array(labels.length).fill(2);
  for (let i = 0; i < count; i++) ranks[names[i]] = RANKS[data.kinds[kinds[i]][0]] ?? 2;
  const kindName = (i) => data.kinds[kinds[i]][2];

  const indexAt = (offset) => {
    let low = 0, high = count - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (starts[middle] <= offset) low = middle; else high = middle - 1;
    }
    return low;
  };
  const areaOf = (offset) => data.areas.find((a) => a.start <= offset && offset < a.end);

  const number = (n) => n.toLocaleString("en-US");
  const size = (n) => {
    const units = ["KiB", "MiB", "GiB", "TiB"];
    let unit = "B";
    let value = n;
    for (const next of units) {
      if (value < 1024) break;
      value /= 1024;
      unit = next;
    }
    return unit === "B" ? number(n) + " B" : (value < 100 && value % 1 ? value.toFixed(1) : Math.round(value)) + " " + unit;
  };

  // --- What is shown ---
  let view = { start: 0, end: data.size };
  const history = [];
  let shown = [], rowBytes = 1, cursor = -1, selected = -1, only = -1;

  const merge = (start, end, least) => {
    // Runs of [start, end): neighbours shorter than `least` bytes become one.
    const result = [];
    let batch = null;
    for (let i = indexAt(start); i < count && starts[i] < end; i++) {
      const low = Math.max(starts[i], start), high = Math.min(starts[i + 1], end);
      if (high <= low) continue;
      if (batch && (batch.end - batch.start >= least || high - low >= least)) {
        result.push(batch);
        batch = null;
      }
      if (!batch) batch = { start: low, end: high, first: i, last: i, sums: new Map() };
      batch.end = high;
      batch.last = i;
      batch.sums.set(kinds[i], (batch.sums.get(kinds[i]) || 0) + high - low);
    }
    if (batch) result.push(batch);
    for (const run of result) {
      let best = -1, most = -1;
      for (const [kind, sum] of run.sums) if (sum > most) [best, most] = [kind, sum];
      run.kind = best;
    }
    return result;
  };

  const element = (name, attributes, parent) => {
    const node = document.createElementNS(SVG, name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (parent) parent.appendChild(node);
    return node;
  };

  const layout = () => {
    const area = data.areas.find((a) => a.start === view.start && a.end === view.end);
    const length = view.end - view.start;
    const bytes = area && area.groups ? area.row : Math.max(Math.ceil(length / ROWS), LEAST_ROW);
    return { bytes, rows: Math.max(Math.ceil(length / bytes), 1), groups: area ? area.groups : 0 };
  };

  const draw = () => {
    const width = Math.max(map.clientWidth || 900, 320);
    const { bytes, rows, groups } = layout();
    const factor = (width - LABELS) / bytes;
    rowBytes = bytes;
    map.textContent = "";
    map.setAttribute("viewBox", `0 0 ${width} ${rows * STEP}`);
    map.style.height = rows * STEP + "px";
    shown = [];
    // Rows count from the start of what the view is in: a partition, or the disk.
    const around = areaOf(view.start);
    const inside = around && view.end <= around.end;
    const base = inside ? around.start : 0;
    for (let row = 0; row < rows; row++) {
      const low = view.start + row * bytes, high = Math.min(low + bytes, view.end);
      const text = element("text", { x: LABELS - 8, y: row * STEP + 12, class: "dim end" }, map);
      text.textContent = groups ? "group " + number(row * groups) : size(low - base);
      for (const run of merge(low, high, THINNEST / factor)) {
        const kind = data.kinds[run.kind][0];
        const tint = kind === "file" ? " t" + (names[run.first] % 3) : "";
        const lit = only === run.kind || run.sums.has(only) ? " lit" : "";
        run.row = row;
        run.x = LABELS + (run.start - low) * factor;
        run.width = Math.max((run.end - run.start) * factor, 0.75);
        element("rect", {
          class: `run ${kind}${tint}${lit}${kind === "file" || kind === "fragment" ? " sep" : ""}`, "data-run": shown.length,
          x: run.x.toFixed(2), y: row * STEP, width: run.width.toFixed(2), height: HEIGHT,
        }, map);
        shown.push(run);
      }
    }
    map.classList.toggle("dimmed", selected >= 0 || only >= 0);
    drawHits(bytes, factor);
    drawCursor();
    const title = view.start === 0 && view.end === data.size ? "The whole disk" : inside ? around.title : "The disk";
    byId("where").textContent =
      `${title}: ${size(view.end - view.start)} at ${number(view.start)}, ${size(bytes)} a row`;
    byId("back").disabled = !history.length;
    byId("out").disabled = view.start === 0 && view.end === data.size;
    drawLegend();
  };

  const drawHits = (bytes, factor) => {
    if (selected < 0) return;
    let drawn = 0;
    for (let i = indexAt(view.start); i < count && starts[i] < view.end && drawn < 2000; i++) {
      if (names[i] !== selected) continue;
      let low = Math.max(starts[i], view.start);
      const high = Math.min(starts[i + 1], view.end);
      while (low < high && drawn < 2000) {
        const row = Math.floor((low - view.start) / bytes);
        const end = Math.min(high, view.start + (row + 1) * bytes);
        const x = LABELS + (low - view.start - row * bytes) * factor;
        const width = (end - low) * factor;
        const kind = data.kinds[kinds[i]][0];
        const wide = Math.max(width, 5);
        element("rect", { class: "run lit " + kind, x: x.toFixed(2), y: row * STEP, width: wide.toFixed(2), height: HEIGHT },
          map).style.pointerEvents = "none";
        element("rect", { class: "hit", x: (x - 1).toFixed(2), y: row * STEP - 1, width: (wide + 2).toFixed(2), height: HEIGHT + 2 },
          map);
        drawn++;
        low = end;
      }
    }
  };

  const drawCursor = () => {
    const old = map.querySelector(".sel");
    if (old) old.remove();
    const run = shown[cursor];
    if (run) element("rect", { class: "sel", x: run.x.toFixed(2), y: run.row * STEP, width: Math.max(run.width, 2).toFixed(2), height: HEIGHT }, map);
  };

  const drawLegend = () => {
    const sums = new Map();
    for (const run of shown) for (const [kind, sum] of run.sums) sums.set(kind, (sums.get(kind) || 0) + sum);
    const legend = byId("legend");
    const focused = legend.contains(document.activeElement) ? document.activeElement.dataset.kind : undefined;
    legend.textContent = "";
    data.kinds.forEach(([kind, name], index) => {
      if (!sums.has(index)) return;
      const button = document.createElement("button");
      button.dataset.kind = index;
      button.setAttribute("aria-pressed", only === index);
      element("rect", { class: kind, width: 13, height: 13 }, button.appendChild(element("svg", { "aria-hidden": true })));
      button.append(name);
      const amount = document.createElement("span");
      amount.className = "size";
      amount.textContent = size(sums.get(index));
      button.append(amount);
      button.addEventListener("click", () => {
        only = only === index ? -1 : index;
        selected = -1;
        draw();
      });
      legend.append(button);
      if (String(index) === focused) button.focus();
    });
  };

  const go = (start, end, keep = true) => {
    // A view has whole sectors and is never so small that nothing is to be seen.
    const least = Math.min(ROWS * LEAST_ROW / 4, data.size);
    let low = Math.floor(start / 512) * 512, high = Math.ceil(end / 512) * 512;
    if (high - low < least) {
      low = Math.max(0, Math.floor((low + high - least) / 2 / 512) * 512);
      high = low + least;
    }
    high = Math.min(high, data.size);
    low = Math.max(0, Math.min(low, high - 1));
    if (low === view.start && high === view.end) return;
    if (keep) history.push(view);
    view = { start: low, end: high };
    cursor = -1;
    draw();
  };
  const back = () => {
    if (!history.length) return;
    view = history.pop();
    cursor = -1;
    draw();
  };
  const zoom = (factor, centre = (view.start + view.end) / 2) => {
    const length = (view.end - view.start) * factor;
    const share = (centre - view.start) / (view.end - view.start);
    const start = Math.max(0, Math.min(centre - length * share, data.size - length));
    go(start, Math.min(start + length, data.size));
  };

  // --- What a run is ---
  const describe = (run) => {
    const first = labels[names[run.first]];
    if (run.first === run.last) {
      const whole = starts[run.first + 1] - starts[run.first];
      return `${first}\n${kindName(run.first)}, ${size(whole)} at ${number(starts[run.first])}`;
    }
    return `${number(run.last - run.first + 1)} runs: ${first} … ${labels[names[run.last]]}\n`
      + `${size(run.end - run.start)} at ${number(run.start)}`;
  };

  const tell = (run) => {
    about.textContent = "";
    const title = document.createElement("h2"), list = document.createElement("dl");
    about.append(title, list);
    const say = (term, value) => {
      const dt = document.createElement("dt"), dd = document.createElement("dd");
      dt.textContent = term;
      dd.textContent = value;
      list.append(dt, dd);
    };
    if (!run) {
      title.textContent = data.title;
      say("size", size(data.size));
      for (const a of data.areas) say(a.title, a.facts);
      return;
    }
    const area = areaOf(run.start);
    if (run.first !== run.last) {
      title.textContent = `${number(run.last - run.first + 1)} runs`;
      say("first", labels[names[run.first]]);
      say("last", labels[names[run.last]]);
      say("size", size(run.end - run.start));
      say("at", number(run.start));
      button(about, "Look inside", () => go(run.start, run.end));
      return;
    }
    const i = run.first;
    title.textContent = labels[names[i]];
    say("what", kindName(i));
    if (area) say("in", area.title);
    say("size", size(starts[i + 1] - starts[i]));
    say("at", number(starts[i]));
    if (area) say("there at", number(starts[i] - area.start));
    parts(names[i]);
  };

  const button = (parent, text, action) => {
    const node = document.createElement("button");
    node.textContent = text;
    node.addEventListener("click", action);
    parent.append(node);
    return node;
  };

  const runsOf = (name) => {
    const result = [];
    for (let i = 0; i < count; i++) if (names[i] === name) result.push(i);
    return result;
  };

  const parts = (name) => {
    const runs = runsOf(name);
    if (runs.length < 2) return;
    const list = document.createElement("ol");
    list.setAttribute("aria-label", "Its parts");
    runs.slice(0, 100).forEach((i, n) => {
      button(list.appendChild(document.createElement("li")),
        `part ${n + 1} of ${number(runs.length)}: ${size(starts[i + 1] - starts[i])} at ${number(starts[i])}`,
        () => go(starts[i] - (starts[i + 1] - starts[i]), starts[i + 1] + (starts[i + 1] - starts[i])));
    });
    about.append(list);
  };

  const select = (name) => {
    selected = name;
    only = cursor = -1;
    const runs = runsOf(name);
    const area = areaOf(starts[runs[0]]);
    if (area) go(area.start, area.end); else go(0, data.size);
    tell({ first: runs[0], last: runs[0], start: starts[runs[0]], end: starts[runs[0] + 1] });
    draw();
  };

  // --- Finding ---
  const lower = labels.map((text) => text.toLowerCase());
  const find = () => {
    const wanted = search.value.trim().toLowerCase();
    found.textContent = "";
    found.hidden = !wanted;
    if (!wanted) {
      selected = -1;
      draw();
      return;
    }
    let hits = 0;
    for (let rank = 0; rank < 3; rank++) {
      for (let i = 0; i < lower.length; i++) {
        if (ranks[i] !== rank || !lower[i].includes(wanted)) continue;
        if (hits++ < MOST_FOUND) button(found.appendChild(document.createElement("li")), labels[i], () => select(i));
      }
    }
    if (hits === 0 || hits > MOST_FOUND) {
      const more = found.appendChild(document.createElement("li"));
      more.className = "more";
      more.textContent = hits ? `and ${number(hits - MOST_FOUND)} more` : "nothing has that name";
    }
  };
  search.addEventListener("input", find);
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") {
      const first = found.querySelector("button");
      if (!first) return;
      event.preventDefault();
      if (event.key === "Enter") first.click(); else first.focus();
    } else if (event.key === "Escape") {
      search.value = "";
      find();
    }
  });
  found.addEventListener("keydown", (event) => {
    const item = document.activeElement.closest("li");
    const next = event.key === "ArrowDown" ? item.nextElementSibling : event.key === "ArrowUp" ? item.previousElementSibling : null;
    if (next && next.firstElementChild) next.firstElementChild.focus();
    else if (event.key === "ArrowUp" || event.key === "Escape") search.focus();
    else return;
    event.preventDefault();
  });

  // --- The mouse ---
  const runOf = (event) => {
    const index = event.target.dataset ? event.target.dataset.run : undefined;
    return index === undefined ? -1 : Number(index);
  };
  map.addEventListener("mousemove", (event) => {
    const index = runOf(event);
    tip.hidden = index < 0;
    if (index < 0) return;
    tip.textContent = describe(shown[index]);
    const left = event.clientX + 16 + tip.offsetWidth > innerWidth ? event.clientX - 12 - tip.offsetWidth : event.clientX + 16;
    tip.style.left = Math.max(left, 4) + "px";
    tip.style.top = Math.min(event.clientY + 16, innerHeight - tip.offsetHeight - 4) + "px";
  });
  map.addEventListener("mouseleave", () => { tip.hidden = true; });
  map.addEventListener("click", (event) => {
    const index = runOf(event);
    if (index < 0) return;
    const run = shown[index];
    cursor = index;
    selected = run.first === run.last ? names[run.first] : -1;
    tip.hidden = true;
    draw();
    tell(run);
    if (run.first !== run.last && event.detail < 2) go(run.start, run.end);
  });
  map.addEventListener("dblclick", (event) => {
    const index = runOf(event);
    if (index >= 0) zoom(0.25, (shown[index].start + shown[index].end) / 2);
  });
  map.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // without, the page scrolls
    event.preventDefault();
    const index = runOf(event);
    zoom(event.deltaY < 0 ? 0.5 : 2, index >= 0 ? (shown[index].start + shown[index].end) / 2 : undefined);
  }, { passive: false });

  // --- The keyboard ---
  const move = (to) => {
    cursor = Math.max(0, Math.min(to, shown.length - 1));
    drawCursor();
    tell(shown[cursor]);
  };
  const vertically = (by) => {
    const from = shown[Math.max(cursor, 0)];
    const middle = from.x + from.width / 2;
    const row = shown.findIndex((run) => run.row === from.row + by && run.x + run.width >= middle);
    if (row >= 0) move(row);
  };
  map.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const run = shown[cursor];
    switch (event.key) {
      case "ArrowRight": move(cursor + 1); break;
      case "ArrowLeft": move(cursor - 1); break;
      case "ArrowDown": vertically(1); break;
      case "ArrowUp": vertically(-1); break;
      case "Enter": if (run) { go(run.start, run.end); tell(run); } break;
      case "Escape": case "Backspace": back(); break;
      case "Home": go(0, data.size); break;
      case "+": case "=": zoom(0.5, run ? (run.start + run.end) / 2 : undefined); break;
      case "-": zoom(2); break;
      default: return;
    }
    event.preventDefault();
  });

  // --- The rest of the page ---
  byId("back").addEventListener("click", back);
  byId("whole").addEventListener("click", () => go(0, data.size));
  byId("in").addEventListener("click", () => zoom(0.5));
  byId("out").addEventListener("click", () => zoom(2));
  for (const box of document.querySelectorAll("#disk rect[data-start]")) {
    const open = () => go(Number(box.dataset.start), Number(box.dataset.end));
    box.setAttribute("tabindex", "0");
    box.setAttribute("role", "button");
    box.setAttribute("aria-label", box.querySelector("title").textContent);
    box.addEventListener("click", open);
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      open();
    });
  }
  document.querySelector("main").hidden = false;
  new ResizeObserver(() => draw()).observe(byId("columns"));
  const largest = data.areas.reduce((a, b) => (!a || b.end - b.start > a.end - a.start ? b : a), undefined);
  draw();
  tell();
  if (largest && data.areas.length) go(largest.start, largest.end);
})();
