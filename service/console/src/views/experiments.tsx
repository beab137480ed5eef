/** Experiments on live traffic, and how well the lists do: `#/experiments/NAME?phase=1`, `#/experiments?show=quality`. */
import { useState } from "preact/hooks";
import { type Schemas, answer, api, useLoaded } from "../api";
import { type Route, linkTo } from "../route";
import { Await } from "../ui/notice";
import "../ui/layout.css";
import "./experiments.css";
import { EndedList } from "./experiments/ended-list";
import { NoExperiment } from "./experiments/no-experiment";
import { QualitySection } from "./experiments/quality";
import { ReportPanel } from "./experiments/report";
import { StartForm } from "./experiments/start-form";

const EVERY_MS = 15_000;

const SECTIONS = [
  { show: "", title: "Experiments" },
  { show: "quality", title: "Quality of the lists" },
];

export function ExperimentsView({ route }: { route: Route }) {
  const show = route.params.get("show") ?? "";
  return (
    <>
      <nav class="sections" aria-label="Sections">
        {SECTIONS.map((one) => (
          <a
            key={one.show}
            href={linkTo("experiments", "", { show: one.show })}
            aria-current={(show === "quality") === (one.show === "quality") ? "page" : undefined}
          >
            {one.title}
          </a>
        ))}
      </nav>
      {show === "quality" ? <QualitySection route={route} /> : <Experiments route={route} show={show} />}
    </>
  );
}

/** The form, the report that the address names, or the running experiment and those that ended. */
function Experiments({ route, show }: { route: Route; show: string }) {
  const listed = useLoaded(() => answer(api.GET("/experiments")), [], EVERY_MS);
  const [told, setTold] = useState("");
  const changed = (how: string) => {
    setTold(how);
    listed.reload();
  };
  return (
    <>
      {/* There from the start, so that a screen reader says what is put into it. */}
      <p role="status" class={told === "" ? "hidden-text" : "notice"}>
        {told}
      </p>
      <Await loaded={listed}>{(data) => <Chosen data={data} route={route} show={show} changed={changed} />}</Await>
    </>
  );
}

interface Given {
  data: Schemas["ExperimentsAnswer"];
  route: Route;
  show: string;
  changed: (how: string) => void;
}

function Chosen({ data: { running, ended, file }, route, show, changed }: Given) {
  const phase = Number(route.params.get("phase")) || undefined;
  if (show === "new") return <StartForm key="new" changes={null} done={changed} />;
  if (show === "change" && running !== null && running.name === route.id)
    return <StartForm key="change" changes={running} done={changed} />;
  if (route.id !== "")
    return (
      <>
        <p class="back">
          <a href={linkTo("experiments")}>All experiments</a>
        </p>
        <ReportPanel key={route.id} name={route.id} phase={phase} changed={changed} />
      </>
    );
  return (
    <>
      {file !== null && <FileNotice state={file} />}
      {running === null ? (
        <NoExperiment byFile={file !== null} />
      ) : (
        <ReportPanel key={running.name} name={running.name} phase={undefined} changed={changed} />
      )}
      <EndedList ended={ended} />
    </>
  );
}

function FileNotice({ state }: { state: string }) {
  return (
    <div class="notice">
      {state === "in effect" ? (
        <p>The file RECO_EXPERIMENTS_FILE says which experiment runs: change it there.</p>
      ) : (
        <p class="bad">The file RECO_EXPERIMENTS_FILE is not in effect: {state}</p>
      )}
    </div>
  );
}
