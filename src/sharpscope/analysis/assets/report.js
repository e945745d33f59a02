"use strict";

/* Tooltips: one floating panel, filled from the data-tip of what is hovered or focused. */
(() => {
  const panel = document.getElementById("tip");

  function show(target) {
    const list = document.createElement("dl");
    for (const [term, value] of JSON.parse(target.dataset.tip)) {
      const row = document.createElement("div");
      for (const [tag, text] of [["dt", term], ["dd", value]]) {
        row.appendChild(document.createElement(tag)).textContent = text;
      }
      list.appendChild(row);
    }
    panel.replaceChildren(list);
    panel.hidden = false;
    const box = target.getBoundingClientRect();
    const width = panel.offsetWidth;
    const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, document.documentElement.clientWidth - width - 8));
    const above = box.top - panel.offsetHeight - 8;
    panel.style.left = `${left}px`;
    panel.style.top = `${above > 8 ? above : box.bottom + 8}px`;
  }

  const hide = () => { panel.hidden = true; };
  const find = (event) => event.target.closest?.("[data-tip]");
  for (const name of ["mouseover", "focusin"]) {
    document.addEventListener(name, (event) => { const target = find(event); target ? show(target) : hide(); });
  }
  document.addEventListener("focusout", hide);
  document.addEventListener("scroll", hide, true);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
})();

/* On paper nothing can be opened, and the verdicts are few. */
addEventListener("beforeprint", () => document.querySelectorAll("details.claim").forEach((claim) => { claim.open = true; }));

