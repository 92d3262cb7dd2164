// A small overview of meshes and proxies. It asks the public API only, and puts
// everything that it shows into the page as text, never as markup.
"use strict";

const config = JSON.parse(document.getElementById("kuma-config").textContent);
const main = document.getElementById("main");
const api = config.apiUrl.replace(/\/$/, "");

// element makes an element with text or children.
function element(name, content, attributes = {}) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  for (const c of [].concat(content)) e.append(c);
  return e;
}

// get asks the API; errors carry its title and detail.
async function get(path) {
  const r = await fetch(api + path, { headers: { Accept: "application/json" } });
  const body = await r.json().catch(() => ({}));
  if (!r.ok) throw new Error([body.title || r.statusText, body.detail].filter(Boolean).join(": "));
  return body;
}

function table(titles, rows) {
  if (!rows.length) return element("p", "Nothing here yet.");
  return element("table", [
    element("thead", element("tr", titles.map((t) => element("th", t)))),
    element("tbody", rows.map((r) => element("tr", r.map((c) => element("td", c))))),
  ]);
}

// status tells how a proxy is, as the API sheet defines it.
function status(item) {
  const subs = (item.dataplaneInsight || {}).subscriptions || [];
  const online = subs.some((s) => s.connectTime && !s.disconnectTime);
  const networking = item.dataplane.networking || {};
  const inbounds = networking.gateway ? [] : networking.inbound || [];
  const unready = inbounds.filter((i) => i.state === "NotReady" || (i.health && !i.health.ready));
  if (!online || (inbounds.length && unready.length === inbounds.length)) return ["offline", "offline"];
  return unready.length ? ["partially degraded", "partially"] : ["online", "online"];
}

function tags(item) {
  const n = item.dataplane.networking || {};
  const all = n.gateway ? [n.gateway.tags || {}] : (n.inbound || []).map((i) => i.tags || {});
  return [...new Set(all.map((t) => t["kuma.io/service"]).filter(Boolean))].join(", ");
}

async function meshes() {
  const list = await get("/mesh-insights?size=1000");
  return table(["Mesh", "Proxies online", "Services", "Policies"], list.items.map((m) => [
    element("a", m.name, { href: "meshes/" + encodeURIComponent(m.name) }),
    `${m.dataplanes.online || 0} of ${m.dataplanes.total || 0}`,
    String((m.services || {}).total || 0),
    String(Object.values(m.policies || {}).reduce((n, p) => n + p.total, 0)),
  ]));
}

async function proxies(mesh, offset) {
  const size = 100;
  const list = await get(`/meshes/${encodeURIComponent(mesh)}/dataplanes/_overview?size=${size}&offset=${offset}`);
  const rows = list.items.map((d) => {
    const [text, kind] = status(d);
    return [d.name, tags(d), (d.dataplane.networking || {}).address || "", element("span", text, { class: kind })];
  });
  const out = [element("h2", `Mesh ${mesh}: ${list.total} proxies`), table(["Proxy", "Services", "Address", "Status"], rows)];
  if (list.next) {
    const next = element("button", "Next page");
    next.addEventListener("click", () => show(() => proxies(mesh, offset + size)));
    out.push(next);
  }
  return out;
}

async function show(view) {
  try {
    main.replaceChildren(...[].concat(await view()));
  } catch (err) {
    main.replaceChildren(element("p", err.message, { class: "error" }));
  }
}

document.getElementById("about").textContent = `${config.product} ${config.version}, ${config.mode}, ${config.environment}, store ${config.storeType}`;
const where = location.pathname.slice(config.baseGuiPath.length).match(/^\/meshes\/([^/]+)/);
show(where ? () => proxies(decodeURIComponent(where[1]), 0) : meshes);
