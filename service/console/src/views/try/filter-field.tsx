/** A filter in the service's language; what the service finds wrong with it stands below, and what begins a condition. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Problem, Schemas } from "../../api";

export type AttributeTypes = Schemas["SchemaAnswer"]["attributes"];

interface FilterGiven {
  filter: string;
  example: string;
  types: AttributeTypes;
  problem: Problem | null;
  set: (filter: string) => void;
}

export function FilterField(field: FilterGiven) {
  const [text, setText] = useState(field.filter);
  const input = useRef<HTMLInputElement>(null);
  useEffect(() => setText(field.filter), [field.filter]);
  const send = (event: Event) => {
    event.preventDefault();
    field.set(text.trim());
  };
  const begin = (condition: string) => {
    setText([text.trim(), condition].filter((part) => part !== "").join(" and "));
    input.current?.focus();
  };
  return (
    <form class="filter" onSubmit={send}>
      <label for="filter">Filter</label>
      <input
        id="filter"
        ref={input}
        spellcheck={false}
        autocomplete="off"
        placeholder={field.example}
        value={text}
        aria-invalid={field.problem !== null}
        aria-describedby="filter-said"
        onInput={(event) => setText(event.currentTarget.value)}
        onChange={send}
      />
      <p id="filter-said" class={field.problem === null ? "muted" : "bad"} role={field.problem === null ? undefined : "alert"}>
        {field.problem?.detail ?? "Enter applies it."}
      </p>
      {Object.keys(field.types).length > 0 && <Conditions types={field.types} begin={begin} />}
    </form>
  );
}

const ORDERED = ["=", "!=", "<", "<=", ">", ">="];
const OPERATORS: Record<AttributeTypes[string], string[]> = {
  number: ORDERED,
  time: ORDERED,
  boolean: ["=", "!="],
  string: ["=", "!=", "contains"],
  list: ["contains"],
};
const WORD = /^(?!(and|or|not|in|contains|exists|true|false|now)$)[\p{L}_][\p{L}\p{N}_.-]*$/iu;

/** An attribute, and the operators of its type, each of which begins a condition. */
function Conditions({ types, begin }: { types: AttributeTypes; begin: (condition: string) => void }) {
  const names = Object.keys(types);
  const [chosen, setChosen] = useState("");
  const name = names.includes(chosen) ? chosen : (names[0] ?? "");
  const type = types[name];
  if (type === undefined) return null;
  const written = WORD.test(name) ? name : `\`${name.replace(/[\\`]/g, "\\$&")}\``;
  return (
    <div class="conditions" role="group" aria-label="Begin a condition">
      <select aria-label="Attribute" value={name} onChange={(event) => setChosen(event.currentTarget.value)}>
        {names.map((one) => (
          <option key={one} value={one}>
            {`${one} (${types[one]})`}
          </option>
        ))}
      </select>
      {OPERATORS[type].map((operator) => (
        <button key={operator} type="button" class="chip" onClick={() => begin(`${written} ${operator} `)}>
          {operator}
        </button>
      ))}
    </div>
  );
}
