/** Asks for an API key, for services that need one. */
import { useEffect, useState } from "preact/hooks";
import { hasKey, onKeyChange, useKey } from "../api";

export function SignIn() {
  const [signedIn, setSignedIn] = useState(hasKey());
  const [value, setValue] = useState("");
  useEffect(() => onKeyChange(() => setSignedIn(hasKey())), []);
  if (signedIn)
    return (
      <button type="button" class="quiet sign" onClick={() => useKey(null)}>
        Forget the key
      </button>
    );
  const send = (event: Event) => {
    event.preventDefault();
    if (value !== "") useKey(value);
    setValue("");
  };
  return (
    <form class="sign" onSubmit={send}>
      <label class="hidden-text" for="key">
        API key
      </label>
      <input
        id="key"
        type="password"
        autocomplete="current-password"
        placeholder="API key, if one is needed"
        value={value}
        onInput={(event) => setValue(event.currentTarget.value)}
      />
      <button type="submit" class="quiet">
        Use
      </button>
    </form>
  );
}
