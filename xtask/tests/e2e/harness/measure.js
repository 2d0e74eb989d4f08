(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const rect = (element) => {
    const { left, top, right, bottom } = element.getBoundingClientRect();
    return { left, top, right, bottom };
  };
  const bar = (element) => {
    const label = element.querySelector(".label");
    const shown = getComputedStyle(label).display !== "none";
    return {
      class: element.className.replace("bar ", ""),
      rect: rect(element),
      colour: getComputedStyle(element).background,
      label: label.textContent,
      label_rect: shown ? rect(label) : null,
      inside: label.classList.contains("inside"),
    };
  };
  const measured = {
    window: document.documentElement.clientWidth,
    content: document.documentElement.scrollWidth,
    facts: all(".facts div").map((fact) => all("dt, dd", fact).map((part) => part.textContent)),
    failures: all(".failure").map((element) => element.textContent),
    legend: all(".legend li").map((entry) => [
      entry.querySelector("i").className.replace("bar ", ""),
      getComputedStyle(entry.querySelector("i")).background,
    ]),
    ticks: all(".tick span").map(rect),
    lanes: all(".lane[data-lane]").map((lane) => ({
      name: lane.dataset.lane,
      rect: rect(lane.querySelector(".rows")),
      rows: all(".row", lane).map((row) => all(".bar", row).map(bar)),
    })),
    tables: all("table").map((table) => ({
      class: table.className,
      rect: rect(table),
      rows: all("tbody tr", table).map((row) => all("td", row).map((cell) => cell.textContent)),
    })),
  };
  const result = document.createElement("pre");
  result.id = "measured";
  result.textContent = JSON.stringify(measured);
  document.body.append(result);
})();
