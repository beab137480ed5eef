/** What became of the lists that were shown: /quality over a window, overall, by bundle and by day. */
import { useLoaded } from "../../api";
import { type Route, goTo, linkTo } from "../../route";
import { counted, number, percent } from "../../ui/format";
import { IntervalTable } from "../../ui/interval";
import { Await } from "../../ui/notice";
import { Time } from "../../ui/time";
import { Daily } from "./daily";
import { type Exploration, type Figures, type Quality, loadQuality } from "./loading";
import { BundleLink } from "./words";

const EVERY_MS = 30_000;
const DAY = 24;
const WINDOWS = [
  { hours: 1, title: "the last hour" },
  { hours: 6, title: "the last 6 hours" },
  { hours: DAY, title: "the last 24 hours" },
  { hours: 7 * DAY, title: "the last 7 days" },
  { hours: 14 * DAY, title: "the last 14 days" },
  { hours: 30 * DAY, title: "the last 30 days" },
];

export function QualitySection({ route }: { route: Route }) {
  const asked = Number(route.params.get("hours"));
  const { hours } = WINDOWS.find((one) => one.hours === asked) ?? { hours: DAY };
  const loaded = useLoaded(() => loadQuality(Date.now() / 1_000 - 3_600 * hours), [hours], EVERY_MS);
  return (
    <>
      <div class="panel controls">
        <label>
          Lists shown in
          <select
            value={hours}
            onChange={({ currentTarget: { value } }) => goTo("experiments", "", { show: "quality", hours: value })}
          >
            {WINDOWS.map((one) => (
              <option key={one.hours} value={one.hours}>
                {one.title}
              </option>
            ))}
          </select>
        </label>
        <p class="muted">
          How long the service takes to answer is in <a href={linkTo("health")}>Health</a>.
        </p>
      </div>
      <Await loaded={loaded}>
        {(quality) => (quality.overall.answers === 0 ? <NothingShown overall={quality.overall} hours={hours} /> : <Found quality={quality} />)}
      </Await>
      <Daily />
    </>
  );
}

function NothingShown({ overall, hours }: { overall: Figures; hours: number }) {
  const longest = Math.max(...WINDOWS.map((one) => one.hours));
  const all = useLoaded(async () => (hours < longest ? loadQuality(Date.now() / 1_000 - 3_600 * longest) : null), [hours]);
  const earlier = all.data?.overall.answers ?? 0;
  if (all.data === null && all.loading) return <p role="status">Loading …</p>;
  return (
    <section class="panel">
      <h2>No list was shown in this window</h2>
      {earlier > 0 ? (
        <p>
          The log has {counted(earlier, "list")} of the last {longest / DAY} days: choose a longer window, or ask for a list.
        </p>
      ) : (
        <p>
          The log has no impression of that time, so there is nothing to divide clicks by. Start the service with{" "}
          <code>RECO_LOG_IMPRESSIONS=true</code> and it writes one for each list that it answers; or send events of kind{" "}
          <code>impression</code> with the <code>request_id</code> of the answer (<code>POST /events</code>).
        </p>
      )}
      <EventsByKind overall={overall} />
    </section>
  );
}

const RATES = [
  { title: "Click-through", means: "clicks by items shown", rate: "click_through_rate", interval: "click_through_interval" },
  { title: "Hit rate", means: "lists with a click by lists", rate: "hit_rate", interval: "hit_interval" },
  { title: "Conversion", means: "items bought by items shown", rate: "conversion_rate", interval: "conversion_interval" },
] as const;

function Found({ quality }: { quality: Quality }) {
  const { overall, bundles } = quality;
  const rows = [
    { id: "all", name: <>all</>, figures: overall },
    ...bundles.map((one) => ({ id: one.bundle ?? "none", name: <BundleName bundle={one.bundle} />, figures: one })),
  ];
  return (
    <>
      <p class="muted note">
        Since <Time at={quality.since} />. The intervals are Wilson's; they take items as independent, so they are narrow where
        few users click much.
      </p>
      {RATES.map(({ title, means, rate, interval }) => (
        <section key={title} class="panel">
          <h2>
            {title} <span class="muted">{means}</span>
          </h2>
          <IntervalTable
            title={`${title} by bundle`}
            first="Bundle"
            format={percent}
            reference={overall[rate]}
            rows={rows.map(({ id, name, figures }) => ({ id, name, value: figures[rate], interval: figures[interval] }))}
          />
        </section>
      ))}
      <section class="panel">
        <h2>Counts</h2>
        <div class="scroll" tabIndex={0} role="region" aria-label="Counts by bundle">
          <table>
            <thead>
              <tr>
                <th scope="col">Bundle</th>
                {COUNTS.map(({ title }) => (
                  <th key={title} scope="col" class="number">
                    {title}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map(({ id, name, figures }) => (
                <tr key={id}>
                  <th scope="row">{name}</th>
                  {COUNTS.map(({ title, of }) => (
                    <td key={title} class="number">
                      {number(of(figures))}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
        <EventsByKind overall={overall} />
      </section>
      {overall.exploration && <Explored found={overall.exploration} />}
    </>
  );
}

const COUNTS: { title: string; of: (figures: Figures) => number | null | undefined }[] = [
  { title: "Lists", of: ({ answers }) => answers },
  { title: "Items shown", of: ({ items_shown }) => items_shown },
  { title: "Clicks", of: ({ clicks }) => clicks },
  { title: "Conversions", of: ({ conversions }) => conversions },
  { title: "Revenue", of: ({ revenue }) => revenue },
  { title: "Revenue per list", of: ({ revenue_per_answer }) => revenue_per_answer },
];

function BundleName({ bundle }: { bundle: string | null }) {
  if (bundle === null) return <>events that name no bundle</>;
  return bundle === "other" ? <>bundles that the registry lacks</> : <BundleLink bundle={bundle} />;
}

function EventsByKind({ overall }: { overall: Figures }) {
  const kinds = Object.entries(overall.events);
  if (kinds.length === 0) return <p class="muted">No event of any kind arrived in this window.</p>;
  return (
    <>
      <h3>All events by kind</h3>
      <dl class="kinds">
        {kinds.map(([kind, n]) => (
          <div key={kind}>
            <dt>{kind}</dt>
            <dd>{number(n)}</dd>
          </div>
        ))}
      </dl>
    </>
  );
}

function Explored({ found }: { found: Exploration }) {
  const rows = [
    { id: "explored", name: "explored", figures: found.explored },
    { id: "others", name: "others of the same lists", figures: found.others },
  ];
  return (
    <section class="panel">
      <h2>
        Exploration <span class="muted">items that few have seen, beside the other items of the same lists</span>
      </h2>
      <IntervalTable
        title="Click-through of explored items"
        first="Items"
        format={percent}
        reference={found.others.click_through_rate}
        more={["Items shown", "Clicks"]}
        rows={rows.map(({ id, name, figures }) => ({
          id,
          name,
          value: figures.click_through_rate,
          interval: figures.click_through_interval,
          more: [number(figures.items_shown), number(figures.clicks)],
        }))}
      />
    </section>
  );
}
