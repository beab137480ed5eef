/** An item's picture. */
import { useEffect, useState } from "preact/hooks";
import { BASE, fetchFromService, hasKey } from "../api";

const ABSOLUTE = /^https?:\/\//;

/** The picture of this URL; where it has none, or it does not load, the item's first letter.
 *
 * It is decoration: the item's title stands beside it. Where a key is in use it is fetched with the key, which an
 * <img> cannot send. */
export function Picture({ url, title }: { url: string | null | undefined; title: string }) {
  const [shown, setShown] = useState<string | null>(null);
  useEffect(() => {
    let blob: string | null = null;
    let current = true;
    setShown(null);
    const address = url ? (ABSOLUTE.test(url) ? url : url.startsWith("/") ? BASE + url : null) : null;
    if (address !== null && hasKey() && !ABSOLUTE.test(url ?? "")) {
      fetchFromService(address)
        .then((response) => (response.ok ? response.blob() : Promise.reject(new Error(response.statusText))))
        .then((bytes) => current && setShown((blob = URL.createObjectURL(bytes))))
        .catch(() => undefined); // the letter stays
    } else setShown(address);
    return () => {
      current = false;
      if (blob !== null) URL.revokeObjectURL(blob);
    };
  }, [url]);
  if (shown === null)
    return (
      <span class="picture letter" aria-hidden="true">
        {[...title][0]?.toUpperCase() ?? "?"}
      </span>
    );
  return <img class="picture" src={shown} alt="" loading="lazy" onError={() => setShown(null)} />;
}
