"use strict";
(() => {
  const picture = document.getElementById("timeline-picture");
  const show = (list) => { for (const it of list) it.hidden = false; };
  if (picture) {
    const whole = 100000;
    const height = picture.viewBox.baseVal.height;
    const length = Number(picture.dataset.length);
    // Down to 200 ns of the run, however long it is.
    const least = Math.min(20, whole * 200 / length);
    // A browser draws with some seven digits, which are too few for a place in a long run: what is to
    // be seen is drawn anew from numbers of fifteen.
    const paths = [...picture.querySelectorAll("path")].map((path) => ({
      path, boxes: [...path.getAttribute("d").matchAll(/M(\S+) (\S+)h(\S+)v(\S+?)h/g)].map((it) => it.slice(1).map(Number)),
    }));
    const spans = [...picture.querySelectorAll("rect.span")].map((rect) => ({
      rect, x: Number(rect.getAttribute("x")), width: Number(rect.getAttribute("width")),
    }));
    const seen = (x, wide) => {
      const at = Math.max(-10, (x - from) / width * whole), end = Math.min(whole + 10, (x + wide - from) / width * whole);
      return at <= end ? [at, end - at] : null;
    };
    const marks = picture.parentNode.querySelectorAll(".axis text");
    const words = document.getElementById("timeline-words");
    const events = [...document.querySelectorAll("#events tr[data-a]")].map((row) => ({
      at: Number(row.dataset.a), guest: Number(row.dataset.g), host: Number(row.dataset.h), row,
    }));
    let from = 0, width = whole;
    const time = (ns) => {
      const units = [["s", 1e9], ["ms", 1e6], ["\u00b5s", 1e3], ["ns", 1]];
      const [name, size] = units.find(([, size]) => Math.abs(ns) >= size) || units[3];
      return `${Number((ns / size).toPrecision(Math.min(15, 3 + Math.ceil(Math.log10(whole / width)))))}\u00a0${name}`;
    };
    const draw = () => {
      width = Math.min(whole, Math.max(least, width));
      from = Math.min(whole - width, Math.max(0, from));
      for (const { path, boxes } of paths) {
        let drawn = "";
        for (const [x, y, wide, high] of boxes) {
          const at = seen(x, wide);
          if (at) drawn += `M${at[0].toFixed(2)} ${y}h${at[1].toFixed(2)}v${high}h-${at[1].toFixed(2)}z`;
        }
        path.setAttribute("d", drawn);
      }
      for (const { rect, x, width } of spans) {
        const at = seen(x, width);
        rect.setAttribute("x", at ? at[0] : -20);
        rect.setAttribute("width", at ? at[1] : 0);
      }
      marks.forEach((mark, i) => {
        mark.textContent = time((from + width * i / (marks.length - 1)) / whole * length);
      });
    };
    const zoom = (by, around = from + width / 2) => {
      const share = (around - from) / width;
      width = Math.min(whole, Math.max(least, width * by));
      from = around - width * share;
      draw();
    };
    const act = {
      in: () => zoom(0.5), out: () => zoom(2),
      left: () => { from -= width / 4; draw(); }, right: () => { from += width / 4; draw(); },
      all: () => { from = 0; width = whole; draw(); },
    };
    for (const button of document.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => act[button.dataset.zoom]());
    }
    const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", "0": "all" };
    picture.setAttribute("tabindex", "0");
    picture.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[event.key]) return;
      event.preventDefault();
      act[keys[event.key]]();
    });
    const place = (event) => {
      const box = picture.getBoundingClientRect();
      return from + width * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    };
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    mark.setAttribute("class", "drag");
    mark.setAttribute("height", height);
    let begun = null;
    picture.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      begun = place(event);
      picture.setPointerCapture(event.pointerId);
    });
    picture.addEventListener("pointermove", (event) => {
      const at = place(event);
      if (begun !== null) {
        mark.setAttribute("x", (Math.min(begun, at) - from) / width * whole);
        mark.setAttribute("width", Math.abs(at - begun) / width * whole);
        picture.append(mark);
      }
      const ns = at / whole * length;
      const found = events.find((it) => it.at <= ns && ns < it.at + it.guest + it.host);
      const cells = found ? [...found.row.cells].map((cell) => cell.textContent) : [];
      words.textContent = found
        ? `${time(ns)}: ${cells[3]} in ${cells[4]}; ${cells[1]} in the guest, ${cells[2]} in the host`
        : time(ns);
    });
    const over = (event) => {
      if (begun === null) return;
      const at = place(event), dragged = Math.abs(at - begun);
      if (event.type === "pointerup" && dragged > width / 100) {
        from = Math.min(begun, at);
        width = dragged;
        draw();
      }
      begun = null;
      mark.remove();
    };
    picture.addEventListener("pointerup", over);
    picture.addEventListener("pointercancel", over);
    picture.addEventListener("dblclick", act.all);
    show([words]);
  }
  const flame = document.getElementById("flame-graph");
  if (flame) {
    const boxes = [...flame.querySelectorAll(".box")].map((box) => ({
      box, at: parseFloat(box.getAttribute("x")), width: parseFloat(box.getAttribute("width")),
    }));
    const only = (it) => {
      for (const other of boxes) {
        const at = (other.at - it.at) / it.width * 100, width = other.width / it.width * 100;
        const above = at < 0.001 && at + width > 99.999;
        other.box.setAttribute("x", `${above ? 0 : at}%`);
        other.box.setAttribute("width", `${above ? 100 : width}%`);
        other.box.style.display = at + width < 0.001 || at > 99.999 ? "none" : "";
        let text = other.box.querySelector("text");
        if (!text && (above || width > 0.6)) {
          text = document.createElementNS("http://www.w3.org/2000/svg", "text");
          text.setAttribute("x", "4");
          text.setAttribute("y", "13");
          text.textContent = other.box.querySelector("title").textContent.replace(/, [^,]*, [^,]*$/, "");
          other.box.append(text);
        }
      }
    };
    for (const it of boxes) it.box.addEventListener("click", () => only(it));
    document.getElementById("flame-all").addEventListener("click", () => only({ at: 0, width: 100 }));
  }
  show(document.querySelectorAll(".controls"));
})();
