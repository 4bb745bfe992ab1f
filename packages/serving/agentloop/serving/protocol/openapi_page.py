"""An OpenAPI description as one page of HTML that loads nothing from anywhere. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{margin-bottom:0}h2{margin-top:2.5rem;border-top:1px solid #ddd;padding-top:1rem}
code,pre,textarea{font:13px/1.45 ui-monospace,monospace}
pre,textarea{background:#f6f6f4;border:1px solid #ddd;border-radius:4px;padding:.7rem;overflow:auto}
textarea{width:100%;box-sizing:border-box;min-height:10rem}
table{border-collapse:collapse}td,th{border:1px solid #ddd;padding:.25rem .6rem;text-align:left}
button{font:inherit;padding:.3rem 1rem}.method{text-transform:uppercase;color:#060;font-weight:600}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}pre,textarea{background:#222;
color:#ddd;border-color:#444}td,th,h2{border-color:#444}.method{color:#8c8}}
"""

# The page lies below the model's path, by the public route or by a version's own: what comes before
# that in the address is the root that requests go to.
_SCRIPT = """
const root=location.pathname.replace(/(\\/v2\\/models\\/.*)?\\/docs$/,'');
for(const form of document.querySelectorAll('form'))form.onsubmit=async event=>{
 event.preventDefault();
 const out=form.querySelector('pre');
 try{
  const answer=await fetch(root+form.dataset.path,{method:'POST',
   headers:{'content-type':'application/json'},body:form.querySelector('textarea').value});
  const text=await answer.text();
  const names=['x-model-version','x-request-id','traceresponse'];
  const lines=names.map(n=>n+': '+answer.headers.get(n)).join('\\n');
  out.textContent=answer.status+'\\n'+lines+'\\n\\n'+text;
 }catch(error){out.textContent=String(error)}
 out.hidden=false;
};
"""


def render_page(api: Mapping[str, Any]) -> str:
    """The page; every operation with its example, and a form to send it."""
    info = api["info"]
    title = escape(str(info["title"]))
    return "".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8>",
            '<meta name=viewport content="width=device-width,initial-scale=1">',
            f"<title>{title}</title><style>{_STYLE}</style>",
            f"<h1>{title}</h1><p>Version <code>{escape(str(info['version']))}</code>. ",
            f"{escape(str(info['description']))} <a href=openapi.json>openapi.json</a></p>",
            _columns(api),
            *_operations(api["paths"]),
            f"<script>{_SCRIPT}</script></html>",
        ]
    )


def _columns(api: Mapping[str, Any]) -> str:
    columns = api["components"]["schemas"]["Row"]["properties"]
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code><td>{' or '.join(schema['type'])}"
        for name, schema in columns.items()
    )
    return f"<h2>Inputs</h2><table><tr><th>column<th>type{rows}</table>"


def _operations(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, methods in paths.items():
        for method, operation in methods.items():
            yield f"<h2>{escape(operation['summary'])}</h2>"
            yield f"<p><span class=method>{escape(method)}</span> <code>{escape(path)}</code></p>"
            yield f"<p>{escape(operation['description'])}</p>"
            if "requestBody" in operation:
                yield _form(path, operation)


def _form(path: str, operation: Mapping[str, Any]) -> str:
    example = operation["requestBody"]["content"]["application/json"]["example"]
    body = escape(json.dumps(example, indent=1))
    answers = "".join(
        f"<tr><td>{escape(code)}<td>{escape(answer['description'])}"
        for code, answer in operation["responses"].items()
    )
    return (
        f'<form data-path="{escape(path, quote=True)}"><textarea spellcheck=false>{body}</textarea>'
        f"<p><button>Send</button></p><pre hidden></pre></form><table>{answers}</table>"
    )
