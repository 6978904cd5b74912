"""The Studio: the page at `/studio`, its source in `src/`, and what the gateway serves of it in `static/`.

`npm ci && npm run build` in this folder makes `static/` from `src/`; `python -m gateway.studio` makes `src/api.ts`, the
page's types, from the gateway's own shapes. Both are committed, and both are compared with what makes them:
`tests/gateway/studio/`. Nothing here imports the page's tools, so a gateway needs no node.
"""
