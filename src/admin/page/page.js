// The page lives on: the server sends what has changed once a second. Without this script it is the page of one moment.
"use strict";
(() => {
  const main = document.querySelector("main[data-set]");
  const news = document.getElementById("news");
  const places = (name) => {
    const all = new Map();
    for (const element of document.querySelectorAll(`[data-${name}]`)) all.set(element.dataset[name], element);
    return all;
  };
  const [texts, blocks, lines] = ["t", "h", "d"].map(places);
  const say = (text) => {
    if (news.textContent !== text) news.textContent = text;
  };

  // What a browser gives back is not what it was given: what was written is remembered.
  const written = new WeakMap();
  const write = (element, html) => {
    if (written.get(element) === html) return;
    written.set(element, html);
    element.innerHTML = html;
  };

  const apply = (data) => {
    if (data.set !== main.dataset.set) return location.reload();
    for (const [key, text] of Object.entries(data.t)) {
      const element = texts.get(key);
      if (element && element.textContent !== text) element.textContent = text;
    }
    for (const [key, html] of Object.entries(data.h)) {
      const element = blocks.get(key);
      // Who stands on a link in it is not thrown off.
      if (element && !element.contains(document.activeElement)) write(element, html);
      if (!element && key.includes(".")) return location.reload();
    }
    for (const [key, path] of Object.entries(data.d)) lines.get(key)?.setAttribute("d", path);
  };

  let source, heard = 0;
  const listen = () => {
    source = new EventSource("/events");
    source.onmessage = (event) => {
      heard = Date.now();
      main.dataset.live = "yes";
      say("It changes by itself.");
      apply(JSON.parse(event.data));
    };
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) setTimeout(listen, 10000);
    };
  };
  listen();
  setInterval(() => {
    if (Date.now() - heard > 5000) {
      main.dataset.live = "no";
      say("No news comes just now; what is shown may be old.");
    }
  }, 1000);

  // Rows of partitions are fetched for those that are unfolded alone.
  const unfolded = () =>
    [...document.querySelectorAll("details[data-partitions][open]")].filter((of) => of.parentElement.closest("details").open);
  let asking = false;
  const rows = async () => {
    const open = unfolded();
    if (asking || document.hidden || open.length === 0) return;
    asking = true;
    try {
      const answer = await fetch("/partitions?" + open.map((of) => "of=" + encodeURIComponent(of.dataset.of)).join("&"));
      if (!answer.ok) return;
      for (const [name, html] of Object.entries(await answer.json())) {
        const of = open.find((one) => one.dataset.of === name);
        const body = of?.querySelector("tbody");
        if (body) write(body, html);
      }
    } catch {
      // The worker is away; the events tell that.
    } finally {
      asking = false;
    }
  };
  document.addEventListener("toggle", (event) => event.target.matches("details") && event.target.open && rows(), true);
  setInterval(rows, 2000);

  // A link to a pipeline unfolds it.
  const unfold = () => {
    const aim = document.getElementById(location.hash.slice(1));
    if (aim?.matches("details")) aim.open = true;
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
