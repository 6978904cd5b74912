// The page begins here.
import { html } from "htm/preact";
import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style/studio.css";
import { stayConnected } from "./lib/live";
import { Shell } from "./views/shell";

const root = document.getElementById("studio");
if (!root) throw new Error("the page has no place for the Studio");
render(html`<${Shell} />`, root);
void stayConnected();
