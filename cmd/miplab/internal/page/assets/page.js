// The page of a tour: keeps all moments, and draws what they come to at one time of them.
"use strict";
(() => {
  const element = (id) => document.getElementById(id);
  const svgSpace = "http://www.w3.org/2000/svg";

  // make makes an element; children are elements or text. Text never becomes markup.
  function make(name, attributes, ...children) {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes || {})) e.setAttribute(k, v);
    e.append(...children);
    return e;
  }
  function draw(name, attributes, text) {
    const e = document.createElementNS(svgSpace, name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    if (text !== undefined) e.textContent = text;
    return e;
  }
  const seconds = (t) => t.toFixed(1) + " s";
  const word = { "x-mip": "x-MIP", vpn: "VPN", "i-mip": "i-MIP", underlay: "underlay" };

  // What has been told so far.
  const moments = [];
  let stage = null, end = null, duration = 0;
  // What is looked at.
  let wanted = 0, time = 0, following = true, playing = null, connected = true;

  // at returns what the moments up to t come to.
  function at(t) {
    const s = { cables: {}, client: null, packet: null, sample: null, changes: [], lines: [], step: "" };
    for (const m of moments) {
      if (m.at_s > t) break;
      switch (m.kind) {
        case "step":
          if (m.cable.network) s.cables[m.cable.interface] = m.cable.network; else delete s.cables[m.cable.interface];
          s.step = m.text;
          break;
        case "client": s.client = m.client; break;
        case "packet": s.packet = m.packet; break;
        case "sample": s.sample = m.sample; break;
        case "change": s.changes.push(m); break;
        case "line": s.lines.push(m); break;
      }
    }
    if (s.packet && (!s.client || s.client.mode !== s.packet.mode)) s.packet = null;
    return s;
  }

  // ---- where the laptop is

  const coreY = 150, internetY = 190, wireY = 332, laptopY = 392, borderX = 400;
  const spots = {
    "internal-ha": [255, 92], correspondent: [105, 92], gateway: [borderX, 226], "external-ha": [640, 105],
    "internal-fa": null, "external-fa": null,
  };
  // column returns where a network stands.
  function column(name) {
    const inside = stage.networks.filter((n) => n.inside), outside = stage.networks.filter((n) => !n.inside);
    const i = inside.findIndex((n) => n.name === name), o = outside.findIndex((n) => n.name === name);
    if (i >= 0) return 20 + (i + 0.5) * 340 / inside.length;
    return 450 + (o + 0.5) * 540 / outside.length;
  }
  const network = (name) => stage.networks.find((n) => n.name === name);
  const agentY = 258;

  // owner returns the name of the agent with an address.
  function owner(address) {
    const a = stage.agents.find((a) => address && a.addresses.includes(address));
    return a ? a.name : "";
  }

  // ways returns the ways of the layers and of the packet: rows of points, from the laptop or the agent where each begins.
  function ways(client, name) {
    const n = network(name);
    if (!n || !client || client.state !== "connected" || !client.layers) return [];
    const x = column(name), bus = n.inside ? coreY : internetY;
    const kind = (k) => client.layers.find((l) => l.kind === k);
    const up = [[x, laptopY], [x, bus]], fromAgent = [[x, agentY], [x, bus]];
    const list = [];
    const x_mip = kind("x-mip"), vpn = kind("vpn"), i_mip = kind("i-mip");
    let path = up; // of the packet, as far as it has been followed
    if (x_mip) {
      const ha = spots["external-ha"], leg = [[ha[0] - 6, bus], [ha[0] - 6, ha[1]]];
      list.push(["x-mip", (n.foreign_agent ? fromAgent : up).concat(leg)]);
      path = path.concat(leg, [[ha[0] + 6, ha[1]], [ha[0] + 6, bus]]);
    }
    if (vpn) {
      path = path.concat([[borderX, internetY], spots.gateway]);
      list.push(["vpn", path]);
    }
    const ha = spots["internal-ha"], leg = [[ha[0] - 6, coreY], [ha[0] - 6, ha[1]]];
    const begin = i_mip ? owner(i_mip.care_of) : "";
    if (vpn) {
      const behind = [spots.gateway, [borderX, coreY]].concat(leg);
      list.push(["i-mip", begin === "gateway" ? behind : path.concat(behind)]);
      path = path.concat(behind);
    } else {
      list.push(["i-mip", (n.foreign_agent ? fromAgent : up).concat(leg)]);
      path = path.concat(leg);
    }
    const cn = spots.correspondent;
    path = path.concat([[ha[0] + 6, ha[1]], [ha[0] + 6, coreY], [cn[0], coreY], cn]);
    list.push(["payload", path]);
    return list;
  }

  function box(x, y, width, lines, used) {
    const g = draw("g", {});
    const height = 16 * lines.length + 8;
    g.append(draw("rect", { class: used ? "box used" : "box", x: x - width / 2, y: y - height / 2, width, height, rx: 6 }));
    lines.forEach((l, i) => g.append(draw("text", { class: i ? "middle soft" : "middle", x, y: y - height / 2 + 17 + 16 * i }, l)));
    return g;
  }

  let laptop = null;
  function drawMap(s) {
    const map = element("map");
    const g = draw("g", {});
    g.append(draw("rect", { class: "zone in", x: 10, y: 30, width: 372, height: 332, rx: 10 }));
    g.append(draw("text", { x: 22, y: 50 }, "Company"));
    g.append(draw("rect", { class: "zone out", x: 420, y: 30, width: 570, height: 332, rx: 10 }));
    g.append(draw("text", { x: 432, y: 50 }, "Outside: the Internet, where anybody may listen"));
    g.append(draw("line", { class: "bus", x1: 30, y1: coreY, x2: borderX, y2: coreY }));
    g.append(draw("line", { class: "bus", x1: borderX, y1: internetY, x2: 975, y2: internetY }));
    g.append(draw("line", { class: "bus", x1: borderX, y1: coreY, x2: borderX, y2: 226 }));
    for (const name of ["correspondent", "internal-ha", "external-ha"]) {
      const [x, y] = spots[name];
      g.append(draw("line", { class: "stem", x1: x, y1: y, x2: x, y2: name === "external-ha" ? internetY : coreY }));
    }
    for (const n of stage.networks) {
      const x = column(n.name);
      g.append(draw("line", { class: "stem", x1: x, y1: wireY, x2: x, y2: n.inside ? coreY : internetY }));
    }
    const name = s.client ? s.cables[s.client.interface] : "";
    for (const [kind, points] of ways(s.client, name)) {
      g.append(draw("polyline", { class: "way " + kind, points: points.map((p) => p.join(",")).join(" ") }));
    }
    const uses = (kind) => s.client && s.client.state === "connected" && (s.client.layers || []).some((l) => l.kind === kind);
    g.append(box(...spots.correspondent, 130, ["correspondent", "10.0.1.20"], false));
    g.append(box(...spots["internal-ha"], 150, ["internal home agent", "i-HA 10.0.1.10"], uses("i-mip")));
    g.append(box(...spots["external-ha"], 160, ["external home agent", "x-HA 192.0.2.20"], uses("x-mip")));
    g.append(box(borderX, 226, 116, ["VPN gateway", "192.0.2.10"], uses("vpn")));
    g.append(box(borderX, 130, 76, ["firewall"], false));
    for (const n of stage.networks) {
      const x = column(n.name), used = n.name === name;
      if (n.foreign_agent) g.append(box(x, agentY, 100, ["foreign agent"], used));
      g.append(box(x, wireY, n.inside ? 165 : Math.min(165, 530 / stage.networks.filter((o) => !o.inside).length - 8), [n.name, n.about], used));
    }
    let here = 500;
    const plugged = Object.entries(s.cables);
    if (name) here = column(name); else if (plugged.length) here = column(plugged[0][1]);
    for (const [iface, where] of plugged) {
      const x = column(where);
      g.append(draw("line", { class: "cable", x1: here, y1: laptopY, x2: x, y2: wireY + 20 }));
      if (x !== here) g.append(draw("text", { class: "middle soft", x: (here + x) / 2, y: (laptopY + wireY) / 2 + 18 }, iface));
    }
    if (!laptop) {
      laptop = draw("g", { id: "laptop" });
      laptop.append(draw("rect", { x: -45, y: -13, width: 90, height: 26, rx: 5 }), draw("text", { class: "middle", x: 0, y: 5 }, "laptop"));
      map.append(g, laptop);
    } else {
      map.firstChild.replaceWith(g);
    }
    laptop.style.transform = `translate(${here}px, ${laptopY + 8}px)`;

    const where = plugged.map(([i, n]) => `${i} is in ${n} (${network(n).about})`).join(", ") || "The laptop is in no network";
    const about = (address) => { const a = stage.agents.find((a) => a.name === owner(address)); return "the " + (a ? a.about : address || "agent"); };
    const layers = (s.client && s.client.layers || []).filter((l) => l.kind !== "underlay").reverse();
    const relayed = layers.length > 1 && owner(layers[0].remote) === "gateway"; // the gateway is i-MIP's foreign agent
    const through = (relayed ? layers.slice(1) : layers).map((l) => `${word[l.kind]} to ${about(l.remote)}`).join(" inside ") +
      (relayed ? "; the gateway tunnels on to the internal home agent" : "");
    element("map-text").textContent = where + ". " + (s.client && s.client.state === "connected" && through ? `Packets go through ${through}.` : "No packets go.");
  }

  // ---- what is so now

  function facts(s) {
    const c = s.client, list = [];
    const fact = (term, value, more) => {
      const dd = make("dd", {}, value);
      if (more) dd.append(make("small", {}, more));
      list.push(make("div", {}, make("dt", {}, term), dd));
    };
    fact("State", c ? c.state : "not started", s.step);
    fact("Access mode", c && c.mode ? c.mode : "none", c && c.mode_policy && c.mode_policy !== "auto" ? "pinned to " + c.mode_policy : "chosen by the client");
    const left = s.sample ? s.sample.expires_in_s : null;
    fact("Where", c ? c.verdict : "unknown", left != null ? `the proof holds for ${left.toFixed(0)} s more` : c ? c.reason : "");
    const i_mip = c && (c.layers || []).find((l) => l.kind === "i-mip");
    fact("Home address", i_mip ? i_mip.local : "10.0.8.100", "the same everywhere");
    fact("TCP session", s.sample ? (s.sample.tcp_octets / 1000).toFixed(0) + " kB" : "0 kB", "one connection all the time");
    fact("Datagrams lost", s.sample ? `${Math.max(0, s.sample.sent - s.sample.back)} of ${s.sample.sent}` : "0", "those still under way included");
    fact("Plaintext outside", s.sample ? `${s.sample.plaintext_frames} frames` : "0 frames", s.sample ? `of ${s.sample.outside_frames} on the wires outside, ${s.sample.esp_frames} of them ESP` : "");
    element("facts").replaceChildren(...list);
  }

  // ---- around one packet

  function parts(headers, inner) {
    const before = headers.filter((h) => !h.behind), behind = headers.filter((h) => h.behind);
    const secret = headers.some((h) => h.encrypted);
    const all = before.concat([{ layer: "payload", name: "packet from the home address", rfc: "RFC 791", octets: inner, encrypted: secret }], behind);
    let offset = 0;
    return all.filter((h) => h.octets > 0).map((h) => { const p = { ...h, offset }; offset += h.octets; return p; });
  }
  const look = (p) => "part " + p.layer + (p.encrypted ? " encrypted" : "");
  const sum = (headers) => headers.reduce((n, h) => n + h.octets, 0);

  function fillBar(bar, all, labels) {
    bar.replaceChildren(...all.map((p) => {
      const e = make("span", { class: look(p), title: `${word[p.layer] || ""} ${p.name}: ${p.octets} octets${p.encrypted ? ", encrypted" : ""}` }, labels ? String(p.octets) : "");
      e.style.flexGrow = p.octets;
      return e;
    }));
  }

  let shownPacket = "nothing";
  function packet(s) {
    const p = s.packet;
    const key = p ? JSON.stringify(p) : "";
    if (key === shownPacket) return;
    shownPacket = key;
    const rows = element("headers").tBodies[0], figure = element("frame");
    if (!p || !p.headers) {
      element("packet-text").textContent = p && p.uncounted ? p.uncounted : p ? packetText(p, []) : "No packets go at this time.";
      if (!p || p.uncounted) {
        fillBar(element("bar"), [], true);
        rows.replaceChildren();
        figure.hidden = true;
        return;
      }
    }
    const all = parts(p.headers || [], stage.inner_octets);
    element("packet-text").textContent = packetText(p, p.headers || []);
    fillBar(element("bar"), all, true);
    rows.replaceChildren(...all.map((h) => make("tr", {},
      make("td", { class: look(h) }, word[h.layer] || "packet"), make("td", {}, h.name + (h.encrypted ? " (encrypted)" : "")), make("td", {}, h.rfc),
      make("td", { class: "number" }, String(h.octets)))));
    figure.hidden = !p.frame;
    if (!p.frame) return;
    figure.firstElementChild.textContent = `A packet that left the laptop in ${p.network}, octet by octet: ${p.frame.length / 2} of them, in the colours of the layers`;
    figure.lastElementChild.replaceChildren(...dump(p.frame, all));
  }

  function packetText(p, headers) {
    const added = sum(headers);
    return `Mode ${p.mode} in ${p.network}: ${added} octets around a packet of ${stage.inner_octets}, ${p.octets} on the wire` +
      (p.frame ? ", as seen there." : "; none has been seen yet.") +
      (headers.some((h) => h.encrypted) ? " Hatched: encrypted." : "") + (added === 0 ? " The foreign agent does the tunnelling." : "");
  }

  // dump returns the octets in rows of 16, coloured by part.
  function dump(hex, all) {
    const out = [], count = hex.length / 2;
    for (const p of all) {
      for (let i = p.offset; i < Math.min(p.offset + p.octets, count);) {
        const stop = Math.min(p.offset + p.octets, count, i - i % 16 + 16);
        let text = "";
        for (let j = i; j < stop; j++) text += hex.slice(2 * j, 2 * j + 2) + (j % 16 === 15 ? "" : " ");
        if (i % 16 === 0) out.push(document.createTextNode(i.toString(16).padStart(4, "0") + "  "));
        out.push(make("span", { class: look(p) }, text));
        if (stop % 16 === 0) out.push(document.createTextNode("\n"));
        i = stop;
      }
    }
    return out;
  }

  let modesOf = null;
  function modes(s) {
    if (modesOf !== stage) {
      modesOf = stage;
      const widest = Math.max(...stage.modes.map((m) => sum(m.headers || [])));
      element("modes-text").textContent = `On paper, with ${stage.cipher} and no NAT on the way, for a packet of ${stage.inner_octets} octets: what miplab overhead measures.`;
      element("modes").replaceChildren(...stage.modes.map((m) => {
        const bar = make("div", { class: "bar" }), headers = m.headers || [];
        fillBar(bar, parts(headers, stage.inner_octets), false);
        bar.style.width = (100 * (sum(headers) + stage.inner_octets) / (widest + stage.inner_octets)) + "%";
        return make("li", { "data-mode": m.name }, make("span", {}, m.name), bar, make("span", { class: "number" }, `+${sum(headers)} octets`));
      }));
    }
    const switched = s.client && (s.client.layers || []).some((l) => l.encapsulation === "switched");
    const name = s.client && s.client.state === "connected" ? s.client.mode + (switched ? "+zot" : "") : "";
    for (const li of element("modes").children) {
      if (li.dataset.mode === name) li.setAttribute("aria-current", "true"); else li.removeAttribute("aria-current");
    }
  }

  // ---- time line

  const left = 90, right = 985, laneY = 14, flowY = 46, flowH = 84, lostY = 146, lostH = 44, leakY = 214, axisY = 232;
  const across = (t) => left + (right - left) * (duration > 0 ? t / duration : 0);

  function drawLine() {
    const g = draw("g", {});
    const label = (y, text) => g.append(draw("text", { class: "end", x: left - 8, y }, text));
    label(laneY + 15, "mode");
    label(flowY + 30, "TCP");
    label(lostY + 26, "lost");
    label(leakY + 5, "plaintext");
    let gaps = 0, longest = 0;
    for (const m of moments) {
      if (m.kind !== "resumed" || m.gap.first) continue;
      const from = across(m.gap.offered_s), to = across(m.gap.resumed_s), outage = 1000 * (m.gap.resumed_s - m.gap.offered_s);
      gaps++;
      longest = Math.max(longest, outage);
      g.append(draw("rect", { class: "gap", x: from, y: flowY - 8, width: Math.max(1, to - from), height: lostY + lostH - flowY + 8 }));
    }
    const samples = moments.filter((m) => m.kind === "sample");
    // Half a second of samples at a time.
    const rate = [];
    let most = 0;
    for (let i = 5; i < samples.length; i++) {
      const a = samples[i - 5], b = samples[i], dt = b.at_s - a.at_s;
      if (dt <= 0) continue;
      const kbit = 8 * (b.sample.tcp_octets - a.sample.tcp_octets) / dt / 1000;
      most = Math.max(most, kbit);
      rate.push([b.at_s, kbit]);
    }
    if (rate.length > 1 && most > 0) {
      const y = (k) => flowY + flowH - flowH * k / most;
      g.append(draw("polygon", { class: "flow", points: [[across(rate[0][0]), y(0)], ...rate.map(([t, k]) => [across(t), y(k)]), [across(rate[rate.length - 1][0]), y(0)]].map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ") }));
    }
    label(flowY + 46, most > 0 ? `${(most / 1000).toFixed(1)} Mbit/s` : "");
    g.lastChild.classList.add("soft");
    g.append(draw("line", { class: "axis", x1: left, y1: flowY + flowH, x2: right, y2: flowY + flowH }));
    // Datagrams that had not come back half a second after they were sent, by when they were sent; a change of their count is a loss.
    for (let i = 1; i < samples.length; i++) {
      const a = samples[i - 1].sample, b = samples[i].sample;
      const missing = (b.sent - a.sent) - (b.back - a.back);
      if (missing > 2) {
        const h = Math.min(lostH, missing * 4);
        g.append(draw("rect", { class: "lost", x: across(samples[i - 1].at_s), y: lostY + lostH - h, width: Math.max(1, across(samples[i].at_s) - across(samples[i - 1].at_s)), height: h }));
      }
    }
    g.append(draw("line", { class: "axis", x1: left, y1: lostY + lostH, x2: right, y2: lostY + lostH }));
    // Access modes.
    let since = null, mode = "";
    const span = (to) => {
      if (!mode) return;
      const x = across(since), width = across(to) - x;
      g.append(draw("rect", { class: mode === "c" || mode === "f" ? "lane plain" : "lane secured", x, y: laneY, width, height: 22 }));
      if (width > 26) g.append(draw("text", { class: "middle", x: x + width / 2, y: laneY + 16 }, mode));
    };
    for (const m of moments) {
      if (m.kind !== "client") continue;
      const now = m.client.state === "connected" ? m.client.mode : "";
      if (now === mode) continue;
      span(m.at_s);
      since = m.at_s;
      mode = now;
    }
    span(duration);
    // Plaintext outside.
    g.append(draw("line", { class: "none", x1: left, y1: leakY, x2: right, y2: leakY }));
    let leaks = 0;
    for (const m of samples) {
      if (m.sample.plaintext_frames > leaks) g.append(draw("rect", { class: "leak", x: across(m.at_s) - 3, y: leakY - 9, width: 6, height: 18 }));
      leaks = m.sample.plaintext_frames;
    }
    const step = [1, 2, 5, 10, 20, 60, 120, 300, 600, 1800, 3600].find((s) => duration / s <= 12) || 7200;
    for (let t = 0; t <= duration; t += step) {
      g.append(draw("line", { class: "axis", x1: across(t), y1: axisY, x2: across(t), y2: axisY + 5 }), draw("text", { class: "middle soft", x: across(t), y: axisY + 20 }, t + " s"));
    }
    const line = element("line");
    if (line.firstChild) line.firstChild.replaceWith(g); else line.append(g, draw("rect", { class: "later", y: 4, height: axisY - 4 }), draw("line", { class: "cursor", y1: 4, y2: axisY }));
    element("line-text").textContent = `${seconds(duration)} with ${gaps} changes; the longest outage was ${longest.toFixed(0)} ms; ${leaks === 0 ? "no frame" : leaks + " frames"} of enterprise traffic in plaintext outside.` +
      " Red columns are datagrams that did not come back in their time, framed in red is each outage.";
  }

  function drawCursor() {
    const [, later, cursor] = element("line").children;
    if (!cursor) return;
    const x = across(time);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    later.setAttribute("x", x);
    later.setAttribute("width", Math.max(0, right - x));
  }

  // ---- changes and log

  let changesDrawn = -1;
  function changes(s) {
    const all = moments.filter((m) => m.kind === "change");
    const body = element("changes").tBodies[0];
    if (all.length !== changesDrawn) {
      changesDrawn = all.length;
      body.replaceChildren(...all.map((m) => {
        const go = make("button", { type: "button" }, seconds(m.at_s)), c = m.change;
        go.addEventListener("click", () => goTo(m.at_s));
        const bad = c.plaintext_frames > 0 ? "number bad" : "number";
        return make("tr", {}, make("td", {}, go), make("td", {}, c.cause), make("td", {}, c.from === c.to ? c.to : `${c.from} to ${c.to}`), make("td", {}, c.evidence),
          make("td", { class: "number" }, c.outage_ms.toFixed(0) + " ms"), make("td", { class: "number" }, c.sent ? `${c.lost} of ${c.sent}` : "–"), make("td", { class: bad }, String(c.plaintext_frames)));
      }));
    }
    [...body.rows].forEach((row, i) => row.classList.toggle("now", i === s.changes.length - 1));
  }

  let linesDrawn = 0;
  function log(s) {
    const pre = element("log");
    if (s.lines.length === linesDrawn) return;
    if (s.lines.length < linesDrawn) { pre.replaceChildren(); linesDrawn = 0; }
    const atEnd = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
    pre.append(s.lines.slice(linesDrawn).map((m) => m.at_s.toFixed(3).padStart(8) + "s  " + m.text + "\n").join(""));
    linesDrawn = s.lines.length;
    if (atEnd) pre.scrollTop = pre.scrollHeight;
  }

  function verdict() {
    const v = element("verdict");
    let text = "The run goes on.", kind = "";
    if (end) {
      const r = end.report;
      if (!r) {
        [text, kind] = ["The run could not be played to its end: " + (end.text || "no reason was given"), "failed"];
      } else if (r.passed) {
        [text, kind] = [`Passed: one session through ${r.changes.length} steps, ${r.plaintext_frames} frames in plaintext outside`, "passed"];
      } else {
        [text, kind] = ["Failed: " + (r.failures[0] || end.text || "the run did not come to its end"), "failed"];
      }
    } else if (!connected) {
      text = "No answer from miplab: the page shows what came until then.";
    }
    if (v.textContent !== text) v.textContent = text;
    v.className = kind;
  }

  // ---- time

  let drawnMoments = 0;
  function render() {
    scheduled = false;
    if (!stage) return;
    if (following) wanted = duration;
    time = Math.min(wanted, duration);
    const s = at(time);
    facts(s);
    drawMap(s);
    packet(s);
    modes(s);
    if (drawnMoments !== moments.length) { drawnMoments = moments.length; drawLine(); }
    drawCursor();
    changes(s);
    log(s);
    verdict();
    const slider = element("slider");
    slider.max = duration.toFixed(1);
    slider.value = time.toFixed(1);
    slider.setAttribute("aria-valuetext", `${seconds(time)} of ${seconds(duration)}: ${s.client && s.client.mode ? "mode " + s.client.mode : "no mode"}`);
    element("clock").textContent = `${time.toFixed(1)} of ${seconds(duration)}`;
    element("live").hidden = end !== null;
    element("live").setAttribute("aria-pressed", String(following));
    element("play").textContent = playing ? "Pause" : "Play";
  }
  let scheduled = false;
  function schedule() {
    if (scheduled) return;
    scheduled = true;
    setTimeout(render, 50);
  }

  function stop() {
    if (playing) clearInterval(playing);
    playing = null;
  }
  function goTo(t) {
    following = false;
    wanted = Math.max(t, 0);
    schedule();
  }
  element("slider").addEventListener("input", (e) => { stop(); goTo(Number(e.target.value)); });
  element("live").addEventListener("click", () => { stop(); following = true; schedule(); });
  element("play").addEventListener("click", () => {
    if (playing) { stop(); schedule(); return; }
    following = false;
    if (time >= duration - 0.05) goTo(0);
    let before = performance.now();
    playing = setInterval(() => {
      const now = performance.now();
      goTo(Math.min(wanted, duration) + Number(element("speed").value) * (now - before) / 1000);
      before = now;
      if (wanted >= duration && end) stop();
    }, 100);
    schedule();
  });

  function take(m) {
    moments.push(m);
    duration = Math.max(duration, m.at_s);
    if (m.kind === "stage") { stage = m.stage; element("world").textContent = stage.world; }
    if (m.kind === "end") end = m;
    schedule();
  }

  // A report has all moments in it; a server sends them.
  const recorded = element("recording");
  if (recorded) {
    for (const m of JSON.parse(recorded.textContent)) take(m);
    if (!end) connected = false;
  } else {
    element("save").hidden = false;
    const source = new EventSource("events");
    let next = 0, run = "";
    source.onopen = () => { connected = true; schedule(); };
    source.onmessage = (e) => {
      const [of, number] = e.lastEventId.split(".");
      if (run && of !== run) { location.reload(); return; } // another miplab has taken the port
      run = of;
      if (Number(number) <= next) return; // sent twice
      next = Number(number);
      const m = JSON.parse(e.data);
      take(m);
      if (m.kind === "end") source.close();
    };
    source.onerror = () => { connected = false; schedule(); };
  }
  const asked = /^#t=(\d+(\.\d+)?)$/.exec(location.hash);
  if (asked) goTo(Number(asked[1]));
  window.addEventListener("hashchange", () => { const t = /^#t=(\d+(\.\d+)?)$/.exec(location.hash); if (t) { stop(); goTo(Number(t[1])); } });
})();
