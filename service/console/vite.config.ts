import { defineConfig } from "vite";

// `npm run dev` serves the sources and passes everything else on to a running service.
const SERVICE = "http://127.0.0.1:8000";
const PATHS = "^/(recommend|rank|similar|popular|trending|items|images|users|events|hidden|quality|bundles|retrain|experiments|map|metrics|readyz|healthz)";

export default defineConfig(({ command }) => ({
  // Built files load each other by relative addresses, wherever a proxy puts them.
  base: command === "serve" ? "/console/" : "./",
  build: { outDir: "dist", assetsInlineLimit: 0, target: "es2022", license: { fileName: "licenses.md" } },
  server: { proxy: { [PATHS]: SERVICE } },
}));
