"use strict";
(() => {
  const { layers, size, curve } = JSON.parse(document.getElementById("data").textContent);
  const find = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const element = (name, text, ...children) => {
    const made = document.createElement(name);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
  };
  const places = new Map(layers.map((layer, place) => [layer.id, place]));
  const link = (place) => "#layer=" + encodeURIComponent(layers[place].id);

  // The table: rows that the page does not hold are made of the first one when they are shown.
  const body = find("#layers tbody");
  const rows = [];
  for (const row of all("tr", body)) rows[row.dataset.layer] = row;
  const rowOf = (place) => {
    if (rows[place]) return rows[place];
    const layer = layers[place];
    const row = rows[0].cloneNode(true);
    row.className = layer.state;
    row.dataset.layer = place;
    const name = find("a", row);
    name.href = link(place);
    name.removeAttribute("aria-current");
    name.children[0].textContent = layer.folder;
    name.children[1].textContent = layer.name;
    all("rect", row).forEach((bar, index) => bar.setAttribute("width", (layer.bars[index] ?? 0) + "%"));
    all("td:not(.bars)", row).forEach((cell, index) => { cell.textContent = layer.cells[index]; });
    return (rows[place] = row);
  };
  const collator = new Intl.Collator(undefined, { numeric: true });
  const sorting = { column: null, descending: false };
  const keyOf = (place) => (sorting.column < 0 ? layers[place].id : layers[place].keys[sorting.column]);
  const compare = (one, two) => {
    const [a, b] = [keyOf(one), keyOf(two)];
    if (a === null || b === null) return (a === null) - (b === null);
    const order = typeof a === "number" ? a - b : collator.compare(a, b);
    return sorting.descending ? -order : order;
  };
  const texts = [];
  const textOf = (place) => (texts[place] ??= [layers[place].id, ...layers[place].cells].join("\n").toLowerCase());
  const search = find("#search");
  const state = find("#state");
  const more = find("#more");
  let order = layers.map((_, place) => place);
  let shown = size;
  const show = () => {
    body.replaceChildren(...order.slice(0, shown).map(rowOf));
    more.hidden = order.length <= shown;
    more.textContent = `Show ${Math.min(size, order.length - shown)} more of ${order.length}`;
    rove(all("a", body), find("a[aria-current]", body));
  };
  const update = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    order = [...layers.keys()].filter((place) =>
      (!state.value || layers[place].state === state.value) && words.every((word) => textOf(place).includes(word)));
    if (sorting.column !== null) order.sort(compare);
    shown = size;
    find("#count").textContent = order.length === layers.length ? `${order.length} layers` : `${order.length} of ${layers.length} layers`;
    show();
  };
  // One stop for the tab key in the table, and one in the graph; arrows move it.
  const rove = (links, current) => {
    for (const each of links) each.tabIndex = -1;
    if (links.length) (current ?? links[0]).tabIndex = 0;
  };
  const go = (target, links) => {
    if (!target) return;
    rove(links, target);
    target.focus();
  };
  search.addEventListener("input", update);
  state.addEventListener("change", update);
  find(".tools").addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { shown += size; show(); });
  for (const button of all("thead button", find("#layers"))) {
    const column = Number(button.dataset.column);
    button.addEventListener("click", () => {
      const numeric = column >= 0 && layers.some((layer) => typeof layer.keys[column] === "number");
      if (sorting.column !== column) Object.assign(sorting, { column, descending: numeric });
      else if (sorting.descending === numeric) sorting.descending = !numeric;
      else sorting.column = null;
      for (const head of all("#layers [aria-sort]")) head.setAttribute("aria-sort", "none");
      const direction = sorting.descending ? "descending" : "ascending";
      button.parentElement.setAttribute("aria-sort", sorting.column === null ? "none" : direction);
      update();
    });
  }
  body.addEventListener("keydown", (event) => {
    const links = all("a", body);
    const index = links.indexOf(document.activeElement);
    const steps = { ArrowDown: index + 1, ArrowUp: index - 1, Home: 0, End: links.length - 1 };
    if (index < 0 || !(event.key in steps)) return;
    event.preventDefault();
    if (steps[event.key] === links.length && !more.hidden) more.click();
    go(all("a", body)[steps[event.key]], all("a", body));
  });

  // The graph: down and up follow the lines, right and left go to the closest box.
  const nodes = all("#graph a.node");
  const byNumber = new Map(nodes.map((node) => [node.dataset.node, node]));
  const lines = all("#graph .line");
  const following = { forth: new Map(), back: new Map() };
  for (const line of lines) {
    const [start, end] = line.dataset.ends.split(" ");
    for (const [map, from, to] of [[following.forth, start, end], [following.back, end, start]]) {
      if (!map.has(from)) map.set(from, []);
      map.get(from).push(to);
    }
  }
  const follow = (map, from) => {
    const seen = new Set([from]);
    for (const number of seen) { // grows: operations, which are no layers, are passed
      if (number !== from && byNumber.has(number)) return byNumber.get(number);
      for (const next of map.get(number) ?? []) seen.add(next);
    }
    return null;
  };
  const beside = (node, direction) => {
    const box = find("rect", node);
    const [x, y] = [box.x.baseVal.value, box.y.baseVal.value];
    let [best, least] = [null, Infinity];
    for (const other of nodes) {
      const rect = find("rect", other);
      const across = (rect.x.baseVal.value - x) * direction;
      const distance = across + 4 * Math.abs(rect.y.baseVal.value - y);
      if (across > 0 && distance < least) [best, least] = [other, distance];
    }
    return best;
  };
  rove(nodes);
  find("#graph")?.addEventListener("keydown", (event) => {
    const node = event.target.closest("a.node");
    if (!node) return;
    const moves = {
      ArrowDown: () => follow(following.forth, node.dataset.node),
      ArrowUp: () => follow(following.back, node.dataset.node),
      ArrowRight: () => beside(node, 1),
      ArrowLeft: () => beside(node, -1),
      Home: () => nodes[0],
      End: () => nodes[nodes.length - 1],
    };
    if (!(event.key in moves)) return;
    event.preventDefault();
    go(moves[event.key](), nodes);
  });

  // The layer that is picked, which the address names.
  const details = find("#details");
  let opener = null;
  let byKey = false;
  const facts = (pairs) => {
    const list = element("dl");
    list.className = "facts";
    for (const [name, value] of pairs) list.append(element("dt", name), element("dd", value));
    return list;
  };
  const spectrum = (points) => {
    const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    const drawn = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    drawing.setAttribute("class", "spectrum");
    drawing.setAttribute("viewBox", `0 0 ${curve[0]} ${curve[1]}`);
    drawing.setAttribute("preserveAspectRatio", "none");
    drawing.setAttribute("aria-hidden", "true");
    drawn.setAttribute("points", points);
    drawing.append(drawn);
    return drawing;
  };
  const neighbours = (title, others) => {
    if (!others.length) return [];
    const list = element("ul");
    for (const place of others) {
      const target = element("a", layers[place].id);
      target.href = link(place);
      list.append(element("li", "", target));
    }
    return [element("h3", title), list];
  };
  const mark = (place) => {
    for (const each of all("[aria-current]")) each.removeAttribute("aria-current");
    for (const each of all(".line.near")) each.classList.remove("near");
    if (place === undefined) return;
    rows[place] && find("a", rows[place]).setAttribute("aria-current", "true");
    for (const node of nodes) {
      if (node.dataset.layer !== String(place)) continue;
      node.setAttribute("aria-current", "true");
      for (const line of lines) {
        if (line.dataset.ends.split(" ").includes(node.dataset.node)) line.classList.add("near");
      }
    }
  };
  const picked = () => {
    let id = "";
    try {
      if (location.hash.startsWith("#layer=")) id = decodeURIComponent(location.hash.slice(7));
    } catch { /* no address of ours */ }
    const place = places.get(id);
    mark(place);
    details.hidden = place === undefined;
    if (place === undefined) return;
    const layer = layers[place];
    find("#details-name").textContent = layer.id;
    const parts = [facts(layer.facts)];
    for (const kernel of layer.kernels) {
      if (!kernel.facts.length) continue;
      parts.push(element("h3", kernel.name), ...(kernel.curve ? [spectrum(kernel.curve)] : []), facts(kernel.facts));
    }
    parts.push(...neighbours("Reads", layer.reads), ...neighbours("Feeds", layer.feeds));
    find("#details-body").replaceChildren(...parts);
    details.scrollTop = 0;
    if (byKey) find("#details-name").focus();
    byKey = false;
  };
  const close = () => {
    history.replaceState(null, "", location.pathname + location.search);
    picked();
    opener?.focus();
    opener = null;
  };
  document.addEventListener("click", (event) => {
    const target = event.target.closest("a[href^='#layer=']");
    if (target) {
      byKey = event.detail === 0; // the enter key
      if (!details.contains(target)) opener = target;
      if (target.hash === location.hash) picked();
      return;
    }
    const row = event.target.closest("[data-layer]");
    if (row && !String(getSelection())) location.hash = link(Number(row.dataset.layer));
  });
  find("#close").addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !details.hidden) close();
  });
  addEventListener("hashchange", picked);
  update();
  picked();
  if (!details.hidden) find("#graph [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
})();
