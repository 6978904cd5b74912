// The preview page: one dashboard, drawn with Grafana's own components over what Prometheus answers.
//
// `?dashboard=learning&theme=dark&from=<unix s>&to=<unix s>&var-run_id=...`; without `from` and `to` the last 15 minutes,
// drawn again every `refresh` seconds. `window.preview` says when everything is drawn and what went wrong.
import { createTheme, dateTime, type TimeRange } from "@grafana/data";
import { GlobalStyles, PortalContainer, ThemeContext } from "@grafana/ui";
import { useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { builtIn, filled, type Dashboard, type Variables } from "./dashboard";
import { askAll, type Drawn } from "./drawn";
import { Box } from "./panels/box";

declare global {
  interface Window {
    preview: { draws: number; errors: string[] };
  }
}
window.preview = { draws: 0, errors: [] };
addEventListener("error", (event) => window.preview.errors.push(event.message));

const LAST_S = 900;
const asked = new URLSearchParams(location.search);
const theme = createTheme({ colors: { mode: asked.get("theme") === "light" ? "light" : "dark" } });
const given: Variables = Object.fromEntries(
  [...asked].filter(([name]) => name.startsWith("var-")).map(([name, value]) => [name.slice(4), value]),
);

function range(): { fromS: number; toS: number } {
  const toS = Number(asked.get("to") ?? Date.now() / 1000);
  return { fromS: Number(asked.get("from") ?? toS - LAST_S), toS };
}

function Page({ dashboard }: { dashboard: Dashboard }) {
  const [drawn, setDrawn] = useState<Drawn | null>(null);
  useEffect(() => {
    let timer = 0;
    const draw = async () => {
      try {
        setDrawn(await askAll(dashboard, given, range(), theme));
      } catch (error) {
        window.preview.errors.push(String(error));
      }
      window.preview.draws += 1;
      const every = Number(asked.get("refresh") ?? 0);
      if (every > 0) {
        timer = window.setTimeout(draw, every * 1000);
      }
    };
    void draw();
    return () => window.clearTimeout(timer);
  }, [dashboard]);
  if (drawn === null) {
    return null;
  }
  const shown = { ...builtIn(drawn.fromS, drawn.toS), ...drawn.variables };
  const timeRange: TimeRange = {
    from: dateTime(drawn.fromS * 1000),
    to: dateTime(drawn.toS * 1000),
    raw: { from: dateTime(drawn.fromS * 1000), to: dateTime(drawn.toS * 1000) },
  };
  return (
    <>
      <header className="head">
        <b>{dashboard.title}</b>
        <span className="note">preview with Grafana&apos;s npm components, not Grafana</span>
        {dashboard.templating.list.map((one) => (
          <span key={one.name} className="variable">
            <i>{one.label ?? one.name}</i> {drawn.variables[one.name] === ".*" ? "All" : drawn.variables[one.name]}
          </span>
        ))}
        {dashboard.links.map((link) => (
          <a key={link.title} href={link.url && filled(link.url, shown)}>
            {link.title}
          </a>
        ))}
      </header>
      <main>
        {drawn.panels.map((one) => (
          <Box key={one.panel.id} one={one} marks={drawn.marks} timeRange={timeRange} variables={shown} theme={theme} />
        ))}
      </main>
    </>
  );
}

async function main(): Promise<void> {
  const name = asked.get("dashboard") ?? "learning";
  const dashboard: Dashboard = await (await fetch(`dashboards/${encodeURIComponent(name)}.json`)).json();
  document.body.dataset.theme = theme.isDark ? "dark" : "light";
  const root = createRoot(document.getElementById("page")!, {
    onUncaughtError: (error) => window.preview.errors.push(String(error)),
  });
  root.render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Page dashboard={dashboard} />
      <PortalContainer />
    </ThemeContext.Provider>,
  );
}

void main();
