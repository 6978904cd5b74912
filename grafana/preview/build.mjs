// Bundles the page for the browser and the checker of frames for Node into dist/.
import { build } from "esbuild";

const common = { bundle: true, sourcemap: false, logLevel: "warning", outdir: "dist", legalComments: "none" };

await build({
  ...common,
  entryPoints: { page: "src/page.tsx" },
  format: "esm",
  define: { "process.env.NODE_ENV": '"production"', global: "globalThis" },
  loader: { ".svg": "dataurl", ".woff2": "dataurl", ".ttf": "dataurl" },
});
await build({
  ...common,
  entryPoints: { frames: "src/frames_main.ts" },
  format: "esm",
  platform: "node",
  outExtension: { ".js": ".mjs" },
  banner: {
    js:
      'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' +
      'globalThis.navigator ??= { language: "en", languages: ["en"] }; globalThis.window ??= globalThis;', // Grafana looks there
  },
});
