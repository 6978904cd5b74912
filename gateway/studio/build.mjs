// Makes `static/` (or the folder named on the command line) from `src/`: one script, one style, the page, the licences.
// The same bytes every time from the same source and lock; tests/gateway/studio/test_bundle.py compares them.
import { build } from "esbuild";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";

const out = process.argv[2] ?? "static";
const shipped = ["preact", "htm", "@preact/signals", "@preact/signals-core", "uplot", "d3-contour", "d3-array", "internmap"];

await mkdir(out, { recursive: true });
await build({
  entryPoints: { studio: "src/main.ts" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  legalComments: "none",
  loader: { ".svg": "dataurl" },
  logLevel: "warning",
});
for (const name of ["index.html", "icon.svg"]) await copyFile(`src/${name}`, `${out}/${name}`);

const licences = await Promise.all(shipped.map(async (name) => {
  const about = JSON.parse(await readFile(`node_modules/${name}/package.json`, "utf8"));
  const text = await readFile(`node_modules/${name}/LICENSE`, "utf8");
  return `${name} ${about.version}\n\n${text.trim()}\n`;
}));
await writeFile(`${out}/LICENSES.txt`, licences.join("\n----\n\n"));
