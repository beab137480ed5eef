/** The same request as a command of a shell and as lines of Python; the key is $RECO_KEY and never written out. */
import { BASE, hasKey } from "../../api";
import { type Wish, parametersOf, sessionOf } from "./wish";

/** For a POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function queryOf(parameters: Record<string, unknown>): string {
  const pairs = Object.entries(parameters).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one): [string, string] => [name, String(one)]),
  );
  return new URLSearchParams(pairs).toString();
}

export function curlOf(wish: Wish): string {
  const lines = ["curl -s"];
  if (hasKey()) lines.push('-H "Authorization: Bearer $RECO_KEY"');
  if (wish.user !== "") {
    lines.push(quoted(`${BASE}/recommend/${encodeURIComponent(wish.user)}?${queryOf(parametersOf(wish))}`));
  } else {
    const body = JSON.stringify({ ...sessionOf(wish.clicks), ...parametersOf(wish) });
    lines.push("-H 'Content-Type: application/json'", `-d ${quoted(body)}`, quoted(`${BASE}/recommend`));
  }
  return lines.join(" \\\n  ");
}

function literal(value: unknown): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  return JSON.stringify(value); // of texts and numbers Python reads the same
}

export function pythonOf(wish: Wish): string {
  const { items, ...lists } = sessionOf(wish.clicks);
  const viewed = items && { items: items.map(({ item_id }) => item_id) };
  const named = Object.entries({ ...(wish.user === "" && { ...viewed, ...lists }), ...parametersOf(wish) });
  const given = [...(wish.user !== "" ? [literal(wish.user)] : []), ...named.map(([name, value]) => `${name}=${literal(value)}`)];
  const [call, key] = [wish.user !== "" ? "recommend" : "recommend_session", hasKey()];
  return [
    ...(key ? ["import os", ""] : []),
    "from service.client import Client",
    "",
    `with Client(${literal(BASE)}${key ? ', api_key=os.environ["RECO_KEY"]' : ""}) as client:`,
    `    answer = client.${call}(${given.join(", ")})`,
    "for item in answer.items:",
    "    print(item.item_id, item.score)",
  ].join("\n");
}
