/** The console: one page with a view for each thing that people come for. */
import { render } from "preact";
import type { ComponentType } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { onKeyChange } from "./api";
import "./style.css";
import "./ui/layout.css";
import { type Route, linkTo, useRoute } from "./route";
import { SignIn } from "./ui/sign-in";
import { ExperimentsView } from "./views/experiments";
import { HealthView } from "./views/health";
import { ItemsView } from "./views/items";
import { MapView } from "./views/map";
import { ModelsView } from "./views/models";
import { TryView } from "./views/try";

interface View {
  name: string;
  title: string;
  component: ComponentType<{ route: Route }>;
}

const TRY: View = { name: "try", title: "Try it", component: TryView };
const VIEWS: View[] = [
  TRY,
  { name: "items", title: "Items", component: ItemsView },
  { name: "map", title: "Map", component: MapView },
  { name: "models", title: "Models", component: ModelsView },
  { name: "experiments", title: "Experiments", component: ExperimentsView },
  { name: "health", title: "Health", component: HealthView },
];

function Console() {
  const route = useRoute();
  const view = VIEWS.find(({ name }) => name === route.view) ?? TRY;
  const heading = useRef<HTMLHeadingElement>(null);
  const first = useRef(true);
  const [keys, setKeys] = useState(0); // that were used so far
  useEffect(() => onKeyChange(() => setKeys((last) => last + 1)), []);
  useEffect(() => {
    document.title = `${view.title} · AnchorRec console`;
    if (!first.current) heading.current?.focus(); // so that a screen reader announces the new view
    first.current = false;
  }, [view]);
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), heading.current?.focus())}>
        Skip to the content
      </a>
      <header class="bar">
        <p class="brand">AnchorRec</p>
        <nav aria-label="Views">
          {VIEWS.map(({ name, title }) => (
            <a key={name} href={linkTo(name)} aria-current={name === view.name ? "page" : undefined}>
              {title}
            </a>
          ))}
        </nav>
        <SignIn />
      </header>
      <main id="main" class={`view-${view.name}`}>
        <h1 ref={heading} tabIndex={-1}>
          {view.title}
        </h1>
        <view.component key={keys} route={route} /> {/* another key shows nothing of what the one before it showed */}
      </main>
    </>
  );
}

const root = document.getElementById("console");
if (root === null) throw new Error("index.html has no element #console");
render(<Console />, root);