/* Unpack what draws the scatter plot, and run it. */
async function unpack(source) {
  const packed = Uint8Array.from(atob(source.textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  source.remove();
}

/* The scatter plot: a point per run, redrawn when another measure, moment, axis or color scheme is chosen. */
(async () => {
  const source = document.getElementById("scatter-data");
  if (!source) return;
  try {
    await unpack(document.getElementById("plotly"));
  } catch {
    document.getElementById("plot-caption").textContent = "This browser cannot unpack the plot. Its points are in results.csv, and figures/ has it as files.";
    return;
  }
  const data = JSON.parse(source.textContent);
  const plot = document.getElementById("plot");
  const control = (id) => document.getElementById(id);
  const scheme = matchMedia("(prefers-color-scheme: dark)");

  const moments = [...document.querySelectorAll("input[name=moment]")];
  const moment = () => moments.find((choice) => choice.checked)?.value ?? "";
  const columnOf = (axis) => {
    const chosen = control(`choose-${axis}`).value;
    return axis === "y" ? data.y[chosen][moment()] : chosen;
  };
  /* The values that an axis has to show: of a measure those at every moment, so that its axis stays as it is. */
  const shown = (axis) => {
    const chosen = control(`choose-${axis}`).value;
    const columns = axis === "y" ? Object.values(data.y[chosen]) : [chosen];
    return columns.flatMap((column) => data.values[column]).filter((value) => value !== null);
  };
  const axisOf = (axis) => data.axes[axis][control(`choose-${axis}`).value];

  /* Text of the user's as text, not as a tag or a template of Plotly. */
  const plain = (text) => text.replace(/[&<>%]/g, (character) => `&#${character.charCodeAt(0)};`);
  function trace(level, x, y, group) {
    const chosen = data.runs.id.map((_, i) => i).filter((i) =>
      data.runs.level[i] === level.name && (!group || data.runs.group[i] === group)
      && data.values[x][i] !== null && data.values[y][i] !== null);
    const take = (values) => chosen.map((i) => values[i]);
    const stderr = data.stderr[y] ? take(data.stderr[y]) : [];
    const hollow = chosen.map((i) => Boolean(data.unconverged[x]?.[i] || data.unconverged[y]?.[i]));
    const paper = getComputedStyle(document.documentElement).getPropertyValue("--paper").trim();
    return {
      type: "scatter", mode: "markers", name: plain(level.name), x: take(data.values[x]), y: take(data.values[y]),
      customdata: chosen.map((i, k) => [
        data.runs.id[i], data.runs.seed[i], data.runs.group[i] ? `<br>${plain(data.runs.group[i])}` : "", hollow[k] ? "<br>did not converge" : "",
      ]),
      marker: { color: level.color, symbol: hollow.map((is) => is ? `${level.symbol}-open` : level.symbol), size: level.symbol.startsWith("triangle") ? 11 : 9, opacity: 0.9, line: { color: hollow.map((is) => is ? level.color : paper), width: hollow.map((is) => is ? 1.6 : 1) } },
      error_y: { type: "data", array: stderr, visible: stderr.some((value) => value > 0), thickness: 1, width: 0 },
      hovertemplate: `<b>${plain(level.told)}</b>, seed %{customdata[1]}%{customdata[2]}<br>run %{customdata[0]}<br>`
        + `${plain(data.labels[x])}: %{x:.4~g}<br>${plain(data.labels[y])}: %{y:.4~g}%{customdata[3]}<extra></extra>`,
    };
  }

  function layout(x, y) {
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const narrow = plot.clientWidth < 560;
    const axis = (which, name, logarithmic) => ({
      title: { text: plain(data.labels[name]), standoff: 12 }, range: range(which, logarithmic), type: logarithmic ? "log" : "linear",
      gridcolor: color("--hairline"), linecolor: color("--rule"), zeroline: false, ticks: "outside", ticklen: 4,
      tickcolor: color("--rule"), automargin: true, nticks: narrow ? 5 : 8, exponentformat: "power",
      ...(logarithmic ? { tickmode: "array", tickvals: axisOf(which).ticks, ticktext: axisOf(which).texts } : {}),
    });
    return {
      font: { family: style.getPropertyValue("--sans"), size: 13, color: color("--ink-2") },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
      modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--ink-3"), activecolor: color("--accent") },
      margin: { l: 56, r: 12, t: 12, b: 48 }, height: narrow ? 420 : 480,
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, itemsizing: "constant", uirevision: "levels", title: { text: plain(data.factor) } },
      hoverlabel: { align: "left", bgcolor: color("--raised"), bordercolor: color("--rule"), font: { color: color("--ink") } },
      xaxis: axis("x", x, control("log-x").checked), yaxis: axis("y", y, control("log-y").checked),
    };
  }

  function range(axis, logarithmic) {
    const values = shown(axis).map((value) => logarithmic ? Math.log10(value) : value);
    const least = Math.min(...values), greatest = Math.max(...values);
    const margin = 0.06 * (greatest - least) || 0.5;
    return values.length ? [least - margin, greatest + margin] : undefined;
  }

  function caption(x, y) {
    const rho = (scope) => data.correlations[`${y}|${x}|${scope}`];
    const pooled = rho("pooled"), within = rho("within");
    const all = control("choose-group") ? "In all settings together: " : "";
    return pooled === undefined ? "" : `${all}Spearman’s ρ over all runs ${pooled}; ${data.within} ${within}.`;
  }

  function draw() {
    const x = columnOf("x"), y = columnOf("y");
    const group = control("choose-group")?.value ?? "";
    const traces = data.levels.map((level) => trace(level, x, y, group));
    control("plot-caption").textContent = caption(x, y);
    return Plotly.react(plot, traces, layout(x, y), {
      responsive: true, displaylogo: false, modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]],
      toImageButtonOptions: { format: "svg", filename: `${y}-vs-${x}` },
    });
  }

  /* Offer what there is: the moments of the measure, and outcomes at the end or where the measure is taken. */
  function offer() {
    const columns = data.y[control("choose-y").value], outcomes = control("choose-x");
    for (const choice of moments) choice.disabled = !(choice.value in columns);
    if (!(moment() in columns)) moments.find((choice) => !choice.disabled).checked = true;
    for (const part of outcomes.querySelectorAll("optgroup")) {
      part.hidden = part.disabled = !["", moment()].includes(part.dataset.moment);
    }
    if (outcomes.selectedOptions[0]?.parentElement.disabled ?? true) outcomes.selectedIndex = 0;
  }

  /* Draw what is chosen; an axis that shows something else starts as suits that. */
  function choose(...axes) {
    const before = control("choose-x").value;
    offer();
    for (const axis of control("choose-x").value === before ? axes : [...axes, "x"]) {
      const box = control(`log-${axis}`);
      box.disabled = shown(axis).some((value) => value <= 0);
      box.checked = axisOf(axis).logarithmic;
    }
    draw();
  }

  for (const axis of ["x", "y"]) {
    control(`choose-${axis}`).addEventListener("change", () => choose(axis));
    control(`log-${axis}`).addEventListener("change", draw);
  }
  for (const choice of moments) choice.addEventListener("change", () => choose());
  control("choose-group")?.addEventListener("change", draw);
  scheme.addEventListener("change", draw);
  /* Paper is light whatever the screen is. */
  matchMedia("print").addEventListener("change", draw);
  choose("x", "y");
})();
