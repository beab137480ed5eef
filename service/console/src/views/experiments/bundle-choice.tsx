/** A bundle of the registry; a field for its id where the list of bundles is refused. */
import { type Loaded, type Schemas, answer, api, useLoaded } from "../../api";

export type Listed = Loaded<Schemas["BundlesAnswer"]>;

export function useBundles(): Listed {
  return useLoaded(() => answer(api.GET("/bundles")), []);
}

interface Given {
  listed: Listed;
  label: string;
  value: string;
  none: string; // what "" is called
  choose: (bundle: string) => void;
}

export function BundleChoice({ listed, label, value, none, choose }: Given) {
  const { data, problem } = listed;
  if (problem !== null)
    return (
      <label class="field">
        {label} (its id: the list is refused, {problem.detail})
        <input value={value} placeholder={none} onInput={(event) => choose(event.currentTarget.value.trim())} />
      </label>
    );
  const ids = data?.bundles.map((one) => one.bundle_id) ?? [];
  return (
    <label class="field">
      {label}
      <select value={value} onChange={(event) => choose(event.currentTarget.value)}>
        <option value="">{none}</option>
        {value !== "" && !ids.includes(value) && <option value={value}>{value}</option>}
        {ids.map((id) => (
          <option key={id} value={id}>
            {id}
            {id === data?.published ? " (published)" : ""}
          </option>
        ))}
      </select>
    </label>
  );
}
