/** Finds a user by the beginning of the id. */
import { useEffect, useState } from "preact/hooks";
import { type Loaded, type Schemas, answer, api, useLoaded } from "../api";
import { counted } from "./format";
import "./user-field.css";

type Users = Schemas["UsersAnswer"];

const FOUND = 8; // options below the field
const TYPING_MS = 120;

/** A combobox: type the beginning of an id; any other id may be entered whole. A form has what is typed as `user`. */
export function UserField({ user, choose }: { user: string; choose: (user: string) => void }) {
  const [text, setText] = useState(user);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  useEffect(() => setText(user), [user]);
  const found = useFound(text, open);
  // While a response is under way, none that no longer fits what is typed.
  const options = open ? (found.data?.users ?? []).filter(({ user_id }) => user_id.startsWith(text)) : [];
  const take = (chosen: string) => {
    setOpen(false);
    setText(chosen);
    choose(chosen);
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step !== undefined) {
      event.preventDefault();
      if (!open) setOpen(true);
      else if (options.length > 0) setActive((last) => (Math.max(last, step < 0 ? 0 : -1) + step + options.length) % options.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      take(options[active]?.user_id ?? text.trim());
    } else if (event.key === "Escape" && open) {
      event.preventDefault();
      setOpen(false);
    }
  };
  return (
    <div class="user-field">
      <label for="user">User</label>
      <input
        id="user"
        name="user"
        role="combobox"
        aria-expanded={open && options.length > 0}
        aria-controls="users-found"
        aria-autocomplete="list"
        aria-activedescendant={options[active] ? `user-${active}` : undefined}
        autocomplete="off"
        spellcheck={false}
        placeholder="Type the beginning of a user's id"
        value={text}
        onInput={(event) => (setText(event.currentTarget.value), setOpen(true), setActive(-1))}
        onFocus={(event) => event.currentTarget.select()}
        onClick={() => setOpen(true)}
        onBlur={() => setOpen(false)}
        onKeyDown={onKeyDown}
      />
      <ul id="users-found" role="listbox" aria-label="Users found" hidden={options.length === 0}>
        {options.map(({ user_id, items }, i) => (
          <li
            key={user_id}
            id={`user-${i}`}
            role="option"
            aria-selected={i === active}
            onMouseDown={(event) => (event.preventDefault(), take(user_id))}
          >
            <span>{user_id}</span> <span class="muted">{counted(items, "item")}</span>
          </li>
        ))}
      </ul>
      <span class="muted found" role="status">
        {open ? saidOf(found, text) : ""}
      </span>
    </div>
  );
}

function saidOf(found: Loaded<Users>, text: string): string {
  if (found.problem !== null)
    return found.problem.status === 401 || found.problem.status === 403
      ? "Finding users needs a key of role write; an id may be entered whole."
      : found.problem.detail;
  if (found.data === null || found.loading) return "";
  if (found.data.users.length > 0) return "";
  return `Training knew no user whose id begins with “${text}”; Enter takes it as it is.`;
}

function useFound(text: string, open: boolean): Loaded<Users> {
  const [prefix, setPrefix] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setPrefix(text), TYPING_MS);
    return () => clearTimeout(timer);
  }, [text]);
  return useLoaded(
    async () =>
      open
        ? answer(api.GET("/users", { params: { query: { prefix, k: FOUND } } }))
        : { users: [], next: null, bundle: "", source: "", request_id: "" },
    [prefix, open],
  );
}
